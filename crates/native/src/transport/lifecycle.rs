//! From the first packet of a handshake to the last word of a connection.

use std::time::{Duration, Instant};

use quinn_proto::{ConnectionHandle, Incoming};

use super::connection::{Connection, Ended};
use super::{Closed, Event, Failure, HANDSHAKES_MAX, Peer, PeerId, Transport};

/// Handshakes.
impl Transport {
    pub(super) fn incoming(&mut self, now: Instant, peer: PeerId, incoming: Incoming) {
        let mut answer = Vec::new();
        if self.is_closing {
            self.endpoint.ignore(incoming);
            return;
        }
        if !incoming.remote_address_validated() {
            self.refusals.retries = self.refusals.retries.saturating_add(1);
            match self.endpoint.retry(incoming, &mut answer) {
                Ok(transmit) => self.answer(&transmit, answer),
                Err(error) => self.endpoint.ignore(error.into_incoming()),
            }
            return;
        }
        if self
            .peer(peer)
            .is_none_or(|peer| peer.handshakes >= HANDSHAKES_MAX)
        {
            self.refusals.crowded = self.refusals.crowded.saturating_add(1);
            self.endpoint.ignore(incoming);
            return;
        }
        match self.endpoint.accept(incoming, now, &mut answer, None) {
            Ok((handle, inner)) => self.begin(now, handle, Connection::accepted(peer, inner, now)),
            Err(error) => {
                if let Some(transmit) = error.response {
                    self.answer(&transmit, answer);
                }
            }
        }
    }

    fn begin(&mut self, now: Instant, handle: ConnectionHandle, connection: Connection) {
        if let Some(peer) = self.peer_mut(connection.peer) {
            peer.handshakes = peer.handshakes.saturating_add(1);
        }
        self.connections.insert(handle.0, connection);
        self.after(now, handle);
    }

    /// Dials every peer that is waiting for it.
    pub(super) fn dial_all(&mut self, now: Instant) {
        if self.is_closing {
            return;
        }
        for id in 0..=u8::MAX {
            let id = PeerId(id);
            let Some(peer) = self.peer(id) else { return };
            let is_due = peer.dials
                && peer.current.is_none()
                && peer.dialing.is_none()
                && peer.next_dial <= now;
            if is_due {
                self.dial(now, id);
            }
        }
    }

    fn dial(&mut self, now: Instant, id: PeerId) {
        let until = now.checked_add(self.timing.dial).unwrap_or(now);
        let next = now.checked_add(self.timing.pause).unwrap_or(now);
        let Some(peer) = self.peers.get_mut(usize::from(id.0)) else {
            return;
        };
        let Some(&address) = peer.settings.addresses.get(peer.address_index) else {
            return;
        };
        // No name is sent; the library wants one.
        let dialed = self
            .endpoint
            .connect(now, peer.client.clone(), address, "conntrackd");
        match dialed {
            Ok((handle, inner)) => {
                peer.dialing = Some((handle, until));
                self.begin(now, handle, Connection::dialed(id, inner, now));
            }
            Err(error) => {
                peer.next_dial = next;
                let failure = Failure::Other(error.to_string());
                self.events.push_back(Event::Failed(id, address, failure));
            }
        }
    }
}

/// What becomes of a connection.
impl Transport {
    /// Passes on what a connection has to say, and lets it send.
    pub(super) fn after(&mut self, now: Instant, handle: ConnectionHandle) {
        let Some(connection) = self.connections.get_mut(&handle.0) else {
            return;
        };
        if !connection.is_busy {
            connection.is_busy = true;
            self.busy.push_back(handle);
        }
        let outcome = connection.poll(now, &mut self.events);
        if outcome.is_connected {
            self.connected(now, handle);
        }
        if let Some(ended) = outcome.ended {
            self.ended(now, handle, ended);
        }
        self.settle(now, handle);
    }

    /// Exchanges what connection and endpoint have to tell each other; the last word frees it.
    pub(super) fn settle(&mut self, now: Instant, handle: ConnectionHandle) {
        let Some(connection) = self.connections.get_mut(&handle.0) else {
            return;
        };
        let mut is_drained = false;
        let mut again = false;
        while let Some(event) = connection.inner.poll_endpoint_events() {
            is_drained |= event.is_drained();
            if let Some(answer) = self.endpoint.handle_event(handle, event) {
                connection.inner.handle_event(answer);
                again = true;
            }
        }
        if is_drained {
            self.connections.remove(&handle.0);
        } else if again {
            self.after(now, handle);
        }
    }

