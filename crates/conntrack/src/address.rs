//! Addresses as they are typed: `ADDR`, `ADDR/LEN`, `ADDR:PORT`, `[ADDR]:PORT`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::{error::UsageError, number};

/// An address, and a netmask when a length shorter than the whole was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// Address as typed; bits outside the mask are kept.
    pub addr: IpAddr,
    /// Netmask.
    pub mask: Option<IpAddr>,
}

/// What a NAT option names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NatTarget {
    /// Address after translation.
    pub addr: IpAddr,
    /// Port after translation.
    pub port: Option<u16>,
}

/// Reads an address, IPv4 as `inet_aton`, IPv6 as `inet_pton` does.
///
/// # Errors
/// It is neither.
pub fn address(text: &str) -> Result<IpAddr, UsageError> {
    if let Some(addr) = ipv4(text) {
        return Ok(addr.into());
    }
    match text.parse::<Ipv6Addr>() {
        Ok(addr) => Ok(addr.into()),
        Err(_) => Err(UsageError::Address(text.to_owned())),
    }
}

/// Reads an address that may have a length behind `/`. An empty length is 0.
///
/// # Errors
/// No address; a length that is no number or too long.
pub fn network(text: &str) -> Result<Network, UsageError> {
    let Some((addr, len)) = text.split_once('/') else {
        let addr = address(text)?;
        return Ok(Network { addr, mask: None });
    };
    let addr = address(addr).map_err(|_| UsageError::Address(text.to_owned()))?;
    let width = if addr.is_ipv4() { 32 } else { 128 };
    let len = match len {
        "" => 0,
        len => number::whole(len, false, width).ok_or(UsageError::Netmask)?,
    };
    let mask = (len < width).then(|| mask(addr, u32::try_from(len).unwrap_or(0)));
    Ok(Network { addr, mask })
}

fn mask(addr: IpAddr, len: u32) -> IpAddr {
    match addr {
        IpAddr::V4(_) => {
            let bits = u32::MAX.checked_shr(len).map_or(u32::MAX, |host| !host);
            Ipv4Addr::from_bits(bits).into()
        }
        IpAddr::V6(_) => {
            let bits = u128::MAX.checked_shr(len).map_or(u128::MAX, |host| !host);
            Ipv6Addr::from_bits(bits).into()
        }
    }
}

/// Reads an address that must not have a length; `option` is the one to blame.
///
/// # Errors
/// No address, or one with a length.
pub fn host(text: &str, option: &'static str) -> Result<IpAddr, UsageError> {
    if text.contains('/') {
        return Err(UsageError::NoCidr(option));
    }
    address(text)
}

/// Reads a NAT option's word; `option` is the one to blame.
///
/// # Errors
/// As the grammar says: no address, no or no valid port, an open bracket.
pub fn nat_target(text: &str, option: &'static str) -> Result<NatTarget, UsageError> {
    let (addr, port) = split_port(text)?;
    let port = match port {
        None => None,
        Some("") => return Err(UsageError::NoPort),
        Some(port) => Some(port_number(port)?),
    };
    let addr = host(addr, option)?;
    Ok(NatTarget { addr, port })
}

fn split_port(text: &str) -> Result<(&str, Option<&str>), UsageError> {
    if let Some(inner) = text.strip_prefix('[') {
        let Some((addr, rest)) = inner.split_once(']') else {
            return Err(UsageError::OpenBracket);
        };
        if addr.is_empty() {
            return Err(UsageError::NoAddress);
        }
        return match rest.strip_prefix(':') {
            Some(port) => Ok((addr, Some(port))),
            // compat: brackets are for ports only.
            None => Err(UsageError::Address(text.to_owned())),
        };
    }
    match text.split_once(':') {
        // More than one colon: an IPv6 address without a port.
        Some((addr, port)) if !port.contains(':') => Ok((addr, Some(port))),
        _ => Ok((text, None)),
    }
}

fn port_number(text: &str) -> Result<u16, UsageError> {
    let invalid = || UsageError::Port(text.to_owned());
    if !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(invalid());
    }
    text.parse().map_err(|_| invalid())
}

