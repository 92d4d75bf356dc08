//! Takeovers that meet others on their way, at one node that is told of them message by message.
#![allow(clippy::disallowed_methods, reason = "a test may start anywhere")]

mod common;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use common::{FTFW, ORIGINS, flow, settings};
use ctnetlink::parse::{self, Event, Reply};
use ctnetlink::uapi::{IPCTNL_MSG_EXP_DELETE, IPCTNL_MSG_EXP_GET};
use ctnetlink::{EventKind, Header, Message as Request, emit, messages, request};
use engine::api::{ExpectationSync, NativeSettings, PeerSettings, Settings, StandbySettings};
use engine::role::RoleCause;
use engine::{ClientId, Command, Engine, KernelSocket, Output, PeerId, Side, Start};
use flow::{Expectation, Flow, Key};
use native::message::{Hello, RoleWord, Takeover, VERSION, Word};
use native::{Decoder, DigestKey, Encoder, Message};

/// The others: each forwards, and was promoted after the ones before it.
const FW2: PeerId = PeerId(0);
const FW3: PeerId = PeerId(1);
const FW4: PeerId = PeerId(2);

const EEXIST: i32 = 17;
const ENOENT: i32 = 2;

/// Requests want an answer, do not replace, and make what is not there.
const NLM_F_ACK: u16 = 4;
const NLM_F_EXCL: u16 = 0x200;
const NLM_F_CREATE: u16 = 0x400;

/// Timeouts of a standby are longer.
const DAY_S: u32 = 40_000;

/// Which table of the kernel is read, and the number of the request.
#[derive(Clone, Copy)]
struct Reading {
    seq: u32,
    expectations: bool,
}

/// A hot standby with its kernel, and what the others say.
struct Fw1 {
    engine: Engine,
    now: Instant,
    said: [Encoder; 3],
    kernel: BTreeMap<Key, Flow>,
    expectations: Vec<Expectation>,
    /// Expectations that were taken out of the kernel, or came to it before their masters.
    expectations_gone: Vec<Expectation>,
    /// Connections that were taken out of the kernel, be it for a moment.
    gone: Vec<Key>,
    /// What this node has said to the others.
    streams: [Vec<u8>; 3],
    /// A reading of the kernel's table that has been asked for.
    reading: Option<Reading>,
    /// What the kernel has yet to carry out, while it is slow.
    batches: Option<Vec<Vec<u8>>>,
}

