//! The internal cache: what the own kernel has, as it told by events and dumps.

use flow::{Expectation, Flow};

use crate::cache::{Cache, State};
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
                .map(|slot| Told::Flow(slot.state, slot.value())),
            Entry::Expectation(id) => {
                let slot = self.expectations.get(id)?;
                Some(Told::Expectation(slot.state, slot.value()))
            }
        }
    }

    /// A session refers to this entry from now on.
    pub(crate) fn hold(&mut self, entry: Entry) {
        if let Some((holders, _)) = self.slot(entry) {
            *holders = holders.saturating_add(1);
        }
    }

    /// A session refers to this entry no more. The last one to let go of a dead entry ends it.
    pub(crate) fn release(&mut self, entry: Entry) {
        let Some((holders, state)) = self.slot(entry) else {
            return;
        };
        *holders = holders.saturating_sub(1);
        if *holders == 0 && state == State::Dead {
            self.remove(entry);
        }
    }

    /// Ends a dead entry that no session refers to.
    pub(crate) fn remove_unless_held(&mut self, entry: Entry) {
        if let Some((&mut 0, State::Dead)) = self.slot(entry) {
            self.remove(entry);
        }
    }

    fn remove(&mut self, entry: Entry) {
        match entry {
            Entry::Flow(id) => self.flows.remove(id),
            Entry::Expectation(id) => self.expectations.remove(id),
        }
    }

    fn slot(&mut self, entry: Entry) -> Option<(&mut u8, State)> {
        match entry {
            Entry::Flow(id) => self
                .flows
                .get_mut(id)
                .map(|slot| (&mut slot.holders, slot.state)),
            Entry::Expectation(id) => self
                .expectations
                .get_mut(id)
                .map(|slot| (&mut slot.holders, slot.state)),
        }
    }
}
