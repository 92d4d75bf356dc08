//! The commit: the external caches into the own kernel.
//!
//! Three passes: connections without a master, connections with one, expectations. An entry that exists is
//! looked up: if it is the same connection it is changed in place, so that children and expectations keep
//! their master; otherwise what stands in the way is deleted and the entry created again.

use std::collections::VecDeque;
use std::time::Instant;

use ctnetlink::request::{self, Write};
use flow::{Expectation, Flow, Status};

use super::batch::Batches;
use super::prepare::Rules;
use super::{EEXIST, ENOENT};
use crate::api::{ClientId, Scope};
use crate::cache::{Object, State};
use crate::external::External;
use crate::fault::{Fault, is_planted};
use crate::notice::Notice;
use crate::work::{CommitEnd, Refusals, Sample, Work, refuse};

/// Refused entries that are told one by one.
const TOLD_MAX: u64 = 10;

/// An entry of an external cache: whose, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    origin: usize,
    id: u32,
}

/// What a request is for.
#[derive(Clone, Copy, Debug)]
enum Purpose {
    /// First try.
    Create(Place),
    /// What is in the way?
    Lookup(Place),
    /// The same connection, changed in place.
    Update(Place),
    /// Something else in the way; whether there was anything does not matter.
    Clear,
    /// Second and last try.
    Recreate(Place),
    /// An expectation, first try.
    CreateExpectation(Place),
    /// An expectation, second and last try.
    RecreateExpectation(Place),
}

/// What to do about an entry that exists.
#[derive(Clone, Copy, Debug)]
enum Collision {
    /// Not looked at yet.
    Unknown(Place),
    /// It is the same connection, with this status.
    Same(Place, Status),
    /// It is another one.
    Other(Place),
    /// An expectation.
    Expectation(Place),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pass {
    Masters,
    Children,
    Expectations,
    Done,
}

/// A commit under way.
#[derive(Debug)]
pub(crate) struct Commit {
    client: Option<ClientId>,
    scope: Scope,
    started: Instant,
    /// Since when expectations are committed after connections.
    expectations_started: Option<Instant>,
    rules: Rules,
    pass: Pass,
    cursor: Place,
    batches: Batches<Purpose>,
    finished: Vec<(Purpose, i32)>,
    collisions: VecDeque<Collision>,
    /// Children whose master was not there; tried again as long as others succeed.
    orphans: VecDeque<Place>,
    adopted: bool,
    flows: (u64, u64),
    expectations: (u64, u64),
    told: u64,
    refusals: Refusals,
    is_interrupted: bool,
}

impl Commit {
    /// `client`: who waits for its end.
    pub(crate) fn new(client: Option<ClientId>, scope: Scope, rules: Rules, now: Instant) -> Self {
        Self {
            client,
            scope,
            started: now,
            expectations_started: None,
            rules,
            pass: if scope == Scope::Expectations {
                Pass::Expectations
            } else {
                Pass::Masters
            },
            cursor: Place { origin: 0, id: 0 },
            batches: Batches::new(),
            finished: Vec::new(),
            collisions: VecDeque::new(),
            orphans: VecDeque::new(),
            adopted: false,
            flows: (0, 0),
            expectations: (0, 0),
            told: 0,
            refusals: Refusals::new(),
            is_interrupted: false,
        }
    }

    pub(crate) fn client(&self) -> Option<ClientId> {
        self.client
    }

    /// Whether nothing is left to do.
    pub(crate) fn is_done(&self) -> bool {
        self.pass == Pass::Done || (self.is_interrupted && !self.batches.is_under_way())
    }

    /// Ends after what is under way.
    pub(crate) fn interrupt(&mut self) {
        self.is_interrupted = true;
    }

    pub(crate) fn is_interrupted(&self) -> bool {
        self.is_interrupted
    }

    /// Whether its end means that the kernel has everything.
    pub(crate) fn is_complete(&self) -> bool {
        self.scope == Scope::All && !self.is_interrupted
    }

