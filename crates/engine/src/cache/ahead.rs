//! Looking ahead: what is about to be handled is fetched into the processor's cache all at once.
//!
//! In a large table an entry lies in memory that was not touched for long. Waiting for each of them in turn costs more
//! than everything else that is done with it; memory answers many questions in the time of one.

use std::hint::black_box;

use super::{Cache, Object, Place};

/// Entries fetched at once: what they take fits into the nearest cache.
const AT_ONCE: usize = 160;

/// Room for what is looked for, reused.
#[derive(Debug, Default)]
pub(crate) struct Ahead {
    hashes: Vec<u32>,
    ids: Vec<u32>,
}

impl<T: Object> Cache<T> {
    /// Fetches the entries with these keys, as far as there are any. Changes nothing.
    ///
    /// One step at a time for all of them: what the steps of one key wait for is fetched for the others meanwhile.
    pub(crate) fn fetch(&self, keys: impl Iterator<Item = T::Key>, ahead: &mut Ahead) {
        ahead.hashes.clear();
        ahead.ids.clear();
        ahead
            .hashes
            .extend(keys.take(AT_ONCE).map(|key| self.hash(&key)));
        let place = |hash: &u32| {
            self.index
                .find(Place::spread(*hash), |place| place.hash == *hash)
        };
        let ids = ahead.hashes.iter().filter_map(place).map(|place| place.id);
        ahead.ids.extend(ids);
        self.touch(ahead.ids.iter());
    }

    /// Fetches the entries at these positions, and the places in the index of those that are to be removed (`true`).
    /// Changes nothing.
    pub(crate) fn fetch_at(&self, ids: &[(u32, bool)]) {
        self.touch(ids.iter().map(|(id, _)| id));
        for (id, _) in ids.iter().filter(|(_, is_removed)| *is_removed) {
            if let Some(slot) = self.slots.get(*id as usize) {
                let hash = self.hash(&slot.object.stored_key());
                black_box(
                    self.index
                        .find(Place::spread(hash), |place| place.id == *id),
                );
            }
        }
    }

    fn touch<'a>(&self, ids: impl Iterator<Item = &'a u32>) {
        for id in ids {
            if let Some(slot) = self.slots.get(*id as usize) {
                black_box((slot.created_s, slot.object.touch()));
            }
        }
    }
}
