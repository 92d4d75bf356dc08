//! The peer's changes straight into the own kernel, where there is no external cache.

use std::collections::VecDeque;

use ctnetlink::request::{self, Write};
use flow::{Expectation, Flow, Key, Status};
use foldhash::fast::FixedState;
use hashbrown::HashSet;
use syncwire::Change;

use super::batch::Batches;
use super::injected::Injected;
use super::prepare::Rules;
use super::{EEXIST, ENOENT};
use crate::fault::{Fault, is_planted};
use crate::snapshot::InjectStats;

/// Changes that may wait. Beyond it the oldest are given up and counted: the kernel does not keep up.
const WAITING_MAX: usize = 65536;

/// Connections and expectations that may wait for their master. Beyond it the oldest are given up.
const ORPHANS_MAX: usize = 1024;

/// Seconds that they wait: as long as a link may need to bring what it had lost.
const ORPHANS_WAIT_S: u32 = 10;

/// A change to be made.
#[derive(Clone, Copy, Debug)]
#[allow(clippy::large_enum_variant)]
enum Work {
    Flow(Change, Flow),
    Expectation(Change, Expectation),
    /// The entry is in the way or out of step: away with it, then create it.
    ReplaceFlow(Change, Flow),
    ReplaceExpectation(Change, Expectation),
    /// It was to be changed but is not there.
    CreateFlow(Change, Flow),
    /// Only the timeout is to be changed, if the entry is there.
    Timeout(Flow),
}

#[derive(Clone, Copy, Debug)]
#[allow(clippy::large_enum_variant)]
enum Purpose {
    /// First try.
    Try(Work),
    /// Second and last try.
    Again {
        change: Change,
        expectation: bool,
        /// Of a connection.
        key: Option<Key>,
    },
    /// Of this connection. Whether there was anything does not matter.
    Timeout(Key),
    /// Whether there was anything does not matter.
    Clear,
}

/// A change that the kernel refused for want of its master.
#[derive(Debug)]
struct Orphan {
    work: Work,
    since_s: u32,
}

/// Changes under way.
#[derive(Debug)]
pub(crate) struct Inject {
    rules: Rules,
    batches: Batches<Purpose>,
    under_way: UnderWay,
    finished: Vec<(Purpose, i32)>,
    waiting: VecDeque<Work>,
    /// Their master is not there yet: what was lost on the link comes later than what was not.
    orphans: VecDeque<Orphan>,
    /// Connections that were made in the batch which ends.
    made: Vec<Key>,
    now_s: u32,
    pub(crate) injected: Injected,
    pub(crate) flows: InjectStats,
    pub(crate) expectations: InjectStats,
}

impl Inject {
    /// `limit`: injected entries that are remembered as the peer's.
    pub(crate) fn new(rules: Rules, limit: usize, seed: u64) -> Self {
        Self {
            rules,
            batches: Batches::new(),
            under_way: UnderWay::new(seed),
            finished: Vec::new(),
            waiting: VecDeque::new(),
            orphans: VecDeque::new(),
            made: Vec::new(),
            now_s: 0,
            injected: Injected::new(limit, seed),
            flows: InjectStats::default(),
            expectations: InjectStats::default(),
        }
    }

    pub(crate) fn flow(&mut self, change: Change, flow: &Flow) {
        self.add(Work::Flow(change, *flow));
    }

    pub(crate) fn expectation(&mut self, change: Change, expectation: &Expectation) {
        self.add(Work::Expectation(change, *expectation));
    }

    /// Has the timeout of a connection changed, and nothing else of it.
    pub(crate) fn timeout(&mut self, flow: &Flow) {
        let mut timeout = Flow::new(flow.orig);
        (timeout.zone, timeout.timeout_s) = (flow.zone, flow.timeout_s);
        timeout.reply = Some(flow.reply_direction());
        self.add(Work::Timeout(timeout));
    }