    /// Writes the next batch into [`Self::bytes`]. `false`: answers are awaited, or all is done.
    ///
    /// A pass begins when the one before has been decided: masters come before their children.
    pub(crate) fn next_batch(
        &mut self,
        externals: &[External],
        with_expectations: bool,
        now: Instant,
        now_s: u32,
    ) -> bool {
        if !self.batches.has_room() || self.is_interrupted {
            return false;
        }
        while self.batches.is_empty() && !self.is_done() {
            self.settle_collisions(externals, now_s);
            while !self.batches.is_full() && self.next_entry(externals, now_s) {}
            if self.batches.is_empty() {
                if self.batches.is_under_way() {
                    return false;
                }
                self.next_pass(with_expectations, now);
            }
        }
        self.batches.seal()
    }

    /// The batch to send.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.batches.bytes()
    }

    fn next_pass(&mut self, with_expectations: bool, now: Instant) {
        self.cursor = Place { origin: 0, id: 0 };
        self.pass = match (self.pass, self.scope) {
            (Pass::Masters, _) => Pass::Children,
            (Pass::Children, Scope::All) if with_expectations => {
                self.expectations_started = Some(now);
                Pass::Expectations
            }
            _ => Pass::Done,
        };
    }

    /// Adds the next entry of the pass to the batch. `false`: there is none.
    fn next_entry(&mut self, externals: &[External], now_s: u32) -> bool {
        while let Some(external) = externals.get(self.cursor.origin) {
            let id = match self.pass {
                Pass::Masters | Pass::Children => external.flows.next_from(self.cursor.id),
                Pass::Expectations => external.expectations.next_from(self.cursor.id),
                Pass::Done => None,
            };
            let Some(id) = id else {
                self.cursor = Place {
                    origin: self.cursor.origin + 1,
                    id: 0,
                };
                continue;
            };
            self.cursor.id = id + 1;
            if !external.is_taken() {
                self.cursor = Place {
                    origin: self.cursor.origin + 1,
                    id: 0,
                };
                continue;
            }
            let place = Place {
                origin: self.cursor.origin,
                id,
            };
            if self.pass == Pass::Expectations {
                self.create_expectation(externals, place, now_s);
                return true;
            }
            let Some(slot) = external.flows.get(id) else {
                continue;
            };
            if id % 7 == 6 && is_planted(Fault::CommitForgets) {
                continue;
            }
            if slot.state != State::Dead && slot.has_master() == (self.pass == Pass::Children) {
                self.create(externals, place, now_s, Purpose::Create(place));
                return true;
            }
        }
        self.next_orphan(externals, now_s)
    }

    /// Tries a child again, if since its first try another one has become a possible master.
    fn next_orphan(&mut self, externals: &[External], now_s: u32) -> bool {
        // Whether one has is not known before.
        if self.batches.is_under_way() {
            return false;
        }
        if !std::mem::take(&mut self.adopted) {
            // Their master is not there: that is what the kernel has said of each.
            for place in std::mem::take(&mut self.orphans) {
                self.flows.1 += 1;
                refuse(&mut self.refusals, ENOENT, || sample_at(externals, place));
            }
            return false;
        }
        let mut any = false;
        while !self.batches.is_full() {
            let Some(place) = self.orphans.pop_front() else {
                break;
            };
            self.create(externals, place, now_s, Purpose::Create(place));
            any = true;
        }
        any
    }

    fn create(&mut self, externals: &[External], place: Place, now_s: u32, purpose: Purpose) {
        let Some((flow, age_s)) = flow_at(externals, place, now_s) else {
            return;
        };
        let flow = self.rules.for_create(&flow, age_s);
        self.batches.push(purpose, |buf, seq, ack| {
            request::write_flow(buf, seq, ack, Write::Create, &flow);
        });
    }

    fn create_expectation(&mut self, externals: &[External], place: Place, now_s: u32) {
        let Some(expectation) = expectation_at(externals, place, now_s) else {
            return;
        };
        self.batches
            .push(Purpose::CreateExpectation(place), |buf, seq, ack| {
                request::write_expectation(buf, seq, ack, Write::Create, &expectation);
            });
    }

