//! The conversation with the kernel: one request and its answer, or many writes in one send.

use std::io;

use ctnetlink::{
    Message, Reply, messages, parse,
    socket::{DUMP_BUFFER_LEN, Received, RequestSocket},
};
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
};

use crate::error::Failure;

/// Writes that are sent together at most.
pub const BATCH: usize = 64;
/// How long the kernel may be silent in the middle of an answer.
const PATIENCE_MS: u16 = 10_000;

/// Why a request ended early.
#[derive(Debug)]
pub enum Trouble {
    /// The kernel refused, or the socket failed.
    Kernel(io::Error),
    /// Whoever received the answer gave up.
    Failure(Failure),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Kernel(error)
    }
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

/// Asks one thing at a time.
#[derive(Debug)]
pub struct Asker {
    socket: RequestSocket,
    seq: u32,
    request: Vec<u8>,
}

impl Asker {
    /// Opens a socket.
    ///
    /// # Errors
    /// The kernel's.
    pub fn open() -> io::Result<Self> {
        Ok(Self {
            socket: RequestSocket::open()?,
            seq: 0,
            request: Vec::new(),
        })
    }

    /// Sends the request that `build` appends, and shows every message of the answer.
    ///
    /// # Errors
    /// The kernel's verdict; what `each` returns.
    pub fn ask(
        &mut self,
        build: impl FnOnce(&mut Vec<u8>, u32),
        mut each: impl FnMut(&Message<'_>) -> Result<(), Failure>,
    ) -> Result<(), Trouble> {
        self.seq = self.seq.wrapping_add(1);
        self.request.clear();
        build(&mut self.request, self.seq);
        let mut failure = None;
        let outcome = self.socket.transact(&self.request, |message| {
            each(message).map_err(|reason| {
                failure = Some(reason);
                io::ErrorKind::Other.into()
            })
        });
        match (failure, outcome) {
            (Some(failure), _) => Err(Trouble::Failure(failure)),
            (None, outcome) => outcome.map_err(Trouble::Kernel),
        }
    }
}

/// One answer to a batch.
#[derive(Debug)]
pub enum Answer<'a, 'b> {
    /// An entry that was asked for.
    Message(&'a Message<'b>),
    /// The verdict; 0 is success.
    Verdict(i32),
}

/// Sends many acknowledged requests at once.
///
/// The requests of a batch are numbered from 0 by the caller, without gaps.
#[derive(Debug)]
pub struct Batcher {
    socket: RequestSocket,
    /// Sequence number of the batch's first request.
    base: u32,
    count: u32,
    requests: Vec<u8>,
    received: Vec<u8>,
}

impl Batcher {
    /// Opens a socket.
    ///
    /// # Errors
    /// The kernel's.
    pub fn open() -> io::Result<Self> {
        Ok(Self {
            socket: RequestSocket::open()?,
            base: 0,
            count: 0,
            requests: Vec::new(),
            received: vec![0; DUMP_BUFFER_LEN],
        })
    }

    /// Adds the request that `build` appends; it must want an acknowledgement.
    pub fn add(&mut self, build: impl FnOnce(&mut Vec<u8>, u32)) {
        build(&mut self.requests, self.base.wrapping_add(self.count));
        self.count += 1;
    }

    /// How many requests wait.
    #[must_use]
    pub fn len(&self) -> usize {
        usize::try_from(self.count).unwrap_or(usize::MAX)
    }

    /// Whether no request waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Sends all requests and shows the answers with the number of the request, in the order of the requests.
    ///
    /// # Errors
    /// The socket's; what `each` returns, after all verdicts are in.
    pub fn send(
        &mut self,
        mut each: impl FnMut(usize, Answer<'_, '_>) -> Result<(), Failure>,
    ) -> Result<(), Trouble> {
        if self.is_empty() {
            return Ok(());
        }
        let (base, count) = (self.base, self.count);
        self.base = base.wrapping_add(count);
        self.count = 0;
        let sent = self.socket.send(&self.requests);
        self.requests.clear();
        sent?;
        let (mut verdicts, mut outcome) = (0, Ok(()));
        while verdicts < count {
            let len = self.receive()?;
            for message in messages(self.received.get(..len).unwrap_or_default()) {
                let message =
                    message.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
                let number = message.header.seq.wrapping_sub(base);
                if number >= count {
                    continue;
                }
                let answer = match message.header.subsystem() {
                    0 => match parse::reply(&message) {
                        Ok(Reply::Verdict { errno } | Reply::Done { errno }) => {
                            verdicts += 1;
                            Answer::Verdict(errno)
                        }
                        _ => continue,
                    },
                    _ => Answer::Message(&message),
                };
                if outcome.is_ok() {
                    outcome = each(usize::try_from(number).unwrap_or(usize::MAX), answer);
                }
            }
        }
        outcome.map_err(Trouble::Failure)
    }

    fn receive(&mut self) -> io::Result<usize> {
        loop {
            match self.socket.receive(&mut self.received)? {
                Received::Data(len) => return Ok(len),
                Received::Overrun => return Err(Errno::ENOBUFS.into()),
                Received::WouldBlock => {
                    use std::os::fd::AsFd;
                    let mut fds = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
                    match poll(&mut fds, PollTimeout::from(PATIENCE_MS)) {
                        Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
                        Ok(_) | Err(Errno::EINTR) => {}
                        Err(errno) => return Err(errno.into()),
                    }
                }
            }
        }
    }
}
