//! What is written is what is read.

use ctnetlink::request::{self, Ack, UpdateMask, Write};
use flow::{
    Flow, HelperName, Key, L4, Labels, Nat, ProtoInfo, Sctp, SeqAdj, Status, Synproxy, Tcp,
    TcpFlags, TcpState, Zone, protocol,
};
use nix::errno::Errno;

use crate::lab::{Kernel, in_namespace, new_flow, nft, tcp, tuple, udp};

const LIBERAL: TcpFlags = TcpFlags::set(0x0a);

fn tcp_in(sport: u16, state: TcpState) -> Flow {
    Flow {
        proto: ProtoInfo::Tcp(Tcp {
            state: Some(state),
            flags_orig: Some(LIBERAL),
            flags_reply: Some(LIBERAL),
            ..Tcp::default()
        }),
        ..tcp(sport)
    }
}

#[test]
fn every_tcp_state_and_window_scale_is_kept() {
    in_namespace(|kernel| {
        for (port, state) in (1..).zip(TcpState::ALL) {
            let flow = tcp_in(port, state);
            kernel.create(&flow);
            let found = kernel.find(&flow.key()).unwrap();
            assert_eq!(found.proto.tcp_state(), Some(state));
            assert_eq!(found.reply, Some(flow.orig.mirrored()));
            assert!(found.id.is_some() && found.use_count.is_some());
            assert!(found.counters_orig.is_some(), "accounting is on");
            assert!(found.timestamp.unwrap().start_ns > 0);
            assert!((590..=600).contains(&found.timeout_s.unwrap()));
            let ProtoInfo::Tcp(told) = found.proto else {
                panic!("{found:?}");
            };
            assert_eq!(told.flags_orig.unwrap().flags, 0x0a);
        }
        let scale = TcpFlags::set(0x0b);
        let flow = Flow {
            proto: ProtoInfo::Tcp(Tcp {
                state: Some(TcpState::Established),
                wscale_orig: Some(7),
                wscale_reply: Some(14),
                flags_orig: Some(scale),
                flags_reply: Some(scale),
            }),
            ..tcp(100)
        };
        kernel.create(&flow);
        let ProtoInfo::Tcp(told) = kernel.find(&flow.key()).unwrap().proto else {
            panic!();
        };
        assert_eq!((told.wscale_orig, told.wscale_reply), (Some(7), Some(14)));
    });
}

#[test]
fn entries_are_created_updated_and_deleted_as_asked() {
    in_namespace(|kernel| {
        let mut flow = udp(1);
        assert_eq!(
            kernel.write(Write::Update, &flow),
            Err(Errno::ENOENT as i32)
        );
        kernel.create(&flow);
        assert_eq!(
            kernel.write(Write::Create, &flow),
            Err(Errno::EEXIST as i32)
        );
        flow.mark = Some(0x1234);
        flow.status = Some(flow.status_bits() | Status::ASSURED);
        assert_eq!(kernel.write(Write::CreateOrUpdate, &flow), Ok(()));
        let found = kernel.find(&flow.key()).unwrap();
        assert_eq!(found.mark, Some(0x1234));
        assert!(found.status_bits().contains(Status::ASSURED));

        let wrong = found.id.unwrap() ^ 1;
        assert_eq!(
            delete(kernel, &flow.key(), Some(wrong)),
            Err(Errno::ENOENT as i32)
        );
        assert_eq!(delete(kernel, &flow.key(), found.id), Ok(()));
        assert_eq!(kernel.find(&flow.key()), None);

        kernel.create(&flow);
        let by_reply = |seq_buf: &mut Vec<u8>, seq| {
            let reply = flow.orig.mirrored();
            request::delete_flow_by_reply(seq_buf, seq, Ack::Wanted, &reply, Zone::default());
        };
        assert!(kernel.ask(by_reply).is_ok());
        assert_eq!(kernel.find(&flow.key()), None);
    });
}

fn delete(kernel: &Kernel, key: &Key, id: Option<u32>) -> Result<(), i32> {
    kernel
        .ask(|buf, seq| request::delete_flow(buf, seq, Ack::Wanted, key, id))
        .map(|_| ())
}

