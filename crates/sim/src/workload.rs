//! Traffic of one node: connections come, change, announce others and go.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Instant;

use flow::{
    Addrs, Expectation, Flow, HelperName, Key, L4, Labels, Nat, ProtoInfo, Sctp, SeqAdj, Status,
    Synproxy, Tcp, TcpFlags, TcpState, Tuple, Zone, protocol,
};

use crate::kernel::{OTHER_TOOL, PACKETS};
use crate::{Rng, SimKernel};

/// What kind of traffic a node sees.
#[derive(Clone, Debug)]
pub struct Workload {
    rng: Rng,
    /// Tells the addresses of the nodes apart.
    node: u8,
    /// Entries that the table hovers around.
    pub size: usize,
}

const STATES: [TcpState; 7] = [
    TcpState::SynSent,
    TcpState::SynRecv,
    TcpState::Established,
    TcpState::FinWait,
    TcpState::LastAck,
    TcpState::TimeWait,
    TcpState::Close,
];

impl Workload {
    /// Traffic between addresses of this node.
    #[must_use]
    pub fn new(node: u8, size: usize) -> Self {
        let rng = Rng::new(0);
        Self { rng, node, size }
    }

    /// One thing happens, which this number decides.
    pub fn step(&mut self, seed: u64, kernel: &mut SimKernel, now: Instant) {
        self.rng = Rng::new(seed);
        let full = kernel.len() * 500 / self.size.max(1);
        match self.rng.below(1000) as usize {
            n if n < 650usize.saturating_sub(full) => self.create(kernel, now),
            n if n < 750 => self.change(kernel, now),
            n if n < 850 => self.announce(kernel, now),
            n if n < 880 => self.arrive(kernel, now),
            _ => self.end(kernel, now),
        }
    }

    /// Some key in the table.
    fn some_key(&mut self, kernel: &SimKernel) -> Option<Key> {
        let keys = kernel.keys();
        (!keys.is_empty()).then(|| *self.rng.pick(&keys))
    }

    fn create(&mut self, kernel: &mut SimKernel, now: Instant) {
        let flow = self.flow();
        let cause = if self.rng.chance(950) {
            PACKETS
        } else {
            OTHER_TOOL
        };
        kernel.create(now, flow, cause);
    }

    fn end(&mut self, kernel: &mut SimKernel, now: Instant) {
        if let Some(key) = self.some_key(kernel) {
            let cause = if self.rng.chance(950) {
                PACKETS
            } else {
                OTHER_TOOL
            };
            kernel.destroy(now, &key, cause);
        }
    }

    fn change(&mut self, kernel: &mut SimKernel, now: Instant) {
        let Some(key) = self.some_key(kernel) else {
            return;
        };
        let rng = &mut self.rng;
        kernel.update(now, &key, PACKETS, |flow| match rng.below(5) {
            0 => flow.mark = Some(rng.below(4) as u32),
            1 => flow.labels = Labels::new([rng.below(3) as u32, 0, 0, 1]),
            2 => flow.timeout_s = Some(rng.between(30, 3000) as u32),
            3 => {
                let seen = Status::SEEN_REPLY | Status::ASSURED;
                flow.status = flow.status.map(|status| status | seen);
                flow.timeout_s = Some(rng.between(30, 3000) as u32);
            }
            _ => advance(&mut flow.proto, rng),
        });
    }

