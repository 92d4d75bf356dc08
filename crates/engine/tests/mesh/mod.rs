//! Engines joined by streams in memory.
#![allow(clippy::disallowed_methods, reason = "a test may start anywhere")]
#![allow(dead_code, reason = "each test uses its part")]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ctnetlink::uapi::{IPCTNL_MSG_CT_DELETE, IPCTNL_MSG_EXP_DELETE};
use ctnetlink::{EventKind, Header, Message, Reply, emit, messages, parse, request};
use engine::api::{NativeSettings, PeerSettings, Settings};
use engine::snapshot::{PeerSnapshot, PeerState};
use engine::{
    ClientId, Command, Engine, KernelSocket, Notice, Origins, Output, PeerId, Side, Start,
};
use flow::{Expectation, Flow, Key};

/// Bytes that a stream takes before the other end has read them.
const ROOM: usize = 64 * 1024;

pub(crate) const ORIGINS: Origins = Origins {
    commit: 1001,
    inject: 1002,
    flush: 1003,
};

/// One engine, and what it wants done.
pub(crate) struct Node {
    pub(crate) engine: Engine,
    settings: Settings,
    pub(crate) notices: Vec<Notice>,
    pub(crate) kernel: Vec<(KernelSocket, Vec<u8>)>,
}

/// What a kernel was asked for.
#[derive(Default)]
pub(crate) struct Asked {
    pub(crate) flows: Vec<(KernelSocket, Flow)>,
    pub(crate) expectations: Vec<Expectation>,
    /// What was to be removed, in the words of the requests.
    removed: Vec<Vec<u8>>,
}

impl Asked {
    fn note(&mut self, socket: KernelSocket, message: &Message<'_>) {
        match parse::reply(message) {
            _ if [IPCTNL_MSG_CT_DELETE, IPCTNL_MSG_EXP_DELETE].contains(&message.header.kind) => {
                self.removed.push(message.payload.to_vec());
            }
            Ok(Reply::Flow(flow)) => self.flows.push((socket, flow)),
            Ok(Reply::Expectation(expectation)) => self.expectations.push(expectation),
            // A look.
            Ok(Reply::Other) => {}
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn append(&mut self, later: Self) {
        self.flows.extend(later.flows);
        self.expectations.extend(later.expectations);
        self.removed.extend(later.removed);
    }

    /// The connections that were to be put in through this socket.
    pub(crate) fn written(&self, socket: KernelSocket) -> BTreeMap<Key, Flow> {
        let through = self.flows.iter().filter(|(it, _)| *it == socket);
        through.map(|(_, flow)| (flow.key(), *flow)).collect()
    }

    /// Whether this expectation was to be removed.
    pub(crate) fn has_removed(&self, expectation: &Expectation) -> bool {
        let mut bytes = Vec::new();
        request::delete_expectation(&mut bytes, 0, request::Ack::Wanted, expectation);
        let removal = messages(&bytes).next().unwrap().unwrap();
        self.removed.iter().any(|it| it == removal.payload)
    }
}

/// A full mesh of nodes with streams between them.
pub(crate) struct Mesh {
    /// From one node to another: what it says stays on the way, to arrive together.
    pub(crate) held: Option<(usize, usize)>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) now: Instant,
    /// Bytes on the way from the one to the other, while there is a stream.
    streams: BTreeMap<(usize, usize), Vec<u8>>,
    /// Bytes that have ever been sent from the one to the other.
    pub(crate) sent: BTreeMap<(usize, usize), usize>,
    pub(crate) delay: Duration,
    seed: u64,
}

pub(crate) fn name(node: usize) -> String {
    format!("fw{}", node + 1)
}

impl Mesh {
    /// `count` nodes that have read an empty kernel, without streams.
    pub(crate) fn new(count: usize, settings: &Settings) -> Self {
        let now = Instant::now();
        let mut mesh = Self {
            held: None,
            nodes: Vec::new(),
            now,
            streams: BTreeMap::new(),
            sent: BTreeMap::new(),
            delay: Duration::from_micros(100),
            seed: 1,
        };
        for index in 0..count {
            let peers = (0..count).filter(|&other| other != index);
            let settings = Settings {
                links: Vec::new(),
                native: NativeSettings {
                    name: name(index),
                    peers: peers
                        .map(|other| PeerSettings {
                            name: name(other),
                            ..settings.native.peers.first().cloned().unwrap_or_default()
                        })
                        .collect(),
                    recover: settings.native.recover,
                },
                ..settings.clone()
            };
            let node = mesh.start(settings);
            mesh.nodes.push(node);
        }
        mesh
    }

