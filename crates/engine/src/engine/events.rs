//! What the own kernel tells: events, as they come.

use std::time::{Duration, Instant};

use ctnetlink::{Event, EventKind, messages, parse};
use flow::{Expectation, Flow, Key, ProtoInfo};
use syncwire::Change;

use super::Engine;
use crate::api::{ExpectationSync, Mode};
use crate::cache::{Slot, State};
use crate::internal::Told;
use crate::kernel::verify::Doubt;
use crate::packed::PackedFlow;
use crate::queue::Entry;

/// After an overrun the table is read this much later at the earliest: others may follow it at once.
const OVERRUN_PAUSE: Duration = Duration::from_secs(1);

/// Reading the table takes no more than one part in so many of the time, however often the buffer overruns.
const READING_SHARE: u32 = 10;

/// Lookups of connections with expectations that may wait.
const ADJUSTED_MAX: usize = 1024;

/// Whose doing an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// The kernel's, or another program's.
    Others,
    /// Ours: a commit or a flush. The cache follows, the peer is not told.
    Own,
    /// Ours: an injection of what the peer told. Nothing follows.
    Injected,
}

impl Engine {
    /// Takes a datagram of the event socket.
    pub fn handle_events(&mut self, now: Instant, datagram: &[u8]) {
        self.now = now;
        for message in messages(datagram) {
            let Ok(message) = message else {
                self.stats.malformed += 1;
                break;
            };
            let origin = self.origin(message.header.port_id);
            match parse::event(&message) {
                Ok(Some(Event::Flow(kind, mut flow))) => self.flow_event(kind, origin, &mut flow),
                Ok(Some(Event::Expectation(kind, expectation))) => {
                    self.expectation_event(kind, origin, &expectation);
                }
                Ok(None) => {}
                Err(_) => self.stats.malformed += 1,
            }
        }
        debug_assert!(self.check_invariants());
    }

