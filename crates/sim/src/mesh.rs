//! Several nodes of the native dialect, joined by real QUIC over links that lose and delay.
//!
//! The transport is the one that the daemon uses; only its datagrams are carried here. The keys of its
//! sessions come from the system, so that two runs of a seed differ in how their bytes are sealed, and in
//! nothing else: what is said, how long each datagram is, and when it is sent ([`Mesh::trace`]).

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use engine::snapshot::{PeerSnapshot, PeerState};
use engine::{NativeSettings, PeerId, PeerSettings, Settings};
use flow::Flow;
use native::keys::PrivateKey;
use native::transport::{self, Event, Timing, Transport};

use crate::{Faults, Node, Rng, SimKernel, SimLink, Workload};

/// When the world began, in seconds since 1970.
const EPOCH_S: u32 = 1_800_000_000;

/// Moments without time passing that no honest engine needs.
const STANDSTILL: u32 = 100_000;

/// The port of the dialect.
const PORT: u16 = 3781;

/// A node with its connections.
pub struct Member {
    /// Kernel and engine.
    pub node: Node,
    /// Its traffic.
    pub traffic: Workload,
    /// Decides what traffic comes.
    chance: Rng,
    transport: Option<Transport>,
    /// Of what it has said.
    trace: DefaultHasher,
}

/// All nodes, every one of them a peer of every other.
pub struct Mesh {
    /// The nodes.
    pub members: Vec<Member>,
    /// Datagrams from the first to the second; none from a node to itself.
    pub links: Vec<Vec<SimLink>>,
    began: Instant,
    now: Instant,
    rng: Rng,
}

impl Mesh {
    /// `count` nodes that are not started yet.
    #[must_use]
    pub fn new(rng: &mut Rng, settings: &Settings, count: usize, size: usize) -> Self {
        let now = Instant::now();
        let members = (0..count)
            .map(|index| {
                let peers = (0..count).filter(|&other| other != index);
                let settings = Settings {
                    links: Vec::new(),
                    native: NativeSettings {
                        name: name(index),
                        peers: peers
                            .map(|other| PeerSettings {
                                name: name(other),
                                ..PeerSettings::default()
                            })
                            .collect(),
                        recover: settings.native.recover,
                    },
                    ..settings.clone()
                };
                let kernel = SimKernel::new(100_000);
                Member {
                    node: Node::new(index as u32, settings, kernel, rng.fork()),
                    traffic: Workload::new(index as u8 + 1, size),
                    chance: rng.fork(),
                    transport: None,
                    trace: DefaultHasher::new(),
                }
            })
            .collect();
        let mut link = || SimLink::new(rng.fork(), true);
        let links = (0..count)
            .map(|_| (0..count).map(|_| link()).collect())
            .collect();
        Self {
            members,
            links,
            began: now,
            now,
            rng: rng.fork(),
        }
    }

    /// What has been said and sent by all nodes so far, and when: the same in every run of a seed.
    #[must_use]
    pub fn trace(&self) -> u64 {
        let mut all = DefaultHasher::new();
        for member in &self.members {
            member.trace.finish().hash(&mut all);
        }
        all.finish()
    }

