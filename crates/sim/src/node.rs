//! One node: a kernel, and an engine that lives and dies on it.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use engine::snapshot::ExternalStats;
use engine::{
    ClientId, Command, Engine, KernelSocket, LinkId, Origins, Output, PeerId, Settings, Side,
    Snapshot, Start,
};
use flow::{Expectation, Flow};

use crate::kernel::Received;
use crate::link::Datagram;
use crate::writing::{Answered, Writing};
use crate::{Rng, SimKernel};

/// Datagrams read before the outputs are carried out.
const READ_LIMIT: usize = 64;

/// Outputs at one moment that no honest engine has.
const OUTPUT_LIMIT: usize = 1_000_000;

const SOCKETS: [KernelSocket; 5] = [
    KernelSocket::Dump,
    KernelSocket::Query,
    KernelSocket::Commit,
    KernelSocket::Inject,
    KernelSocket::Flush,
];

/// Datagrams that wait in the sockets of a process that does not run.
const INBOX_MAX: usize = 512;

/// How a node's sockets are, and how fast it reads them.
#[derive(Clone, Copy, Debug)]
pub struct Buffers {
    /// Events that may wait.
    pub events: usize,
    /// Answers that may wait on a socket.
    pub answers: usize,
}

/// A node.
#[derive(Debug)]
pub struct Node {
    /// Its kernel, which outlives the engine.
    pub kernel: SimKernel,
    /// What the engine is started with.
    pub settings: Settings,
    /// Its sockets.
    pub buffers: Buffers,
    /// Longest time in milliseconds until waiting events are read.
    pub reading_ms: u64,
    /// Time in microseconds that the kernel takes for some parts of a table.
    pub dump_us: u64,
    /// Time in microseconds that the kernel takes for a batch of requests. Meanwhile everything else goes on; with 0 the
    /// answers are there at once.
    pub batch_us: u64,
    /// What was written to the streams to peers and not taken yet.
    pub streams: Vec<(PeerId, Vec<u8>)>,
    /// How often the engine was started.
    pub life: u32,
    /// What was handed to engines: events, answers, datagrams, commands, timeouts.
    pub inputs: u64,
    /// When it last said something to a peer, or was started.
    pub spoke_at: Option<Instant>,
    engine: Option<Engine>,
    /// The process does not run until then.
    frozen_until: Option<Instant>,
    inbox: Vec<(LinkId, usize, Datagram)>,
    index: u32,
    events_at: Option<Instant>,
    dump_at: Option<Instant>,
    writing: Writing,
    pending: BTreeSet<u64>,
    next_client: u64,
    rng: Rng,
}

impl Node {
    /// A node whose engine has not been started.
    #[must_use]
    pub fn new(index: u32, settings: Settings, kernel: SimKernel, rng: Rng) -> Self {
        Self {
            kernel,
            settings,
            buffers: Buffers {
                events: 4096,
                answers: 4096,
            },
            reading_ms: 2,
            dump_us: 300,
            batch_us: 0,
            streams: Vec::new(),
            life: 0,
            inputs: 0,
            spoke_at: None,
            engine: None,
            frozen_until: None,
            inbox: Vec::new(),
            index,
            events_at: None,
            dump_at: None,
            writing: Writing::default(),
            pending: BTreeSet::new(),
            next_client: 0,
            rng,
        }
    }

    /// The engine, while it lives.
    #[must_use]
    pub fn engine(&self) -> Option<&Engine> {
        self.engine.as_ref()
    }

    /// The engine, while it lives, to hand something over.
    pub fn engine_mut(&mut self) -> Option<&mut Engine> {
        self.engine.as_mut()
    }

    /// Starts the engine.
    pub fn start(&mut self, now: Instant, unix_time_s: u32) {
        self.kernel.listen(self.buffers.events);
        for socket in SOCKETS {
            self.kernel.open(self.port_id(socket), self.buffers.answers);
        }
        let start = Start {
            now,
            unix_time_s,
            seed: self.rng.bits(),
            origins: Origins {
                commit: self.port_id(KernelSocket::Commit),
                inject: self.port_id(KernelSocket::Inject),
                flush: self.port_id(KernelSocket::Flush),
            },
        };
        let mut engine = Engine::new(self.settings.clone(), start);
        engine.begin(now);
        self.engine = Some(engine);
        self.life += 1;
        self.spoke_at = Some(now);
    }

