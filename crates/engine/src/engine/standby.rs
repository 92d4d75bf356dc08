//! Hot standby: what the peers tell goes into the kernel at once, and is this node's on promotion.

use std::time::Duration;

use flow::{Expectation, Key};
use syncwire::Change;

use super::Engine;
use super::recover::Recovery;
use crate::cache::{Cache, Object, Slot, State};
use crate::external::{External, Owner};
use crate::journal::Marks;
use crate::kernel::batch::BATCH_LEN;
use crate::kernel::inject::Inject;
use crate::kernel::standby::{PutBack, STEP, TIMEOUT_S, Walk};
use crate::notice::Notice;
use crate::packed::PackedFlow;
use crate::role::Role;
use crate::session::Session;

/// After a promotion the kernel's table is read so much later: whoever waits for the promotion is answered by then.
const ADOPTION_PAUSE: Duration = Duration::from_millis(1);

impl Engine {
    /// Has the standby take note of what happened to the external caches.
    pub(super) fn follow_externals(&mut self) {
        if self.standby.is_none() {
            return;
        }
        for origin in 0..self.externals.len() {
            self.drop_succeeded::<PackedFlow>(origin);
            self.drop_succeeded::<Expectation>(origin);
            let Some(external) = self.externals.get_mut(origin) else {
                return;
            };
            let (Some(flows), Some(expectations)) = (
                external.flows.journal.as_mut(),
                external.expectations.journal.as_mut(),
            ) else {
                continue;
            };
            if flows.is_empty() && expectations.is_empty() {
                continue;
            }
            if let Some(standby) = &mut self.standby {
                standby.follow_flows(origin, flows);
                standby.follow_expectations(origin, expectations);
            }
            let removed = std::mem::take(&mut flows.removed);
            let removed_expectations = std::mem::take(&mut expectations.removed);
            flows.forget();
            expectations.forget();
            if external.is_taken() {
                continue;
            }
            for key in removed {
                self.remove_injected::<PackedFlow>(origin, &key);
            }
            for key in removed_expectations {
                self.remove_injected_expectation(origin, &key);
            }
        }
    }

    /// Hands the kernel what has waited longest, as much as it takes in one batch.
    pub(super) fn feed_standby(&mut self) {
        self.put_back_due_expectations();
        while self.is_kernel_ready() {
            let Some(standby) = &mut self.standby else {
                return;
            };
            let next = standby.waiting.iter_mut().enumerate().find_map(|(at, w)| {
                let flow = w.flows.pop().map(|(id, _)| (at, id, true));
                flow.or_else(|| w.expectations.pop().map(|(id, _)| (at, id, false)))
            });
            match next {
                Some((origin, id, true)) => self.inject_flow(origin, id),
                Some((origin, id, false)) => self.inject_expectation(origin, id),
                None => break,
            }
        }
        self.walk_standby();
        self.finish_adoption();
    }

    pub(super) fn is_kernel_ready(&self) -> bool {
        let waiting = self.inject.as_ref().map_or(usize::MAX, Inject::waiting);
        waiting < BATCH_LEN
    }

    fn inject_flow(&mut self, origin: usize, id: u32) {
        if self.externals.get(origin).is_some_and(External::is_taken) {
            self.settle_timeout(origin, id);
            return;
        }
        let Some(external) = self.externals.get(origin).filter(|e| e.is_its_own()) else {
            return;
        };
        let Some(told) = external.flows.get(id).map(Slot::value) else {
            return;
        };
        let Some(is_there) = self.give_way::<PackedFlow>(origin, id, &told) else {
            return;
        };
        let epoch = self.dump.epoch.max(1);
        let slot = self.externals.get_mut(origin);
        let Some(slot) = slot.and_then(|external| external.flows.get_mut(id)) else {
            return;
        };
        let is_new = slot.seen == 0;
        let change = match (slot.seen, slot.state) {
            // It stays as it is, under another owner.
            (0, _) if is_there => Change::Update,
            (0, _) | (_, State::New) => Change::New,
            _ => Change::Update,
        };
        (slot.seen, slot.state) = (epoch, State::Alive);
        let mut flow = slot.value();
        flow.timeout_s = Some(TIMEOUT_S);
        if let Some(inject) = &mut self.inject {
            inject.flow(change, &flow);
        }
        if is_new && flow.helper.is_some() {
            self.may_expect(origin);
        }
    }

    /// The kernel's entry with this key has gone, or is none of the peers' any more.
    pub(super) fn injected_gone(&mut self, key: &Key) {
        if self.standby.is_none() {
            return;
        }
        for (origin, external) in self.externals.iter_mut().enumerate() {
            if !external.is_its_own() {
                continue;
            }
            let Some(id) = external.flows.find(key) else {
                continue;
            };
            if let Some(slot) = external.flows.get_mut(id) {
                slot.seen = 0;
            }
            if let Some(standby) = &mut self.standby
                && let Some(waiting) = standby.waiting.get_mut(origin)
            {
                waiting.flows.mark(id, Marks::WHOLE);
            }
        }
    }

