//! Expectations of the peers in the kernel of a hot standby.
//!
//! They follow what is told as connections do, and belong to whoever tells them. There are few of them, so that
//! whatever concerns all is done at once.

use std::time::Duration;

use flow::Expectation;
use syncwire::Change;

use super::Engine;
use super::standby::living;
use crate::cache::{Cache, Object, Slot};
use crate::kernel::dump::Table;

type Key = <Expectation as Object>::Key;

/// What goes from the kernel is put back no more often than this: a kernel that has no room for all that is told drops one
/// as another one comes.
const PAUSE: Duration = Duration::from_secs(1);

impl Engine {
    /// Puts an expectation into the kernel as this origin told it.
    pub(super) fn inject_expectation(&mut self, origin: usize, id: u32) {
        let Some(external) = self.externals.get(origin).filter(|e| e.is_its_own()) else {
            return;
        };
        let Some(told) = external.expectations.get(id).map(Slot::value) else {
            return;
        };
        if !self.is_replicated(&told) {
            return;
        }
        let Some(is_there) = self.give_way::<Expectation>(origin, id, &told) else {
            return;
        };
        self.note_in_kernel::<Expectation>((origin, id));
        if let Some(inject) = self.inject.as_mut().filter(|_| !is_there) {
            inject.expectation(Change::New, &told);
        }
    }

    /// An origin has an expectation no more. It leaves the kernel unless somebody else has it.
    pub(super) fn remove_injected_expectation(&mut self, origin: usize, key: &Key) {
        if !self.is_about_to_adopt(&key.expectation()) {
            self.remove_injected::<Expectation>(origin, key);
        }
    }

    /// Whether an expectation is this node's as soon as a reading shows it: it was taken over with its master.
    fn is_about_to_adopt(&self, expected: &Expectation) -> bool {
        let adopts = self.standby.as_ref().and_then(|s| s.adopts_expectations);
        adopts.is_some() && living(&self.internal.flows, &expected.master_key()).is_some()
    }

    /// A reading has ended.
    pub(super) fn has_read_for_expectations(&mut self, table: Table) {
        let epoch = self.dump.epoch;
        self.standby_mut(|standby| {
            standby.adopts_expectations = match (standby.adopts_expectations, table) {
                (Some((after, _)), Table::Flows) if after != epoch => Some((after, true)),
                (Some((_, true)), Table::Expectations) => None,
                (adopts, _) => adopts,
            };
        });
    }

    /// Has those put into the kernel that are not there, and those that this node has as well.
    pub(super) fn put_back_expectations(&mut self) {
        let own = &self.internal.expectations;
        let mut lacking = Vec::new();
        for (origin, external) in self.externals.iter().enumerate() {
            if !external.is_its_own() {
                continue;
            }
            for (id, slot) in slots(&external.expectations) {
                if slot.seen == 0 || living(own, &slot.value().stored_key()).is_some() {
                    lacking.push((origin, id));
                }
            }
        }
        for (origin, id) in lacking {
            self.mark_waiting::<Expectation>(origin, id);
        }
    }

    /// The kernel has dropped an expectation. If it is a peer's it is put back.
    pub(super) fn injected_expectation_gone(&mut self, gone: &Expectation) {
        if self.standby.is_none() {
            return;
        }
        if self.note_seen(gone, 0) {
            self.have_expectations_put_back();
        }
    }

    /// An origin has a connection that it had not before: what that expects may have waited for it.
    pub(super) fn may_expect(&mut self, origin: usize) {
        let external = self.externals.get(origin);
        if external.is_some_and(|it| it.expectations.stats().active > 0) {
            self.have_expectations_put_back();
        }
    }

    fn have_expectations_put_back(&mut self) {
        let now = self.now;
        self.standby_mut(|standby| {
            let last = standby.expectations_put_back;
            let at = last.map_or(now, |last| now.max(last + PAUSE));
            standby.expectations_due.get_or_insert(at);
        });
    }

    /// Puts back what has gone from the kernel, if it is time.
    pub(super) fn put_back_due_expectations(&mut self) {
        let now = self.now;
        let Some(standby) = &mut self.standby else {
            return;
        };
        if standby.expectations_due.take_if(|at| *at <= now).is_some() {
            standby.expectations_put_back = Some(now);
            self.put_back_expectations();
        }
    }

    /// A reading shows an expectation.
    pub(super) fn saw_expectation(&mut self, shown: &Expectation) {
        self.note_seen(shown, self.dump.epoch.max(1));
    }

    /// Notes which reading has last shown an expectation; 0: the kernel has it not. Returns whether a peer tells it.
    fn note_seen(&mut self, expected: &Expectation, epoch: u16) -> bool {
        let key = expected.stored_key();
        let mut is_told = false;
        for external in self.externals.iter_mut().filter(|it| it.is_its_own()) {
            let id = external.expectations.find(&key);
            if let Some(slot) = id.and_then(|id| external.expectations.get_mut(id)) {
                slot.seen = epoch;
                is_told = true;
            }
        }
        is_told
    }

    /// A reading of all expectations has ended: what of the peers' it has not shown is put back.
    pub(super) fn look_for_missing_expectations(&mut self) {
        if self.standby.is_none() {
            return;
        }
        let epoch = self.dump.epoch.max(1);
        let mut is_missing = false;
        for external in self.externals.iter_mut().filter(|it| it.is_its_own()) {
            for id in 0..external.expectations.positions() {
                if let Some(slot) = external.expectations.get_mut(id)
                    && ![0, epoch].contains(&slot.seen)
                {
                    slot.seen = 0;
                    is_missing = true;
                }
            }
        }
        if is_missing {
            self.have_expectations_put_back();
        }
    }
}

fn slots<T: Object>(cache: &Cache<T>) -> impl Iterator<Item = (u32, &Slot<T>)> {
    (0..cache.positions()).filter_map(|id| Some((id, cache.get(id)?)))
}
