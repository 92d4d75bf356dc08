//! Tuples to and from bytes.
//!
//! A tuple is its shape (one byte: family, kind of layer 4, protocol if common), the protocol if it is not,
//! the addresses, the ports. A reply direction is what differs from the mirrored original.

use std::net::IpAddr;

use flow::{Addrs, Family, L4, Nat, Tuple, protocol};

use super::wire::{MessageError, Reader, impossible};

pub(super) mod shape {
    pub(in crate::message) const V6: u8 = 1 << 0;
    pub(in crate::message) const PORTS: u8 = 1 << 1;
    pub(in crate::message) const ICMP: u8 = 2 << 1;
    pub(in crate::message) const L4: u8 = 3 << 1;
    pub(in crate::message) const TCP: u8 = 1 << 3;
    pub(in crate::message) const UDP: u8 = 2 << 3;
    pub(in crate::message) const PROTO: u8 = 3 << 3;
    /// Of a connection: the reply is the mirrored original.
    pub(in crate::message) const MIRRORED: u8 = 1 << 5;
    /// Of a connection: a zone that both directions share follows.
    pub(in crate::message) const ZONE: u8 = 1 << 6;
    /// Of a connection: the zones of both directions follow.
    pub(in crate::message) const ZONES: u8 = 2 << 6;
    pub(in crate::message) const ANY_ZONE: u8 = 3 << 6;
}

/// How a reply direction is told.
mod reply {
    pub(super) const SRC: u8 = 1 << 0;
    pub(super) const DST: u8 = 1 << 1;
    pub(super) const SPORT: u8 = 1 << 2;
    pub(super) const DPORT: u8 = 1 << 3;
    /// By a tuple of its own.
    pub(super) const WHOLE: u8 = 0x80;
}

pub(super) fn shape_of(tuple: &Tuple) -> u8 {
    let family = match tuple.family() {
        Family::Ipv4 => 0,
        Family::Ipv6 => shape::V6,
    };
    let l4 = match tuple.l4 {
        L4::None => 0,
        L4::Ports { .. } => shape::PORTS,
        L4::Icmp { .. } => shape::ICMP,
    };
    let proto = match tuple.proto {
        protocol::TCP => shape::TCP,
        protocol::UDP => shape::UDP,
        _ => 0,
    };
    family | l4 | proto
}

pub(super) fn put_tuple(buf: &mut Vec<u8>, tuple: &Tuple) {
    buf.push(shape_of(tuple));
    put_tuple_body(buf, tuple);
}

pub(super) fn put_tuple_body(buf: &mut Vec<u8>, tuple: &Tuple) {
    if !matches!(tuple.proto, protocol::TCP | protocol::UDP) {
        buf.push(tuple.proto);
    }
    match tuple.addrs {
        Addrs::V4 { src, dst } => {
            buf.extend_from_slice(&src.octets());
            buf.extend_from_slice(&dst.octets());
        }
        Addrs::V6 { src, dst } => {
            buf.extend_from_slice(&src.octets());
            buf.extend_from_slice(&dst.octets());
        }
    }
    match tuple.l4 {
        L4::None => {}
        L4::Ports { src, dst } => {
            buf.extend_from_slice(&src.to_be_bytes());
            buf.extend_from_slice(&dst.to_be_bytes());
        }
        L4::Icmp {
            id,
            icmp_type,
            code,
        } => {
            buf.extend_from_slice(&id.to_be_bytes());
            buf.extend_from_slice(&[icmp_type, code]);
        }
    }
}

pub(super) fn read_tuple(reader: &mut Reader<'_>) -> Result<Tuple, MessageError> {
    let shape = reader.u8("shape")?;
    read_tuple_body(reader, shape)
}

pub(super) fn read_tuple_body(reader: &mut Reader<'_>, shape: u8) -> Result<Tuple, MessageError> {
    let proto = match shape & shape::PROTO {
        shape::TCP => protocol::TCP,
        shape::UDP => protocol::UDP,
        0 => reader.u8("protocol")?,
        other => return Err(impossible("protocol shape", other)),
    };
    let addrs = if shape & shape::V6 == 0 {
        Addrs::V4 {
            src: reader.bytes::<4>("source")?.into(),
            dst: reader.bytes::<4>("destination")?.into(),
        }
    } else {
        Addrs::V6 {
            src: reader.bytes::<16>("source")?.into(),
            dst: reader.bytes::<16>("destination")?.into(),
        }
    };
    let l4 = match shape & shape::L4 {
        0 => L4::None,
        shape::PORTS => L4::Ports {
            src: reader.u16("source port")?,
            dst: reader.u16("destination port")?,
        },
        shape::ICMP => L4::Icmp {
            id: reader.u16("ICMP id")?,
            icmp_type: reader.u8("ICMP type")?,
            code: reader.u8("ICMP code")?,
        },
        other => return Err(impossible("layer 4 shape", other)),
    };
    Ok(Tuple { addrs, proto, l4 })
}

