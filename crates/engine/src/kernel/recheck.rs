//! Entries that only a reading of the table has told of are looked at again from time to time.
//!
//! With `nf_conntrack_events` at its default of 2 an entry that was made while nobody listened never raises an
//! event: neither its changes nor its end would ever be told to the peer. Which entries these are cannot be seen,
//! so all count that came from a reading and of which no event has told since.

use std::time::{Duration, Instant};

/// A round begins no sooner than this after the one before.
pub(crate) const PERIOD: Duration = Duration::from_secs(5);

/// Time between two steps of a round: with [`LOOKUPS`] it keeps a round below 2200 lookups in a second.
pub(crate) const PAUSE: Duration = Duration::from_millis(30);

/// Entries looked up in one step.
pub(crate) const LOOKUPS: usize = 64;

/// Positions passed in one step.
pub(crate) const POSITIONS: u32 = 4096;

/// Where a round is.
#[derive(Debug)]
pub(crate) struct Recheck {
    /// `None`: every entry has been told of by an event.
    due: Option<Instant>,
    began: Instant,
    position: u32,
    /// The round has come across entries that no event has told of.
    found: bool,
    changed: u64,
    gone: u64,
}

impl Recheck {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            due: None,
            began: now,
            position: 0,
            found: false,
            changed: 0,
            gone: 0,
        }
    }

    /// A reading may have brought entries.
    pub(crate) fn arm(&mut self, now: Instant) {
        self.due.get_or_insert(now + PERIOD);
    }

    /// When the next step is due.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.due
    }

    /// The position where a step begins, if one is due.
    pub(crate) fn step(&mut self, now: Instant) -> Option<u32> {
        self.due.filter(|at| *at <= now)?;
        if self.position == 0 {
            (self.began, self.found) = (now, false);
        }
        Some(self.position)
    }

    /// An entry of which no event has told.
    pub(crate) fn found(&mut self) {
        self.found = true;
    }

    pub(crate) fn changed(&mut self) {
        self.changed += 1;
    }

    pub(crate) fn gone(&mut self) {
        self.gone += 1;
    }

    /// The round goes on at this position.
    pub(crate) fn go_on(&mut self, now: Instant, position: u32) {
        self.position = position;
        self.due = Some(now + PAUSE);
    }

    /// The round ends; another follows if there was anything to look at. What changed and went unnoticed, if
    /// anything.
    pub(crate) fn finish(&mut self, now: Instant) -> Option<(u64, u64)> {
        self.position = 0;
        self.due = self.found.then(|| (self.began + PERIOD).max(now + PAUSE));
        let counts = (
            std::mem::take(&mut self.changed),
            std::mem::take(&mut self.gone),
        );
        (counts != (0, 0)).then_some(counts)
    }
}
