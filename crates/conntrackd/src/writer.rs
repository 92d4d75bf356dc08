//! Writes to the kernel beside everything else.
//!
//! The kernel does what it is asked before it takes the next request, and that is most of what a commit or a takeover takes.
//! A thread of its own waits for it, while the next batches are made ready and the events of the last ones are read. One thread
//! for all sockets: what is asked first is done first, as if it had been done at once. More of them would only wait for each
//! other in the kernel.
//!
//! It is of the daemon's scheduling class, as traffic waits for a takeover: on a busy node one of the usual class would get its
//! turn too late. Where that is a real-time one, it rests as the daemon does. On a single processor the daemon waits for no more
//! than what is in the thread's hands: a few milliseconds.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

use ctnetlink::socket::{DUMP_BUFFER_LEN, Received};
use engine::KernelSocket;
use tokio::sync::mpsc as waking;

use crate::kernel::Requests;
use crate::rest::Rest;

/// What is shorter is written at once when nothing is under way: handing it over would take as long.
const SHORT_LEN: usize = 4096;

/// Events that the requests of a batch raise, as a rule at most.
const EVENTS_PER_BATCH: usize = 64;

/// Batches in the hands of the thread at most.
const AHEAD_MAX: usize = 16;

/// Room enough for what the thread does.
const STACK_LEN: usize = 128 * 1024;

/// A batch of requests.
#[derive(Debug)]
pub(crate) struct Asked {
    socket: KernelSocket,
    bytes: Vec<u8>,
}

/// What the kernel has said to a batch.
#[derive(Debug)]
pub(crate) struct Answered {
    /// Where it was asked.
    pub(crate) socket: KernelSocket,
    /// All of it; `None` when a part is lost.
    pub(crate) answers: Option<Vec<u8>>,
    /// The batch, to be written over.
    room: Vec<u8>,
}

/// Where the answers arrive. The thread ends with it.
pub(crate) type Answers = waking::UnboundedReceiver<Answered>;

/// Batches on their way to the kernel.
#[derive(Debug)]
pub(crate) struct Writer {
    batches: mpsc::Sender<Asked>,
    /// In the hands of the thread.
    under_way: usize,
    /// That may be at once.
    ahead: usize,
    /// Not in its hands yet. The engine has only so many under way.
    waiting: VecDeque<Asked>,
    rooms: Vec<Vec<u8>>,
}

impl Writer {
    /// Begins to write.
    ///
    /// # Errors
    /// No more threads are allowed.
    pub(crate) fn start(requests: Arc<Requests>, is_realtime: bool) -> io::Result<(Self, Answers)> {
        let (batches, asked) = mpsc::channel();
        let (answered, answers) = waking::unbounded_channel();
        thread::Builder::new()
            .name("writer".to_owned())
            .stack_size(STACK_LEN)
            .spawn(move || {
                let rest = is_realtime.then(|| Rest::new(Instant::now()));
                write(&requests, &asked, &answered, rest);
            })?;
        let writer = Self {
            batches,
            under_way: 0,
            ahead: 1,
            waiting: VecDeque::new(),
            rooms: Vec::new(),
        };
        Ok((writer, answers))
    }

    /// So many events may be under way in the event socket without its being read.
    pub(crate) fn set_events(&mut self, count: usize) {
        self.ahead = (count / EVENTS_PER_BATCH).clamp(1, AHEAD_MAX);
    }

    /// Whether a batch is better written at once: nothing is under way that came before, and the thread would gain nothing
    /// by it.
    pub(crate) fn is_for_now(&self, socket: KernelSocket, bytes: &[u8]) -> bool {
        // Both may be about the whole table.
        let is_long = matches!(socket, KernelSocket::Dump | KernelSocket::Flush);
        let is_alone = self.under_way == 0 && self.waiting.is_empty();
        is_alone && !is_long && (bytes.len() <= SHORT_LEN || self.ahead == 1)
    }

    /// Whether something is under way.
    pub(crate) fn is_busy(&self) -> bool {
        self.under_way > 0
    }

    /// Has a batch written after all those before it.
    pub(crate) fn write(&mut self, socket: KernelSocket, bytes: &[u8]) {
        let mut room = self.rooms.pop().unwrap_or_default();
        room.extend_from_slice(bytes);
        self.waiting.push_back(Asked {
            socket,
            bytes: room,
        });
        self.go_on();
    }

    /// An answer has been taken. The next batches are handed over with [`Self::go_on`], for when events have been read.
    pub(crate) fn answered(&mut self, answered: Answered) {
        self.under_way = self.under_way.saturating_sub(1);
        let mut room = answered.room;
        room.clear();
        if self.rooms.len() < AHEAD_MAX {
            self.rooms.push(room);
        }
    }

    /// Hands over what may be.
    pub(crate) fn go_on(&mut self) {
        while self.under_way < self.ahead
            && let Some(asked) = self.waiting.pop_front()
        {
            self.under_way += 1;
            // Without the thread nothing is answered any more, which ends the daemon.
            let _ = self.batches.send(asked);
        }
    }
}

/// Writes until nobody asks any more.
fn write(
    requests: &Requests,
    asked: &mpsc::Receiver<Asked>,
    answered: &waking::UnboundedSender<Answered>,
    mut rest: Option<Rest>,
) {
    let mut buffer = vec![0; DUMP_BUFFER_LEN];
    while let Ok(Asked { socket, bytes }) = asked.recv() {
        let answers = ask(requests, socket, &bytes, &mut buffer);
        let answers = answers
            .inspect_err(|error| tracing::error!(?socket, %error, "the kernel took no requests"));
        let answered_one = Answered {
            socket,
            answers: answers.ok().flatten(),
            room: bytes,
        };
        if answered.send(answered_one).is_err() {
            return;
        }
        if let Some(rest) = &mut rest {
            rest.take();
        }
    }
}

/// Asks, and reads what the kernel has answered when `send` returns: all, but for a dump, which is read as it comes. `None`:
/// some of it is lost.
fn ask(
    requests: &Requests,
    socket: KernelSocket,
    bytes: &[u8],
    buffer: &mut [u8],
) -> io::Result<Option<Vec<u8>>> {
    let kernel = requests.socket(socket);
    kernel.send(bytes)?;
    let (mut answers, mut is_whole) = (Vec::new(), true);
    if socket == KernelSocket::Dump {
        return Ok(Some(answers));
    }
    loop {
        match kernel.receive(buffer)? {
            Received::Data(len) => {
                answers.extend_from_slice(buffer.get(..len).unwrap_or_default());
            }
            Received::Overrun => is_whole = false,
            Received::WouldBlock => break,
        }
    }
    Ok(is_whole.then_some(answers))
}
