//! A node that has started anew gets its own connections back from its peers, where its kernel has lost them.
//!
//! Whoever is asked gives back what it was told before. That goes into an external cache of its own, less what the
//! kernel has, and from there into the kernel as any commit, unless the kernel still has half of it: then it has lost
//! nothing, and the rest has ended while nobody watched. Once the kernel tells of it, it is the node's own as before.

use flow::Flow;

use super::Engine;
use crate::api::Scope;
use crate::external::{External, Owner};
use crate::notice::Notice;

/// What is given back of this node's own.
#[derive(Debug)]
pub(super) struct Recovery {
    /// Where it is kept until the kernel has it.
    origin: usize,
    /// Most that a peer had of it.
    had: u64,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nobody has given everything back.
    Taking,
    /// A peer has.
    Due,
    /// It goes into the kernel.
    Committing,
    Done,
}

impl Recovery {
    /// Where what is given back is kept.
    pub(super) fn origin(&self) -> usize {
        self.origin
    }

    /// Whether what is given back is of use.
    pub(super) fn takes(&self) -> bool {
        matches!(self.phase, Phase::Taking | Phase::Due)
    }
}

impl Engine {
    /// A place for what will be given back.
    pub(super) fn prepare_recovery(&mut self, limit: usize) {
        if self.settings.native.recover && !self.peers.is_empty() {
            self.recovery = Some(Recovery {
                origin: self.externals.len(),
                had: 0,
                phase: Phase::Taking,
            });
            let seed = self.random.next();
            let mut external = External::new(limit, seed, None, self.now);
            // Neither a commit nor a standby looks at it before its turn.
            external.owner = Owner::Another;
            self.externals.push(external);
        }
    }

    /// One of this node's own, as it told it before it started anew.
    pub(super) fn take_back(&mut self, flow: &Flow) {
        let now_s = self.now_s();
        let recovery = self.recovery.as_ref().filter(|it| it.takes());
        let Some(external) = recovery.and_then(|it| self.externals.get_mut(it.origin)) else {
            return;
        };
        // Several peers have the same; where they differ nobody can tell who is right.
        if external.flows.find(&flow.key()).is_none() {
            // A full cache counts it.
            let _ = external.flows.insert(flow, now_s);
        }
    }

    /// A peer has given back all that it `had`. One that had nothing leaves the others to do it.
    pub(super) fn returned(&mut self, had: u64) {
        if let Some(recovery) = self.recovery.as_mut().filter(|it| it.takes() && had > 0) {
            recovery.had = recovery.had.max(had);
            recovery.phase = Phase::Due;
        }
    }

    /// Begins to put into the kernel what was given back, when it is known what the kernel has.
    pub(super) fn recover(&mut self) {
        let recovery = self.recovery.as_ref();
        let Some(recovery) = recovery.filter(|it| it.phase == Phase::Due) else {
            return;
        };
        if self.commit.is_some() || !self.is_ready() {
            return;
        }
        let (origin, had) = (recovery.origin, recovery.had);
        let Some(external) = self.externals.get_mut(origin) else {
            return;
        };
        let mut next = 0;
        while let Some(id) = external.flows.next_from(next) {
            next = id + 1;
            let key = external.flows.get(id).map(|slot| slot.value().key());
            if key.is_some_and(|key| self.internal.flows.find(&key).is_some()) {
                external.flows.remove(id);
            }
        }
        let lacking = external.flows.stats().active;
        // Otherwise the kernel has kept its table; what it lacks has ended since.
        let is_lost = lacking.saturating_mul(2) > had;
        if is_lost {
            external.owner = Owner::ThisNode;
            self.notices.push_back(Notice::Recovering(lacking));
        }
        let begun = is_lost && self.start_commit(None, Scope::All);
        if let Some(recovery) = &mut self.recovery {
            recovery.phase = Phase::Committing;
        }
        if !begun {
            self.recovered();
        }
    }

    /// What was given back is in the kernel, as far as the kernel took it.
    pub(super) fn recovered(&mut self) {
        let recovery = self.recovery.as_mut();
        let Some(recovery) = recovery.filter(|it| it.phase == Phase::Committing) else {
            return;
        };
        recovery.phase = Phase::Done;
        if let Some(external) = self.externals.get_mut(recovery.origin) {
            external.clear();
            external.owner = Owner::Another;
        }
    }
}
