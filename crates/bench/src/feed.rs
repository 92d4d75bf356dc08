//! A peer that is only a source: what an active node says of a load, encoded before it begins.
//!
//! A kernel makes a hundred thousand flows a second at most, of which a standby on a tenth of a core may take more. The
//! source speaks FT-FW as a node does: it greets, numbers its messages, acknowledges what it hears. It repeats
//! nothing: a standby that asks for something again has lost it, and that ends the attempt.

use std::net::{SocketAddr, UdpSocket};
use std::ops::Range;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use flow::{Flow, ProtoInfo, Status, Synproxy, TcpState};
use netlab::{Namespace, sample};
use syncwire::{Carrier, Change, EncodeOptions, Flags, Frame, Pushed, Split, encode, split};

use crate::load::{self, Done, STAGES, Stage, TICK};

/// As in the configuration of the nodes.
const PORT: u16 = 3780;
const ACK_WINDOW: u32 = 300;

/// Room of a datagram on a link of the usual MTU.
const DATAGRAM_LEN: usize = 1472;

/// How often a node greets until it is answered, and acknowledges what little it has heard.
const ALIVE: Duration = Duration::from_secs(1);

/// How long the greeting may take.
const GREETING: Duration = Duration::from_secs(10);

/// Everything that is said of a load, without numbers.
pub(crate) struct Speech {
    bytes: Vec<u8>,
    /// Where each datagram lies.
    datagrams: Vec<Range<usize>>,
    /// How many datagrams have been sent when a tick is over, and how many flows have begun.
    ticks: Vec<(usize, u32)>,
    rate: u32,
    flows: u32,
}

impl Speech {
    /// Writes down what is to be said of `rate` flows a second in so many seconds.
    pub(crate) fn of_load(rate: u32, seconds: u32) -> Self {
        let flows = rate * seconds;
        let mut speech = Self {
            bytes: Vec::new(),
            datagrams: Vec::new(),
            ticks: Vec::new(),
            rate,
            flows,
        };
        let mut frame = Frame::new(DATAGRAM_LEN);
        let mut next = [0; STAGES.len()];
        let mut now = Duration::ZERO;
        while next.last() != Some(&flows) {
            for (next, (delay, stage)) in next.iter_mut().zip(STAGES) {
                let due = load::due(now, delay, rate, flows);
                for number in *next..due {
                    if !(matches!(stage, Stage::End) && load::stays(number)) {
                        speech.say(&mut frame, stage, number);
                    }
                }
                *next = due;
            }
            // What a tick brings leaves with it.
            if frame.seal() {
                speech.complete(&mut frame);
            }
            speech.ticks.push((speech.datagrams.len(), next[0]));
            now += TICK;
        }
        speech
    }

    fn say(&mut self, frame: &mut Frame, stage: Stage, number: u32) {
        let (change, flow) = told(stage, number);
        let options = EncodeOptions::default();
        let write = |buf: &mut Vec<u8>| {
            encode::flow(buf, change, Flags::default(), 0, &flow, options);
        };
        if frame.push(write) == Pushed::Sealed {
            self.complete(frame);
        }
    }

    fn complete(&mut self, frame: &mut Frame) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(frame.sealed());
        self.datagrams.push(start..self.bytes.len());
        frame.advance();
    }

    /// What the standby has to hold in the end.
    pub(crate) fn left(&self) -> Vec<Flow> {
        (0..self.flows)
            .filter(|number| load::stays(*number))
            .map(|number| told(Stage::Established, number).1)
            .collect()
    }
}

