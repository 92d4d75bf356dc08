//! A node that has started anew gets its own entries back from its peers, where its kernel has lost them.
//!
//! Whoever is asked gives back what it was told before, and says when it heard of that time last. Of an entry that several
//! know the word of whoever heard of it last counts, and what is known only to somebody who heard much less lately has
//! ended. The rest goes into an external cache of its own, less what the kernel has and what another node tells as its
//! own by now, and from there into the kernel as any commit, unless the kernel still has half of it: then it has lost
//! nothing, and the rest has ended while nobody watched. Once the kernel tells of it, it is the node's own as before.

use std::time::{Duration, Instant};

use flow::{Expectation, Flow};

use super::Engine;
use crate::api::{PeerId, Scope};
use crate::cache::{Cache, Object};
use crate::external::{External, Owner};
use crate::notice::Notice;
use crate::peer::Peer;

/// When the first peer has given everything back, so long those are waited for that cannot be heard yet.
const PATIENCE: Duration = Duration::from_secs(1);

/// Peers that heard of this node's former life last within so much of each other knew the same of it, or nearly.
const SAME: Duration = Duration::from_secs(1);

/// What is given back of this node's own.
#[derive(Debug)]
pub(super) struct Recovery {
    /// Where it is kept until the kernel has it.
    origin: usize,
    /// Whose word each of it is, by its position there.
    flows_of: Vec<PeerId>,
    expectations_of: Vec<PeerId>,
    /// By peer.
    answers: Vec<Answer>,
    /// Peers that have not answered are waited for until then.
    until: Option<Instant>,
    phase: Phase,
}

/// What a peer gives back.
#[derive(Clone, Copy, Debug)]
struct Answer {
    /// So long before its answer it had last heard of this node's former life.
    quiet: Duration,
    /// It had been told everything by it.
    is_complete: bool,
    /// Connections that it had, once it has given everything back.
    had: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Somebody may still give something back.
    Taking,
    /// It goes into the kernel.
    Committing,
    Done,
}

impl Answer {
    const NONE: Self = Self {
        quiet: Duration::MAX,
        is_complete: false,
        had: None,
    };
}

impl Recovery {
    /// Where what is given back is kept.
    pub(super) fn origin(&self) -> usize {
        self.origin
    }

    /// Whether what is given back is of use.
    pub(super) fn takes(&self) -> bool {
        self.phase == Phase::Taking
    }

    /// Whether it goes into the kernel now.
    pub(super) fn is_committing(&self) -> bool {
        self.phase == Phase::Committing
    }

    /// When peers that cannot be heard are waited for no longer.
    pub(super) fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        self.until.filter(|&until| self.takes() && until > now)
    }

    /// Beyond this, what only that peer has had ended when another one, which knew everything, heard of it last.
    fn quiet_max(&self) -> Duration {
        let whole = self.answers.iter();
        let whole = whole.filter(|answer| answer.is_complete && answer.had.is_some());
        let latest = whole.map(|answer| answer.quiet).min();
        latest.map_or(Duration::MAX, |latest| latest.saturating_add(SAME))
    }
}

impl Engine {
    /// A place for what will be given back.
    pub(super) fn prepare_recovery(&mut self, limit: usize) {
        if self.settings.native.recover && !self.peers.is_empty() {
            self.recovery = Some(Recovery {
                origin: self.externals.len(),
                flows_of: Vec::new(),
                expectations_of: Vec::new(),
                answers: vec![Answer::NONE; self.peers.len()],
                until: None,
                phase: Phase::Taking,
            });
            let seed = self.random.next();
            let mut external = External::new(limit, seed, None, self.now);
            // Neither a commit nor a standby looks at it before its turn.
            external.owner = Owner::Another;
            self.externals.push(external);
        }
    }

    /// A peer begins to give back what it had been told until so long ago.
    pub(super) fn returning(&mut self, peer: PeerId, quiet: Duration, is_complete: bool) {
        let recovery = self.recovery.as_mut().filter(|it| it.takes());
        if let Some(answer) = recovery.and_then(|it| it.answers.get_mut(usize::from(peer.0))) {
            *answer = Answer {
                quiet,
                is_complete,
                had: None,
            };
        }
    }

    /// One of this node's own, as it told it before it started anew.
    pub(super) fn take_back(&mut self, peer: PeerId, flow: &Flow) {
        let now_s = self.now_s();
        if let Some(recovery) = self.recovery.as_mut().filter(|it| it.takes())
            && let Some(external) = self.externals.get_mut(recovery.origin)
        {
            let answers = &recovery.answers;
            let kept_of = &mut recovery.flows_of;
            keep(&mut external.flows, kept_of, answers, peer, flow, now_s);
        }
    }

    /// The same of an expectation.
    pub(super) fn take_back_expectation(&mut self, peer: PeerId, expected: &Expectation) {
        let now_s = self.now_s();
        let is_wanted = self.is_replicated(expected);
        if let Some(recovery) = self.recovery.as_mut().filter(|it| it.takes() && is_wanted)
            && let Some(external) = self.externals.get_mut(recovery.origin)
        {
            let answers = &recovery.answers;
            let kept_of = &mut recovery.expectations_of;
            let cache = &mut external.expectations;
            keep(cache, kept_of, answers, peer, expected, now_s);
        }
    }

