//! What one kernel has, as another may have it from a peer's word.

use std::collections::BTreeSet;
use std::time::Instant;

use flow::{Flow, Key};

use crate::{SimKernel, check};

/// Entries that any kernel can make, and children whose master has gone, which stay where they were made in
/// time.
#[derive(Clone, Debug, Default)]
pub struct Told {
    makeable: Vec<Flow>,
    all: Vec<Flow>,
}

impl Told {
    /// What this kernel has now.
    #[must_use]
    pub fn of(kernel: &SimKernel, now: Instant) -> Self {
        let keys: BTreeSet<Key> = kernel.keys().into_iter().collect();
        let has_master = |flow: &Flow| {
            flow.master.is_none_or(|tuple| {
                keys.contains(&Key {
                    tuple,
                    zone: flow.zone.orig,
                })
            })
        };
        let all: Vec<Flow> = kernel.flows(now).collect();
        let makeable = all.iter().copied().filter(has_master).collect();
        Self { makeable, all }
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Where another kernel differs, in words.
    #[must_use]
    pub fn difference(&self, kernel: &SimKernel, now: Instant) -> Option<String> {
        let all = check::committed(self.all.iter().copied());
        let found = check::committed(kernel.flows(now));
        let stale = || check::compare(&all, &found).words(false, true);
        self.lack(kernel, now).or_else(stale)
    }

    /// What another kernel lacks, in words.
    #[must_use]
    pub fn lack(&self, kernel: &SimKernel, now: Instant) -> Option<String> {
        let makeable = check::committed(self.makeable.iter().copied());
        let found = check::committed(kernel.flows(now));
        check::compare(&makeable, &found).words(true, false)
    }
}
