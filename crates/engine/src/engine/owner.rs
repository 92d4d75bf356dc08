//! Whose connections are whose: takeovers, claims, and the way back.

use std::time::{Duration, Instant};

use super::Engine;
use super::recover::Recovery;
use crate::api::{PeerId, PeerSet, Scope};
use crate::external::{External, HELD, Owner};
use crate::kernel::dump::Purpose;
use crate::kernel::standby::Walk;
use crate::notice::Notice;
use crate::peer::Peer;
use crate::role::Role;

/// A node is promoted as another one dies, of which it is told only when a connection has been silent for some seconds;
/// or as another one gives up, whose word may come after the promotion.
const LATE: Duration = Duration::from_secs(5);

/// What was on its way when a node died may be heard so long after it. Of a node that lives more is heard sooner or later.
const UNDER_WAY: Duration = Duration::from_millis(100);

/// What was taken over becomes this node's as the kernel's table is read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Adoption {
    /// The reading that was the latest one at that time: a later one is needed.
    after: u16,
    is_read: bool,
}

/// Promotions.
impl Engine {
    /// The origins whose connections a new primary takes over are its own from now on.
    pub(super) fn take_origins(&mut self) {
        let origins = (0..self.externals.len()).filter(|&origin| self.is_promoted_for(origin));
        self.take(&origins.collect::<Vec<_>>());
    }

    /// Whether a promotion is about the connections of this origin.
    fn is_promoted_for(&self, origin: usize) -> bool {
        let mut ids = (0..=u8::MAX).map(PeerId).zip(&self.peers);
        let peer = ids.find(|(_, peer)| peer.origin == origin);
        match (peer, self.takeover_from) {
            // Version 1 knows of one other node, whose turn is over.
            (None, None) => true,
            // It has no name.
            (None, Some(_)) => false,
            (Some((id, _)), Some(chosen)) => chosen.contains(id),
            // One that forwards keeps what it has, unless there is nobody else to mean.
            (Some((_, peer)), None) => self.peers.len() == 1 || !peer.forwards(),
        }
    }

    /// The connections of these origins are this node's from now on, and everybody is told so.
    fn take(&mut self, origins: &[usize]) {
        let mut taken = Vec::new();
        for &origin in origins {
            let external = self.externals.get_mut(origin);
            let Some(external) = external.filter(|external| external.is_its_own()) else {
                continue;
            };
            external.owner = Owner::ThisNode;
            if self.standby.is_some() {
                // The former owner gives them up as soon as it is told; their timeouts are still to be set.
                self.hold(origin);
                let after = self.dump.epoch;
                self.standby_mut(|standby| standby.adopts_expectations = Some((after, false)));
                self.adoption = Some(Adoption {
                    after: self.dump.epoch,
                    is_read: false,
                });
            }
            let peer = self.peers.iter().find(|peer| peer.origin == origin);
            taken.extend(peer.map(|peer| peer.name.clone()));
        }
        self.term += 1;
        self.own_term = self.term;
        for peer in &mut self.peers {
            peer.tell_role(Role::Primary, self.own_term);
            for name in &taken {
                peer.tell_takeover(self.own_term, name);
            }
        }
    }

    /// A peer that forwarded is missed, and was heard last at that moment. One that lived longer than until this node's
    /// promotion is not what that was about, unless it was named.
    pub(super) fn missed(&mut self, peer: PeerId, heard_at: Instant) {
        if self.takeover_from.is_some() || heard_at <= self.role.begun() + UNDER_WAY {
            self.take_over_late(peer);
        }
    }