pub(super) fn put_reply(buf: &mut Vec<u8>, told: &Tuple, mirrored: &Tuple) {
    let (
        L4::Ports { src, dst },
        L4::Ports {
            src: sport,
            dst: dport,
        },
    ) = (told.l4, mirrored.l4)
    else {
        buf.push(reply::WHOLE);
        put_tuple(buf, told);
        return;
    };
    if told.proto != mirrored.proto || told.family() != mirrored.family() {
        buf.push(reply::WHOLE);
        put_tuple(buf, told);
        return;
    }
    let start = buf.len();
    buf.push(0);
    let mut differing = 0;
    for (bit, address, mirror) in [
        (reply::SRC, told.src(), mirrored.src()),
        (reply::DST, told.dst(), mirrored.dst()),
    ] {
        if address != mirror {
            differing |= bit;
            put_address(buf, address);
        }
    }
    for (bit, port, mirror) in [(reply::SPORT, src, sport), (reply::DPORT, dst, dport)] {
        if port != mirror {
            differing |= bit;
            buf.extend_from_slice(&port.to_be_bytes());
        }
    }
    if let Some(first) = buf.get_mut(start) {
        *first = differing;
    }
}

pub(super) fn read_reply(reader: &mut Reader<'_>, mirrored: Tuple) -> Result<Tuple, MessageError> {
    let differing = reader.u8("reply")?;
    if differing & reply::WHOLE != 0 {
        return read_tuple(reader);
    }
    let mut tuple = mirrored;
    let (mut src, mut dst) = (tuple.src(), tuple.dst());
    for (bit, address) in [(reply::SRC, &mut src), (reply::DST, &mut dst)] {
        if differing & bit != 0 {
            *address = read_address(reader, mirrored.family())?;
        }
    }
    if let Some(addrs) = Addrs::new(src, dst) {
        tuple.addrs = addrs;
    }
    if differing & (reply::SPORT | reply::DPORT) != 0 {
        let L4::Ports { src, dst } = &mut tuple.l4 else {
            return Err(impossible("reply ports", differing));
        };
        for (bit, port) in [(reply::SPORT, src), (reply::DPORT, dst)] {
            if differing & bit != 0 {
                *port = reader.u16("reply port")?;
            }
        }
    }
    Ok(tuple)
}

pub(super) fn put_address(buf: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(address) => buf.extend_from_slice(&address.octets()),
        IpAddr::V6(address) => buf.extend_from_slice(&address.octets()),
    }
}

pub(super) fn read_address(
    reader: &mut Reader<'_>,
    family: Family,
) -> Result<IpAddr, MessageError> {
    Ok(match family {
        Family::Ipv4 => reader.bytes::<4>("address")?.into(),
        Family::Ipv6 => reader.bytes::<16>("address")?.into(),
    })
}

/// The families of the addresses stand beside them: nothing else says which they are.
pub(super) fn put_nat(buf: &mut Vec<u8>, nat: &Nat) {
    let start = buf.len();
    buf.push(0);
    let mut there = 0u8;
    for (bit, address) in [(0, nat.src_addr), (1, nat.dst_addr)] {
        if let Some(address) = address {
            there |= if address.is_ipv4() { 0x01 } else { 0x10 } << bit;
            put_address(buf, address);
        }
    }
    for (bit, port) in [(2, nat.src_port), (3, nat.dst_port)] {
        if let Some(port) = port {
            there |= 1 << bit;
            buf.extend_from_slice(&port.to_be_bytes());
        }
    }
    if let Some(first) = buf.get_mut(start) {
        *first = there;
    }
}

pub(super) fn read_nat(reader: &mut Reader<'_>) -> Result<Nat, MessageError> {
    let there = reader.u8("translation")?;
    let mut nat = Nat::default();
    for (bit, address) in [(0, &mut nat.src_addr), (1, &mut nat.dst_addr)] {
        *address = match there >> bit & 0x11 {
            0 => None,
            0x01 => Some(read_address(reader, Family::Ipv4)?),
            0x10 => Some(read_address(reader, Family::Ipv6)?),
            other => return Err(impossible("address family", other)),
        };
    }
    for (bit, port) in [(2, &mut nat.src_port), (3, &mut nat.dst_port)] {
        if there >> bit & 1 != 0 {
            *port = Some(reader.u16("translated port")?);
        }
    }
    Ok(nat)
}
