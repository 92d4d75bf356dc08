//! Claims: who has what several nodes tell. The same rules hold for connections and for what they expect.

use flow::{Expectation, Flow, Key};
use syncwire::Change;

use super::Engine;
use super::standby::living;
use crate::cache::{Cache, Object, State};
use crate::external::{External, Kept};
use crate::internal::Internal;
use crate::journal::Marks;
use crate::kernel::inject::Inject;
use crate::kernel::standby::Waiting;
use crate::packed::PackedFlow;
use crate::peer::Peer;
use crate::peer::pending::Pending;
use crate::role::Role;

/// What several nodes may claim.
pub(super) trait Claimed: Kept {
    /// What this node has of it.
    fn own(internal: &Internal) -> &Cache<Self>;
    /// What the kernel has yet to be told of it.
    fn waiting(waiting: &mut Waiting) -> &mut Pending;
    /// Whether those that are the same may differ in what a kernel changes in place.
    const HAS_MORE: bool;
    /// Whether a kernel that has the one has the other.
    fn is_same(a: &Self::Value, b: &Self::Value) -> bool;
    /// Has it taken out of the kernel.
    fn take_out(inject: &mut Inject, key: &Self::Key);
    /// Whether whoever told it no longer has what it depends on.
    fn lacks_master(_external: &External, _id: u32) -> bool {
        false
    }
    /// This node has it no more, as another one has it.
    fn end_own(engine: &mut Engine, id: u32);
    /// This node has the best claim by what it is taking over, and had not before.
    fn is_left_to(_engine: &mut Engine, _origin: usize, _id: u32) {}
}

impl Claimed for PackedFlow {
    const HAS_MORE: bool = true;

    fn own(internal: &Internal) -> &Cache<Self> {
        &internal.flows
    }

    fn waiting(waiting: &mut Waiting) -> &mut Pending {
        &mut waiting.flows
    }

    /// One connection, translated the same way.
    fn is_same(a: &Flow, b: &Flow) -> bool {
        a.reply_direction() == b.reply_direction() && a.zone == b.zone
    }

    fn take_out(inject: &mut Inject, key: &Key) {
        let mut flow = Flow::new(key.tuple);
        flow.zone.orig = key.zone;
        inject.flow(Change::Delete, &flow);
    }

    fn end_own(engine: &mut Engine, id: u32) {
        engine.end_flow(id, false);
    }

    fn is_left_to(engine: &mut Engine, origin: usize, id: u32) {
        engine.settle_timeout(origin, id);
    }
}

impl Claimed for Expectation {
    const HAS_MORE: bool = false;

    fn own(internal: &Internal) -> &Cache<Self> {
        &internal.expectations
    }

    fn waiting(waiting: &mut Waiting) -> &mut Pending {
        &mut waiting.expectations
    }

    fn is_same(a: &Self, b: &Self) -> bool {
        <Self as Object>::changes(a, b) == Marks::NONE
    }

    fn take_out(inject: &mut Inject, key: &Self::Key) {
        inject.expectation(Change::Delete, &key.expectation());
    }

    fn lacks_master(external: &External, id: u32) -> bool {
        let master = external.expectations.get(id);
        let master = master.map(|slot| slot.value().master_key());
        let known = master.and_then(|key| external.flows.find(&key));
        known.is_none_or(|id| external.flow_handles.is_orphan(id))
    }

    fn end_own(engine: &mut Engine, id: u32) {
        engine.end_expectation(id, false);
    }
}

/// Who has the best claim.
impl Engine {
    /// The claim of an origin to what it tells: later terms go before earlier ones, then the later name counts.
    pub(super) fn claim(&self, origin: usize) -> Option<(u64, &str)> {
        let peer = self.peers.iter().find(|peer| peer.origin == origin)?;
        (peer.role == Role::Primary).then_some((peer.term, peer.name.as_str()))
    }

    /// Whether this node gives up what the node of this origin claims as well: it does not forward,
    /// or the other began to forward later.
    pub(super) fn yields_to(&self, origin: usize) -> bool {
        if self.role.state().role != Role::Primary {
            return true;
        }
        let ours = (self.own_term, self.settings.native.name.as_str());
        self.claim(origin).is_some_and(|theirs| theirs > ours)
    }

