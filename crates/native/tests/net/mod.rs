//! Transports on a network in memory: virtual time, loss, delay, reordering, links that go down.
#![allow(dead_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use native::keys::{PrivateKey, PublicKey};
use native::transport::{
    Closed, Event, Failure, PeerId, PeerSettings, Settings, Timing, Transmit, Transport,
};

/// The peer of a node that has one.
pub(crate) const PEER: PeerId = PeerId(0);

pub(crate) fn key(n: u8) -> PrivateKey {
    PrivateKey::from_seed([n; 32])
}

/// Two keys, the one that dials first.
pub(crate) fn two_keys() -> [PrivateKey; 2] {
    let mut keys = [key(1), key(2)];
    keys.sort_by_key(PrivateKey::public);
    keys
}

pub(crate) fn address(n: u8, link: u8) -> SocketAddr {
    SocketAddr::from(([10, link, 0, n], 3781))
}

pub(crate) fn settings(own: &PrivateKey, peers: Vec<PeerSettings>) -> Settings {
    Settings {
        private_key: own.clone(),
        peers,
        timing: Timing::default(),
    }
}

pub(crate) fn peer(addresses: &[SocketAddr], keys: &[&PrivateKey]) -> PeerSettings {
    PeerSettings {
        addresses: addresses.to_vec(),
        public_keys: keys.iter().map(|key| key.public()).collect(),
    }
}

/// A datagram under way.
#[derive(Clone, Debug)]
pub(crate) struct Datagram {
    pub(crate) from: SocketAddr,
    pub(crate) to: SocketAddr,
    pub(crate) bytes: Vec<u8>,
}

/// A node and what it has told.
pub(crate) struct Node {
    pub(crate) transport: Option<Transport>,
    settings: Settings,
    addresses: Vec<SocketAddr>,
    pub(crate) is_open: BTreeMap<u8, bool>,
    pub(crate) got: Vec<u8>,
    pub(crate) opened: usize,
    pub(crate) closed: Vec<Closed>,
    pub(crate) heard_at: Option<Instant>,
    pub(crate) failures: Vec<Failure>,
    /// What is to be written as there is room.
    pub(crate) to_write: Vec<u8>,
    starts: u8,
}

pub(crate) struct Net {
    pub(crate) now: Instant,
    start: Instant,
    pub(crate) nodes: Vec<Node>,
    under_way: BTreeMap<(Instant, u64), Datagram>,
    count: u64,
    random: u64,
    /// In 1000.
    pub(crate) loss: u64,
    pub(crate) delay: Duration,
    pub(crate) jitter: Duration,
    pub(crate) down: BTreeSet<SocketAddr>,
    /// Everything that was ever sent.
    pub(crate) captured: Vec<Datagram>,
}

impl Net {
    pub(crate) fn new() -> Self {
        let now = Instant::now();
        Self {
            now,
            start: now,
            nodes: Vec::new(),
            under_way: BTreeMap::new(),
            count: 0,
            random: 0x9e37_79b9_7f4a_7c15,
            loss: 0,
            delay: Duration::from_millis(1),
            jitter: Duration::ZERO,
            down: BTreeSet::new(),
            captured: Vec::new(),
        }
    }

    /// Two nodes that know each other by one address; the first dials.
    pub(crate) fn pair() -> Self {
        let mut net = Self::new();
        let [low, high] = two_keys();
        net.add(
            settings(&low, vec![peer(&[address(2, 0)], &[&high])]),
            &[address(1, 0)],
        );
        net.add(
            settings(&high, vec![peer(&[address(1, 0)], &[&low])]),
            &[address(2, 0)],
        );
        net
    }

    pub(crate) fn add(&mut self, settings: Settings, addresses: &[SocketAddr]) -> usize {
        self.nodes.push(Node {
            transport: None,
            settings,
            addresses: addresses.to_vec(),
            is_open: BTreeMap::new(),
            got: Vec::new(),
            opened: 0,
            closed: Vec::new(),
            heard_at: None,
            failures: Vec::new(),
            to_write: Vec::new(),
            starts: 0,
        });
        let at = self.nodes.len() - 1;
        self.start(at);
        at
    }

    /// Starts a node, anew if it runs: without a word to anybody.
    pub(crate) fn start(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        node.starts += 1;
        node.is_open.clear();
        let seed = [at as u8 * 16 + node.starts; 32];
        let transport = Transport::new(node.settings.clone(), seed, self.now).unwrap();
        node.transport = Some(transport);
    }

    pub(crate) fn stop(&mut self, at: usize) {
        self.nodes[at].transport = None;
        self.nodes[at].is_open.clear();
    }

    pub(crate) fn change(&mut self, at: usize, settings: Settings) {
        self.nodes[at].settings = settings;
        self.start(at);
    }

    /// Has a running node take over a key and those that its peers may have.
    pub(crate) fn set_keys(&mut self, at: usize, key: &PrivateKey, peers: Vec<Vec<PublicKey>>) {
        let now = self.now;
        self.transport(at).set_keys(now, key, peers).unwrap();
    }

