//! Contradictions, traps, and what does not fit the host.

use std::fs;
use std::net::IpAddr;
use std::path::Path;

use config::{Config, Finding, Host, HostInterface, Severity, check, parse_text};

/// The host on which the sample files were tried.
struct Lab;

impl Host for Lab {
    fn interfaces(&self) -> Vec<HostInterface> {
        let interface = |name: String, addresses: [String; 2]| HostInterface {
            name,
            addresses: addresses
                .map(|address| address.parse::<IpAddr>().unwrap())
                .to_vec(),
        };
        let lo = interface("lo".to_owned(), ["127.0.0.1".to_owned(), "::1".to_owned()]);
        let dedicated = (2..=6).map(|n| {
            let net = n + 98;
            interface(
                format!("eth{n}"),
                [format!("192.168.{net}.1"), format!("fd00:{net}::1")],
            )
        });
        std::iter::once(lo).chain(dedicated).collect()
    }

    fn can_write(&self, file: &Path) -> bool {
        !file.starts_with("/nonexistent")
    }

    fn conntrack_max(&self) -> Option<u32> {
        Some(65536)
    }
}

fn findings(text: &str) -> Vec<Finding> {
    let (config, _) = parse_text(Path::new("x.conf"), text.as_bytes())
        .unwrap_or_else(|error| panic!("{error}\n{text}"));
    check(&config, &Lab)
}

fn sample(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/configs");
    fs::read_to_string(folder.join(name)).unwrap()
}

#[test]
fn files_that_the_original_refuses_at_start_fail_a_check() {
    use Severity::{Error, Waiting};
    for (name, severity, line, what) in [
        (
            "address-not-local",
            Waiting,
            5,
            "192.168.100.77 is no address of this host",
        ),
        (
            "logfile-unwritable",
            Error,
            3,
            "/nonexistent/flows.log cannot be created",
        ),
        ("mcast-no-ipv4-interface", Error, 4, "IPv4_interface"),
        (
            "mcast-unicast-address",
            Error,
            5,
            "10.0.0.1 is no multicast group",
        ),
        (
            "missing-interface",
            Waiting,
            8,
            "eth9 is an invalid interface",
        ),
        ("no-interface", Error, 4, "names no `Interface'"),
        ("no-link", Error, 2, "there is no link"),
    ] {
        let findings = findings(&sample(&format!("bad/{name}.conf")));
        let failed: Vec<_> = findings.iter().filter(|f| f.severity.fails()).collect();
        assert_eq!(failed.len(), 1, "{name}: {findings:?}");
        assert_eq!(failed[0].severity, severity, "{name}");
        assert!(failed[0].text.contains(what), "{name}: {}", failed[0].text);
        assert_eq!(
            failed[0].place.map(|place| place.line),
            Some(line),
            "{name}"
        );
    }
}

#[test]
fn files_with_which_the_original_starts_pass_a_check() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/configs/good");
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let failed: Vec<_> = findings(&fs::read_to_string(&path).unwrap())
            .into_iter()
            .filter(|finding| finding.severity.fails())
            .collect();
        assert_eq!(failed, [], "{}", path.display());
    }
}

const LINK: &str = "UDP { Port 1 Interface eth2 IPv4_address 192.168.100.1 IPv4_Destination_Address 192.168.100.2 }";
const UNIX: &str = "UNIX { Path /var/run/conntrackd.ctl }";
const IGNORE: &str =
    "Filter { Address Ignore { IPv4_address 192.168.0.0/16 IPv6_address fd00::/8 } }";

/// Findings about a sound file in which these clauses stand too.
fn with(sync: &str, general: &str) -> Vec<String> {
    let text = format!(
        "Sync {{ Mode FTFW {{ }}\n{LINK}\n{sync}\n}}\nGeneral {{ {UNIX} {IGNORE}\n{general}\n}}\n"
    );
    findings(&text)
        .into_iter()
        .map(|finding| finding.text)
        .collect()
}

#[test]
fn a_sound_file_has_no_findings() {
    assert_eq!(with("", ""), Vec::<String>::new());
}

