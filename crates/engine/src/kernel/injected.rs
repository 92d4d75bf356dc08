//! Which entries of the own kernel are the peer's: those that were injected.
//!
//! A reading of the table does not tell who made an entry. Without this a reading on the standby would take
//! the peer's entries for its own and tell them back to it.

use flow::Key;
use foldhash::fast::FixedState;
use hashbrown::HashMap;

/// The keys of injected entries, while traffic passes at the peer.
#[derive(Debug)]
pub(crate) struct Injected {
    /// With the reading that saw each of them last.
    keys: HashMap<Key, u16, FixedState>,
    limit: usize,
    /// Traffic passes here: what is in the kernel is this node's.
    is_off: bool,
    /// Keys added since they were taken.
    claimed: Vec<Key>,
}

impl Injected {
    pub(crate) fn new(limit: usize, seed: u64) -> Self {
        Self {
            keys: HashMap::with_hasher(FixedState::with_seed(seed)),
            limit,
            is_off: false,
            claimed: Vec::new(),
        }
    }

    /// Whether traffic passes here. From then on nothing in the kernel counts as the peer's.
    pub(crate) fn set_primary(&mut self, primary: bool) {
        if primary && !self.is_off {
            self.keys = HashMap::with_hasher(self.keys.hasher().clone());
            self.claimed.clear();
        }
        self.is_off = primary;
    }

    /// An entry is being injected. Beyond the limit entries count as this node's, as if traffic passed here.
    pub(crate) fn add(&mut self, key: Key, epoch: u16) {
        if self.is_off {
            return;
        }
        if let Some(seen) = self.keys.get_mut(&key) {
            *seen = epoch;
        } else if self.keys.len() < self.limit {
            self.keys.insert(key, epoch);
            self.claimed.push(key);
        }
    }

    /// An entry has gone, or traffic of it passes here.
    pub(crate) fn remove(&mut self, key: &Key) {
        self.keys.remove(key);
    }

    /// Whether an entry that a reading shows is the peer's.
    pub(crate) fn saw(&mut self, key: &Key, epoch: u16) -> bool {
        let known = self.keys.get_mut(key);
        known.map(|seen| *seen = epoch).is_some()
    }

    pub(crate) fn contains(&self, key: &Key) -> bool {
        self.keys.contains_key(key)
    }

    /// A reading has ended: what it has not seen has gone.
    pub(crate) fn keep_seen(&mut self, epoch: u16) {
        self.keys.retain(|_, seen| *seen == epoch);
    }

    /// Keys that were added and not taken yet, one by one.
    pub(crate) fn claimed(&mut self) -> Option<Key> {
        self.claimed.pop()
    }

    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }
}
