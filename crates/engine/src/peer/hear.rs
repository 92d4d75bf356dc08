//! What a peer tells: its entries into the external cache of their origin, and what it says about ours.

use std::time::{Duration, Instant};

use flow::{Expectation, Flow};
use native::message::{Changes, Hashes, Hello, Range, RoleWord, Table, Word};
use native::{Decoder, Fields, Message, RangeDigest};

use super::check::Round;
use super::mirror::{Mirror, Was};
use super::policy::Guard;
use super::tell::Teller;
use crate::cache::{Cache, Object};
use crate::external::External;
use crate::journal::Marks;
use crate::packed::PackedFlow;
use crate::snapshot::RepairStats;

/// Messages that are looked at ahead: what they are about fits into the nearest cache of the processor.
const AHEAD: usize = 160;

/// What a peer has said of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Greeting {
    pub(super) epoch: u64,
    /// Entries that it had.
    flows: u32,
    at: Instant,
}

/// What was known of a peer's life before it started anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Former {
    /// A sign of that life was last received then.
    pub(super) heard_at: Instant,
    /// It had told everything that it had.
    pub(super) is_complete: bool,
}

/// Something that concerns more than the peer's own cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// It has greeted.
    Greeted,
    /// Everything that it has is here.
    Complete,
    /// It is something else than before, or says so again.
    Role(RoleWord, u64),
    /// The entries of this node are its own from now on.
    Takeover { term: u64, from: String },
    /// It wants its own entries back.
    Request,
    /// This node's own come next, as they were told before it started anew; so long ago their former life was heard of
    /// last, and all that it had had been told.
    Returning { quiet: Duration, is_complete: bool },
    /// One of them.
    Own(Box<Flow>),
    /// The same of an expectation.
    OwnExpectation(Box<Expectation>),
    /// All of them have been given back; so many connections there were.
    Returned { had: u64 },
    /// Nothing more of its stream can be understood.
    Broken,
    /// A round of comparisons has ended after repairs.
    Repaired(RepairStats),
}

/// The stream from a peer.
#[derive(Debug)]
pub(crate) struct Hearer {
    /// What the peer is called here.
    name: String,
    decoder: Decoder,
    pub(super) digest: Option<RangeDigest>,
    guard: Guard,
    handle_max: u32,
    /// The last greeting; kept when the stream is gone, to go on from there.
    pub(super) greeting: Option<Greeting>,
    /// It has greeted on this stream.
    pub(super) is_greeted: bool,
    /// Messages about entries that were applied since its start.
    received: u64,
    /// Some of them have just been applied, and the peer is to hear of it.
    has_applied: bool,
    /// Everything has been told since its start.
    pub(super) is_complete: bool,
    told: u64,
    pub(super) round: Option<Round>,
    /// A difference was found, and no round has ended without one since.
    pub(super) is_doubted: bool,
    pub(super) proved_at: Option<Instant>,
    /// Orphans are being taken out, from this position on.
    orphans: [Option<u32>; 2],
    /// What was known of its life before it started anew.
    pub(super) former: Option<Former>,
    /// A sign of life of it was last received then, when the stream was gone.
    heard_at: Option<Instant>,
    /// They stay until then: their owner gets them back.
    pub(super) keep_orphans_until: Option<Instant>,
    /// It was asked for what it has of this node's.
    pub(super) expects_own: bool,
    is_broken: bool,
    pub(super) stats: RepairStats,
    pub(super) malformed: u64,
    pub(super) messages: u64,
    pub(super) resumed: u64,
    pub(super) asked_again: u64,
    pub(super) news: Vec<News>,
    /// Positions that are about to be needed; kept for its memory.
    ahead: Vec<(u32, bool)>,
}

impl Hearer {
    pub(super) fn new(name: &str, guard: Guard, handle_max: u32) -> Self {
        Self {
            name: name.to_owned(),
            decoder: Decoder::new(),
            digest: None,
            guard,
            handle_max,
            greeting: None,
            is_greeted: false,
            received: 0,
            has_applied: false,
            is_complete: false,
            told: 0,
            round: None,
            is_doubted: false,
            proved_at: None,
            orphans: [None; 2],
            former: None,
            heard_at: None,
            keep_orphans_until: None,
            expects_own: false,
            is_broken: false,
            stats: RepairStats::default(),
            malformed: 0,
            messages: 0,
            resumed: 0,
            asked_again: 0,
            news: Vec::new(),
            ahead: Vec::new(),
        }
    }

