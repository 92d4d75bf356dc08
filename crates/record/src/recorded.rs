//! A core whose inputs are written down.

use std::ops::{ControlFlow, Deref};
use std::time::Instant;

use engine::{
    ClientId, Command, Engine, KernelSocket, LinkId, LinkState, LiveSettings, Output, PeerId,
    Settings, Start,
};

use crate::digest::Digest;
use crate::step::{End, Header, MAGIC, POLLED_MAX, Passed, Step, VERSION};

/// Outputs between two checks.
const CHECK_EVERY: u64 = 1024;

/// Where a recording goes.
pub trait Sink {
    /// Takes the next bytes. `Break`: it takes no more, and nothing more will come.
    fn append(&mut self, bytes: &[u8]) -> ControlFlow<()>;

    /// Nothing more comes.
    fn end(&mut self, end: End);
}

/// A core, and a tape if it is recorded. Whatever changes the core goes through here; what only looks goes through
/// [`Deref`].
pub struct Recorded {
    engine: Engine,
    tape: Option<Box<Tape>>,
}

/// A recording that is being made.
pub struct Tape {
    sink: Box<dyn Sink>,
    /// Bytes that may still be written.
    left: u64,
    last: Instant,
    /// Asked for outputs since the last step.
    polled: u64,
    digest: Digest,
    next_check: u64,
    buffer: Vec<u8>,
}

impl Deref for Recorded {
    type Target = Engine;

    fn deref(&self) -> &Engine {
        &self.engine
    }
}

impl Recorded {
    /// A core that nobody records.
    #[must_use]
    pub fn off(engine: Engine) -> Self {
        Self { engine, tape: None }
    }

    /// A core that is recorded from its first moment, in no more than `limit` bytes.
    #[must_use]
    pub fn on(
        settings: Settings,
        start: Start,
        program: &str,
        limit: u64,
        sink: Box<dyn Sink>,
    ) -> Self {
        let tape = Tape::new(&settings, &start, program, limit, sink);
        Self {
            engine: Engine::new(settings, start),
            tape: Some(Box::new(tape)),
        }
    }

    /// Ends the recording, if there is one.
    pub fn stop(&mut self) {
        if let Some(tape) = self.tape.take() {
            tape.end(End::Stopped);
        }
    }

    /// Writes a step down, if anybody does.
    fn tell(&mut self, now: Option<Instant>, step: &Step<'_>) {
        if let Some(tape) = &mut self.tape
            && let ControlFlow::Break(end) = tape.step(now, step)
            && let (Some(tape), Some(end)) = (self.tape.take(), end)
        {
            tape.end(end);
        }
    }

    /// [`Engine::poll_output`]
    #[must_use]
    pub fn poll_output(&mut self) -> Option<Output<'_>> {
        let output = self.engine.poll_output();
        if let Some(tape) = &mut self.tape {
            if tape.polled == POLLED_MAX {
                tape.put_polled();
            }
            tape.polled += 1;
            if let Some(output) = &output {
                tape.digest.take(output);
            }
        }
        output
    }

    /// [`Engine::begin`]
    pub fn begin(&mut self, now: Instant) {
        self.tell(Some(now), &Step::Begin);
        self.engine.begin(now);
    }

    /// [`Engine::handle_timeout`]
    pub fn handle_timeout(&mut self, now: Instant) {
        self.tell(Some(now), &Step::Timeout);
        self.engine.handle_timeout(now);
    }

    /// [`Engine::expect_events`]: decides nothing.
    pub fn expect_events<'a>(&mut self, datagrams: impl Iterator<Item = &'a [u8]>) {
        self.engine.expect_events(datagrams);
    }

    /// [`Engine::handle_events`]
    pub fn handle_events(&mut self, now: Instant, datagram: &[u8]) {
        self.tell(Some(now), &Step::Events(datagram));
        self.engine.handle_events(now, datagram);
    }

    /// [`Engine::handle_overrun`]
    pub fn handle_overrun(&mut self, now: Instant) {
        self.tell(Some(now), &Step::Overrun);
        self.engine.handle_overrun(now);
    }

    /// [`Engine::handle_kernel_reply`]
    pub fn handle_kernel_reply(&mut self, now: Instant, socket: KernelSocket, datagram: &[u8]) {
        self.tell(Some(now), &Step::KernelReply(socket, datagram));
        self.engine.handle_kernel_reply(now, socket, datagram);
    }

    /// [`Engine::handle_kernel_overrun`]
    pub fn handle_kernel_overrun(&mut self, now: Instant, socket: KernelSocket) {
        self.tell(Some(now), &Step::KernelOverrun(socket));
        self.engine.handle_kernel_overrun(now, socket);
    }

    /// [`Engine::handle_datagram`]
    pub fn handle_datagram(&mut self, now: Instant, link: LinkId, bytes: &[u8]) {
        self.tell(Some(now), &Step::Datagram(link, bytes));
        self.engine.handle_datagram(now, link, bytes);
    }

    /// [`Engine::handle_stream`]
    pub fn handle_stream(&mut self, now: Instant, link: LinkId, piece: &[u8]) {
        self.tell(Some(now), &Step::Stream(link, piece));
        self.engine.handle_stream(now, link, piece);
    }

    /// [`Engine::handle_stream_closed`]
    pub fn handle_stream_closed(&mut self, link: LinkId) {
        self.tell(None, &Step::StreamClosed(link));
        self.engine.handle_stream_closed(link);
    }

    /// [`Engine::handle_link`]
    pub fn handle_link(&mut self, now: Instant, link: LinkId, state: LinkState) {
        self.tell(Some(now), &Step::Link(link, state));
        self.engine.handle_link(now, link, state);
    }

    /// [`Engine::handle_command`]
    pub fn handle_command(&mut self, now: Instant, client: ClientId, command: Command) {
        self.tell(Some(now), &Step::Command(client, command));
        self.engine.handle_command(now, client, command);
    }

    /// [`Engine::reconfigure`]
    pub fn reconfigure(&mut self, now: Instant, live: LiveSettings) {
        self.tell(Some(now), &Step::Reconfigure(live.clone()));
        self.engine.reconfigure(now, live);
    }

    /// [`Engine::handle_peer_open`]
    pub fn handle_peer_open(&mut self, now: Instant, peer: PeerId) {
        self.tell(Some(now), &Step::PeerOpen(peer));
        self.engine.handle_peer_open(now, peer);
    }

    /// [`Engine::handle_peer_bytes`]
    pub fn handle_peer_bytes(&mut self, now: Instant, peer: PeerId, piece: &[u8]) -> u64 {
        self.tell(Some(now), &Step::PeerBytes(peer, piece));
        self.engine.handle_peer_bytes(now, peer, piece)
    }

    /// [`Engine::handle_peer_closed`]
    pub fn handle_peer_closed(&mut self, now: Instant, peer: PeerId, heard_at: Instant) {
        let silent = now.saturating_duration_since(heard_at).as_nanos();
        let silent = u64::try_from(silent).unwrap_or(u64::MAX);
        self.tell(Some(now), &Step::PeerClosed(peer, silent));
        self.engine.handle_peer_closed(now, peer, heard_at);
    }

    /// [`Engine::set_peer_room`]
    pub fn set_peer_room(&mut self, peer: PeerId, bytes: usize) {
        self.tell(None, &Step::PeerRoom(peer, bytes as u64));
        self.engine.set_peer_room(peer, bytes);
    }
}

