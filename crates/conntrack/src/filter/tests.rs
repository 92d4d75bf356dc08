use super::*;
use crate::parse::parse_with_map;
use flow::{Addrs, Labels, Tcp, TcpState, Zone};
use std::path::Path;

const MAP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/connlabel.conf");

fn filter(line: &str) -> Filter {
    let words = std::iter::once("conntrack").chain(line.split_whitespace());
    let parsed = parse_with_map(words.map(str::to_owned).collect(), Path::new(MAP));
    Filter::new(&parsed.request.unwrap().unwrap())
}

/// 10.1.0.2:1000 to 192.0.2.1:80, the source translated to 203.0.113.1:4444.
fn flow() -> Flow {
    let tuple = |src: &str, sport, dst: &str, dport| Tuple {
        addrs: Addrs::new(src.parse().unwrap(), dst.parse().unwrap()).unwrap(),
        proto: 6,
        l4: L4::Ports {
            src: sport,
            dst: dport,
        },
    };
    let mut flow = Flow::new(tuple("10.1.0.2", 1000, "192.0.2.1", 80));
    flow.reply = Some(tuple("192.0.2.1", 80, "203.0.113.1", 4444));
    flow.status = Some(Status::SEEN_REPLY | Status::SRC_NAT | Status::SRC_NAT_DONE);
    flow.proto = ProtoInfo::Tcp(Tcp {
        state: Some(TcpState::Established),
        ..Tcp::default()
    });
    flow.mark = Some(0x12);
    flow.id = Some(77);
    flow.labels = Labels::new([2]);
    flow
}

#[test]
fn every_condition_can_fail() {
    for (yes, no) in [
        ("-L", "-L -f ipv6"),
        ("-L -s 10.1.0.2", "-L -s 10.1.0.3"),
        ("-L -s 10.0.0.0/8", "-L -s 11.0.0.0/8"),
        (
            "-L -s 10.200.0.0 --mask-src 255.0.0.0",
            "-L -s 10.1.0.3 --mask-src 255.255.255.255",
        ),
        ("-L -s 9.9.9.9/0", "-L -s 128.0.0.0/1"),
        ("-L -d 192.0.2.0/24", "-L -d 192.0.3.0/24"),
        ("-L -r 192.0.2.1 -q 203.0.113.1", "-L -r 203.0.113.1"),
        ("-L -p tcp", "-L -p udp"),
        ("-L -p tcp --sport 1000", "-L -p tcp --sport 80"),
        ("-L -p tcp --dport 80", "-L -p tcp --dport 4444"),
        (
            "-L -p tcp --reply-port-dst 4444",
            "-L -p tcp --reply-port-src 4444",
        ),
        ("-L -p tcp --state ESTABLISHED", "-L -p tcp --state CLOSE"),
        ("-L -m 0x12", "-L -m 0x10"),
        ("-L -m 0x10/0xf0", "-L -m 0x20/0xf0"),
        ("-L -u SEEN_REPLY", "-L -u ASSURED"),
        ("-L -u !ASSURED", "-L -u UNREPLIED"),
        ("-L -u SEEN_REPLY,!ASSURED", "-L -u SEEN_REPLY,!SEEN_REPLY"),
        ("-D -u !ASSURED", "-D -u UNREPLIED"),
        ("-D -i 77", "-D -i 78"),
        ("-L -w 0", "-L -w 1"),
        ("-L -n", "-L -g"),
        ("-L -n 203.0.113.1", "-L -n 203.0.113.2"),
        ("-L -n 203.0.113.1:4444", "-L -n 203.0.113.1:1000"),
        ("-L -j", "-L -g 192.0.2.1"),
        ("-L -l one", "-L -l zero,one"),
    ] {
        assert!(filter(yes).accepts(&flow()), "{yes}");
        assert!(!filter(no).accepts(&flow()), "{no}");
    }
}

#[test]
fn what_an_update_sets_is_no_condition() {
    let update = filter("-U -p tcp --state CLOSE -m 9 -u ASSURED -t 4");
    assert!(update.accepts(&flow()));
}

#[test]
fn a_reply_that_only_looks_translated_is_not() {
    let given = Flow {
        status: Some(Status::SEEN_REPLY),
        ..flow()
    };
    assert!(!filter("-L -n").accepts(&given));
}

#[test]
fn zones_of_one_direction_are_not_zones_of_both() {
    let zoned = |orig, reply| Flow {
        zone: Zone { orig, reply },
        ..flow()
    };
    assert!(filter("-L -w 7").accepts(&zoned(7, 7)));
    assert!(!filter("-L --orig-zone 7").accepts(&zoned(7, 7)));
    assert!(filter("-L --orig-zone 7").accepts(&zoned(7, 0)));
    assert!(!filter("-L -w 7").accepts(&zoned(7, 0)));
    assert!(filter("-L -w 0").accepts(&zoned(0, 7)));
    assert!(filter("-L --reply-zone 7").accepts(&zoned(0, 7)));
}

#[test]
fn the_kernel_is_asked_what_it_can_answer() {
    let [only] = filter("-L -s 10.0.0.1 -m 3/7 -u UNREPLIED -w 5").kernel_filters()[..] else {
        panic!("one family, one dump");
    };
    assert_eq!(only.family, Some(Family::Ipv4));
    assert_eq!(only.mark, Some((3, 7)));
    assert_eq!(only.status, Some((Status(0), Status::SEEN_REPLY)));
    assert_eq!(only.zone, Some(5));
    assert_eq!(
        only.tuple.unwrap().orig.src,
        Some("10.0.0.1".parse().unwrap())
    );

    let both = filter("-L -p tcp --dport 443").kernel_filters();
    assert_eq!(
        both.iter().map(|f| f.family).collect::<Vec<_>>(),
        [Some(Family::Ipv4), Some(Family::Ipv6)]
    );
    assert_eq!(both[0].tuple.unwrap().orig.dport, Some(443));

    let network = filter("-L -s 10.0.0.0/8").kernel_filters();
    assert_eq!(
        network,
        [DumpFilter {
            family: Some(Family::Ipv4),
            ..DumpFilter::default()
        }]
    );
    assert_eq!(
        filter("-L dying -m 3").kernel_filters(),
        [DumpFilter::default()]
    );
}
