//! What the own kernel answers: verdicts on requests, and its tables when they are read.

use std::time::Instant;

use ctnetlink::{Reply, messages, parse};
use flow::{Expectation, Flow};

use super::Engine;
use super::events::{keys_of, strip};
use crate::api::{KernelSocket, Outcome};
use crate::cache::{State, Untold};
use crate::internal::Told;
use crate::kernel::dump::{Job, Purpose, Table};
use crate::kernel::inject::Inject;
use crate::kernel::verify::Doubt;
use crate::notice::Notice;
use crate::packed::PackedFlow;
use crate::queue::Entry;

/// Positions looked at in one step of a sweep.
const SWEEP_STEP: u32 = 4096;

/// Lookups that may wait while a sweep goes on.
const LOOKUPS_MAX: usize = 1024;

/// The dump was cut short because the table changed; what arrived is good all the same.
const EINTR: i32 = 4;

impl Engine {
    /// Takes a datagram of a socket for requests.
    pub fn handle_kernel_reply(&mut self, now: Instant, socket: KernelSocket, datagram: &[u8]) {
        self.now = now;
        if socket == KernelSocket::Dump && !self.dump.has(Purpose::Populate) {
            self.internal
                .flows
                .fetch(keys_of(datagram), &mut self.ahead);
        }
        for message in messages(datagram) {
            let Ok(message) = message else {
                self.stats.malformed += 1;
                break;
            };
            let seq = message.header.seq;
            match parse::reply(&message) {
                Ok(mut reply) => self.reply(socket, seq, &mut reply),
                Err(_) => self.stats.malformed += 1,
            }
        }
        debug_assert!(self.check_invariants());
    }

    /// Answers of a socket for requests were lost.
    pub fn handle_kernel_overrun(&mut self, now: Instant, socket: KernelSocket) {
        self.now = now;
        match socket {
            KernelSocket::Dump => self.dump.restart(),
            KernelSocket::Query => self.verify.complete(|_, _| {}),
            KernelSocket::Commit => {
                if let Some(commit) = &mut self.commit {
                    commit.complete(&self.externals, &mut self.notices);
                }
            }
            KernelSocket::Inject => {
                if let Some(inject) = &mut self.inject {
                    inject.complete();
                }
            }
            KernelSocket::Flush => self.flush.complete(),
        }
        debug_assert!(self.check_invariants());
    }

    fn reply(&mut self, socket: KernelSocket, seq: u32, reply: &mut Reply) {
        match (socket, reply) {
            (KernelSocket::Dump, reply) if self.dump.is_current(seq) => self.dump_reply(reply),
            (KernelSocket::Commit, Reply::Flow(flow)) => {
                if let Some(commit) = &mut self.commit {
                    commit.found(&self.externals, seq, flow);
                }
            }
            (KernelSocket::Commit, Reply::Verdict { errno }) => {
                if let Some(commit) = &mut self.commit {
                    commit.verdict(&self.externals, &mut self.notices, seq, *errno);
                }
            }
            (KernelSocket::Inject, Reply::Verdict { errno }) => {
                if let Some(inject) = &mut self.inject {
                    inject.verdict(seq, *errno);
                }
            }
            (KernelSocket::Flush, Reply::Verdict { errno }) => self.flush.verdict(seq, *errno),
            (KernelSocket::Query, Reply::Flow(flow)) => self.looked_up(*flow),
            (KernelSocket::Query, Reply::Verdict { errno }) => self.verified(seq, *errno),
            _ => {}
        }
    }

    fn dump_reply(&mut self, reply: &mut Reply) {
        let Some(job) = self.dump.reading() else {
            return;
        };
        match reply {
            Reply::Flow(flow) => self.read_flow(job, flow),
            Reply::Expectation(expectation) => self.read_expectation(job, expectation),
            Reply::Done { errno } | Reply::Verdict { errno } => {
                if !matches!(*errno, 0 | EINTR) {
                    let errno = *errno;
                    self.notices.push_back(Notice::DumpFailed { errno });
                    self.finish_reading();
                } else {
                    if *errno == 0 {
                        self.forget_injected_unseen(job);
                    }
                    self.dump.parts_done();
                }
            }
            Reply::Other => {}
        }
    }