/// What an active node says of a flow: always all of it, an end with its last state.
fn told(stage: Stage, number: u32) -> (Change, Flow) {
    let mut flow = sample::nth(number);
    // The kernel tells of these for every entry that a program has made.
    flow.synproxy = Some(Synproxy::default());
    let (change, status, state) = match stage {
        Stage::Begin => (Change::New, Status(0), TcpState::SynSent),
        Stage::Replied => (Change::Update, Status::SEEN_REPLY, TcpState::SynRecv),
        Stage::Established | Stage::End => (
            match stage {
                Stage::End => Change::Delete,
                _ => Change::Update,
            },
            Status::SEEN_REPLY | Status::ASSURED,
            TcpState::Established,
        ),
    };
    flow.status = Some(Status::CONFIRMED | status);
    if let ProtoInfo::Tcp(tcp) = &mut flow.proto {
        tcp.state = Some(state);
    }
    (change, flow)
}

/// Gives the messages of a datagram their numbers. Returns the next one.
fn number(datagram: &mut [u8], mut next: u32) -> u32 {
    let mut rest = datagram;
    while let Some([_, _, high, low, place @ ..]) = rest.first_chunk_mut::<8>() {
        place.copy_from_slice(&next.to_be_bytes());
        let len = usize::from(u16::from_be_bytes([*high, *low]));
        next = next.wrapping_add(1);
        rest = rest.get_mut(len.max(8)..).unwrap_or_default();
    }
    next
}

/// The source, in place of the active node.
pub(crate) struct Source {
    receiver: UdpSocket,
    sender: UdpSocket,
    next: u32,
    heard: Heard,
}

/// What the standby has said.
#[derive(Debug, Default)]
struct Heard {
    last: Option<u32>,
    /// First number that was not acknowledged, and how many were not.
    ack_from: Option<u32>,
    pending: u32,
    greets: bool,
    knows_us: bool,
    /// Requests for what it has not got.
    nacks: u32,
}

impl Source {
    /// Opens node A's sockets.
    pub(crate) fn open(namespace: &Namespace) -> Result<Self> {
        let [own, peer] = [1, 2].map(|host| SocketAddr::from(([192, 168, 100, host], PORT)));
        let (receiver, sender) = namespace.enter(move || -> Result<_> {
            let sender = UdpSocket::bind(SocketAddr::new(own.ip(), 0))?;
            sender.connect(peer)?;
            Ok((UdpSocket::bind(own)?, sender))
        })??;
        receiver.set_nonblocking(true)?;
        Ok(Self {
            receiver,
            sender,
            next: 1_000_000,
            heard: Heard::default(),
        })
    }

    /// Greets, until both know of each other.
    pub(crate) fn greet(&mut self) -> Result<()> {
        let begun = Instant::now();
        let mut greeted_at: Option<Instant> = None;
        while !(self.heard.knows_us && self.heard.greets) {
            ensure!(begun.elapsed() < GREETING, "the standby does not greet");
            if greeted_at.is_none_or(|at| at.elapsed() > ALIVE) {
                self.control(Flags::ALIVE | Flags::HELLO, 0, 0)?;
                greeted_at = Some(Instant::now());
            }
            std::thread::sleep(Duration::from_millis(10));
            self.listen()?;
        }
        // From here on without a greeting, which is a sign of a new start.
        self.control(Flags::ALIVE | Flags::HELLO_BACK, 0, 0)
    }

