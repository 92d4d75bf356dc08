//! A digest tells apart what is replicated, and nothing else.

mod common;

use common::{flows_of, plain_flow, tuple};
use flow::{Counters, Flow};
use native::digest::{DigestKey, RangeDigest};
use native::message::Fields;
use proptest::prelude::*;

fn digests() -> RangeDigest {
    RangeDigest::new(DigestKey([3; 16]), Fields::ALL)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn entries_have_the_same_digest_exactly_if_they_differ_in_nothing_but_the_timeout(
        (one, other) in tuple().prop_flat_map(|orig| (flows_of(orig), flows_of(orig))),
        timeout_s in any::<Option<u32>>(),
        swap in proptest::collection::vec(any::<bool>(), 8),
    ) {
        // Near each other: some parts of the one, the rest of the other.
        let mut other = other;
        for (swapped, copy) in swap.into_iter().zip([
            |to: &mut Flow, from: &Flow| to.reply = from.reply,
            |to: &mut Flow, from: &Flow| to.zone = from.zone,
            |to: &mut Flow, from: &Flow| to.status = from.status,
            |to: &mut Flow, from: &Flow| to.mark = from.mark,
            |to: &mut Flow, from: &Flow| to.proto = from.proto,
            |to: &mut Flow, from: &Flow| to.nat = from.nat,
            |to: &mut Flow, from: &Flow| to.labels = from.labels,
            |to: &mut Flow, from: &Flow| {
                *to = Flow { reply: to.reply, zone: to.zone, status: to.status, mark: to.mark,
                    proto: to.proto, nat: to.nat, labels: to.labels, ..*from }
            },
        ]) {
            if swapped {
                copy(&mut other, &one);
            }
        }
        other.timeout_s = timeout_s;
        let same = Flow { timeout_s: None, ..one } == Flow { timeout_s: None, ..other };
        let mut digests = digests();
        let mut digest = |flow: &Flow| {
            digests.add_flow(1, flow);
            (digests.finish(), digests.flow_hash(flow))
        };
        let (one, other) = (digest(&one), digest(&other));
        prop_assert_eq!(one.0 == other.0, same);
        prop_assert_eq!(one.1 == other.1, same);
    }
}

#[test]
fn what_is_not_replicated_does_not_count() {
    let flow = plain_flow();
    let seen = Flow {
        id: Some(7),
        use_count: Some(2),
        counters_orig: Some(Counters {
            packets: 1,
            bytes: 60,
        }),
        event_time_ns: Some(1),
        ..flow
    };
    let mut digests = digests();
    assert_eq!(digests.flow_hash(&flow), digests.flow_hash(&seen));
}

#[test]
fn handles_and_vacancies_count() {
    let mut digests = digests();
    let flow = plain_flow();
    let mut of = |handles: &[u32]| {
        for &handle in handles {
            digests.add_flow(handle, &flow);
        }
        digests.finish()
    };
    assert_eq!(of(&[1, 2]), of(&[1, 2]));
    assert_ne!(of(&[1, 2]), of(&[1, 3]));
    assert_ne!(of(&[1, 2]), of(&[1]));
    assert_ne!(of(&[]), of(&[1]));
}

#[test]
fn another_key_gives_another_digest() {
    let flow = plain_flow();
    let hash = |key| RangeDigest::new(DigestKey(key), Fields::ALL).flow_hash(&flow);
    assert_ne!(hash([1; 16]), hash([2; 16]));
}

#[test]
fn what_one_end_does_not_know_is_left_out_at_both() {
    let with = plain_flow();
    let without = Flow {
        mark: Some(99),
        ..with
    };
    let common = Fields::ALL.without(Fields::MARK);
    let mut digests = RangeDigest::new(DigestKey([3; 16]), common);
    assert_eq!(digests.flow_hash(&with), digests.flow_hash(&without));
}
