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
        CTA_TUPLE_IP, CTA_TUPLE_PROTO, CTA_TUPLE_ZONE, NLA_F_NESTED,
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
    if let Some(parts) = usual(attr.value) {
        return Ok(parts);
    }
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

/// An attribute's header as the kernel writes it: length and number, in host order.
const fn header(len: u16, kind: u16) -> [u8; 4] {
    let ([l0, l1], [k0, k1]) = (len.to_ne_bytes(), kind.to_ne_bytes());
    [l0, l1, k0, k1]
}

const PROTO: [u8; 4] = header(28, CTA_TUPLE_PROTO | NLA_F_NESTED);
const NUM: [u8; 4] = header(5, CTA_PROTO_NUM);
const SRC_PORT: [u8; 4] = header(6, CTA_PROTO_SRC_PORT);
const DST_PORT: [u8; 4] = header(6, CTA_PROTO_DST_PORT);
const V4: [u8; 4] = header(20, CTA_TUPLE_IP | NLA_F_NESTED);
const V4_SRC: [u8; 4] = header(8, CTA_IP_V4_SRC);
const V4_DST: [u8; 4] = header(8, CTA_IP_V4_DST);
const V6: [u8; 4] = header(44, CTA_TUPLE_IP | NLA_F_NESTED);
const V6_SRC: [u8; 4] = header(20, CTA_IP_V6_SRC);
const V6_DST: [u8; 4] = header(20, CTA_IP_V6_DST);

/// Reads the two forms that nearly all tuples have, addresses and ports without a zone, at a stroke.
///
/// `None`: something else, to be read attribute by attribute.
#[inline(always)]
fn usual(value: &[u8]) -> Option<Parts> {
    let (words, []) = value.as_chunks::<4>() else {
        return None;
    };
    let (addrs, ports) = match words {
        [V4, V4_SRC, src, V4_DST, dst, ports @ ..] => {
            let (src, dst) = (Ipv4Addr::from(*src), Ipv4Addr::from(*dst));
            (Addrs::V4 { src, dst }, ports)
        }
        [
            V6,
            V6_SRC,
            s0,
            s1,
            s2,
            s3,
            V6_DST,
            d0,
            d1,
            d2,
            d3,
            ports @ ..,
        ] => {
            let (src, dst) = (v6([s0, s1, s2, s3]), v6([d0, d1, d2, d3]));
            (Addrs::V6 { src, dst }, ports)
        }
        _ => return None,
    };
    let &[
        PROTO,
        NUM,
        [proto, ..],
        SRC_PORT,
        [s0, s1, ..],
        DST_PORT,
        [d0, d1, ..],
    ] = ports
    else {
        return None;
    };
    Some(Parts {
        addrs: Some(addrs),
        proto: Some(proto),
        l4: L4::Ports {
            src: u16::from_be_bytes([s0, s1]),
            dst: u16::from_be_bytes([d0, d1]),
        },
        zone: None,
    })
}

#[inline(always)]
fn v6(words: [&[u8; 4]; 4]) -> Ipv6Addr {
    let [a, b, c, d] = words.map(|word| u128::from(u32::from_be_bytes(*word)));
    Ipv6Addr::from_bits(a << 96 | b << 64 | c << 32 | d)
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
