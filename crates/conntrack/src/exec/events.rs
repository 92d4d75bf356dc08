//! Listening until a signal comes.

use std::{
    io,
    os::fd::AsFd,
    time::{Duration, Instant},
};

use ctnetlink::{
    Event, EventKind, Message, bpf, messages, parse,
    socket::{EVENT_BUFFER_LEN, EventSocket, Group, Received},
};
use flow::{Action, FlowFilter, TcpState, protocol};
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        signal::{SigSet, Signal},
        signalfd::{SfdFlags, SignalFd},
    },
};

use super::{SUCCESS, Session};
use crate::{
    command::Table,
    error::{Failure, system_text},
    filter::Filter,
    origin::{Origins, lost_messages},
    print::{Entry, Printer},
    request::Request,
    words::EventWords,
};

/// Receive buffer asked for when the request does not say: some 6,000 events.
const RECEIVE_BUFFER_LEN: usize = 4 * 1024 * 1024;

/// Events that come in quicker succession are read together.
const GATHERING_MS: u8 = 2;
const GATHERING: Duration = Duration::from_millis(GATHERING_MS as u64);
/// Receive buffer, as the kernel counts it, that has room for what comes meanwhile: some 3,000 events.
const GATHERING_LEN: usize = 2 * 1024 * 1024;

const OVERRUN: &str = "\
WARNING: We have hit ENOBUFS! We are losing events.
This message means that the current netlink socket buffer size is too small.
Please, check --buffer-size in conntrack(8) manpage.";

pub(super) fn listen(session: &mut Session<'_, '_>, request: &Request) -> Result<u8, Failure> {
    let signals = signals().map_err(Failure::Events)?;
    let socket = match open(request) {
        Ok(socket) => socket,
        Err(error) if request.table == Table::Expect => {
            return Err(Failure::ExpectationSocket(error));
        }
        Err(error) => {
            // compat: a library function's name, as the original tells it.
            let text = system_text(&error);
            session
                .console
                .remark(&format!("mnl_socket_bind: {text}"))?;
            return Err(Failure::EventSocket(error));
        }
    };
    if request.buffer_len.is_some() {
        let len = socket.receive_buffer().map_err(Failure::Events)?;
        let notice = format!("NOTICE: Netlink socket buffer size has been set to {len} bytes.");
        session.console.remark(&notice)?;
    }
    let can_gather = socket.receive_buffer().unwrap_or(0) >= GATHERING_LEN;
    let mut listener = Listener {
        socket,
        printer: Printer::new(request),
        filter: Filter::new(request),
        origins: Origins::default(),
        buf: vec![0; EVENT_BUFFER_LEN],
        shown: 0,
        unreadable: 0,
        losses: Losses::default(),
        drained: Instant::now(),
        can_gather,
    };
    listener.run(session, &signals)?;
    listener.finish(session, request)
}

fn signals() -> io::Result<SignalFd> {
    let mut set = SigSet::empty();
    set.add(Signal::SIGINT);
    set.add(Signal::SIGTERM);
    set.thread_block()?;
    Ok(SignalFd::with_flags(
        &set,
        SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC,
    )?)
}

fn open(request: &Request) -> io::Result<EventSocket> {
    let socket = EventSocket::open()?;
    // Only more room is lost when it is refused.
    let _ = socket.set_receive_buffer(request.buffer_len.unwrap_or(RECEIVE_BUFFER_LEN));
    if let Some(program) = kernel_filter(request) {
        // Every event is tested here too.
        let _ = socket.attach_filter(&program);
    }
    for group in groups(request) {
        socket.join(group)?;
    }
    Ok(socket)
}

fn groups(request: &Request) -> Vec<Group> {
    if request.table == Table::Expect {
        return Group::EXPECTATIONS.to_vec();
    }
    let asked = match request.events {
        none if none == EventWords::default() => EventWords::ALL,
        some => some,
    };
    [
        (asked.new, Group::FlowNew),
        (asked.update, Group::FlowUpdate),
        (asked.destroy, Group::FlowDestroy),
    ]
    .into_iter()
    .filter(|(wanted, _)| *wanted)
    .map(|(_, group)| group)
    .collect()
}

/// What the kernel can test before it queues an event: the protocol and the state of TCP.
fn kernel_filter(request: &Request) -> Option<Vec<bpf::Instruction>> {
    let number = request.protocol?.number;
    let state = request.state.state.filter(|_| number == protocol::TCP);
    let filter = FlowFilter {
        protocols: Some((Action::Accept, vec![number])),
        addresses: None,
        tcp_states: state
            .and_then(TcpState::from_number)
            .map(|state| (Action::Accept, vec![state])),
    };
    bpf::program(&filter, &[]).ok()
}

/// Events that found no room.
#[derive(Debug, Default)]
struct Losses {
    /// Whether an overrun was told and not yet counted.
    is_pending: bool,
    overruns: u64,
    /// Events lost so far, as the kernel counts them.
    events: u64,
}

struct Listener {
    socket: EventSocket,
    printer: Printer,
    filter: Filter,
    origins: Origins,
    buf: Vec<u8>,
    shown: u64,
    unreadable: u64,
    losses: Losses,
    /// When nothing was queued last.
    drained: Instant,
    /// Whether the socket has room for what is gathered.
    can_gather: bool,
}

