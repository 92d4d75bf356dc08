//! One direction of a connection.

use std::hash::{Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Protocol numbers that have a meaning of their own here.
pub mod protocol {
    /// ICMP.
    pub const ICMP: u8 = 1;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// DCCP.
    pub const DCCP: u8 = 33;
    /// GRE; its keys travel in the port fields.
    pub const GRE: u8 = 47;
    /// ICMPv6.
    pub const ICMPV6: u8 = 58;
    /// SCTP.
    pub const SCTP: u8 = 132;
    /// UDP-Lite.
    pub const UDPLITE: u8 = 136;
}

/// Layer-3 family; the value is the kernel's `AF_*` number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Family {
    /// `AF_INET`.
    Ipv4 = 2,
    /// `AF_INET6`.
    Ipv6 = 10,
}

/// Source and destination address, always of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Addrs {
    /// IPv4.
    V4 {
        /// Source.
        src: Ipv4Addr,
        /// Destination.
        dst: Ipv4Addr,
    },
    /// IPv6.
    V6 {
        /// Source.
        src: Ipv6Addr,
        /// Destination.
        dst: Ipv6Addr,
    },
}

impl Addrs {
    /// Pairs two addresses; `None` when their families differ.
    #[must_use]
    pub fn new(src: IpAddr, dst: IpAddr) -> Option<Self> {
        match (src, dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => Some(Self::V4 { src, dst }),
            (IpAddr::V6(src), IpAddr::V6(dst)) => Some(Self::V6 { src, dst }),
            _ => None,
        }
    }

    /// The family of both addresses.
    #[must_use]
    pub fn family(&self) -> Family {
        match self {
            Self::V4 { .. } => Family::Ipv4,
            Self::V6 { .. } => Family::Ipv6,
        }
    }

    /// Source address.
    #[must_use]
    pub fn src(&self) -> IpAddr {
        match *self {
            Self::V4 { src, .. } => src.into(),
            Self::V6 { src, .. } => src.into(),
        }
    }

    /// Destination address.
    #[must_use]
    pub fn dst(&self) -> IpAddr {
        match *self {
            Self::V4 { dst, .. } => dst.into(),
            Self::V6 { dst, .. } => dst.into(),
        }
    }

    /// Source and destination exchanged.
    #[must_use]
    pub fn swapped(self) -> Self {
        match self {
            Self::V4 { src, dst } => Self::V4 { src: dst, dst: src },
            Self::V6 { src, dst } => Self::V6 { src: dst, dst: src },
        }
    }
}

/// What tells connections of the same two hosts and protocol apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum L4 {
    /// Nothing: a protocol without ports, or ports not known.
    #[default]
    None,
    /// TCP, UDP, UDP-Lite, SCTP, DCCP ports; GRE keys. Host byte order.
    Ports {
        /// Source port.
        src: u16,
        /// Destination port.
        dst: u16,
    },
    /// ICMP and ICMPv6.
    Icmp {
        /// Identifier, host byte order.
        id: u16,
        /// Message type.
        icmp_type: u8,
        /// Message code.
        code: u8,
    },
}

/// One direction of a connection: addresses, protocol, ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tuple {
    /// Addresses.
    pub addrs: Addrs,
    /// IP protocol number.
    pub proto: u8,
    /// Ports, ICMP identifiers or nothing.
    pub l4: L4,
}

/// In few words: entries are looked up for every message, and what is derived takes the bytes one by one.
impl Hash for Tuple {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self.addrs {
            Addrs::V4 { src, dst } => {
                state.write_u64(u64::from(src.to_bits()) << 32 | u64::from(dst.to_bits()));
            }
            Addrs::V6 { src, dst } => {
                state.write_u128(src.to_bits());
                state.write_u128(dst.to_bits());
            }
        }
        let (kind, high, low) = match self.l4 {
            L4::None => (0, 0, 0),
            L4::Ports { src, dst } => (1, src, dst),
            L4::Icmp {
                id,
                icmp_type,
                code,
            } => (2, id, u16::from_be_bytes([icmp_type, code])),
        };
        let ports = u64::from(high) << 16 | u64::from(low);
        state.write_u64(kind << 40 | u64::from(self.proto) << 32 | ports);
    }
}

