//! Records what the kernel says into `tests/captures`; run by hand when a new kernel says more.

use std::{fs, net::UdpSocket, path::Path, process::Command};

use ctnetlink::{
    request::{self, Ack, DumpFilter, Write},
    socket::{DUMP_BUFFER_LEN, EventSocket, Group, Received},
};
use flow::{
    Addrs, ExpectNat, Expectation, Flow, HelperName, L4, Labels, Nat, ProtoInfo, Sctp, SeqAdj,
    Status, Synproxy, Tcp, TcpFlags, TcpState, Tuple, Zone, protocol,
};

use crate::lab::{Kernel, drain, in_namespace, listen, new_flow, nft, tcp, tuple, udp};

fn keep(name: &str, bytes: &[u8]) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/captures");
    fs::write(folder.join(name).with_extension("bin"), bytes).unwrap();
}

fn keep_events(prefix: &str, events: &EventSocket) {
    for (number, heard) in (1..).zip(drain(events)) {
        keep(&format!("{prefix}-{number}"), &heard.bytes);
    }
}

fn delete(kernel: &Kernel, flow: &Flow) {
    let deleted = kernel.ask(|buf, seq| {
        request::delete_flow(buf, seq, Ack::Wanted, &flow.key(), None);
    });
    assert_eq!(deleted, Ok(vec![]));
}

/// TCP with everything that an entry can hold.
fn full() -> Flow {
    let shift = |n| SeqAdj {
        correction_pos: n,
        offset_before: n + 1,
        offset_after: n + 2,
    };
    let scaled = TcpFlags::set(0x0b);
    Flow {
        status: Some(Status::CONFIRMED | Status::SEEN_REPLY | Status::ASSURED),
        mark: Some(0x1234),
        zone: Zone { orig: 7, reply: 0 },
        proto: ProtoInfo::Tcp(Tcp {
            state: Some(TcpState::Established),
            wscale_orig: Some(7),
            wscale_reply: Some(9),
            flags_orig: Some(scaled),
            flags_reply: Some(scaled),
        }),
        nat: Nat {
            src_addr: Some("192.0.2.1".parse().unwrap()),
            src_port: Some(4000),
            dst_addr: Some("198.51.100.1".parse().unwrap()),
            dst_port: Some(8080),
        },
        seq_adj_orig: Some(shift(100)),
        seq_adj_reply: Some(shift(200)),
        labels: Labels::new([1, 0, 0, 0x8000_0000]),
        synproxy: Some(Synproxy {
            isn: 1,
            its: 2,
            tsoff: 3,
        }),
        ..tcp(1000)
    }
}

#[test]
#[ignore = "overwrites tests/captures"]
fn record() {
    in_namespace(|kernel| {
        assert!(nft(
            "add table ip t; add chain ip t c { type filter hook output priority 0; }; \
                     add rule ip t c ct label set 127"
        ));
        let events = listen(&Group::FLOWS);
        record_flows(kernel, &events);
        record_packets(&events);
        record_dump(kernel);
        record_expectation(kernel);
    });
}

fn record_flows(kernel: &Kernel, events: &EventSocket) {
    let flow = full();
    kernel.create(&flow);
    let update = Flow {
        nat: Nat::default(),
        mark: Some(5),
        ..flow
    };
    assert_eq!(kernel.write(Write::Update, &update), Ok(()));
    delete(kernel, &flow);
    keep_events("tcp-full", events);

    let mut ping = tuple(protocol::ICMPV6, "fd00::1", 0, "fd00::2", 0);
    ping.l4 = L4::Icmp {
        id: 0x4321,
        icmp_type: 128,
        code: 0,
    };
    let ping = Flow {
        zone: Zone::both(9),
        ..new_flow(ping)
    };
    kernel.create(&ping);
    keep_events("icmpv6-zone", events);

    kernel.create(&Flow {
        proto: ProtoInfo::Sctp(Sctp {
            state: Some(4),
            vtag_orig: Some(0x0102_0304),
            vtag_reply: Some(0x0506_0708),
        }),
        ..new_flow(tuple(protocol::SCTP, "10.0.0.1", 5, "10.0.0.2", 6))
    });
    keep_events("sctp", events);
}

/// A datagram on the loopback and its answer: what the kernel says of its own accord.
fn record_packets(events: &EventSocket) {
    let up = Command::new("ip")
        .args(["link", "set", "lo", "up"])
        .status();
    assert!(up.unwrap().success());
    drain(events);
    let server = UdpSocket::bind("127.0.0.1:5353").unwrap();
    let client = UdpSocket::bind("127.0.0.1:40000").unwrap();
    client.send_to(b"question", "127.0.0.1:5353").unwrap();
    let (len, from) = server.recv_from(&mut [0; 64]).unwrap();
    assert_eq!(len, 8);
    server.send_to(b"answer", from).unwrap();
    keep_events("udp-packets", events);
}

fn record_dump(kernel: &Kernel) {
    let mut master = tcp(21000);
    if let L4::Ports { dst, .. } = &mut master.orig.l4 {
        *dst = 21;
    }
    master.helper = HelperName::new(b"ftp");
    kernel.create(&master);
    kernel.create(&Flow {
        master: Some(master.orig),
        mark: Some(99),
        ..udp(7)
    });
    let mut request = Vec::new();
    let filter = DumpFilter {
        mark: Some((99, u32::MAX)),
        ..DumpFilter::default()
    };
    request::dump_flows(&mut request, 0x0a0b_0c0d, &filter);
    kernel.socket.send(&request).unwrap();
    let mut buf = vec![0; DUMP_BUFFER_LEN];
    let mut number = 1;
    while let Received::Data(len) = kernel.socket.receive(&mut buf).unwrap() {
        keep(&format!("dump-child-{number}"), &buf[..len]);
        number += 1;
    }
}

fn record_expectation(kernel: &Kernel) {
    let events = listen(&Group::EXPECTATIONS);
    let mut master = tcp(21000);
    if let L4::Ports { dst, .. } = &mut master.orig.l4 {
        *dst = 21;
    }
    let any = "255.255.255.255".parse().unwrap();
    let expectation = Expectation {
        class: Some(0),
        flags: Some(1),
        helper: HelperName::new(b"ftp"),
        nat: Some(ExpectNat {
            direction: 1,
            tuple: Some(tuple(protocol::TCP, "192.0.2.7", 7777, "0.0.0.0", 0)),
        }),
        ..Expectation::new(
            master.orig,
            tuple(protocol::TCP, "10.0.0.2", 0, "10.0.0.1", 2000),
            Tuple {
                addrs: Addrs::new(any, any).unwrap(),
                proto: protocol::TCP,
                l4: L4::Ports {
                    src: 0,
                    dst: u16::MAX,
                },
            },
        )
    };
    let written = kernel.ask(|buf, seq| {
        request::write_expectation(buf, seq, Ack::Wanted, Write::Create, &expectation);
    });
    assert_eq!(written, Ok(vec![]));
    assert_eq!(kernel.ask(request::flush_expectations), Ok(vec![]));
    keep_events("expectation", &events);
}