    /// Whether the kernel has answered all that it was asked.
    pub(crate) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && !self.batches.is_under_way()
    }

    /// Changes that wait for the kernel.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    fn add(&mut self, work: Work) {
        // What came later says it all.
        self.orphans.retain(|orphan| !orphan.work.is_told_by(&work));
        if self.waiting.len() >= WAITING_MAX
            && let Some(oldest) = self.waiting.pop_front()
        {
            let (change, expectation) = oldest.about();
            self.count(change, expectation, false);
        }
        self.waiting.push_back(work);
    }

    /// Writes the next batch into [`Self::bytes`]. `false`: nothing to write, or answers are awaited.
    ///
    /// `epoch`: the reading of the kernel's table under way.
    pub(crate) fn next_batch(&mut self, epoch: u16) -> bool {
        if !self.batches.has_room() {
            return false;
        }
        while !self.batches.is_full() {
            // A second change of the same entry waits: a retry of the first would come after it. So does what needs it
            // as its master.
            let Some(work) = self.waiting.front().copied() else {
                break;
            };
            if self.under_way.holds_up(&work) && !is_planted(Fault::InjectionNotAwaited) {
                break;
            }
            self.waiting.pop_front();
            if let Some(key) = work.made() {
                self.injected.add(key, epoch);
            }
            self.under_way.begin(work.flow().map(Flow::key));
            self.write(work);
        }
        self.batches.seal()
    }

    fn write(&mut self, work: Work) {
        match work {
            Work::Flow(Change::New, flow) => {
                let flow = self.rules.for_create(&flow, 0);
                self.batches.push(Purpose::Try(work), |buf, seq, ack| {
                    request::write_flow(buf, seq, ack, Write::Create, &flow);
                });
            }
            Work::Flow(Change::Update, flow) => {
                // A connection that has a master there has one here.
                let expected = flow.status_bits().common(Status::EXPECTED);
                let flow = self.rules.for_update(&flow, 0, expected);
                self.batches.push(Purpose::Try(work), |buf, seq, ack| {
                    request::write_flow(buf, seq, ack, Write::Update, &flow);
                });
            }
            Work::Flow(Change::Delete, flow) => {
                self.batches.push(Purpose::Try(work), |buf, seq, ack| {
                    request::delete_flow(buf, seq, ack, &flow.key(), None);
                });
            }
            Work::Expectation(Change::Delete, wanted) => {
                self.batches.push(Purpose::Try(work), |buf, seq, ack| {
                    request::delete_expectation(buf, seq, ack, &wanted);
                });
            }
            Work::Expectation(_, wanted) => {
                self.batches.push(Purpose::Try(work), |buf, seq, ack| {
                    request::write_expectation(buf, seq, ack, Write::Create, &wanted);
                });
            }
            Work::ReplaceFlow(change, flow) => {
                let reply = flow.reply_direction();
                self.batches.push(Purpose::Clear, |buf, seq, ack| {
                    request::delete_flow(buf, seq, ack, &flow.key(), None);
                });
                self.batches.push(Purpose::Clear, |buf, seq, ack| {
                    request::delete_flow_by_reply(buf, seq, ack, &reply, flow.zone);
                });
                self.create_again(change, &flow);
            }
            Work::CreateFlow(change, flow) => self.create_again(change, &flow),
            Work::Timeout(flow) => {
                let timeout = Purpose::Timeout(flow.key());
                self.batches.push(timeout, |buf, seq, ack| {
                    request::write_flow(buf, seq, ack, Write::Update, &flow);
                });
            }
            Work::ReplaceExpectation(change, wanted) => {
                self.batches.push(Purpose::Clear, |buf, seq, ack| {
                    request::delete_expectation(buf, seq, ack, &wanted);
                });
                let again = Purpose::Again {
                    change,
                    expectation: true,
                    key: None,
                };
                self.batches.push(again, |buf, seq, ack| {
                    request::write_expectation(buf, seq, ack, Write::Create, &wanted);
                });
            }
        }
    }

    fn create_again(&mut self, change: Change, flow: &Flow) {
        let flow = self.rules.for_create(flow, 0);
        let again = Purpose::Again {
            change,
            expectation: false,
            key: Some(flow.key()),
        };
        self.batches.push(again, |buf, seq, ack| {
            request::write_flow(buf, seq, ack, Write::Create, &flow);
        });
    }

    /// The batch to send.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.batches.bytes()
    }

    pub(crate) fn verdict(&mut self, seq: u32, errno: i32) {
        if self.batches.verdict(seq, errno) {
            self.complete();
        }
    }

    /// Ends the first batch under way. What has to be tried again goes before everything that came later.
    pub(crate) fn complete(&mut self) {
        let mut finished = std::mem::take(&mut self.finished);
        self.batches.finish(&mut finished);
        self.made.clear();
        while let Some((purpose, errno)) = finished.pop() {
            match (purpose, errno) {
                (Purpose::Clear, _) => {}
                (Purpose::Timeout(key), _) => self.under_way.end(Some(key)),
                (
                    Purpose::Again {
                        change,
                        expectation,
                        key,
                    },
                    errno,
                ) => {
                    self.under_way.end(key);
                    self.count(change, expectation, errno == 0);
                    match key {
                        Some(key) if errno == 0 => self.adopt(&key),
                        Some(key) => self.injected.remove(&key),
                        None => {}
                    }
                }
                (Purpose::Try(work), 0) => {
                    self.under_way.end(work.flow().map(Flow::key));
                    let (change, expectation) = work.about();
                    self.count(change, expectation, true);
                    match work {
                        Work::Flow(Change::New, flow) => self.adopt(&flow.key()),
                        Work::Flow(Change::Delete, flow) => self.injected.remove(&flow.key()),
                        _ => {}
                    }
                }
                (Purpose::Try(work), errno) => {
                    self.under_way.end(work.flow().map(Flow::key));
                    self.failed(work, errno);
                }
            }
        }
        self.finished = finished;
    }

    fn failed(&mut self, work: Work, errno: i32) {
        match (work, errno) {
            (Work::Flow(Change::Delete, _) | Work::Expectation(Change::Delete, _), ENOENT) => {
                let (change, expectation) = work.about();
                self.count(change, expectation, true);
                if let Some(flow) = work.flow() {
                    self.injected.remove(&flow.key());
                }
            }
            (Work::Flow(Change::New, flow), EEXIST) => {
                self.waiting
                    .push_front(Work::ReplaceFlow(Change::New, flow));
            }
            (Work::Flow(Change::Update, flow), ENOENT) if flow.master.is_some() => {
                self.waiting.push_front(Work::Flow(Change::New, flow));
            }
            (Work::Flow(Change::New, flow), ENOENT) if flow.master.is_some() => {
                self.keep_orphan(work);
            }
            (Work::Expectation(..), ENOENT) => self.keep_orphan(work),
            (Work::Flow(Change::Update, flow), ENOENT) => {
                self.waiting
                    .push_front(Work::CreateFlow(Change::Update, flow));
            }
            (Work::Flow(Change::Update, flow), _) => {
                self.waiting
                    .push_front(Work::ReplaceFlow(Change::Update, flow));
            }
            (Work::Expectation(change @ (Change::New | Change::Update), wanted), EEXIST) => {
                self.waiting
                    .push_front(Work::ReplaceExpectation(change, wanted));
            }
            _ => {
                let (change, expectation) = work.about();
                self.count(change, expectation, false);
                if let Some(key) = work.made() {
                    self.injected.remove(&key);
                }
            }
        }
    }

    fn keep_orphan(&mut self, work: Work) {
        // Its master came behind it in the same batch.
        let is_made = work.master().is_some_and(|key| self.made.contains(&key));
        if is_made && !is_planted(Fault::InjectionNotAwaited) {
            self.waiting.push_front(work);
            return;
        }
        if self.waiting.iter().any(|later| work.is_told_by(later)) {
            let (change, expectation) = work.about();
            self.count(change, expectation, false);
            return;
        }
        if self.orphans.len() >= ORPHANS_MAX
            && let Some(oldest) = self.orphans.pop_front()
        {
            let (change, expectation) = oldest.work.about();
            self.count(change, expectation, false);
        }
        let since_s = self.now_s;
        self.orphans.push_back(Orphan { work, since_s });
    }

    /// Gives up what has waited too long for its master.
    pub(crate) fn handle_timeout(&mut self, now_s: u32) {
        self.now_s = now_s;
        while let Some(oldest) = self.orphans.front()
            && now_s.saturating_sub(oldest.since_s) > ORPHANS_WAIT_S
        {
            let (change, expectation) = oldest.work.about();
            self.count(change, expectation, false);
            self.orphans.pop_front();
        }
    }

    /// This connection is there now: what waited for it as its master is tried again.
    fn adopt(&mut self, master: &Key) {
        self.made.push(*master);
        let waiting = &mut self.waiting;
        self.orphans.retain(|orphan| {
            let adopted = orphan.work.master() == Some(*master);
            if adopted {
                waiting.push_front(orphan.work);
            }
            !adopted
        });
    }

    fn count(&mut self, change: Change, expectation: bool, done: bool) {
        let stats = if expectation {
            &mut self.expectations
        } else {
            &mut self.flows
        };
        let counter = match (change, done) {
            (Change::New, true) => &mut stats.created,
            (Change::New, false) => &mut stats.create_failed,
            (Change::Update, true) => &mut stats.updated,
            (Change::Update, false) => &mut stats.update_failed,
            (Change::Delete, true) => &mut stats.destroyed,
            (Change::Delete, false) => &mut stats.destroy_failed,
        };
        *counter += 1;
    }
}

