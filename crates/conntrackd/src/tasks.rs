//! The tasks of the daemon, all on one thread, around one [`Driver`]. Only the kernel's tables are fetched by another one
//! ([`crate::reader`]), and what takes the kernel long is written by a third ([`crate::writer`]).
//!
//! ```text
//!   kernel events ──► events ─┐                        ┌─► links (send, never waits)
//!   kernel answers ─► answers ┤                        ├─► kernel (batches of requests)
//!   kernel tables ──► tables ─┤                        │
//!   peers ──► receive, native ┼─► Driver ─► Engine ─► flush ─► clients (end of a command)
//!   clients ────────► control ┤                        └─► log
//!   clock ──────────► timer ──┤
//!   interfaces ─────► follow ─┘        output: flushes what one turn left over; look: after a pause
//! ```
//!
//! Each borrows the driver, hands over what it has, lets it flush, and gives way. None holds it while it
//! waits.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ctnetlink::socket::Batch;
use engine::{LinkId, LinkState};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::{TcpStream, UdpSocket};
use tokio::task::yield_now;

use crate::driver::{DATAGRAM_LEN, Driver, Open, Shared};
use crate::interfaces::{self, Interface, Watch};
use crate::reader::Reader;
use crate::writer::Answers;

/// Parts of a table taken in one turn; each holds about a hundred entries.
const PARTS_PER_TURN: usize = 4;

/// Batches whose answers are taken in one turn.
const ANSWERS_PER_TURN: usize = 4;

/// Timeouts in a row that are served without waiting for the next millisecond, which is the tick of the runtime's clock.
const AT_ONCE: u32 = 32;

/// How often a link that could not be opened is tried again without a sign from the kernel.
const REOPEN: Duration = Duration::from_secs(1);

/// A descriptor of its own to wait on, so that it lives as long as the waiting.
pub(crate) fn readable(fd: BorrowedFd<'_>) -> io::Result<AsyncFd<OwnedFd>> {
    waiting(fd, Interest::READABLE)
}

fn waiting(fd: BorrowedFd<'_>, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    let own = fd.try_clone_to_owned()?;
    #[expect(
        deprecated,
        reason = "its replacement is unsafe; an owned descriptor is what it asks for"
    )]
    AsyncFd::with_interest(own, interest)
}

/// Reads the kernel's events, `limit` datagrams a turn.
pub(crate) async fn events(shared: Shared, limit: usize) -> io::Result<()> {
    let Some(fd) = shared
        .borrow()
        .events
        .as_ref()
        .map(|e| readable(e.socket().as_fd()))
    else {
        return std::future::pending().await;
    };
    let fd = fd?;
    loop {
        let mut guard = fd.readable().await?;
        if shared.borrow_mut().read_events(limit)? {
            guard.clear_ready();
        } else {
            yield_now().await;
        }
    }
}

/// Takes what the kernel has answered to what was written.
pub(crate) async fn answers(shared: Shared, mut answers: Answers) -> io::Result<()> {
    loop {
        let mut next = answers.recv().await;
        if next.is_none() {
            return Err(io::Error::other(
                "the thread that writes to the kernel has ended",
            ));
        }
        let mut left = ANSWERS_PER_TURN;
        while let Some(answered) = next.take() {
            shared.borrow_mut().take_answer(answered)?;
            left -= 1;
            if left > 0 {
                next = answers.try_recv().ok();
            }
        }
        shared.borrow_mut().flush();
        yield_now().await;
    }
}

/// Takes what has been read of the kernel's tables.
pub(crate) async fn tables(shared: Shared, mut reader: Reader) -> io::Result<()> {
    loop {
        let mut part = Some(reader.next().await);
        // What cannot be passed on yet is left in the kernel, which waits with the rest of a dump.
        relieve(&shared).await;
        let mut left = PARTS_PER_TURN;
        while let Some(read) = part.take() {
            let (received, room) = read?;
            shared.borrow_mut().take_part(received, &room);
            reader.give_back(room);
            left -= 1;
            if left > 0 {
                part = reader.try_next();
            }
        }
        shared.borrow_mut().flush();
        yield_now().await;
    }
}

/// Waits while so much is to be sent or written that no more should be read.
async fn relieve(shared: &Shared) {
    let signals = Rc::clone(&shared.borrow().signals);
    while shared.borrow().engine.is_congested() {
        shared.borrow_mut().flush();
        let is_writing = shared.borrow().is_writing();
        if is_writing {
            signals.answered.notified().await;
        } else {
            yield_now().await;
        }
    }
}

/// Lets the runtime look for what has come after a pause, and for what has become due in it.
pub(crate) async fn look(shared: Shared) {
    let pace = Arc::clone(&shared.borrow().pace);
    loop {
        pace.look.notified().await;
        shared.borrow_mut().wake_timer();
    }
}

