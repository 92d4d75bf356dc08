//! The socket filter against real events.

use ctnetlink::{
    bpf,
    request::{self, DumpFilter},
    socket::{EventSocket, Group},
};
use flow::{
    Action, Flow, FlowFilter, ProtoInfo, Tcp, TcpFlags, TcpState, filter::Network, protocol,
};

use crate::lab::{Kernel, drain, in_namespace, listen, new_flow, tcp, tuple, udp};

fn filtered(filter: &FlowFilter, own_ports: &[u32]) -> EventSocket {
    let events = listen(&Group::FLOWS);
    let program = bpf::program(filter, own_ports).unwrap();
    events.attach_filter(&program).unwrap();
    events
}

fn flush(kernel: &Kernel) {
    let all = DumpFilter::default();
    let flushed = kernel.ask(|buf, seq| request::flush_flows(buf, seq, &all));
    assert_eq!(flushed, Ok(vec![]));
}

fn net(addr: &str, prefix_len: u8) -> Network {
    Network {
        addr: addr.parse().unwrap(),
        prefix_len,
    }
}

#[test]
fn an_empty_filter_lets_everything_pass_and_can_be_replaced_and_removed() {
    in_namespace(|kernel| {
        let events = filtered(&FlowFilter::default(), &[]);
        kernel.create(&udp(1));
        assert_eq!(drain(&events).len(), 1);
        let nothing = FlowFilter {
            protocols: Some((Action::Accept, vec![])),
            ..FlowFilter::default()
        };
        let program = bpf::program(&nothing, &[]).unwrap();
        events.attach_filter(&program).unwrap();
        kernel.create(&udp(2));
        assert_eq!(drain(&events).len(), 0);
        events.detach_filter().unwrap();
        kernel.create(&udp(3));
        assert_eq!(drain(&events).len(), 1);
    });
}

#[test]
fn changes_of_a_port_can_be_left_out() {
    in_namespace(|kernel| {
        let other = Kernel::open();
        let events = filtered(&FlowFilter::default(), &[1, kernel.socket.port_id()]);
        kernel.create(&udp(1));
        other.create(&udp(2));
        let heard = drain(&events);
        assert_eq!(heard.len(), 1);
        assert_eq!(heard[0].port_id, other.socket.port_id());
    });
}

#[test]
fn protocols_are_filtered() {
    in_namespace(|kernel| {
        for (action, expected) in [
            (Action::Accept, vec![protocol::TCP]),
            (Action::Ignore, vec![protocol::UDP]),
        ] {
            let filter = FlowFilter {
                protocols: Some((action, vec![protocol::SCTP, protocol::TCP])),
                ..FlowFilter::default()
            };
            let events = filtered(&filter, &[]);
            kernel.create(&udp(1));
            kernel.create(&tcp(1));
            let heard: Vec<_> = drain(&events)
                .iter()
                .map(|heard| heard.flow().1.orig.proto)
                .collect();
            assert_eq!(heard, expected, "{action:?}");
            flush(kernel);
        }
    });
}

/// The rows of the reference: which flows a list of 10.1.0.0/24 and 10.7.0.9 lets pass.
#[test]
fn addresses_are_those_of_the_original_tuple() {
    in_namespace(|kernel| {
        let networks = vec![net("10.1.0.0", 24), net("10.7.0.9", 32)];
        let rows = [
            ("10.1.0.5", "10.1.0.6", true, false),
            ("10.1.0.5", "10.9.0.1", false, false),
            ("10.9.0.1", "10.1.0.5", false, false),
            ("10.9.0.1", "10.9.0.2", false, true),
            ("10.7.0.9", "10.9.0.2", false, false),
            ("10.9.0.3", "10.7.0.9", false, false),
            ("fd00::1", "fd00::2", false, true),
        ];
        for action in [Action::Accept, Action::Ignore] {
            let filter = FlowFilter {
                addresses: Some((action, networks.clone())),
                ..FlowFilter::default()
            };
            let events = filtered(&filter, &[]);
            for (src, dst, accepted, not_ignored) in rows {
                kernel.create(&new_flow(tuple(protocol::UDP, src, 1, dst, 2)));
                let passes = match action {
                    Action::Accept => accepted,
                    Action::Ignore => not_ignored,
                };
                let heard = drain(&events).len();
                assert_eq!(heard, usize::from(passes), "{action:?} {src} {dst}");
            }
            flush(kernel);
        }
    });
}