    /// A new stream begins. Returns where the former one stood.
    pub(super) fn open(&mut self) -> Option<native::message::Resume> {
        self.close(None);
        self.greeting.map(|greeting| native::message::Resume {
            epoch: greeting.epoch,
            position: self.received,
        })
    }

    /// The stream is gone. `heard_at`: when there was a last sign of life.
    pub(super) fn close(&mut self, heard_at: Option<Instant>) {
        self.heard_at = heard_at.or(self.heard_at);
        self.decoder = Decoder::new();
        (self.digest, self.round) = (None, None);
        (self.is_greeted, self.is_broken) = (false, false);
    }

    /// How much of everything has been told; `None`: all of it.
    pub(super) fn percent(&self) -> Option<u8> {
        if self.is_complete {
            return None;
        }
        let all = self.greeting.map_or(1, |greeting| greeting.flows.max(1));
        let percent = self.told * 100 / u64::from(all);
        Some(u8::try_from(percent).unwrap_or(99).min(99))
    }

    pub(super) fn refused(&self) -> u64 {
        self.guard.refused
    }

    /// Takes a piece of the stream.
    pub(super) fn receive(
        &mut self,
        teller: &mut Teller,
        external: &mut External,
        now: Instant,
        now_s: u32,
        piece: &[u8],
    ) -> Vec<News> {
        let mut decoder = std::mem::take(&mut self.decoder);
        decoder.push(piece);
        self.expect(external, &decoder);
        while !self.is_broken {
            match decoder.next() {
                Ok(None) => break,
                Ok(Some(Ok(ref message))) => self.message(teller, external, now, now_s, message),
                Ok(Some(Err(_))) => {
                    self.malformed += 1;
                    self.applied();
                }
                Err(_) => self.give_up(),
            }
        }
        self.decoder = decoder;
        if std::mem::take(&mut self.has_applied) {
            teller.acknowledge(self.received, now);
        }
        std::mem::take(&mut self.news)
    }

    /// Fetches what the messages to come are about. Changes nothing.
    fn expect(&mut self, external: &External, decoder: &Decoder) {
        let ahead = &mut self.ahead;
        ahead.clear();
        let known = decoder.flows_ahead().take(AHEAD);
        let place = |(handle, is_gone)| Some((external.flow_handles.id(handle)?, is_gone));
        ahead.extend(known.filter_map(place));
        external.flows.fetch_at(ahead);
    }

    fn applied(&mut self) {
        self.received += 1;
        self.has_applied = true;
    }

    fn give_up(&mut self) {
        self.malformed += 1;
        self.is_broken = true;
        self.news.push(News::Broken);
    }

    fn message(
        &mut self,
        teller: &mut Teller,
        external: &mut External,
        now: Instant,
        now_s: u32,
        message: &Message<'_>,
    ) {
        self.messages += 1;
        if !self.is_greeted {
            match message {
                Message::Word(Word::Hello(hello)) => self.greeted(teller, external, now, hello),
                // Without a greeting nothing that follows can be placed.
                _ => self.give_up(),
            }
            return;
        }
        if message.is_entry() {
            self.applied();
        }
        match message {
            Message::NewFlow { handle, flow } => {
                self.told += 1;
                self.flow(external, now, now_s, *handle, flow);
            }
            Message::UpdateFlow { handle, changes } => {
                self.update(teller, external, now_s, *handle, changes);
            }
            Message::GoneFlow { handle } => {
                external.gone::<PackedFlow>(*handle, now);
            }
            Message::NewExpectation {
                handle,
                expectation,
            } => {
                self.expectation(external, now, now_s, *handle, expectation);
            }
            Message::GoneExpectation { handle } => {
                external.gone::<Expectation>(*handle, now);
            }
            Message::StatementFlow { handle, flow } => {
                let was = match flow {
                    Some(flow) => self.flow(external, now, now_s, *handle, flow),
                    None => vacated(&mut external.flow_handles, &mut external.flows, *handle),
                };
                self.count(was, flow.is_some());
            }
            Message::StatementExpectation {
                handle,
                expectation,
            } => {
                let was = match expectation {
                    Some(expectation) => {
                        self.expectation(external, now, now_s, *handle, expectation)
                    }
                    None => vacated(
                        &mut external.expectation_handles,
                        &mut external.expectations,
                        *handle,
                    ),
                };
                self.count(was, expectation.is_some());
            }
            Message::ReturnedFlow { flow } => {
                if self.may_return(|guard| guard.allows(flow)) {
                    self.news.push(News::Own(Box::new(*flow)));
                }
            }
            Message::ReturnedExpectation { expectation } => {
                if self.may_return(|guard| guard.allows_expectation(expectation)) {
                    let own = News::OwnExpectation(Box::new(*expectation));
                    self.news.push(own);
                }
            }
            Message::Ack { position } => teller.acknowledged(*position, now),
            Message::Word(word) => self.word(teller, external, now, word),
            Message::Unknown => {}
        }
    }