/// `inet_aton`: up to four parts, the last of which fills the rest; decimal, `0x` or leading `0`.
///
/// Blanks may follow, and then anything.
fn ipv4(text: &str) -> Option<Ipv4Addr> {
    let end = text.find([' ', '\t', '\n', '\r', '\x0b', '\x0c']);
    let text = text.get(..end.unwrap_or(text.len()))?;
    let mut bits = 0_u32;
    let parts: Vec<&str> = text.split('.').collect();
    if parts.len() > 4 {
        return None;
    }
    let (last, leading) = parts.split_last()?;
    for (part, shift) in leading.iter().zip([24, 16, 8]) {
        bits |= part_number(part, 255)? << shift;
    }
    let room = u32::MAX.checked_shr(8 * u32::try_from(leading.len()).ok()?)?;
    Some(Ipv4Addr::from_bits(bits | part_number(last, room)?))
}

fn part_number(text: &str, max: u32) -> Option<u32> {
    if !text.starts_with(|first: char| first.is_ascii_digit()) {
        return None;
    }
    let number = number::whole(text, true, u64::from(max))?;
    u32::try_from(number).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn ipv4_addresses_may_have_fewer_parts() {
        for (text, addr) in [
            ("10.1.2.3", "10.1.2.3"),
            ("10.1.2", "10.1.0.2"),
            ("10.258", "10.0.1.2"),
            ("1", "0.0.0.1"),
            ("0x7f.1", "127.0.0.1"),
            ("010.1", "8.0.0.1"),
            ("4294967295", "255.255.255.255"),
            ("1.2.3.4 x", "1.2.3.4"),
        ] {
            assert_eq!(address(text), Ok(ip(addr)), "{text}");
        }
        for text in [
            "",
            "1.2.3.4.5",
            "256.1.1.1",
            "1.2.3.256",
            "foo",
            "1.",
            ".1",
            "1.+2",
            "[::1]",
            "fe80::1%lo",
        ] {
            assert_eq!(address(text), Err(UsageError::Address(text.to_owned())));
        }
    }

    #[test]
    fn a_length_makes_a_mask_unless_it_is_the_whole() {
        let mask = |text: &str| network(text).unwrap().mask;
        assert_eq!(mask("10.0.0.0/8"), Some(ip("255.0.0.0")));
        assert_eq!(mask("10.0.0.0/"), Some(ip("0.0.0.0")));
        assert_eq!(mask("10.0.0.0/32"), None);
        assert_eq!(mask("10.0.0.0"), None);
        assert_eq!(mask("fd00::/8"), Some(ip("ff00::")));
        assert_eq!(mask("fd00::/128"), None);
        for text in [
            "1.1.1.1/33",
            "1.1.1.1/-1",
            "1.1.1.1/x",
            "1.1.1.1/0x8",
            "::/129",
            "1.1.1.1/8 ",
        ] {
            assert_eq!(network(text), Err(UsageError::Netmask), "{text}");
        }
    }

    #[test]
    fn nat_targets_may_have_a_port() {
        let read = |text: &str| nat_target(text, "src-nat").map(|t| (t.addr, t.port));
        assert_eq!(read("1.2.3.4"), Ok((ip("1.2.3.4"), None)));
        assert_eq!(read("1.2.3.4:65535"), Ok((ip("1.2.3.4"), Some(65535))));
        assert_eq!(read("[::1]:5"), Ok((ip("::1"), Some(5))));
        assert_eq!(read("[::1]"), Err(UsageError::Address("[::1]".into())));
        assert_eq!(read("::1:5"), Ok((ip("::1:5"), None)));
        assert_eq!(read("1.2.3.4:"), Err(UsageError::NoPort));
        assert_eq!(read("1.2.3.4:65536"), Err(UsageError::Port("65536".into())));
        assert_eq!(read("1.2.3.4:+5"), Err(UsageError::Port("+5".into())));
        assert_eq!(read("[::1"), Err(UsageError::OpenBracket));
        assert_eq!(read("[]:5"), Err(UsageError::NoAddress));
        assert_eq!(read("[::1]5"), Err(UsageError::Address("[::1]5".into())));
        assert_eq!(read(":80"), Err(UsageError::Address(String::new())));
        assert_eq!(read("1.2.3.4/8"), Err(UsageError::NoCidr("src-nat")));
    }
}
