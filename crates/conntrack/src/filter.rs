//! Which entries are meant: tested here on every entry, and by the kernel beforehand as far as it can.
//!
//! What the kernel is asked to leave out is tested again, so that its answer may be too generous
//! (an old kernel ignores conditions that it does not know) but the result stays the same.

use std::net::IpAddr;

use ctnetlink::request::{DumpFilter, TupleFilter, TupleMatch};
use flow::{Family, Flow, L4, ProtoInfo, Status, Tuple};

use crate::{
    address::NatTarget,
    command::{Command, Table},
    labels::LabelSet,
    request::{IcmpFields, Masked, NatFields, Request, Side, Zones},
};

/// The entries that a request means.
#[derive(Clone, Debug)]
pub struct Filter {
    family: Option<Family>,
    src: Option<AddrMatch>,
    dst: Option<AddrMatch>,
    orig: Side,
    reply: Side,
    protocol: Option<u8>,
    icmp: IcmpFields,
    state: Option<u8>,
    mark: Option<Masked>,
    /// Bits that must be set, bits that must not.
    status: Option<(Status, Status)>,
    /// Seconds left; only deletions ask for them.
    timeout_s: Option<u32>,
    id: Option<u32>,
    zones: Zones,
    nat: NatFields,
    labels: Option<LabelSet>,
    can_use_kernel: bool,
}

/// An address under a mask.
#[derive(Clone, Copy, Debug)]
struct AddrMatch {
    bits: u128,
    mask: u128,
    is_v4: bool,
}

fn bits(addr: IpAddr) -> (u128, bool) {
    match addr {
        IpAddr::V4(addr) => (addr.to_bits().into(), true),
        IpAddr::V6(addr) => (addr.to_bits(), false),
    }
}

impl AddrMatch {
    fn new(addr: IpAddr, mask: Option<IpAddr>) -> Self {
        let (addr, is_v4) = bits(addr);
        let mask = mask.map_or(u128::MAX, |mask| bits(mask).0);
        Self {
            bits: addr & mask,
            mask,
            is_v4,
        }
    }

    fn accepts(&self, addr: IpAddr) -> bool {
        let (addr, is_v4) = bits(addr);
        self.is_v4 == is_v4 && addr & self.mask == self.bits
    }
}

fn fits<T: PartialEq>(wanted: Option<T>, found: T) -> bool {
    wanted.is_none_or(|wanted| wanted == found)
}

impl Filter {
    /// The filter of a request.
    #[must_use]
    pub fn new(request: &Request) -> Self {
        let sets = matches!(request.command, Command::Update);
        // What an update sets, and what a get has told the kernel, are no conditions.
        let is_filter = !sets && request.command != Command::Get;
        let address = |addr: Option<IpAddr>, mask| addr.map(|addr| AddrMatch::new(addr, mask));
        Self {
            family: request.family,
            src: address(request.orig.src, request.src_mask),
            dst: address(request.orig.dst, request.dst_mask),
            orig: request.orig,
            reply: request.reply,
            protocol: request.protocol.map(|protocol| protocol.number),
            icmp: request.icmp,
            state: request.state.state.filter(|_| is_filter),
            mark: request.mark.filter(|_| is_filter),
            status: request
                .status
                .filter(|_| is_filter)
                .map(|words| (words.plain, words.negated)),
            timeout_s: request
                .timeout_s
                .filter(|_| request.command == Command::Delete),
            id: request.id,
            zones: request.zones,
            nat: request.nat,
            labels: request.labels.filter,
            can_use_kernel: matches!(request.table, Table::Conntrack),
        }
    }

    /// Whether the entry is meant.
    #[must_use]
    pub fn accepts(&self, flow: &Flow) -> bool {
        self.accepts_tuples(flow)
            && self.accepts_state(flow)
            && self.accepts_zones(flow)
            && self.accepts_nat(flow)
            && self
                .timeout_s
                .is_none_or(|wanted| flow.timeout_s == Some(wanted))
            && self
                .labels
                .is_none_or(|wanted| flow.labels.is_some_and(|labels| wanted.is_part_of(&labels)))
    }

    fn accepts_tuples(&self, flow: &Flow) -> bool {
        let orig = &flow.orig;
        if !fits(self.family, orig.family()) || !fits(self.protocol, orig.proto) {
            return false;
        }
        if !self.src.is_none_or(|wanted| wanted.accepts(orig.src()))
            || !self.dst.is_none_or(|wanted| wanted.accepts(orig.dst()))
        {
            return false;
        }
        let (sport, dport) = ports(orig);
        if !fits(self.orig.sport, sport)
            || !fits(self.orig.dport, dport)
            || !self.accepts_icmp(orig)
        {
            return false;
        }
        let reply = flow.reply_direction();
        let (sport, dport) = ports(&reply);
        fits(self.reply.src, reply.src())
            && fits(self.reply.dst, reply.dst())
            && fits(self.reply.sport, sport)
            && fits(self.reply.dport, dport)
    }

    fn accepts_icmp(&self, orig: &Tuple) -> bool {
        let (id, icmp_type, code) = match orig.l4 {
            L4::Icmp {
                id,
                icmp_type,
                code,
            } => (id, icmp_type, code),
            _ => (0, 0, 0),
        };
        fits(self.icmp.id, id) && fits(self.icmp.icmp_type, icmp_type) && fits(self.icmp.code, code)
    }