    fn settle_collisions(&mut self, externals: &[External], now_s: u32) {
        while !self.batches.is_full() {
            let Some(collision) = self.collisions.pop_front() else {
                return;
            };
            match collision {
                Collision::Unknown(place) => {
                    let Some((flow, _)) = flow_at(externals, place, now_s) else {
                        continue;
                    };
                    self.batches.push(Purpose::Lookup(place), |buf, seq, ack| {
                        request::get_flow(buf, seq, ack, &flow.key());
                    });
                }
                Collision::Same(place, status) => {
                    let Some((flow, age_s)) = flow_at(externals, place, now_s) else {
                        continue;
                    };
                    let flow = self.rules.for_update(&flow, age_s, status);
                    self.batches.push(Purpose::Update(place), |buf, seq, ack| {
                        request::write_flow(buf, seq, ack, Write::Update, &flow);
                    });
                }
                Collision::Other(place) => self.clear_and_create(externals, place, now_s),
                Collision::Expectation(place) => {
                    let Some(wanted) = expectation_at(externals, place, now_s) else {
                        continue;
                    };
                    self.batches.push(Purpose::Clear, |buf, seq, ack| {
                        request::delete_expectation(buf, seq, ack, &wanted);
                    });
                    self.batches
                        .push(Purpose::RecreateExpectation(place), |buf, seq, ack| {
                            request::write_expectation(buf, seq, ack, Write::Create, &wanted);
                        });
                }
            }
        }
    }

    /// Deletes what has the entry's original tuple and what has its reply tuple, then creates it.
    fn clear_and_create(&mut self, externals: &[External], place: Place, now_s: u32) {
        let Some((flow, _)) = flow_at(externals, place, now_s) else {
            return;
        };
        let reply = flow.reply_direction();
        self.batches.push(Purpose::Clear, |buf, seq, ack| {
            request::delete_flow(buf, seq, ack, &flow.key(), None);
        });
        self.batches.push(Purpose::Clear, |buf, seq, ack| {
            request::delete_flow_by_reply(buf, seq, ack, &reply, flow.zone);
        });
        self.create(externals, place, now_s, Purpose::Recreate(place));
    }

    /// The kernel told an entry: the answer to a lookup.
    pub(crate) fn found(&mut self, externals: &[External], seq: u32, existing: &Flow) {
        let Some(&Purpose::Lookup(place)) = self.batches.purpose(seq) else {
            return;
        };
        let Some((wanted, _)) = flow_at(externals, place, 0) else {
            return;
        };
        let same = existing.orig == wanted.orig
            && existing.reply == Some(wanted.reply_direction())
            && existing.master == wanted.master;
        self.collisions.push_back(if same {
            Collision::Same(place, existing.status_bits())
        } else {
            Collision::Other(place)
        });
    }

    /// The kernel's verdict on a request.
    pub(crate) fn verdict(
        &mut self,
        externals: &[External],
        notices: &mut VecDeque<Notice>,
        seq: u32,
        errno: i32,
    ) {
        if self.batches.verdict(seq, errno) {
            self.complete(externals, notices);
        }
    }

    /// All requests of the first batch under way have been decided, or their verdicts are lost.
    pub(crate) fn complete(&mut self, externals: &[External], notices: &mut VecDeque<Notice>) {
        let mut finished = std::mem::take(&mut self.finished);
        self.batches.finish(&mut finished);
        for (purpose, errno) in finished.drain(..) {
            self.outcome(externals, notices, purpose, errno);
        }
        self.finished = finished;
    }

    fn outcome(
        &mut self,
        externals: &[External],
        notices: &mut VecDeque<Notice>,
        purpose: Purpose,
        errno: i32,
    ) {
        match (purpose, errno) {
            (Purpose::Clear, _) | (Purpose::Lookup(_), 0) => {}
            (Purpose::Create(_) | Purpose::Update(_) | Purpose::Recreate(_), 0) => {
                self.flows.0 += 1;
                self.adopted |= self.pass == Pass::Children;
            }
            (Purpose::Create(place), EEXIST) => {
                self.collisions.push_back(Collision::Unknown(place));
            }
            (Purpose::Create(place), ENOENT) if self.pass == Pass::Children => {
                self.orphans.push_back(place);
            }
            // It went between the two questions, or its reply tuple is taken by another.
            (Purpose::Lookup(place) | Purpose::Update(place), _) => {
                self.collisions.push_back(Collision::Other(place));
            }
            (Purpose::Create(place), errno) | (Purpose::Recreate(place), errno) => {
                self.flows.1 += 1;
                self.refused(notices, errno, || sample_at(externals, place));
            }
            (Purpose::CreateExpectation(_) | Purpose::RecreateExpectation(_), 0) => {
                self.expectations.0 += 1;
            }
            (Purpose::CreateExpectation(place), EEXIST) => {
                self.collisions.push_back(Collision::Expectation(place));
            }
            (Purpose::CreateExpectation(place) | Purpose::RecreateExpectation(place), errno) => {
                self.expectations.1 += 1;
                let entry = || {
                    expectation_at(externals, place, 0).map(|e| Sample::Expectation(Box::new(e)))
                };
                self.refused(notices, errno, entry);
            }
        }
    }

