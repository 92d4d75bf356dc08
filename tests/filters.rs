//! Filters of events, in user space and in the kernel, with the original beside ours in every case: the same entries
//! in the cache after events, after a restart, and on the peer.

use std::time::Duration;

use flow::{Addrs, Flow, L4, ProtoInfo, Status, Tcp, TcpState, Tuple};
use netlab::process::wait_until;
use netlab::{Daemon, Feature, Lab, NodeConfig, Peer, Table, listing, sample};
use netlab::{require_feature_or_skip, require_root_or_skip};

const LIMIT: Duration = Duration::from_secs(10);

/// An entry that every filter of this file lets pass: made last, it tells that the others have been seen.
const LAST: &str = "10.9.9.9";

/// Its address is translated: its other end is really 10.0.0.1.
const TRANSLATED: &str = "src=10.0.5.1 ";

/// Connections of every protocol, state and address that the filters ask for.
fn flows() -> Vec<Flow> {
    let mut flows = Vec::new();
    let v4 = [
        ("10.0.0.1", "192.0.2.1"),
        ("10.0.1.2", "192.0.2.1"),
        ("192.0.2.1", "10.0.0.1"),
    ];
    let v6 = [("fd00:1::1", "fd00:2::1"), ("fd00:3::1", "fd00:2::1")];
    for (number, (src, dst)) in v4.into_iter().chain(v6).enumerate() {
        let port = 1000 + number as u16;
        for state in [
            TcpState::Established,
            TcpState::CloseWait,
            TcpState::SynSent,
        ] {
            flows.push(tcp(src, dst, port + 100 * state as u16, state));
        }
        flows.push(with_ports(src, dst, 17, port));
    }
    // Translated: the address of the reply's source is the real one.
    let mut translated = tcp("10.0.5.1", "198.51.100.1", 5000, TcpState::Established);
    let real = tcp("10.0.0.1", "10.0.5.1", 443, TcpState::Established).orig;
    translated.reply = Some(Tuple {
        l4: L4::Ports {
            src: 443,
            dst: 5000,
        },
        ..real
    });
    flows.push(translated);
    flows
}

fn with_ports(src: &str, dst: &str, proto: u8, port: u16) -> Flow {
    let addrs = Addrs::new(src.parse().unwrap(), dst.parse().unwrap()).unwrap();
    let l4 = L4::Ports {
        src: port,
        dst: 443,
    };
    let mut flow = Flow::new(Tuple { addrs, proto, l4 });
    flow.reply = Some(flow.orig.mirrored());
    flow.status = Some(Status(
        Status::SEEN_REPLY.0 | Status::ASSURED.0 | Status::CONFIRMED.0,
    ));
    flow.timeout_s = Some(3600);
    flow
}

fn tcp(src: &str, dst: &str, port: u16, state: TcpState) -> Flow {
    let mut flow = with_ports(src, dst, 6, port);
    flow.proto = ProtoInfo::Tcp(Tcp {
        state: Some(state),
        ..Tcp::default()
    });
    flow
}

/// What a node shows after the events and after a restart, with what its peer shows.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    of_events: Vec<String>,
    on_peer: Vec<String>,
    of_dump: Vec<String>,
}

