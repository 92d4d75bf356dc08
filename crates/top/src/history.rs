//! Counters over time, and the rates that follow from them.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use control::report::Report;

/// Rates kept: as many as a wide screen shows.
const KEPT_MAX: usize = 240;

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counter {
    /// Events of the kernel.
    Events,
    /// Datagrams sent and received on the dedicated links.
    Datagrams,
    /// Entries put into the kernel by commits.
    Committed,
}

impl Counter {
    const ALL: [Self; 3] = [Self::Events, Self::Datagrams, Self::Committed];

    fn of(self, report: &Report) -> u64 {
        match self {
            Self::Events => report.kernel.events,
            Self::Datagrams => report
                .links
                .iter()
                .map(|link| link.sent_packets + link.received_packets)
                .sum(),
            Self::Committed => {
                report.commits.entries + report.work.commit.map_or(0, |work| work.done)
            }
        }
    }
}

/// The newest report of a node, and the rates up to it.
#[derive(Debug, Default)]
pub struct History {
    newest: Option<(Instant, Report)>,
    rates: [VecDeque<u64>; 3],
}

impl History {
    /// The newest report.
    #[must_use]
    pub fn report(&self) -> Option<&Report> {
        self.newest.as_ref().map(|(_, report)| report)
    }

    /// Age of the newest report.
    #[must_use]
    pub fn age(&self, now: Instant) -> Option<Duration> {
        let (at, _) = self.newest.as_ref()?;
        Some(now.saturating_duration_since(*at))
    }

    /// Takes the next report. A daemon that has been started again counts from its start.
    pub fn push(&mut self, now: Instant, report: Report) {
        if let Some((before_at, before)) = &self.newest {
            let passed = now.saturating_duration_since(*before_at).as_secs_f64();
            for (counter, rates) in Counter::ALL.into_iter().zip(&mut self.rates) {
                let (new, old) = (counter.of(&report), counter.of(before));
                let grown = new.checked_sub(old).unwrap_or(new);
                let rate = if passed > 0.0 {
                    (grown as f64 / passed).round() as u64
                } else {
                    0
                };
                if rates.len() == KEPT_MAX {
                    rates.pop_front();
                }
                rates.push_back(rate);
            }
        }
        self.newest = Some((now, report));
    }

    /// The newest `count` rates, each per second, oldest first.
    #[must_use]
    pub fn rates(&self, counter: Counter, count: usize) -> Vec<u64> {
        let rates = &self.rates[counter as usize];
        let skip = rates.len().saturating_sub(count);
        rates.iter().skip(skip).copied().collect()
    }

    /// The newest rate, per second.
    #[must_use]
    pub fn rate(&self, counter: Counter) -> Option<u64> {
        self.rates[counter as usize].back().copied()
    }
}
