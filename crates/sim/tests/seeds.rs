//! Seeds of every mode. A seed that failed once stays here for good.

use sim::plan::ModeName;
use sim::scenario::{Report, run};

fn all(mode: ModeName, seeds: impl IntoIterator<Item = u64>) -> Vec<Report> {
    let reports: Vec<(u64, Report)> = seeds
        .into_iter()
        .map(|seed| (seed, run(seed, Some(mode), false)))
        .collect();
    let failed: Vec<_> = reports
        .iter()
        .filter(|(_, report)| !report.violations.is_empty())
        .map(|(seed, report)| format!("seed {seed}: {:#?}", report.violations))
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
    assert_eventful(&all(ModeName::Ftfw, 1..=40));
}

#[test]
fn notrack_nodes_agree_once_they_have_asked() {
    assert_eventful(&all(ModeName::Notrack, 1..=40));
}

#[test]
fn alarm_nodes_agree_after_a_while() {
    assert_eventful(&all(ModeName::Alarm, 1..=20));
}

/// Acknowledgements of acknowledgements, starved bulks, forgotten repairs, keys that came back.
#[test]
fn seeds_that_failed_once_do_not_fail_again() {
    all(
        ModeName::Ftfw,
        [45, 63, 91, 93, 131, 166, 433, 465, 2132, 2967],
    );
    all(ModeName::Notrack, [61, 66, 171]);
    all(ModeName::Alarm, [35, 55, 80]);
}

#[test]
fn one_seed_decides_everything() {
    for (seed, mode) in [
        (3, ModeName::Ftfw),
        (4, ModeName::Notrack),
        (5, ModeName::Alarm),
    ] {
        let [first, second] = [(); 2].map(|()| run(seed, Some(mode), false));
        assert_eq!(first.transcript, second.transcript);
        assert_eq!(first.datagrams, second.datagrams);
        assert_ne!(
            first.transcript,
            run(seed + 100, Some(mode), false).transcript
        );
    }
}
