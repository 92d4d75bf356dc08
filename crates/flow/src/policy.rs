//! What a peer may have put into the caches and the kernel.

use std::net::IpAddr;

use crate::filter::Network;
use crate::{Expectation, Flow, TcpState, Tuple};

/// Bounds on entries of a peer; what is `None` is not bounded.
///
/// Unlike a [`FlowFilter`](crate::FlowFilter), which chooses among the own entries by their ends, every address
/// that an entry could let packets pass to has to be allowed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Policy {
    /// Networks that every address lies in: of both directions, of translations, and of the master.
    pub addresses: Option<Vec<Network>>,
    /// Protocol numbers.
    pub protocols: Option<Vec<u8>>,
    /// TCP states. Entries of other protocols, and TCP entries without a state, pass.
    pub tcp_states: Option<Vec<TcpState>>,
    /// Zones of either direction.
    pub zones: Option<Vec<u16>>,
}

/// What an entry is refused for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Violation {
    /// An address lies in none of the networks.
    Address,
    /// The protocol is not allowed.
    Protocol,
    /// The TCP state is not allowed.
    State,
    /// The zone is not allowed.
    Zone,
}

impl Policy {
    /// Whether everything passes.
    #[must_use]
    pub fn is_open(&self) -> bool {
        *self == Self::default()
    }

    /// Looks at a connection.
    ///
    /// # Errors
    /// It is not allowed.
    pub fn judge(&self, flow: &Flow) -> Result<(), Violation> {
        self.judge_protocol(flow.orig.proto)?;
        self.judge_zones(&[flow.zone.orig, flow.zone.reply])?;
        self.judge_state(flow.proto.tcp_state())?;
        let tuples = [Some(flow.orig), flow.reply, flow.master];
        let translated = [flow.nat.src_addr, flow.nat.dst_addr];
        self.judge_addresses(tuples.into_iter().flatten(), translated)
    }

    /// Looks at an expectation.
    ///
    /// # Errors
    /// It is not allowed.
    pub fn judge_expectation(&self, expectation: &Expectation) -> Result<(), Violation> {
        self.judge_protocol(expectation.tuple.proto)?;
        self.judge_zones(&[expectation.zone])?;
        let translated = expectation.nat.and_then(|nat| nat.tuple).map(|t| t.src());
        // A source that the mask leaves open may be anybody's.
        let expected = (expectation.tuple, expectation.mask);
        let open = |addr: IpAddr| addr.is_unspecified();
        let source = (!open(expected.1.src())).then(|| expected.0.src());
        let master = [expectation.master];
        let others = [source, Some(expected.0.dst()), translated];
        self.judge_addresses(master.into_iter(), others)
    }

    fn judge_protocol(&self, proto: u8) -> Result<(), Violation> {
        match &self.protocols {
            Some(allowed) if !allowed.contains(&proto) => Err(Violation::Protocol),
            _ => Ok(()),
        }
    }

    fn judge_zones(&self, zones: &[u16]) -> Result<(), Violation> {
        match &self.zones {
            Some(allowed) if !zones.iter().all(|zone| allowed.contains(zone)) => {
                Err(Violation::Zone)
            }
            _ => Ok(()),
        }
    }

    fn judge_state(&self, state: Option<TcpState>) -> Result<(), Violation> {
        match (&self.tcp_states, state) {
            (Some(allowed), Some(state)) if !allowed.contains(&state) => Err(Violation::State),
            _ => Ok(()),
        }
    }

    fn judge_addresses(
        &self,
        tuples: impl Iterator<Item = Tuple>,
        others: impl IntoIterator<Item = Option<IpAddr>>,
    ) -> Result<(), Violation> {
        let Some(networks) = &self.addresses else {
            return Ok(());
        };
        let allowed = |addr: IpAddr| networks.iter().any(|network| network.contains(addr));
        let mut all = tuples
            .flat_map(|tuple| [tuple.src(), tuple.dst()])
            .chain(others.into_iter().flatten());
        if all.all(allowed) {
            Ok(())
        } else {
            Err(Violation::Address)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Addrs, L4, ProtoInfo, Tcp, Zone};

    fn tuple(src: &str, dst: &str) -> Tuple {
        Tuple {
            addrs: Addrs::new(src.parse().unwrap(), dst.parse().unwrap()).unwrap(),
            proto: 6,
            l4: L4::Ports { src: 1, dst: 2 },
        }
    }

    fn networks(texts: &[(&str, u8)]) -> Option<Vec<Network>> {
        let networks = texts.iter().map(|&(addr, prefix_len)| Network {
            addr: addr.parse().unwrap(),
            prefix_len,
        });
        Some(networks.collect())
    }

    #[test]
    fn every_address_of_an_entry_has_to_be_allowed() {
        let policy = Policy {
            addresses: networks(&[("10.0.0.0", 8), ("192.0.2.1", 32)]),
            ..Policy::default()
        };
        let inside = Flow::new(tuple("10.1.1.1", "192.0.2.1"));
        assert_eq!(policy.judge(&inside), Ok(()));
        let outside = Flow::new(tuple("10.1.1.1", "192.0.2.2"));
        assert_eq!(policy.judge(&outside), Err(Violation::Address));
        let foreign = tuple("172.16.0.1", "10.1.1.1");
        for change in [
            |flow: &mut Flow, foreign: Tuple| flow.reply = Some(foreign),
            |flow: &mut Flow, foreign: Tuple| flow.master = Some(foreign),
            |flow: &mut Flow, foreign: Tuple| flow.nat.dst_addr = Some(foreign.src()),
            |flow: &mut Flow, foreign: Tuple| flow.nat.src_addr = Some(foreign.src()),
        ] {
            let mut flow = inside;
            change(&mut flow, foreign);
            assert_eq!(policy.judge(&flow), Err(Violation::Address));
        }
    }

    #[test]
    fn protocols_states_and_zones_are_bounded_each_for_itself() {
        let mut flow = Flow::new(tuple("10.1.1.1", "10.1.1.2"));
        flow.proto = ProtoInfo::Tcp(Tcp {
            state: Some(TcpState::SynSent),
            ..Tcp::default()
        });
        flow.zone = Zone::both(3);
        assert_eq!(Policy::default().judge(&flow), Ok(()));
        let refused = [
            (
                Policy {
                    protocols: Some(vec![17]),
                    ..Policy::default()
                },
                Violation::Protocol,
            ),
            (
                Policy {
                    tcp_states: Some(vec![TcpState::Established]),
                    ..Policy::default()
                },
                Violation::State,
            ),
            (
                Policy {
                    zones: Some(vec![0]),
                    ..Policy::default()
                },
                Violation::Zone,
            ),
        ];
        for (policy, violation) in refused {
            assert_eq!(policy.judge(&flow), Err(violation));
        }
    }

    #[test]
    fn an_expectation_from_anybody_is_judged_by_the_rest() {
        let policy = Policy {
            addresses: networks(&[("10.0.0.0", 8)]),
            ..Policy::default()
        };
        let master = tuple("10.1.1.1", "10.1.1.2");
        let mask = tuple("0.0.0.0", "255.255.255.255");
        let from_anybody = Expectation::new(master, tuple("0.0.0.0", "10.1.1.1"), mask);
        assert_eq!(policy.judge_expectation(&from_anybody), Ok(()));
        let to_a_stranger = Expectation::new(master, tuple("0.0.0.0", "172.16.0.1"), mask);
        assert_eq!(
            policy.judge_expectation(&to_a_stranger),
            Err(Violation::Address)
        );
    }
}
