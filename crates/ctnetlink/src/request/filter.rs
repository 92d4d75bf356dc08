//! Conditions that the kernel tests while it dumps or flushes.

use std::net::IpAddr;

use flow::{Family, protocol};

use super::{DumpFilter, TupleFilter, TupleMatch};
use crate::{attr::Emitter, uapi::*, write};

const IP_SRC: u32 = 0x1;
const IP_DST: u32 = 0x2;
const PROTO_NUM: u32 = 0x8;
const SRC_PORT: u32 = 0x10;
const DST_PORT: u32 = 0x20;
const ICMP_TYPE: u32 = 0x40;
const ICMP_CODE: u32 = 0x80;
const ICMP_ID: u32 = 0x100;
/// The ICMPv6 flags are the ICMP flags moved by this many bits.
const ICMPV6_SHIFT: u32 = 3;

impl DumpFilter {
    /// The family asked for, else the one that the addresses imply.
    pub(super) fn effective_family(&self) -> Option<Family> {
        self.family
            .or_else(|| self.tuple.as_ref().and_then(TupleFilter::family))
    }

    pub(super) fn write(&self, out: &mut Emitter<'_>) {
        if let Some((mark, mask)) = self.mark {
            out.u32(CTA_MARK, mark);
            out.u32(CTA_MARK_MASK, mask);
        }
        if let Some((status, mask)) = self.status {
            out.u32(CTA_STATUS, status.0);
            out.u32(CTA_STATUS_MASK, mask.0);
        }
        if let Some(zone) = self.zone {
            out.u16(CTA_ZONE, zone);
        }
        if let Some(tuple) = &self.tuple {
            tuple.write(out, self.effective_family());
        }
    }
}

impl TupleFilter {
    fn family(&self) -> Option<Family> {
        let addrs = [self.orig.src, self.orig.dst, self.reply.src, self.reply.dst];
        let first = addrs.into_iter().flatten().next()?;
        Some(if first.is_ipv4() {
            Family::Ipv4
        } else {
            Family::Ipv6
        })
    }

    fn write(&self, out: &mut Emitter<'_>, family: Option<Family>) {
        let flags = [self.orig.flags(family), self.reply.flags(family)];
        if flags == [0, 0] {
            return;
        }
        let nest = out.nest(CTA_FILTER);
        for (kind, flags) in [CTA_FILTER_ORIG_FLAGS, CTA_FILTER_REPLY_FLAGS]
            .into_iter()
            .zip(flags)
        {
            // The only numbers of the format in host order.
            out.quad(kind, flags.to_ne_bytes());
        }
        out.close(nest);
        self.orig.write(out, CTA_TUPLE_ORIG, family);
        self.reply.write(out, CTA_TUPLE_REPLY, family);
    }
}

impl TupleMatch {
    fn is_v6_icmp(&self, family: Option<Family>) -> bool {
        match self.proto {
            Some(protocol::ICMP) => false,
            Some(protocol::ICMPV6) => true,
            _ => family == Some(Family::Ipv6),
        }
    }

    fn flags(&self, family: Option<Family>) -> u32 {
        let shift = if self.is_v6_icmp(family) {
            ICMPV6_SHIFT
        } else {
            0
        };
        [
            (self.src.is_some(), IP_SRC),
            (self.dst.is_some(), IP_DST),
            (self.proto.is_some(), PROTO_NUM),
            (self.sport.is_some(), SRC_PORT),
            (self.dport.is_some(), DST_PORT),
            (self.icmp_type.is_some(), ICMP_TYPE << shift),
            (self.icmp_code.is_some(), ICMP_CODE << shift),
            (self.icmp_id.is_some(), ICMP_ID << shift),
        ]
        .into_iter()
        .filter(|(given, _)| *given)
        .fold(0, |all, (_, flag)| all | flag)
    }

    fn write(&self, out: &mut Emitter<'_>, kind: u16, family: Option<Family>) {
        if self.flags(family) == 0 {
            return;
        }
        let outer = out.nest(kind);
        if self.src.is_some() || self.dst.is_some() {
            let nest = out.nest(CTA_TUPLE_IP);
            address(out, self.src, CTA_IP_V4_SRC, CTA_IP_V6_SRC);
            address(out, self.dst, CTA_IP_V4_DST, CTA_IP_V6_DST);
            out.close(nest);
        }
        let nest = out.nest(CTA_TUPLE_PROTO);
        if let Some(proto) = self.proto {
            out.u8(CTA_PROTO_NUM, proto);
        }
        if let Some(port) = self.sport {
            out.u16(CTA_PROTO_SRC_PORT, port);
        }
        if let Some(port) = self.dport {
            out.u16(CTA_PROTO_DST_PORT, port);
        }
        let [id_attr, type_attr, code_attr] = write::icmp_attrs(self.is_v6_icmp(family));
        if let Some(id) = self.icmp_id {
            out.u16(id_attr, id);
        }
        if let Some(icmp_type) = self.icmp_type {
            out.u8(type_attr, icmp_type);
        }
        if let Some(code) = self.icmp_code {
            out.u8(code_attr, code);
        }
        out.close(nest);
        out.close(outer);
    }
}

fn address(out: &mut Emitter<'_>, addr: Option<IpAddr>, v4: u16, v6: u16) {
    match addr {
        Some(IpAddr::V4(addr)) => out.quad(v4, addr.octets()),
        Some(IpAddr::V6(addr)) => out.bytes(v6, &addr.octets()),
        None => {}
    }
}