    fn accepts_state(&self, flow: &Flow) -> bool {
        let state = match flow.proto {
            ProtoInfo::None => None,
            ProtoInfo::Tcp(tcp) => tcp.state.map(|state| state as u8),
            ProtoInfo::Sctp(sctp) => sctp.state,
            ProtoInfo::Dccp(dccp) => dccp.state,
        };
        let status = flow.status_bits();
        self.state.is_none_or(|wanted| state == Some(wanted))
            && self
                .mark
                .is_none_or(|wanted| flow.mark.unwrap_or(0) & wanted.mask == wanted.value)
            && self.id.is_none_or(|wanted| flow.id == Some(wanted))
            && self.status.is_none_or(|(set, unset)| {
                status.contains(set) && status.common(unset) == Status::default()
            })
    }

    fn accepts_zones(&self, flow: &Flow) -> bool {
        let zone = flow.zone;
        // A zone of both directions is not a zone of each.
        let (both, orig, reply) = if zone.orig == zone.reply {
            (zone.orig, 0, 0)
        } else {
            (0, zone.orig, zone.reply)
        };
        fits(self.zones.both, both) && fits(self.zones.orig, orig) && fits(self.zones.reply, reply)
    }

    fn accepts_nat(&self, flow: &Flow) -> bool {
        let NatFields { src, dst, any } = self.nat;
        src.is_none_or(|wanted| is_source_translated(flow, wanted))
            && dst.is_none_or(|wanted| is_destination_translated(flow, wanted))
            && any.is_none_or(|wanted| {
                is_source_translated(flow, wanted) || is_destination_translated(flow, wanted)
            })
    }

    /// What the kernel is asked, one dump each. More than one when it must be told a family.
    #[must_use]
    pub fn kernel_filters(&self) -> Vec<DumpFilter> {
        let plain = self.plain_kernel_filter();
        let tuple = TupleFilter {
            orig: TupleMatch {
                src: self
                    .orig
                    .src
                    .filter(|_| self.src.is_some_and(|m| m.mask == u128::MAX)),
                dst: self
                    .orig
                    .dst
                    .filter(|_| self.dst.is_some_and(|m| m.mask == u128::MAX)),
                proto: self.protocol,
                sport: self.orig.sport.filter(|_| self.has_ports()),
                dport: self.orig.dport.filter(|_| self.has_ports()),
                icmp_type: self.icmp.icmp_type,
                icmp_code: self.icmp.code,
                icmp_id: self.icmp.id,
            },
            reply: TupleMatch {
                src: self.reply.src,
                dst: self.reply.dst,
                proto: self
                    .protocol
                    .filter(|_| self.has_ports() && self.has_reply_ports()),
                sport: self.reply.sport.filter(|_| self.has_ports()),
                dport: self.reply.dport.filter(|_| self.has_ports()),
                ..TupleMatch::default()
            },
        };
        if !self.can_use_kernel || tuple == TupleFilter::default() {
            return vec![plain];
        }
        let with_family = |family| DumpFilter {
            family: Some(family),
            tuple: Some(tuple),
            ..plain
        };
        match self.family {
            Some(family) => vec![with_family(family)],
            // A tuple can only be compared within a family.
            None => [Family::Ipv4, Family::Ipv6].map(with_family).to_vec(),
        }
    }

    /// What every kernel can be asked.
    #[must_use]
    pub fn plain_kernel_filter(&self) -> DumpFilter {
        let mut filter = DumpFilter {
            family: self.family,
            ..DumpFilter::default()
        };
        if self.can_use_kernel {
            filter.mark = self.mark.map(|mark| (mark.value, mark.mask));
            filter.status = self.status.map(|(set, unset)| (set, set | unset));
            // Zone 0 for the kernel is more than an entry without any zone.
            filter.zone = self.zones.both.filter(|&zone| zone != 0);
        }
        filter
    }

    /// Whether the kernel keeps these ports in the tuple; those of DCCP are forgotten.
    fn has_ports(&self) -> bool {
        use flow::protocol::{SCTP, TCP, UDP, UDPLITE};
        self.protocol
            .is_some_and(|protocol| [TCP, UDP, UDPLITE, SCTP].contains(&protocol))
    }

    fn has_reply_ports(&self) -> bool {
        self.reply.sport.is_some() || self.reply.dport.is_some()
    }

    /// The protocol, when only one is meant.
    #[must_use]
    pub fn protocol(&self) -> Option<u8> {
        self.protocol
    }
}

fn ports(tuple: &Tuple) -> (u16, u16) {
    (tuple.sport().unwrap_or(0), tuple.dport().unwrap_or(0))
}

fn is_target(wanted: Option<NatTarget>, addr: IpAddr, port: Option<u16>) -> bool {
    wanted.is_none_or(|wanted| {
        wanted.addr == addr && wanted.port.is_none_or(|wanted| port == Some(wanted))
    })
}

/// Whether the source is translated, to `wanted` if that is given.
#[must_use]
pub fn is_source_translated(flow: &Flow, wanted: Option<NatTarget>) -> bool {
    let Some(reply) = &flow.reply else {
        return false;
    };
    flow.status_bits().contains(Status::SRC_NAT)
        && (flow.orig.src() != reply.dst() || flow.orig.sport() != reply.dport())
        && is_target(wanted, reply.dst(), reply.dport())
}

/// Whether the destination is translated, to `wanted` if that is given.
#[must_use]
pub fn is_destination_translated(flow: &Flow, wanted: Option<NatTarget>) -> bool {
    let Some(reply) = &flow.reply else {
        return false;
    };
    flow.status_bits().contains(Status::DST_NAT)
        && (flow.orig.dst() != reply.src() || flow.orig.dport() != reply.sport())
        && is_target(wanted, reply.src(), reply.sport())
}

#[cfg(test)]
mod tests;
