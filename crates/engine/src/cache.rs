//! A cache: entries in a slab, found through a hash table of their positions.
//!
//! A position stays the same for the whole life of an entry, so that queues and timers refer to it. The
//! number of entries is bounded; adding to a full cache fails and evicts nobody.

mod ahead;
mod expectation;

use std::hash::{BuildHasher, Hash};

use flow::{Flow, Key, ProtoInfo};
use foldhash::fast::FixedState;
use hashbrown::HashTable;
use native::Fields;
use native::message::Usual;
use slab::Slab;

use crate::journal::{Journal, Marks};
use crate::packed::PackedFlow;
use crate::snapshot::CacheStats;

pub(crate) use ahead::Ahead;

/// Something a cache can hold.
pub(crate) trait Object {
    /// What comes in and goes out.
    type Value: Copy + PartialEq;
    /// What identifies it.
    type Key: Copy + Eq + Hash;

    fn key(value: &Self::Value) -> Self::Key;
    fn stored_key(&self) -> Self::Key;
    fn has_key(&self, key: &Self::Key) -> bool;
    fn pack(value: &Self::Value) -> Self;
    fn unpack(&self) -> Self::Value;
    /// Takes over what `update` tells and keeps the rest.
    fn merge(value: &mut Self::Value, update: &Self::Value);
    /// The same in place, where that is possible. Returns whether it was.
    fn merge_packed(&mut self, _update: &Self::Value) -> bool {
        false
    }
    fn has_master(&self) -> bool;
    /// What a native peer that knows `old` must be told of `new`.
    fn changes(old: &Self::Value, new: &Self::Value) -> Marks;
    /// Whether a kernel cannot make the one of the other by changing it.
    fn is_another(changes: Marks) -> bool;
    /// Whether any of it is part of what is proved.
    fn is_proved(changes: Marks) -> bool {
        !changes.is_none() && changes != Marks::fields(Fields::TIMEOUT)
    }
    fn timeout_s(value: &mut Self::Value) -> &mut Option<u32>;
    /// Reads a little of everything, so that all of it is at hand.
    fn touch(&self) -> u32;
}

impl Object for PackedFlow {
    type Value = Flow;
    type Key = Key;

    fn key(value: &Flow) -> Key {
        value.key()
    }

    fn stored_key(&self) -> Key {
        Key {
            tuple: *self.orig(),
            zone: self.zone(),
        }
    }

    fn has_key(&self, key: &Key) -> bool {
        self.zone() == key.zone && *self.orig() == key.tuple
    }

    fn pack(value: &Flow) -> Self {
        Self::pack(value)
    }

    fn unpack(&self) -> Flow {
        self.unpack()
    }

    fn merge(value: &mut Flow, update: &Flow) {
        value.merge(update);
        // Every message of a peer tells the whole translation; what it lacks is not translated (any
        // more: the key may belong to another connection by now). Kernels tell it by the reply.
        if update.reply.is_none() {
            value.nat = update.nat;
        }
    }

    fn merge_packed(&mut self, update: &Flow) -> bool {
        self.merge(update)
    }

    fn has_master(&self) -> bool {
        self.has_master()
    }

    fn changes(old: &Flow, new: &Flow) -> Marks {
        let changed = Fields::changed(old, new);
        // Flags are not kept: they would be news every time that a kernel tells them.
        let scales = |flow: &Flow| match flow.proto {
            ProtoInfo::Tcp(tcp) => Some((tcp.wscale_orig, tcp.wscale_reply)),
            _ => None,
        };
        if scales(old).is_some() && scales(old) == scales(new) {
            return Marks::fields(changed.without(Fields::TCP_OPTIONS));
        }
        Marks::fields(changed)
    }

    fn is_another(changes: Marks) -> bool {
        let fixed = Fields::REPLY | Fields::MASTER | Fields::NAT;
        changes.as_fields().intersects(fixed)
    }

