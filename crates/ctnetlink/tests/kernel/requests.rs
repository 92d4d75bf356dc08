//! Batches, dump conditions, flushes, statistics.

use std::{
    io::{self, ErrorKind},
    os::fd::AsFd as _,
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    thread,
};

use ctnetlink::{
    Reply, messages, parse,
    request::{self, Ack, DumpFilter, TupleFilter, TupleMatch, Write},
    socket::{DUMP_BUFFER_LEN, Received},
    stats,
};
use flow::{Family, Flow, Status, Zone, protocol};
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
};

use crate::lab::{Kernel, flows, in_namespace, new_flow, tcp, tuple, udp};

#[test]
fn an_error_in_a_batch_names_the_message_and_does_not_stop_the_rest() {
    in_namespace(|kernel| {
        let mut batch = Vec::new();
        for (seq, port) in [(10, 1), (11, 2), (12, 1), (13, 3), (14, 4)] {
            let mut flow = udp(port);
            if seq == 13 {
                flow.timeout_s = None;
            }
            let ack = if seq == 14 { Ack::Wanted } else { Ack::Silent };
            request::write_flow(&mut batch, seq, ack, Write::Create, &flow);
        }
        kernel.socket.send(&batch).unwrap();
        let mut buf = vec![0; DUMP_BUFFER_LEN];
        let mut verdicts = Vec::new();
        while let Received::Data(len) = kernel.socket.receive(&mut buf).unwrap() {
            for message in messages(&buf[..len]).map(Result::unwrap) {
                assert_eq!(message.payload.len(), 20, "only the header comes back");
                verdicts.push((message.header.seq, parse::reply(&message).unwrap()));
            }
        }
        let verdict = |errno| Reply::Verdict { errno };
        assert_eq!(
            verdicts,
            [
                (12, verdict(Errno::EEXIST as i32)),
                (13, verdict(Errno::EINVAL as i32)),
                (14, verdict(0))
            ]
        );
        assert_eq!(kernel.dump(&DumpFilter::default()).len(), 3);
    });
}

#[test]
fn a_batch_beyond_the_send_buffer_is_refused_whole() {
    in_namespace(|kernel| {
        let len = kernel.socket.set_send_buffer(8192).unwrap();
        let mut batch = Vec::new();
        for port in 1.. {
            request::write_flow(&mut batch, 1, Ack::Silent, Write::Create, &udp(port));
            if batch.len() > len {
                break;
            }
        }
        let error = kernel.socket.send(&batch).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(Errno::EMSGSIZE as i32));
        assert_eq!(kernel.dump(&DumpFilter::default()), []);
    });
}

#[test]
fn a_datagram_longer_than_the_buffer_is_an_error_not_a_cut_message() {
    in_namespace(|kernel| {
        kernel.create(&udp(1));
        let mut buf = Vec::new();
        request::dump_flows(&mut buf, 1, &DumpFilter::default());
        kernel.socket.send(&buf).unwrap();
        let error = kernel.socket.receive(&mut [0; 64]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData);
    });
}

/// Ports of the entries that a dump gives.
fn ports(kernel: &Kernel, filter: DumpFilter) -> Vec<u16> {
    let mut ports: Vec<_> = kernel
        .dump(&filter)
        .iter()
        .filter_map(|flow| flow.orig.sport())
        .collect();
    ports.sort_unstable();
    ports
}

fn populate(kernel: &Kernel) {
    kernel.create(&udp(1));
    kernel.create(&Flow {
        mark: Some(0x15),
        ..udp(2)
    });
    kernel.create(&Flow {
        status: Some(Status::CONFIRMED),
        zone: Zone::both(4),
        ..tcp(3)
    });
    kernel.create(&new_flow(tuple(
        protocol::TCP,
        "fd00::1",
        4,
        "fd00::2",
        443,
    )));
}

#[test]
fn each_condition_restricts_a_dump() {
    in_namespace(|kernel| {
        populate(kernel);
        let all = DumpFilter::default();
        assert_eq!(ports(kernel, all), [1, 2, 3, 4]);
        let family = DumpFilter {
            family: Some(Family::Ipv6),
            ..all
        };
        assert_eq!(ports(kernel, family), [4]);
        let mark = DumpFilter {
            mark: Some((0x10, 0xf0)),
            ..all
        };
        assert_eq!(ports(kernel, mark), [2]);
        let unreplied = DumpFilter {
            status: Some((Status(0), Status::SEEN_REPLY)),
            ..all
        };
        assert_eq!(ports(kernel, unreplied), [3]);
        let zone = DumpFilter {
            zone: Some(4),
            ..all
        };
        assert_eq!(ports(kernel, zone), [3]);
        let unzoned = DumpFilter {
            zone: Some(0),
            ..all
        };
        assert_eq!(ports(kernel, unzoned), [1, 2, 4]);
        let nonsense = DumpFilter {
            status: Some((Status(0), Status(0))),
            ..all
        };
        assert_eq!(kernel.try_dump(&nonsense), Err(Errno::EINVAL as i32));
    });
}

