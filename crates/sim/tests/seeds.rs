//! A few seeds of every mode; `cargo xtask sim` runs many.

use sim::plan::ModeName;
use sim::scenario::{Report, Scenario, run};
use sim::schedule::When;
use sim::shrink::{keep, shrink, try_out};
use sim::watch::Promise;

fn all(mode: ModeName, seeds: impl IntoIterator<Item = u64>) -> Vec<Report> {
    let reports: Vec<(u64, Report)> = seeds
        .into_iter()
        .map(|seed| (seed, run(seed, Some(mode))))
        .collect();
    let failed: Vec<_> = reports
        .iter()
        .filter_map(|(seed, report)| Some(format!("seed {seed}: {}", report.failure.as_ref()?)))
        .collect();
    assert!(failed.is_empty(), "{mode:?}: {}", failed.join("\n"));
    reports.into_iter().map(|(_, report)| report).collect()
}

/// Runs in which nothing ever goes wrong would prove nothing.
fn assert_eventful(reports: &[Report]) {
    let lost: u64 = reports.iter().map(|report| report.datagrams.1).sum();
    let entries: usize = reports.iter().map(|report| report.entries).sum();
    let exact = reports.iter().filter(|report| report.exact).count();
    assert!(
        lost > 100 && entries > 100,
        "{lost} lost, {entries} entries"
    );
    assert!(exact > reports.len() / 20, "{exact} of {}", reports.len());
}

#[test]
fn ftfw_nodes_agree_after_any_trouble() {
    let reports = all(ModeName::Ftfw, 1..=20);
    assert_eventful(&reports);
    let agreed = reports.iter().filter_map(|report| report.agreed_after);
    assert!(agreed.count() > 0, "some agree without a command");
}

#[test]
fn notrack_nodes_agree_once_they_have_asked() {
    assert_eventful(&all(ModeName::Notrack, 21..=40));
}

#[test]
fn alarm_nodes_agree_after_a_while() {
    assert_eventful(&all(ModeName::Alarm, 1..=15));
}

#[test]
fn one_seed_decides_everything() {
    for (seed, mode) in [
        (3, ModeName::Ftfw),
        (4, ModeName::Notrack),
        (5, ModeName::Alarm),
    ] {
        let [first, second] = [(); 2].map(|()| run(seed, Some(mode)));
        assert_eq!(first.transcript, second.transcript);
        assert_eq!(first.datagrams, second.datagrams);
        assert_ne!(first.transcript, run(seed + 100, Some(mode)).transcript);
    }
}

#[test]
fn a_failing_run_becomes_smaller_and_fails_alike_when_it_is_repeated() {
    let mut scenario = Scenario::draw(4, Some(ModeName::Ftfw));
    scenario
        .schedule
        .acts
        .retain(|(when, _)| *when != When::Roles);
    // Caches too small for the traffic, which the run does not know.
    scenario.plan.settings.cache_limit = 3;
    scenario.plan.tight = false;
    let failure = try_out(&scenario).expect_err("three entries are not enough");
    assert_eq!(failure.violations[0].promise, Promise::Agreement);
    let (smaller, kept, failure) = shrink(&scenario, &failure);
    let whole = scenario.schedule.acts.len();
    assert!(kept.len() * 4 < whole, "{} of {whole} acts", kept.len());
    assert_eq!(failure.violations[0].promise, Promise::Agreement);
    assert_eq!(keep(&scenario, &kept).schedule, smaller.schedule);
    assert_eq!(try_out(&smaller).expect_err("again"), failure);
}
