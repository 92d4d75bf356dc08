//! A session with a peer in the native dialect.
//!
//! Everything goes over one ordered stream in each direction. How a stream is carried, encrypted and repeated
//! is the driver's business; here it is bytes, and room for bytes.
//!
//! `tell` is the stream to the peer, `prove` what makes sure that it was understood, `hear` the stream from it;
//! `check` is its comparison with what is here, `mirror` says which of its entries is meant.

mod check;
mod hear;
mod known;
pub(crate) mod mirror;
pub(crate) mod pending;
mod policy;
mod prove;
mod returning;
mod tell;

use std::time::{Duration, Instant};

use native::DigestKey;
use native::message::{Capabilities, Hello, RoleWord, VERSION, Word};

use crate::api::PeerSettings;
use crate::external::External;
use crate::internal::Internal;
use crate::random::Random;
use crate::role::Role;
use crate::snapshot::{PeerSnapshot, PeerState, Replication};
use hear::Hearer;
pub(crate) use hear::News;
use policy::Guard;
pub(crate) use returning::Told;
use tell::Teller;

/// Handles that a peer may use at least, whatever the limit of the caches.
const HANDLES_MIN: usize = 1 << 20;

/// Entries of a peer that is away are looked at this often.
const AGING_PAUSE: Duration = Duration::from_secs(10);

/// How long a node that asked for its own entries has for telling them as its own again.
const RETURN_PATIENCE: Duration = Duration::from_secs(30);

/// Orphans looked at in one step.
const ORPHANS_STEP: u32 = 4096;

/// One peer of the native dialect.
#[derive(Debug)]
pub(crate) struct Peer {
    /// Where its entries are kept: a position among the external caches.
    pub(crate) origin: usize,
    pub(crate) name: String,
    own_name: String,
    pub(crate) teller: Teller,
    hearer: Hearer,
    is_open: bool,
    /// It was asked for what it has of this node's.
    has_asked: bool,
    /// What it says it is, and since which term.
    pub(crate) role: Role,
    pub(crate) term: u64,
    /// When another node last told that what this one had is its own.
    pub(crate) taken_at: Option<Instant>,
    /// When its stream was lost.
    lost_at: Option<Instant>,
    /// When its entries are looked at next for those that have run out, and from which position on.
    aging: Option<(Instant, u32)>,
}

impl Peer {
    /// `epoch`: random at every start of this node. `limit`: entries in a cache.
    pub(crate) fn new(
        settings: &PeerSettings,
        own_name: &str,
        origin: usize,
        epoch: u64,
        limit: usize,
    ) -> Self {
        let handle_max = limit.saturating_mul(2).max(HANDLES_MIN);
        let handle_max = u32::try_from(handle_max).unwrap_or(u32::MAX).min(1 << 28);
        Self {
            origin,
            name: settings.name.clone(),
            own_name: own_name.to_owned(),
            teller: Teller::new(epoch),
            hearer: Hearer::new(
                &settings.name,
                Guard::new(settings.policy.clone()),
                handle_max,
            ),
            is_open: false,
            has_asked: false,
            role: Role::Unknown,
            term: 0,
            taken_at: None,
            lost_at: None,
            aging: None,
        }
    }

    /// A stream to the peer has been opened, and one from it.
    pub(crate) fn open(&mut self, internal: &Internal, random: &mut Random) {
        self.is_open = true;
        self.aging = None;
        let mut key = [0; 16];
        for (bytes, word) in key.chunks_mut(8).zip([random.next(), random.next()]) {
            bytes.copy_from_slice(&word.to_be_bytes());
        }
        let len = |len: u64| u32::try_from(len).unwrap_or(u32::MAX);
        let hello = Hello {
            version: VERSION,
            name: &self.own_name,
            epoch: self.teller.epoch,
            capabilities: Capabilities::default(),
            digest_key: DigestKey(key),
            flows: len(internal.flows.stats().active),
            expectations: len(internal.expectations.stats().active),
            resume: self.hearer.open(),
        };
        self.teller.open(hello.digest_key, &Word::Hello(hello));
    }

    /// Both streams are gone. `heard_at`: when a sign of life of the peer was received last.
    pub(crate) fn close(&mut self, now: Instant, heard_at: Instant) {
        if std::mem::take(&mut self.is_open) {
            self.lost_at = Some(now);
            self.aging = Some((now + AGING_PAUSE, 0));
        }
        self.teller.close();
        self.hearer.close(Some(heard_at));
        if std::mem::take(&mut self.hearer.expects_own) {
            self.has_asked = false;
        }
    }

    /// Whether the peer has greeted on a stream that is open.
    pub(crate) fn is_connected(&self) -> bool {
        self.is_open && self.hearer.is_greeted
    }

    /// Whether it is there and forwards.
    pub(crate) fn forwards(&self) -> bool {
        self.is_connected() && self.role == Role::Primary
    }

    pub(crate) fn set_room(&mut self, room: usize) {
        self.teller.set_room(room);
    }

    /// Takes a piece of the stream from the peer.
    pub(crate) fn receive(
        &mut self,
        external: &mut External,
        now: Instant,
        now_s: u32,
        piece: &[u8],
    ) -> Vec<News> {
        if !self.is_open {
            return Vec::new();
        }
        self.hearer
            .receive(&mut self.teller, external, now, now_s, piece)
    }

    /// Messages of the peer that were read.
    pub(crate) fn messages_heard(&self) -> u64 {
        self.hearer.messages
    }

