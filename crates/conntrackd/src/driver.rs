//! The engine with everything it acts through: kernel sockets, links, waiting clients.
//!
//! [`Driver::flush`] carries out what the engine wants done. It never waits; what a socket does not take is
//! counted, and the protocol heals it.

mod hear_out;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use ctnetlink::socket::{Batch, EVENT_BUFFER_LEN, Received};
use engine::{ClientId, Command, KernelSocket, LinkId, LinkState, Notice, Outcome, Output, Role};
use record::Recorded;
use tokio::net::TcpStream;
use tokio::sync::{Notify, oneshot};

use crate::kernel::{Events, Requests};
use crate::link::{DatagramLink, Endpoint, StreamLink, Traffic};
use crate::log::FlowLog;
use crate::native::Native;
use crate::pace::Pace;
use crate::rest::Rest;
use crate::writer::{Answered, Writer};

/// Outputs carried out before everything else gets a turn: about a millisecond of work.
const FLUSH_BUDGET: usize = 16;

/// Events read after each batch written to the kernel: twice as many as it can have raised.
const EVENTS_PER_BATCH: usize = 256;

/// Longest datagram of a peer.
pub(crate) const DATAGRAM_LEN: usize = 65536;

/// The driver, shared by all tasks of the one thread; never borrowed across a wait.
pub(crate) type Shared = Rc<RefCell<Driver>>;

/// A dedicated link as configured, and its sockets while its interface is there.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) endpoint: Endpoint,
    pub(crate) open: Open,
    pub(crate) traffic: Traffic,
    /// The peer's connection to us, while it is up (TCP).
    pub(crate) incoming: Option<Rc<TcpStream>>,
    /// Condition of its interface.
    pub(crate) state: LinkState,
    /// Why it could not be opened, told once.
    pub(crate) complaint: Option<String>,
    /// Wakes the receiving task when the sockets were replaced.
    pub(crate) reopened: Rc<Notify>,
}

/// The sockets of a link.
#[derive(Debug)]
pub(crate) enum Open {
    /// The interface is absent, or opening failed.
    No,
    /// UDP or multicast.
    Datagram(DatagramLink),
    /// TCP.
    Stream(StreamLink),
}

/// Wake-ups for the tasks that follow up on the core.
#[derive(Debug, Default)]
pub(crate) struct Signals {
    /// More output waits than one flush may carry out.
    pub(crate) output: Notify,
    /// The next timeout moved forward.
    pub(crate) timer: Notify,
    /// The thread that writes has got on, for all who wait for it.
    pub(crate) answered: Notify,
    /// Something came to its end: a command, or the first reading of the kernel's tables.
    pub(crate) progress: Notify,
    /// The node was told what it is.
    pub(crate) role: Notify,
    /// The same, for the file that keepalived reads.
    pub(crate) ready: Notify,
    /// The daemon is to end.
    pub(crate) shutdown: Notify,
}

/// Everything the tasks share.
pub(crate) struct Driver {
    pub(crate) engine: Recorded,
    pub(crate) events: Option<Events>,
    pub(crate) requests: Arc<Requests>,
    /// Where long requests are written; without it all are written at once.
    writer: Option<Writer>,
    pub(crate) links: Vec<Link>,
    /// Connections of the native dialect, where it is configured.
    pub(crate) native: Option<Native>,
    pub(crate) signals: Rc<Signals>,
    pub(crate) pace: Arc<Pace>,
    pub(crate) local_read_failed: u64,
    /// Requests of clients that may only look.
    pub(crate) local_refused: u64,
    pub(crate) started: Instant,
    /// Buffer size that the configuration asks for, told where there is no event socket.
    pub(crate) configured_buffer_len: u64,
    /// Where ended connections are written (statistics mode).
    pub(crate) flow_log: Option<FlowLog>,
    /// Rests during long work, where the daemon is of a real-time class.
    pub(crate) rest: Option<Rest>,
    clients: HashMap<ClientId, oneshot::Sender<Outcome>>,
    next_client: u64,
    armed: Cell<Option<Instant>>,
    batch: Batch,
    buffer: Vec<u8>,
}

impl Driver {
    pub(crate) fn new(
        engine: Recorded,
        events: Option<Events>,
        requests: Arc<Requests>,
        links: Vec<Link>,
        pace: Arc<Pace>,
        now: Instant,
    ) -> Self {
        let mut driver = Self {
            engine,
            events,
            requests,
            writer: None,
            links,
            native: None,
            signals: Rc::default(),
            pace,
            local_read_failed: 0,
            local_refused: 0,
            started: now,
            configured_buffer_len: 0,
            flow_log: None,
            rest: None,
            clients: HashMap::new(),
            next_client: 0,
            armed: Cell::new(None),
            batch: Batch::new(EVENT_BUFFER_LEN),
            buffer: vec![0; 64 * 1024],
        };
        driver.follow_event_buffer();
        driver
    }