    /// Whether something that is given back was asked for, and may be taken.
    fn may_return(&mut self, is_allowed: impl FnOnce(&mut Guard) -> bool) -> bool {
        self.malformed += u64::from(!self.expects_own);
        self.expects_own && is_allowed(&mut self.guard)
    }

    /// Counts what a statement has repaired.
    fn count(&mut self, was: Option<Was>, is_there: bool) {
        match was {
            Some(Was::Missing) => self.stats.missing += 1,
            Some(Was::Different) if is_there => self.stats.different += 1,
            Some(Was::Different) => self.stats.extra += 1,
            Some(Was::Same) | None => {}
        }
    }

    fn flow(
        &mut self,
        external: &mut External,
        now: Instant,
        now_s: u32,
        handle: u32,
        flow: &Flow,
    ) -> Option<Was> {
        external.told::<PackedFlow>(handle, flow, now);
        let (cache, handles) = (&mut external.flows, &mut external.flow_handles);
        if handle >= self.handle_max {
            self.malformed += 1;
            return None;
        }
        if !self.guard.allows(flow) {
            handles.refuse(cache, handle);
            return None;
        }
        let is_new = handles.id(handle).is_none();
        if is_new && !self.guard.has_room(cache.stats().active, now) {
            // The next comparison has it told again.
            handles.vacate(cache, handle);
            return None;
        }
        handles
            .tell(cache, handle, flow, self.is_complete, now_s)
            .ok()
    }

    fn expectation(
        &mut self,
        external: &mut External,
        now: Instant,
        now_s: u32,
        handle: u32,
        expectation: &Expectation,
    ) -> Option<Was> {
        external.told::<Expectation>(handle, expectation, now);
        if handle >= self.handle_max {
            self.malformed += 1;
            return None;
        }
        let cache = &mut external.expectations;
        let handles = &mut external.expectation_handles;
        if !self.guard.allows_expectation(expectation) {
            handles.refuse(cache, handle);
            return None;
        }
        handles
            .tell(cache, handle, expectation, self.is_complete, now_s)
            .ok()
    }

    fn update(
        &mut self,
        teller: &mut Teller,
        external: &mut External,
        now_s: u32,
        handle: u32,
        changes: &Changes<'_>,
    ) {
        let (cache, handles) = (&mut external.flows, &mut external.flow_handles);
        let Some(id) = handles.id(handle) else {
            if handles.is_expired(handle) {
                self.want(teller, Table::Flows, handle, 1);
            } else if !handles.is_refused(handle) {
                // It was lost here: have it told whole.
                doubt_one(teller, handle, 0);
            }
            return;
        };
        if self.guard.allows_all()
            && let Some(usual) = changes.usual()
            && cache.adjust(id, &usual, now_s)
        {
            return;
        }
        let Some(slot) = cache.get(id) else {
            return;
        };
        let mut flow = slot.value();
        match changes.apply(&mut flow) {
            Ok(_) if !self.guard.allows(&flow) => handles.refuse(cache, handle),
            Ok(fields) if PackedFlow::is_another(Marks::fields(fields)) => {
                cache.replace(id, &flow, now_s);
            }
            Ok(_) => cache.assign(id, &flow, now_s),
            Err(_) => {
                self.malformed += 1;
                let hash = self.digest.as_mut().map_or(0, |d| d.flow_hash(&flow));
                doubt_one(teller, handle, !hash);
            }
        }
    }

    /// Asks for what has run out here: bit `n` of `handles` is the handle `first + n`.
    pub(super) fn want(&mut self, teller: &mut Teller, table: Table, first: u32, handles: u64) {
        let want = Word::Want {
            table,
            first,
            handles,
        };
        // Otherwise the next comparison comes upon it.
        if teller.answer(&want) {
            self.asked_again += u64::from(handles.count_ones());
        }
    }