impl Listener {
    fn run(&mut self, session: &mut Session<'_, '_>, signals: &SignalFd) -> Result<(), Failure> {
        loop {
            self.drain(session)?;
            session.console.flush()?;
            self.drained = Instant::now();
            let mut fds = [
                PollFd::new(self.socket.as_fd(), PollFlags::POLLIN),
                PollFd::new(signals.as_fd(), PollFlags::POLLIN),
            ];
            match poll(&mut fds, PollTimeout::NONE) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(Failure::Events(errno.into())),
            }
            let [_, signal] = fds;
            let is_signalled = signal.revents().is_some_and(|events| !events.is_empty());
            if is_signalled || self.gather(signals)? {
                // What was queued before the signal is still shown.
                return self.drain(session);
            }
        }
    }

    /// Lets more events come when they come in quick succession; whether a signal came meanwhile.
    ///
    /// The first after a quiet moment is shown at once. To wake up for each of very many costs more than to read it.
    fn gather(&mut self, signals: &SignalFd) -> Result<bool, Failure> {
        let is_busy = self.can_gather && self.drained.elapsed() < GATHERING;
        if is_busy {
            let mut fds = [PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
            match poll(&mut fds, PollTimeout::from(GATHERING_MS)) {
                Ok(0) | Err(Errno::EINTR) => {}
                Ok(_) => return Ok(true),
                Err(errno) => return Err(Failure::Events(errno.into())),
            }
        }
        Ok(false)
    }

    /// Reads until nothing is queued, or for so long that signals must be looked at again.
    fn drain(&mut self, session: &mut Session<'_, '_>) -> Result<(), Failure> {
        const TURN: usize = 10_000;
        for _ in 0..TURN {
            match self.socket.receive(&mut self.buf) {
                Ok(Received::Data(len)) => self.datagram(session, len)?,
                Ok(Received::WouldBlock) => return self.count_losses(session),
                Ok(Received::Overrun) => {
                    self.losses.overruns += 1;
                    self.losses.is_pending = true;
                    session.console.remark(OVERRUN)?;
                }
                Err(error) if error.kind() == io::ErrorKind::InvalidData => self.unreadable += 1,
                Err(error) => return Err(Failure::Events(error)),
            }
        }
        self.count_losses(session)
    }

    fn datagram(&mut self, session: &mut Session<'_, '_>, len: usize) -> Result<(), Failure> {
        let Self {
            printer,
            filter,
            origins,
            buf,
            shown,
            unreadable,
            ..
        } = self;
        for message in messages(buf.get(..len).unwrap_or_default()) {
            let event = message.and_then(|message| Ok((message, parse::event(&message)?)));
            match event {
                Ok((message, Some(Event::Flow(kind, flow)))) => {
                    if filter.accepts(&flow) {
                        let entry = Entry {
                            flow: &flow,
                            secctx: parse::secctx(&message),
                            event: Some(kind),
                        };
                        begin(session, printer, shown);
                        let origin = origins.of(message.header.port_id);
                        printer.event(session.console.buffer(), &entry, origin);
                    }
                }
                Ok((message, Some(Event::Expectation(kind, expectation)))) => {
                    begin(session, printer, shown);
                    expectation_event(session, printer, origins, kind, &expectation, &message);
                }
                Ok((_, None)) => {}
                Err(_) => *unreadable += 1,
            }
        }
        session.console.written()
    }

    /// Says how many events the last overrun cost.
    fn count_losses(&mut self, session: &mut Session<'_, '_>) -> Result<(), Failure> {
        if !self.losses.is_pending {
            return Ok(());
        }
        self.losses.is_pending = false;
        let Some(all) = lost_messages(self.socket.port_id()) else {
            return Ok(());
        };
        let lost = all.saturating_sub(self.losses.events);
        self.losses.events = all;
        session
            .console
            .remark(&format!("WARNING: {lost} events were lost, {all} so far."))
    }

    fn finish(self, session: &mut Session<'_, '_>, request: &Request) -> Result<u8, Failure> {
        // The document is closed even when it is empty of entries, but only if it was begun.
        if self.shown > 0 {
            session
                .console
                .buffer()
                .extend_from_slice(self.printer.tail());
        }
        session.console.flush()?;
        let is_expect = request.table == Table::Expect;
        let what = if is_expect {
            "expectation events"
        } else {
            "flow events"
        };
        session
            .console
            .say(&format!("{} {what} have been shown.", self.shown))?;
        if self.losses.overruns > 0 {
            let all = lost_messages(self.socket.port_id()).unwrap_or(self.losses.events);
            let overruns = self.losses.overruns;
            session
                .console
                .say(&format!("{all} events were lost in {overruns} overruns."))?;
        }
        if self.unreadable > 0 {
            let count = self.unreadable;
            session
                .console
                .say(&format!("{count} events could not be understood."))?;
        }
        Ok(SUCCESS)
    }
}

fn begin(session: &mut Session<'_, '_>, printer: &Printer, shown: &mut u64) {
    if *shown == 0 {
        session.console.buffer().extend_from_slice(printer.head());
    }
    *shown += 1;
}

fn expectation_event(
    session: &mut Session<'_, '_>,
    printer: &Printer,
    origins: &mut Origins,
    kind: EventKind,
    expectation: &flow::Expectation,
    message: &Message<'_>,
) {
    let origin = origins.of(message.header.port_id);
    printer.expectation_event(session.console.buffer(), expectation, Some(kind), origin);
}