#[test]
fn other_protocols_keep_what_tells_them_apart() {
    in_namespace(|kernel| {
        let icmp = |proto, src, dst, icmp_type| {
            let mut orig = tuple(proto, src, 0, dst, 0);
            orig.l4 = L4::Icmp {
                id: 0x4321,
                icmp_type,
                code: 0,
            };
            new_flow(orig)
        };
        let mut bare = tuple(89, "10.0.0.1", 0, "10.0.0.2", 0);
        bare.l4 = L4::None;
        let sctp = Flow {
            proto: ProtoInfo::Sctp(Sctp {
                state: Some(4),
                vtag_orig: Some(0x0102_0304),
                vtag_reply: Some(0x0506_0708),
            }),
            ..new_flow(tuple(protocol::SCTP, "10.0.0.1", 5, "10.0.0.2", 6))
        };
        for flow in [
            icmp(protocol::ICMP, "10.0.0.1", "10.0.0.2", 8),
            icmp(protocol::ICMPV6, "fd00::1", "fd00::2", 128),
            new_flow(bare),
            new_flow(tuple(protocol::UDPLITE, "10.0.0.1", 1, "10.0.0.2", 2)),
            new_flow(tuple(protocol::GRE, "10.0.0.1", 3, "10.0.0.2", 4)),
            new_flow(tuple(protocol::UDP, "fd00::1", 5, "fd00::2", 6)),
            sctp,
        ] {
            kernel.create(&flow);
            let found = kernel.find(&flow.key()).unwrap();
            assert_eq!(found.orig, flow.orig);
            assert_eq!(found.reply, Some(flow.orig.mirrored()));
            if flow.proto != ProtoInfo::None {
                assert_eq!(found.proto, flow.proto);
            }
        }
    });
}

#[test]
fn zones_are_kept_and_are_part_of_the_key() {
    in_namespace(|kernel| {
        for (port, zone) in [
            (1, Zone::both(7)),
            (2, Zone { orig: 8, reply: 0 }),
            (3, Zone { orig: 0, reply: 9 }),
        ] {
            let flow = Flow { zone, ..udp(port) };
            kernel.create(&flow);
            let found = kernel.find(&flow.key()).unwrap();
            assert_eq!(found.zone, zone);
            if zone.orig != 0 {
                let unzoned = Key {
                    zone: 0,
                    ..flow.key()
                };
                assert_eq!(kernel.find(&unzoned), None);
            }
            let reply = flow.orig.mirrored();
            let replies = kernel.ask(|buf, seq| {
                request::get_flow_by_reply(buf, seq, Ack::Wanted, &reply, zone);
            });
            assert_eq!(replies.map(|r| r.len()), Ok(1), "{zone:?}");
            assert_eq!(delete(kernel, &flow.key(), None), Ok(()), "{zone:?}");
        }
    });
}

#[test]
fn translations_that_are_asked_for_are_those_that_are_told() {
    in_namespace(|kernel| {
        let both = Nat {
            src_addr: Some("192.0.2.1".parse().unwrap()),
            src_port: Some(4000),
            dst_addr: Some("198.51.100.1".parse().unwrap()),
            dst_port: Some(8080),
        };
        let v6 = Nat {
            src_addr: Some("2001:db8::1".parse().unwrap()),
            src_port: Some(4001),
            dst_addr: Some("2001:db8::2".parse().unwrap()),
            dst_port: Some(8081),
        };
        let source_only = Nat {
            dst_addr: None,
            dst_port: None,
            ..both
        };
        let port_only = Nat {
            dst_port: Some(99),
            ..Nat::default()
        };
        for (port, nat, src, dst) in [
            (1, both, "10.0.0.1", "10.0.0.2"),
            (2, source_only, "10.0.0.1", "10.0.0.3"),
            (3, port_only, "10.0.0.1", "10.0.0.2"),
            (4, v6, "fd00::1", "fd00::2"),
        ] {
            let flow = Flow {
                nat,
                ..new_flow(tuple(protocol::TCP, src, port, dst, 80))
            };
            kernel.create(&flow);
            let found = kernel.find(&flow.key()).unwrap();
            assert_eq!(found.translation(), nat);
            assert_eq!(found.reply, Some(flow.reply_direction()));
            assert_eq!(found.status_bits().contains(Status::SRC_NAT), nat.has_src());
            assert_eq!(found.status_bits().contains(Status::DST_NAT), nat.has_dst());
        }
    });
}