    /// Prepares for datagrams of the event socket that are handled next: what they tell of is fetched from memory at
    /// once. Changes nothing else.
    pub fn expect_events<'a>(&mut self, datagrams: impl Iterator<Item = &'a [u8]>) {
        let keys = datagrams.flat_map(keys_of);
        self.internal.flows.fetch(keys, &mut self.ahead);
    }

    /// The kernel dropped events: the receive buffer was full.
    pub fn handle_overrun(&mut self, now: Instant) {
        self.now = now;
        self.stats.overruns += 1;
        // The end of what waits may be among what was lost; the reading finds what lives.
        self.early.clear();
        // An overrun that follows does not put off the reading that is due.
        if self.overrun_at.is_none() && self.has_internal_cache() {
            let soon = OVERRUN_PAUSE.max(self.reading_took * READING_SHARE);
            let latest = self.settings.overrun_resync;
            self.overrun_at = latest.map(|latest| now + latest.min(soon));
        }
        debug_assert!(self.check_invariants());
    }

    fn origin(&self, port_id: u32) -> Origin {
        let origins = &self.start.origins;
        match port_id {
            0 => Origin::Others,
            id if id == origins.inject => Origin::Injected,
            id if id == origins.commit || id == origins.flush => Origin::Own,
            _ => Origin::Others,
        }
    }

    fn flow_event(&mut self, kind: EventKind, origin: Origin, flow: &mut Flow) {
        self.stats.events += 1;
        if let Some(inject) = self.inject.as_mut().filter(|_| origin != Origin::Injected) {
            // Traffic passes here, or it has gone: it is the peer's no more.
            inject.injected.remove(&flow.key());
        }
        if kind == EventKind::Destroy && origin != Origin::Injected {
            self.injected_gone(&flow.key());
        }
        if !self.passes(kind, flow) {
            self.stats.filtered += 1;
            return;
        }
        if origin == Origin::Injected {
            if kind == EventKind::Destroy {
                self.injected_ended(flow);
            }
            return;
        }
        if !self.has_internal_cache() {
            if kind == EventKind::Destroy {
                self.count_traffic(flow);
            }
            if origin == Origin::Others {
                self.pass_on_flow(kind, flow);
            }
            return;
        }
        let counters = (flow.counters_orig, flow.counters_reply);
        strip(flow);
        match kind {
            EventKind::New => self.flow_new(origin, flow),
            EventKind::Update => self.flow_updated(origin, flow),
            EventKind::Destroy => {
                (flow.counters_orig, flow.counters_reply) = counters;
                self.flow_ended(origin, flow);
            }
        }
    }

    fn passes(&self, kind: EventKind, flow: &Flow) -> bool {
        if self.settings.filter.is_empty() {
            return true;
        }
        if kind != EventKind::Destroy || self.settings.filter.tcp_states.is_none() {
            return self.settings.filter.accepts(flow);
        }
        // The end of an entry is told whatever state it is in, or the peer would keep it for ever.
        let stateless = Flow {
            proto: ProtoInfo::None,
            ..*flow
        };
        self.settings.filter.accepts(&stateless)
    }

    fn flow_new(&mut self, origin: Origin, flow: &Flow) {
        let now_s = self.now_s();
        let id = match self.internal.flows.find(&flow.key()) {
            Some(id) => {
                self.internal.flows.replace(id, flow, now_s);
                id
            }
            None => match self.internal.flows.insert(flow, now_s) {
                Ok(id) => id,
                Err(_) => return,
            },
        };
        self.touched_flow(id, origin);
        while let Some(expectation) = self.early.of(&flow.key()) {
            self.put_expectation(&expectation, true, origin == Origin::Others);
        }
    }

    fn flow_updated(&mut self, origin: Origin, flow: &Flow) {
        let now_s = self.now_s();
        let known = self.internal.flows.find(&flow.key());
        // An event of another connection with the same key: that of its beginning was lost.
        let same = |other: Option<u32>| other.is_none() || flow.id.is_none() || other == flow.id;
        let alive = known.filter(|&id| {
            self.internal
                .flows
                .get(id)
                .is_some_and(|slot| slot.state != State::Dead && same(slot.object().id()))
        });
        match alive {
            Some(id) => {
                self.internal.flows.update(id, flow, now_s);
                self.touched_flow(id, origin);
            }
            None => self.flow_new(origin, flow),
        }
    }

    fn flow_ended(&mut self, origin: Origin, flow: &Flow) {
        self.dump.ended(flow);
        let Some(id) = self.internal.flows.find(&flow.key()) else {
            return;
        };
        let Some(slot) = self.internal.flows.get(id) else {
            return;
        };
        if slot.state == State::Dead {
            return;
        }
        self.count_traffic(flow);
        if self.settings.mode == Mode::Statistics {
            self.ended.push_back(*flow);
        }
        self.end_flow(id, origin == Origin::Others);
    }

    /// Adds what an entry that has ended has carried.
    fn count_traffic(&mut self, flow: &Flow) {
        for counters in [flow.counters_orig, flow.counters_reply]
            .into_iter()
            .flatten()
        {
            self.stats.traffic_bytes += counters.bytes;
            self.stats.traffic_packets += counters.packets;
        }
    }

    /// What the peer told was taken out of the kernel. A reading may have shown it before, and its key been
    /// forgotten meanwhile.
    fn injected_ended(&mut self, flow: &Flow) {
        self.dump.ended(flow);
        let Some(id) = self.internal.flows.find(&flow.key()) else {
            return;
        };
        let shown = |slot: &Slot<PackedFlow>| {
            !slot.is_heard && slot.state != State::Dead && slot.object().id() == flow.id
        };
        if self.internal.flows.get(id).is_some_and(shown) {
            self.end_flow(id, true);
        }
    }

    /// Ends an entry of the internal cache, told or untold.
    pub(super) fn end_flow(&mut self, id: u32, told: bool) {
        if let Some(refresh) = &mut self.refresh {
            refresh.flows.clear(id);
        }
        self.internal.flows.kill(id);
        let entry = Entry::Flow(id);
        for session in &mut self.sessions {
            if told {
                session.announce(&mut self.internal, entry);
            } else {
                session.forget(&mut self.internal, entry);
            }
        }
        self.internal.remove_unless_held(entry);
    }

    /// An entry is new or has changed.
    fn touched_flow(&mut self, id: u32, origin: Origin) {
        if let Some(slot) = self.internal.flows.get_mut(id) {
            slot.seen = self.dump.epoch;
            slot.is_heard = true;
        }
        self.schedule_refresh(Entry::Flow(id));
        // A bulk may have passed the place of what a commit adds.
        if origin == Origin::Others || self.is_bulk_running() {
            self.announce(Entry::Flow(id));
        }
    }

    /// Has every session tell an entry.
    pub(super) fn announce(&mut self, entry: Entry) {
        for session in &mut self.sessions {
            session.announce(&mut self.internal, entry);
        }
    }

    /// Without an internal cache an event becomes a message at once.
    fn pass_on_flow(&mut self, kind: EventKind, flow: &Flow) {
        let (counter, change) = match kind {
            EventKind::New => (&mut self.bypass.new, Change::New),
            EventKind::Update => (&mut self.bypass.updated, Change::Update),
            EventKind::Destroy => (&mut self.bypass.destroyed, Change::Delete),
        };
        *counter += 1;
        let state = state_of(change);
        for session in &mut self.sessions {
            session.pass_on(Told::Flow(state, *flow));
        }
    }

    fn expectation_event(&mut self, kind: EventKind, origin: Origin, expectation: &Expectation) {
        self.stats.events += 1;
        if origin == Origin::Injected || !self.is_replicated(expectation) {
            return;
        }
        if kind == EventKind::Destroy {
            self.injected_expectation_gone(expectation);
        }
        if !self.has_internal_cache() {
            if origin == Origin::Others {
                self.pass_on_expectation(kind, expectation);
            }
            return;
        }
        let known = self
            .internal
            .expectations
            .find(&crate::cache::Object::stored_key(expectation));
        if kind == EventKind::Destroy {
            self.early.forget(expectation);
        }
        match (kind, known) {
            (EventKind::Destroy, Some(id)) => self.end_expectation(id, origin == Origin::Others),
            (EventKind::Destroy, None) => {}
            // An expectation without its master is of no use to the peer.
            _ if self
                .internal
                .flows
                .find(&expectation.master_key())
                .is_none() =>
            {
                self.early.keep(*expectation, self.now);
            }
            _ => {
                self.put_expectation(expectation, true, origin == Origin::Others);
                // No event tells that the helper has changed the length of what it saw.
                if self.verify.waiting() < ADJUSTED_MAX {
                    let master = expectation.master_key();
                    self.verify.ask(master, Doubt::Adjusted);
                }
            }
        }
    }

    /// Adds or updates an expectation. Returns whether anything changed.
    pub(super) fn put_expectation(
        &mut self,
        expectation: &Expectation,
        heard: bool,
        told: bool,
    ) -> bool {
        let now_s = self.now_s();
        let key = crate::cache::Object::stored_key(expectation);
        let cache = &mut self.internal.expectations;
        let living = cache.find(&key).and_then(|id| {
            Some((
                id,
                cache
                    .get(id)
                    .filter(|slot| slot.state != State::Dead)?
                    .value(),
            ))
        });
        let (id, changed) = match (living, cache.find(&key)) {
            (Some((id, before)), _) => {
                cache.update(id, expectation, now_s);
                let after = cache.get(id).map(Slot::value);
                let ageless = |e: Expectation| Expectation {
                    timeout_s: None,
                    ..e
                };
                (id, after.map(ageless) != Some(ageless(before)))
            }
            (None, Some(id)) => {
                cache.replace(id, expectation, now_s);
                (id, true)
            }
            (None, None) => match cache.insert(expectation, now_s) {
                Ok(id) => (id, true),
                Err(_) => return false,
            },
        };
        if let Some(slot) = cache.get_mut(id) {
            slot.seen = self.dump.epoch;
            slot.is_heard |= heard;
        }
        self.schedule_refresh(Entry::Expectation(id));
        if told {
            self.announce(Entry::Expectation(id));
        }
        changed
    }

    /// Ends an expectation of the internal cache, told or untold.
    pub(super) fn end_expectation(&mut self, id: u32, told: bool) {
        if let Some(refresh) = &mut self.refresh {
            refresh.expectations.clear(id);
        }
        self.internal.expectations.kill(id);
        let entry = Entry::Expectation(id);
        for session in &mut self.sessions {
            if told {
                session.announce(&mut self.internal, entry);
            } else {
                session.forget(&mut self.internal, entry);
            }
        }
        self.internal.remove_unless_held(entry);
    }

    fn pass_on_expectation(&mut self, kind: EventKind, expectation: &Expectation) {
        let stats = &mut self.bypass_expectations;
        let (counter, change) = match kind {
            EventKind::New => (&mut stats.new, Change::New),
            EventKind::Update => (&mut stats.updated, Change::Update),
            EventKind::Destroy => (&mut stats.destroyed, Change::Delete),
        };
        *counter += 1;
        let state = state_of(change);
        for session in &mut self.sessions {
            session.pass_on(Told::Expectation(state, *expectation));
        }
    }

    /// Whether expectations of this helper are replicated.
    pub(super) fn is_replicated(&self, expectation: &Expectation) -> bool {
        match &self.settings.expectation_sync {
            ExpectationSync::Off => false,
            ExpectationSync::All => true,
            ExpectationSync::Helpers(names) => expectation.helper.is_some_and(|helper| {
                names.iter().any(|name| {
                    helper
                        .as_bytes()
                        .get(..name.len())
                        .is_some_and(|start| start.eq_ignore_ascii_case(name.as_bytes()))
                })
            }),
        }
    }

    /// In the ALARM mode: tells the entry again after a random time.
    pub(super) fn schedule_refresh(&mut self, entry: Entry) {
        let Some(refresh) = &mut self.refresh else {
            return;
        };
        let seconds = 1 + self.random.below(refresh.after.as_secs().max(1));
        let fraction = Duration::from_millis(200) * (1 + self.random.below(5) as u32);
        let at = self.now + Duration::from_secs(seconds) + fraction;
        match entry {
            Entry::Flow(id) => refresh.flows.set(id, at),
            Entry::Expectation(id) => refresh.expectations.set(id, at),
        }
    }

    pub(super) fn refresh_entries(&mut self) {
        let now = self.now;
        let Some(refresh) = &mut self.refresh else {
            return;
        };
        let mut fired = std::mem::take(&mut refresh.fired);
        refresh.flows.fire(now, &mut fired);
        let flows = fired.len();
        refresh.expectations.fire(now, &mut fired);
        for (position, id) in fired.drain(..).enumerate() {
            let entry = if position < flows {
                Entry::Flow(id)
            } else {
                Entry::Expectation(id)
            };
            self.announce(entry);
            self.schedule_refresh(entry);
        }
        if let Some(refresh) = &mut self.refresh {
            refresh.fired = fired;
        }
    }
}

/// The connections that the messages of a datagram of the kernel tell of.
pub(super) fn keys_of(datagram: &[u8]) -> impl Iterator<Item = Key> {
    messages(datagram)
        .filter_map(Result::ok)
        .filter_map(|message| parse::original_tuple(&message).ok())
}

/// Takes off what is neither kept nor told.
pub(super) fn strip(flow: &mut Flow) {
    flow.counters_orig = None;
    flow.counters_reply = None;
    flow.timestamp = None;
    flow.event_time_ns = None;
    flow.use_count = None;
}

fn state_of(change: Change) -> State {
    match change {
        Change::New => State::New,
        Change::Update => State::Alive,
        Change::Delete => State::Dead,
    }
}
