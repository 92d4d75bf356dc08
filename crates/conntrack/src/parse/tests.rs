use super::*;
use crate::words::StatusWords;
use flow::Status;
use proptest::prelude::*;

fn read(line: &str) -> Result<Request, String> {
    let words = std::iter::once("conntrack").chain(line.split_whitespace());
    let parsed = parse_with_map(
        words.map(str::to_owned).collect(),
        Path::new("/nonexistent"),
    );
    match parsed.request {
        Ok(request) => request.ok_or_else(|| "nothing asked".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

fn fault(line: &str) -> String {
    read(line).map(|_| ()).unwrap_err()
}

#[test]
fn a_whole_line_becomes_a_request() {
    let request = read(
        "-L -s 10.0.0.0/8 -d 10.1.2 -p tcp --dport 443 --state ESTABLISHED -m 0x10/0xf0 \
         -u ASSURED,!SEEN -w 65537 -o x,id -n",
    )
    .unwrap();
    assert_eq!(request.command, Command::List);
    assert_eq!(request.orig.src, Some("10.0.0.0".parse().unwrap()));
    assert_eq!(request.src_mask, Some("255.0.0.0".parse().unwrap()));
    assert_eq!(request.orig.dst, Some("10.1.0.2".parse().unwrap()));
    assert_eq!(request.family, Some(Family::Ipv4));
    assert_eq!((request.orig.sport, request.orig.dport), (None, Some(443)));
    assert_eq!(request.state.state, Some(3));
    let mark = request.mark.unwrap();
    assert_eq!((mark.value, mark.mask), (0x10, 0xf0));
    assert_eq!(
        request.status,
        Some(StatusWords {
            plain: Status::ASSURED,
            negated: Status::SEEN_REPLY
        })
    );
    assert_eq!(request.zones.both, Some(1));
    assert!(request.output.xml && request.output.id);
    assert_eq!(request.nat.src, Some(None));
}

#[test]
fn options_of_a_protocol_exist_once_it_is_named() {
    assert_eq!(fault("-L --sport 1 -p udp"), "unknown option `--sport'");
    assert_eq!(fault("-L -p udp --state NONE"), "unknown option `--state'");
    assert!(read("-L -p udp --sp 1").is_ok());
    assert!(read("-L -p tcp --state NONE --orig-port-src 5").is_ok());
}

#[test]
fn faults_come_in_the_order_of_the_original() {
    for (line, told) in [
        ("-I -L", "Invalid commands combination"),
        ("-L -I foo", "unknown type `foo'"),
        (
            "-D -z -s 1.1.1.1",
            "Illegal option `--zero' with this command",
        ),
        ("-L -z -s 1.1.1.1", "Can't use -z with filtering parameters"),
        (
            "-L --mask-src 1.1.1.1 -z",
            "Can't use --mask-src without --src",
        ),
        (
            "-I -p tcp -t 5 --mask-src 1.1.1.1",
            "Illegal option `--mask-src' with this command",
        ),
        (
            "-F -n -j",
            "cannot specify `--src-nat' or `--dst-nat' with `--any-nat'",
        ),
        (
            "-U --label-del --label-add one",
            "cannot use --label-add and --label-del at the same time",
        ),
        ("-L -s fd00::1 -d 10.0.0.1", "mismatched address family"),
        ("-L -f ipv6 -f ipv4", "mismatched address family"),
        ("-L -f IPv4", "`IPv4' unsupported protocol"),
        ("-s 1.1.1.1", "Illegal option `--src' with this command"),
        (
            "-I -s 10.0.0.0/8 -d 1.1.1.1 -p esp -t 1",
            "Illegal option `--mask-src' with this command",
        ),
        ("-L -l one", "unknown label 'one'"),
        ("-D --id", "option `--id' requires an argument"),
        (
            "-L --dry-run",
            "Illegal option `--dry-run' with this command",
        ),
    ] {
        assert_eq!(fault(line), told, "{line}");
    }
}

#[test]
fn glued_words_count() {
    let request = read("-Lexpect").unwrap();
    assert_eq!(request.table, Table::Expect);
    let request = read("-L --src-nat=1.2.3.4:5").unwrap();
    let target = request.nat.src.unwrap().unwrap();
    assert_eq!(
        (target.addr.to_string().as_str(), target.port),
        ("1.2.3.4", Some(5))
    );
}

#[test]
fn a_mark_stays_when_a_status_follows() {
    let request = read("-I -s 1.1.1.1 -d 2.2.2.2 -p esp -t 9 -m 3 -u ASSURED").unwrap();
    assert_eq!(request.mark.unwrap().value, 3);
}

#[test]
fn without_anything_there_is_nothing_to_do() {
    assert_eq!(fault(""), "nothing asked");
    assert_eq!(fault("foo bar"), "nothing asked");
    assert_eq!(read("-h -p tcp").unwrap().command, Command::Help);
}

#[test]
fn remarks_are_kept_beside_faults() {
    let words = ["conntrack", "-L", "-u", "SRC_NAT", "-a", "1", "-l", "x"];
    let parsed = parse_with_map(words.map(str::to_owned).to_vec(), Path::new("/nonexistent"));
    assert_eq!(parsed.request.unwrap_err(), UsageError::Label("x".into()));
    assert_eq!(
        parsed.remarks,
        [
            "WARNING: ignoring SRC_NAT, use --src-nat instead",
            "WARNING: ignoring -a, deprecated option.",
            "nfct_labelmap_new: No such file or directory",
        ]
    );
}

fn word() -> impl Strategy<Value = String> {
    const KNOWN: &[&str] = &[
        "-L",
        "-D",
        "-I",
        "-U",
        "-E",
        "-F",
        "-C",
        "-S",
        "-G",
        "-A",
        "-V",
        "-h",
        "expect",
        "-s",
        "-d",
        "-r",
        "-q",
        "-p",
        "tcp",
        "udp",
        "sctp",
        "icmp",
        "gre",
        "--sport",
        "--dport",
        "--state",
        "NONE",
        "-t",
        "-u",
        "ASSURED,!SEEN",
        "-m",
        "1/2",
        "-w",
        "--orig-zone",
        "-n",
        "-g",
        "-j",
        "1.2.3.4",
        "1.2.3.4/8",
        "[::1]:5",
        "::1",
        "-o",
        "xml",
        "save",
        "-e",
        "NEW",
        "-z",
        "-i",
        "-f",
        "ipv4",
        "--",
        "--label-del",
        "--label-add",
        "--netns",
        "--dry-run",
        "-zx",
        "--mask-src",
    ];
    prop_oneof![
        4 => proptest::sample::select(KNOWN).prop_map(str::to_owned),
        1 => "[-a-z0-9:./!,\\[\\]é ]{0,12}",
        1 => any::<String>(),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Whatever is typed, the answer is a request or a fault that names something.
    #[test]
    fn any_line_is_judged(words in proptest::collection::vec(word(), 0..14)) {
        let all = std::iter::once("conntrack".to_owned()).chain(words).collect();
        match parse_with_map(all, Path::new("/nonexistent")).request {
            Ok(_) => {}
            Err(error) => prop_assert!(!error.to_string().is_empty()),
        }
    }
}