    /// A helper expects a connection.
    fn announce(&mut self, kernel: &mut SimKernel, now: Instant) {
        let masters: Vec<Flow> = kernel
            .flows(now)
            .filter(|flow| flow.helper.is_some() && flow.zone == Zone::default())
            .collect();
        if masters.is_empty() {
            return;
        }
        let master = *self.rng.pick(&masters);
        let ports = |src, dst| L4::Ports { src, dst };
        let tuple = Tuple {
            addrs: master.orig.addrs.swapped(),
            proto: protocol::TCP,
            l4: ports(0, self.rng.between(20000, 20100) as u16),
        };
        let all_bits = match master.orig.addrs {
            Addrs::V4 { .. } => IpAddr::from(Ipv4Addr::BROADCAST),
            Addrs::V6 { .. } => IpAddr::from(Ipv6Addr::from_bits(u128::MAX)),
        };
        let Some(addrs) = Addrs::new(all_bits, all_bits) else {
            return;
        };
        let mask = Tuple {
            addrs,
            proto: protocol::TCP,
            l4: ports(0, u16::MAX),
        };
        let expectation = Expectation {
            zone: master.zone.orig,
            helper: master.helper,
            ..Expectation::new(master.orig, tuple, mask)
        };
        let _ = kernel.expect(now, expectation, PACKETS);
    }

    /// An expected connection comes.
    fn arrive(&mut self, kernel: &mut SimKernel, now: Instant) {
        let pending: Vec<Expectation> = kernel.expectations(now).collect();
        if pending.is_empty() {
            return;
        }
        let expectation = *self.rng.pick(&pending);
        kernel.fulfil(now, &expectation);
        let mut orig = expectation.tuple;
        if let L4::Ports { src, .. } = &mut orig.l4 {
            *src = 20;
        }
        let child = Flow {
            master: Some(expectation.master),
            zone: Zone::both(expectation.zone),
            status: Some(Status::CONFIRMED | Status::EXPECTED),
            timeout_s: Some(120),
            proto: tcp(TcpState::SynSent),
            ..Flow::new(orig)
        };
        kernel.create(now, child, PACKETS);
    }

    fn flow(&mut self) -> Flow {
        let v6 = self.rng.chance(300);
        let proto = self.proto(v6);
        let orig = Tuple {
            addrs: self.addrs(v6),
            proto,
            l4: self.layer4(proto),
        };
        let rng = &mut self.rng;
        let mut flow = Flow::new(orig);
        let mut status = Status::CONFIRMED;
        if rng.chance(600) {
            status |= Status::SEEN_REPLY | Status::ASSURED;
        }
        flow.timeout_s = Some(match rng.below(10) {
            0 => rng.between(2, 20) as u32,
            1 => 432_000,
            _ => rng.between(60, 3000) as u32,
        });
        if rng.chance(200) {
            flow.mark = Some(rng.below(1 << 32) as u32);
        }
        if rng.chance(100) {
            flow.zone = Zone::both(rng.between(1, 3) as u16);
        }
        if rng.chance(100) {
            flow.labels = Labels::new([1, 0, rng.below(100) as u32, 0]);
        }
        flow.proto = match proto {
            protocol::TCP => tcp(*rng.pick(&STATES)),
            protocol::SCTP => ProtoInfo::Sctp(Sctp {
                state: Some(rng.between(1, 7) as u8),
                vtag_orig: Some(rng.below(1 << 32) as u32),
                vtag_reply: Some(rng.below(1 << 32) as u32),
            }),
            _ => ProtoInfo::None,
        };
        if proto == protocol::TCP && rng.chance(200) {
            flow.helper = HelperName::new(b"ftp");
            status |= Status::HELPER;
        }
        if proto == protocol::TCP && rng.chance(50) {
            flow.synproxy = Some(Synproxy {
                isn: rng.below(1 << 32) as u32,
                its: 7,
                tsoff: 9,
            });
        }
        if rng.chance(250) {
            flow.nat = self.translation(v6, &orig);
            status |= Status::SRC_NAT_DONE | Status::DST_NAT_DONE;
            if flow.nat.has_src() {
                status |= Status::SRC_NAT;
            }
            if flow.nat.has_dst() {
                status |= Status::DST_NAT;
            }
            if proto == protocol::TCP && self.rng.chance(100) {
                let shift = SeqAdj {
                    correction_pos: 1000,
                    offset_before: 0,
                    offset_after: 4,
                };
                (flow.seq_adj_orig, flow.seq_adj_reply) = (Some(shift), Some(SeqAdj::default()));
                status |= Status::SEQ_ADJUST;
            }
        }
        flow.status = Some(status);
        flow
    }