    fn refused(
        &mut self,
        notices: &mut VecDeque<Notice>,
        errno: i32,
        entry: impl Fn() -> Option<Sample>,
    ) {
        refuse(&mut self.refusals, errno, &entry);
        self.told += 1;
        if self.told <= TOLD_MAX {
            let entry = match entry() {
                Some(Sample::Flow(flow)) => format!("{flow:?}"),
                Some(Sample::Expectation(expectation)) => format!("{expectation:?}"),
                None => String::new(),
            };
            notices.push_back(Notice::CommitRefused {
                operation: "commit-create",
                errno,
                entry,
            });
        }
    }

    /// How far it is. `total`: entries to commit.
    pub(crate) fn work(&self, total: u64, now: Instant) -> Work {
        Work {
            done: self.flows.0 + self.flows.1 + self.expectations.0 + self.expectations.1,
            total,
            running: now.saturating_duration_since(self.started),
        }
    }

    /// Which tables it is about.
    pub(crate) fn scope(&self) -> Scope {
        self.scope
    }

    /// How it has ended, and what the kernel has refused.
    pub(crate) fn end(&mut self, now: Instant) -> (CommitEnd, Refusals) {
        let end = CommitEnd {
            committed: self.flows.0 + self.expectations.0,
            refused: self.flows.1 + self.expectations.1,
            interrupted: self.is_interrupted,
            took: now.saturating_duration_since(self.started),
            ago: std::time::Duration::ZERO,
        };
        (end, std::mem::take(&mut self.refusals))
    }

    /// The lines at the end.
    pub(crate) fn report(&self, notices: &mut VecDeque<Notice>, now: Instant) {
        let mut started = self.started;
        if self.scope != Scope::Expectations {
            notices.push_back(Notice::CommittedFlows(self.flows.0));
            if self.flows.1 > 0 {
                notices.push_back(Notice::FlowsNotCommitted(self.flows.1));
            }
            let ended = self.expectations_started.unwrap_or(now);
            notices.push_back(Notice::CommitTook(ended.saturating_duration_since(started)));
            let Some(ended) = self.expectations_started else {
                return;
            };
            started = ended;
        }
        notices.push_back(Notice::CommittedExpectations(self.expectations.0));
        if self.expectations.1 > 0 {
            notices.push_back(Notice::ExpectationsNotCommitted(self.expectations.1));
        }
        notices.push_back(Notice::CommitTook(now.saturating_duration_since(started)));
    }
}

/// The connection at a place and the seconds since the peer last told of it.
fn flow_at(externals: &[External], place: Place, now_s: u32) -> Option<(Flow, u32)> {
    let slot = externals.get(place.origin)?.flows.get(place.id)?;
    Some((slot.value(), now_s.saturating_sub(slot.updated_s)))
}

fn sample_at(externals: &[External], place: Place) -> Option<Sample> {
    flow_at(externals, place, 0).map(|(flow, _)| Sample::Flow(Box::new(flow)))
}

fn expectation_at(externals: &[External], place: Place, now_s: u32) -> Option<Expectation> {
    let slot = externals.get(place.origin)?.expectations.get(place.id)?;
    let mut expectation = slot.value();
    let timeout_s = Expectation::timeout_s(&mut expectation);
    let age_s = now_s.saturating_sub(slot.updated_s);
    *timeout_s = timeout_s.map(|told| told.saturating_sub(age_s).max(1));
    Some(expectation)
}
