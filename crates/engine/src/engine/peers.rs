//! The peers of the native dialect.

use std::time::Instant;

use super::Engine;
#[cfg(feature = "damage")]
use super::Side;
use super::recover::Recovery;
use crate::api::PeerId;
use crate::external::External;
use crate::journal::Journal;
use crate::kernel::inject::Inject;
use crate::notice::Notice;
use crate::peer::{News, Peer, Told, role_of};
use crate::role::Role;
use crate::snapshot::PeerSnapshot;

/// Entries of a peer that is away looked at in one step.
const AGE_STEP: u32 = 1024;

/// Timeout of entries whose own was not told, seconds.
const UNTOLD_TIMEOUT_S: u32 = 600;

/// Changes that may wait for the kernel while entries of peers are taken out.
const WAITING_MAX: usize = 4096;

impl Engine {
    /// The stream to a peer and the one from it are open, both at their beginning.
    pub fn handle_peer_open(&mut self, now: Instant, peer: PeerId) {
        self.now = now;
        self.follow_caches();
        if let Some(it) = self.peers.get_mut(usize::from(peer.0)) {
            it.open(&self.internal, &mut self.random);
        }
        debug_assert!(self.check_invariants());
    }

    /// Takes a piece of the stream from a peer. Returns how many messages came to their end in it.
    pub fn handle_peer_bytes(&mut self, now: Instant, peer: PeerId, piece: &[u8]) -> u64 {
        self.now = now;
        let now_s = self.now_s();
        let Some(it) = self.peers.get_mut(usize::from(peer.0)) else {
            return 0;
        };
        let Some(external) = self.externals.get_mut(it.origin) else {
            return 0;
        };
        let before = it.messages_heard();
        let heard = it.receive(external, now, now_s, piece);
        let messages = it.messages_heard().saturating_sub(before);
        for news in heard {
            self.heard_news(peer, news);
        }
        debug_assert!(self.check_invariants());
        messages
    }

    /// Both streams of a peer are gone. What was on its way may be lost; the session goes on from its position.
    ///
    /// `heard_at`: when a sign of life of the peer was received last, not later than `now`. It decides whether this node was
    /// promoted in that one's place.
    pub fn handle_peer_closed(&mut self, now: Instant, peer: PeerId, heard_at: Instant) {
        self.now = now;
        if let Some(it) = self.peers.get_mut(usize::from(peer.0)) {
            let forwarded = it.forwards();
            if it.is_connected() {
                self.notices.push_back(Notice::PeerLost(it.name.clone()));
            }
            it.close(now, heard_at);
            self.lost(peer, heard_at);
            if forwarded {
                self.missed(peer, heard_at);
            }
        }
        debug_assert!(self.check_invariants());
    }

    /// How many bytes the stream to a peer takes now. [`crate::Output::Stream`] takes from it; call again
    /// when there is more room.
    pub fn set_peer_room(&mut self, peer: PeerId, bytes: usize) {
        if let Some(it) = self.peers.get_mut(usize::from(peer.0)) {
            it.set_room(bytes);
        }
    }

    /// What there is to tell of every peer of the native dialect.
    #[must_use]
    pub fn peers(&self, now: Instant) -> Vec<PeerSnapshot> {
        self.peers
            .iter()
            .filter_map(|peer| {
                let external = self.externals.get(peer.origin)?;
                Some(peer.snapshot(&self.internal, external, now))
            })
            .collect()
    }

    /// Changes (or removes) a connection of a cache behind the core's back, as a fault of memory or of the
    /// program would. Returns whether it was there.
    #[cfg(feature = "damage")]
    pub fn damage(&mut self, side: Side, key: &flow::Key, entry: Option<&flow::Flow>) -> bool {
        self.follow_caches();
        let caches = match side {
            Side::Internal => vec![&mut self.internal.flows],
            Side::External => self.externals.iter_mut().map(|e| &mut e.flows).collect(),
        };
        for cache in caches {
            if let Some(id) = cache.find(key) {
                cache.damage(id, entry);
                return true;
            }
        }
        false
    }

    fn heard_news(&mut self, peer: PeerId, news: News) {
        let Some(it) = self.peers.get_mut(usize::from(peer.0)) else {
            return;
        };
        let name = || it.name.clone();
        match news {
            News::Greeted => {
                self.notices.push_back(Notice::PeerGreeted(name()));
                if self.recovery.as_ref().is_some_and(Recovery::takes) {
                    it.ask_for_own();
                }
                self.tell_role_to(peer);
            }
            News::Complete => {
                let origin = it.origin;
                self.told_all(origin);
            }
            News::Role(word, term) => {
                let forwarded = it.forwards();
                let former = (it.role, it.term);
                (it.role, it.term) = (role_of(word), term);
                self.term = self.term.max(term);
                let (origin, is_primary) = (it.origin, it.role == Role::Primary);
                if is_primary && (former.0 != Role::Primary || former.1 < term) {
                    // Its claim goes before some that it did not go before.
                    self.put_back(origin..origin + 1, true);
                }
                if is_primary && term > self.own_term {
                    // It was promoted after this node: what it tells is its own.
                    self.untake(origin);
                } else if forwarded && !is_primary {
                    self.take_over_late(peer);
                }
            }
            News::Takeover { term, from } => {
                self.term = self.term.max(term);
                self.taken_elsewhere(peer, term, &from);
            }
            News::Request => {
                if let Some(external) = self.externals.get(it.origin) {
                    it.give_back(external, self.now);
                }
            }
            News::Returning { quiet, is_complete } => self.returning(peer, quiet, is_complete),
            News::Own(flow) => self.take_back(peer, &flow),
            News::OwnExpectation(expected) => self.take_back_expectation(peer, &expected),
            News::Returned { had } => self.returned(peer, had),
            News::Broken => {
                self.notices.push_back(Notice::PeerBroken(name()));
                self.broken.push_back(peer);
            }
            News::Repaired(stats) => self.notices.push_back(Notice::Repaired {
                peer: name(),
                stats,
            }),
        }
    }