    /// Says what this node is.
    pub(crate) fn tell_role(&mut self, role: Role, term: u64) {
        self.teller.tell_role(role_word(role), term);
    }

    /// Says whose entries this node has taken over.
    pub(crate) fn tell_takeover(&mut self, term: u64, from: &str) {
        self.teller.tell_takeover(term, from);
    }

    /// Asks for what the peer has of this node's since before it started anew.
    pub(crate) fn ask_for_own(&mut self) {
        // Later only those are without a handle over there that are no more.
        if !std::mem::replace(&mut self.has_asked, true) {
            self.teller.ask_for_own();
            self.hearer.expects_own = true;
        }
    }

    /// Gives the peer back what it told before it started anew; until then, and a while longer, nothing of it is dropped.
    pub(crate) fn give_back(&mut self, external: &External, now: Instant) {
        let former = self.hearer.former.filter(|_| external.is_its_own());
        self.teller.give_back(former, now);
        if former.is_some() {
            self.hearer.keep_orphans_until = Some(now + RETURN_PATIENCE);
        }
    }

    /// Whether it is there and gives this node's own entries back, or has more to tell of its own.
    pub(crate) fn is_answering(&self) -> bool {
        self.is_connected() && (self.hearer.expects_own || !self.hearer.is_complete)
    }

    /// Has entries that were held for somebody else taken out, from then on.
    pub(crate) fn drop_held_at(&mut self, at: Instant) {
        self.hearer.drop_orphans_at(at);
    }

    /// Whether it is there and has told everything that it has.
    pub(crate) fn has_told_all(&self) -> bool {
        self.is_connected() && self.hearer.is_complete
    }

    /// Acts on the passing of time. `may_drop`: entries may be taken out now.
    pub(crate) fn handle_timeout(&mut self, external: &mut External, may_drop: bool, now: Instant) {
        if may_drop && self.hearer.orphans_due().is_some_and(|at| at <= now) {
            self.hearer.drop_orphans(external, ORPHANS_STEP);
        }
    }

    /// Whether entries that have run out are to be looked for: from which position on, and how many seconds the
    /// peer has been away.
    pub(crate) fn aging(&self, now: Instant) -> Option<(u32, u32)> {
        let (_, from) = self.aging.filter(|(at, _)| *at <= now)?;
        let away = now.saturating_duration_since(self.lost_at?).as_secs();
        Some((from, u32::try_from(away).unwrap_or(u32::MAX)))
    }

    /// So far they have been looked at; `None`: all of them. `has_expired`: some have run out.
    pub(crate) fn aged(&mut self, now: Instant, next: Option<u32>, has_expired: bool) {
        if has_expired {
            self.hearer.proved_at = None;
        }
        self.aging = Some(match next {
            Some(next) => (now, next),
            None => (now + AGING_PAUSE, 0),
        });
    }

    /// When something is to be written or done.
    pub(crate) fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        let orphans = self.hearer.orphans_due().map(|at| at.max(now));
        let rest = match self.is_open {
            false => self.aging.map(|(at, _)| at),
            true => self.teller.poll_timeout(now),
        };
        [orphans, rest].into_iter().flatten().min()
    }

    /// How far the peer is behind.
    pub(crate) fn replication(&self, now: Instant) -> Replication {
        self.teller.replication(now)
    }

    /// How far both agree.
    pub(crate) fn state(&self, internal: &Internal, now: Instant) -> PeerState {
        if !self.is_connected() {
            return PeerState::Connecting;
        }
        let told = self.teller.percent(internal);
        let heard = self.hearer.percent();
        match (told, heard) {
            (Some(told), Some(heard)) => PeerState::Syncing {
                percent: told.min(heard),
            },
            (Some(percent), None) | (None, Some(percent)) => PeerState::Syncing { percent },
            (None, None) if self.hearer.is_doubted => PeerState::Repairing,
            (None, None) => PeerState::InSync {
                proved: self
                    .hearer
                    .proved_at
                    .map(|at| now.saturating_duration_since(at)),
            },
        }
    }

    pub(crate) fn snapshot(
        &self,
        internal: &Internal,
        external: &External,
        now: Instant,
    ) -> PeerSnapshot {
        PeerSnapshot {
            name: self.name.clone(),
            state: self.state(internal, now),
            role: self.role,
            entries: external.flows.stats().active,
            replication: self.replication(now),
            received: self.hearer.stats,
            sent: self.teller.proof.stats,
            refused: self.hearer.refused(),
            malformed: self.hearer.malformed,
            messages_sent: self.teller.messages,
            messages_received: self.hearer.messages,
            resumed: self.hearer.resumed,
            asked_again: self.hearer.asked_again,
        }
    }

    pub(crate) fn is_consistent(&self) -> bool {
        self.teller.is_consistent()
    }
}

fn role_word(role: Role) -> RoleWord {
    match role {
        Role::Unknown => RoleWord::Unset,
        Role::Primary => RoleWord::Primary,
        Role::Backup => RoleWord::Backup,
        Role::Fault => RoleWord::Faulty,
    }
}

/// The role that a peer says it has.
pub(crate) fn role_of(word: RoleWord) -> Role {
    match word {
        RoleWord::Unset => Role::Unknown,
        RoleWord::Primary => Role::Primary,
        RoleWord::Backup => Role::Backup,
        RoleWord::Faulty => Role::Fault,
    }
}