    /// A peer has given back all that it `had`.
    pub(super) fn returned(&mut self, peer: PeerId, had: u64) {
        let until = self.now + PATIENCE;
        if let Some(recovery) = self.recovery.as_mut().filter(|it| it.takes())
            && let Some(answer) = recovery.answers.get_mut(usize::from(peer.0))
        {
            answer.had = Some(had);
            recovery.until.get_or_insert(until);
        }
    }

    /// Whether everybody has given back what there was, and it is known what the kernel has.
    fn is_recovery_due(&self, recovery: &Recovery) -> bool {
        let Some(until) = recovery.until.filter(|_| recovery.takes()) else {
            return false;
        };
        // One that was told nothing leaves it to others, however late they come.
        let any = recovery.answers.iter().any(|it| it.had.unwrap_or(0) > 0);
        let all = recovery.answers.iter().all(|it| it.had.is_some());
        let settles = self.standby.as_ref().is_some_and(|s| s.settling.is_some());
        any && (all || until <= self.now)
            && !self.peers.iter().any(Peer::is_answering)
            && self.commit.is_none()
            && !settles
            && self.is_ready()
    }

    /// Begins to put into the kernel what was given back, when its time has come.
    pub(super) fn recover(&mut self) {
        let Some(mut recovery) = self.recovery.take() else {
            return;
        };
        if !self.is_recovery_due(&recovery) {
            self.recovery = Some(recovery);
            return;
        }
        recovery.phase = Phase::Committing;
        let lacking = self.sift(&recovery);
        let quiet_max = recovery.quiet_max();
        let answers = recovery.answers.iter();
        let counted = answers.filter(|answer| answer.quiet <= quiet_max);
        let had = counted.filter_map(|answer| answer.had).max().unwrap_or(0);
        (recovery.flows_of, recovery.expectations_of) = (Vec::new(), Vec::new());
        let origin = recovery.origin;
        self.recovery = Some(recovery);
        // Otherwise the kernel has kept its table; what it lacks has ended since.
        let is_lost = lacking.saturating_mul(2) > had;
        if is_lost && let Some(external) = self.externals.get_mut(origin) {
            external.owner = Owner::ThisNode;
            self.notices.push_back(Notice::Recovering(lacking));
        }
        if !is_lost || !self.start_commit(None, Scope::All) {
            self.recovered();
        }
    }

    /// Takes out what the kernel has, what somebody else has by now, and what has ended. Returns how many connections
    /// are left.
    fn sift(&mut self, recovery: &Recovery) -> u64 {
        let internal = &self.internal;
        let quiet_max = recovery.quiet_max();
        let has_ended =
            |of: Option<&PeerId>| of.is_some_and(|&of| quiet(&recovery.answers, of) > quiet_max);
        // It is the last of all.
        let Some((own, others)) = self.externals.split_last_mut() else {
            return 0;
        };
        let others = || others.iter().filter(|external| external.is_its_own());
        drop_where(&mut own.flows, |id, key| {
            has_ended(recovery.flows_of.get(id as usize))
                || internal.flows.find(key).is_some()
                || others().any(|it| it.flows.find(key).is_some())
        });
        drop_where(&mut own.expectations, |id, key| {
            has_ended(recovery.expectations_of.get(id as usize))
                || internal.expectations.find(key).is_some()
                || others().any(|it| it.expectations.find(key).is_some())
        });
        own.flows.stats().active
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

/// When a peer last heard of this node's former life: the later, the smaller.
fn quiet(answers: &[Answer], peer: PeerId) -> Duration {
    let answer = answers.get(usize::from(peer.0));
    answer.map_or(Duration::MAX, |answer| answer.quiet)
}

/// Keeps an entry as this peer has it, unless it is kept as one has it that heard of it no earlier.
fn keep<T: Object>(
    cache: &mut Cache<T>,
    kept_of: &mut Vec<PeerId>,
    answers: &[Answer],
    peer: PeerId,
    value: &T::Value,
    now_s: u32,
) {
    let known = cache.find(&T::key(value));
    let before = known.and_then(|id| kept_of.get(id as usize).copied());
    if before.is_some_and(|of| quiet(answers, of) <= quiet(answers, peer)) {
        return;
    }
    let id = match known {
        Some(id) => {
            cache.replace(id, value, now_s);
            id
        }
        None => match cache.insert(value, now_s) {
            Ok(id) => id,
            // A full cache counts it.
            Err(_) => return,
        },
    };
    let index = id as usize;
    if kept_of.len() <= index {
        kept_of.resize(index + 1, peer);
    }
    if let Some(of) = kept_of.get_mut(index) {
        *of = peer;
    }
}

fn drop_where<T: Object>(cache: &mut Cache<T>, mut is_dropped: impl FnMut(u32, &T::Key) -> bool) {
    let mut next = 0;
    while let Some(id) = cache.next_from(next) {
        next = id + 1;
        let key = cache.get(id).map(|slot| slot.object().stored_key());
        if key.is_some_and(|key| is_dropped(id, &key)) {
            cache.remove(id);
        }
    }
}