    /// Now.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.now
    }

    /// Starts a node's daemon.
    ///
    /// # Panics
    /// The transport takes no keys.
    pub fn start(&mut self, index: usize) {
        let age = self.now.duration_since(self.began).as_secs() as u32;
        let count = self.members.len();
        let others = (0..count).filter(|&other| other != index);
        let settings = transport::Settings {
            private_key: key(index),
            peers: others
                .map(|other| transport::PeerSettings {
                    addresses: vec![address(other)],
                    public_keys: vec![key(other).public()],
                })
                .collect(),
            timing: Timing::default(),
        };
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&self.rng.bits().to_be_bytes());
        let transport = Transport::new(settings, seed, self.now).expect("keys that are keys");
        let member = &mut self.members[index];
        member.transport = Some(transport);
        member.node.start(self.now, EPOCH_S + age);
    }

    /// Kills a node's daemon; what it sent last is lost with it.
    pub fn crash(&mut self, index: usize) {
        self.members[index].node.crash();
        self.members[index].transport = None;
        for link in &mut self.links[index] {
            link.clear();
        }
    }

    /// Makes every link this bad.
    pub fn set_faults(&mut self, faults: Faults) {
        for link in self.links.iter_mut().flatten() {
            link.faults = faults;
        }
    }

    /// Cuts the two off from each other, or joins them again.
    pub fn partition(&mut self, a: usize, b: usize, is_cut: bool) {
        self.links[a][b].faults.partitioned = is_cut;
        self.links[b][a].faults.partitioned = is_cut;
    }

    /// One thing happens in a node's traffic.
    pub fn traffic_step(&mut self, index: usize) {
        let member = &mut self.members[index];
        let seed = member.chance.bits();
        member.traffic.step(seed, &mut member.node.kernel, self.now);
    }

    /// Lets what has run out in the kernels go.
    pub fn expire(&mut self) {
        for member in &mut self.members {
            member.node.kernel.expire(self.now);
        }
    }

    /// Lets so much time pass.
    ///
    /// # Panics
    /// Time stands still.
    pub fn run_for(&mut self, duration: Duration) {
        let end = self.now + duration;
        let mut standing = 0;
        self.act();
        while let Some(next) = self.next_moment().filter(|at| *at <= end) {
            standing = if next > self.now { 0 } else { standing + 1 };
            assert!(standing < STANDSTILL, "time stands still");
            self.now = self.now.max(next);
            self.deliver();
            self.act();
        }
        self.now = end;
    }

    /// Lets time pass until every two nodes whose daemons run have proved that they agree, at most so long.
    pub fn settle(&mut self, longest: Duration) -> bool {
        let end = self.now + longest;
        while self.now < end {
            self.run_for(Duration::from_millis(250));
            if self.is_proved() {
                return true;
            }
        }
        false
    }

    /// What each running node tells of its peers.
    #[must_use]
    pub fn states(&self) -> Vec<Vec<PeerSnapshot>> {
        let engines = self.members.iter().filter_map(|m| m.node.engine());
        engines.map(|engine| engine.peers(self.now)).collect()
    }

    fn is_proved(&self) -> bool {
        let running: BTreeSet<String> = (0..self.members.len())
            .filter(|&index| self.members[index].node.engine().is_some())
            .map(name)
            .collect();
        let mut peers = self.states().into_iter().flatten();
        peers.all(|peer| {
            !running.contains(&peer.name)
                || matches!(peer.state, PeerState::InSync { proved: Some(_) })
                    && peer.replication.at_risk == 0
        })
    }

    /// Connections that `index` keeps for `origin`.
    #[must_use]
    pub fn kept(&self, index: usize, origin: usize) -> Vec<Flow> {
        let mut all = Vec::new();
        if let Some(engine) = self.members[index].node.engine() {
            let mut cursor = Some(0);
            while let Some(from) = cursor {
                let peer = peer_id(index, origin);
                cursor = engine.peer_flows(peer, from, 100, &mut |dumped| all.push(dumped.entry));
            }
        }
        all
    }

    fn next_moment(&mut self) -> Option<Instant> {
        let links = self.links.iter().flatten();
        let arrivals = links.filter_map(SimLink::next_arrival).min();
        let acts = self.members.iter().filter_map(|m| m.node.next_act()).min();
        let timers = self
            .members
            .iter_mut()
            .filter_map(|m| m.transport.as_mut()?.poll_timeout());
        [arrivals, acts, timers.min()].into_iter().flatten().min()
    }

    fn deliver(&mut self) {
        for from in 0..self.members.len() {
            for to in 0..self.members.len() {
                while let Some(datagram) = self.links[from][to].receive(self.now) {
                    if let Some(transport) = &mut self.members[to].transport {
                        let datagram = datagram.bytes.as_slice().into();
                        transport.handle_datagram(self.now, address(from), None, None, datagram);
                    }
                }
            }
        }
    }

    fn act(&mut self) {
        for index in 0..self.members.len() {
            self.members[index].act(self.now);
            self.send(index);
        }
    }

    /// Puts what a node's transport wants sent onto the links.
    fn send(&mut self, index: usize) {
        let elapsed = self.now.duration_since(self.began);
        let member = &mut self.members[index];
        let life = member.node.life;
        let Some(transport) = &mut member.transport else {
            return;
        };
        let mut buffer = Vec::new();
        while let Some(transmit) = transport.poll_transmit(self.now, &mut buffer) {
            let to = usize::from(transmit.to.port() - PORT);
            let len = transmit.segment_len.unwrap_or(buffer.len()).max(1);
            for datagram in buffer.chunks(len) {
                (elapsed, to, datagram.len()).hash(&mut member.trace);
                self.links[index][to].send(self.now, datagram, life);
            }
            buffer.clear();
        }
    }
}

impl Member {
    fn act(&mut self, now: Instant) {
        let Some(transport) = &mut self.transport else {
            return;
        };
        if transport.poll_timeout().is_some_and(|at| at <= now) {
            transport.handle_timeout(now);
        }
        loop {
            while let Some(event) = transport.poll_event() {
                let Some(engine) = self.node.engine_mut() else {
                    return;
                };
                match event {
                    Event::Connected(peer) => {
                        engine.handle_peer_open(now, PeerId(peer.0));
                        engine.set_peer_room(PeerId(peer.0), transport.room(peer));
                    }
                    Event::Bytes(peer, bytes) => {
                        engine.handle_peer_bytes(now, PeerId(peer.0), &bytes);
                    }
                    Event::Writable(peer) => {
                        engine.set_peer_room(PeerId(peer.0), transport.room(peer));
                    }
                    Event::Closed(peer, _, heard_at) => {
                        engine.handle_peer_closed(now, PeerId(peer.0), heard_at);
                    }
                    Event::Failed(..) => {}
                }
            }
            self.node.act(now, &mut |_, _| panic!("version 1 is off"));
            let written = std::mem::take(&mut self.node.streams);
            if written.is_empty() {
                return;
            }
            for (peer, bytes) in written {
                bytes.hash(&mut self.trace);
                let peer = transport::PeerId(peer.0);
                let taken = transport.write(now, peer, &bytes);
                assert_eq!(taken, bytes.len(), "the engine keeps to the room it has");
            }
        }
    }
}

/// What a node is called.
#[must_use]
pub fn name(index: usize) -> String {
    format!("fw{}", index + 1)
}

/// The peer that `other` is to `index`.
#[must_use]
pub fn peer_id(index: usize, other: usize) -> PeerId {
    PeerId(if other > index { other - 1 } else { other } as u8)
}

fn key(index: usize) -> PrivateKey {
    PrivateKey::from_seed([index as u8 + 1; 32])
}

fn address(index: usize) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), PORT + index as u16)
}