    fn start(&mut self, settings: Settings) -> Node {
        self.seed += 1;
        let start = Start {
            now: self.now,
            unix_time_s: 1000,
            seed: self.seed,
            origins: ORIGINS,
        };
        let mut node = Node {
            engine: Engine::new(settings.clone(), start),
            settings,
            notices: Vec::new(),
            kernel: Vec::new(),
        };
        node.drain(&mut |_, _| panic!("no stream is open"));
        let mut done = Vec::new();
        emit::done(&mut done, 1, 0, 0);
        let engine = &mut node.engine;
        engine.handle_kernel_reply(self.now, KernelSocket::Dump, &done);
        node
    }

    /// The daemon of a node starts anew, with an empty kernel.
    pub(crate) fn restart(&mut self, index: usize) {
        let others: Vec<_> = (0..self.nodes.len()).filter(|&o| o != index).collect();
        for &other in &others {
            self.cut(index, other);
        }
        let settings = self.nodes[index].settings.clone();
        self.nodes[index] = self.start(settings);
    }

    /// The peer that `other` is to `node`.
    pub(crate) fn id(node: usize, other: usize) -> PeerId {
        PeerId(u8::try_from(if other > node { other - 1 } else { other }).unwrap())
    }

    pub(crate) fn join(&mut self, a: usize, b: usize) {
        for (from, to) in [(a, b), (b, a)] {
            self.streams.insert((from, to), Vec::new());
        }
        for (from, to) in [(a, b), (b, a)] {
            let engine = &mut self.nodes[from].engine;
            engine.handle_peer_open(self.now, Self::id(from, to));
            engine.set_peer_room(Self::id(from, to), ROOM);
        }
    }

    pub(crate) fn join_all(&mut self) {
        for a in 0..self.nodes.len() {
            for b in a + 1..self.nodes.len() {
                self.join(a, b);
            }
        }
    }

    /// Streams between the two break; what is on the way is lost.
    pub(crate) fn cut(&mut self, a: usize, b: usize) {
        for (from, to) in [(a, b), (b, a)] {
            if self.streams.remove(&(from, to)).is_some() {
                let engine = &mut self.nodes[from].engine;
                engine.handle_peer_closed(self.now, Self::id(from, to), self.now);
            }
        }
    }

    /// The first `bytes` on the way from one to the other arrive, then the streams break.
    pub(crate) fn cut_after(&mut self, from: usize, to: usize, bytes: usize) {
        self.collect(from);
        let mut waiting = self.streams.get(&(from, to)).cloned().unwrap_or_default();
        waiting.truncate(bytes);
        let engine = &mut self.nodes[to].engine;
        engine.handle_peer_bytes(self.now, Self::id(to, from), &waiting);
        self.cut(from, to);
    }

    /// What the one says to the other now; it arrives as well.
    pub(crate) fn recorded(&mut self, from: usize, to: usize) -> Vec<u8> {
        let mut all = Vec::new();
        for _ in 0..100 {
            self.collect(from);
            self.collect(to);
            all.extend_from_slice(&self.streams[&(from, to)]);
            self.deliver();
            self.now += Duration::from_millis(1);
        }
        all
    }

    fn collect(&mut self, from: usize) {
        let (streams, sent) = (&mut self.streams, &mut self.sent);
        self.nodes[from].drain(&mut |peer, bytes| {
            let to = usize::from(peer.0) + usize::from(usize::from(peer.0) >= from);
            streams
                .get_mut(&(from, to))
                .expect("a stream is written only while it is open")
                .extend_from_slice(bytes);
            *sent.entry((from, to)).or_default() += bytes.len();
        });
        for (&(node, to), waiting) in &self.streams {
            if node == from {
                let room = ROOM.saturating_sub(waiting.len());
                let engine = &mut self.nodes[from].engine;
                engine.set_peer_room(Self::id(from, to), room);
            }
        }
    }

    fn deliver(&mut self) -> bool {
        let mut any = false;
        let pairs: Vec<_> = self.streams.keys().copied().collect();
        for (from, to) in pairs {
            if self.held == Some((from, to)) {
                continue;
            }
            let Some(waiting) = self.streams.get_mut(&(from, to)) else {
                continue;
            };
            let bytes = std::mem::take(waiting);
            if bytes.is_empty() {
                continue;
            }
            any = true;
            let engine = &mut self.nodes[to].engine;
            // Streams know nothing of messages.
            for piece in bytes.chunks(1200) {
                engine.handle_peer_bytes(self.now, Self::id(to, from), piece);
            }
            self.nodes[from]
                .engine
                .set_peer_room(Self::id(from, to), ROOM);
        }
        any
    }

    /// Lets time pass.
    pub(crate) fn run(&mut self, time: Duration) {
        let until = self.now + time;
        loop {
            for index in 0..self.nodes.len() {
                self.collect(index);
            }
            let busy = self.deliver();
            let next = self.nodes.iter().filter_map(|n| n.engine.poll_timeout());
            let next = next.min().map_or(until, |at| at.max(self.now));
            self.now = match busy {
                true => self.now + self.delay,
                false => next.max(self.now + Duration::from_micros(10)),
            };
            if self.now >= until {
                self.now = until;
                return;
            }
            for node in &mut self.nodes {
                if node.engine.poll_timeout().is_some_and(|at| at <= self.now) {
                    node.engine.handle_timeout(self.now);
                }
            }
        }
    }