/// Carries out output that one turn left over.
pub(crate) async fn output(shared: Shared) {
    let signals = Rc::clone(&shared.borrow().signals);
    loop {
        signals.output.notified().await;
        shared.borrow_mut().flush();
        yield_now().await;
    }
}

/// Wakes the engine at its timeouts.
pub(crate) async fn timer(shared: Shared) {
    let signals = Rc::clone(&shared.borrow().signals);
    let mut at_once = 0;
    loop {
        let next = shared.borrow_mut().arm();
        match next {
            // The rest of something long, which would take a tick of the runtime's clock for each piece.
            Some(at) if at_once < AT_ONCE && at <= Instant::now() => {
                at_once += 1;
                shared.borrow_mut().timeout();
                // A turn of its own only where more is due.
                if shared.borrow_mut().is_due() {
                    yield_now().await;
                }
            }
            Some(at) => {
                at_once = 0;
                tokio::select! {
                    () = tokio::time::sleep_until(at.into()) => shared.borrow_mut().timeout(),
                    () = signals.timer.notified() => {}
                }
            }
            None => signals.timer.notified().await,
        }
    }
}

/// Receives from the peers of the native dialect, and sends on when the socket takes more.
pub(crate) async fn native(shared: Shared) -> io::Result<()> {
    if shared.borrow().native.is_none() {
        return std::future::pending().await;
    }
    let (fd, blocked) = {
        let driver = shared.borrow();
        let Some(native) = &driver.native else {
            return Ok(());
        };
        (readable(native.fd())?, Rc::clone(&native.blocked))
    };
    loop {
        tokio::select! {
            ready = fd.readable() => {
                let mut ready = ready?;
                if shared.borrow_mut().read_native() {
                    // What comes next is waited for, which gives way.
                    ready.clear_ready();
                    continue;
                }
            }
            () = blocked.notified() => {
                // Only now: every datagram that leaves would wake up whoever listens for this.
                let full = {
                    let driver = shared.borrow();
                    let Some(native) = &driver.native else { return Ok(()) };
                    waiting(native.fd(), Interest::WRITABLE)?
                };
                full.writable().await?.retain_ready();
                shared.borrow_mut().flush();
            }
        }
        yield_now().await;
        relieve(&shared).await;
    }
}

/// Receives from one link, across closings and openings.
pub(crate) async fn receive(shared: Shared, link: usize, limit: usize) {
    enum Source {
        Closed,
        Datagrams(Rc<UdpSocket>),
        Stream(Rc<tokio::net::TcpListener>),
    }
    loop {
        let (source, reopened) = {
            let driver = shared.borrow();
            let Some(link) = driver.links.get(link) else {
                return;
            };
            let source = match &link.open {
                Open::No => Source::Closed,
                Open::Datagram(open) => Source::Datagrams(Rc::clone(&open.receiver)),
                Open::Stream(open) => Source::Stream(Rc::clone(&open.listener)),
            };
            (source, Rc::clone(&link.reopened))
        };
        tokio::select! {
            () = reopened.notified() => {}
            () = async {
                match source {
                    Source::Closed => std::future::pending().await,
                    Source::Datagrams(socket) => datagrams(&shared, link, &socket, limit).await,
                    Source::Stream(listener) => accept(&shared, link, &listener, limit).await,
                }
            } => {}
        }
    }
}

async fn datagrams(shared: &Shared, link: usize, socket: &UdpSocket, limit: usize) {
    let mut batch = Batch::new(DATAGRAM_LEN);
    loop {
        if socket.readable().await.is_err() {
            tokio::time::sleep(REOPEN).await;
            continue;
        }
        if !take_datagrams(&mut shared.borrow_mut(), link, socket, limit, &mut batch) {
            yield_now().await;
        }
        // The kernel keeps what cannot be passed on yet, and drops what the buffer does not hold.
        relieve(shared).await;
    }
}

/// Returns whether the socket ran dry, so that the next datagram is waited for.
fn take_datagrams(
    driver: &mut Driver,
    link: usize,
    socket: &UdpSocket,
    limit: usize,
    batch: &mut Batch,
) -> bool {
    let (mut left, mut dry) = (limit, false);
    while left > 0 && !driver.engine.is_congested() {
        let most = left.min(Batch::LEN);
        left -= most;
        let mut count = 0;
        let read = socket.try_io(Interest::READABLE, || {
            count = batch.read(socket.as_fd(), most)?;
            // Fewer than asked for: the next ones have to be waited for.
            (count == most)
                .then_some(())
                .ok_or(io::ErrorKind::WouldBlock.into())
        });
        driver.datagrams(link, batch.datagrams().take(count));
        match read {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                dry = true;
                break;
            }
            Err(_) => {
                if let Some(link) = driver.links.get_mut(link) {
                    link.traffic.receive_errors += 1;
                }
                break;
            }
        }
    }
    driver.flush();
    dry
}