fn seen(peer: Peer, from: &str, filter: &str) -> Seen {
    let mut lab = Lab::new().unwrap();
    let [a, b] = ["a", "b"].map(|role| lab.namespace(role).unwrap());
    lab.cable((&a, "sync"), (&b, "sync")).unwrap();
    for (number, namespace) in [(1, &a), (2, &b)] {
        sample::prepare(namespace).unwrap();
        namespace.untrack("sync").unwrap();
        let addr = format!("192.168.100.{number}/24");
        namespace.add_addr("sync", &addr).unwrap();
    }
    let config = |addr| {
        let mut config = NodeConfig::ftfw_multicast("sync", addr);
        // Its own filter would hide the one that is tested.
        config.filter = Some(String::new());
        config
    };
    let standby = Daemon::start(Peer::Ours, &lab, &b, &config("192.168.100.2")).unwrap();
    let mut filtered = config("192.168.100.1");
    filtered.filter = Some(format!("Filter From {from} {{\n{filter}\n}}"));
    let mut daemon = Daemon::start(peer, &lab, &a, &filtered).unwrap();
    let mut table = Table::open(&a).unwrap();
    table.create(flows()).unwrap();
    let last = tcp(LAST, LAST, 9, TcpState::Established);
    table.create([last]).unwrap();

    let has_last = |lines: &[String]| lines.iter().any(|line| line.contains(LAST));
    let listed = |daemon: &Daemon, cache: fn(&Daemon) -> Vec<String>| {
        let arrived = wait_until(LIMIT, || has_last(&cache(daemon)));
        assert!(arrived, "{peer:?} {from} {filter}\n{}", daemon.messages());
        let mut lines = cache(daemon);
        lines.retain(|line| !line.contains(LAST));
        lines
    };
    let internal: fn(&Daemon) -> Vec<String> = |daemon| daemon.internal().unwrap();
    let external: fn(&Daemon) -> Vec<String> = |daemon| daemon.external().unwrap();
    let of_events = listed(&daemon, internal);
    let on_peer = listed(&standby, external);
    daemon.stop().unwrap();
    daemon.launch().unwrap();
    Seen {
        of_events,
        on_peer,
        of_dump: listed(&daemon, internal),
    }
}

/// Both programs let the same pass; `counts` of entries in user space and in the kernel.
///
/// The kernel sees the original direction only, and wants both of its ends accepted: as the original's table says.
fn filters(filter: &str, counts: [usize; 2]) {
    for (from, count) in ["Userspace", "Kernelspace"].into_iter().zip(counts) {
        let ours = seen(Peer::Ours, from, filter);
        assert_eq!(listing::difference(&ours.of_events, &ours.on_peer), "");
        let mut original = seen(Peer::Original, from, filter);
        if from == "Kernelspace" {
            // The real end of a translated connection, which the kernel does not look at and a dump does; ours looks at
            // it in events too, so that both agree.
            original
                .of_events
                .retain(|line| !line.contains(TRANSLATED) || ours.of_events.contains(line));
        }
        assert_eq!(
            (
                listing::difference(&ours.of_events, &original.of_events),
                listing::difference(&ours.of_dump, &original.of_dump)
            ),
            (String::new(), String::new()),
            "{from}"
        );
        assert_eq!(ours.of_events.len(), count, "{from}: {ours:#?}");
    }
}

macro_rules! cases {
    ($($name:ident: $filter:expr, $count:expr;)*) => {
        $(#[test] fn $name() {
            require_root_or_skip!("conntrackd");
            require_feature_or_skip!(Feature::Conntrack, Feature::Labels);
            filters($filter, $count);
        })*
    };
}

cases! {
    accepted_protocols_pass: "Protocol Accept {\nTCP\nSCTP\n}", [16, 16];
    ignored_protocols_do_not_pass: "Protocol Ignore {\nUDP\nICMP\n}", [16, 16];
    ignored_addresses_are_those_of_both_real_ends:
        "Address Ignore {\nIPv4_address 10.0.0.1\nIPv6_address fd00:3::/32\n}", [8, 8];
    accepted_addresses_are_those_of_both_real_ends:
        "Address Accept {\nIPv4_address 10.0.1.0/24\nIPv4_address 10.9.9.9\nIPv6_address fd00:1::1\n}", [8, 0];
    accepted_states_concern_tcp_only: "State Accept {\nESTABLISHED CLOSE_WAIT for TCP\n}", [16, 16];
    ignored_states_concern_tcp_only: "State Ignore {\nSYN_SENT for TCP\n}", [16, 16];
    all_sets_must_let_an_entry_pass:
        "Protocol Accept {\nTCP\n}\nAddress Ignore {\nIPv4_address 10.0.0.0/16\n}\nState Accept {\nESTABLISHED for TCP\n}", [2, 2];
}
