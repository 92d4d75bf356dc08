//! Entries to fill a table with.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::Result;
use flow::tuple::protocol::{ICMP, ICMPV6, TCP, UDP};
use flow::{Addrs, Flow, L4, Labels, Nat, ProtoInfo, Status, Tcp, TcpState, Tuple, Zone};

use crate::Namespace;

/// Long enough to outlive a test.
const TIMEOUT_S: u32 = 3600;

/// Makes a namespace able to hold every kind: labels have room only where a rule uses them, and events come for all
/// entries only with `nf_conntrack_events` at 1.
///
/// # Errors
/// The kernel refuses.
pub fn prepare(namespace: &Namespace) -> Result<()> {
    namespace.sysctl("net.netfilter.nf_conntrack_events", "1")?;
    namespace.nft(
        "table inet netlab_labels {
            chain c { type filter hook forward priority 0; ct label set 1; }
        }",
    )
}

/// One entry of each kind that is replicated.
#[must_use]
pub fn every_kind() -> Vec<Flow> {
    let mut flows = Vec::new();
    for v6 in [false, true] {
        let mut number = 0;
        let mut next = |proto| {
            number += 1;
            simple(v6, proto, number)
        };
        for state in &TcpState::ALL[1..] {
            let mut tcp = next(TCP);
            set_state(&mut tcp, *state);
            flows.push(tcp);
        }
        let mut udp = next(UDP);
        flows.push(udp);
        udp = next(UDP);
        add_status(&mut udp, Status::SEEN_REPLY);
        flows.push(udp);
        udp = next(UDP);
        add_status(&mut udp, Status::SEEN_REPLY | Status::ASSURED);
        flows.push(udp);
        let mut icmp = next(if v6 { ICMPV6 } else { ICMP });
        flows.push(icmp);
        icmp = next(if v6 { ICMPV6 } else { ICMP });
        add_status(&mut icmp, Status::SEEN_REPLY);
        flows.push(icmp);

        let mut marked = next(UDP);
        marked.mark = Some(0x1234_5678);
        flows.push(marked);
        let mut labelled = next(TCP);
        set_state(&mut labelled, TcpState::Established);
        labelled.labels = Labels::new([0x8000_0001, 0, 0x10, 0x4000_0000]);
        flows.push(labelled);
        for zone in [7, 8] {
            // The same tuple twice: only the zone tells them apart.
            let mut zoned = simple(v6, UDP, 900);
            zoned.zone = Zone::both(zone);
            flows.push(zoned);
        }
        flows.extend(translated(v6).map(|nat| {
            let mut flow = next(TCP);
            set_state(&mut flow, TcpState::Established);
            translate(&mut flow, nat);
            flow
        }));
    }
    flows
}

/// Source, destination, ports only, everything.
fn translated(v6: bool) -> [Nat; 4] {
    let source = Nat {
        src_addr: Some(addr(v6, 3, 1)),
        src_port: Some(4444),
        ..Nat::default()
    };
    let destination = Nat {
        dst_addr: Some(addr(v6, 3, 2)),
        dst_port: Some(8080),
        ..Nat::default()
    };
    let address = Nat {
        src_addr: Some(addr(v6, 3, 3)),
        ..Nat::default()
    };
    let both = Nat {
        src_addr: Some(addr(v6, 3, 4)),
        src_port: Some(5555),
        ..destination
    };
    [source, destination, address, both]
}

fn translate(flow: &mut Flow, nat: Nat) {
    flow.nat = nat;
    if nat.has_src() {
        add_status(flow, Status::SRC_NAT);
    }
    if nat.has_dst() {
        add_status(flow, Status::DST_NAT);
    }
}

fn add_status(flow: &mut Flow, status: Status) {
    flow.status = Some(flow.status_bits() | status);
}

fn set_state(flow: &mut Flow, state: TcpState) {
    flow.proto = ProtoInfo::Tcp(Tcp {
        state: Some(state),
        ..Tcp::default()
    });
    if !matches!(state, TcpState::SynSent | TcpState::SynSent2) {
        add_status(flow, Status::SEEN_REPLY);
    }
    if !matches!(
        state,
        TcpState::SynSent | TcpState::SynSent2 | TcpState::SynRecv
    ) {
        add_status(flow, Status::ASSURED);
    }
}

fn simple(v6: bool, proto: u8, number: u16) -> Flow {
    let l4 = match proto {
        ICMP | ICMPV6 => L4::Icmp {
            id: number,
            icmp_type: if v6 { 128 } else { 8 },
            code: 0,
        },
        _ => L4::Ports {
            src: 1000 + number,
            dst: 80,
        },
    };
    let addrs = if v6 {
        Addrs::V6 {
            src: v6_addr(1, 1),
            dst: v6_addr(2, 1),
        }
    } else {
        Addrs::V4 {
            src: Ipv4Addr::new(10, 1, 0, 1),
            dst: Ipv4Addr::new(10, 2, 0, 1),
        }
    };
    confirmed(Tuple { addrs, proto, l4 })
}

fn confirmed(orig: Tuple) -> Flow {
    let mut flow = Flow::new(orig);
    flow.status = Some(Status::CONFIRMED);
    flow.timeout_s = Some(TIMEOUT_S);
    flow
}

fn addr(v6: bool, net: u8, host: u8) -> IpAddr {
    if v6 {
        v6_addr(u16::from(net), u16::from(host)).into()
    } else {
        Ipv4Addr::new(10, net, 0, host).into()
    }
}

fn v6_addr(net: u16, host: u16) -> Ipv6Addr {
    Ipv6Addr::new(0xfd00, net, 0, 0, 0, 0, 0, host)
}

/// An entry unlike that of any other number below 2^26: a quarter IPv6, a quarter UDP, the rest established TCP.
#[must_use]
pub fn nth(number: u32) -> Flow {
    let [_, high, middle, low] = number.to_be_bytes();
    let ports = L4::Ports {
        src: 1024 + ((number >> 2) & 0x7fff) as u16,
        dst: 443,
    };
    let addrs = if number & 3 == 0 {
        Addrs::V6 {
            src: Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, (number >> 16) as u16, number as u16),
            dst: v6_addr(2, 1),
        }
    } else {
        Addrs::V4 {
            src: Ipv4Addr::new(10 + (number >> 24) as u8, high, middle, low),
            dst: Ipv4Addr::new(192, 0, 2, 1),
        }
    };
    let udp = number & 3 == 1;
    let mut flow = confirmed(Tuple {
        addrs,
        proto: if udp { UDP } else { TCP },
        l4: ports,
    });
    if udp {
        add_status(&mut flow, Status::SEEN_REPLY | Status::ASSURED);
    } else {
        set_state(&mut flow, TcpState::Established);
    }
    flow
}