    fn read_flow(&mut self, job: Job, flow: &mut Flow) {
        if !self.settings.filter.accepts(flow) || self.dump.has_ended(flow) {
            return;
        }
        strip(flow);
        if job.purpose != Purpose::Flush && self.is_injected(&flow.key()) {
            return;
        }
        match job.purpose {
            Purpose::Flush => self.flush.flow(flow.key(), flow.id),
            Purpose::Bulk => {
                for session in &mut self.sessions {
                    session.pass_on(Told::Flow(State::New, *flow));
                }
            }
            Purpose::Populate | Purpose::Reconcile | Purpose::Resync | Purpose::Poll => {
                self.correct_timeout(flow);
                self.keep_read_flow(job.purpose, flow);
            }
        }
    }

    fn keep_read_flow(&mut self, purpose: Purpose, flow: &Flow) {
        let now_s = self.now_s();
        let epoch = self.dump.epoch;
        let cache = &mut self.internal.flows;
        let known = cache.find(&flow.key());
        let living = known.and_then(|id| {
            let slot = cache.get(id).filter(|slot| slot.state != State::Dead)?;
            Some((id, slot))
        });
        let is_new = living.is_none();
        let (id, changed) = match (living, known) {
            // An event told of it meanwhile. Either may be the newer one, and the event did not tell
            // everything: ask again.
            (Some((id, slot)), _) if slot.seen == epoch && purpose != Purpose::Populate => {
                if differs(flow, &slot.value()) {
                    self.verify.ask(flow.key(), Doubt::Unseen);
                }
                (id, false)
            }
            // All that is known of it was told by events: what they left out is news.
            (Some((id, slot)), _) if slot.seen == epoch => {
                let told = slot.value();
                let mut whole = if told.id == flow.id { *flow } else { told };
                whole.merge(&told);
                cache.set(id, &whole, now_s);
                (id, differs(&whole, &told))
            }
            // Another connection has taken its place, and the events that told so were lost.
            (Some((id, slot)), _) if slot.object().id() != flow.id => {
                cache.replace(id, flow, now_s);
                (id, true)
            }
            (Some((id, slot)), _) => {
                let like = slot.object().is_like(&PackedFlow::pack(flow));
                let changed = !like.unwrap_or_else(|| !differs(flow, &slot.value()));
                if changed || matches!(purpose, Purpose::Resync | Purpose::Poll) {
                    cache.assign(id, flow, now_s);
                } else {
                    cache.set(id, flow, now_s);
                }
                (id, changed)
            }
            (None, Some(id)) => {
                cache.replace(id, flow, now_s);
                (id, true)
            }
            (None, None) => match cache.insert(flow, now_s) {
                Ok(id) => (id, true),
                Err(_) => return,
            },
        };
        let mut untold = changed;
        if let Some(slot) = cache.get_mut(id) {
            slot.seen = epoch;
            // What `-R` finds is not sent by it. If events were lost, what follows sends it.
            if purpose == Purpose::Resync && changed && slot.untold == Untold::No {
                slot.untold = Untold::UntilSent;
            }
            untold |= slot.untold != Untold::No;
        }
        if is_new {
            self.schedule_refresh(Entry::Flow(id));
        }
        self.dump.changed += u64::from(changed);
        if purpose == Purpose::Poll || (purpose == Purpose::Reconcile && untold) {
            self.announce(Entry::Flow(id));
        }
    }

    fn read_expectation(&mut self, job: Job, expectation: &Expectation) {
        self.saw_expectation(expectation);
        let master = expectation.master_key();
        let of_peer = |inject: &Inject| inject.injected.contains(&master);
        if !self.is_replicated(expectation)
            || self.inject.as_ref().is_some_and(of_peer)
            || self.is_standing_by(&master)
        {
            return;
        }
        let told = matches!(job.purpose, Purpose::Reconcile | Purpose::Poll);
        let changed = self.put_expectation(expectation, false, told);
        self.dump.changed += u64::from(changed);
    }

