//! The proof that the peer has what it was told: digests over ranges of handles, put into the stream.
//!
//! Nothing is kept up to date for it: a digest is computed from the entries themselves when its turn comes,
//! so that a difference is found however it came about. Where the peer has another digest, the range is
//! narrowed down, and its last handles are stated one by one.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use native::message::{Hashes, Range, Table, Word};
use native::{Digest, DigestKey, Fields, RangeDigest};

use super::tell::{Teller, living};
use crate::internal::Internal;
use crate::queue::Entry;
use crate::snapshot::RepairStats;

/// Handles in one check.
pub(super) const CHECK_LEN: u32 = 256;

/// Handles that are stated one by one.
pub(super) const LEAF_LEN: u32 = 16;

/// A round takes at least this long ...
const ROUND: Duration = Duration::from_secs(10);

/// ... and checks are no closer than this: about two parts in a hundred of a processor.
const PAUSE_MIN: Duration = Duration::from_millis(10);

/// In a hurry they are.
const PAUSE_HURRY: Duration = Duration::from_millis(1);

/// Ranges that wait for a closer look. What goes beyond is found in the next round.
const WAITING_MAX: usize = 1024;

/// Where the proof is.
#[derive(Debug)]
pub(crate) struct Proof {
    digest: Option<RangeDigest>,
    table: Table,
    next: u32,
    next_at: Option<Instant>,
    hurries: bool,
    /// This round has met doubt.
    is_doubted: bool,
    /// It was begun because the one before had.
    follows_doubt: bool,
    doubts: VecDeque<(Range, Option<Hashes>)>,
    closer: VecDeque<Range>,
    pub(super) stats: RepairStats,
}

impl Default for Proof {
    fn default() -> Self {
        Self {
            digest: None,
            table: Table::Flows,
            next: 0,
            next_at: None,
            hurries: false,
            is_doubted: false,
            follows_doubt: false,
            doubts: VecDeque::new(),
            closer: VecDeque::new(),
            stats: RepairStats::default(),
        }
    }
}

impl Proof {
    pub(super) fn open(&mut self, key: DigestKey) {
        self.digest = Some(RangeDigest::new(key, Fields::ALL));
    }

    pub(super) fn close(&mut self) {
        *self = Self {
            stats: self.stats,
            ..Self::default()
        };
    }

    /// Begins a round now, without the usual pauses.
    pub(super) fn hurry(&mut self, now: Instant) {
        (self.table, self.next) = (Table::Flows, 0);
        (self.next_at, self.hurries) = (Some(now), true);
    }

    /// The peer has something else under these handles.
    pub(super) fn doubt(&mut self, range: Range, hashes: Option<Hashes>) {
        self.is_doubted = true;
        self.stats.doubts += 1;
        if self.doubts.len() < WAITING_MAX {
            self.doubts.push_back((range, hashes));
        }
    }

    /// The round under way proves nothing: another one follows at once.
    pub(super) fn look_again(&mut self) {
        self.is_doubted = true;
    }

    /// Whether the peer waits for a closer look.
    pub(super) fn is_asked(&self) -> bool {
        !self.doubts.is_empty() || !self.closer.is_empty()
    }

    pub(super) fn next_at(&self) -> Option<Instant> {
        self.next_at
    }

    /// The next range of the round, and whether it is the last.
    fn next_range(&mut self, positions: [u32; 2]) -> (Range, bool) {
        let end = match self.table {
            Table::Flows => positions[0],
            Table::Expectations => positions[1],
        };
        let (table, first) = (self.table, self.next);
        if first < end {
            self.next = first.saturating_add(CHECK_LEN);
            let count = CHECK_LEN;
            return (
                (Range {
                    table,
                    first,
                    count,
                }),
                false,
            );
        }
        // There is nothing behind it.
        let count = u32::MAX - first;
        self.next = 0;
        self.table = match table {
            Table::Flows => Table::Expectations,
            Table::Expectations => Table::Flows,
        };
        let rest = Range {
            table,
            first,
            count,
        };
        (rest, table == Table::Expectations)
    }

    fn pause(&mut self, positions: [u32; 2], round_ends: bool) -> Duration {
        if round_ends {
            let hurries = self.is_doubted && !self.follows_doubt;
            (self.hurries, self.follows_doubt) = (hurries, hurries);
            self.is_doubted = false;
        }
        if self.hurries {
            return PAUSE_HURRY;
        }
        let checks: u32 = positions
            .iter()
            .map(|end| end.div_ceil(CHECK_LEN) + 1)
            .sum();
        (ROUND / checks).max(PAUSE_MIN)
    }
}

