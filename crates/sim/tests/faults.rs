//! The simulator finds what is planted: each fault within a stated number of seeds, which all pass without it.

#![cfg(feature = "planted-faults")]

use engine::api::ExternalMode;
use engine::fault::{Fault, plant};
use sim::plan::{ModeName, Plan};
use sim::scenario::Scenario;
use sim::shrink::try_out;
use sim::watch::Promise;

/// What a fault needs to show, beyond luck.
type Needs = fn(&Plan) -> bool;

fn anything(_: &Plan) -> bool {
    true
}

/// The fault, the promise it breaks first, what the run must be about, and the seeds it may take; twice as many as
/// it took when this was written, and at least 10.
const PLANTED: [(Fault, Promise, Needs, usize); 17] = [
    (Fault::NackIgnored, Promise::Agreement, anything, 15),
    (Fault::AckOffByOne, Promise::NoReturn, anything, 10),
    (
        Fault::DeletionLostInBulk,
        Promise::Agreement,
        |plan| plan.commands && plan.severity > 1 && !plan.crashes,
        40,
    ),
    (
        Fault::SequenceWrap,
        Promise::Agreement,
        |plan| plan.epoch_s > 4_000_000_000,
        10,
    ),
    (
        Fault::StaleLifeAccepted,
        Promise::Incarnation,
        |plan| plan.crashes && plan.severity > 2 && !plan.clock_jumps,
        200,
    ),
    (Fault::OverflowNotHealed, Promise::Agreement, anything, 15),
    (
        Fault::ReconcileSkipsDeletions,
        Promise::Agreement,
        anything,
        10,
    ),
    (Fault::CommitForgets, Promise::Agreement, anything, 10),
    (Fault::PurgeNotCancelled, Promise::Roles, anything, 10),
    (Fault::DuplicateAccepted, Promise::NoReturn, anything, 10),
    (Fault::DeletionNotKept, Promise::Agreement, anything, 15),
    (Fault::Silent, Promise::Voice, anything, 10),
    (Fault::RoleNotSettled, Promise::Roles, anything, 10),
    (Fault::VersionIgnored, Promise::Garbage, anything, 10),
    (
        Fault::WallClockAges,
        Promise::Lives,
        |plan| plan.clock_jumps,
        20,
    ),
    (Fault::EndOfPeerIgnored, Promise::NoReturn, anything, 10),
    (
        Fault::InjectionNotAwaited,
        Promise::Agreement,
        |plan| plan.settings.external == ExternalMode::Inject && plan.batch_us[1] > 5000,
        25,
    ),
];

/// Runs of the reliable mode that are about what the fault needs.
fn runs(needs: Needs, count: usize) -> impl Iterator<Item = Scenario> {
    (1..)
        .map(|seed| Scenario::draw(seed, Some(ModeName::Ftfw)))
        .filter(move |scenario| needs(&scenario.plan))
        .take(count)
}

#[test]
fn every_planted_fault_is_found_within_its_number_of_seeds() {
    let mut missed = Vec::new();
    for (fault, promise, needs, count) in PLANTED {
        plant(Some(fault));
        let found = runs(needs, count)
            .enumerate()
            .find_map(|(tried, scenario)| {
                let failure = try_out(&scenario).err()?;
                Some((tried + 1, scenario.seed, failure.violations[0].promise))
            });
        plant(None);
        println!("{fault:?}: {found:?} of {count}");
        if found.is_none_or(|(_, _, broken)| broken != promise) {
            missed.push(format!(
                "{fault:?}: {found:?}, not {promise:?} within {count}"
            ));
        }
    }
    assert!(missed.is_empty(), "{missed:#?}");
    assert_eq!(PLANTED.len(), Fault::ALL.len());
}

#[test]
fn without_a_fault_the_same_seeds_pass() {
    let mut seeds = std::collections::BTreeSet::new();
    for (_, _, needs, count) in PLANTED {
        seeds.extend(runs(needs, count).map(|scenario| scenario.seed));
    }
    for seed in seeds {
        if let Err(failure) = try_out(&Scenario::draw(seed, Some(ModeName::Ftfw))) {
            panic!("seed {seed}: {failure}");
        }
    }
}
