//! The internal cache: what the own kernel has, as it told by events and dumps.

use flow::{Expectation, Flow};

use crate::cache::{Cache, Slot, State, Untold};
use crate::packed::PackedFlow;
use crate::queue::Entry;

/// Connections and expectations of the own kernel.
#[derive(Debug)]
pub(crate) struct Internal {
    pub(crate) flows: Cache<PackedFlow>,
    pub(crate) expectations: Cache<Expectation>,
}

/// An entry as a session tells it.
#[derive(Clone, Copy, Debug)]
#[allow(clippy::large_enum_variant)]
pub(crate) enum Told {
    Flow(State, Flow),
    Expectation(State, Expectation),
}

impl Internal {
    pub(crate) fn new(limit: usize, seed: u64) -> Self {
        Self {
            flows: Cache::new(limit, seed),
            expectations: Cache::new(limit, seed.rotate_left(17)),
        }
    }

    /// What a message about this entry would say now.
    pub(crate) fn tell(&self, entry: Entry) -> Option<Told> {
        match entry {
            Entry::Flow(id) => self
                .flows
                .get(id)
                .map(|slot| Told::Flow(slot.told_state(), slot.value())),
            Entry::Expectation(id) => {
                let slot = self.expectations.get(id)?;
                Some(Told::Expectation(slot.told_state(), slot.value()))
            }
        }
    }

    /// A session refers to this entry from now on.
    pub(crate) fn hold(&mut self, entry: Entry) {
        if let Some(slot) = self.slot(entry) {
            *slot.holders = slot.holders.saturating_add(1);
        }
    }

    /// A session refers to this entry no more. The last one to let go of a dead entry ends it.
    pub(crate) fn release(&mut self, entry: Entry) {
        let Some(slot) = self.slot(entry) else {
            return;
        };
        *slot.holders = slot.holders.saturating_sub(1);
        if *slot.holders == 0 && slot.state == State::Dead {
            self.remove(entry);
        }
    }

    /// This entry was sent, and will be again if the peer does not acknowledge it.
    pub(crate) fn sent(&mut self, entry: Entry) {
        if let Some(slot) = self.slot(entry)
            && *slot.untold == Untold::UntilSent
        {
            *slot.untold = Untold::No;
        }
    }

    /// A session refers to this entry no more because the peer has been told of it. What a reading has found since
    /// it was sent is still to be told.
    pub(crate) fn told(&mut self, entry: Entry) {
        if let Some(slot) = self.slot(entry)
            && *slot.holders <= 1
            && *slot.untold != Untold::UntilSent
        {
            *slot.untold = Untold::No;
        }
        self.release(entry);
    }

    /// Ends a dead entry that no session refers to.
    pub(crate) fn remove_unless_held(&mut self, entry: Entry) {
        let ended = |slot: Notes<'_>| *slot.holders == 0 && slot.state == State::Dead;
        if self.slot(entry).is_some_and(ended) {
            self.remove(entry);
        }
    }

    fn remove(&mut self, entry: Entry) {
        match entry {
            Entry::Flow(id) => self.flows.remove(id),
            Entry::Expectation(id) => self.expectations.remove(id),
        }
    }

    fn slot(&mut self, entry: Entry) -> Option<Notes<'_>> {
        match entry {
            Entry::Flow(id) => self.flows.get_mut(id).map(Notes::of),
            Entry::Expectation(id) => self.expectations.get_mut(id).map(Notes::of),
        }
    }
}

/// What is noted about an entry of either kind.
struct Notes<'a> {
    holders: &'a mut u8,
    untold: &'a mut Untold,
    state: State,
}

impl<'a> Notes<'a> {
    fn of<T>(slot: &'a mut Slot<T>) -> Self {
        Self {
            holders: &mut slot.holders,
            untold: &mut slot.untold,
            state: slot.state,
        }
    }
}
