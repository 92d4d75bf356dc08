//! The form that nearly all messages about connections have, read at a stroke: TCP or UDP, addresses, status, protocol,
//! ports, state, and at most timeout, mark and SYN proxy behind them, in the order in which both programs write them.

use std::net::{Ipv4Addr, Ipv6Addr};

use flow::{Addrs, Flow, L4, ProtoInfo, Status, Synproxy, Tcp, TcpState, Tuple, protocol};

use crate::attr::flow as nr;

/// An attribute's header with a value of so many bytes.
const fn header(len: u8, number: u16) -> [u8; 4] {
    let [high, low] = number.to_be_bytes();
    [0, len.saturating_add(4), high, low]
}

const IPV4: [u8; 4] = header(8, nr::IPV4);
const IPV6: [u8; 4] = header(32, nr::IPV6);
const STATUS: [u8; 4] = header(4, nr::STATUS);
const L4PROTO: [u8; 4] = header(1, nr::L4PROTO);
const PORT: [u8; 4] = header(4, nr::PORT);
const TCP_STATE: [u8; 4] = header(1, nr::TCP_STATE);
const TIMEOUT: [u8; 4] = header(4, nr::TIMEOUT);
const MARK: [u8; 4] = header(4, nr::MARK);
const SYNPROXY: [u8; 4] = header(12, nr::SYNPROXY);

/// The entry. `None`: something else, to be read attribute by attribute.
#[inline(always)]
pub(super) fn flow(body: &[u8]) -> Option<Flow> {
    let (tuple, status, rest) = head(body)?;
    let (state, rest) = match rest {
        [TCP_STATE, [state, ..], rest @ ..] => (Some(*state), rest),
        _ => (None, rest),
    };
    let (timeout_s, rest) = match rest {
        [TIMEOUT, value, rest @ ..] => (Some(u32::from_be_bytes(*value)), rest),
        _ => (None, rest),
    };
    let (mark, rest) = match rest {
        [MARK, value, rest @ ..] => (Some(u32::from_be_bytes(*value)), rest),
        _ => (None, rest),
    };
    let synproxy = match rest {
        [] => None,
        [SYNPROXY, words @ ..] => {
            let [its, isn, tsoff] = words.first_chunk().filter(|_| words.len() == 3)?;
            let [its, isn, tsoff] = [its, isn, tsoff].map(|word| u32::from_be_bytes(*word));
            Some(Synproxy { isn, its, tsoff })
        }
        _ => return None,
    };
    let mut flow = Flow::new(tuple);
    flow.status = Some(status);
    flow.timeout_s = timeout_s;
    flow.mark = mark;
    flow.synproxy = synproxy;
    // A state this side does not know is told as none, and one of another protocol means nothing.
    if tuple.proto == protocol::TCP
        && let Some(state) = state.and_then(TcpState::from_number)
    {
        flow.proto = ProtoInfo::Tcp(Tcp {
            state: Some(state),
            ..Tcp::default()
        });
    }
    Some(flow)
}

/// The original tuple.
#[inline(always)]
pub(super) fn tuple(body: &[u8]) -> Option<Tuple> {
    head(body).map(|(tuple, ..)| tuple)
}

#[inline(always)]
fn head(body: &[u8]) -> Option<(Tuple, Status, &[[u8; 4]])> {
    let (words, []) = body.as_chunks::<4>() else {
        return None;
    };
    let (addrs, rest) = match words {
        [IPV4, src, dst, rest @ ..] => {
            let (src, dst) = (Ipv4Addr::from(*src), Ipv4Addr::from(*dst));
            (Addrs::V4 { src, dst }, rest)
        }
        [IPV6, s0, s1, s2, s3, d0, d1, d2, d3, rest @ ..] => {
            let (src, dst) = (v6([s0, s1, s2, s3]), v6([d0, d1, d2, d3]));
            (Addrs::V6 { src, dst }, rest)
        }
        _ => return None,
    };
    let [
        STATUS,
        status,
        L4PROTO,
        [proto, ..],
        PORT,
        [s0, s1, d0, d1],
        rest @ ..,
    ] = rest
    else {
        return None;
    };
    // Others have meanings of their own for ports.
    if !matches!(*proto, protocol::TCP | protocol::UDP) {
        return None;
    }
    let tuple = Tuple {
        addrs,
        proto: *proto,
        l4: L4::Ports {
            src: u16::from_be_bytes([*s0, *s1]),
            dst: u16::from_be_bytes([*d0, *d1]),
        },
    };
    Some((tuple, Status(u32::from_be_bytes(*status)), rest))
}

