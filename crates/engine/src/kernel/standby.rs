//! The peers' entries in the kernel of a node that waits for its turn, besides the external caches.
//!
//! Only positions wait here; what is written is what the cache holds when its turn comes. A kernel that is slow
//! makes nothing grow.

use std::time::Instant;

use crate::journal::Journal;
use crate::peer::pending::Pending;

/// Timeout of injected connections: the node that forwards refreshes its own without a word. If one runs out
/// all the same, it is put back.
pub(crate) const TIMEOUT_S: u32 = 86_400;

/// Positions looked at in one step of a walk.
pub(crate) const STEP: u32 = 1024;

/// A walk through the connections of the external caches, a few at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Walk {
    pub(crate) origin: usize,
    pub(crate) next: u32,
}

impl Walk {
    pub(crate) const START: Self = Self { origin: 0, next: 0 };
}

/// What is put into the kernel once more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PutBack {
    pub(crate) walk: Walk,
    /// Up to this origin.
    pub(crate) end: usize,
    /// Only what somebody else has as well.
    pub(crate) contested: bool,
}

/// What one origin has told and the kernel has not.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    pub(crate) flows: Pending,
    pub(crate) expectations: Pending,
}

/// Where the standby is.
#[derive(Debug, Default)]
pub(crate) struct Standby {
    /// By origin.
    pub(crate) waiting: Vec<Waiting>,
    /// Connections that a reading of the kernel has not shown are looked for, and put back.
    pub(crate) missing: Option<(Walk, u16)>,
    /// Connections of some origins are put into the kernel once more.
    pub(crate) put_back: Option<PutBack>,
    /// Connections that were taken over get the timeouts that they should have.
    pub(crate) settling: Option<Walk>,
    /// A former primary's own connections leave the kernel, from this position on.
    pub(crate) leaving: Option<u32>,
    /// Expectations that were taken over are this node's as a reading shows them: one of the connections is due first, later
    /// than this one, and has been made or not.
    pub(crate) adopts_expectations: Option<(u16, bool)>,
    /// Expectations that have gone from the kernel are put back then ...
    pub(crate) expectations_due: Option<Instant>,
    /// ... and were the last time then.
    pub(crate) expectations_put_back: Option<Instant>,
}

impl Standby {
    pub(crate) fn new(origins: usize) -> Self {
        Self {
            waiting: (0..origins).map(|_| Waiting::default()).collect(),
            ..Self::default()
        }
    }

    /// Takes note of what happened to the connections of an origin.
    pub(crate) fn follow_flows<K>(&mut self, origin: usize, journal: &Journal<K>) {
        if let Some(waiting) = self.waiting.get_mut(origin) {
            for &(id, marks) in &journal.changed {
                waiting.flows.mark(id, marks);
            }
        }
    }

    /// Takes note of what happened to the expectations of an origin.
    pub(crate) fn follow_expectations<K>(&mut self, origin: usize, journal: &Journal<K>) {
        if let Some(waiting) = self.waiting.get_mut(origin) {
            for &(id, marks) in &journal.changed {
                waiting.expectations.mark(id, marks);
            }
        }
    }

    /// Whether the kernel has everything, as far as it was written.
    pub(crate) fn is_idle(&self) -> bool {
        self.waiting
            .iter()
            .all(|waiting| waiting.flows.is_empty() && waiting.expectations.is_empty())
    }

    /// Whether there is more to do that waits for nobody.
    pub(crate) fn is_walking(&self) -> bool {
        self.missing.is_some()
            || self.put_back.is_some()
            || self.settling.is_some()
            || self.leaving.is_some()
    }
}