    pub(crate) fn transport(&mut self, at: usize) -> &mut Transport {
        self.nodes[at].transport.as_mut().unwrap()
    }

    fn random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }

    /// Puts a datagram on its way, whoever sends it.
    pub(crate) fn send(&mut self, datagram: Datagram) {
        let jitter = self.jitter.as_micros() as u64;
        let late = if jitter == 0 {
            0
        } else {
            self.random() % jitter
        };
        let at = self.now + self.delay + Duration::from_micros(late);
        self.count += 1;
        self.under_way.insert((at, self.count), datagram);
    }

    fn transmit(&mut self, at: usize, transmit: Transmit, bytes: &[u8]) {
        // The own address on the same link.
        let own = &self.nodes[at].addresses;
        let link = |address: &SocketAddr| match address.ip() {
            std::net::IpAddr::V4(ip) => ip.octets()[1],
            std::net::IpAddr::V6(_) => 0,
        };
        let same = own.iter().find(|own| link(own) == link(&transmit.to));
        let from = *same.unwrap_or(&own[0]);
        for piece in bytes.chunks(transmit.segment_len.unwrap_or(bytes.len())) {
            let datagram = Datagram {
                from,
                to: transmit.to,
                bytes: piece.to_vec(),
            };
            self.captured.push(datagram.clone());
            let is_down = self.down.contains(&from) || self.down.contains(&transmit.to);
            if !is_down && self.random() % 1000 >= self.loss {
                self.send(datagram);
            }
        }
    }

    /// Everything that can be done at this moment.
    fn settle(&mut self) {
        for at in 0..self.nodes.len() {
            loop {
                let node = &mut self.nodes[at];
                let Some(transport) = &mut node.transport else {
                    break;
                };
                let mut is_done = true;
                while let Some(event) = transport.poll_event() {
                    is_done = false;
                    match event {
                        Event::Connected(peer) => {
                            assert_eq!(node.is_open.insert(peer.0, true), None);
                            node.opened += 1;
                        }
                        Event::Bytes(peer, bytes) => {
                            assert!(node.is_open.contains_key(&peer.0));
                            node.got.extend_from_slice(&bytes);
                        }
                        Event::Writable(_) => {}
                        Event::Closed(peer, reason, heard_at) => {
                            assert_eq!(node.is_open.remove(&peer.0), Some(true));
                            node.closed.push(reason);
                            node.heard_at = Some(heard_at);
                        }
                        Event::Failed(_, _, failure) => node.failures.push(failure),
                    }
                }
                if !node.to_write.is_empty() {
                    let taken = transport.write(self.now, PEER, &node.to_write);
                    node.to_write.drain(..taken);
                    is_done &= taken == 0;
                }
                let mut buffer = Vec::new();
                if let Some(transmit) = transport.poll_transmit(self.now, &mut buffer) {
                    is_done = false;
                    self.transmit(at, transmit, &buffer);
                }
                if is_done {
                    break;
                }
            }
        }
    }

    /// Goes to the next thing that happens, at most to `until`; whether there was one.
    fn step(&mut self, until: Instant) -> bool {
        self.settle();
        let timers = self
            .nodes
            .iter_mut()
            .filter_map(|node| node.transport.as_mut()?.poll_timeout());
        let next = timers
            .chain(self.under_way.keys().next().map(|&(at, _)| at))
            .min();
        let Some(next) = next.filter(|&next| next <= until) else {
            self.now = until;
            return false;
        };
        self.now = self.now.max(next);
        while self
            .under_way
            .first_key_value()
            .is_some_and(|((at, _), _)| *at <= self.now)
        {
            if let Some((_, datagram)) = self.under_way.pop_first() {
                self.deliver(datagram);
            }
        }
        for node in &mut self.nodes {
            if let Some(transport) = &mut node.transport {
                transport.handle_timeout(self.now);
            }
        }
        true
    }

    fn deliver(&mut self, datagram: Datagram) {
        let Datagram { from, to, bytes } = datagram;
        let now = self.now;
        let node = self
            .nodes
            .iter_mut()
            .find(|node| node.addresses.contains(&to));
        if let Some(transport) = node.and_then(|node| node.transport.as_mut()) {
            transport.handle_datagram(now, from, Some(to.ip()), None, bytes.as_slice().into());
        }
    }

    pub(crate) fn run(&mut self, time: Duration) {
        let until = self.now + time;
        while self.step(until) {}
    }

    /// Lets time pass until `is_so`; fails after a minute.
    pub(crate) fn run_until(&mut self, what: &str, mut is_so: impl FnMut(&Self) -> bool) {
        let until = self.now + Duration::from_secs(60);
        loop {
            self.settle();
            if is_so(self) {
                return;
            }
            assert!(
                self.step(until),
                "in a minute it did not come to this: {what}"
            );
        }
    }

    pub(crate) fn connect(&mut self) {
        self.run_until("both have a connection", |net| {
            net.nodes.iter().all(|node| !node.is_open.is_empty())
        });
    }

    pub(crate) fn since_start(&self) -> Duration {
        self.now - self.start
    }
}
