//! One direction of a connection.

use std::net::{Ipv4Addr, Ipv6Addr};

use flow::{Addrs, L4, Tuple};

use crate::{
    ParseError,
    attr::Attr,
    uapi::{
        CTA_IP_V4_DST, CTA_IP_V4_SRC, CTA_IP_V6_DST, CTA_IP_V6_SRC, CTA_PROTO_DST_PORT,
        CTA_PROTO_ICMP_CODE, CTA_PROTO_ICMP_ID, CTA_PROTO_ICMP_TYPE, CTA_PROTO_ICMPV6_CODE,
        CTA_PROTO_ICMPV6_ID, CTA_PROTO_ICMPV6_TYPE, CTA_PROTO_NUM, CTA_PROTO_SRC_PORT,
        CTA_TUPLE_IP, CTA_TUPLE_PROTO, CTA_TUPLE_ZONE,
    },
};

/// What a tuple attribute told.
#[derive(Default)]
pub(super) struct Parts {
    addrs: Option<Addrs>,
    proto: Option<u8>,
    l4: L4,
    /// Zone of this direction.
    pub(super) zone: Option<u16>,
}

impl Parts {
    /// The tuple, when addresses and protocol were told.
    #[inline]
    pub(super) fn tuple(&self) -> Option<Tuple> {
        Some(Tuple {
            addrs: self.addrs?,
            proto: self.proto?,
            l4: self.l4,
        })
    }
}

/// A tuple that must be complete.
pub(super) fn whole(attr: Attr<'_>, message_kind: u16) -> Result<Tuple, ParseError> {
    parts(attr)?.tuple().ok_or(ParseError::Missing {
        kind: message_kind,
        attr: attr.kind,
    })
}

#[inline(always)]
pub(super) fn parts(attr: Attr<'_>) -> Result<Parts, ParseError> {
    let mut parts = Parts::default();
    for attr in attr.nested() {
        let attr = attr?;
        match attr.kind {
            CTA_TUPLE_IP => parts.addrs = addrs(attr)?,
            CTA_TUPLE_PROTO => proto(attr, &mut parts)?,
            CTA_TUPLE_ZONE => parts.zone = Some(attr.u16()?),
            _ => {}
        }
    }
    Ok(parts)
}

#[inline(always)]
fn addrs(attr: Attr<'_>) -> Result<Option<Addrs>, ParseError> {
    let (mut src4, mut dst4) = (None, None);
    let (mut src6, mut dst6) = (None, None);
    for attr in attr.nested() {
        let attr = attr?;
        match attr.kind {
            CTA_IP_V4_SRC => src4 = Some(Ipv4Addr::from(attr.array::<4>()?)),
            CTA_IP_V4_DST => dst4 = Some(Ipv4Addr::from(attr.array::<4>()?)),
            CTA_IP_V6_SRC => src6 = Some(Ipv6Addr::from(attr.array::<16>()?)),
            CTA_IP_V6_DST => dst6 = Some(Ipv6Addr::from(attr.array::<16>()?)),
            _ => {}
        }
    }
    Ok(match (src4, dst4, src6, dst6) {
        (Some(src), Some(dst), _, _) => Some(Addrs::V4 { src, dst }),
        (_, _, Some(src), Some(dst)) => Some(Addrs::V6 { src, dst }),
        _ => None,
    })
}

/// Ports or ICMP fields as they come in; a field that never comes is zero.
#[inline(always)]
fn proto(attr: Attr<'_>, parts: &mut Parts) -> Result<(), ParseError> {
    let (mut src, mut dst) = (None, None);
    let (mut id, mut icmp_type, mut code) = (None, None, None);
    for attr in attr.nested() {
        let attr = attr?;
        match attr.kind {
            CTA_PROTO_NUM => parts.proto = Some(attr.u8()?),
            CTA_PROTO_SRC_PORT => src = Some(attr.u16()?),
            CTA_PROTO_DST_PORT => dst = Some(attr.u16()?),
            CTA_PROTO_ICMP_ID | CTA_PROTO_ICMPV6_ID => id = Some(attr.u16()?),
            CTA_PROTO_ICMP_TYPE | CTA_PROTO_ICMPV6_TYPE => icmp_type = Some(attr.u8()?),
            CTA_PROTO_ICMP_CODE | CTA_PROTO_ICMPV6_CODE => code = Some(attr.u8()?),
            _ => {}
        }
    }
    if src.is_some() || dst.is_some() {
        parts.l4 = L4::Ports {
            src: src.unwrap_or(0),
            dst: dst.unwrap_or(0),
        };
    } else if id.is_some() || icmp_type.is_some() || code.is_some() {
        parts.l4 = L4::Icmp {
            id: id.unwrap_or(0),
            icmp_type: icmp_type.unwrap_or(0),
            code: code.unwrap_or(0),
        };
    }
    Ok(())
}