    /// A peer that forwarded does so no more. If this node was promoted just before, it was promoted in that one's place.
    pub(super) fn take_over_late(&mut self, peer: PeerId) {
        let role = self.role.state();
        let is_new = self.now.saturating_duration_since(self.role.begun()) <= LATE;
        let is_meant = |chosen: PeerSet| chosen.contains(peer);
        if role.role != Role::Primary
            || !role.is_settled
            || !is_new
            || !self.takeover_from.is_none_or(is_meant)
        {
            return;
        }
        let Some(peer) = self.peer(peer) else {
            return;
        };
        let (origin, name) = (peer.origin, peer.name.clone());
        let external = self.externals.get(origin);
        if !external.is_some_and(External::is_its_own) {
            return;
        }
        self.notices.push_back(Notice::TakenOverLate(name));
        self.take(&[origin]);
        if self.standby.is_some() {
            self.standby_mut(|standby| standby.settling = Some(Walk::START));
            self.read(Purpose::Reconcile, None, Scope::All);
        } else {
            self.commit_late();
        }
    }

    /// A reading of all connections has ended.
    pub(super) fn has_read_flows(&mut self) {
        let epoch = self.dump.epoch;
        if let Some(adoption) = &mut self.adoption {
            adoption.is_read |= epoch != adoption.after;
        }
        self.finish_adoption();
    }

    /// All that was taken over is this node's, and has the timeouts that it should have: what a former owner that lives
    /// has besides, and from now on, is its own.
    pub(super) fn finish_adoption(&mut self) {
        if !self.adoption.is_some_and(|adoption| adoption.is_read) {
            return;
        }
        let is_settled = self.standby.as_ref().is_none_or(|standby| {
            let mut waiting = standby.waiting.iter().zip(&self.externals);
            let is_waiting = waiting.any(|(w, e)| e.is_taken() && !w.flows.is_empty());
            standby.settling.is_none() && !is_waiting
        });
        if is_settled {
            self.adoption = None;
            self.leave_to_living();
        }
    }

    /// A takeover is complete: its former owners that live own what they have besides.
    pub(super) fn leave_to_living(&mut self) {
        let living = self.peers.iter().filter(|peer| peer.has_told_all());
        for origin in living.map(|peer| peer.origin).collect::<Vec<_>>() {
            let Some(external) = self.externals.get(origin).filter(|it| it.is_taken()) else {
                continue;
            };
            // What it had given up before was not taken over; a third node may be about to tell it.
            if let Some(until) = external.held_until {
                self.drop_held_at(origin, until);
            }
            self.untake(origin);
        }
    }

    /// Whether something was taken over and is not this node's yet.
    fn is_taking_over(&self) -> bool {
        self.adoption.is_some() || (self.standby.is_none() && self.commit.is_some())
    }
}

/// What others say.
impl Engine {
    /// A peer has told everything that it has.
    pub(super) fn told_all(&mut self, origin: usize) {
        let external = self.externals.get(origin);
        let is_taken = external.is_some_and(External::is_taken);
        // It is left to it when the takeover is complete.
        if !is_taken || !self.is_taking_over() {
            self.untake(origin);
        }
    }

    /// Greets a peer with what this node is, and what it has taken over.
    pub(super) fn tell_role_to(&mut self, peer: PeerId) {
        let role = self.role.state().role;
        let is_primary = role == Role::Primary;
        let term = if is_primary { self.own_term } else { self.term };
        let is_taken = |origin| self.externals.get(origin).is_some_and(External::is_taken);
        let taken = self.peers.iter().filter(|peer| is_taken(peer.origin));
        let taken: Vec<_> = taken.map(|peer| peer.name.clone()).collect();
        if let Some(peer) = self.peers.get_mut(usize::from(peer.0)) {
            peer.tell_role(role, term);
            for name in taken.iter().filter(|_| is_primary) {
                peer.tell_takeover(term, name);
            }
        }
    }