    fn proto(&mut self, v6: bool) -> u8 {
        match self.rng.below(20) {
            0 if v6 => protocol::ICMPV6,
            0 => protocol::ICMP,
            1 => protocol::SCTP,
            2 => protocol::GRE,
            3 => protocol::UDPLITE,
            4 => protocol::DCCP,
            5 => 50,
            6..=11 => protocol::UDP,
            _ => protocol::TCP,
        }
    }

    fn layer4(&mut self, proto: u8) -> L4 {
        let rng = &mut self.rng;
        match proto {
            protocol::ICMP | protocol::ICMPV6 => L4::Icmp {
                id: rng.below(50) as u16,
                icmp_type: if proto == protocol::ICMP { 8 } else { 128 },
                code: 0,
            },
            protocol::DCCP | 50 => L4::None,
            // Few enough that keys come back.
            _ => L4::Ports {
                src: 1024 + rng.below(self.size as u64 / 2 + 10) as u16,
                dst: *rng.pick(&[21, 80, 443]),
            },
        }
    }

    fn addrs(&mut self, v6: bool) -> Addrs {
        let (client, server) = (self.rng.between(1, 3) as u16, self.rng.between(1, 3) as u16);
        if v6 {
            let node = u16::from(self.node);
            Addrs::V6 {
                src: Ipv6Addr::new(0x2001, 0xdb8, node, 1, 0, 0, 0, client),
                dst: Ipv6Addr::new(0x2001, 0xdb8, node, 2, 0, 0, 0, server),
            }
        } else {
            Addrs::V4 {
                src: Ipv4Addr::new(10, self.node, 1, client as u8),
                dst: Ipv4Addr::new(10, self.node, 2, server as u8),
            }
        }
    }

    fn translation(&mut self, v6: bool, orig: &Tuple) -> Nat {
        let with_ports = matches!(orig.l4, L4::Ports { .. });
        let addr = |last: u8, node: u8| -> IpAddr {
            if v6 {
                Ipv6Addr::new(0x2001, 0xdb8, node.into(), 9, 0, 0, 0, last.into()).into()
            } else {
                Ipv4Addr::new(192, 0, node, last).into()
            }
        };
        let rng = &mut self.rng;
        let mut nat = Nat::default();
        let kinds = rng.between(1, 3);
        if kinds & 1 != 0 {
            nat.src_addr = Some(addr(rng.between(1, 9) as u8, self.node));
            nat.src_port =
                (with_ports && rng.chance(500)).then(|| rng.between(30000, 60000) as u16);
        }
        if kinds & 2 != 0 {
            nat.dst_addr = Some(addr(rng.between(11, 19) as u8, self.node));
            nat.dst_port = (with_ports && rng.chance(500)).then(|| rng.between(8000, 8100) as u16);
        }
        nat
    }
}

fn tcp(state: TcpState) -> ProtoInfo {
    let flags = Some(TcpFlags {
        flags: TcpFlags::WINDOW_SCALE | TcpFlags::SACK_PERM,
        mask: 0,
    });
    ProtoInfo::Tcp(Tcp {
        state: Some(state),
        wscale_orig: Some(7),
        wscale_reply: Some(8),
        flags_orig: flags,
        flags_reply: flags,
    })
}

fn advance(proto: &mut ProtoInfo, rng: &mut Rng) {
    match proto {
        ProtoInfo::Tcp(tcp) => tcp.state = Some(*rng.pick(&STATES)),
        ProtoInfo::Sctp(sctp) => sctp.state = Some(rng.between(1, 7) as u8),
        _ => {}
    }
}