    /// Whether an entry that a reading shows is a peer's.
    pub(super) fn is_standing_by(&mut self, key: &Key) -> bool {
        if self.standby.is_none() || is_living(&self.internal.flows, key) {
            return false;
        }
        let epoch = self.dump.epoch.max(1);
        let given_back = self.recovery.as_ref().map(Recovery::origin);
        if self.being_taken::<PackedFlow>(key).is_some() {
            return false;
        }
        // What nobody claims stays until whose it is has been told.
        let mut is_told = false;
        for origin in 0..self.externals.len() {
            let external = self.externals.get(origin);
            let id = external.and_then(|external| external.flows.find(key));
            let Some(id) = id.filter(|_| given_back != Some(origin)) else {
                continue;
            };
            // Whoever had taken it over has been taken over in turn.
            let is_another = external.is_some_and(|it| it.owner == Owner::Another);
            if is_another && self.has_taken(key) {
                continue;
            }
            let has_given_up = self.has_given_up::<PackedFlow>(origin, id);
            let Some(external) = self.externals.get_mut(origin) else {
                return false;
            };
            is_told |= !external.is_taken() || has_given_up;
            // What this origin told may have to wait yet for what another one told.
            if let Some(slot) = external.flows.get_mut(id).filter(|slot| slot.seen != 0) {
                slot.seen = epoch;
            }
        }
        is_told
    }

    /// Whether a connection is among what was taken over from somebody.
    fn has_taken(&self, key: &Key) -> bool {
        let mut taken = self.externals.iter().enumerate();
        taken.any(|(origin, external)| {
            let id = external.flows.find(key).filter(|_| external.is_taken());
            id.is_some_and(|id| !self.has_given_up::<PackedFlow>(origin, id))
        })
    }

    /// Goes on with whichever walk is under way, a step at a time.
    fn walk_standby(&mut self) {
        let Some(standby) = &self.standby else {
            return;
        };
        if let Some((walk, epoch)) = standby.missing {
            let on = self.put_back_missing(walk, epoch);
            self.standby_mut(|standby| standby.missing = on.map(|walk| (walk, epoch)));
        } else if let Some(walk) = standby.settling {
            let on = self.settle_timeouts(walk);
            self.standby_mut(|standby| standby.settling = on);
            if on.is_none() {
                self.settled();
            }
        } else if let Some(put_back) = standby.put_back {
            let on = self.put_back_on(put_back);
            let on = on.filter(|walk| walk.origin < put_back.end);
            let on = on.map(|walk| PutBack { walk, ..put_back });
            self.standby_mut(|standby| standby.put_back = on);
            if on.is_none() {
                // Their masters go into the kernel before them.
                self.put_back_expectations();
            }
        } else if let Some(from) = standby.leaving {
            let on = self.leave_kernel(from);
            self.standby_mut(|standby| standby.leaving = on);
        }
    }

    pub(super) fn standby_mut(
        &mut self,
        change: impl FnOnce(&mut crate::kernel::standby::Standby),
    ) {
        if let Some(standby) = &mut self.standby {
            change(standby);
        }
    }

    /// Has what the reading `epoch` has not shown put into the kernel again.
    fn put_back_missing(&mut self, walk: Walk, epoch: u16) -> Option<Walk> {
        let now_epoch = self.dump.epoch.max(1);
        let external = self.externals.get(walk.origin)?;
        if external.is_taken() {
            // What is this node's does not count as seen.
            return Some(next_step(walk, u32::MAX, &external.flows));
        }
        let end = walk.next.saturating_add(STEP);
        for id in walk.next..end.min(external.flows.positions()) {
            let Some(slot) = external.flows.get(id) else {
                continue;
            };
            if ![epoch, now_epoch].contains(&slot.seen)
                && let Some(standby) = &mut self.standby
                && let Some(waiting) = standby.waiting.get_mut(walk.origin)
            {
                // It may have been on its way into the kernel all the time, and is not made anew then.
                waiting.flows.mark(id, Marks::WHOLE);
            }
        }
        Some(next_step(walk, end, &external.flows))
    }

    /// Has connections put into the kernel again, whatever is there.
    fn put_back_on(
        &mut self,
        PutBack {
            walk, contested, ..
        }: PutBack,
    ) -> Option<Walk> {
        let end = walk.next.saturating_add(STEP);
        let positions = self.externals.get(walk.origin)?.flows.positions();
        for id in walk.next..end.min(positions) {
            let external = self.externals.get(walk.origin)?;
            let Some(slot) = external.flows.get(id) else {
                continue;
            };
            if !contested || self.is_told_by_another(walk.origin, &slot.value().key()) {
                self.mark_waiting::<PackedFlow>(walk.origin, id);
            }
        }
        let external = self.externals.get(walk.origin)?;
        Some(next_step(walk, end, &external.flows))
    }

