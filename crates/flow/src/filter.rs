//! Which entries take part.

use std::net::IpAddr;

use crate::{Flow, TcpState};

/// What a list does with the entries that match it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Action {
    /// Only entries in the list pass.
    Accept,
    /// Entries in the list are dropped.
    Ignore,
}

/// An address with the number of leading bits that count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Network {
    /// Address.
    pub addr: IpAddr,
    /// Leading bits, 0–32 or 0–128.
    pub prefix_len: u8,
}

impl Network {
    /// Just one address.
    #[must_use]
    pub fn host(addr: IpAddr) -> Self {
        Self {
            addr,
            prefix_len: if addr.is_ipv4() { 32 } else { 128 },
        }
    }

    /// Whether `addr` lies inside. Addresses of the other family never do.
    #[must_use]
    pub fn contains(&self, addr: IpAddr) -> bool {
        let (mine, theirs, width) = match (self.addr, addr) {
            (IpAddr::V4(a), IpAddr::V4(b)) => {
                (u128::from(a.to_bits()), u128::from(b.to_bits()), 32)
            }
            (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits(), b.to_bits(), 128),
            _ => return false,
        };
        let host_bits = u32::from(width - self.prefix_len.min(width));
        (mine ^ theirs).checked_shr(host_bits).unwrap_or(0) == 0
    }
}

/// The three lists of the original's `Filter` section; a list that is `None` lets everything pass.
///
/// An entry passes when it passes every list. Source: conntrackd.conf(5), `Filter`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct FlowFilter {
    /// Protocol numbers.
    pub protocols: Option<(Action, Vec<u8>)>,
    /// Networks that the two real endpoints (original source, reply source) are compared with.
    pub addresses: Option<(Action, Vec<Network>)>,
    /// TCP states. Entries of other protocols, and TCP entries without a state, pass.
    pub tcp_states: Option<(Action, Vec<TcpState>)>,
}

impl FlowFilter {
    /// Whether there is nothing to test.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.protocols.is_none() && self.addresses.is_none() && self.tcp_states.is_none()
    }

    /// Whether `flow` takes part.
    #[must_use]
    pub fn accepts(&self, flow: &Flow) -> bool {
        let passes = |action: Action, listed: bool| listed == (action == Action::Accept);
        if let Some((action, protocols)) = &self.protocols
            && !passes(*action, protocols.contains(&flow.orig.proto))
        {
            return false;
        }
        if let Some((action, networks)) = &self.addresses {
            let ends = [flow.orig.src(), flow.reply_direction().src()];
            let listed = ends
                .iter()
                .any(|&end| networks.iter().any(|net| net.contains(end)));
            if !passes(*action, listed) {
                return false;
            }
        }
        if let Some((action, states)) = &self.tcp_states
            && let Some(state) = flow.proto.tcp_state()
            && !passes(*action, states.contains(&state))
        {
            return false;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Addrs, L4, ProtoInfo, Status, Tcp, Tuple};

    fn flow(src: &str, dst: &str, real_dst: &str) -> Flow {
        let addrs = |a: &str, b: &str| Addrs::new(a.parse().unwrap(), b.parse().unwrap()).unwrap();
        let l4 = L4::Ports { src: 1, dst: 2 };
        let mut flow = Flow::new(Tuple {
            addrs: addrs(src, dst),
            proto: 6,
            l4,
        });
        flow.status = Some(Status::DST_NAT_DONE);
        flow.reply = Some(Tuple {
            addrs: addrs(real_dst, src),
            proto: 6,
            l4: L4::Ports { src: 2, dst: 1 },
        });
        flow
    }

    /// The matrix of the reference for the original's user-space filter.
    #[test]
    fn addresses_are_those_of_the_real_endpoints() {
        let networks = vec![
            Network {
                addr: "10.1.0.0".parse().unwrap(),
                prefix_len: 24,
            },
            Network::host("10.7.0.9".parse().unwrap()),
        ];
        for (src, dst, real_dst, listed) in [
            ("10.1.0.5", "10.1.0.6", "10.1.0.6", true),
            ("10.1.0.5", "10.9.0.1", "10.9.0.1", true),
            ("10.9.0.1", "10.1.0.5", "10.1.0.5", true),
            ("10.9.0.1", "10.9.0.2", "10.9.0.2", false),
            ("10.7.0.9", "10.9.0.2", "10.9.0.2", true),
            ("10.9.0.3", "10.7.0.9", "10.7.0.9", true),
            ("10.9.0.7", "10.9.0.8", "10.1.0.9", true),
            ("10.9.0.7", "10.1.0.8", "10.9.0.9", false),
            ("fd00::1", "fd00::2", "fd00::2", false),
        ] {
            let flow = flow(src, dst, real_dst);
            for (action, expected) in [(Action::Accept, listed), (Action::Ignore, !listed)] {
                let filter = FlowFilter {
                    addresses: Some((action, networks.clone())),
                    ..FlowFilter::default()
                };
                assert_eq!(
                    filter.accepts(&flow),
                    expected,
                    "{action:?} {src} {dst} {real_dst}"
                );
            }
        }
    }

    #[test]
    fn an_empty_accept_list_drops_everything_and_an_empty_ignore_list_nothing() {
        let flow = flow("10.0.0.1", "10.0.0.2", "10.0.0.2");
        for (action, expected) in [(Action::Accept, false), (Action::Ignore, true)] {
            let filter = FlowFilter {
                protocols: Some((action, vec![])),
                ..FlowFilter::default()
            };
            assert_eq!(filter.accepts(&flow), expected);
        }
    }

    #[test]
    fn states_concern_only_entries_that_have_one() {
        let mut flow = flow("10.0.0.1", "10.0.0.2", "10.0.0.2");
        let filter = FlowFilter {
            tcp_states: Some((Action::Accept, vec![TcpState::Established])),
            ..FlowFilter::default()
        };
        assert!(filter.accepts(&flow));
        flow.proto = ProtoInfo::Tcp(Tcp {
            state: Some(TcpState::SynSent),
            ..Tcp::default()
        });
        assert!(!filter.accepts(&flow));
        flow.proto = ProtoInfo::Tcp(Tcp {
            state: Some(TcpState::Established),
            ..Tcp::default()
        });
        assert!(filter.accepts(&flow));
    }

    #[test]
    fn a_network_of_no_bits_holds_its_whole_family() {
        let all = Network {
            addr: "0.0.0.0".parse().unwrap(),
            prefix_len: 0,
        };
        assert!(all.contains("255.1.2.3".parse().unwrap()));
        assert!(!all.contains("::1".parse().unwrap()));
        let all = Network {
            addr: "::".parse().unwrap(),
            prefix_len: 0,
        };
        assert!(all.contains("fe80::1".parse().unwrap()));
    }
}
