//! Which entry of an external cache stands under which handle of its origin.

use crate::cache::{Cache, Full, Object};

/// No entry, or no handle.
const NONE: u32 = u32::MAX;

/// An entry that this node does not want stands under this handle.
const REFUSED: u32 = u32::MAX - 1;

/// What stood under this handle has run out while its origin was away; it may still have it.
const EXPIRED: u32 = u32::MAX - 2;

/// The handles of one table. An entry without one is an orphan: its origin has started anew and has not said
/// yet whether it still has it.
#[derive(Debug, Default)]
pub(crate) struct Mirror {
    ids: Vec<u32>,
    handles: Vec<u32>,
    refused: usize,
    expired: usize,
}

/// What was under a handle before it was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Was {
    Missing,
    Different,
    Same,
}

impl Mirror {
    /// One more than the highest handle there is anything under.
    pub(crate) fn end(&self) -> u32 {
        self.ids.len() as u32
    }

    /// The entry under a handle: both must name each other.
    pub(crate) fn id(&self, handle: u32) -> Option<u32> {
        let id = self.ids.get(handle as usize).copied();
        id.filter(|&id| id < EXPIRED && self.handles.get(id as usize) == Some(&handle))
    }

    /// Whether there is an entry under this handle that this node does not want.
    pub(crate) fn is_refused(&self, handle: u32) -> bool {
        self.ids.get(handle as usize) == Some(&REFUSED)
    }

    pub(crate) fn refused(&self) -> usize {
        self.refused
    }

    /// Whether what stood under this handle has run out here.
    pub(crate) fn is_expired(&self, handle: u32) -> bool {
        self.expired > 0 && self.ids.get(handle as usize) == Some(&EXPIRED)
    }

    /// Puts an entry under a handle. `is_complete`: the origin has told everything, so that an orphan is one which it
    /// had given up, and claims again now.
    pub(crate) fn tell<T: Object>(
        &mut self,
        cache: &mut Cache<T>,
        handle: u32,
        value: &T::Value,
        is_complete: bool,
        now_s: u32,
    ) -> Result<Was, Full> {
        let found = cache.find(&T::key(value));
        let replaced = match self.id(handle) {
            Some(id) if found != Some(id) => self.vacate(cache, handle),
            _ => false,
        };
        let Some(id) = found else {
            self.set(handle, NONE);
            let id = cache.insert(value, now_s)?;
            self.link(handle, id);
            let was = if replaced {
                Was::Different
            } else {
                Was::Missing
            };
            return Ok(was);
        };
        let was = match cache.get(id) {
            Some(slot) => {
                let marks = T::changes(&slot.value(), value);
                if T::is_another(marks) {
                    cache.replace(id, value, now_s);
                } else {
                    cache.assign(id, value, now_s);
                }
                if T::is_proved(marks) {
                    Was::Different
                } else {
                    Was::Same
                }
            }
            None => Was::Missing,
        };
        let other = self.handles.get(id as usize).copied().unwrap_or(NONE);
        if other != handle && other != NONE {
            self.set(other, NONE);
        }
        let is_new_here = other != handle;
        if other == NONE && is_complete {
            cache.look_again(id);
        }
        self.link(handle, id);
        Ok(if is_new_here && was == Was::Same {
            Was::Missing
        } else {
            was
        })
    }

    /// Notes that the entry under this handle is not wanted.
    pub(crate) fn refuse<T: Object>(&mut self, cache: &mut Cache<T>, handle: u32) {
        self.vacate(cache, handle);
        self.set(handle, REFUSED);
    }

    /// Nothing stands under this handle. Returns whether something did.
    pub(crate) fn vacate<T: Object>(&mut self, cache: &mut Cache<T>, handle: u32) -> bool {
        let id = self.id(handle);
        self.set(handle, NONE);
        let Some(id) = id else {
            return false;
        };
        if let Some(slot) = self.handles.get_mut(id as usize) {
            *slot = NONE;
        }
        let was_there = cache.get(id).is_some();
        cache.remove(id);
        was_there
    }

    /// An entry has run out. Its handle stays taken: only its origin knows whether it was refreshed.
    pub(crate) fn expire<T: Object>(&mut self, cache: &mut Cache<T>, id: u32) {
        let handle = self.handles.get(id as usize).copied();
        match handle.filter(|&handle| self.id(handle) == Some(id)) {
            Some(handle) => {
                self.vacate(cache, handle);
                self.set(handle, EXPIRED);
            }
            None => cache.remove(id),
        }
    }

    /// Nothing stands under this handle, but what did stays as an orphan; its position.
    pub(crate) fn release(&mut self, handle: u32) -> Option<u32> {
        let id = self.id(handle);
        if let Some(slot) = id.and_then(|id| self.handles.get_mut(id as usize)) {
            *slot = NONE;
        }
        self.set(handle, NONE);
        id
    }

    /// The origin has started anew: its handles mean nothing any more.
    pub(crate) fn orphan_all(&mut self) {
        *self = Self::default();
    }

    /// Whether the origin has not told an entry since it started anew.
    pub(crate) fn is_orphan(&self, id: u32) -> bool {
        self.handles
            .get(id as usize)
            .is_none_or(|&handle| handle == NONE)
    }

    /// Takes out up to `step` positions' orphans from `from` on. Returns where to go on.
    pub(crate) fn drop_orphans<T: Object>(
        &self,
        cache: &mut Cache<T>,
        from: u32,
        step: u32,
    ) -> Option<u32> {
        let end = from.saturating_add(step).min(cache.positions());
        for id in from..end {
            let handle = self.handles.get(id as usize).copied().unwrap_or(NONE);
            if handle == NONE && cache.get(id).is_some() {
                cache.remove(id);
            }
        }
        (end < cache.positions()).then_some(end)
    }

    fn link(&mut self, handle: u32, id: u32) {
        self.set(handle, id);
        let index = id as usize;
        if self.handles.len() <= index {
            self.handles.resize(index + 1, NONE);
        }
        if let Some(slot) = self.handles.get_mut(index) {
            *slot = handle;
        }
    }

    fn set(&mut self, handle: u32, id: u32) {
        let index = handle as usize;
        if self.ids.len() <= index {
            if id == NONE {
                return;
            }
            self.ids.resize(index + 1, NONE);
        }
        let Some(slot) = self.ids.get_mut(index) else {
            return;
        };
        let before = std::mem::replace(slot, id);
        self.refused += usize::from(id == REFUSED);
        self.refused -= usize::from(before == REFUSED);
        self.expired += usize::from(id == EXPIRED);
        self.expired -= usize::from(before == EXPIRED);
    }
}