    fn word(
        &mut self,
        teller: &mut Teller,
        external: &mut External,
        now: Instant,
        word: &Word<'_>,
    ) {
        match *word {
            // A second greeting on one stream makes no sense.
            Word::Hello(_) => self.give_up(),
            Word::Check(range, digest) => self.check(teller, external, now, range, digest),
            Word::Doubt(range, hashes) => teller.proof.doubt(range, hashes),
            Word::Complete => {
                self.is_complete = true;
                self.orphans = [Some(0); 2];
                self.news.push(News::Complete);
            }
            Word::Role(role, term) => self.news.push(News::Role(role, term)),
            Word::Takeover(takeover) => {
                if takeover.from == self.name {
                    // What it gives up comes right behind.
                    external.hold(now);
                }
                self.news.push(News::Takeover {
                    term: takeover.term,
                    from: takeover.from.to_owned(),
                });
            }
            Word::Request => self.news.push(News::Request),
            Word::Returning {
                quiet_ms,
                is_complete,
            } => {
                if self.expects_own {
                    let quiet = Duration::from_millis(quiet_ms);
                    self.news.push(News::Returning { quiet, is_complete });
                }
            }
            Word::Returned { had } => {
                if std::mem::take(&mut self.expects_own) {
                    self.news.push(News::Returned { had });
                }
            }
            Word::Want {
                table,
                first,
                handles,
            } => teller.wanted(table, first, handles),
        }
    }

    fn greeted(
        &mut self,
        teller: &mut Teller,
        external: &mut External,
        now: Instant,
        hello: &Hello<'_>,
    ) {
        self.is_greeted = true;
        self.digest = Some(RangeDigest::new(hello.digest_key, Fields::ALL));
        let is_same = self
            .greeting
            .is_some_and(|greeting| greeting.epoch == hello.epoch);
        if is_same {
            self.resumed += 1;
        } else {
            // It has started anew; what it had is kept until it has said what it has now.
            external.flow_handles.orphan_all();
            external.expectation_handles.orphan_all();
            self.former = self.greeting.map(|_| Former {
                heard_at: self.heard_at.unwrap_or(now),
                is_complete: self.is_complete,
            });
            (self.received, self.told) = (0, 0);
            (self.is_complete, self.orphans) = (false, [None; 2]);
            self.keep_orphans_until = None;
            self.proved_at = None;
        }
        self.greeting = Some(Greeting {
            epoch: hello.epoch,
            flows: hello.flows,
            at: now,
        });
        match hello.resume {
            Some(resume) if resume.epoch == teller.epoch => teller.resume(resume.position),
            _ => teller.start_over(),
        }
        self.news.push(News::Greeted);
    }

    /// When orphans that wait for it may be taken out; in the past: now.
    pub(super) fn orphans_due(&self) -> Option<Instant> {
        let waits = self.orphans.iter().any(Option::is_some);
        let begun = self.greeting?.at;
        waits.then(|| self.keep_orphans_until.unwrap_or(begun))
    }

    /// Has entries without a handle taken out, from then on. Before everything has been told that has to wait.
    pub(super) fn drop_orphans_at(&mut self, at: Instant) {
        self.keep_orphans_until = Some(self.keep_orphans_until.map_or(at, |until| until.max(at)));
        if self.is_complete {
            self.orphans = [Some(0); 2];
        }
    }

    /// Takes out some of the entries that the peer no longer has since it started anew.
    pub(super) fn drop_orphans(&mut self, external: &mut External, step: u32) {
        let [flows, expectations] = &mut self.orphans;
        if let Some(from) = *flows {
            *flows = external
                .flow_handles
                .drop_orphans(&mut external.flows, from, step);
        } else if let Some(from) = *expectations {
            *expectations =
                external
                    .expectation_handles
                    .drop_orphans(&mut external.expectations, from, step);
        }
    }
}

fn vacated<T: Object>(mirror: &mut Mirror, cache: &mut Cache<T>, handle: u32) -> Option<Was> {
    mirror.vacate(cache, handle).then_some(Was::Different)
}

/// Has one connection stated.
fn doubt_one(teller: &mut Teller, handle: u32, hash: u64) {
    let range = Range {
        table: Table::Flows,
        first: handle,
        count: 1,
    };
    teller.answer(&Word::Doubt(range, Some(Hashes::new([hash]))));
}