#[test]
fn sequence_shifts_and_syn_proxies_are_kept() {
    in_namespace(|kernel| {
        let adj = |n| SeqAdj {
            correction_pos: n,
            offset_before: n + 1,
            offset_after: n + 2,
        };
        let mut flow = Flow {
            seq_adj_orig: Some(adj(10)),
            seq_adj_reply: Some(adj(20)),
            ..tcp(1)
        };
        kernel.create(&flow);
        let found = kernel.find(&flow.key()).unwrap();
        assert_eq!(
            (found.seq_adj_orig, found.seq_adj_reply),
            (Some(adj(10)), Some(adj(20)))
        );
        assert_eq!(found.synproxy, Some(Synproxy::default()));

        flow.orig = tcp(2).orig;
        flow.seq_adj_orig = None;
        flow.seq_adj_reply = None;
        flow.synproxy = Some(Synproxy {
            isn: 1,
            its: 2,
            tsoff: 3,
        });
        kernel.create(&flow);
        assert_eq!(kernel.find(&flow.key()).unwrap().synproxy, flow.synproxy);
    });
}

#[test]
fn labels_and_marks_are_replaced_or_changed_under_a_mask() {
    in_namespace(|kernel| {
        let rules = "add table ip t; add chain ip t c { type filter hook input priority 0; }; \
                     add rule ip t c ct label set 127";
        if !nft(rules) {
            return;
        }
        let mut flow = Flow {
            labels: Labels::new([0x8000_0001, 2, 3, 4]),
            mark: Some(0xf0f0),
            ..udp(1)
        };
        kernel.create(&flow);
        let found = kernel.find(&flow.key()).unwrap();
        assert_eq!((found.labels, found.mark), (flow.labels, flow.mark));

        flow.labels = Labels::new([0x10]);
        flow.mark = Some(0x0005);
        let mask = UpdateMask {
            mark: Some(0xff),
            labels: Labels::new([0xff]),
        };
        let replies = kernel.ask(|buf, seq| {
            request::update_flow_masked(buf, seq, Ack::Wanted, &flow, &mask);
        });
        assert_eq!(replies, Ok(vec![]));
        let found = kernel.find(&flow.key()).unwrap();
        assert_eq!(found.labels, Labels::new([0x8000_0010, 2, 3, 4]));
        assert_eq!(found.mark, Some(0xf005));

        assert_eq!(kernel.write(Write::Update, &flow), Ok(()));
        let found = kernel.find(&flow.key()).unwrap();
        assert_eq!(found.labels, Labels::new([0x10, 0, 0, 0]));
        assert_eq!(found.mark, Some(5));
    });
}

#[test]
fn a_helper_and_a_master_are_kept() {
    in_namespace(|kernel| {
        let mut master = tcp(1);
        if let L4::Ports { dst, .. } = &mut master.orig.l4 {
            *dst = 21;
        }
        master.helper = HelperName::new(b"ftp");
        match kernel.write(Write::Create, &master) {
            Err(errno) if errno == Errno::EOPNOTSUPP as i32 => {
                println!("skipped: this kernel has no ftp helper");
                return;
            }
            result => assert_eq!(result, Ok(())),
        }
        let found = kernel.find(&master.key()).unwrap();
        assert_eq!(found.helper, HelperName::new(b"ftp"));
        assert!(found.status_bits().contains(Status::HELPER));

        let child = Flow {
            master: Some(master.orig),
            ..tcp(2)
        };
        kernel.create(&child);
        let found = kernel.find(&child.key()).unwrap();
        assert_eq!(found.master, Some(master.orig));
        assert!(found.status_bits().contains(Status::EXPECTED));

        let orphan = Flow {
            master: Some(udp(9).orig),
            ..tcp(3)
        };
        assert_eq!(
            kernel.write(Write::Create, &orphan),
            Err(Errno::ENOENT as i32)
        );
        let removed = Flow {
            helper: HelperName::new(b""),
            status: None,
            ..master
        };
        assert_eq!(kernel.write(Write::Update, &removed), Ok(()));
        assert_eq!(kernel.find(&master.key()).unwrap().helper, None);
    });
}