    fn timeout_s(value: &mut Flow) -> &mut Option<u32> {
        &mut value.timeout_s
    }

    fn touch(&self) -> u32 {
        self.touch()
    }
}

/// Where an entry stands between its creation and the last word about its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Added, never updated.
    New,
    /// Updated since.
    Alive,
    /// Ended; kept until every session has told it.
    Dead,
}

/// How long the peer has to be told of an entry as of a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Untold {
    /// It has been told.
    No,
    /// Until it has been sent once.
    UntilSent,
    /// It took the place of another with the same key: until the peer has forgotten that one.
    UntilAcknowledged,
}

/// An entry and what the cache notes about it.
#[derive(Clone, Debug)]
pub(crate) struct Slot<T> {
    object: T,
    /// Seconds since the core started.
    pub(crate) created_s: u32,
    /// Seconds since the core started.
    pub(crate) updated_s: u32,
    /// The reading of the kernel's table that saw it last.
    pub(crate) seen: u16,
    pub(crate) state: State,
    /// Sessions that refer to it.
    pub(crate) holders: u8,
    /// Whether the peer has to hear of it as a new entry, whatever happened to it since.
    pub(crate) untold: Untold,
    /// Whether an event has told of it. An entry that only readings have shown may be one of those that
    /// never raise any.
    pub(crate) is_heard: bool,
}

impl<T: Object> Slot<T> {
    pub(crate) fn value(&self) -> T::Value {
        self.object.unpack()
    }

    /// As it is kept.
    pub(crate) fn object(&self) -> &T {
        &self.object
    }

    pub(crate) fn has_master(&self) -> bool {
        self.object.has_master()
    }

    /// The state as the peer has to know it.
    ///
    /// The peer merges an update into what it has. When it hears of an entry for the first time it
    /// must forget what it has, whatever happened to the entry since.
    pub(crate) fn told_state(&self) -> State {
        if self.untold != Untold::No && self.state == State::Alive {
            State::New
        } else {
            self.state
        }
    }
}

/// The cache is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

/// An entry in the index: half of its hash, and where it lies.
///
/// The hash stands here so that the index can grow without looking at a single entry: growing must not
/// take so long that events pile up.
#[derive(Clone, Copy, Debug)]
struct Place {
    hash: u32,
    id: u32,
}

impl Place {
    /// The bits of the hash spread over the width that the index wants.
    fn spread(hash: u32) -> u64 {
        u64::from(hash).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
}

/// The entries of one node and kind.
#[derive(Debug)]
pub(crate) struct Cache<T: Object> {
    index: HashTable<Place>,
    slots: Slab<Slot<T>>,
    hasher: FixedState,
    limit: usize,
    dead: usize,
    /// One more than the highest position ever used since the last flush.
    positions: u32,
    stats: CacheStats,
    /// Who follows this cache reads it here.
    pub(crate) journal: Option<Journal<T::Key>>,
}

impl Cache<PackedFlow> {
    /// As [`Cache::assign`], of what is but usual. Returns whether it is done: not where anything is rare, or somebody follows.
    pub(crate) fn adjust(&mut self, id: u32, changes: &Usual, now_s: u32) -> bool {
        if let Some(slot) = self.slots.get_mut(id as usize)
            && self.journal.is_none()
            && slot.object.adjust(changes)
        {
            (slot.updated_s, slot.state) = (now_s, State::Alive);
            self.stats.updated += 1;
            return true;
        }
        false
    }
}

impl<T: Object> Cache<T> {
    pub(crate) fn new(limit: usize, seed: u64) -> Self {
        Self {
            index: HashTable::new(),
            slots: Slab::new(),
            hasher: FixedState::with_seed(seed),
            limit: limit.min(u32::MAX as usize - 1),
            dead: 0,
            positions: 0,
            stats: CacheStats::default(),
            journal: None,
        }
    }