    /// Of the other origins that tell the same, the one with the best claim if that is better than this one's.
    fn better_than<T: Claimed>(&self, origin: usize, key: &T::Key) -> Option<(usize, u32)> {
        if self.externals.len() < 2 {
            return None;
        }
        let holder = self.holder::<T>(key);
        holder.filter(|(other, _)| self.claim(*other) > self.claim(origin))
    }

    /// Of the origins that tell something, the one with the best claim, and where it is kept. Those that this node is
    /// taking over count as well: their claim is what it takes over.
    fn holder<T: Claimed>(&self, key: &T::Key) -> Option<(usize, u32)> {
        let is_taking_over = self.adoption.is_some();
        let externals = self.externals.iter().enumerate();
        let claims = externals.filter_map(|(origin, external)| {
            let is_its_own = external.is_its_own();
            let counts = is_its_own || (is_taking_over && external.is_taken());
            let id = T::kept(external).0.find(key).filter(|_| counts)?;
            let claim = (self.claim(origin), is_its_own, origin, id);
            (!self.has_given_up::<T>(origin, id)).then_some(claim)
        });
        let (_, _, origin, id) = claims.max()?;
        Some((origin, id))
    }

    /// Where something is kept that is among what is taken over: a reading of the kernel's table is about to find it this
    /// node's own.
    pub(super) fn being_taken<T: Claimed>(&self, key: &T::Key) -> Option<(usize, u32)> {
        let holder = self.adoption.and_then(|_| self.holder::<T>(key))?;
        let external = self.externals.get(holder.0)?;
        external.is_taken().then_some(holder)
    }

    /// Whether an origin has something no more, and it stays only until somebody else tells it: nobody claims it.
    pub(super) fn has_given_up<T: Claimed>(&self, origin: usize, id: u32) -> bool {
        let peer = self.peers.iter().find(|peer| peer.origin == origin);
        let external = self.externals.get(origin);
        // One that has started anew may still tell it.
        peer.is_some_and(Peer::has_told_all)
            && external.is_some_and(|external| {
                T::kept(external).1.is_orphan(id) || T::lacks_master(external, id)
            })
    }

    /// Another origin that has this, and where.
    fn other_with<T: Claimed>(&self, origin: usize, key: &T::Key) -> Option<(usize, u32)> {
        let mut others = self.externals.iter().enumerate();
        others.find_map(|(other, external)| {
            let is_another = other != origin && external.is_its_own();
            let id = T::kept(external).0.find(key).filter(|_| is_another)?;
            Some((other, id))
        })
    }

    fn is_in_kernel<T: Claimed>(&self, (origin, id): (usize, u32)) -> bool {
        let external = self.externals.get(origin);
        let slot = external.and_then(|external| T::kept(external).0.get(id));
        slot.is_some_and(|slot| slot.seen != 0)
    }
}

/// One claim comes, another one goes.
impl Engine {
    /// Has something put into the kernel as this origin told it.
    pub(super) fn mark_waiting<T: Claimed>(&mut self, origin: usize, id: u32) {
        if let Some(standby) = &mut self.standby
            && let Some(waiting) = standby.waiting.get_mut(origin)
        {
            T::waiting(waiting).mark(id, Marks::WHOLE);
        }
    }

    /// Everybody else gives way to what an origin tells. Whether the kernel has it already; `None`: another one's claim is better.
    pub(super) fn give_way<T: Claimed>(
        &mut self,
        origin: usize,
        id: u32,
        told: &T::Value,
    ) -> Option<bool> {
        let key = T::key(told);
        let own = living(T::own(&self.internal), &key);
        if self.has_given_up::<T>(origin, id) || (own.is_some() && !self.yields_to(origin)) {
            return None;
        }
        if let Some(better) = self.better_than::<T>(origin, &key) {
            match own {
                // It is given up to that one.
                Some(_) => self.mark_waiting::<T>(better.0, better.1),
                None => self.share_kernel::<T>(better, (origin, id)),
            }
            return None;
        }
        let own = own.and_then(|own| Some((own, T::own(&self.internal).get(own)?.value())));
        let mut is_there = own.is_some_and(|(_, value)| T::is_same(&value, told));
        if let Some((own, _)) = own {
            // It is forwarded, or awaited, there now.
            T::end_own(self, own);
        }
        let external = self.externals.get(origin)?;
        let is_new = T::kept(external).0.get(id)?.seen == 0;
        if is_new {
            is_there |= self.succeed::<T>(origin, told);
        }
        Some(is_there)
    }