#[test]
fn prefixes_of_both_families_match_at_any_length() {
    in_namespace(|kernel| {
        let rows = [
            (net("2001:db8:0:1::", 64), "2001:db8:0:1::5", true),
            (net("2001:db8:0:1::", 64), "2001:db8:0:2::5", false),
            (net("2001:db8::f0", 124), "2001:db8::ff", true),
            (net("2001:db8::f0", 124), "2001:db8::ef", false),
            (net("2001:db8::1", 128), "2001:db8::1", true),
            (net("2001:db8::1", 128), "2001:db8::2", false),
            (net("2000::", 3), "3fff::1", true),
            (net("2000::", 3), "4000::1", false),
            (net("::", 0), "4000::1", true),
            (net("10.128.0.0", 9), "10.200.0.1", true),
            (net("10.128.0.0", 9), "10.100.0.1", false),
            (net("0.0.0.0", 0), "10.100.0.1", true),
        ];
        for (network, src, listed) in rows {
            let filter = FlowFilter {
                addresses: Some((Action::Ignore, vec![network])),
                ..FlowFilter::default()
            };
            let events = filtered(&filter, &[]);
            let dst = if src.contains(':') {
                "fd00::1"
            } else {
                "192.0.2.1"
            };
            let dst_listed = network.contains(dst.parse().unwrap());
            kernel.create(&new_flow(tuple(protocol::UDP, src, 1, dst, 2)));
            let heard = drain(&events).len();
            let passes = !(listed || dst_listed);
            assert_eq!(heard, usize::from(passes), "{network:?} {src}");
            flush(kernel);
        }
    });
}

#[test]
fn the_longest_lists_are_taken_and_longer_ones_refused() {
    in_namespace(|kernel| {
        let many = |v4: u8, v6: u8| {
            let v4 = (0..v4).map(|n| net(&format!("10.{n}.0.0"), 16));
            let v6 = (0..v6).map(|n| net(&format!("fd00::{n:x}"), 128));
            FlowFilter {
                addresses: Some((Action::Accept, v4.chain(v6).collect())),
                protocols: Some((Action::Accept, (0..=255).collect())),
                tcp_states: Some((Action::Ignore, TcpState::ALL.to_vec())),
            }
        };
        let events = filtered(&many(127, 20), &[]);
        for (src, dst, passes) in [
            ("10.0.0.1", "10.126.0.1", true),
            ("10.126.0.2", "10.126.0.1", true),
            ("10.127.0.1", "10.126.0.1", false),
            ("fd00::0", "fd00::13", true),
            ("fd00::14", "fd00::13", false),
        ] {
            kernel.create(&new_flow(tuple(protocol::UDP, src, 1, dst, 2)));
            assert_eq!(drain(&events).len(), usize::from(passes), "{src} {dst}");
        }
        for (filter, version, limit) in [(many(128, 0), 4, 127), (many(0, 21), 6, 20)] {
            assert_eq!(
                bpf::program(&filter, &[]),
                Err(bpf::FilterError::TooManyAddresses {
                    version,
                    got: limit + 1,
                    limit
                })
            );
        }
    });
}

#[test]
fn states_concern_only_events_that_carry_one() {
    in_namespace(|kernel| {
        let in_state = |port, state| Flow {
            proto: ProtoInfo::Tcp(Tcp {
                state: Some(state),
                flags_orig: Some(TcpFlags::set(0x0a)),
                flags_reply: Some(TcpFlags::set(0x0a)),
                ..Tcp::default()
            }),
            ..tcp(port)
        };
        for (action, expected) in [
            (Action::Accept, vec![2, 9, 1, 2, 9]),
            (Action::Ignore, vec![1, 9, 1, 2, 9]),
        ] {
            let filter = FlowFilter {
                tcp_states: Some((action, vec![TcpState::Established, TcpState::Close])),
                ..FlowFilter::default()
            };
            let events = filtered(&filter, &[]);
            kernel.create(&in_state(1, TcpState::SynSent));
            kernel.create(&in_state(2, TcpState::Established));
            kernel.create(&udp(9));
            let mut heard = drain(&events);
            flush(kernel);
            // Destroy events pass whatever their state; their order is the table's.
            let mut gone = drain(&events);
            gone.sort_by_key(|heard| heard.flow().1.orig.sport());
            heard.extend(gone);
            let ports: Vec<_> = heard
                .iter()
                .filter_map(|heard| heard.flow().1.orig.sport())
                .collect();
            assert_eq!(ports, expected, "{action:?}");
        }
    });
}
