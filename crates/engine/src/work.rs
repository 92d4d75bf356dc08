//! Long pieces of work: how far each is, and how the last ones have ended.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use flow::{Expectation, Flow};

/// Refused entries kept for each reason.
const SAMPLES_MAX: usize = 3;

/// Work under way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Entries done with.
    pub done: u64,
    /// Entries in all, as far as is known by now.
    pub total: u64,
    /// Time since it was begun.
    pub running: Duration,
}

/// Work that has ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Finished {
    /// Entries.
    pub entries: u64,
    /// How long it took.
    pub took: Duration,
    /// Time since its end.
    pub ago: Duration,
}

/// An entry that the kernel has refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sample {
    /// A connection.
    Flow(Box<Flow>),
    /// An expectation.
    Expectation(Box<Expectation>),
}

/// Entries that the kernel has refused for one reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refused {
    /// How many.
    pub count: u64,
    /// The first ones of the last commit that had any.
    pub samples: Vec<Sample>,
}

/// Refused entries by the kernel's errno.
pub type Refusals = BTreeMap<i32, Refused>;

/// The end of a commit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CommitEnd {
    /// Entries that the kernel took.
    pub committed: u64,
    /// Entries that it refused.
    pub refused: u64,
    /// Ended early by a change of roles.
    pub interrupted: bool,
    /// How long it took.
    pub took: Duration,
    /// Time since its end.
    pub ago: Duration,
}

/// Whether the peer is to be heard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PeerState {
    /// It has not said anything since the start.
    #[default]
    Unheard,
    /// It speaks.
    Alive,
    /// It has gone silent.
    Silent,
}

/// What is under way, and what has been done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Operations {
    /// Whether the peer is to be heard.
    pub peer: PeerState,
    /// Time since it was heard last.
    pub heard: Option<Duration>,
    /// The commit under way.
    pub commit: Option<Work>,
    /// The bulk being sent.
    pub bulk: Option<Work>,
    /// Commits that have ended.
    pub commits: u64,
    /// Entries that the kernel took in all of them.
    pub committed: u64,
    /// The last one of them.
    pub last_commit: Option<CommitEnd>,
    /// What the kernel has refused in all of them.
    pub refusals: Refusals,
    /// The last bulk that was sent.
    pub bulk_sent: Option<Finished>,
    /// The last bulk that was asked for and has come in.
    pub bulk_received: Option<Finished>,
}

/// Notes that the kernel has refused an entry.
pub(crate) fn refuse(refusals: &mut Refusals, errno: i32, sample: impl FnOnce() -> Option<Sample>) {
    let refused = refusals.entry(errno).or_default();
    refused.count += 1;
    if refused.samples.len() < SAMPLES_MAX {
        refused.samples.extend(sample());
    }
}

/// When something has ended, how long it took, and how many entries it had.
pub(crate) type End = (Instant, Duration, u64);

/// Seen from a moment.
pub(crate) fn finished(end: End, now: Instant) -> Finished {
    let (at, took, entries) = end;
    Finished {
        entries,
        took,
        ago: now.saturating_duration_since(at),
    }
}

/// Commits that have ended.
#[derive(Debug, Default)]
pub(crate) struct Commits {
    count: u64,
    committed: u64,
    last: Option<(Instant, CommitEnd)>,
    refusals: Refusals,
}

impl Commits {
    pub(crate) fn ended(&mut self, now: Instant, end: CommitEnd, refusals: Refusals) {
        self.count += 1;
        self.committed += end.committed;
        self.last = Some((now, end));
        for (errno, refused) in refusals {
            let all = self.refusals.entry(errno).or_default();
            all.count += refused.count;
            all.samples = refused.samples;
        }
    }

    pub(crate) fn tell(&self, operations: &mut Operations, now: Instant) {
        operations.commits = self.count;
        operations.committed = self.committed;
        operations.last_commit = self.last.map(|(at, end)| CommitEnd {
            ago: now.saturating_duration_since(at),
            ..end
        });
        operations.refusals.clone_from(&self.refusals);
    }
}