    /// Kills the engine; whoever waits for a command waits no more.
    pub fn crash(&mut self) {
        self.engine = None;
        self.kernel.close_all();
        self.streams.clear();
        self.frozen_until = None;
        self.inbox.clear();
        (self.events_at, self.dump_at) = (None, None);
        self.writing.clear();
        self.pending.clear();
    }

    /// Gives a command. Without an engine nothing happens.
    pub fn command(&mut self, now: Instant, command: Command) {
        if let Some(engine) = &mut self.engine {
            engine.handle_command(now, ClientId(self.next_client), command);
            self.inputs += 1;
            self.pending.insert(self.next_client);
            self.next_client += 1;
        }
    }

    /// Commands that have not ended.
    #[must_use]
    pub fn pending_commands(&self) -> usize {
        self.pending.len()
    }

    /// Stops the process until then. Its kernel goes on, and keeps what it can for it.
    pub fn freeze(&mut self, until: Instant) {
        if self.engine.is_some() {
            self.frozen_until = self.frozen_until.max(Some(until));
        }
    }

    /// Whether the process is stopped.
    #[must_use]
    pub fn is_frozen(&self) -> bool {
        self.frozen_until.is_some()
    }

    /// A datagram arrives for a process that does not run. Returns whether there was room for it.
    pub fn keep(&mut self, link: LinkId, from: usize, datagram: Datagram) -> bool {
        let fits = self.inbox.len() < INBOX_MAX;
        if fits {
            self.inbox.push((link, from, datagram));
        }
        fits
    }

    /// Lets a stopped process go on when its time has come; what arrived meanwhile.
    pub fn thaw(&mut self, now: Instant) -> Vec<(LinkId, usize, Datagram)> {
        match self.frozen_until.take_if(|until| *until <= now) {
            Some(_) => {
                self.spoke_at = Some(now);
                std::mem::take(&mut self.inbox)
            }
            None => Vec::new(),
        }
    }

    /// Hands over a datagram of the peer.
    pub fn receive(&mut self, now: Instant, link: LinkId, bytes: &[u8]) {
        if let Some(engine) = &mut self.engine {
            engine.handle_datagram(now, link, bytes);
            self.inputs += 1;
        }
    }

    /// When [`Node::act`] has something to do.
    #[must_use]
    pub fn next_act(&self) -> Option<Instant> {
        let engine = self.engine.as_ref()?;
        if self.frozen_until.is_some() {
            return self.frozen_until;
        }
        let own = [self.events_at, self.dump_at, self.writing.next()];
        let own = own.into_iter().flatten().min();
        [engine.poll_timeout(), own].into_iter().flatten().min()
    }

    /// Reads what waits, lets time pass, and carries out what the engine wants; datagrams go to `send`.
    pub fn act(&mut self, now: Instant, send: &mut dyn FnMut(LinkId, &[u8])) {
        if self.is_frozen() {
            return;
        }
        if self.events_at.is_some_and(|at| at <= now) {
            self.events_at = None;
            self.read_events(now);
        }
        if self.dump_at.is_some_and(|at| at <= now) {
            self.dump_at = None;
            self.read_table(now);
        }
        self.go_on_writing(now);
        if let Some(engine) = &mut self.engine
            && engine.poll_timeout().is_some_and(|at| at <= now)
        {
            engine.handle_timeout(now);
            self.inputs += 1;
        }
        self.carry_out(now, send);
        self.plan_reading(now);
    }