/// The recording is over, for this reason; without one, because the sink takes no more.
type Over = ControlFlow<Option<End>>;

impl Tape {
    fn new(
        settings: &Settings,
        start: &Start,
        program: &str,
        limit: u64,
        sink: Box<dyn Sink>,
    ) -> Self {
        let header = Header {
            version: VERSION,
            program: program.to_owned(),
            unix_time_s: start.unix_time_s,
            seed: start.seed,
            origins: start.origins,
            settings: settings.clone(),
        };
        // Numbers, texts and lists of them: nothing that JSON does not have.
        let header = serde_json::to_string(&header).unwrap_or_default();
        Self {
            sink,
            left: limit,
            last: start.now,
            polled: 0,
            digest: Digest::default(),
            next_check: CHECK_EVERY,
            // Written with the first step.
            buffer: format!("{MAGIC}{header}\n").into_bytes(),
        }
    }

    fn step(&mut self, now: Option<Instant>, step: &Step<'_>) -> Over {
        self.put_polled();
        let passed = now.map_or(0, |now| signed_ns(self.last, now));
        self.last = now.unwrap_or(self.last);
        self.put(passed, step);
        self.write()
    }

    /// What has been asked since the last step, and from time to time what was answered.
    fn put_polled(&mut self) {
        if self.polled > 0 {
            let polled = std::mem::take(&mut self.polled);
            self.put(0, &Step::Polled(polled));
        }
        if self.digest.outputs() >= self.next_check {
            self.next_check = self.digest.outputs() + CHECK_EVERY;
            self.put_check();
        }
    }

    fn put_check(&mut self) {
        let (outputs, digest) = (self.digest.outputs(), self.digest.value());
        self.put(0, &Step::Check { outputs, digest });
    }

    fn put(&mut self, passed: Passed, step: &Step<'_>) {
        let buffer = std::mem::take(&mut self.buffer);
        // A vector takes everything.
        self.buffer = postcard::to_extend(&(passed, step), buffer).unwrap_or_default();
    }

    fn write(&mut self) -> Over {
        let len = self.buffer.len() as u64;
        if len > self.left {
            return ControlFlow::Break(Some(End::Full));
        }
        self.left -= len;
        let taken = self.sink.append(&self.buffer);
        self.buffer.clear();
        match taken {
            ControlFlow::Continue(()) => ControlFlow::Continue(()),
            ControlFlow::Break(()) => ControlFlow::Break(None),
        }
    }

    /// The last check and the end, for which there is always room: some bytes beyond the limit.
    fn end(mut self, end: End) {
        // A step that found no room was not written; what was asked before it was.
        if end == End::Full {
            self.buffer.clear();
        } else {
            self.put_polled();
            self.put_check();
        }
        self.put(0, &Step::End(end));
        if self.sink.append(&self.buffer).is_continue() {
            self.sink.end(end);
        }
    }
}

fn signed_ns(from: Instant, to: Instant) -> Passed {
    let (forward, back) = (
        to.saturating_duration_since(from),
        from.saturating_duration_since(to),
    );
    let ns = |duration: std::time::Duration| Passed::try_from(duration.as_nanos());
    ns(forward).unwrap_or(Passed::MAX) - ns(back).unwrap_or(Passed::MAX)
}