#[test]
fn tuple_fields_restrict_a_dump() {
    in_namespace(|kernel| {
        populate(kernel);
        let filter = |orig, reply| DumpFilter {
            tuple: Some(TupleFilter { orig, reply }),
            ..DumpFilter::default()
        };
        let any = TupleMatch::default();
        let source = TupleMatch {
            src: Some("10.0.0.1".parse().unwrap()),
            ..any
        };
        assert_eq!(ports(kernel, filter(source, any)), [1, 2, 3]);
        let port = TupleMatch {
            proto: Some(protocol::UDP),
            sport: Some(2),
            ..source
        };
        assert_eq!(ports(kernel, filter(port, any)), [2]);
        let reply = TupleMatch {
            proto: Some(protocol::TCP),
            sport: Some(443),
            dport: Some(4),
            ..any
        };
        let reply_v6 = DumpFilter {
            family: Some(Family::Ipv6),
            ..filter(any, reply)
        };
        assert_eq!(ports(kernel, reply_v6), [4]);
        let other = TupleMatch {
            dst: Some("10.0.0.9".parse().unwrap()),
            ..any
        };
        assert_eq!(ports(kernel, filter(other, any)), []);
        assert_eq!(ports(kernel, filter(any, any)), [1, 2, 3, 4]);
        let no_family = TupleMatch {
            proto: Some(protocol::UDP),
            ..any
        };
        assert_eq!(
            kernel.try_dump(&filter(no_family, any)),
            Err(Errno::EOPNOTSUPP as i32)
        );
        let portless = TupleMatch {
            sport: Some(2),
            ..source
        };
        assert_eq!(
            kernel.try_dump(&filter(portless, any)),
            Err(Errno::EINVAL as i32)
        );
    });
}

/// The kernel would tell, or delete, all entries but those with the address.
#[test]
fn ipv6_addresses_do_not_restrict_a_dump_and_stop_a_flush() {
    in_namespace(|kernel| {
        populate(kernel);
        let filter = DumpFilter {
            tuple: Some(TupleFilter {
                orig: TupleMatch {
                    src: Some("fd00::1".parse().unwrap()),
                    ..TupleMatch::default()
                },
                ..TupleFilter::default()
            }),
            ..DumpFilter::default()
        };
        assert_eq!(ports(kernel, filter), [4]);
        let other = new_flow(tuple(protocol::TCP, "fd00::8", 5, "fd00::9", 443));
        kernel.create(&other);
        assert_eq!(ports(kernel, filter), [4, 5]);
        let flushed = kernel.ask(|buf, seq| request::flush_flows(buf, seq, &filter));
        assert_eq!(flushed, Err(Errno::EINVAL as i32));
        assert_eq!(ports(kernel, DumpFilter::default()), [1, 2, 3, 4, 5]);
    });
}

#[test]
fn icmp_fields_restrict_a_dump() {
    in_namespace(|kernel| {
        let ping = |proto, src: &str, dst: &str, icmp_type, id| {
            let mut orig = tuple(proto, src, 0, dst, 0);
            orig.l4 = flow::L4::Icmp {
                id,
                icmp_type,
                code: 0,
            };
            new_flow(orig)
        };
        for id in [7, 8] {
            kernel.create(&ping(protocol::ICMP, "10.0.0.1", "10.0.0.2", 8, id));
            kernel.create(&ping(protocol::ICMPV6, "fd00::1", "fd00::2", 128, id));
        }
        for (family, proto, icmp_type) in [
            (Family::Ipv4, protocol::ICMP, 8),
            (Family::Ipv6, protocol::ICMPV6, 128),
        ] {
            let orig = TupleMatch {
                proto: Some(proto),
                icmp_type: Some(icmp_type),
                icmp_code: Some(0),
                icmp_id: Some(7),
                ..TupleMatch::default()
            };
            let filter = DumpFilter {
                family: Some(family),
                tuple: Some(TupleFilter {
                    orig,
                    ..TupleFilter::default()
                }),
                ..DumpFilter::default()
            };
            let found = kernel.dump(&filter);
            assert_eq!(found.len(), 1, "{found:?}");
            assert!(matches!(found[0].orig.l4, flow::L4::Icmp { id: 7, .. }));
        }
    });
}

