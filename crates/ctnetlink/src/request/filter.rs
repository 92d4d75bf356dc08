//! Conditions that the kernel tests while it dumps or flushes.
//!
//! Kernels up to at least 6.18 compare the IPv6 addresses of a tuple filter the wrong way round: they
//! tell every entry but the wanted ones. So these addresses are never sent.

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

/// What becomes of conditions that the kernel cannot be trusted with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Untrusted {
    /// Left out: the caller gets more than it asked for.
    Omit,
    /// Announced without a value, which the kernel refuses: nothing is deleted by mistake.
    Refuse,
}

impl DumpFilter {
    /// The family asked for, else the one that the addresses imply.
    pub(super) fn effective_family(&self) -> Option<Family> {
        self.family
            .or_else(|| self.tuple.as_ref().and_then(TupleFilter::family))
    }

    pub(super) fn write(&self, out: &mut Emitter<'_>, untrusted: Untrusted) {
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
            tuple.write(out, self.effective_family(), untrusted);
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

    fn write(&self, out: &mut Emitter<'_>, family: Option<Family>, untrusted: Untrusted) {
        let tuples = [&self.orig, &self.reply];
        let flags = tuples.map(|tuple| tuple.flags(family, untrusted));
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
        let [orig_flags, reply_flags] = flags;
        if orig_flags != 0 {
            self.orig.write(out, CTA_TUPLE_ORIG, family);
        }
        if reply_flags != 0 {
            self.reply.write(out, CTA_TUPLE_REPLY, family);
        }
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

    fn flags(&self, family: Option<Family>, untrusted: Untrusted) -> u32 {
        let sent = |addr: Option<IpAddr>| {
            addr.is_some_and(|addr| addr.is_ipv4() || untrusted == Untrusted::Refuse)
        };
        let shift = if self.is_v6_icmp(family) {
            ICMPV6_SHIFT
        } else {
            0
        };
        [
            (sent(self.src), IP_SRC),
            (sent(self.dst), IP_DST),
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
        let outer = out.nest(kind);
        let v4 = |addr: Option<IpAddr>| match addr {
            Some(IpAddr::V4(addr)) => Some(addr.octets()),
            _ => None,
        };
        let (src, dst) = (v4(self.src), v4(self.dst));
        if src.is_some() || dst.is_some() {
            let nest = out.nest(CTA_TUPLE_IP);
            if let Some(addr) = src {
                out.quad(CTA_IP_V4_SRC, addr);
            }
            if let Some(addr) = dst {
                out.quad(CTA_IP_V4_DST, addr);
            }
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
