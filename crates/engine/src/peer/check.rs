//! What a peer proves: digests of ranges of its handles, compared with what is here.

use std::time::Instant;

use native::Digest;
use native::message::{Hashes, Range, Table, Word};

use super::hear::{Hearer, News};
use super::mirror::Mirror;
use super::prove::{CHECK_LEN, LEAF_LEN, handles};
use super::tell::Teller;
use crate::cache::{Cache, Object};
use crate::external::External;
use crate::snapshot::RepairStats;

/// Entries compared for one check. A longer range is doubted without a look.
const COMPARED_MAX: usize = 4096;

/// The round of checks under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Round {
    table: Table,
    next: u32,
    /// Every check since the beginning was equal.
    agrees: bool,
    /// Repairs at its beginning.
    before: RepairStats,
}

impl Hearer {
    /// Compares what is here with what the peer has, at this place of its stream.
    pub(super) fn check(
        &mut self,
        teller: &mut Teller,
        external: &External,
        now: Instant,
        range: Range,
        digest: Digest,
    ) {
        let Some(ours) = &mut self.digest else {
            return;
        };
        self.stats.checks += 1;
        let found = match range.table {
            Table::Flows => compare(
                &external.flows,
                &external.flow_handles,
                range,
                |handle, flow| ours.add_flow(handle, flow),
            ),
            Table::Expectations => compare(
                &external.expectations,
                &external.expectation_handles,
                range,
                |handle, expectation| ours.add_expectation(handle, expectation),
            ),
        };
        let is_equal = ours.finish() == digest && found.is_whole || found.is_refused;
        if found.is_expired {
            // The peer does not have it otherwise: it is asked for what this node lacks.
            self.want_expired(teller, external, range);
        } else if !is_equal {
            self.stats.doubts += 1;
            (self.is_doubted, self.proved_at) = (true, None);
            self.doubt(teller, external, range);
        }
        self.follow_round(now, range, is_equal && !found.is_expired);
    }

    /// Asks for what has run out here.
    fn want_expired(&mut self, teller: &mut Teller, external: &External, range: Range) {
        let mirror = match range.table {
            Table::Flows => &external.flow_handles,
            Table::Expectations => &external.expectation_handles,
        };
        let mut first = range.first;
        let end = handles(range).end.min(mirror.end());
        while first < end {
            let count = (end - first).min(u64::BITS);
            let expired = (0..count).filter(|bit| mirror.is_expired(first + bit));
            let wanted = expired.fold(0, |wanted, bit| wanted | 1 << bit);
            if wanted != 0 {
                self.want(teller, range.table, first, wanted);
            }
            first += count;
        }
    }

    /// Has the peer look closer.
    fn doubt(&mut self, teller: &mut Teller, external: &External, range: Range) {
        let end = match range.table {
            Table::Flows => external.flow_handles.end(),
            Table::Expectations => external.expectation_handles.end(),
        };
        if range.count <= LEAF_LEN {
            let Some(digest) = &mut self.digest else {
                return;
            };
            let hashes = Hashes::new(handles(range).map(|handle| match range.table {
                Table::Flows => hash(&external.flows, &external.flow_handles, handle, |flow| {
                    digest.flow_hash(flow)
                }),
                Table::Expectations => hash(
                    &external.expectations,
                    &external.expectation_handles,
                    handle,
                    |expectation| digest.expectation_hash(expectation),
                ),
            }));
            teller.answer(&Word::Doubt(range, Some(hashes)));
            return;
        }
        // Behind the last handle of the peer there may be a few that it has forgotten.
        let count = if range.count > CHECK_LEN {
            end.saturating_sub(range.first).max(CHECK_LEN)
        } else {
            range.count
        };
        teller.answer(&Word::Doubt(Range { count, ..range }, None));
    }

    /// Notes how far the round has come. Closer looks in between are no part of it.
    fn follow_round(&mut self, now: Instant, range: Range, is_equal: bool) {
        if range.table == Table::Flows && range.first == 0 && range.count >= CHECK_LEN {
            self.round = Some(Round {
                table: Table::Flows,
                next: 0,
                agrees: true,
                before: self.stats,
            });
        }
        let Some(round) = &mut self.round else {
            return;
        };
        round.agrees &= is_equal;
        if (range.table, range.first) != (round.table, round.next) {
            return;
        }
        round.next = range.first.saturating_add(range.count);
        if round.next < u32::MAX {
            return;
        }
        if range.table == Table::Flows {
            (round.table, round.next) = (Table::Expectations, 0);
            return;
        }
        let (agrees, before) = (round.agrees, round.before);
        self.round = None;
        if agrees && self.is_complete {
            (self.proved_at, self.is_doubted) = (Some(now), false);
        }
        let repaired = RepairStats {
            checks: self.stats.checks - before.checks,
            doubts: self.stats.doubts - before.doubts,
            missing: self.stats.missing - before.missing,
            extra: self.stats.extra - before.extra,
            different: self.stats.different - before.different,
        };
        if repaired.repaired() > 0 {
            self.news.push(News::Repaired(repaired));
        }
    }
}

/// What there is under the handles of a range.
#[derive(Clone, Copy, Debug)]
struct Found {
    /// All of it was looked at.
    is_whole: bool,
    /// Among it are entries that this node does not want: nothing can be said of the range.
    is_refused: bool,
    /// Some of it has run out here while the peer was away.
    is_expired: bool,
}

fn compare<T: Object>(
    cache: &Cache<T>,
    mirror: &Mirror,
    range: Range,
    mut add: impl FnMut(u32, &T::Value),
) -> Found {
    let mut found = Found {
        is_whole: true,
        is_refused: false,
        is_expired: false,
    };
    let mut count = 0;
    let end = handles(range).end.min(mirror.end());
    for handle in range.first..end {
        found.is_refused |= mirror.refused() > 0 && mirror.is_refused(handle);
        found.is_expired |= mirror.is_expired(handle);
        let Some(slot) = mirror.id(handle).and_then(|id| cache.get(id)) else {
            continue;
        };
        count += 1;
        if count > COMPARED_MAX {
            found.is_whole = false;
            break;
        }
        add(handle, &slot.value());
    }
    found
}

fn hash<T: Object>(
    cache: &Cache<T>,
    mirror: &Mirror,
    handle: u32,
    of: impl FnOnce(&T::Value) -> u64,
) -> u64 {
    let slot = mirror.id(handle).and_then(|id| cache.get(id));
    slot.map_or(0, |slot| of(&slot.value()))
}
