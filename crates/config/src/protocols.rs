//! Names of transport protocols.

use std::collections::HashMap;

/// Names and their numbers, as in `/etc/protocols`. Upper and lower case differ.
#[derive(Clone, Debug)]
pub(crate) struct Protocols(HashMap<String, u8>);

/// What an `/etc/protocols` usually holds of the protocols that a firewall may see. Each also has an
/// alias in upper case, but for those whose alias is given.
const USUAL: [(&str, u8, &str); 21] = [
    ("icmp", 1, "ICMP"),
    ("igmp", 2, "IGMP"),
    ("ipencap", 4, "IP-ENCAP"),
    ("tcp", 6, "TCP"),
    ("egp", 8, "EGP"),
    ("udp", 17, "UDP"),
    ("dccp", 33, "DCCP"),
    ("ipv6", 41, "IPv6"),
    ("rsvp", 46, "RSVP"),
    ("gre", 47, "GRE"),
    ("esp", 50, "IPSEC-ESP"),
    ("ah", 51, "IPSEC-AH"),
    ("ipv6-icmp", 58, "IPv6-ICMP"),
    ("eigrp", 88, "EIGRP"),
    ("ospf", 89, "OSPFIGP"),
    ("ipip", 94, "IPIP"),
    ("pim", 103, "PIM"),
    ("vrrp", 112, "VRRP"),
    ("l2tp", 115, "L2TP"),
    ("sctp", 132, "SCTP"),
    ("udplite", 136, "UDPLite"),
];

impl Protocols {
    /// The usual names.
    pub(crate) fn usual() -> Self {
        Self(
            USUAL
                .iter()
                .flat_map(|&(name, number, alias)| {
                    [(name.to_owned(), number), (alias.to_owned(), number)]
                })
                .collect(),
        )
    }

    /// Those of an `/etc/protocols`, and the usual ones where it lacks them.
    pub(crate) fn with_file(text: &str) -> Self {
        let mut protocols = Self::usual();
        for line in text.lines() {
            let line = line.split('#').next().unwrap_or_default();
            let mut words = line.split_ascii_whitespace();
            let (Some(name), Some(number)) = (words.next(), words.next()) else {
                continue;
            };
            let Ok(number) = number.parse::<u8>() else {
                continue;
            };
            for name in std::iter::once(name).chain(words) {
                protocols.0.insert(name.to_owned(), number);
            }
        }
        protocols
    }

    /// The number of the protocol written exactly so.
    pub(crate) fn number(&self, name: &str) -> Option<u8> {
        self.0.get(name).copied()
    }
}

/// The usual name of a number.
pub(crate) fn usual_name(number: u8) -> Option<&'static str> {
    USUAL
        .iter()
        .find(|&&(_, n, _)| n == number)
        .map(|&(name, _, _)| name)
}

/// The number of a usual name or alias.
pub(crate) fn usual_number(name: &str) -> Option<u8> {
    USUAL
        .iter()
        .find(|&&(n, _, alias)| n == name || alias == name)
        .map(|&(_, number, _)| number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_as_they_are_written() {
        let protocols = Protocols::usual();
        assert_eq!(protocols.number("TCP"), Some(6));
        assert_eq!(protocols.number("IPv6-ICMP"), Some(58));
        assert_eq!(protocols.number("Tcp"), None);
        assert_eq!(usual_name(132), Some("sctp"));
    }

    #[test]
    fn a_file_adds_its_names_and_aliases() {
        let protocols = Protocols::with_file("# c\nmine 253 MINE Mine # x\nmptcp 262\nbroken\n");
        assert_eq!(protocols.number("Mine"), Some(253));
        assert_eq!(protocols.number("mptcp"), None);
        assert_eq!(protocols.number("udp"), Some(17));
    }
}
