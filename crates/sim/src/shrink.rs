//! Makes a failing run smaller: acts are left out as long as the same promise is broken.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use crate::scenario::{Failure, Report, Scenario, carry_out};
use crate::schedule::{Act, When};
use crate::trace;
use crate::watch::{Promise, Violation};
use crate::world::name;

/// How long is tried.
const LIMIT: Duration = Duration::from_secs(30);

/// No positions at all.
const NOTHING: &str = "none";

/// Carries out a run; a panic is a failure like any other.
///
/// # Errors
/// A promise was broken.
pub fn try_out(scenario: &Scenario) -> Result<Report, Failure> {
    match catch_unwind(AssertUnwindSafe(|| carry_out(scenario, false))) {
        Ok(Report {
            failure: Some(failure),
            ..
        }) => Err(failure),
        Ok(report) => Ok(report),
        Err(panic) => {
            let words = panic.downcast_ref::<String>().cloned();
            let words = words.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()));
            Err(Failure {
                step: trace::step(),
                at: Duration::ZERO,
                violations: vec![Violation {
                    promise: Promise::Panic,
                    words: words.unwrap_or_default(),
                }],
            })
        }
    }
}

/// A smaller run that fails in the same way, with the positions of the acts that are left and how it fails.
#[must_use]
pub fn shrink(scenario: &Scenario, failure: &Failure) -> (Scenario, Vec<usize>, Failure) {
    let began = Instant::now();
    let mut search = Search {
        whole: scenario,
        promise: promise(failure),
        kept: (0..scenario.schedule.acts.len()).collect(),
        failure: failure.clone(),
    };
    // What comes after the step of the failure cannot matter.
    let until = failure.step;
    search.attempt(search.without(|when| matches!(when, When::Step(step) if *step > until)));
    let mut size = search.kept.len().div_ceil(2);
    while size > 0 && began.elapsed() < LIMIT {
        let mut smaller = false;
        let mut start = 0;
        while start < search.kept.len() && began.elapsed() < LIMIT {
            let mut rest = search.kept.clone();
            rest.drain(start..(start + size).min(rest.len()));
            if search.attempt(rest) {
                smaller = true;
            } else {
                start += size;
            }
        }
        if size == 1 && !smaller {
            break;
        }
        size = if smaller && size == 1 { 1 } else { size / 2 };
    }
    (search.scenario(&search.kept), search.kept, search.failure)
}

/// The run with only these acts.
#[must_use]
pub fn keep(scenario: &Scenario, kept: &[usize]) -> Scenario {
    let mut smaller = scenario.clone();
    let acts = &scenario.schedule.acts;
    smaller.schedule.acts = kept
        .iter()
        .filter_map(|position| acts.get(*position).copied())
        .collect();
    // A second after the last act nothing new happens.
    let last = smaller
        .schedule
        .acts
        .iter()
        .filter_map(|(when, _)| match when {
            When::Step(step) => Some(*step),
            _ => None,
        });
    let steps = last.max().map_or(0, |step| step + 50);
    smaller.schedule.steps = smaller.schedule.steps.min(steps);
    smaller
}

fn promise(failure: &Failure) -> Option<Promise> {
    failure
        .violations
        .first()
        .map(|violation| violation.promise)
}

struct Search<'a> {
    whole: &'a Scenario,
    promise: Option<Promise>,
    kept: Vec<usize>,
    failure: Failure,
}

impl Search<'_> {
    fn without(&self, drop: impl Fn(&When) -> bool) -> Vec<usize> {
        let acts = &self.whole.schedule.acts;
        let stays = |position: &usize| acts.get(*position).is_some_and(|(when, _)| !drop(when));
        self.kept.iter().copied().filter(stays).collect()
    }

    fn scenario(&self, kept: &[usize]) -> Scenario {
        keep(self.whole, kept)
    }

    /// Whether a run with these acts only fails in the same way; then they are all that is kept.
    fn attempt(&mut self, kept: Vec<usize>) -> bool {
        if kept.len() == self.kept.len() {
            return false;
        }
        match try_out(&self.scenario(&kept)) {
            Err(failure) if promise(&failure) == self.promise => {
                (self.kept, self.failure) = (kept, failure);
                true
            }
            _ => false,
        }
    }
}

/// Positions in short: `3,17-20`.
#[must_use]
pub fn ranges(positions: &[usize]) -> String {
    if positions.is_empty() {
        return NOTHING.to_owned();
    }
    let mut words: Vec<String> = Vec::new();
    let mut rest = positions;
    while let Some(&first) = rest.first() {
        let len = rest
            .iter()
            .enumerate()
            .take_while(|(i, p)| **p == first + i)
            .count();
        words.push(match len {
            1 => first.to_string(),
            _ => format!("{first}-{}", first + len - 1),
        });
        rest = &rest[len..];
    }
    words.join(",")
}

/// Reads what [`ranges`] writes.
#[must_use]
pub fn positions(ranges: &str) -> Option<Vec<usize>> {
    let mut all = Vec::new();
    if ranges == NOTHING {
        return Some(all);
    }
    for part in ranges.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        all.extend(first.parse().ok()?..=last.parse::<usize>().ok()?);
    }
    Some(all)
}

/// What happens in a run, line by line; traffic of a moment in one.
#[must_use]
pub fn words(scenario: &Scenario) -> String {
    let mut words = format!("{:?}", scenario.plan);
    let kind = |act: &(When, Act)| match act {
        (when, Act::Traffic { node, .. }) => Some((*when, *node)),
        _ => None,
    };
    let alike = |a: &_, b: &_| kind(a).is_some() && kind(a) == kind(b);
    for run in scenario.schedule.acts.chunk_by(alike) {
        let Some((when, act)) = run.first() else {
            continue;
        };
        words += &match act {
            Act::Traffic { node, .. } => {
                format!(
                    "\n  {when:?}: {} acts in the traffic of {}",
                    run.len(),
                    name(*node)
                )
            }
            _ => format!("\n  {when:?}: {act:?}"),
        };
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_told_in_short_and_read_again() {
        let all = [3, 17, 18, 19, 20, 45, 46];
        assert_eq!(ranges(&all), "3,17-20,45-46");
        assert_eq!(positions("3,17-20,45-46").unwrap(), all);
        assert_eq!(positions("3,x"), None);
        assert_eq!(positions(&ranges(&[])), Some(Vec::new()));
    }
}