    /// Lets time pass until every pair that is joined has proved that it agrees.
    pub(crate) fn settle(&mut self) {
        for _ in 0..400 {
            self.run(Duration::from_millis(100));
            let proved = |state: PeerState| matches!(state, PeerState::InSync { proved: Some(_) });
            let pairs: Vec<_> = self.streams.keys().copied().collect();
            let mut pairs = pairs.into_iter();
            if pairs.all(|(node, to)| proved(self.peer(node, to).state)) {
                return;
            }
        }
        panic!("no agreement: {:#?}", self.states());
    }

    fn states(&self) -> Vec<PeerSnapshot> {
        let nodes = self.nodes.iter();
        nodes.flat_map(|node| node.engine.peers(self.now)).collect()
    }

    pub(crate) fn peer(&self, node: usize, other: usize) -> PeerSnapshot {
        let peers = self.nodes[node].engine.peers(self.now);
        peers[usize::from(Self::id(node, other).0)].clone()
    }

    pub(crate) fn event(&mut self, node: usize, kind: EventKind, port_id: u32, flow: &Flow) {
        let mut bytes = Vec::new();
        emit::flow(&mut bytes, Header::flow_event(kind, port_id), flow);
        self.nodes[node].engine.handle_events(self.now, &bytes);
    }

    /// The kernel of a node carries out whatever it is asked for. Returns that.
    pub(crate) fn serve(&mut self, node: usize) -> Asked {
        let mut asked = Asked::default();
        loop {
            self.collect(node);
            let requests = std::mem::take(&mut self.nodes[node].kernel);
            if requests.is_empty() {
                return asked;
            }
            for (socket, bytes) in requests {
                let mut verdicts = Vec::new();
                for message in messages(&bytes).map(Result::unwrap) {
                    let seq = message.header.seq;
                    if socket == KernelSocket::Dump {
                        emit::done(&mut verdicts, seq, 0, 0);
                    } else {
                        asked.note(socket, &message);
                        emit::verdict(&mut verdicts, seq, 0, 0);
                    }
                }
                let engine = &mut self.nodes[node].engine;
                engine.handle_kernel_reply(self.now, socket, &verdicts);
            }
        }
    }

    pub(crate) fn command(&mut self, node: usize, command: Command) {
        let engine = &mut self.nodes[node].engine;
        engine.handle_command(self.now, ClientId(1), command);
    }

    pub(crate) fn expectation_event(&mut self, node: usize, kind: EventKind, it: &Expectation) {
        let mut bytes = Vec::new();
        emit::expectation(&mut bytes, Header::expectation_event(kind, 0), it);
        self.nodes[node].engine.handle_events(self.now, &bytes);
    }

    /// Expectations of a cache, without what is not replicated.
    pub(crate) fn expectations(&self, node: usize, side: Side) -> Vec<Expectation> {
        let mut all = Vec::new();
        let mut cursor = Some(0);
        while let Some(from) = cursor {
            let engine = &self.nodes[node].engine;
            cursor = engine.expectations(side, from, 1000, &mut |dumped| {
                all.push(Expectation {
                    id: None,
                    timeout_s: None,
                    ..dumped.entry
                });
            });
        }
        all
    }

    /// Connections of a cache, without what is not replicated.
    pub(crate) fn flows(&self, node: usize, side: Side) -> BTreeMap<Key, Flow> {
        let mut all = BTreeMap::new();
        let mut cursor = Some(0);
        while let Some(from) = cursor {
            cursor = self.nodes[node]
                .engine
                .flows(side, from, 1000, &mut |dumped| {
                    let flow = Flow {
                        id: None,
                        timeout_s: None,
                        ..dumped.entry
                    };
                    all.insert(flow.key(), flow);
                });
        }
        all
    }

    pub(crate) fn bytes(&self, from: usize, to: usize) -> usize {
        self.sent.get(&(from, to)).copied().unwrap_or_default()
    }
}

impl Node {
    fn drain(&mut self, stream: &mut dyn FnMut(PeerId, &[u8])) {
        while let Some(output) = self.engine.poll_output() {
            match output {
                Output::Stream { peer, bytes } => stream(peer, bytes),
                Output::Notice(notice) => self.notices.push(notice),
                Output::Kernel { socket, bytes } => self.kernel.push((socket, bytes.to_vec())),
                Output::ClosePeer(peer) => panic!("{peer:?} makes no sense"),
                Output::Transmit { .. } => panic!("version 1 is off"),
                Output::Done { .. } | Output::FlowEnded(_) => {}
            }
        }
    }
}
