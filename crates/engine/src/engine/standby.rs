//! Hot standby: what the peers tell goes into the kernel at once, and is this node's on promotion.

use std::time::{Duration, Instant};

use flow::{Flow, Key};
use syncwire::Change;

use super::Engine;
use crate::api::{PeerId, Scope};
use crate::cache::{Cache, Object, Slot, State};
use crate::external::{External, Owner};
use crate::journal::Marks;
use crate::kernel::batch::BATCH_LEN;
use crate::kernel::dump::Purpose;
use crate::kernel::inject::Inject;
use crate::kernel::standby::{STEP, TIMEOUT_S, Walk};
use crate::notice::Notice;
use crate::packed::PackedFlow;
use crate::role::Role;
use crate::session::Session;

/// A node is promoted as another one dies, of which it is told only when a connection has been silent for some seconds;
/// or as another one gives up, whose word may come after the promotion.
const LATE: Duration = Duration::from_secs(5);

/// What was on its way when a node died may be heard so long after it. Of a node that lives more is heard sooner or later.
const UNDER_WAY: Duration = Duration::from_millis(100);

/// After a promotion the kernel's table is read so much later: whoever waits for the promotion is answered by then.
const ADOPTION_PAUSE: Duration = Duration::from_millis(1);

impl Engine {
    /// Has the standby take note of what happened to the external caches.
    pub(super) fn follow_externals(&mut self) {
        if self.standby.is_none() {
            return;
        }
        for origin in 0..self.externals.len() {
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
                self.remove_injected(origin, key);
            }
            for key in removed_expectations {
                if let Some(inject) = &mut self.inject {
                    inject.expectation(Change::Delete, &key.expectation());
                }
            }
        }
    }

    /// An origin has a connection no more. It leaves the kernel unless somebody else has it.
    fn remove_injected(&mut self, origin: usize, key: Key) {
        if is_living(&self.internal.flows, &key) {
            return;
        }
        for (other, external) in self.externals.iter_mut().enumerate() {
            if other == origin || !external.is_its_own() {
                continue;
            }
            if let Some(id) = external.flows.find(&key)
                && let Some(standby) = &mut self.standby
                && let Some(waiting) = standby.waiting.get_mut(other)
            {
                waiting.flows.mark(id, Marks::WHOLE);
                return;
            }
        }
        if let Some(inject) = &mut self.inject {
            let mut flow = Flow::new(key.tuple);
            flow.zone.orig = key.zone;
            inject.flow(Change::Delete, &flow);
        }
    }

    /// Hands the kernel what has waited longest, as much as it takes in one batch.
    pub(super) fn feed_standby(&mut self) {
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
    }

    fn is_kernel_ready(&self) -> bool {
        let waiting = self.inject.as_ref().map_or(usize::MAX, Inject::waiting);
        waiting < BATCH_LEN
    }

    fn inject_flow(&mut self, origin: usize, id: u32) {
        let Some(external) = self.externals.get(origin).filter(|e| e.is_its_own()) else {
            return;
        };
        let Some(key) = external.flows.get(id).map(|slot| slot.value().key()) else {
            return;
        };
        if let Some(own) = living(&self.internal.flows, &key) {
            if !self.yields_to(origin) {
                return;
            }
            // It is forwarded there now.
            self.end_flow(own, false);
        }
        if self.is_claimed_by_another(origin, &key) {
            return;
        }
        let epoch = self.dump.epoch.max(1);
        let slot = self.externals.get_mut(origin);
        let Some(slot) = slot.and_then(|external| external.flows.get_mut(id)) else {
            return;
        };
        let change = match (slot.seen, slot.state) {
            (0, _) | (_, State::New) => Change::New,
            _ => Change::Update,
        };
        (slot.seen, slot.state) = (epoch, State::Alive);
        let mut flow = slot.value();
        flow.timeout_s = Some(TIMEOUT_S);
        if let Some(inject) = &mut self.inject {
            inject.flow(change, &flow);
        }
    }

    fn inject_expectation(&mut self, origin: usize, id: u32) {
        let external = self.externals.get(origin).filter(|e| e.is_its_own());
        let expected = external
            .and_then(|e| e.expectations.get(id))
            .map(Slot::value);
        let expected = expected.filter(|expected| self.is_replicated(expected));
        if let (Some(expected), Some(inject)) = (expected, &mut self.inject) {
            inject.expectation(Change::New, &expected);
        }
    }

    /// Whether this node gives up a connection that the node of this origin claims as well: it does not forward,
    /// or the other began to forward later.
    fn yields_to(&self, origin: usize) -> bool {
        if self.role.state().role != Role::Primary {
            return true;
        }
        let ours = (self.own_term, self.settings.native.name.as_str());
        self.claim(origin).is_some_and(|theirs| theirs > ours)
    }

    /// Whether another origin has the better claim to a connection.
    fn is_claimed_by_another(&self, origin: usize, key: &Key) -> bool {
        if self.externals.len() < 2 {
            return false;
        }
        let ours = self.claim(origin);
        let others = self.externals.iter().enumerate();
        let mut others =
            others.filter(|(other, external)| *other != origin && external.is_its_own());
        others
            .any(|(other, external)| self.claim(other) > ours && external.flows.find(key).is_some())
    }

    /// The claim of an origin to what it tells: later terms go before earlier ones, then the later name counts.
    fn claim(&self, origin: usize) -> Option<(u64, &str)> {
        let peer = self.peers.iter().find(|peer| peer.origin == origin)?;
        (peer.role == Role::Primary).then_some((peer.term, peer.name.as_str()))
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
        for external in self.externals.iter_mut().filter(|e| e.is_its_own()) {
            if let Some(id) = external.flows.find(key)
                && let Some(slot) = external.flows.get_mut(id)
            {
                slot.seen = epoch;
                return true;
            }
        }
        false
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
        } else if let Some(from) = standby.leaving {
            let on = self.leave_kernel(from);
            self.standby_mut(|standby| standby.leaving = on);
        }
    }

    fn standby_mut(&mut self, change: impl FnOnce(&mut crate::kernel::standby::Standby)) {
        if let Some(standby) = &mut self.standby {
            change(standby);
        }
    }

    /// Has what the reading `epoch` has not shown put into the kernel again.
    fn put_back_missing(&mut self, walk: Walk, epoch: u16) -> Option<Walk> {
        let now_epoch = self.dump.epoch.max(1);
        let external = self.externals.get_mut(walk.origin)?;
        let end = walk.next.saturating_add(STEP);
        for id in walk.next..end.min(external.flows.positions()) {
            let Some(slot) = external.flows.get_mut(id) else {
                continue;
            };
            if epoch == u16::MAX || ![epoch, now_epoch].contains(&slot.seen) {
                if epoch != u16::MAX {
                    slot.seen = 0;
                }
                if let Some(standby) = &mut self.standby
                    && let Some(waiting) = standby.waiting.get_mut(walk.origin)
                {
                    waiting.flows.mark(id, Marks::WHOLE);
                }
            }
        }
        Some(next_step(walk, end, &external.flows))
    }

    /// Gives connections that were taken over the timeouts that they should have, unless traffic has.
    fn settle_timeouts(&mut self, walk: Walk) -> Option<Walk> {
        let is_native = self.peers.iter().any(|peer| peer.origin == walk.origin);
        let rules = self.rules();
        let now_s = self.now_s();
        let external = self.externals.get_mut(walk.origin)?;
        let mut next = walk.next;
        let end = walk.next.saturating_add(STEP);
        let kernel_waits = |inject: &Inject| inject.waiting() < BATCH_LEN;
        while external.is_taken() && next < end && self.inject.as_ref().is_some_and(kernel_waits) {
            let id = next;
            next += 1;
            let Some(slot) = external.flows.get(id) else {
                continue;
            };
            let (mut flow, updated_s) = (slot.value(), slot.updated_s);
            let is_in_kernel = slot.seen != 0;
            if !is_native {
                // A peer of version 1 does not say what it still has.
                external.flows.remove(id);
            }
            if !is_in_kernel {
                continue;
            }
            let own = living(&self.internal.flows, &flow.key());
            let own = own.and_then(|id| self.internal.flows.get(id));
            if own.is_some_and(|own| own.is_heard) {
                continue;
            }
            let age_s = now_s.saturating_sub(updated_s);
            flow.timeout_s = Some(rules.timeout(flow.timeout_s, age_s));
            if let Some(inject) = &mut self.inject {
                inject.timeout(&flow);
            }
        }
        let passed = if external.is_taken() { next } else { u32::MAX };
        Some(next_step(walk, passed, &external.flows))
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

    /// An origin tells its own again.
    pub(super) fn untake(&mut self, origin: usize) {
        if let Some(external) = self.externals.get_mut(origin)
            && std::mem::replace(&mut external.owner, Owner::Origin) != Owner::Origin
        {
            self.put_back_all();
        }
    }

    /// Has the kernel looked at for all that the peers have.
    fn put_back_all(&mut self) {
        // No reading has this number.
        let none = u16::MAX;
        self.standby_mut(|standby| standby.missing = Some((Walk::START, none)));
    }

    /// This node no longer forwards: whatever the peers tell belongs to them.
    pub(super) fn give_back(&mut self) {
        for external in self.externals.iter_mut().filter(|e| e.is_taken()) {
            external.owner = Owner::Origin;
        }
        self.standby_mut(|standby| standby.settling = None);
        self.put_back_all();
    }

    /// Whether the standby can go on at once.
    pub(super) fn is_standby_due(&self) -> bool {
        let walks = self.standby.as_ref().is_some_and(|s| s.is_walking());
        walks && self.is_kernel_ready() && self.flush.waiting() < BATCH_LEN
    }

    /// A peer that forwarded is missed, and was heard last at that moment. One that lived longer than until this node's
    /// promotion is not what that was about.
    pub(super) fn missed(&mut self, peer: PeerId, heard_at: Instant) {
        if heard_at <= self.role.begun() + UNDER_WAY {
            self.take_over_late(peer);
        }
    }

    /// A peer that forwarded does so no more. If this node was promoted just before, it was promoted in that one's place.
    pub(super) fn take_over_late(&mut self, peer: PeerId) {
        let role = self.role.state();
        let is_new = self.now.saturating_duration_since(self.role.begun()) <= LATE;
        if role.role != Role::Primary || !role.is_settled || !is_new || self.takeover_from.is_some()
        {
            return;
        }
        let Some(peer) = self.peer(peer) else {
            return;
        };
        let (origin, name) = (peer.origin, peer.name.clone());
        let external = self.externals.get(origin);
        if !external.is_some_and(External::is_its_own) {
            return;
        }
        self.notices.push_back(Notice::TakenOverLate(name));
        self.take(&[origin]);
        if self.standby.is_some() {
            self.standby_mut(|standby| standby.settling = Some(Walk::START));
            self.read(Purpose::Reconcile, None, Scope::All);
        } else {
            self.commit_late();
        }
    }

    /// The origins whose connections a new primary takes over are its own from now on.
    pub(super) fn take_origins(&mut self) {
        let origins = (0..self.externals.len()).filter(|&origin| self.is_promoted_for(origin));
        self.take(&origins.collect::<Vec<_>>());
    }

    /// Whether a promotion is about the connections of this origin.
    fn is_promoted_for(&self, origin: usize) -> bool {
        let mut ids = (0..=u8::MAX).map(PeerId).zip(&self.peers);
        let peer = ids.find(|(_, peer)| peer.origin == origin);
        match (peer, self.takeover_from) {
            // Version 1 knows of one other node, whose turn is over.
            (None, None) => true,
            // It has no name.
            (None, Some(_)) => false,
            (Some((id, _)), Some(chosen)) => chosen.contains(id),
            // One that forwards keeps what it has, unless there is nobody else to mean.
            (Some((_, peer)), None) => self.peers.len() == 1 || !peer.forwards(),
        }
    }

    /// The connections of these origins are this node's from now on, and everybody is told so.
    fn take(&mut self, origins: &[usize]) {
        let mut taken = Vec::new();
        for &origin in origins {
            let external = self.externals.get_mut(origin);
            let Some(external) = external.filter(|external| external.is_its_own()) else {
                continue;
            };
            external.owner = Owner::ThisNode;
            let peer = self.peers.iter().find(|peer| peer.origin == origin);
            taken.extend(peer.map(|peer| peer.name.clone()));
        }
        self.term += 1;
        self.own_term = self.term;
        for peer in &mut self.peers {
            peer.tell_role(Role::Primary, self.own_term);
            for name in &taken {
                peer.tell_takeover(self.own_term, name);
            }
        }
    }
}

fn next_step(walk: Walk, passed: u32, cache: &Cache<PackedFlow>) -> Walk {
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

fn living<T: Object>(cache: &Cache<T>, key: &T::Key) -> Option<u32> {
    let id = cache.find(key)?;
    let slot = cache.get(id)?;
    (slot.state != State::Dead).then_some(id)
}

fn is_living<T: Object>(cache: &Cache<T>, key: &T::Key) -> bool {
    living(cache, key).is_some()
}