    pub(crate) fn find(&self, key: &T::Key) -> Option<u32> {
        let hash = self.hash(key);
        let same = |place: &Place| {
            place.hash == hash
                && self
                    .slots
                    .get(place.id as usize)
                    .is_some_and(|s| s.object.has_key(key))
        };
        self.index
            .find(Place::spread(hash), same)
            .map(|place| place.id)
    }

    fn hash(&self, key: &T::Key) -> u32 {
        (self.hasher.hash_one(key) >> 32) as u32
    }

    pub(crate) fn get(&self, id: u32) -> Option<&Slot<T>> {
        self.slots.get(id as usize)
    }

    pub(crate) fn get_mut(&mut self, id: u32) -> Option<&mut Slot<T>> {
        self.slots.get_mut(id as usize)
    }

    /// The first occupied position from `from` on.
    pub(crate) fn next_from(&self, from: u32) -> Option<u32> {
        (from..self.positions).find(|&id| self.slots.contains(id as usize))
    }

    /// Adds an entry whose key is not there.
    pub(crate) fn insert(&mut self, value: &T::Value, now_s: u32) -> Result<u32, Full> {
        if self.slots.len() >= self.limit {
            self.stats.create_failed += 1;
            self.stats.no_space += 1;
            return Err(Full);
        }
        let hash = self.hash(&T::key(value));
        let slot = Slot {
            object: T::pack(value),
            created_s: now_s,
            updated_s: now_s,
            seen: 0,
            state: State::New,
            holders: 0,
            untold: Untold::UntilSent,
            is_heard: false,
        };
        // The limit keeps positions within 32 bits.
        let id = self.slots.insert(slot) as u32;
        self.positions = self.positions.max(id + 1);
        let place = Place { hash, id };
        self.index
            .insert_unique(Place::spread(hash), place, |place| {
                Place::spread(place.hash)
            });
        self.stats.created += 1;
        self.note(id, Marks::WHOLE);
        Ok(id)
    }

    /// So many are about to be added. Where next to none are there, room is made for all of them at once: to grow later
    /// means to move everything, which takes longer than events should wait.
    pub(crate) fn expect(&mut self, count: usize) {
        let count = count.min(self.limit);
        if self.slots.len() < count / 16 {
            self.slots.reserve(count);
            self.index.reserve(count, |place| Place::spread(place.hash));
        }
    }

    /// Puts a fresh entry in the place of the one with the same key.
    pub(crate) fn replace(&mut self, id: u32, value: &T::Value, now_s: u32) {
        let Some(slot) = self.slots.get_mut(id as usize) else {
            return;
        };
        if slot.state == State::Dead {
            self.dead -= 1;
        } else {
            self.stats.destroyed += 1;
        }
        self.stats.created += 1;
        slot.object = T::pack(value);
        (slot.created_s, slot.updated_s, slot.state) = (now_s, now_s, State::New);
        slot.untold = Untold::UntilAcknowledged;
        slot.is_heard = false;
        self.note(id, Marks::WHOLE);
    }

    /// Has the followers look at an entry as if it were new.
    pub(crate) fn look_again(&mut self, id: u32) {
        self.note(id, Marks::WHOLE);
    }

    fn note(&mut self, id: u32, marks: Marks) {
        if let Some(journal) = &mut self.journal {
            journal.change(id, marks);
        }
    }

    /// Takes over what `update` tells. The entry must not be dead.
    pub(crate) fn update(&mut self, id: u32, update: &T::Value, now_s: u32) {
        let Some(slot) = self.slots.get_mut(id as usize) else {
            return;
        };
        (slot.updated_s, slot.state) = (now_s, State::Alive);
        self.stats.updated += 1;
        if self.journal.is_none() && slot.object.merge_packed(update) {
            return;
        }
        let mut value = slot.object.unpack();
        let old = self.journal.is_some().then_some(value);
        T::merge(&mut value, update);
        slot.object = T::pack(&value);
        if let (Some(journal), Some(old)) = (&mut self.journal, old) {
            journal.change(id, T::changes(&old, &value));
        }
    }