/// Accepts the peer; a new connection replaces the one before.
async fn accept(shared: &Shared, link: usize, listener: &tokio::net::TcpListener, limit: usize) {
    let mut current: Option<Rc<TcpStream>> = None;
    loop {
        let accepted = match current.take() {
            None => listener.accept().await,
            Some(stream) => {
                tokio::select! {
                    next = listener.accept() => next,
                    () = stream_pieces(shared, link, &stream, limit) => {
                        set_incoming(shared, link, None);
                        continue;
                    }
                }
            }
        };
        let failed = accepted.is_err();
        current = accepted.ok().map(|(stream, _)| Rc::new(stream));
        set_incoming(shared, link, current.clone());
        if failed {
            tokio::time::sleep(REOPEN).await;
        }
    }
}

/// Notes the peer's connection; what an earlier one left incomplete is dropped.
fn set_incoming(shared: &Shared, link: usize, incoming: Option<Rc<TcpStream>>) {
    let mut driver = shared.borrow_mut();
    if let Ok(id) = u8::try_from(link) {
        driver.engine.handle_stream_closed(LinkId(id));
    }
    if let Some(link) = driver.links.get_mut(link) {
        link.incoming = incoming;
    }
}

/// Reads until the peer closes.
async fn stream_pieces(shared: &Shared, link: usize, stream: &TcpStream, limit: usize) {
    let mut buffer = vec![0; 65536];
    loop {
        if stream.readable().await.is_err() {
            return;
        }
        for _ in 0..limit {
            match stream.try_read(&mut buffer) {
                Ok(0) => return,
                Ok(len) => {
                    let mut driver = shared.borrow_mut();
                    driver.stream(link, buffer.get(..len).unwrap_or_default());
                    driver.flush();
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => return,
            }
        }
        yield_now().await;
        relieve(shared).await;
    }
}

/// Follows the interfaces: opens links whose interface has come, closes those whose interface has gone,
/// tells the engine which are usable.
pub(crate) async fn follow_interfaces(shared: Shared) -> io::Result<()> {
    let watch = Watch::open()?;
    let changed = readable(watch.as_fd())?;
    loop {
        let all_open = refresh_links(&shared);
        let mut guard = tokio::select! {
            ready = changed.readable() => ready?,
            () = tokio::time::sleep(REOPEN), if !all_open => continue,
        };
        watch.drain();
        guard.clear_ready();
    }
}

/// Brings the links in line with the interfaces. Returns whether all are open.
pub(crate) fn refresh_links(shared: &Shared) -> bool {
    let interfaces = match interfaces::list() {
        Ok(interfaces) => interfaces,
        Err(error) => {
            for link in &mut shared.borrow_mut().links {
                complain(
                    link,
                    format!("interfaces cannot be listed for now: {error}"),
                );
            }
            return false;
        }
    };
    let mut driver = shared.borrow_mut();
    let mut all_open = true;
    for index in 0..driver.links.len() {
        let Some(link) = driver.links.get_mut(index) else {
            break;
        };
        let interface = interfaces
            .iter()
            .find(|i| i.name == link.endpoint.interface);
        let state = refresh_link(link, interface);
        all_open &= !matches!(link.open, Open::No);
        if let Ok(id) = u8::try_from(index) {
            driver.engine.handle_link(Instant::now(), LinkId(id), state);
        }
    }
    driver.measure_buffers();
    driver.flush();
    all_open
}

fn refresh_link(link: &mut crate::driver::Link, interface: Option<&Interface>) -> LinkState {
    let name = link.endpoint.interface.clone();
    match interface {
        None => {
            if link.interface_index().is_some() {
                link.close();
            }
            complain(link, format!("interface {name} is absent: waiting for it"));
            link.state = LinkState {
                up: false,
                running: false,
            };
        }
        Some(interface) => {
            if link.interface_index() != Some(interface.index) {
                match link.open(interface.index) {
                    Ok(()) => {
                        if link.complaint.take().is_some() {
                            tracing::info!("link on {name} is open");
                        }
                    }
                    Err(error) => {
                        complain(
                            link,
                            format!("can't open link on {name}: {error}; trying again"),
                        );
                    }
                }
            }
            link.state = LinkState {
                up: interface.up,
                running: interface.running,
            };
        }
    }
    link.state
}

/// Says once what is wrong with a link.
fn complain(link: &mut crate::driver::Link, text: String) {
    if link.complaint.as_ref() != Some(&text) {
        tracing::warn!("{text}");
        link.complaint = Some(text);
    }
}