    /// What the engine counts.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.engine
            .as_ref()
            .map(Engine::snapshot)
            .unwrap_or_default()
    }

    /// How often the external cache has changed; `None` if there is none.
    #[must_use]
    pub fn external_changes(&self) -> Option<u64> {
        match self.engine.as_ref()?.snapshot().external {
            Some(ExternalStats::Cache(stats)) => {
                Some(stats.created + stats.updated + stats.destroyed)
            }
            _ => None,
        }
    }

    /// Connections of a cache.
    #[must_use]
    pub fn flows(&self, side: Side) -> Vec<Flow> {
        let mut all = Vec::new();
        if let Some(engine) = &self.engine {
            let mut cursor = Some(0);
            while let Some(from) = cursor {
                cursor = engine.flows(side, from, 100, &mut |dumped| all.push(dumped.entry));
            }
        }
        all
    }

    /// Expectations of a cache.
    #[must_use]
    pub fn expectations(&self, side: Side) -> Vec<Expectation> {
        let mut all = Vec::new();
        if let Some(engine) = &self.engine {
            let mut cursor = Some(0);
            while let Some(from) = cursor {
                cursor = engine.expectations(side, from, 100, &mut |dumped| all.push(dumped.entry));
            }
        }
        all
    }

    fn port_id(&self, socket: KernelSocket) -> u32 {
        let position = SOCKETS.iter().position(|other| *other == socket);
        1000 * (self.index + 1) + position.unwrap_or_default() as u32
    }

    fn read_events(&mut self, now: Instant) {
        let Some(engine) = &mut self.engine else {
            return;
        };
        for _ in 0..READ_LIMIT {
            match self.kernel.read_event() {
                Received::Data(bytes) => engine.handle_events(now, &bytes),
                Received::Overrun => engine.handle_overrun(now),
                Received::Empty => break,
            }
            self.inputs += 1;
        }
    }

    fn read_table(&mut self, now: Instant) {
        let port_id = self.port_id(KernelSocket::Dump);
        for _ in 0..READ_LIMIT {
            match self.kernel.read_answer(now, port_id) {
                Received::Empty => break,
                part => self.take(now, KernelSocket::Dump, part),
            }
        }
    }

    fn take(&mut self, now: Instant, socket: KernelSocket, answer: Received) {
        let Some(engine) = &mut self.engine else {
            return;
        };
        match answer {
            Received::Data(bytes) => engine.handle_kernel_reply(now, socket, &bytes),
            Received::Overrun => engine.handle_kernel_overrun(now, socket),
            Received::Empty => return,
        }
        self.inputs += 1;
    }

    /// The kernel does what it is asked, and has answered all of it, except for a dump. What is left of lost answers tells
    /// nothing.
    fn execute(&mut self, now: Instant, socket: KernelSocket, batch: &[u8]) -> Answered {
        let port_id = self.port_id(socket);
        self.kernel.execute(now, port_id, batch);
        let mut answers = Vec::new();
        while socket != KernelSocket::Dump && self.kernel.has_answers(port_id) {
            answers.push(self.kernel.read_answer(now, port_id));
        }
        if answers.contains(&Received::Overrun) {
            answers = vec![Received::Overrun];
        }
        (socket, answers)
    }

    fn go_on_writing(&mut self, now: Instant) {
        let takes = Duration::from_micros(self.batch_us);
        while let Some((at, socket, batch)) = self.writing.next_done(now, takes) {
            let answered = self.execute(now, socket, &batch);
            self.writing.answer(at, takes, answered);
        }
        for (socket, answers) in self.writing.take_answers(now) {
            for answer in answers {
                self.take(now, socket, answer);
            }
        }
    }

    fn carry_out(&mut self, now: Instant, send: &mut dyn FnMut(LinkId, &[u8])) {
        for _ in 0..OUTPUT_LIMIT {
            let Some(output) = self.engine.as_mut().and_then(Engine::poll_output) else {
                return;
            };
            match output {
                Output::Stream { peer, bytes } => self.streams.push((peer, bytes.to_vec())),
                Output::ClosePeer(peer) => panic!("{peer:?} said what makes no sense"),
                Output::Transmit { link, bytes } => {
                    self.spoke_at = Some(now);
                    send(link, bytes);
                }
                Output::Kernel { socket, bytes } => {
                    if self.batch_us == 0 {
                        let batch = bytes.to_vec();
                        let (_, answers) = self.execute(now, socket, &batch);
                        for answer in answers {
                            self.take(now, socket, answer);
                        }
                    } else {
                        let takes = Duration::from_micros(self.batch_us);
                        self.writing.ask(now, takes, socket, bytes);
                    }
                }
                Output::Done { client, .. } => {
                    assert!(
                        self.pending.remove(&client.0),
                        "{client:?} is answered once"
                    );
                }
                _ => {}
            }
        }
        panic!("the engine never runs out of outputs");
    }

    fn plan_reading(&mut self, now: Instant) {
        if self.kernel.has_events() && self.events_at.is_none() {
            self.events_at = Some(now + self.rng.millis(0, self.reading_ms));
        }
        let port_id = self.port_id(KernelSocket::Dump);
        if self.kernel.has_answers(port_id) && self.dump_at.is_none() {
            self.dump_at = Some(now + Duration::from_micros(self.dump_us));
        }
    }
}