    /// From now on a thread of its own writes what takes long.
    pub(crate) fn write_by(&mut self, writer: Writer) {
        self.writer = Some(writer);
        self.follow_event_buffer();
    }

    /// No more is written at once than the buffer of the event socket holds events of.
    fn follow_event_buffer(&mut self) {
        if let Some(events) = &self.events {
            self.pace.set_event_buffer(events.buffer_len());
        }
        if let Some(writer) = &mut self.writer {
            writer.set_events(self.pace.events_under_way());
        }
    }

    /// The start has been told.
    pub(crate) fn begin(&mut self) {
        self.engine.begin(Instant::now());
        self.flush();
    }

    /// Gives a command to the engine; the receiver fires when it has ended.
    ///
    /// A takeover begins with what peers have said before it, also with what waits in a socket until it is looked for.
    pub(crate) fn command(&mut self, command: Command) -> oneshot::Receiver<Outcome> {
        if matches!(
            command,
            Command::Commit(_) | Command::Become(Role::Primary, _) | Command::TakeOver(..)
        ) {
            self.hear_out();
        }
        let client = ClientId(self.next_client);
        self.next_client += 1;
        let (done, ended) = oneshot::channel();
        self.clients.insert(client, done);
        let before = self.engine.role().generation;
        self.engine.handle_command(Instant::now(), client, command);
        if self.engine.role().generation != before {
            self.signals.role.notify_one();
            self.signals.ready.notify_one();
        }
        self.flush();
        ended
    }

    /// Lets the engine act on the passing of time.
    pub(crate) fn timeout(&mut self) {
        let now = Instant::now();
        if let Some(native) = &mut self.native {
            native.timeout(now);
        }
        if self.engine.poll_timeout().is_some_and(|at| at <= now) {
            self.engine.handle_timeout(now);
        }
        self.flush();
    }

    /// Takes what peers of the native dialect have sent. Returns whether the socket ran dry.
    pub(crate) fn read_native(&mut self) -> bool {
        let Some(native) = &mut self.native else {
            return true;
        };
        let dry = native.receive(Instant::now(), &self.pace);
        self.flush();
        dry
    }

    /// Says farewell to the peers of the native dialect, and ends a recording.
    pub(crate) fn close(&mut self) {
        if let Some(native) = &mut self.native {
            native.close(Instant::now());
        }
        self.engine.stop();
    }

    /// When the timer task has to look again; remembers it, so that it is woken only for earlier ones.
    pub(crate) fn arm(&mut self) -> Option<Instant> {
        let next = self.timeout_to_wait_for();
        self.armed.set(next);
        next
    }

    /// While things are let come together, the timeouts are looked at after each pause: a timer of the runtime costs it
    /// a turn of its own every time that it is set to something sooner.
    fn timeout_to_wait_for(&mut self) -> Option<Instant> {
        let next = self.next_timeout()?;
        (!self.pace.is_busy() || next <= Instant::now()).then_some(next)
    }

    /// Whether a timeout has passed.
    pub(crate) fn is_due(&mut self) -> bool {
        self.next_timeout().is_some_and(|at| at <= Instant::now())
    }

    fn next_timeout(&mut self) -> Option<Instant> {
        let native = self.native.as_mut().and_then(Native::poll_timeout);
        [self.engine.poll_timeout(), native]
            .into_iter()
            .flatten()
            .min()
    }

    /// Reads up to `limit` event datagrams. Returns whether the socket ran dry.
    pub(crate) fn read_events(&mut self, limit: usize) -> io::Result<bool> {
        let dry = self.take_events(limit)?;
        self.flush();
        Ok(dry)
    }

    fn take_events(&mut self, limit: usize) -> io::Result<bool> {
        let now = Instant::now();
        let mut left = limit;
        while left > 0 {
            let most = left.min(Batch::LEN);
            left -= most;
            let Some(events) = &mut self.events else {
                return Ok(true);
            };
            match events.socket().receive_batch(&mut self.batch, most)? {
                Received::Data(count) => {
                    self.pace.events(count);
                    self.engine.expect_events(self.batch.datagrams());
                    for bytes in self.batch.datagrams() {
                        self.engine.handle_events(now, bytes);
                    }
                    if count < most {
                        return Ok(true);
                    }
                }
                Received::Overrun => {
                    events.grow();
                    self.follow_event_buffer();
                    self.engine.handle_overrun(now);
                }
                Received::WouldBlock => return Ok(true),
            }
        }
        Ok(false)
    }