/// What the kernel has been asked to change and has not answered yet.
#[derive(Debug)]
struct UnderWay {
    flows: HashSet<Key, FixedState>,
    expectations: usize,
}

impl UnderWay {
    fn new(seed: u64) -> Self {
        Self {
            flows: HashSet::with_hasher(FixedState::with_seed(seed)),
            expectations: 0,
        }
    }

    /// A change is written: of this connection, or of an expectation.
    fn begin(&mut self, key: Option<Key>) {
        match key {
            Some(key) => _ = self.flows.insert(key),
            None => self.expectations += 1,
        }
    }

    /// It has been answered.
    fn end(&mut self, key: Option<Key>) {
        match key {
            Some(key) => _ = self.flows.remove(&key),
            None => self.expectations = self.expectations.saturating_sub(1),
        }
    }

    /// Whether this has to wait for the answer to something.
    fn holds_up(&self, work: &Work) -> bool {
        let itself = match work.flow() {
            Some(flow) => self.flows.contains(&flow.key()),
            None => self.expectations > 0,
        };
        itself || work.master().is_some_and(|key| self.flows.contains(&key))
    }
}

impl Work {
    /// Whether it is of no use any more once `later` has come.
    fn is_told_by(&self, later: &Self) -> bool {
        match (self, later) {
            (Self::Flow(_, a), Self::Flow(_, b)) => a.key() == b.key(),
            (Self::Expectation(_, a), Self::Expectation(_, b)) => {
                (a.master, a.tuple, a.mask, a.zone) == (b.master, b.tuple, b.mask, b.zone)
            }
            _ => false,
        }
    }