    /// Says all of it in its time, above everything else on the machine.
    pub(crate) fn feed(&mut self, speech: &mut Speech) -> Result<Done> {
        std::thread::scope(|scope| {
            let worker = scope.spawn(|| {
                load::above_everything()?;
                self.say(speech)
            });
            worker
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Whether the standby has asked for anything again.
    pub(crate) fn was_asked_again(&mut self) -> Result<bool> {
        self.listen()?;
        Ok(self.heard.nacks > 0)
    }

    fn say(&mut self, speech: &mut Speech) -> Result<Done> {
        let begun = Instant::now();
        let mut acknowledged_at = begun;
        let mut made_in = Duration::ZERO;
        let mut datagrams = speech.datagrams.iter();
        let mut sent = 0;
        let mut due = Duration::ZERO;
        for (end, flows_begun) in &speech.ticks {
            if let Some(rest) = due.checked_sub(begun.elapsed()) {
                std::thread::sleep(rest);
            }
            due += TICK;
            for place in datagrams.by_ref().take(end - sent) {
                let datagram = speech.bytes.get_mut(place.clone()).unwrap_or_default();
                self.next = number(datagram, self.next);
                self.sender.send(datagram).context("sending")?;
            }
            sent = *end;
            if *flows_begun == speech.flows && made_in == Duration::ZERO {
                made_in = begun.elapsed();
            }
            self.listen()?;
            if self.heard.pending >= ACK_WINDOW || acknowledged_at.elapsed() >= ALIVE {
                self.acknowledge()?;
                acknowledged_at = Instant::now();
            }
        }
        Ok(Done {
            flows: speech.flows,
            left: speech.flows.div_ceil(10),
            achieved: f64::from(speech.flows) / made_in.as_secs_f64() / f64::from(speech.rate),
        })
    }

    fn listen(&mut self) -> Result<()> {
        let mut buffer = [0; 65536];
        loop {
            let len = match self.receiver.recv(&mut buffer) {
                Ok(len) => len,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            self.heard.take(buffer.get(..len).unwrap_or_default());
        }
    }

    fn acknowledge(&mut self) -> Result<()> {
        self.heard.pending = 0;
        match (self.heard.ack_from.take(), self.heard.last) {
            (Some(from), Some(to)) => self.control(Flags::ACK, from, to),
            _ => Ok(()),
        }
    }

    fn control(&mut self, flags: Flags, from: u32, to: u32) -> Result<()> {
        let mut bytes = Vec::new();
        encode::control(&mut bytes, flags, self.next, from, to);
        self.next = self.next.wrapping_add(1);
        match self.sender.send(&bytes) {
            // Nobody listens yet.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => Ok(()),
            other => other.map(|_| ()).context("sending"),
        }
    }
}

impl Heard {
    fn take(&mut self, datagram: &[u8]) {
        let mut rest = datagram;
        while let Split::Message(message, behind) = split(rest, Carrier::Datagram) {
            rest = behind;
            self.last = Some(message.seq);
            self.ack_from.get_or_insert(message.seq);
            self.pending += 1;
            self.greets |= message.flags.contains(Flags::HELLO);
            self.knows_us |= message.flags.contains(Flags::HELLO_BACK);
            self.nacks += u32::from(message.flags.contains(Flags::NACK));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;
    use syncwire::Kind;

    #[test]
    fn what_is_said_of_a_load_leaves_what_is_told_to_stay_and_is_numbered_without_a_gap() {
        let mut speech = Speech::of_load(2000, 1);
        let mut next = u32::MAX - 5;
        let mut held = HashMap::new();
        let mut messages = 0;
        for place in speech.datagrams.clone() {
            let datagram = &mut speech.bytes[place];
            assert!(datagram.len() < DATAGRAM_LEN);
            let first = next;
            next = number(datagram, next);
            let (mut rest, mut seq) = (&*datagram, first);
            while let Split::Message(message, behind) = split(rest, Carrier::Datagram) {
                assert_eq!(message.seq, seq);
                (rest, seq) = (behind, seq.wrapping_add(1));
                let flow = message.flow().unwrap();
                match message.kind() {
                    Some(Kind::Flow(Change::New)) => {
                        assert!(held.insert(flow.orig, flow).is_none());
                    }
                    Some(Kind::Flow(Change::Update)) => {
                        assert!(held.insert(flow.orig, flow).is_some());
                    }
                    Some(Kind::Flow(Change::Delete)) => assert!(held.remove(&flow.orig).is_some()),
                    other => panic!("{other:?}"),
                }
                messages += 1;
            }
            assert!(rest.is_empty());
            assert_eq!(seq, next);
        }
        assert_eq!(messages, 2000 * 3 + 1800);
        let left = speech.left();
        assert_eq!(left.len(), 200);
        assert!(
            left.iter()
                .all(|flow| held[&flow.orig].status == flow.status)
        );
        // Everything has been said a second after the last flow began.
        assert!(speech.ticks.len() <= 2010, "{}", speech.ticks.len());
    }
}