    /// Takes what the kernel has answered to a batch that the thread has written.
    pub(crate) fn take_answer(&mut self, answered: Answered) -> io::Result<()> {
        let socket = answered.socket;
        // Its events have come by now. They must not pile up while the writing goes on.
        self.take_events(EVENTS_PER_BATCH)?;
        let now = Instant::now();
        match &answered.answers {
            Some(answers) => self.engine.handle_kernel_reply(now, socket, answers),
            None => self.engine.handle_kernel_overrun(now, socket),
        }
        if let Some(writer) = &mut self.writer {
            writer.answered(answered);
            writer.go_on();
        }
        self.signals.answered.notify_waiters();
        Ok(())
    }

    /// Whether the thread that writes has something to do.
    pub(crate) fn is_writing(&self) -> bool {
        self.writer.as_ref().is_some_and(Writer::is_busy)
    }

    /// Takes a part of a table that was read.
    pub(crate) fn take_part(&mut self, received: Received, part: &[u8]) {
        let (now, socket) = (Instant::now(), KernelSocket::Dump);
        match received {
            Received::Data(len) => {
                let bytes = part.get(..len).unwrap_or_default();
                self.engine.handle_kernel_reply(now, socket, bytes);
            }
            Received::Overrun => self.engine.handle_kernel_overrun(now, socket),
            Received::WouldBlock => {}
        }
    }

    fn take_replies(&mut self, socket: KernelSocket) -> io::Result<()> {
        let now = Instant::now();
        loop {
            match self.requests.socket(socket).receive(&mut self.buffer)? {
                Received::Data(len) => {
                    let bytes = self.buffer.get(..len).unwrap_or_default();
                    self.engine.handle_kernel_reply(now, socket, bytes);
                }
                Received::Overrun => self.engine.handle_kernel_overrun(now, socket),
                Received::WouldBlock => return Ok(()),
            }
        }
    }

