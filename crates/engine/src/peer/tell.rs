//! What a peer is told: entries as they change, everything when it knows nothing, proofs, and acknowledgements.
//!
//! Only positions of entries are kept; what is said of one is decided when it is written. So whatever
//! happens while the peer is slow or away is told once, and nothing that has ended is kept for it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use native::message::{RoleWord, Table, Takeover, Word};
use native::{DigestKey, Encoder};

use super::known::Known;
use super::pending::Pending;
use super::prove::Proof;
use super::returning::{Return, Told};
use crate::cache::{Cache, Object, State};
use crate::internal::Internal;
use crate::journal::{Journal, Marks};
use crate::lag::Lag;
use crate::queue::Entry;
use crate::snapshot::Replication;

/// Bytes written at once.
const PIECE_LEN: usize = 16 * 1024;

/// Bytes that may wait for room beside entries: answers are not written beyond it.
const ANSWERS_LEN_MAX: usize = 256 * 1024;

/// Messages that may wait for their acknowledgement.
const UNACKNOWLEDGED_MAX: usize = 1 << 17;

/// Steps in writing one piece; more are taken in the next.
const STEPS_MAX: usize = 1 << 14;

/// Steps that one step of a walk counts for.
const WALK_WEIGHT: usize = 256;

/// Entries that a walk queues at once.
const WALK_AHEAD: usize = 64;

/// Positions that a walk passes in one step.
const WALK_STEP: usize = 1024;

/// Acknowledgements are no closer together than this ...
const ACK_PAUSE: Duration = Duration::from_millis(20);

/// ... and come so long after what they are for: what has been heard is passed on first.
const ACK_DELAY: Duration = Duration::from_millis(1);

/// One table, as far as the peer has heard of it.
#[derive(Debug, Default)]
pub(super) struct Side {
    pub(super) pending: Pending,
    pub(super) known: Known,
}

/// The handing over of everything that the peer does not know.
#[derive(Clone, Copy, Debug)]
struct Walk {
    pass: Pass,
    next: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pass {
    /// Connections without a master, and the end of those that are no more.
    Masters,
    Children,
    Expectations,
}

/// The stream to a peer.
#[derive(Debug)]
pub(crate) struct Teller {
    /// Random at every start of this node.
    pub(super) epoch: u64,
    pub(super) encoder: Encoder,
    pub(super) out: Vec<u8>,
    /// Bytes of `out` that were handed out.
    handed: usize,
    room: usize,
    pub(super) flows: Side,
    pub(super) expectations: Side,
    walk: Option<Walk>,
    pub(super) returning: Option<Return>,
    /// Written and not acknowledged, oldest first; the last of them is `position`.
    unacknowledged: VecDeque<Entry>,
    position: u64,
    lag: Lag,
    /// The peer has greeted: it is known what it knows.
    may_tell: bool,
    ack: Option<(u64, Instant)>,
    acked_at: Option<Instant>,
    pub(super) proof: Proof,
    pub(super) messages: u64,
}

impl Teller {
    pub(super) fn new(epoch: u64) -> Self {
        Self {
            epoch,
            encoder: Encoder::new(),
            out: Vec::new(),
            handed: 0,
            room: 0,
            flows: Side::default(),
            expectations: Side::default(),
            walk: None,
            returning: None,
            unacknowledged: VecDeque::new(),
            position: 0,
            lag: Lag::new(),
            may_tell: false,
            ack: None,
            acked_at: None,
            proof: Proof::default(),
            messages: 0,
        }
    }

    /// A new stream begins; entries follow when the peer has greeted.
    pub(super) fn open(&mut self, key: DigestKey, greeting: &Word<'_>) {
        self.close();
        self.encoder = Encoder::new();
        self.proof.open(key);
        self.encoder.word(&mut self.out, greeting);
    }

    /// The stream is gone, with whatever was written to it and not acknowledged.
    pub(super) fn close(&mut self) {
        (self.out, self.handed, self.room) = (Vec::new(), 0, 0);
        (self.may_tell, self.ack, self.returning) = (false, None, None);
        self.proof.close();
    }

    pub(super) fn set_room(&mut self, room: usize) {
        self.room = room;
    }

