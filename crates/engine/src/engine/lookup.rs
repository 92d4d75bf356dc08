//! Entries that are asked for one by one: those a reading has not shown, and those no event has told of.

use flow::Flow;

use super::Engine;
use super::events::strip;
use super::reading::differs;
use crate::cache::{Slot, State};
use crate::kernel::dump::{Job, Purpose, Table};
use crate::kernel::recheck;
use crate::kernel::verify::Doubt;
use crate::notice::Notice;
use crate::packed::PackedFlow;
use crate::queue::Entry;

impl Engine {
    /// An entry that was asked for by itself, as it is now.
    pub(super) fn looked_up(&mut self, mut flow: Flow) {
        if !self.settings.filter.accepts(&flow) {
            return;
        }
        strip(&mut flow);
        let now_s = self.now_s();
        let Some(id) = self.internal.flows.find(&flow.key()) else {
            return;
        };
        let stored = self.internal.flows.get(id);
        let Some(slot) = stored.filter(|slot| slot.state != State::Dead) else {
            return;
        };
        let (told, is_heard) = (slot.value(), slot.is_heard);
        // If it is another connection by now, its own events are on their way.
        if told.id != flow.id {
            return;
        }
        // Of what events tell of, only what they leave out is wanted.
        if is_heard && self.dump.is_idle() {
            flow = Flow {
                seq_adj_orig: flow.seq_adj_orig,
                seq_adj_reply: flow.seq_adj_reply,
                ..told
            };
        }
        if differs(&flow, &told) {
            self.internal.flows.correct(id, &flow, now_s);
            match is_heard {
                true if self.dump.is_idle() => {}
                true => self.dump.changed += 1,
                false => self.recheck.changed(),
            }
            self.announce(Entry::Flow(id));
        } else if !is_heard {
            self.internal.flows.set(id, &flow, now_s);
        }
    }

    /// The kernel's verdict on a lookup.
    pub(super) fn verified(&mut self, seq: u32, errno: i32) {
        let mut gone = Vec::new();
        self.verify
            .verdict(seq, errno, |key, doubt| gone.push((*key, doubt)));
        for (key, doubt) in gone {
            let Some(id) = self.internal.flows.find(&key) else {
                continue;
            };
            let living = self.internal.flows.get(id);
            let Some(slot) = living.filter(|slot| slot.state != State::Dead) else {
                continue;
            };
            match doubt {
                Doubt::Unseen if slot.seen != self.dump.epoch => self.dump.gone += 1,
                Doubt::Unheard if !slot.is_heard => self.recheck.gone(),
                _ => continue,
            }
            self.end_flow(id, true);
        }
    }

    /// Goes on with the round through entries that no event has told of.
    pub(super) fn recheck(&mut self) {
        let Some(from) = self.recheck.step(self.now) else {
            return;
        };
        // Readings ask for what they need first.
        if !self.verify.is_idle() || !self.dump.is_idle() {
            self.recheck.go_on(self.now, from);
            return;
        }
        let mut position = from;
        for _ in 0..recheck::POSITIONS {
            let Some(id) = self.internal.flows.next_from(position) else {
                self.finish_recheck();
                return;
            };
            if self.verify.waiting() >= recheck::LOOKUPS {
                break;
            }
            position = id + 1;
            if let Some(slot) = self.internal.flows.get(id)
                && !slot.is_heard
                && slot.state != State::Dead
            {
                self.recheck.found();
                self.verify.ask(slot.value().key(), Doubt::Unheard);
            }
        }
        self.recheck.go_on(self.now, position);
    }

    /// Expectations are few: if no event has told of one, all are read.
    fn finish_recheck(&mut self) {
        let mut from = 0;
        while let Some(id) = self.internal.expectations.next_from(from) {
            from = id + 1;
            if let Some(slot) = self.internal.expectations.get(id)
                && !slot.is_heard
                && slot.state != State::Dead
            {
                self.recheck.found();
                self.dump.add(Job {
                    table: Table::Expectations,
                    purpose: Purpose::Reconcile,
                    client: None,
                });
                break;
            }
        }
        if let Some((changed, gone)) = self.recheck.finish(self.now) {
            self.stats.unheard.changed += changed;
            self.stats.unheard.gone += gone;
            self.notices.push_back(Notice::Rechecked { changed, gone });
        }
    }

    /// Injected entries are the peer's: the internal cache has no business with those that only a reading has
    /// shown.
    pub(super) fn give_up_claimed(&mut self) {
        while let Some(key) = self.inject.as_mut().and_then(|i| i.injected.claimed()) {
            let Some(id) = self.internal.flows.find(&key) else {
                continue;
            };
            let unheard = |slot: &Slot<PackedFlow>| !slot.is_heard;
            if self.internal.flows.get(id).is_some_and(unheard) {
                self.end_flow(id, false);
            }
        }
    }

    /// Whether an entry that a reading shows was injected.
    pub(super) fn is_injected(&mut self, key: &flow::Key) -> bool {
        if self.is_standing_by(key) {
            return true;
        }
        let epoch = self.dump.epoch;
        let inject = self.inject.as_mut();
        inject.is_some_and(|inject| inject.injected.saw(key, epoch))
    }
}