    /// Takes out what a peer that is away cannot have any more: entries whose timeout has run out since.
    fn age(&mut self, index: usize) {
        let (now, now_s) = (self.now, self.now_s());
        let Some(peer) = self.peers.get_mut(index) else {
            return;
        };
        let Some(external) = self.externals.get_mut(peer.origin) else {
            return;
        };
        let Some((from, away_s)) = peer.aging(now) else {
            return;
        };
        let end = from
            .saturating_add(AGE_STEP)
            .min(external.flows.positions());
        let mut has_expired = false;
        for id in from..end {
            let Some(slot) = external.flows.get(id) else {
                continue;
            };
            let timeout_s = slot.value().timeout_s.unwrap_or(UNTOLD_TIMEOUT_S);
            if timeout_s < away_s {
                external.flow_handles.expire(&mut external.flows, id);
                has_expired = true;
            }
        }
        let next = (end < external.flows.positions()).then_some(end);
        if next.is_none() {
            has_expired |= age_expectations(external, away_s, now_s);
        }
        peer.aged(now, next, has_expired);
    }

    /// Has everybody who follows a cache take note of what happened to it.
    pub(super) fn follow_caches(&mut self) {
        let idle = |journal: &Journal<_>| journal.is_empty();
        let flows_idle = self.internal.flows.journal.as_ref().is_none_or(idle);
        let idle = |journal: &Journal<_>| journal.is_empty();
        let journal = &self.internal.expectations.journal;
        if flows_idle && journal.as_ref().is_none_or(idle) {
            return;
        }
        for peer in &mut self.peers {
            peer.teller.follow(&self.internal);
        }
        if let Some(journal) = &mut self.internal.flows.journal {
            journal.forget();
        }
        if let Some(journal) = &mut self.internal.expectations.journal {
            journal.forget();
        }
    }

    /// Lets the peers act on the passing of time.
    pub(super) fn time_peers(&mut self) {
        let (waiting, now) = (self.inject.as_ref().map_or(0, Inject::waiting), self.now);
        for peer in &mut self.peers {
            if let Some(external) = self.externals.get_mut(peer.origin) {
                peer.handle_timeout(external, waiting < WAITING_MAX, now);
            }
        }
        for index in 0..self.peers.len() {
            if waiting < WAITING_MAX {
                self.age(index);
            }
        }
    }

    /// The peer whose stream has a piece to be sent.
    pub(super) fn next_piece(&mut self) -> Option<PeerId> {
        let (internal, now) = (&self.internal, self.now);
        let from = self.next_peer;
        let count = self.peers.len();
        for offset in 0..count {
            let index = (from + offset) % count;
            let peer = self.peers.get_mut(index)?;
            let told = Told {
                externals: &self.externals,
                origin: peer.origin,
            };
            if peer.teller.next_piece(internal, told, now) {
                self.next_peer = index + 1;
                return u8::try_from(index).ok().map(PeerId);
            }
        }
        None
    }

    /// The native peer of this name.
    #[must_use]
    pub fn peer_named(&self, name: &str) -> Option<PeerId> {
        let mut peers = self.peers.iter();
        let at = peers.position(|peer| peer.name == name)?;
        u8::try_from(at).ok().map(PeerId)
    }

    /// Names of the native peers in the order of their ids; none where only version 1 is spoken.
    pub fn peer_names(&self) -> impl Iterator<Item = &str> {
        self.peers.iter().map(|peer| peer.name.as_str())
    }

    pub(super) fn peer(&self, peer: PeerId) -> Option<&Peer> {
        self.peers.get(usize::from(peer.0))
    }
}

/// Takes out the expectations that have run out while their origin was away. They are few. Nothing refreshes them as traffic
/// does connections: their time runs from when they were told.
fn age_expectations(external: &mut External, away_s: u32, now_s: u32) -> bool {
    let mut has_expired = false;
    let mut next = 0;
    while let Some(id) = external.expectations.next_from(next) {
        next = id + 1;
        let Some(slot) = external.expectations.get(id) else {
            continue;
        };
        let timeout_s = slot.value().timeout_s.unwrap_or(UNTOLD_TIMEOUT_S);
        let age_s = now_s.saturating_sub(slot.updated_s);
        if away_s > 0 && timeout_s < age_s {
            let handles = &mut external.expectation_handles;
            handles.expire(&mut external.expectations, id);
            has_expired = true;
        }
    }
    has_expired
}