    /// Goes on with the look for entries that a reading has not seen. Returns whether anything was done.
    pub(super) fn sweep(&mut self) -> bool {
        let Some((job, from)) = self.dump.sweeping() else {
            return false;
        };
        if !job.purpose.sweeps() {
            self.finish_reading();
            return true;
        }
        if self.verify.waiting() > LOOKUPS_MAX {
            return false;
        }
        match job.table {
            Table::Flows => self.sweep_flows(from),
            Table::Expectations => self.sweep_expectations(),
        }
    }

    /// Whether the look for entries not seen can go on without an answer of the kernel.
    pub(super) fn is_sweep_due(&self) -> bool {
        self.dump.sweeping().is_some_and(|(job, from)| {
            job.table == Table::Flows
                && self.verify.waiting() <= LOOKUPS_MAX
                && self.internal.flows.next_from(from).is_some()
        })
    }

    fn sweep_flows(&mut self, from: u32) -> bool {
        let mut position = from;
        for _ in 0..SWEEP_STEP {
            let Some(id) = self.internal.flows.next_from(position) else {
                if !self.verify.is_idle() {
                    // Wait for the last lookups.
                    self.dump.sweep_on(position);
                    return false;
                }
                self.finish_reading();
                return true;
            };
            position = id + 1;
            if let Some(slot) = self.internal.flows.get(id)
                && slot.seen != self.dump.epoch
                && slot.state != State::Dead
            {
                self.verify.ask(slot.value().key(), Doubt::Unseen);
            }
        }
        self.dump.sweep_on(position);
        true
    }

    /// Expectations are few: those not seen have gone.
    fn sweep_expectations(&mut self) -> bool {
        let mut position = 0;
        while let Some(id) = self.internal.expectations.next_from(position) {
            position = id + 1;
            let unseen = self
                .internal
                .expectations
                .get(id)
                .is_some_and(|slot| slot.seen != self.dump.epoch && slot.state != State::Dead);
            if unseen {
                self.dump.gone += 1;
                self.end_expectation(id, true);
            }
        }
        self.finish_reading();
        true
    }

    /// A reading of all connections shows which of the injected ones have gone, whatever events were lost.
    fn forget_injected_unseen(&mut self, job: Job) {
        if job.table == Table::Flows && job.purpose != Purpose::Flush {
            let epoch = self.dump.epoch;
            if let Some(inject) = &mut self.inject {
                inject.injected.keep_seen(epoch);
            }
            self.look_for_missing();
        } else if job.purpose != Purpose::Flush {
            self.look_for_missing_expectations();
        }
    }

    fn finish_reading(&mut self) {
        let (changed, gone, incomplete) = (self.dump.changed, self.dump.gone, self.dump.incomplete);
        let is_whole = self.dump.sweeping().is_some();
        let Some(job) = self.dump.finish() else {
            return;
        };
        if is_whole && job.table == Table::Flows && job.purpose.keeps() {
            self.has_read_flows();
        }
        if job.purpose.keeps() {
            self.has_read_for_expectations(job.table);
        }
        if job.purpose.keeps() {
            self.recheck.arm(self.now);
        }
        if job.purpose == Purpose::Reconcile {
            self.stats.missed.changed += changed;
            self.stats.missed.gone += gone;
        }
        if job.table == Table::Flows {
            self.reading_took = self.dump.took(self.now);
            if job.purpose == Purpose::Reconcile {
                self.notices.push_back(Notice::Reconciled { changed, gone });
            }
        }
        if incomplete && self.overrun_at.is_none() {
            self.overrun_at = Some(self.now);
        }
        self.done
            .extend(job.client.map(|client| (client, Outcome::Done)));
    }
}

/// Whether two entries differ in anything that is replicated, the running timeout aside.
///
/// Events leave out what is zero, readings tell it; and the cache does not keep everything that the kernel tells.
pub(crate) fn differs(a: &Flow, b: &Flow) -> bool {
    let comparable = |flow: &Flow| {
        let kept = PackedFlow::pack(flow).unpack();
        Flow {
            timeout_s: None,
            id: None,
            mark: Some(kept.mark.unwrap_or_default()),
            synproxy: Some(kept.synproxy.unwrap_or_default()),
            ..kept
        }
    };
    comparable(a) != comparable(b)
}
