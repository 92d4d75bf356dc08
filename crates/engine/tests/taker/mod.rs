//! A hot standby that takes over, with its kernel, and what the others say to it.
#![allow(clippy::disallowed_methods, reason = "a test may start anywhere")]

use crate::common::{FTFW, flow, settings, start};
use ctnetlink::parse::{self, Event, Reply};
use ctnetlink::uapi::{IPCTNL_MSG_EXP_DELETE, IPCTNL_MSG_EXP_GET};
use ctnetlink::{EventKind, Header, Message as Request, emit, messages, request};
use engine::api::{ExpectationSync, NativeSettings, PeerSettings, Settings, StandbySettings};
use engine::role::RoleCause;
use engine::{ClientId, Command, Engine, KernelSocket, Output, PeerId, Side};
use flow::{Expectation, Flow, Key};
use native::message::{Hello, RoleWord, Takeover, VERSION, Word};
use native::{DigestKey, Encoder};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The others: each forwards, and was promoted after the ones before it.
pub(crate) const FW2: PeerId = PeerId(0);
pub(crate) const FW3: PeerId = PeerId(1);
pub(crate) const FW4: PeerId = PeerId(2);

const EEXIST: i32 = 17;
const ENOENT: i32 = 2;

/// Requests want an answer, do not replace, and make what is not there.
const NLM_F_ACK: u16 = 4;
const NLM_F_EXCL: u16 = 0x200;
const NLM_F_CREATE: u16 = 0x400;

/// Timeouts of a standby are longer.
pub(crate) const DAY_S: u32 = 40_000;

/// Which table of the kernel is read, and the number of the request.
#[derive(Clone, Copy)]
pub(crate) struct Reading {
    seq: u32,
    expectations: bool,
}

/// A hot standby with its kernel, and what the others say.
pub(crate) struct Fw1 {
    pub(crate) engine: Engine,
    now: Instant,
    said: [Encoder; 3],
    pub(crate) kernel: BTreeMap<Key, Flow>,
    pub(crate) expectations: Vec<Expectation>,
    /// Expectations that were taken out of the kernel, or came to it before their masters.
    pub(crate) expectations_gone: Vec<Expectation>,
    /// Connections that were taken out of the kernel, be it for a moment.
    pub(crate) gone: Vec<Key>,
    /// What this node has said to the others.
    pub(crate) streams: [Vec<u8>; 3],
    /// A reading of the kernel's table that has been asked for.
    reading: Option<Reading>,
    /// What the kernel has yet to carry out, while it is slow.
    batches: Option<Vec<Vec<u8>>>,
}

impl Fw1 {
    pub(crate) fn new() -> Self {
        let peer = |name: &str| PeerSettings {
            name: name.to_owned(),
            ..PeerSettings::default()
        };
        let settings = Settings {
            links: Vec::new(),
            native: NativeSettings {
                name: "fw1".to_owned(),
                peers: ["fw2", "fw3", "fw4"].map(peer).to_vec(),
                recover: false,
            },
            standby: StandbySettings { inject: true },
            expectation_sync: ExpectationSync::All,
            ..settings(FTFW)
        };
        let now = Instant::now();
        let mut node = Self {
            engine: Engine::new(settings, start(now)),
            now,
            said: [Encoder::new(), Encoder::new(), Encoder::new()],
            kernel: BTreeMap::new(),
            expectations: Vec::new(),
            expectations_gone: Vec::new(),
            gone: Vec::new(),
            streams: [Vec::new(), Vec::new(), Vec::new()],
            reading: None,
            batches: None,
        };
        node.work();
        node.read_all();
        for (peer, term) in [(FW2, 1), (FW3, 2), (FW4, 3)] {
            node.engine.handle_peer_open(node.now, peer);
            node.engine.set_peer_room(peer, 1 << 20);
            let hello = Hello {
                version: VERSION,
                name: "",
                epoch: 1,
                capabilities: native::message::Capabilities::default(),
                digest_key: DigestKey([1; 16]),
                flows: 0,
                expectations: 0,
                resume: None,
            };
            node.hear(peer, |said, out| {
                said.word(out, &Word::Hello(hello));
                said.word(out, &Word::Role(RoleWord::Primary, term));
                said.word(out, &Word::Complete);
            });
        }
        node
    }