    /// A handshake has come to its end: both have shown their keys.
    fn connected(&mut self, now: Instant, handle: ConnectionHandle) {
        let own = self.key;
        let Some(connection) = self.connections.get_mut(&handle.0) else {
            return;
        };
        let id = connection.peer;
        let Some(peer) = self.peers.get_mut(usize::from(id.0)) else {
            return;
        };
        peer.handshakes = peer.handshakes.saturating_sub(1);
        if peer.dialing.is_some_and(|(dialing, _)| dialing == handle) {
            peer.dialing = None;
        }
        // All peers' keys are accepted from outside; it must be one of this peer's.
        let key = connection
            .key()
            .filter(|key| peer.settings.public_keys.contains(key));
        let Some(key) = key else {
            connection.refuse_key(now);
            self.after(now, handle);
            return;
        };
        let by_lower_key = connection.is_dialed == (own < key);
        let old = peer.current;
        if let Some(old) = old.and_then(|old| self.connections.get(&old.0))
            && old.is_by_lower_key
            && !by_lower_key
        {
            connection_close(self.connections.get_mut(&handle.0), now);
            self.after(now, handle);
            return;
        }
        if let Some(peer) = self.peer_mut(id) {
            peer.current = Some(handle);
            peer.past.connections = peer.past.connections.saturating_add(1);
        }
        if let Some(old) = old {
            if let Some(connection) = self.connections.get_mut(&old.0) {
                connection.replace(now);
            }
            self.after(now, old);
        }
        self.events.push_back(Event::Connected(id));
        if let Some(connection) = self.connections.get_mut(&handle.0) {
            connection.open(by_lower_key, &mut self.events);
        }
    }

    /// A connection, or an attempt at one, is over.
    fn ended(&mut self, now: Instant, handle: ConnectionHandle, ended: Ended) {
        let pause = self.timing.pause;
        let Some(connection) = self.connections.get(&handle.0) else {
            return;
        };
        let (id, was_open) = (connection.peer, connection.is_open);
        let address = connection.inner.remote_address();
        let Some(peer) = self.peers.get_mut(usize::from(id.0)) else {
            return;
        };
        connection.add_to_past(&mut peer.past);
        let was_dialing = peer.dialing.is_some_and(|(dialing, _)| dialing == handle);
        if was_dialing {
            peer.dialing = None;
        }
        if was_open {
            if peer.current == Some(handle) {
                peer.current = None;
                // A link that has gone silent is not the one to try first.
                if ended.closed == Closed::Silent {
                    next_address(peer);
                }
                let wait = match ended.closed {
                    Closed::Silent | Closed::Restarted | Closed::KeyStruck => Duration::ZERO,
                    _ => pause,
                };
                peer.next_dial = now.checked_add(wait).unwrap_or(now);
            }
            let heard_at = match ended.closed {
                // On the newer one, just now.
                Closed::Replaced => now,
                _ => ended.heard_at,
            };
            self.events
                .push_back(Event::Closed(id, ended.closed, heard_at));
            return;
        }
        peer.handshakes = peer
            .handshakes
            .saturating_sub(usize::from(!ended.was_connected));
        if was_dialing {
            let is_last = next_address(peer);
            let wait = if is_last || ended.failure != Failure::Silent {
                pause
            } else {
                Duration::ZERO
            };
            peer.next_dial = now.checked_add(wait).unwrap_or(now);
        }
        if ended.closed != Closed::ByUs {
            peer.past.failures = peer.past.failures.saturating_add(1);
            self.events
                .push_back(Event::Failed(id, address, ended.failure));
        }
    }
}

fn connection_close(connection: Option<&mut Connection>, now: Instant) {
    if let Some(connection) = connection {
        connection.close(now);
    }
}

/// Goes on to the next address; whether all have had their turn.
fn next_address(peer: &mut Peer) -> bool {
    peer.address_index = peer.address_index.saturating_add(1);
    let is_last = peer.address_index >= peer.settings.addresses.len();
    if is_last {
        peer.address_index = 0;
    }
    is_last
}