    /// If the kernel has the first, and that is the same, it has the second as well.
    fn share_kernel<T: Claimed>(&mut self, first: (usize, u32), second: (usize, u32)) {
        let value = |(origin, id)| Some(T::kept(self.externals.get(origin)?).0.get(id)?.value());
        let is_same = value(first)
            .zip(value(second))
            .is_some_and(|(a, b)| T::is_same(&a, &b));
        if is_same && self.is_in_kernel::<T>(first) {
            self.note_in_kernel::<T>(second);
        }
    }

    /// The kernel has something as this origin told it.
    pub(super) fn note_in_kernel<T: Claimed>(&mut self, (origin, id): (usize, u32)) {
        let epoch = self.dump.epoch.max(1);
        let external = self.externals.get_mut(origin);
        if let Some(slot) = external.and_then(|it| T::kept_mut(it).0.get_mut(id)) {
            (slot.seen, slot.state) = (epoch, State::Alive);
        }
    }

    /// An origin tells something for the first time. Whether the kernel has it already, as another one told it, which
    /// has none any more if it has handed it over.
    fn succeed<T: Claimed>(&mut self, origin: usize, told: &T::Value) -> bool {
        let (mut is_there, key) = (false, T::key(told));
        let epoch = self.dump.epoch.max(1);
        for (other, external) in self.externals.iter_mut().enumerate() {
            let holds = external.held_until.is_some();
            let (cache, handles, _) = T::kept_mut(external);
            let Some(id) = cache.find(&key).filter(|_| other != origin) else {
                continue;
            };
            if let Some(slot) = cache.get_mut(id)
                && T::is_same(&slot.value(), told)
            {
                is_there |= slot.seen != 0;
                // It is there as this one told it as well, should the new claim go.
                (slot.seen, slot.state) = (epoch, State::Alive);
            }
            if holds && handles.is_orphan(id) {
                cache.remove(id);
            }
        }
        is_there
    }

    /// What an origin has handed over goes if its successor has told it by now.
    pub(super) fn drop_succeeded<T: Claimed>(&mut self, origin: usize) {
        let Some(external) = self.externals.get_mut(origin) else {
            return;
        };
        for id in std::mem::take(T::kept_mut(external).2) {
            let external = self.externals.get(origin);
            let slot = external.and_then(|external| T::kept(external).0.get(id));
            let Some(key) = slot.map(|slot| T::key(&slot.value())) else {
                continue;
            };
            // Otherwise it goes as the successor's goes into the kernel.
            let in_kernel = |other| self.is_in_kernel::<T>(other);
            let is_told = living(T::own(&self.internal), &key).is_some()
                || self.other_with::<T>(origin, &key).is_some_and(in_kernel);
            let Some(external) = self.externals.get_mut(origin) else {
                return;
            };
            let is_taken = external.is_taken();
            let (cache, handles, _) = T::kept_mut(external);
            if is_taken || !handles.is_orphan(id) {
                continue;
            }
            if is_told {
                cache.remove(id);
            } else {
                self.is_left_to_this_node::<T>(&key);
            }
        }
    }

    /// One claim is no more. Whether the best one left is being taken over.
    fn is_left_to_this_node<T: Claimed>(&mut self, key: &T::Key) -> bool {
        let taken = self.being_taken::<T>(key);
        if let Some((origin, id)) = taken {
            T::is_left_to(self, origin, id);
        }
        taken.is_some()
    }

    /// An origin has something no more. It leaves the kernel unless somebody else has it.
    pub(super) fn remove_injected<T: Claimed>(&mut self, origin: usize, key: &T::Key) {
        let is_own = living(T::own(&self.internal), key).is_some();
        if is_own || self.is_left_to_this_node::<T>(key) {
            return;
        }
        if let Some((other, id)) = self.other_with::<T>(origin, key) {
            // With the better claim it is in the kernel as it was told last.
            let is_older = T::HAS_MORE && self.claim(other) < self.claim(origin);
            if is_older || !self.is_in_kernel::<T>((other, id)) {
                self.mark_waiting::<T>(other, id);
            }
            return;
        }
        if let Some(inject) = &mut self.inject {
            T::take_out(inject, key);
        }
    }
}