    /// Takes datagrams of the peer.
    pub(crate) fn datagrams<'a>(&mut self, link: usize, datagrams: impl Iterator<Item = &'a [u8]>) {
        let now = Instant::now();
        for bytes in datagrams {
            self.pace.datagram(bytes.len());
            if let Some(id) = self.count_received(link, bytes.len()) {
                self.engine.handle_datagram(now, id, bytes);
            }
        }
    }

    /// Takes a piece of the peer's stream.
    pub(crate) fn stream(&mut self, link: usize, bytes: &[u8]) {
        self.pace.messages(bytes.len());
        if let Some(id) = self.count_received(link, bytes.len()) {
            self.engine.handle_stream(Instant::now(), id, bytes);
        }
    }

    /// Has the pace know how large the smallest buffer is that a peer sends datagrams to.
    pub(crate) fn measure_buffers(&self) {
        let of_link = |link: &Link| match &link.open {
            Open::Datagram(open) => Some(open.buffer_len),
            Open::No | Open::Stream(_) => None,
        };
        let of_native = self.native.as_ref().map(Native::buffer_len);
        let all = self.links.iter().filter_map(of_link).chain(of_native);
        if let Some(smallest) = all.min() {
            self.pace.set_link_buffer(smallest);
        }
    }

    fn count_received(&mut self, link: usize, len: usize) -> Option<LinkId> {
        self.links.get_mut(link)?.traffic.received(len);
        u8::try_from(link).ok().map(LinkId)
    }

    /// Carries out what the engine wants, up to a bounded amount of work.
    pub(crate) fn flush(&mut self) {
        if let Some(native) = &mut self.native {
            let heard = native.tell(&mut self.engine, Instant::now());
            if heard > 0 {
                self.pace.native_messages(heard);
            }
        }
        let is_done = self.carry_out();
        // What belongs together is sent together.
        let is_sent = match &mut self.native {
            Some(native) => {
                let now = Instant::now();
                if native.waits_for_more(now, self.pace.is_busy()) {
                    true
                } else {
                    let is_sent = !native.transmit(now);
                    native.tell(&mut self.engine, now);
                    is_sent
                }
            }
            None => true,
        };
        if is_done {
            self.signals.progress.notify_one();
        }
        if !is_done || !is_sent {
            self.signals.output.notify_one();
        }
        self.wake_timer();
        self.take_rest();
    }

    /// Between two pieces of long work.
    pub(crate) fn take_rest(&mut self) {
        if let Some(rest) = &mut self.rest {
            rest.take();
        }
    }

    /// Returns whether nothing is left to do.
    fn carry_out(&mut self) -> bool {
        for _ in 0..FLUSH_BUDGET {
            let Some(output) = self.engine.poll_output() else {
                return true;
            };
            let answered = match output {
                Output::Transmit { link, bytes } => {
                    if let Some(link) = self.links.get_mut(usize::from(link.0)) {
                        link.send(bytes);
                    }
                    None
                }
                Output::Stream { peer, bytes } => {
                    if let Some(native) = &mut self.native {
                        native.write(Instant::now(), peer, bytes);
                    }
                    None
                }
                Output::ClosePeer(peer) => {
                    if let Some(native) = &mut self.native {
                        native.disconnect(Instant::now(), peer);
                    }
                    None
                }
                Output::Kernel { socket, bytes } => {
                    let mut writer = self.writer.as_mut();
                    if let Some(writer) = writer.take_if(|w| !w.is_for_now(socket, bytes)) {
                        writer.write(socket, bytes);
                        None
                    } else {
                        let sent = self.requests.socket(socket).send(bytes);
                        if let Err(error) = &sent {
                            tracing::error!(?socket, %error, "the kernel took no requests");
                        }
                        Some((socket, sent.is_err()))
                    }
                }
                Output::Done { client, outcome } => {
                    if let Some(done) = self.clients.remove(&client) {
                        // A client that went away needs no answer.
                        let _ = done.send(outcome);
                    }
                    // It is answered before what follows: the kernel may take long to begin with a dump.
                    return false;
                }
                Output::Notice(Notice::LinkActive(link)) => {
                    let name = self
                        .links
                        .get(link)
                        .map_or("?", |link| &link.endpoint.interface);
                    tracing::info!("device `{name}' becomes dedicated link");
                    None
                }
                Output::Notice(notice) => {
                    crate::log::notice(&notice);
                    None
                }
                Output::FlowEnded(flow) => {
                    if let Some(log) = &mut self.flow_log {
                        log.write(&flow);
                    }
                    None
                }
            };
            match answered {
                Some((socket, true)) => self.engine.handle_kernel_overrun(Instant::now(), socket),
                // The kernel has answered before `send` returned; a dump is read as it comes.
                Some((socket, false)) if socket != KernelSocket::Dump => {
                    let answers = self.take_replies(socket);
                    // What we write raises events: they must not pile up while we go on writing.
                    if let Err(error) = answers.and_then(|_| self.take_events(EVENTS_PER_BATCH)) {
                        tracing::error!(?socket, %error, "the kernel's answers cannot be read");
                    }
                }
                _ => {}
            }
        }
        false
    }

    /// Wakes the timer task where it waits for something later, or for nothing.
    pub(crate) fn wake_timer(&mut self) {
        if let Some(next) = self.timeout_to_wait_for()
            && self.armed.get().is_none_or(|armed| next < armed)
        {
            self.signals.timer.notify_one();
        }
    }
}

impl Link {
    /// A link whose sockets are not open yet.
    pub(crate) fn new(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            open: Open::No,
            traffic: Traffic::default(),
            incoming: None,
            state: LinkState {
                up: false,
                running: false,
            },
            complaint: None,
            reopened: Rc::default(),
        }
    }

    fn send(&mut self, bytes: &[u8]) {
        let outcome = match &self.open {
            Open::No => Err(io::ErrorKind::NotConnected.into()),
            Open::Datagram(link) => link.send(bytes),
            Open::Stream(link) => link.send(bytes),
        };
        self.traffic.sent(&outcome);
    }

    /// Index of the interface that the sockets belong to.
    pub(crate) fn interface_index(&self) -> Option<u32> {
        match &self.open {
            Open::No => None,
            Open::Datagram(link) => Some(link.interface_index),
            Open::Stream(link) => Some(link.interface_index),
        }
    }

    /// Opens the sockets on the interface with this index, replacing older ones.
    pub(crate) fn open(&mut self, interface_index: u32) -> io::Result<()> {
        // The port must be free before it can be bound again.
        (self.open, self.incoming) = (Open::No, None);
        self.open = if self.endpoint.is_stream() {
            let link = StreamLink::open(&self.endpoint, interface_index)?;
            Open::Stream(link)
        } else {
            Open::Datagram(DatagramLink::open(&self.endpoint, interface_index)?)
        };
        self.reopened.notify_one();
        Ok(())
    }

    /// Closes the sockets.
    pub(crate) fn close(&mut self) {
        (self.open, self.incoming) = (Open::No, None);
        self.reopened.notify_one();
    }
}
