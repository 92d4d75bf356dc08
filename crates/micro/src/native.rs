//! The same way in the native dialect: two engines and their connection, without sockets.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use ::native::keys::PrivateKey;
use ::native::transport::{self, Event, Timing, Transport};
use ctnetlink::emit;
use engine::api::{NativeSettings, PeerSettings};
use engine::{Engine, KernelSocket, Mode, Origins, Output, PeerId, Start};

use crate::settings;

/// Events read at once; so many come within [`READ_PAUSE`].
const EVENTS_PER_READ: usize = 16;

/// How often the active node reads events.
const READ_PAUSE: Duration = Duration::from_micros(400);

/// It sends once while it reads so often.
const READS_PER_SENDING: usize = 5;

/// The standby looks once while the active node reads so often.
const READS_PER_LOOK: usize = 25;

/// The only peer of each.
const PEER: PeerId = PeerId(0);

/// A node with its connection.
struct Member {
    engine: Engine,
    transport: Transport,
}

/// An active node and its standby, in sync.
pub struct Pair {
    active: Member,
    standby: Member,
    now: Instant,
    reads: usize,
    /// Datagrams on the way to the standby, and those from it.
    forth: Vec<Vec<u8>>,
    back: Vec<Vec<u8>>,
}

impl std::fmt::Debug for Pair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pair").field("now", &self.now).finish()
    }
}

impl Pair {
    /// Two nodes that have greeted each other, beside empty kernel tables.
    #[must_use]
    pub fn new() -> Self {
        let now = Instant::now();
        let mut pair = Self {
            active: Member::new(0, now),
            standby: Member::new(1, now),
            now,
            reads: 0,
            forth: Vec::new(),
            back: Vec::new(),
        };
        for _ in 0..200 {
            pair.now += READ_PAUSE;
            pair.active_turn(&[]);
            pair.standby_turn();
        }
        pair
    }

    /// Takes events as the driver of a busy node reads them.
    pub fn pass(&mut self, events: &[&[u8]]) {
        for read in events.chunks(EVENTS_PER_READ) {
            self.now += READ_PAUSE;
            self.reads += 1;
            self.active_turn(read);
            if self.reads.is_multiple_of(READS_PER_LOOK) {
                self.standby_turn();
            }
        }
    }

    /// Messages that the standby has read, and connections that it has now.
    #[must_use]
    pub fn told(&self) -> [u64; 2] {
        let peers = self.standby.engine.peers(self.now);
        let told = peers.first();
        told.map_or([0; 2], |peer| [peer.messages_received, peer.entries])
    }

    #[inline(never)]
    fn active_turn(&mut self, events: &[&[u8]]) {
        for event in events {
            self.active.engine.handle_events(self.now, event);
        }
        self.active.turn(1, self.now, &mut self.back);
        if self.reads.is_multiple_of(READS_PER_SENDING) {
            self.active.send(self.now, &mut self.forth);
        }
    }

    /// What the standby does when it looks: instructions are counted here.
    #[inline(never)]
    fn standby_turn(&mut self) {
        self.standby.turn(0, self.now, &mut self.forth);
        self.standby.send(self.now, &mut self.back);
    }
}

impl Default for Pair {
    fn default() -> Self {
        Self::new()
    }
}

impl Member {
    fn new(index: u8, now: Instant) -> Self {
        let other = 1 - index;
        let mut settings = settings(Mode::Notrack);
        settings.links.clear();
        settings.native = NativeSettings {
            name: format!("node{index}"),
            peers: vec![PeerSettings {
                name: format!("node{other}"),
                ..PeerSettings::default()
            }],
            recover: false,
        };
        let start = Start {
            now,
            unix_time_s: 1000,
            seed: 7 + u64::from(index),
            origins: Origins::default(),
        };
        let mut engine = Engine::new(settings, start);
        while engine.poll_output().is_some() {}
        let mut done = Vec::new();
        emit::done(&mut done, 1, 0, 0);
        engine.handle_kernel_reply(now, KernelSocket::Dump, &done);
        let settings = transport::Settings {
            private_key: key(index),
            peers: vec![transport::PeerSettings {
                addresses: vec![address(other)],
                public_keys: vec![key(other).public()],
            }],
            timing: Timing::default(),
        };
        let transport = Transport::new(settings, [index; 32], now).expect("keys that are keys");
        Self { engine, transport }
    }

    /// Takes what has come.
    fn turn(&mut self, from: u8, now: Instant, come: &mut Vec<Vec<u8>>) {
        for datagram in come.drain(..) {
            let datagram = datagram.as_slice().into();
            self.transport
                .handle_datagram(now, address(from), None, None, datagram);
        }
        self.tell(now);
        if self.transport.poll_timeout().is_some_and(|at| at <= now) {
            self.transport.handle_timeout(now);
        }
        self.engine.handle_timeout(now);
        while let Some(output) = self.engine.poll_output() {
            if let Output::Stream { bytes, .. } = output {
                self.transport.write(now, transport::PeerId(0), bytes);
            }
        }
    }

    /// Sends what there is to send.
    fn send(&mut self, now: Instant, go: &mut Vec<Vec<u8>>) {
        let mut buffer = Vec::new();
        while let Some(transmit) = self.transport.poll_transmit(now, &mut buffer) {
            let len = transmit.segment_len.unwrap_or(buffer.len()).max(1);
            go.extend(buffer.chunks(len).map(<[u8]>::to_vec));
            buffer.clear();
        }
        self.tell(now);
    }

    fn tell(&mut self, now: Instant) {
        while let Some(event) = self.transport.poll_event() {
            match event {
                Event::Connected(_) => self.engine.handle_peer_open(now, PEER),
                Event::Bytes(_, bytes) => {
                    self.engine.handle_peer_bytes(now, PEER, &bytes);
                }
                Event::Closed(_, _, heard_at) => {
                    self.engine.handle_peer_closed(now, PEER, heard_at);
                }
                Event::Writable(_) | Event::Failed(..) => {}
            }
        }
        let room = self.transport.room(transport::PeerId(0));
        self.engine.set_peer_room(PEER, room);
    }
}

fn key(index: u8) -> PrivateKey {
    PrivateKey::from_seed([index + 1; 32])
}

fn address(index: u8) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 3781 + u16::from(index))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::captured;

    #[test]
    fn the_captured_lives_reach_the_standby_and_leave_nothing_behind() {
        let events = captured();
        let mut pair = Pair::new();
        pair.pass(&events);
        pair.pass(&events[..events.len() / 2]);
        let [_, entries] = pair.told();
        assert!(entries > 0);
        pair.pass(&events[events.len() / 2..]);
        for _ in 0..50 {
            pair.pass(&[&[]]);
        }
        let [messages, entries] = pair.told();
        assert_eq!(entries, 0);
        // Each life is told at its beginning, and at its end.
        assert!(messages >= events.len() as u64, "{messages}");
    }
}