impl Tuple {
    /// The family of the addresses.
    #[must_use]
    pub fn family(&self) -> Family {
        self.addrs.family()
    }

    /// Source address.
    #[must_use]
    pub fn src(&self) -> IpAddr {
        self.addrs.src()
    }

    /// Destination address.
    #[must_use]
    pub fn dst(&self) -> IpAddr {
        self.addrs.dst()
    }

    /// Source port or GRE source key.
    #[must_use]
    pub fn sport(&self) -> Option<u16> {
        match self.l4 {
            L4::Ports { src, .. } => Some(src),
            _ => None,
        }
    }

    /// Destination port or GRE destination key.
    #[must_use]
    pub fn dport(&self) -> Option<u16> {
        match self.l4 {
            L4::Ports { dst, .. } => Some(dst),
            _ => None,
        }
    }

    /// Whether `other` is what [`Tuple::mirrored`] gives.
    #[inline]
    #[must_use]
    pub fn is_mirror_of(&self, other: &Self) -> bool {
        let addrs = match (&self.addrs, &other.addrs) {
            (Addrs::V4 { src, dst }, Addrs::V4 { src: from, dst: to }) => src == to && dst == from,
            (Addrs::V6 { src, dst }, Addrs::V6 { src: from, dst: to }) => src == to && dst == from,
            _ => false,
        };
        let l4 = match (self.l4, other.l4) {
            (L4::Ports { src, dst }, L4::Ports { src: from, dst: to }) => src == to && dst == from,
            _ => self.mirrored().l4 == other.l4,
        };
        addrs && l4 && self.proto == other.proto
    }

    /// The other direction of the same connection, as it is without address translation.
    ///
    /// ICMP types turn into their answers (echo request ↔ echo reply, …); a type without an answer
    /// stays what it is.
    #[must_use]
    pub fn mirrored(&self) -> Self {
        let l4 = match self.l4 {
            L4::None => L4::None,
            L4::Ports { src, dst } => L4::Ports { src: dst, dst: src },
            L4::Icmp {
                id,
                icmp_type,
                code,
            } => {
                let icmp_type = answer_type(self.addrs.family(), icmp_type);
                L4::Icmp {
                    id,
                    icmp_type,
                    code,
                }
            }
        };
        Self {
            addrs: self.addrs.swapped(),
            proto: self.proto,
            l4,
        }
    }
}

/// The kernel's table of ICMP types that answer each other.
fn answer_type(family: Family, icmp_type: u8) -> u8 {
    match (family, icmp_type) {
        (Family::Ipv4, 8) => 0,
        (Family::Ipv4, 0) => 8,
        (Family::Ipv4, 13) => 14,
        (Family::Ipv4, 14) => 13,
        (Family::Ipv4, 15) => 16,
        (Family::Ipv4, 16) => 15,
        (Family::Ipv4, 17) => 18,
        (Family::Ipv4, 18) => 17,
        (Family::Ipv6, 128) => 129,
        (Family::Ipv6, 129) => 128,
        (Family::Ipv6, 139) => 140,
        (Family::Ipv6, 140) => 139,
        (_, other) => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirror_of_a_mirror_is_the_original() {
        for icmp_type in 0..=255 {
            for (src, dst, proto) in [("10.0.0.1", "10.0.0.2", 1), ("fd00::1", "fd00::2", 58)] {
                let addrs = Addrs::new(src.parse().unwrap(), dst.parse().unwrap()).unwrap();
                let tuple = Tuple {
                    addrs,
                    proto,
                    l4: L4::Icmp {
                        id: 7,
                        icmp_type,
                        code: 0,
                    },
                };
                assert_eq!(tuple.mirrored().mirrored(), tuple);
            }
        }
    }

    #[test]
    fn addresses_of_two_families_make_no_pair() {
        assert_eq!(
            Addrs::new("10.0.0.1".parse().unwrap(), "::1".parse().unwrap()),
            None
        );
    }
}
