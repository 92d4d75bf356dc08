//! Readings of the own kernel's tables, one after the other.

use std::collections::VecDeque;
use std::hash::BuildHasher;
use std::time::{Duration, Instant};

use ctnetlink::request::{self, DumpFilter};
use flow::Flow;
use foldhash::fast::FixedState;
use hashbrown::HashSet;

use crate::api::ClientId;
use crate::fault::{Fault, is_planted};

/// Entries that ended during a reading; beyond so many another reading follows.
const ENDED_MAX: usize = 1 << 20;

/// Why a table is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// At the start: into the internal cache, nothing is sent.
    Populate,
    /// After an overrun: what differs is sent.
    Reconcile,
    /// `-R`: into the internal cache; what has gone is sent.
    Resync,
    /// Every so often, in place of events: everything is sent.
    Poll,
    /// `-F` with a filter: what passes it is deleted.
    Flush,
    /// Without an internal cache, in place of a bulk: everything is sent as new.
    Bulk,
}

impl Purpose {
    /// Whether what is read goes into the internal cache.
    pub(crate) fn keeps(self) -> bool {
        !matches!(self, Self::Flush | Self::Bulk)
    }

    /// Whether entries that are no longer there must be found.
    pub(crate) fn sweeps(self) -> bool {
        let skips = self == Self::Reconcile && is_planted(Fault::ReconcileSkipsDeletions);
        matches!(self, Self::Reconcile | Self::Resync | Self::Poll) && !skips
    }
}

/// Which table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Table {
    Flows,
    Expectations,
}

/// One reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Job {
    pub(crate) table: Table,
    pub(crate) purpose: Purpose,
    /// Who waits for its end.
    pub(crate) client: Option<ClientId>,
}

/// Where the current reading is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// To be asked for.
    Ask,
    /// Parts arrive.
    Parts,
    /// All parts have arrived; entries not seen are looked for from this position on.
    Sweep(u32),
}

/// The readings.
#[derive(Debug)]
pub(crate) struct Dump {
    waiting: VecDeque<Job>,
    current: Option<(Job, Stage)>,
    bytes: Vec<u8>,
    seq: u32,
    /// Marks the entries that this reading has seen.
    pub(crate) epoch: u16,
    /// Hashes of the entries that ended meanwhile: key and id together, because the kernel's ids are 32-bit
    /// hashes, of which two living entries may have the same, and a key may be used again at once.
    ended: HashSet<u64, FixedState>,
    /// Too much ended during a reading to remember it.
    pub(crate) incomplete: bool,
    pub(crate) changed: u64,
    pub(crate) gone: u64,
    /// When the current reading began.
    began: Option<Instant>,
}

impl Dump {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            waiting: VecDeque::new(),
            current: None,
            bytes: Vec::new(),
            seq: 0,
            epoch: 0,
            ended: HashSet::with_hasher(FixedState::with_seed(seed)),
            incomplete: false,
            changed: 0,
            gone: 0,
            began: None,
        }
    }

    /// Adds a reading; one for nobody that already waits is not added twice.
    pub(crate) fn add(&mut self, job: Job) {
        if job.client.is_some() || !self.waiting.contains(&job) {
            self.waiting.push_back(job);
        }
    }

    /// The current reading while its parts arrive.
    pub(crate) fn reading(&self) -> Option<Job> {
        match self.current {
            Some((job, Stage::Parts)) => Some(job),
            _ => None,
        }
    }

    /// The current reading, if entries not seen are being looked for, and from where on.
    pub(crate) fn sweeping(&self) -> Option<(Job, u32)> {
        match self.current {
            Some((job, Stage::Sweep(from))) => Some((job, from)),
            _ => None,
        }
    }

    pub(crate) fn sweep_on(&mut self, from: u32) {
        if let Some((_, Stage::Sweep(position))) = &mut self.current {
            *position = from;
        }
    }

    /// Writes the request for the next reading. `false`: none waits, or one is under way.
    pub(crate) fn next_request(&mut self, now: Instant) -> bool {
        if self.current.is_none()
            && let Some(job) = self.waiting.pop_front()
        {
            self.current = Some((job, Stage::Ask));
            self.epoch = self.epoch.wrapping_add(1).max(1);
            (self.changed, self.gone, self.incomplete) = (0, 0, false);
            self.began = Some(now);
        }
        let Some((job, stage @ Stage::Ask)) = &mut self.current else {
            return false;
        };
        *stage = Stage::Parts;
        self.seq = self.seq.wrapping_add(1);
        self.bytes.clear();
        match job.table {
            Table::Flows => {
                request::dump_flows(&mut self.bytes, self.seq, &DumpFilter::default());
            }
            Table::Expectations => request::dump_expectations(&mut self.bytes, self.seq, None),
        }
        true
    }

    /// The request to send.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether an answer belongs to the current reading.
    pub(crate) fn is_current(&self, seq: u32) -> bool {
        seq == self.seq
    }

    /// An entry has ended: parts that were made before must not bring it back.
    pub(crate) fn ended(&mut self, flow: &Flow) {
        if self.reading().is_none() {
            return;
        }
        if self.ended.len() >= ENDED_MAX {
            self.incomplete = true;
        } else if flow.id.is_some() {
            self.ended.insert(self.hash(flow));
        }
    }

    pub(crate) fn has_ended(&self, flow: &Flow) -> bool {
        !self.ended.is_empty() && self.ended.contains(&self.hash(flow))
    }

    fn hash(&self, flow: &Flow) -> u64 {
        self.ended.hasher().hash_one((flow.key(), flow.id))
    }

    fn forget_ended(&mut self) {
        self.ended = HashSet::with_hasher(self.ended.hasher().clone());
    }

    /// All parts have arrived.
    pub(crate) fn parts_done(&mut self) {
        self.forget_ended();
        if let Some((_, stage)) = &mut self.current {
            *stage = Stage::Sweep(0);
        }
    }

    /// Asks for the same table again: answers were lost.
    pub(crate) fn restart(&mut self) {
        self.forget_ended();
        if let Some((_, stage)) = &mut self.current {
            *stage = Stage::Ask;
        }
    }

    /// How long the latest reading has taken so far.
    pub(crate) fn took(&self, now: Instant) -> Duration {
        let began = self.began.unwrap_or(now);
        now.saturating_duration_since(began)
    }

    /// Ends the current reading.
    pub(crate) fn finish(&mut self) -> Option<Job> {
        self.current.take().map(|(job, _)| job)
    }

    /// Whether nothing is read and nothing waits to be.
    pub(crate) fn is_idle(&self) -> bool {
        self.current.is_none() && self.waiting.is_empty()
    }

    /// Whether a reading for this purpose is still to come or under way.
    pub(crate) fn has(&self, purpose: Purpose) -> bool {
        let current = self.current.iter().map(|(job, _)| job);
        current
            .chain(&self.waiting)
            .any(|job| job.purpose == purpose)
    }
}