#[inline(always)]
fn v6(words: [&[u8; 4]; 4]) -> Ipv6Addr {
    let [a, b, c, d] = words.map(|word| u128::from(u32::from_be_bytes(*word)));
    Ipv6Addr::from_bits(a << 96 | b << 64 | c << 32 | d)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Attributes as both programs write them; which of them, and what little else, is left to chance.
    fn body() -> impl Strategy<Value = Vec<u8>> {
        let attribute = |header: [u8; 4], len: usize| {
            proptest::collection::vec(any::<u8>(), len.next_multiple_of(4))
                .prop_map(move |value| [header.to_vec(), value].concat())
        };
        let proto = prop_oneof![Just(6u8), Just(17), Just(33), Just(1), any::<u8>()];
        let parts = vec![
            prop_oneof![attribute(IPV4, 8), attribute(IPV6, 32)].boxed(),
            attribute(STATUS, 4).boxed(),
            proto
                .prop_map(|proto| [L4PROTO.to_vec(), vec![proto, 0, 0, 0]].concat())
                .boxed(),
            attribute(PORT, 4).boxed(),
            (0u8..13)
                .prop_map(|state| [TCP_STATE.to_vec(), vec![state, 0, 0, 0]].concat())
                .boxed(),
            attribute(TIMEOUT, 4).boxed(),
            attribute(MARK, 4).boxed(),
            attribute(SYNPROXY, 12).boxed(),
            attribute(header(1, nr::TCP_WSCALE_ORIG), 1).boxed(),
            attribute(header(4, nr::SNAT_IPV4), 4).boxed(),
        ];
        let there = proptest::collection::vec(proptest::bool::weighted(0.9), parts.len());
        let rare = (
            proptest::bool::weighted(0.2),
            proptest::bool::weighted(0.2),
            0usize..8,
        );
        (parts, there, rare).prop_map(|(parts, mut there, (scale, nat, cut))| {
            there.truncate(8);
            there.extend([scale, nat]);
            let mut body: Vec<u8> = (parts.into_iter().zip(there))
                .filter_map(|(part, there)| there.then_some(part))
                .flatten()
                .collect();
            // Mostly whole.
            body.truncate(body.len() - cut.saturating_sub(4).min(body.len()));
            body
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn the_usual_form_is_read_as_any_other(body in body()) {
            if let Some(flow) = flow(&body) {
                prop_assert_eq!(super::super::any(&body), Ok(flow));
            }
            if let Some(tuple) = tuple(&body) {
                prop_assert_eq!(super::super::any(&body).map(|flow| flow.orig), Ok(tuple));
            }
        }
    }

    #[test]
    fn what_nearly_all_messages_are_is_the_usual_form() {
        let words = [
            IPV4,
            [10, 0, 0, 1],
            [10, 0, 0, 2],
            STATUS,
            [0; 4],
            L4PROTO,
            [6, 0, 0, 0],
            PORT,
        ];
        let more = [
            [1, 2, 3, 4],
            TCP_STATE,
            [3, 0, 0, 0],
            TIMEOUT,
            [0, 0, 0, 9],
            MARK,
            [0; 4],
            SYNPROXY,
            [0; 4],
            [0; 4],
            [0; 4],
        ];
        for len in [9, 11, 13, 15, 19] {
            let body: Vec<_> = (words.iter().chain(&more).take(len))
                .flatten()
                .copied()
                .collect();
            assert!(flow(&body).is_some(), "{len}");
        }
    }
}
