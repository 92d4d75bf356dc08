//! The peers of the native dialect.

use std::time::Instant;

use super::Engine;
use crate::api::PeerId;
use crate::native::Native;
use crate::snapshot::{PeerSnapshot, PeerState};

impl Engine {
    /// The stream to a peer and the one from it are open, both at their beginning.
    pub fn handle_peer_open(&mut self, now: Instant, peer: PeerId) {
        self.now = now;
        if let Some(native) = self.native(peer) {
            native.open();
        }
        debug_assert!(self.check_invariants());
    }

    /// Takes a piece of the stream from a peer.
    pub fn handle_peer_bytes(&mut self, now: Instant, peer: PeerId, piece: &[u8]) {
        self.now = now;
        let _ = (peer, piece);
        debug_assert!(self.check_invariants());
    }

    /// Both streams of a peer are gone. What was on its way may be lost; the session goes on from its position.
    pub fn handle_peer_closed(&mut self, now: Instant, peer: PeerId) {
        self.now = now;
        if let Some(native) = self.native(peer) {
            native.close();
        }
        debug_assert!(self.check_invariants());
    }

    /// How many bytes the stream to a peer takes now. [`crate::Output::Stream`] takes from it; call again
    /// when there is more room.
    pub fn set_peer_room(&mut self, peer: PeerId, bytes: usize) {
        if let Some(native) = self.native(peer) {
            native.set_room(bytes);
        }
    }

    /// What there is to tell of every peer of the native dialect.
    #[must_use]
    pub fn peers(&self, now: Instant) -> Vec<PeerSnapshot> {
        let _ = now;
        self.natives
            .iter()
            .map(|native| PeerSnapshot {
                name: native.name.clone(),
                state: if native.is_open() {
                    PeerState::Syncing { percent: 0 }
                } else {
                    PeerState::Connecting
                },
                entries: self
                    .externals
                    .get(native.origin)
                    .map_or(0, |external| external.flows.stats().active),
                ..PeerSnapshot::default()
            })
            .collect()
    }

    fn native(&mut self, peer: PeerId) -> Option<&mut Native> {
        self.natives.get_mut(usize::from(peer.0))
    }
}