    /// The peer has what it was told up to this position: go on behind it.
    pub(super) fn resume(&mut self, position: u64) {
        self.release(position, None);
        for entry in std::mem::take(&mut self.unacknowledged) {
            // Its end may have been among what was lost.
            match entry {
                Entry::Flow(id) => self.flows.known.insert(id),
                Entry::Expectation(id) => self.expectations.known.insert(id),
            }
            self.mark(entry, Marks::WHOLE);
        }
        self.begin(position);
        // What the peer has is proved as soon as it has heard the rest.
        if self.walk.is_none() {
            self.start_walk();
        }
    }

    /// The peer has nothing, or nothing that this node knows of.
    pub(super) fn start_over(&mut self) {
        for side in [&mut self.flows, &mut self.expectations] {
            side.pending.clear();
            side.known.clear();
        }
        self.unacknowledged.clear();
        self.begin(0);
        self.start_walk();
    }

    fn begin(&mut self, position: u64) {
        self.position = position;
        self.lag.forget();
        self.may_tell = true;
    }

    fn start_walk(&mut self) {
        self.walk = Some(Walk {
            pass: Pass::Masters,
            next: 0,
        });
    }

    /// Takes over what has happened to the internal cache.
    pub(crate) fn follow(&mut self, internal: &Internal) {
        if let Some(journal) = &internal.flows.journal {
            self.flows.follow(journal);
        }
        if let Some(journal) = &internal.expectations.journal {
            self.expectations.follow(journal);
        }
        let cleared = [
            internal.flows.journal.as_ref().is_some_and(|j| j.cleared),
            internal
                .expectations
                .journal
                .as_ref()
                .is_some_and(|j| j.cleared),
        ];
        if cleared.contains(&true) {
            self.start_walk();
        }
    }

    /// So many messages of the peer have been applied.
    pub(super) fn acknowledge(&mut self, position: u64, now: Instant) {
        let soon = now + ACK_DELAY;
        let earliest = self.acked_at.map_or(soon, |at| (at + ACK_PAUSE).max(soon));
        let due = self.ack.map_or(earliest, |(_, due)| due);
        self.ack = Some((position, due));
    }

    /// The peer has applied everything up to this position.
    pub(super) fn acknowledged(&mut self, position: u64, now: Instant) {
        if self.may_tell {
            self.release(position, Some(now));
        }
    }

    fn release(&mut self, position: u64, now: Option<Instant>) {
        let first = self.position - self.unacknowledged.len() as u64;
        let count = position.min(self.position).saturating_sub(first);
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        self.unacknowledged.drain(..count);
        if let Some(now) = now
            && count > 0
        {
            let released = self.position - self.unacknowledged.len() as u64;
            self.lag.acknowledged(released as u32, now);
        }
    }

    /// Says a word. What is of no use later may be dropped when the peer takes nothing: returns whether it
    /// was said.
    pub(super) fn answer(&mut self, word: &Word<'_>) -> bool {
        let has_room = self.out.len() < ANSWERS_LEN_MAX;
        if has_room {
            self.encoder.word(&mut self.out, word);
        }
        has_room
    }

    pub(super) fn tell_role(&mut self, role: RoleWord, term: u64) {
        if self.may_tell {
            self.encoder.word(&mut self.out, &Word::Role(role, term));
        }
    }

    pub(super) fn tell_takeover(&mut self, term: u64, from: &str) {
        if self.may_tell {
            let takeover = Word::Takeover(Takeover { term, from });
            self.encoder.word(&mut self.out, &takeover);
        }
    }

    /// The peer lacks what it was told under these handles: bit `n` is the handle `first + n`.
    pub(super) fn wanted(&mut self, table: Table, first: u32, handles: u64) {
        let side = match table {
            Table::Flows => &mut self.flows,
            Table::Expectations => &mut self.expectations,
        };
        for bit in (0..u64::BITS).filter(|bit| handles >> bit & 1 != 0) {
            // Nothing was told of handles further on.
            if let Some(id) = first.checked_add(bit)
                && id < side.known.end()
            {
                // Or of its end, if there is nothing any more.
                side.known.insert(id);
                side.pending.mark(id, Marks::WHOLE);
            }
        }
        self.proof.look_again();
    }

    pub(super) fn ask_for_own(&mut self) {
        if self.may_tell {
            self.encoder.word(&mut self.out, &Word::Request);
        }
    }

