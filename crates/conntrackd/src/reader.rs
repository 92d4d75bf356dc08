//! Reads the kernel's tables beside everything else.
//!
//! Four fifths of a reading are the kernel's, which writes the next part while the last one is fetched. This is done by a
//! thread of the usual scheduling class: a table of a million entries takes seconds, and a real-time thread that computes for
//! so long is stopped by the kernel ([`crate::rest`]), with all that it should hear meanwhile.

use std::io;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;

use ctnetlink::socket::{DUMP_BUFFER_LEN, Received, RequestSocket};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::sync::mpsc as waking;

use crate::scheduler;

/// Parts that are read ahead, of 32 KiB at most each.
const AHEAD: usize = 16;

/// Room enough for what the thread does.
const STACK_LEN: usize = 128 * 1024;

/// What was read, and how much of it.
pub(crate) type Part = io::Result<(Received, Vec<u8>)>;

/// The end of the thread that takes what it has read. The thread ends with it.
#[derive(Debug)]
pub(crate) struct Reader {
    parts: waking::UnboundedReceiver<Part>,
    rooms: mpsc::Sender<Vec<u8>>,
}

impl Reader {
    /// Begins to read from a socket. Returns when the thread has become one of the usual class, if this one is real-time.
    ///
    /// # Errors
    /// No more threads are allowed.
    pub(crate) fn start(socket: Arc<RequestSocket>, is_realtime: bool) -> io::Result<Self> {
        let (filled, parts) = waking::unbounded_channel();
        let (rooms, empty) = mpsc::channel();
        for _ in 0..AHEAD {
            // Only what is read takes memory.
            let _ = rooms.send(vec![0; DUMP_BUFFER_LEN]);
        }
        let (begun, has_begun) = mpsc::channel::<()>();
        thread::Builder::new()
            .name("reader".to_owned())
            .stack_size(STACK_LEN)
            .spawn(move || {
                if is_realtime {
                    scheduler::leave_realtime();
                }
                drop(begun);
                read(&socket, &empty, &filled);
            })?;
        // Nothing is ever sent.
        let _ = has_begun.recv();
        Ok(Self { parts, rooms })
    }

    /// The next part, once there is one.
    pub(crate) async fn next(&mut self) -> Part {
        self.parts.recv().await.unwrap_or_else(|| Err(gone()))
    }

    /// The next part, if there is one by now.
    pub(crate) fn try_next(&mut self) -> Option<Part> {
        self.parts.try_recv().ok()
    }

    /// Gives back what a part was read into.
    pub(crate) fn give_back(&self, room: Vec<u8>) {
        // Without the thread nothing is read any more, which `next` tells.
        let _ = self.rooms.send(room);
    }
}

fn gone() -> io::Error {
    io::Error::other("the thread that reads the kernel's tables has ended")
}

/// Reads until nobody wants it any more, or reading fails.
fn read(
    socket: &RequestSocket,
    empty: &mpsc::Receiver<Vec<u8>>,
    filled: &waking::UnboundedSender<Part>,
) {
    while let Ok(mut room) = empty.recv() {
        let read = next(socket, &mut room);
        let failed = read.is_err();
        if filled.send(read.map(|received| (received, room))).is_err() || failed {
            return;
        }
    }
}

/// Waits for a datagram and reads it.
fn next(socket: &RequestSocket, room: &mut [u8]) -> io::Result<Received> {
    loop {
        match socket.receive(room)? {
            Received::WouldBlock => {}
            received => return Ok(received),
        }
        let mut fds = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}