impl Teller {
    /// Goes on with the round when its time has come.
    pub(super) fn prove(&mut self, internal: &Internal, now: Instant) -> bool {
        if let Some(range) = self.proof.closer.pop_front() {
            self.check(internal, range);
            return true;
        }
        if self.proof.next_at.is_none_or(|at| at > now) {
            return false;
        }
        let positions = [
            internal.flows.positions(),
            internal.expectations.positions(),
        ];
        let (range, round_ends) = self.proof.next_range(positions);
        self.check(internal, range);
        let pause = self.proof.pause(positions, round_ends);
        self.proof.next_at = Some(now + pause);
        true
    }

    /// Says what these handles hold, at this place of the stream: nothing waits to be told any more.
    fn check(&mut self, internal: &Internal, range: Range) {
        let Some(mut digest) = self.proof.digest.take() else {
            return;
        };
        let found = digest_of(&mut digest, internal, range);
        self.proof.digest = Some(digest);
        self.proof.stats.checks += 1;
        self.encoder.word(&mut self.out, &Word::Check(range, found));
    }

    /// Looks closer where the peer doubts. Returns whether it does.
    pub(super) fn answer_doubt(&mut self, internal: &Internal) -> bool {
        let Some((range, hashes)) = self.proof.doubts.pop_front() else {
            return false;
        };
        match hashes {
            Some(hashes) => self.state(internal, range, &hashes),
            None => self.split(range),
        }
        true
    }

    fn split(&mut self, range: Range) {
        let len = if range.count > CHECK_LEN {
            CHECK_LEN
        } else {
            LEAF_LEN
        };
        let end = range.first.saturating_add(range.count);
        let mut first = range.first;
        while first < end && self.proof.closer.len() < WAITING_MAX {
            let count = len.min(end - first);
            self.proof.closer.push_back(Range {
                first,
                count,
                ..range
            });
            first += count;
        }
    }

    /// States what the peer has otherwise.
    fn state(&mut self, internal: &Internal, range: Range, hashes: &Hashes) {
        let Some(mut digest) = self.proof.digest.take() else {
            return;
        };
        for (id, theirs) in handles(range).zip(hashes.as_slice()) {
            match range.table {
                Table::Flows => {
                    let flow = living(&internal.flows, id);
                    let ours = flow.as_ref().map_or(0, |flow| digest.flow_hash(flow));
                    if ours != *theirs {
                        self.count(ours, *theirs);
                        self.flows.state(id, flow.is_some());
                        self.encoder
                            .statement_flow(&mut self.out, id, flow.as_ref());
                        self.told(Entry::Flow(id));
                    }
                }
                Table::Expectations => {
                    let expected = living(&internal.expectations, id);
                    let ours = expected
                        .as_ref()
                        .map_or(0, |expected| digest.expectation_hash(expected));
                    if ours != *theirs {
                        self.count(ours, *theirs);
                        self.expectations.state(id, expected.is_some());
                        self.encoder
                            .statement_expectation(&mut self.out, id, expected.as_ref());
                        self.told(Entry::Expectation(id));
                    }
                }
            }
        }
        self.proof.digest = Some(digest);
    }

    fn count(&mut self, ours: u64, theirs: u64) {
        let stats = &mut self.proof.stats;
        match (ours, theirs) {
            (0, _) => stats.extra += 1,
            (_, 0) => stats.missing += 1,
            _ => stats.different += 1,
        }
    }
}

impl super::tell::Side {
    /// A statement says all there is to say of this handle.
    fn state(&mut self, id: u32, is_there: bool) {
        self.pending.take(id);
        if is_there {
            self.known.insert(id);
        } else {
            self.known.remove(id);
        }
    }
}

pub(super) fn handles(range: Range) -> std::ops::Range<u32> {
    range.first..range.first.saturating_add(range.count)
}

fn digest_of(digest: &mut RangeDigest, internal: &Internal, range: Range) -> Digest {
    match range.table {
        Table::Flows => {
            let end = handles(range).end.min(internal.flows.positions());
            for id in range.first..end {
                if let Some(flow) = living(&internal.flows, id) {
                    digest.add_flow(id, &flow);
                }
            }
        }
        Table::Expectations => {
            let end = handles(range).end.min(internal.expectations.positions());
            for id in range.first..end {
                if let Some(expectation) = living(&internal.expectations, id) {
                    digest.add_expectation(id, &expectation);
                }
            }
        }
    }
    digest.finish()
}