    /// Writes the next piece of the stream. `told`: what this node was told by all. `false`: there is nothing to say now, or no room.
    pub(crate) fn next_piece(&mut self, internal: &Internal, told: Told<'_>, now: Instant) -> bool {
        self.out.drain(..self.handed);
        self.handed = 0;
        if self.room == 0 {
            return false;
        }
        self.fill(internal, told, now);
        self.handed = self.out.len().min(self.room).min(PIECE_LEN);
        self.room -= self.handed;
        self.handed > 0
    }

    /// What [`Teller::next_piece`] wrote.
    pub(crate) fn piece(&self) -> &[u8] {
        self.out.get(..self.handed).unwrap_or_default()
    }

    fn fill(&mut self, internal: &Internal, told: Told<'_>, now: Instant) {
        if let Some((position, _)) = self
            .ack
            .take_if(|(_, due)| *due <= now || !self.out.is_empty())
        {
            self.acked_at = Some(now);
            self.encoder.ack(&mut self.out, position);
        }
        let before = self.position;
        let mut steps = 0;
        while steps < STEPS_MAX && self.out.len() < PIECE_LEN && self.step(internal, told, now) {
            steps += if self.walk.is_some() { WALK_WEIGHT } else { 1 };
        }
        if self.position != before {
            self.lag.sent(self.position as u32, now);
        }
    }

    /// Does the next thing that there is to do. Returns whether there was any.
    fn step(&mut self, internal: &Internal, told: Told<'_>, now: Instant) -> bool {
        if !self.may_tell || self.unacknowledged.len() >= UNACKNOWLEDGED_MAX {
            return false;
        }
        if self.answer_doubt(internal) {
            return true;
        }
        if let Some((id, marks)) = self.flows.pending.pop() {
            self.write_flow(internal, id, marks);
            return true;
        }
        if let Some((id, _)) = self.expectations.pending.pop() {
            self.write_expectation(internal, id);
            return true;
        }
        if self.returning.is_some() {
            self.return_on(internal, told);
            return true;
        }
        if self.walk.is_some() {
            self.walk_on(internal, now);
            return true;
        }
        self.prove(internal, now)
    }

    /// Whether a piece could be written now.
    fn is_due(&self, now: Instant) -> bool {
        let waits = !self.flows.pending.is_empty()
            || !self.expectations.pending.is_empty()
            || self.walk.is_some()
            || self.returning.is_some()
            || self.proof.is_asked();
        let tells = self.may_tell && self.unacknowledged.len() < UNACKNOWLEDGED_MAX && waits;
        let acks = self.ack.is_some_and(|(_, due)| due <= now);
        self.room > 0 && (tells || acks || self.out.len() > self.handed)
    }

    /// When there will be something to write.
    pub(super) fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        if self.is_due(now) {
            return Some(now);
        }
        if self.room == 0 || !self.may_tell {
            return None;
        }
        let ack = self.ack.map(|(_, due)| due);
        let proof = (self.walk.is_none() && self.unacknowledged.len() < UNACKNOWLEDGED_MAX)
            .then(|| self.proof.next_at())
            .flatten();
        [ack, proof].into_iter().flatten().min()
    }

    /// Says what there is to say of a connection. The peer learns nothing of one that came and went.
    fn write_flow(&mut self, internal: &Internal, id: u32, marks: Marks) {
        let side = &mut self.flows;
        match living(&internal.flows, id) {
            Some(flow) if marks.is_whole() || !side.known.contains(id) => {
                side.known.insert(id);
                self.encoder.new_flow(&mut self.out, id, &flow);
            }
            Some(flow) => {
                let fields = marks.as_fields();
                self.encoder.update_flow(&mut self.out, id, fields, &flow);
            }
            None if side.known.remove(id) => self.encoder.gone_flow(&mut self.out, id),
            None => return,
        }
        self.told(Entry::Flow(id));
    }

    fn write_expectation(&mut self, internal: &Internal, id: u32) {
        let side = &mut self.expectations;
        match living(&internal.expectations, id) {
            Some(expectation) => {
                side.known.insert(id);
                self.encoder
                    .new_expectation(&mut self.out, id, &expectation);
            }
            None if side.known.remove(id) => self.encoder.gone_expectation(&mut self.out, id),
            None => return,
        }
        self.told(Entry::Expectation(id));
    }