impl Fw1 {
    fn new() -> Self {
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
        let start = Start {
            now,
            unix_time_s: 1000,
            seed: 7,
            origins: ORIGINS,
        };
        let mut node = Self {
            engine: Engine::new(settings, start),
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
    fn hear(&mut self, peer: PeerId, say: impl FnOnce(&mut Encoder, &mut Vec<u8>)) {
        let mut piece = Vec::new();
        say(&mut self.said[usize::from(peer.0)], &mut piece);
        self.engine.handle_peer_bytes(self.now, peer, &piece);
        self.work();
    }

    /// A peer tells a connection under the handle of its number.
    fn tells(&mut self, peer: PeerId, n: u16) {
        self.hear(peer, |said, out| said.new_flow(out, n.into(), &flow(n)));
    }

    /// A peer has the connection of this number no more.
    fn has_no_more(&mut self, peer: PeerId, n: u16) {
        self.hear(peer, |said, out| said.gone_flow(out, n.into()));
    }

    /// This node takes over from these.
    fn takes_over(&mut self, peers: &[PeerId]) {
        let peers = peers.iter().copied().collect();
        let command = Command::TakeOver(peers, RoleCause::Role);
        self.engine.handle_command(self.now, ClientId(1), command);
        self.work();
    }

    /// Does what the engine wants done.
    fn work(&mut self) {
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
    fn write(&mut self, batch: &[u8]) {
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

    fn write_flow(&mut self, kind: EventKind, flags: u16, told: Flow) -> i32 {
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

    fn expect(&mut self, told: Expectation) -> i32 {
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

    fn forget(&mut self, removal: &Request<'_>) -> i32 {
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
    fn slow_down(&mut self) {
        self.batches = Some(Vec::new());
        self.tells(FW4, 2);
        self.has_no_more(FW4, 2);
        for n in 100..200 {
            self.tells(FW4, n);
        }
    }

    /// The kernel is slow no more.
    fn catch_up(&mut self) {
        for batch in self.batches.take().unwrap() {
            self.write(&batch);
        }
        self.work();
    }

    /// The kernel tells its table, for which it has been asked.
    fn read(&mut self) {
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

    fn wait(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(at) = self.engine.poll_timeout().filter(|&at| at <= until) {
            self.now = self.now.max(at) + Duration::from_micros(1);
            self.engine.handle_timeout(self.now);
            self.work();
        }
        self.now = until;
    }

    /// What was taken over becomes this node's.
    fn adopts(&mut self) {
        self.wait(Duration::from_millis(2));
        self.read_all();
    }

    /// Both tables are read.
    fn read_all(&mut self) {
        while self.reading.is_some() {
            self.read();
        }
    }

    /// A peer tells what a connection of it expects, under the handle of its number.
    fn expects(&mut self, peer: PeerId, n: u16) {
        self.hear(peer, |said, out| {
            said.new_expectation(out, n.into(), &expected_by(n));
        });
    }

    /// A peer no longer expects anything of this connection.
    fn expects_no_more(&mut self, peer: PeerId, n: u16) {
        self.hear(peer, |said, out| said.gone_expectation(out, n.into()));
    }

    /// Masters of the expectations that this node owns.
    fn own_expectations(&self) -> Vec<Key> {
        let mut own = Vec::new();
        let internal = Side::Internal;
        self.engine.expectations(internal, 0, 100, &mut |dumped| {
            own.push(dumped.entry.master_key());
        });
        own
    }

    fn owns(&self, n: u16) -> bool {
        let mut own = Vec::new();
        let internal = Side::Internal;
        self.engine
            .flows(internal, 0, 100, &mut |dumped| own.push(dumped.entry.key()));
        own.contains(&flow(n).key())
    }

    /// How long a connection has in the kernel without traffic.
    fn timeout_s(&self, n: u16) -> Option<u32> {
        self.kernel.get(&flow(n).key())?.timeout_s
    }
}

/// What the connection of this number expects.
fn expected_by(n: u16) -> Expectation {
    let master = flow(n).orig;
    Expectation::new(master, master.mirrored(), master.mirrored())
}

fn takeover<'a>(term: u64, from: &'a str) -> Word<'a> {
    Word::Takeover(Takeover { term, from })
}

#[test]
fn what_one_former_owner_gives_up_to_the_other_is_taken_over_all_the_same() {
    let mut node = Fw1::new();
    node.tells(FW2, 1);
    node.takes_over(&[FW2, FW3]);
    // These two had met as well.
    node.tells(FW3, 1);
    node.has_no_more(FW2, 1);
    node.adopts();
    assert_eq!(node.gone, []);
    assert!(node.owns(1));
    assert!(node.timeout_s(1) < Some(DAY_S), "{:?}", node.timeout_s(1));
}

#[test]
fn what_a_former_owner_has_no_more_waits_for_whoever_tells_it() {
    let mut node = Fw1::new();
    node.tells(FW2, 1);
    node.tells(FW2, 2);
    node.takes_over(&[FW2]);
    // The one is given up to a third node, whose word takes longer; the other one has ended.
    node.has_no_more(FW2, 1);
    node.has_no_more(FW2, 2);
    node.adopts();
    assert!(!node.owns(1) && !node.owns(2));
    node.tells(FW3, 1);
    assert_eq!(node.gone, []);
    node.wait(Duration::from_secs(11));
    assert_eq!(node.gone, [flow(2).key()]);
}

#[test]
fn what_another_one_tells_with_a_better_claim_keeps_the_timeout_of_a_standby() {
    let mut node = Fw1::new();
    node.tells(FW2, 1);
    node.tells(FW3, 1);
    node.takes_over(&[FW2]);
    node.adopts();
    assert!(!node.owns(1));
    assert!(node.timeout_s(1) > Some(DAY_S), "{:?}", node.timeout_s(1));
}

#[test]
fn what_another_one_tells_with_a_worse_claim_is_taken_over() {
    let mut node = Fw1::new();
    node.tells(FW2, 1);
    node.tells(FW3, 1);
    node.takes_over(&[FW3]);
    node.adopts();
    assert!(node.owns(1));
    // Its word that it has given it up took longer than all that.
    node.has_no_more(FW2, 1);
    assert!(node.timeout_s(1) < Some(DAY_S), "{:?}", node.timeout_s(1));
    assert_eq!(node.gone, []);
}

#[test]
fn the_last_claim_beside_that_of_a_former_owner_ends_before_the_kernel_is_read() {
    // What it gives up stays for a while, or not.
    for is_held in [false, true] {
        let mut node = Fw1::new();
        node.tells(FW2, 1);
        node.tells(FW3, 1);
        node.takes_over(&[FW2]);
        if is_held {
            node.hear(FW3, |said, out| said.word(out, &takeover(5, "fw3")));
        }
        node.has_no_more(FW3, 1);
        node.adopts();
        assert_eq!(node.gone, []);
        assert!(node.owns(1));
        assert!(node.timeout_s(1) < Some(DAY_S), "{:?}", node.timeout_s(1));
    }
}

#[test]
fn of_nodes_that_take_over_at_once_the_one_that_gives_up_to_the_other_says_so_first() {
    let mut node = Fw1::new();
    node.tells(FW4, 1);
    node.takes_over(&[FW4]);
    node.adopts();
    assert!(node.owns(1));
    // It was taken over from the same node, not from this one.
    node.hear(FW2, |said, out| {
        said.word(out, &Word::Role(RoleWord::Primary, 9));
        said.word(out, &takeover(9, "fw4"));
    });
    node.tells(FW2, 1);
    assert!(!node.owns(1));
    let mut decoder = Decoder::new();
    decoder.push(&node.streams[usize::from(FW3.0)]);
    let mut said = Vec::new();
    while let Some(message) = decoder.next().unwrap() {
        match message.unwrap() {
            Message::Word(Word::Takeover(takeover)) => said.push(takeover.from.to_owned()),
            Message::GoneFlow { .. } => said.push("gone".to_owned()),
            _ => {}
        }
    }
    // Its own takeover, that it may have been taken over itself, and what comes of it.
    assert_eq!(said, ["fw4", "fw1", "gone"]);
}

#[test]
fn what_is_given_up_stays_though_its_handle_is_used_again() {
    let mut node = Fw1::new();
    node.tells(FW2, 1);
    node.hear(FW2, |said, out| {
        said.word(out, &takeover(4, "fw2"));
        said.new_flow(out, 1, &flow(2));
    });
    assert_eq!(node.kernel.len(), 2);
    node.tells(FW3, 1);
    node.wait(Duration::from_secs(11));
    assert_eq!(node.gone, []);
}

#[test]
fn what_is_given_up_to_two_at_once_stays_in_the_kernel_without_a_gap() {
    let mut node = Fw1::new();
    node.tells(FW4, 1);
    node.takes_over(&[FW4]);
    node.adopts();
    node.has_no_more(FW4, 1);
    assert!(node.owns(1));
    // Both are told before the first of it gets into a slow kernel.
    node.slow_down();
    for (peer, term) in [(FW2, 9), (FW3, 10)] {
        node.hear(peer, |said, out| {
            said.word(out, &Word::Role(RoleWord::Primary, term));
            said.word(out, &takeover(term, "fw1"));
            said.new_flow(out, 1, &flow(1));
        });
    }
    node.catch_up();
    assert!(!node.owns(1));
    // The one with the better claim ends it after all, and the other one has it.
    node.has_no_more(FW3, 1);
    node.wait(Duration::from_secs(11));
    assert_eq!(node.gone, [flow(2).key()]);
    node.has_no_more(FW2, 1);
    node.wait(Duration::from_secs(11));
    assert_eq!(node.gone, [flow(2).key(), flow(1).key()]);
}

#[test]
fn word_of_an_earlier_takeover_does_not_undo_a_later_one() {
    let mut node = Fw1::new();
    node.tells(FW2, 1);
    node.takes_over(&[FW2]);
    node.hear(FW2, |said, out| said.word(out, &takeover(1, "fw4")));
    node.adopts();
    assert!(node.owns(1));
}

#[test]
fn what_its_next_owner_tells_during_a_takeover_is_put_in_place_of_it_without_a_gap() {
    let mut node = Fw1::new();
    node.tells(FW2, 1);
    node.takes_over(&[FW2, FW3]);
    node.slow_down();
    node.tells(FW3, 1);
    node.hear(FW3, |said, out| {
        said.word(out, &Word::Role(RoleWord::Primary, 9));
    });
    node.adopts();
    node.catch_up();
    node.wait(Duration::from_secs(1));
    assert!(!node.owns(1));
    assert_eq!(node.gone, [flow(2).key()]);
    assert!(node.timeout_s(1) > Some(DAY_S), "{:?}", node.timeout_s(1));
}

#[test]
fn what_is_told_during_a_takeover_gets_its_timeout_from_a_slow_kernel_too() {
    for is_given_up in [false, true] {
        let mut node = Fw1::new();
        node.tells(FW2, 1);
        node.takes_over(&[FW3]);
        node.slow_down();
        node.tells(FW3, 1);
        node.adopts();
        if is_given_up {
            node.has_no_more(FW3, 1);
        }
        node.catch_up();
        node.wait(Duration::from_secs(1));
        assert!(node.owns(1));
        assert!(node.timeout_s(1) < Some(DAY_S), "{:?}", node.timeout_s(1));
    }
}

#[test]
fn a_claim_that_has_become_the_better_one_during_a_takeover_counts() {
    let mut node = Fw1::new();
    node.tells(FW2, 1);
    node.tells(FW3, 1);
    node.takes_over(&[FW3]);
    node.hear(FW2, |said, out| {
        said.word(out, &Word::Role(RoleWord::Primary, 9));
    });
    node.adopts();
    assert!(!node.owns(1));
    assert!(node.timeout_s(1) > Some(DAY_S), "{:?}", node.timeout_s(1));
}

#[test]
fn what_is_left_to_a_former_owner_after_a_takeover_gets_into_the_kernel_before_what_it_expects() {
    let mut node = Fw1::new();
    node.takes_over(&[FW2]);
    // Its own, since the takeover.
    node.tells(FW2, 1);
    node.expects(FW2, 1);
    node.adopts();
    node.wait(Duration::from_secs(1));
    assert_eq!(node.expectations_gone, []);
    assert_eq!(node.expectations.len(), 1);
    assert!(!node.owns(1) && node.own_expectations().is_empty());
}

#[test]
fn what_one_former_owner_gives_up_to_the_other_takes_what_it_expects_along() {
    let mut node = Fw1::new();
    node.tells(FW2, 1);
    node.expects(FW2, 1);
    node.takes_over(&[FW3]);
    // The two had met as well; the connection is this node's before its table is read, and so is what it expects.
    node.tells(FW3, 1);
    node.expects(FW3, 1);
    node.has_no_more(FW2, 1);
    node.expects_no_more(FW2, 1);
    node.adopts();
    assert_eq!(node.expectations_gone, []);
    assert_eq!(node.own_expectations(), [flow(1).key()]);
}

#[test]
fn an_expectation_that_is_given_up_stays_though_its_handle_is_used_again() {
    let mut node = Fw1::new();
    for n in [1, 2] {
        node.tells(FW2, n);
    }
    node.expects(FW2, 1);
    node.hear(FW2, |said, out| {
        said.word(out, &takeover(4, "fw2"));
        said.new_expectation(out, 1, &expected_by(2));
    });
    node.tells(FW3, 1);
    node.expects(FW3, 1);
    node.wait(Duration::from_secs(11));
    assert_eq!(node.expectations_gone, []);
    assert_eq!(node.expectations.len(), 2);
}

#[test]
fn an_expectation_that_is_claimed_better_by_another_is_not_taken_from_it() {
    let mut node = Fw1::new();
    // The one with the better claim has it with another class.
    for peer in [FW3, FW2] {
        node.tells(peer, 1);
        let class = Some(if peer == FW3 { 3 } else { 2 });
        node.hear(peer, |said, out| {
            let expected = Expectation {
                class,
                ..expected_by(1)
            };
            said.new_expectation(out, 1, &expected);
        });
    }
    let classes: Vec<_> = node.expectations.iter().map(|it| it.class).collect();
    assert_eq!(classes, [Some(3)]);
    // It goes, and the other one's takes its place.
    node.expects_no_more(FW3, 1);
    let classes: Vec<_> = node.expectations.iter().map(|it| it.class).collect();
    assert_eq!(classes, [Some(2)]);
}

#[test]
fn an_expectation_is_not_given_up_to_a_node_that_has_given_up_its_master() {
    let mut node = Fw1::new();
    node.tells(FW2, 1);
    node.expects(FW2, 1);
    node.takes_over(&[FW2]);
    node.adopts();
    assert_eq!(node.own_expectations(), [flow(1).key()]);
    // It has given up the one and not yet the other as it takes over from somebody else.
    node.has_no_more(FW2, 1);
    node.hear(FW2, |said, out| {
        said.word(out, &Word::Role(RoleWord::Primary, 9));
    });
    node.wait(Duration::from_millis(10));
    assert_eq!(node.own_expectations(), [flow(1).key()]);
    node.expects_no_more(FW2, 1);
    node.wait(Duration::from_millis(10));
    assert_eq!(node.own_expectations(), [flow(1).key()]);
    assert_eq!(node.expectations_gone, []);
}
