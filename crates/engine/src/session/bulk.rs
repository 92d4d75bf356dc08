//! Sending everything: a cursor over the caches, moved on as the peer keeps up.

use std::time::{Duration, Instant};

use super::{Reliability, Session};
use crate::cache::{Cache, Object, Slot, State};
use crate::fault::{Fault, is_planted};
use crate::internal::Internal;
use crate::queue::{Element, Entry, Queue, Sweep};
use crate::work::Work;

/// Entries queued at once.
const STEP: usize = 64;

/// Most messages that may wait for their acknowledgement while a bulk goes on.
const UNACKNOWLEDGED_MAX: usize = 16384;

/// Entries sent for each tick that the peer acknowledges nothing: it may not be there at all.
const STALLED_STEP: usize = 4096;

/// Without acknowledgements the bulk pauses this long ...
const PAUSE: Duration = Duration::from_millis(1);

/// ... after so many entries.
const BURST: usize = 512;

/// Where the sending of everything is.
#[derive(Debug, Default)]
pub(crate) struct Bulk {
    flows_from: Option<u32>,
    children_from: Option<u32>,
    expectations_from: Option<u32>,
    /// Entries that may be sent although the peer does not keep up.
    credit: usize,
    burst: usize,
    resumes_at: Option<Instant>,
    /// Asked for again meanwhile.
    again: bool,
    /// When its first entry was sent.
    started: Option<Instant>,
    /// Entries sent.
    sent: u64,
}

impl Bulk {
    fn from_start() -> Self {
        Self {
            flows_from: Some(0),
            children_from: Some(0),
            expectations_from: Some(0),
            ..Self::default()
        }
    }

    pub(super) fn go_on_regardless(&mut self) {
        self.credit = STALLED_STEP;
    }

    /// How far it is. `total`: entries to send.
    pub(super) fn work(&self, total: u64, now: Instant) -> Work {
        let started = self.started.unwrap_or(now);
        Work {
            done: self.sent,
            total: total.max(self.sent),
            running: now.saturating_duration_since(started),
        }
    }

    pub(super) fn resumes_at(&self) -> Option<Instant> {
        self.resumes_at
    }
}

impl Session {
    /// Starts to send everything. One that is asked for while another runs follows it, once.
    pub(crate) fn start_bulk(&mut self) {
        match &mut self.bulk {
            _ if matches!(self.reliability, Reliability::Alarm) => {}
            _ if !self.has_cache => self.bulk_requested = true,
            Some(running) => running.again = true,
            none => *none = Some(Bulk::from_start()),
        }
    }

    /// Queues the next entries. Returns whether there were any to queue now.
    pub(super) fn advance_bulk(&mut self, internal: &mut Internal, now: Instant) -> bool {
        let Some(mut bulk) = self.bulk.take() else {
            return false;
        };
        if bulk.flows_from == Some(0) && is_planted(Fault::DeletionLostInBulk) {
            self.queues.sweep_resend(
                |_| Sweep::Release,
                |element| {
                    if let Element::Entry(entry) = element {
                        internal.release(entry);
                    }
                },
            );
        }
        let step = self.bulk_step(&mut bulk, now);
        let mut queued = false;
        let started = *bulk.started.get_or_insert(now);
        for _ in 0..step {
            let Some(entry) = next_entry(&mut bulk, internal) else {
                let took = now.saturating_duration_since(started);
                self.last_bulk = Some((now, took, bulk.sent));
                if std::mem::take(&mut bulk.again) {
                    self.bulk = Some(Bulk::from_start());
                }
                return queued;
            };
            queued = true;
            bulk.sent += 1;
            self.announce(internal, entry);
        }
        self.bulk = Some(bulk);
        queued
    }

    /// How many entries may be queued now.
    fn bulk_step(&self, bulk: &mut Bulk, now: Instant) -> usize {
        let Reliability::Ftfw(ftfw) = &self.reliability else {
            if bulk.resumes_at.is_some_and(|at| at > now) {
                return 0;
            }
            bulk.resumes_at = None;
            bulk.burst += STEP;
            if bulk.burst >= BURST {
                bulk.burst = 0;
                bulk.resumes_at = Some(now + PAUSE);
            }
            return STEP;
        };
        // A peer acknowledges after its window at the earliest; a queue shorter than that cannot wait.
        let longest = (ftfw.resend_max / 2).min(UNACKNOWLEDGED_MAX);
        let waits = self.queues.len(Queue::Resend);
        if longest as i64 <= 2 * ftfw.ack_window {
            return STEP;
        }
        if waits < longest {
            return STEP.min(longest - waits);
        }
        let step = bulk.credit.min(STEP);
        bulk.credit -= step;
        step
    }
}

/// The next living entry: connections, then those with a master, then expectations. A peer that puts
/// them straight into its kernel needs the masters first.
fn next_entry(bulk: &mut Bulk, internal: &Internal) -> Option<Entry> {
    for (cursor, children) in [
        (&mut bulk.flows_from, false),
        (&mut bulk.children_from, true),
    ] {
        let wanted = |slot: &Slot<_>| slot.has_master() == children;
        if let Some(id) = next_living(&internal.flows, cursor, wanted) {
            return Some(Entry::Flow(id));
        }
    }
    next_living(&internal.expectations, &mut bulk.expectations_from, |_| {
        true
    })
    .map(Entry::Expectation)
}

/// The next living entry from the cursor on, which becomes `None` at the end.
fn next_living<T: Object>(
    cache: &Cache<T>,
    cursor: &mut Option<u32>,
    wanted: impl Fn(&Slot<T>) -> bool,
) -> Option<u32> {
    while let Some(from) = *cursor {
        let id = cache.next_from(from);
        *cursor = id.map(|id| id + 1);
        let living = |slot: &Slot<T>| slot.state != State::Dead && wanted(slot);
        if id.and_then(|id| cache.get(id)).is_some_and(living) {
            return id;
        }
    }
    None
}
