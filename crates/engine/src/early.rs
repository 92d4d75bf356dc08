//! Expectations that the kernel tells before it tells the connection that expects.
//!
//! A helper that finds something in the first packet of a connection (TFTP, SIP) makes its expectation before the
//! connection is confirmed, and so is the order of the events.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use flow::{Expectation, Key};

/// Expectations kept; the oldest go first.
const LEN_MAX: usize = 256;

/// A connection that is not confirmed by then will not be.
const AGE_MAX: Duration = Duration::from_secs(5);

#[derive(Debug, Default)]
pub(crate) struct Early {
    waiting: VecDeque<(Instant, Expectation)>,
}

impl Early {
    /// Keeps an expectation until its master is known.
    pub(crate) fn keep(&mut self, expectation: Expectation, now: Instant) {
        let outdated = |at: Instant| now.saturating_duration_since(at) > AGE_MAX;
        while self.waiting.len() >= LEN_MAX || self.waiting.front().is_some_and(|e| outdated(e.0)) {
            self.waiting.pop_front();
        }
        self.waiting.push_back((now, expectation));
    }

    /// Takes out one that this connection has made.
    pub(crate) fn of(&mut self, master: &Key) -> Option<Expectation> {
        let position = self
            .waiting
            .iter()
            .position(|(_, expectation)| expectation.master_key() == *master)?;
        self.waiting
            .remove(position)
            .map(|(_, expectation)| expectation)
    }

    /// The kernel has taken an expectation back.
    pub(crate) fn forget(&mut self, gone: &Expectation) {
        self.waiting.retain(|(_, expectation)| {
            expectation.tuple != gone.tuple || expectation.master != gone.master
        });
    }

    /// The kernel may have taken back any of them.
    pub(crate) fn clear(&mut self) {
        self.waiting.clear();
    }
}