#[test]
fn each_trap_is_told_once() {
    for (sync, general, what) in [
        (
            "",
            "PollSecs 5 NetlinkEventsReliable on",
            "`NetlinkEventsReliable' has no effect",
        ),
        (
            "",
            "PollSecs 5 Filter From Kernelspace { }",
            "`Filter From Kernelspace' has no effect",
        ),
        (
            "",
            "NetlinkBufferSize 9 NetlinkBufferSizeMaxGrowth 8",
            "is greater than",
        ),
        (
            "",
            "NetlinkBufferSizeMaxGrowth 8",
            "without `NetlinkBufferSize'",
        ),
        (
            "",
            "HashLimit 65535 HashSize 1",
            "below nf_conntrack_max (65536)",
        ),
        ("", "HashLimit 65536 HashSize 65537", "below `HashSize'"),
        (
            "",
            "Filter { Protocol Accept { } }",
            "`Protocol Accept' lists nothing",
        ),
        (
            "",
            "Filter { State Accept { } }",
            "all TCP entries are dropped",
        ),
        (
            "",
            "LockFile /nonexistent/lock",
            "`LockFile' /nonexistent/lock cannot be created",
        ),
        (
            LINK,
            "",
            "another link has the same interface, port and addresses",
        ),
        (
            "UDP { Interface eth3 IPv4_address 192.168.101.1 IPv4_Destination_Address 192.168.101.2 }",
            "",
            "has no `Port'",
        ),
        (
            "UDP { Port 2 Interface eth3 IPv4_address 192.168.101.1 }",
            "",
            "no address of the peer",
        ),
        (
            "UDP { Port 2 Interface eth3 IPv4_address 192.168.101.1 IPv6_Destination_Address fd00:101::2 }",
            "",
            "of different families",
        ),
        (
            "UDP { Port 2 Interface eth3 IPv4_address 192.168.102.1 IPv4_Destination_Address 192.168.101.2 }",
            "",
            "192.168.102.1 is an address of eth4, but the link is on eth3",
        ),
        (
            "UDP { Port 2 Interface eth3 IPv4_address 192.168.101.1 IPv4_Destination_Address 192.168.101.1 }",
            "",
            "the address of both nodes",
        ),
        (
            "UDP { Port 2 Interface lo IPv4_address 127.0.0.1 IPv4_Destination_Address 127.0.0.2 }",
            "",
            "reaches no other node",
        ),
    ] {
        let texts = with(sync, general);
        assert_eq!(texts.len(), 1, "{sync} {general}: {texts:?}");
        assert!(texts[0].contains(what), "{texts:?}");
    }
}

#[test]
fn an_alarm_that_forgets_before_it_refreshes_is_told() {
    let mode = |cache| {
        format!(
            "Sync {{ Mode ALARM {{ RefreshTime 60 CacheTimeout {cache} }} {LINK} }} General {{ {UNIX} {IGNORE} }}"
        )
    };
    assert!(
        findings(&mode(60))[0]
            .text
            .contains("vanish before they are refreshed")
    );
    assert_eq!(findings(&mode(61)), []);
}

#[test]
fn a_link_whose_traffic_is_replicated_itself_is_told() {
    let told = |filter: &str| {
        let text = format!("Sync {{ Mode FTFW {{ }} {LINK} }} General {{ {UNIX} {filter} }}");
        findings(&text)
            .iter()
            .any(|finding| finding.text.contains("may be replicated itself"))
    };
    assert!(told(""));
    assert!(told("Filter { Address Ignore { IPv4_address 10.0.0.1 } }"));
    assert!(told(
        "Filter { Address Accept { IPv4_address 192.168.100.2 } }"
    ));
    assert!(told("Filter { Protocol Ignore { TCP } }"));
    assert!(!told(
        "Filter { Address Ignore { IPv4_address 192.168.100.2 } }"
    ));
    assert!(!told(
        "Filter { Address Accept { IPv4_address 10.0.0.0/8 } }"
    ));
    assert!(!told("Filter { Protocol Ignore { UDP } }"));
    assert!(!told("Filter { Protocol Accept { TCP } }"));
}

#[test]
fn a_daemon_out_of_reach_or_without_work_is_told() {
    let texts: Vec<_> = findings("")
        .into_iter()
        .map(|finding| finding.text)
        .collect();
    assert_eq!(texts.len(), 2, "{texts:?}");
    assert!(texts[0].contains("neither") && texts[1].contains("no client"));
}

#[test]
fn the_builtin_configuration_starts_and_is_told_to_reach_nobody() {
    let findings = check(&Config::builtin(), &Lab);
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert_eq!(
        (findings[0].severity, findings[0].place),
        (Severity::Warning, None)
    );
    assert!(findings[0].text.contains("loopback"));
}