    /// The connection that must be there before it.
    fn master(&self) -> Option<Key> {
        let (tuple, zone) = match self {
            Self::Expectation(_, wanted) | Self::ReplaceExpectation(_, wanted) => {
                (wanted.master, wanted.zone)
            }
            _ => {
                let flow = self.flow()?;
                (flow.master?, flow.zone.orig)
            }
        };
        Some(Key { tuple, zone })
    }

    /// The connection that it makes or changes.
    fn made(&self) -> Option<Key> {
        let (Change::New | Change::Update, _) = self.about() else {
            return None;
        };
        self.flow().map(Flow::key)
    }

    fn flow(&self) -> Option<&Flow> {
        match self {
            Self::Flow(_, flow)
            | Self::ReplaceFlow(_, flow)
            | Self::CreateFlow(_, flow)
            | Self::Timeout(flow) => Some(flow),
            Self::Expectation(..) | Self::ReplaceExpectation(..) => None,
        }
    }

    /// What kind of change, and whether it is about an expectation.
    fn about(&self) -> (Change, bool) {
        match self {
            Self::Flow(change, _) | Self::ReplaceFlow(change, _) | Self::CreateFlow(change, _) => {
                (*change, false)
            }
            Self::Timeout(_) => (Change::Update, false),
            Self::Expectation(change, _) | Self::ReplaceExpectation(change, _) => (*change, true),
        }
    }
}