    /// A message about this entry was written.
    pub(super) fn told(&mut self, entry: Entry) {
        self.position += 1;
        self.messages += 1;
        self.unacknowledged.push_back(entry);
    }

    fn mark(&mut self, entry: Entry, marks: Marks) {
        match entry {
            Entry::Flow(id) => self.flows.pending.mark(id, marks),
            Entry::Expectation(id) => self.expectations.pending.mark(id, marks),
        }
    }

    fn walk_on(&mut self, internal: &Internal, now: Instant) {
        let Some(mut walk) = self.walk else {
            return;
        };
        for _ in 0..WALK_STEP {
            let end = match walk.pass {
                Pass::Expectations => {
                    let end = internal.expectations.positions();
                    end.max(self.expectations.known.end())
                }
                _ => internal.flows.positions().max(self.flows.known.end()),
            };
            if walk.next >= end {
                walk.next = 0;
                walk.pass = match walk.pass {
                    Pass::Masters => Pass::Children,
                    Pass::Children => Pass::Expectations,
                    Pass::Expectations => {
                        self.walk = None;
                        self.encoder.word(&mut self.out, &Word::Complete);
                        self.proof.hurry(now);
                        return;
                    }
                };
                continue;
            }
            let id = walk.next;
            walk.next += 1;
            if self.is_missing(internal, walk.pass, id) {
                let entry = match walk.pass {
                    Pass::Expectations => Entry::Expectation(id),
                    _ => Entry::Flow(id),
                };
                self.mark(entry, Marks::WHOLE);
                if self.flows.pending.len() + self.expectations.pending.len() >= WALK_AHEAD {
                    break;
                }
            }
        }
        self.walk = Some(walk);
    }

    /// Whether the peer lacks this entry, or has one that is no more.
    fn is_missing(&self, internal: &Internal, pass: Pass, id: u32) -> bool {
        if pass == Pass::Expectations {
            let is_there = is_living(&internal.expectations, id);
            return is_there != self.expectations.known.contains(id);
        }
        let is_known = self.flows.known.contains(id);
        let slot = internal.flows.get(id);
        match slot.filter(|slot| slot.state != State::Dead) {
            Some(slot) => !is_known && slot.has_master() == (pass == Pass::Children),
            None => is_known && pass == Pass::Masters,
        }
    }

    /// How much of everything the peer has been told; `None`: all of it.
    pub(super) fn percent(&self, internal: &Internal) -> Option<u8> {
        let walk = self.walk?;
        let all = u64::from(internal.flows.positions()).max(1);
        let done = match walk.pass {
            Pass::Masters => u64::from(walk.next) * 100 / all,
            _ => 99,
        };
        Some(u8::try_from(done).unwrap_or(99).min(99))
    }

    /// How far the peer is behind.
    pub(super) fn replication(&self, now: Instant) -> Replication {
        let waiting = self.flows.pending.len() + self.expectations.pending.len();
        Replication {
            at_risk: (waiting + self.unacknowledged.len()) as u64,
            lag: Some(self.lag.oldest(now)),
            percentiles: self.lag.percentiles(now),
        }
    }

    pub(super) fn is_consistent(&self) -> bool {
        self.unacknowledged.len() as u64 <= self.position && self.handed <= self.out.len()
    }
}

impl Side {
    fn follow<K>(&mut self, journal: &Journal<K>) {
        for &(id, marks) in &journal.changed {
            self.pending.mark(id, marks);
        }
    }
}

/// The entry at this position, unless it has ended.
pub(super) fn living<T: Object>(cache: &Cache<T>, id: u32) -> Option<T::Value> {
    let slot = cache.get(id).filter(|slot| slot.state != State::Dead)?;
    Some(slot.value())
}

fn is_living<T: Object>(cache: &Cache<T>, id: u32) -> bool {
    cache.get(id).is_some_and(|slot| slot.state != State::Dead)
}

/// Whether there is an entry with this key that has not ended.
pub(super) fn living_key<T: Object>(cache: &Cache<T>, key: &T::Key) -> bool {
    cache.find(key).is_some_and(|id| is_living(cache, id))
}