    /// Whether somebody else than this origin has a connection as well, this node included.
    fn is_told_by_another(&self, origin: usize, key: &Key) -> bool {
        let mut others = self.externals.iter().enumerate();
        let has = |external: &External| external.flows.find(key).is_some();
        is_living(&self.internal.flows, key)
            || others.any(|(other, external)| other != origin && has(external))
    }

    /// Takes this node's former connections out of the kernel: what is still forwarded is somebody else's by now.
    fn leave_kernel(&mut self, from: u32) -> Option<u32> {
        if self.flush.waiting() >= BATCH_LEN {
            return Some(from);
        }
        let mut next = from;
        while let Some(id) = self.internal.flows.next_from(next) {
            next = id + 1;
            let Some(slot) = self.internal.flows.get(id) else {
                continue;
            };
            if slot.state == State::Dead {
                continue;
            }
            let flow = slot.value();
            self.flush.flow(flow.key(), flow.id);
            self.end_flow(id, false);
            if self.flush.waiting() >= BATCH_LEN {
                return Some(next);
            }
        }
        None
    }

    /// A reading of all connections has ended: what of the peers' it has not shown is put back.
    pub(super) fn look_for_missing(&mut self) {
        let epoch = self.dump.epoch;
        self.standby_mut(|standby| standby.missing = Some((Walk::START, epoch)));
    }

    /// Ends a promotion for which the kernel has everything.
    pub(super) fn finish_promotion(&mut self) {
        let is_idle = |inject: &Inject| inject.is_idle();
        let done = self.role.is_becoming(Role::Primary)
            && self.standby.as_ref().is_some_and(|s| s.is_idle())
            && self.inject.as_ref().is_some_and(is_idle)
            && self.commit.is_none();
        if !done {
            return;
        }
        self.take_origins();
        self.standby_mut(|standby| {
            (standby.settling, standby.missing) = (Some(Walk::START), None);
            standby.leaving = None;
        });
        self.announce_takeover();
        self.sessions.iter_mut().for_each(Session::start_bulk);
        // Only the kernel knows all that is this node's now. It may take long to begin telling, and traffic comes first.
        self.adopt_at = Some(self.now + ADOPTION_PAUSE);
    }

    /// The timeouts are as they should be: what version 1 told is this node's, which forwards now.
    fn settled(&mut self) {
        if self.role.state().role == Role::Primary {
            self.clear_version_1();
            self.notices.push_back(Notice::Settled);
        }
    }

    /// Forgets what the peer of version 1 told, where it is this node's.
    pub(super) fn clear_version_1(&mut self) {
        let natives: Vec<_> = self.peers.iter().map(|peer| peer.origin).collect();
        let externals = self.externals.iter_mut().enumerate();
        let taken = externals.filter(|(at, e)| !natives.contains(at) && e.is_taken());
        for (_, external) in taken {
            external.clear();
            external.owner = Owner::Origin;
        }
    }

    /// Has what these origins have put into the kernel again: all of it, or only what somebody else has as well.
    pub(super) fn put_back(&mut self, origins: std::ops::Range<usize>, contested: bool) {
        self.standby_mut(|standby| {
            let known = standby.put_back;
            let from = known.map_or(origins.start, |it| it.walk.origin.min(origins.start));
            standby.put_back = Some(PutBack {
                walk: Walk {
                    origin: from,
                    next: 0,
                },
                end: known.map_or(origins.end, |it| it.end.max(origins.end)),
                contested: contested && known.is_none_or(|it| it.contested),
            });
        });
    }

    /// Whether the standby can go on at once.
    pub(super) fn is_standby_due(&self) -> bool {
        let standby = self.standby.as_ref();
        // The last step of a walk leaves something to be handed over.
        let has_more = standby.is_some_and(|s| s.is_walking() || !s.is_idle());
        has_more && self.is_kernel_ready() && self.flush.waiting() < BATCH_LEN
    }
}

pub(super) fn next_step(walk: Walk, passed: u32, cache: &Cache<PackedFlow>) -> Walk {
    if passed < cache.positions() {
        return Walk {
            next: passed,
            ..walk
        };
    }
    Walk {
        origin: walk.origin + 1,
        next: 0,
    }
}

pub(super) fn living<T: Object>(cache: &Cache<T>, key: &T::Key) -> Option<u32> {
    let id = cache.find(key)?;
    let slot = cache.get(id)?;
    (slot.state != State::Dead).then_some(id)
}

fn is_living<T: Object>(cache: &Cache<T>, key: &T::Key) -> bool {
    living(cache, key).is_some()
}