    /// Takes over a value that tells everything. The entry must not be dead.
    pub(crate) fn assign(&mut self, id: u32, value: &T::Value, now_s: u32) {
        self.correct(id, value, now_s);
        self.stats.updated += 1;
    }

    /// Takes over what a look at a single entry showed. Only what events and readings tell is counted.
    pub(crate) fn correct(&mut self, id: u32, value: &T::Value, now_s: u32) {
        let Some(slot) = self.slots.get_mut(id as usize) else {
            return;
        };
        note_proved(&mut self.journal, id, &slot.object, value);
        slot.object = T::pack(value);
        (slot.updated_s, slot.state) = (now_s, State::Alive);
    }

    /// Stores another value under the same key, without a word to a peer of version 1.
    pub(crate) fn set(&mut self, id: u32, value: &T::Value, now_s: u32) {
        let Some(slot) = self.slots.get_mut(id as usize) else {
            return;
        };
        note_proved(&mut self.journal, id, &slot.object, value);
        slot.object = T::pack(value);
        slot.updated_s = now_s;
    }

    /// Notes the end of an entry, which stays until [`Cache::remove`].
    pub(crate) fn kill(&mut self, id: u32) {
        let Some(slot) = self.slots.get_mut(id as usize) else {
            return;
        };
        if slot.state != State::Dead {
            slot.state = State::Dead;
            self.dead += 1;
            self.stats.destroyed += 1;
            self.note(id, Marks::WHOLE);
        }
    }

    /// Takes an entry out.
    pub(crate) fn remove(&mut self, id: u32) {
        let Some(slot) = self.slots.try_remove(id as usize) else {
            return;
        };
        if slot.state == State::Dead {
            self.dead -= 1;
        } else {
            self.stats.destroyed += 1;
        }
        let key = slot.object.stored_key();
        if let Some(journal) = &mut self.journal {
            journal.remove(id, key);
        }
        let hash = Place::spread(self.hash(&key));
        if let Ok(entry) = self.index.find_entry(hash, |place| place.id == id) {
            entry.remove();
        }
    }

    /// Takes everything out and gives the memory back.
    pub(crate) fn clear(&mut self) {
        self.stats.destroyed += (self.slots.len() - self.dead) as u64;
        self.slots = Slab::new();
        self.index = HashTable::new();
        (self.dead, self.positions) = (0, 0);
        if let Some(journal) = &mut self.journal {
            journal.clear();
        }
    }

    /// One more than the highest position in use.
    pub(crate) fn positions(&self) -> u32 {
        self.positions
    }

    /// Changes or removes an entry without a word to anybody.
    #[cfg(feature = "damage")]
    pub(crate) fn damage(&mut self, id: u32, value: Option<&T::Value>) {
        let journal = self.journal.take();
        match (value, self.slots.get_mut(id as usize)) {
            (Some(value), Some(slot)) => slot.object = T::pack(value),
            _ => self.remove(id),
        }
        self.journal = journal;
    }

    pub(crate) fn stats(&self) -> CacheStats {
        let total = self.slots.len() as u64;
        CacheStats {
            active: total - self.dead as u64,
            total,
            objects: total,
            ..self.stats
        }
    }

    /// Whether counts and index agree; cheap enough for every call of a debug build.
    pub(crate) fn is_consistent(&self) -> bool {
        self.index.len() == self.slots.len()
            && self.dead <= self.slots.len()
            && self.slots.len() <= self.limit
    }
}

/// Notes what a look at an entry has shown. A running timeout by itself is no news.
fn note_proved<T: Object>(journal: &mut Option<Journal<T::Key>>, id: u32, old: &T, new: &T::Value) {
    if let Some(journal) = journal {
        let marks = T::changes(&old.unpack(), new);
        if T::is_proved(marks) {
            journal.change(id, marks);
        }
    }
}

#[cfg(test)]
mod tests;