#[test]
fn a_flush_honours_the_family_and_the_mark() {
    in_namespace(|kernel| {
        populate(kernel);
        let flush = |filter: DumpFilter| {
            let replies = kernel.ask(|buf, seq| request::flush_flows(buf, seq, &filter));
            assert_eq!(replies, Ok(vec![]));
        };
        let all = DumpFilter::default();
        flush(DumpFilter {
            family: Some(Family::Ipv6),
            ..all
        });
        assert_eq!(ports(kernel, all), [1, 2, 3]);
        flush(DumpFilter {
            mark: Some((0x15, u32::MAX)),
            ..all
        });
        assert_eq!(ports(kernel, all), [1, 3]);
        flush(all);
        assert_eq!(ports(kernel, all), []);
    });
}

#[test]
fn dumps_of_other_lists_are_answered() {
    in_namespace(|kernel| {
        populate(kernel);
        let all = DumpFilter::default();
        let zeroed = kernel.ask(|buf, seq| {
            request::dump_flows_and_zero_counters(buf, seq, &all);
        });
        assert_eq!(flows(&zeroed.unwrap()).len(), 4);
        let dying = kernel.ask(|buf, seq| request::dump_dying(buf, seq, &all));
        assert_eq!(dying, Ok(vec![]));
        let unconfirmed = kernel.ask(|buf, seq| request::dump_unconfirmed(buf, seq, &all));
        assert_eq!(unconfirmed, Ok(vec![]));
    });
}

#[test]
fn statistics_count_entries_and_cpus() {
    in_namespace(|kernel| {
        populate(kernel);
        let mut buf = Vec::new();
        let mut global = None;
        request::global_stats(&mut buf, 90);
        kernel
            .socket
            .transact(&buf, |message| {
                global = stats::global(message).unwrap();
                Ok(())
            })
            .unwrap();
        let global = global.unwrap();
        assert_eq!(global.entries, Some(4));
        assert!(global.max_entries.unwrap() > 4);

        let mut cpus = Vec::new();
        buf.clear();
        request::cpu_stats(&mut buf, 91);
        kernel
            .socket
            .transact(&buf, |message| {
                cpus.extend(stats::cpu(message).unwrap());
                Ok(())
            })
            .unwrap();
        let numbers: Vec<_> = cpus.iter().map(|cpu| cpu.cpu).collect();
        assert_eq!(numbers, (0..).take(cpus.len()).collect::<Vec<_>>());
        assert!(cpus.iter().all(|cpu| cpu.found.is_some()
            && cpu.insert_failed.is_some()
            && cpu.chain_toolong.is_some()));

        let mut expectation_cpus = Vec::new();
        buf.clear();
        request::expectation_cpu_stats(&mut buf, 92);
        kernel
            .socket
            .transact(&buf, |message| {
                expectation_cpus.extend(stats::expectation_cpu(message).unwrap());
                Ok(())
            })
            .unwrap();
        assert_eq!(expectation_cpus.len(), cpus.len());
        assert!(expectation_cpus.iter().all(|cpu| cpu.delete == Some(0)));
    });
}

/// The kernel takes a dump for one that goes on until a moment after its end can be read, and adds the next part for whoever
/// reads. A reader that is quicker than that moment is told that there is no dump (EINVAL), which says nothing about its own
/// reading. Somebody who waits to be woken up makes the moment longer.
#[test]
fn a_dump_can_be_read_by_one_thread_while_another_asks_for_it() {
    const DUMPS: u32 = 8000;
    in_namespace(|kernel| {
        let socket = &kernel.socket;
        let answered = AtomicU32::new(0);
        let has_ended = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !has_ended.load(Ordering::Relaxed) {
                    let mut fds = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
                    poll(&mut fds, PollTimeout::from(1_u8)).unwrap();
                }
            });
            let reader = scope.spawn(|| {
                let mut buf = vec![0; DUMP_BUFFER_LEN];
                while !has_ended.load(Ordering::Relaxed) {
                    if let Received::Data(len) = socket.receive(&mut buf)? {
                        let end = messages(&buf[..len]).last().unwrap().unwrap();
                        assert_eq!(parse::reply(&end), Ok(Reply::Done { errno: 0 }));
                        answered.store(end.header.seq, Ordering::Relaxed);
                    }
                }
                Ok::<_, io::Error>(())
            });
            for seq in 1..=DUMPS {
                let mut request = Vec::new();
                request::dump_expectations(&mut request, seq, None);
                socket.send(&request).unwrap();
                while answered.load(Ordering::Relaxed) != seq && !reader.is_finished() {
                    std::hint::spin_loop();
                }
            }
            has_ended.store(true, Ordering::Relaxed);
            reader.join().unwrap().unwrap();
        });
    });
}