    /// A peer tells the connections of another node as its own from now on.
    pub(super) fn taken_elsewhere(&mut self, by: PeerId, term: u64, from: &str) {
        let Some((by_origin, by_name)) = self.peer(by).map(|peer| (peer.origin, &peer.name)) else {
            return;
        };
        if by_name == from {
            // It has been taken over, and says so before it gives up the first of them.
            self.hold(by_origin);
            return;
        }
        let external = self.externals.get(by_origin);
        let is_taken = external.is_some_and(External::is_taken);
        if !is_taken || self.yields_to(by_origin) {
            self.untake(by_origin);
        }
        let is_this_node = from == self.settings.native.name;
        if is_this_node || self.has_just_taken_over() {
            self.tell_taken(by, term);
        }
        if is_this_node {
            return;
        }
        let now = self.now;
        let Some(peer) = self.peers.iter_mut().find(|peer| peer.name == from) else {
            return;
        };
        peer.taken_at = Some(now);
        let (origin, lives) = (peer.origin, peer.is_connected());
        if lives {
            // What it opens from now on is its own.
            self.hold(origin);
        } else if let Some(external) = self.externals.get_mut(origin) {
            external.owner = Owner::Another;
        }
    }

    /// Whether what this node took over may be on its way to others yet as its former owner's, who take it over from that one.
    fn has_just_taken_over(&self) -> bool {
        let began = self.role.begun();
        self.role.state().role == Role::Primary && self.now.saturating_duration_since(began) < HELD
    }

    /// Tells the others, but for the one that takes over, that some of what this node has may be that one's by now. It comes
    /// before the first of it is given up.
    fn tell_taken(&mut self, by: PeerId, term: u64) {
        let ids = (0..=u8::MAX).map(PeerId);
        for (_, peer) in ids.zip(&mut self.peers).filter(|(id, _)| *id != by) {
            peer.tell_takeover(term, &self.settings.native.name);
        }
    }

    /// A peer is missed, of which there was a sign of life then for the last time. If a third node has told since that it has
    /// taken over what it had, it was dead by then.
    pub(super) fn lost(&mut self, peer: PeerId, heard_at: Instant) {
        let taken = self.peer(peer).map(|peer| (peer.origin, peer.taken_at));
        if let Some((origin, Some(taken_at))) = taken
            && heard_at < taken_at
            && let Some(external) = self.externals.get_mut(origin).filter(|it| it.is_its_own())
        {
            external.owner = Owner::Another;
        }
    }

    /// What this origin no longer has is about to be told by another one, and stays in the kernel until then.
    fn hold(&mut self, origin: usize) {
        let external = self.externals.get_mut(origin);
        if external.is_some_and(|external| external.hold(self.now)) {
            self.drop_held_at(origin, self.now + HELD);
        }
    }

    fn drop_held_at(&mut self, origin: usize, at: Instant) {
        let mut peers = self.peers.iter_mut();
        if let Some(peer) = peers.find(|peer| peer.origin == origin) {
            peer.drop_held_at(at);
        }
    }

    /// An origin tells its own again.
    pub(super) fn untake(&mut self, origin: usize) {
        if let Some(external) = self.externals.get_mut(origin)
            && std::mem::replace(&mut external.owner, Owner::Origin) != Owner::Origin
        {
            external.held_until = None;
            self.drop_held_at(origin, self.now);
            self.put_back(origin..origin + 1, false);
        }
    }

    /// This node no longer forwards: whatever the peers tell belongs to them.
    pub(super) fn give_back(&mut self) {
        let own = self.recovery.as_ref().map(Recovery::origin);
        let is_anybody_there = self.peers.iter().any(Peer::is_connected);
        for origin in (0..self.externals.len()).filter(|&origin| Some(origin) != own) {
            let Some(external) = self.externals.get_mut(origin).filter(|it| it.is_taken()) else {
                continue;
            };
            let peer = self.peers.iter().find(|peer| peer.origin == origin);
            if is_anybody_there && peer.is_some_and(|peer| !peer.is_connected()) {
                // The dead one cannot own them: they stay this node's until somebody else tells them.
                external.owner = Owner::Another;
            } else {
                self.untake(origin);
            }
        }
        self.adoption = None;
        self.standby_mut(|standby| standby.settling = None);
        self.put_back(0..self.externals.len(), false);
    }
}