    /// A peer says something, in one piece.
    pub(crate) fn hear(&mut self, peer: PeerId, say: impl FnOnce(&mut Encoder, &mut Vec<u8>)) {
        let mut piece = Vec::new();
        say(&mut self.said[usize::from(peer.0)], &mut piece);
        self.engine.handle_peer_bytes(self.now, peer, &piece);
        self.work();
    }

    /// A peer tells a connection under the handle of its number.
    pub(crate) fn tells(&mut self, peer: PeerId, n: u16) {
        self.hear(peer, |said, out| said.new_flow(out, n.into(), &flow(n)));
    }

    /// A peer has the connection of this number no more.
    pub(crate) fn has_no_more(&mut self, peer: PeerId, n: u16) {
        self.hear(peer, |said, out| said.gone_flow(out, n.into()));
    }

    /// This node takes over from these.
    pub(crate) fn takes_over(&mut self, peers: &[PeerId]) {
        let peers = peers.iter().copied().collect();
        let command = Command::TakeOver(peers, RoleCause::Role);
        self.engine.handle_command(self.now, ClientId(1), command);
        self.work();
    }

    /// Does what the engine wants done.
    pub(crate) fn work(&mut self) {
        while let Some(output) = self.engine.poll_output() {
            if let Output::Stream { peer, bytes } = output {
                self.streams[usize::from(peer.0)].extend_from_slice(bytes);
                continue;
            }
            let Output::Kernel { socket, bytes } = output else {
                continue;
            };
            let bytes = bytes.to_vec();
            match socket {
                KernelSocket::Inject => match &mut self.batches {
                    Some(batches) => batches.push(bytes),
                    None => self.write(&bytes),
                },
                KernelSocket::Dump => {
                    let request = messages(&bytes).next().unwrap().unwrap();
                    self.reading = Some(Reading {
                        seq: request.header.seq,
                        expectations: request.header.kind == IPCTNL_MSG_EXP_GET,
                    });
                }
                _ => panic!("{socket:?} has nothing to do"),
            }
        }
    }

    /// The kernel carries out a batch.
    pub(crate) fn write(&mut self, batch: &[u8]) {
        let mut answers = Vec::new();
        for message in messages(batch) {
            let message = message.unwrap();
            let (seq, flags) = (message.header.seq, message.header.flags);
            let errno = match parse::event(&message) {
                _ if message.header.kind == IPCTNL_MSG_EXP_DELETE => self.forget(&message),
                Ok(Some(Event::Flow(kind, told))) => self.write_flow(kind, flags, told),
                Ok(Some(Event::Expectation(_, told))) => self.expect(told),
                other => panic!("{other:?}"),
            };
            if errno != 0 || flags & NLM_F_ACK != 0 {
                emit::verdict(&mut answers, seq, 0, errno);
            }
        }
        let socket = KernelSocket::Inject;
        self.engine.handle_kernel_reply(self.now, socket, &answers);
    }

    pub(crate) fn write_flow(&mut self, kind: EventKind, flags: u16, told: Flow) -> i32 {
        let key = told.key();
        let is_there = self.kernel.contains_key(&key);
        match kind {
            EventKind::Destroy if is_there => {
                self.kernel.remove(&key);
                self.gone.push(key);
                0
            }
            _ if is_there && flags & NLM_F_EXCL != 0 => EEXIST,
            _ if !is_there && flags & NLM_F_CREATE == 0 => ENOENT,
            _ => {
                let entry = self.kernel.entry(key).or_insert(told);
                entry.timeout_s = told.timeout_s;
                0
            }
        }
    }

    pub(crate) fn expect(&mut self, told: Expectation) -> i32 {
        if !self.kernel.contains_key(&told.master_key()) {
            self.expectations_gone.push(told);
            return ENOENT;
        }
        let same = |other: &Expectation| (other.tuple, other.mask) == (told.tuple, told.mask);
        if self.expectations.iter().any(same) {
            return EEXIST;
        }
        self.expectations.push(told);
        0
    }

    pub(crate) fn forget(&mut self, removal: &Request<'_>) -> i32 {
        let is_meant = |it: &Expectation| {
            let mut bytes = Vec::new();
            request::delete_expectation(&mut bytes, 0, request::Ack::Wanted, it);
            messages(&bytes).next().unwrap().unwrap().payload == removal.payload
        };
        let Some(at) = self.expectations.iter().position(is_meant) else {
            return ENOENT;
        };
        self.expectations_gone.push(self.expectations.remove(at));
        0
    }

    /// From now on the kernel answers nothing: the end of a connection waits for that, and all that comes after it.
    pub(crate) fn slow_down(&mut self) {
        self.batches = Some(Vec::new());
        self.tells(FW4, 2);
        self.has_no_more(FW4, 2);
        for n in 100..200 {
            self.tells(FW4, n);
        }
    }

    /// The kernel is slow no more.
    pub(crate) fn catch_up(&mut self) {
        for batch in self.batches.take().unwrap() {
            self.write(&batch);
        }
        self.work();
    }

    /// The kernel tells its table, for which it has been asked.
    pub(crate) fn read(&mut self) {
        let Reading { seq, expectations } = self.reading.take().unwrap();
        let mut table = Vec::new();
        for expected in self.expectations.iter().filter(|_| expectations) {
            let header = Header {
                seq,
                ..Header::expectation_event(EventKind::New, 0)
            };
            emit::expectation(&mut table, header, expected);
        }
        for flow in self.kernel.values().filter(|_| !expectations) {
            let header = Header {
                seq,
                ..Header::flow_event(EventKind::New, 0)
            };
            emit::flow(&mut table, header, flow);
        }
        emit::done(&mut table, seq, 0, 0);
        assert!(matches!(
            parse::reply(&messages(&table).last().unwrap().unwrap()),
            Ok(Reply::Done { errno: 0 })
        ));
        let socket = KernelSocket::Dump;
        self.engine.handle_kernel_reply(self.now, socket, &table);
        self.work();
    }

    pub(crate) fn wait(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(at) = self.engine.poll_timeout().filter(|&at| at <= until) {
            self.now = self.now.max(at) + Duration::from_micros(1);
            self.engine.handle_timeout(self.now);
            self.work();
        }
        self.now = until;
    }

    /// What was taken over becomes this node's.
    pub(crate) fn adopts(&mut self) {
        self.wait(Duration::from_millis(2));
        self.read_all();
    }

    /// Both tables are read.
    pub(crate) fn read_all(&mut self) {
        while self.reading.is_some() {
            self.read();
        }
    }

    /// A peer tells what a connection of it expects, under the handle of its number.
    pub(crate) fn expects(&mut self, peer: PeerId, n: u16) {
        self.hear(peer, |said, out| {
            said.new_expectation(out, n.into(), &expected_by(n));
        });
    }

    /// A peer no longer expects anything of this connection.
    pub(crate) fn expects_no_more(&mut self, peer: PeerId, n: u16) {
        self.hear(peer, |said, out| said.gone_expectation(out, n.into()));
    }

    /// Masters of the expectations that this node owns.
    pub(crate) fn own_expectations(&self) -> Vec<Key> {
        let mut own = Vec::new();
        let internal = Side::Internal;
        self.engine.expectations(internal, 0, 100, &mut |dumped| {
            own.push(dumped.entry.master_key());
        });
        own
    }

    pub(crate) fn owns(&self, n: u16) -> bool {
        let mut own = Vec::new();
        let internal = Side::Internal;
        self.engine
            .flows(internal, 0, 100, &mut |dumped| own.push(dumped.entry.key()));
        own.contains(&flow(n).key())
    }

    /// How long a connection has in the kernel without traffic.
    pub(crate) fn timeout_s(&self, n: u16) -> Option<u32> {
        self.kernel.get(&flow(n).key())?.timeout_s
    }
}

/// What the connection of this number expects.
pub(crate) fn expected_by(n: u16) -> Expectation {
    let master = flow(n).orig;
    Expectation::new(master, master.mirrored(), master.mirrored())
}

pub(crate) fn takeover<'a>(term: u64, from: &'a str) -> Word<'a> {
    Word::Takeover(Takeover { term, from })
}
