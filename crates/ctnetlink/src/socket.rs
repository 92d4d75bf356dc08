//! Netlink sockets to the kernel's connection tracking: plain non-blocking file descriptors.
//!
//! [`EventSocket`] hears what changes, [`RequestSocket`] asks and writes. Both are bound to a port id of
//! their own and connected to the kernel, so that no other process can send them anything. Who waits
//! until they are readable is not decided here; [`RequestSocket::transact`] waits for itself and is meant
//! for command lines.

use std::{
    io::{self, IoSliceMut},
    os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd},
};

use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_NETFILTER};
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{
        MsgFlags, MultiHeaders, recv, recvmmsg, setsockopt,
        sockopt::{RcvBufForce, SndBufForce},
    },
};
use socket2::{SockFilter, SockRef};

use crate::{Message, Reply, bpf::Instruction, message::messages, parse};

/// Bytes enough for any event.
pub const EVENT_BUFFER_LEN: usize = 16 * 1024;
/// Bytes enough for any part of a dump.
pub const DUMP_BUFFER_LEN: usize = 64 * 1024;

/// Buffers of a request socket in the kernel: batches of about 1,500 acknowledged writes.
const REQUEST_SOCKET_LEN: usize = 1024 * 1024;
/// How long the kernel may be silent in the middle of a transaction.
const PATIENCE_MS: u16 = 10_000;

/// Multicast groups; the values are the kernel's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Group {
    /// Connections created.
    FlowNew = 1,
    /// Connections changed.
    FlowUpdate = 2,
    /// Connections gone.
    FlowDestroy = 3,
    /// Expectations created.
    ExpectationNew = 4,
    /// Expectations changed.
    ExpectationUpdate = 5,
    /// Expectations gone.
    ExpectationDestroy = 6,
}

impl Group {
    /// Everything about connections.
    pub const FLOWS: [Self; 3] = [Self::FlowNew, Self::FlowUpdate, Self::FlowDestroy];
    /// Everything about expectations.
    pub const EXPECTATIONS: [Self; 3] = [
        Self::ExpectationNew,
        Self::ExpectationUpdate,
        Self::ExpectationDestroy,
    ];
}

/// Room for several datagrams that are read in one go, from a socket of any kind.
#[derive(Debug)]
pub struct Batch {
    /// One behind the other, [`Batch::GAP`] between them.
    room: Box<[u8]>,
    datagram_len: usize,
    headers: MultiHeaders<()>,
    lens: Vec<usize>,
}

impl Batch {
    /// Datagrams read in one go.
    pub const LEN: usize = 32;

    /// Rooms at distances of a power of two would share a few places of the processor's caches: what is read first would
    /// have been driven out by what is read last. An odd number of cache lines, about as many as a datagram has.
    const GAP: usize = 25 * 64;

    /// Makes room for datagrams of at most `datagram_len` bytes. Memory is taken by what is read only.
    #[must_use]
    pub fn new(datagram_len: usize) -> Self {
        Self {
            room: vec![0; Self::LEN.saturating_mul(datagram_len.saturating_add(Self::GAP))].into(),
            datagram_len,
            headers: MultiHeaders::preallocate(Self::LEN, None),
            lens: Vec::with_capacity(Self::LEN),
        }
    }

    /// Reads up to `most` datagrams without waiting, at most [`Batch::LEN`]. Returns how many; fewer than asked for
    /// mean that nothing is queued any more.
    ///
    /// # Errors
    /// The kernel's; EAGAIN when nothing is queued.
    pub fn read(&mut self, socket: BorrowedFd<'_>, most: usize) -> nix::Result<usize> {
        let flags = MsgFlags::MSG_TRUNC | MsgFlags::MSG_DONTWAIT;
        let len = self.datagram_len;
        let rooms = self.room.chunks_exact_mut(len.saturating_add(Self::GAP));
        let mut rooms = rooms.filter_map(|room| room.get_mut(..len));
        let mut slices: [_; Self::LEN] =
            std::array::from_fn(|_| [IoSliceMut::new(rooms.next().unwrap_or_default())]);
        let (slices, _) = slices.split_at_mut(most.min(Self::LEN));
        self.lens.clear();
        let read = recvmmsg(socket.as_raw_fd(), &mut self.headers, slices, flags, None)?;
        self.lens.extend(read.map(|datagram| datagram.bytes));
        Ok(self.lens.len())
    }

    /// What was read last. One that did not fit is cut.
    pub fn datagrams(&self) -> impl Iterator<Item = &[u8]> {
        let stride = self.datagram_len.saturating_add(Self::GAP);
        let rooms = self.room.chunks_exact(stride);
        self.lens.iter().zip(rooms).map(|(len, room)| {
            let len = (*len).min(self.datagram_len);
            room.get(..len).unwrap_or_default()
        })
    }

    /// Length of one that was cut.
    fn cut(&self) -> Option<Cut> {
        let room = self.datagram_len;
        let len = self.lens.iter().copied().find(|len| *len > room)?;
        Some(Cut { len, room })
    }
}

/// What a read gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// A datagram of so many bytes.
    Data(usize),
    /// The kernel had to throw messages away, and goes on doing so until everything queued is read.
    Overrun,
    /// Nothing queued.
    WouldBlock,
}

/// Hears what changes in the kernel's table.
#[derive(Debug)]
pub struct EventSocket(Endpoint);

impl EventSocket {
    /// Reads up to `most` datagrams, [`Batch::LEN`] at once; the answer counts them. Fewer mean that nothing is queued
    /// any more.
    ///
    /// # Errors
    /// `InvalidData` when one is longer than there is room; the kernel's others.
    pub fn receive_batch(&self, batch: &mut Batch, most: usize) -> io::Result<Received> {
        self.0.receive_batch(batch, most)
    }

    /// Opens a socket that belongs to no group yet.
    ///
    /// # Errors
    /// No netfilter netlink in this kernel, or no memory.
    pub fn open() -> io::Result<Self> {
        Endpoint::open().map(Self)
    }

    /// Joins a group.
    ///
    /// # Errors
    /// No `CAP_NET_ADMIN`.
    pub fn join(&self, group: Group) -> io::Result<()> {
        self.0.socket.add_membership(group as u32)
    }

    /// Leaves a group.
    ///
    /// # Errors
    /// The kernel's.
    pub fn leave(&self, group: Group) -> io::Result<()> {
        self.0.socket.drop_membership(group as u32)
    }

    /// Whether overruns go unreported.
    ///
    /// # Errors
    /// The kernel's.
    pub fn set_no_enobufs(&self, on: bool) -> io::Result<()> {
        self.0.socket.set_no_enobufs(on)
    }

    /// Whether the kernel keeps destroy events that found no room and repeats them.
    ///
    /// # Errors
    /// The kernel's.
    pub fn set_broadcast_error(&self, on: bool) -> io::Result<()> {
        self.0.socket.set_broadcast_error(on)
    }

    /// Drops events before they are queued; see [`crate::bpf::program`]. Replaces an earlier filter.
    ///
    /// # Errors
    /// The kernel refuses the program (EINVAL).
    pub fn attach_filter(&self, program: &[Instruction]) -> io::Result<()> {
        let filter: Vec<_> = program
            .iter()
            .map(|i| SockFilter::new(i.code, i.jt, i.jf, i.k))
            .collect();
        SockRef::from(&self.0.socket).attach_filter(&filter)
    }

    /// Lets every event pass again.
    ///
    /// # Errors
    /// There is no filter (ENOENT).
    pub fn detach_filter(&self) -> io::Result<()> {
        SockRef::from(&self.0.socket).detach_filter()
    }
}

/// Asks and writes.
///
/// Acknowledgements carry only the header of the request. Both buffers hold 1 MiB or what the system
/// allows; all answers to what one send carries are queued before it returns and must fit. One thread may read what another
/// asks for.
#[derive(Debug)]
pub struct RequestSocket(Endpoint);

impl RequestSocket {
    /// Opens a socket.
    ///
    /// # Errors
    /// No netfilter netlink in this kernel, or no memory.
    pub fn open() -> io::Result<Self> {
        let endpoint = Endpoint::open()?;
        endpoint.socket.set_cap_ack(true)?;
        endpoint.socket.set_ext_ack(false)?;
        let socket = Self(endpoint);
        socket.set_receive_buffer(REQUEST_SOCKET_LEN)?;
        socket.set_send_buffer(REQUEST_SOCKET_LEN)?;
        Ok(socket)
    }

    /// Asks for a send buffer of `len` bytes; the kernel doubles it. Returns what it is now.
    ///
    /// One send carries at most that less 32 bytes. Without privilege the system's limit applies.
    ///
    /// # Errors
    /// The kernel's.
    pub fn set_send_buffer(&self, len: usize) -> io::Result<usize> {
        let socket = SockRef::from(&self.0.socket);
        if setsockopt(&self.0.socket, SndBufForce, &len).is_err() {
            socket.set_send_buffer_size(len)?;
        }
        socket.send_buffer_size()
    }

    /// Sends a message or a batch. The kernel has done everything when this returns.
    ///
    /// # Errors
    /// EMSGSIZE: longer than the send buffer, nothing was done.
    pub fn send(&self, batch: &[u8]) -> io::Result<()> {
        loop {
            match self.0.socket.send(batch, 0) {
                Ok(sent) if sent == batch.len() => return Ok(()),
                Ok(_) => return Err(io::ErrorKind::WriteZero.into()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Sends one request and waits until it is answered; `each` sees the messages before the verdict.
    ///
    /// The request must be one that ends: a dump, or one that wants an acknowledgement. Answers to
    /// other requests are skipped.
    ///
    /// # Errors
    /// The kernel's verdict as the OS error; what `each` returns; `TimedOut` after ten seconds of
    /// silence; ENOBUFS when answers were lost; `InvalidData` for a message that cannot be read.
    pub fn transact(
        &self,
        request: &[u8],
        mut each: impl FnMut(&Message<'_>) -> io::Result<()>,
    ) -> io::Result<()> {
        let seq = match messages(request).next() {
            Some(Ok(message)) => message.header.seq,
            _ => return Err(io::ErrorKind::InvalidInput.into()),
        };
        self.send(request)?;
        let mut buf = vec![0; DUMP_BUFFER_LEN];
        loop {
            let len = match self.receive(&mut buf)? {
                Received::Data(len) => len,
                Received::Overrun => return Err(Errno::ENOBUFS.into()),
                Received::WouldBlock => {
                    self.wait()?;
                    continue;
                }
            };
            for message in messages(buf.get(..len).unwrap_or_default()) {
                let message = message.map_err(invalid)?;
                if message.header.seq != seq {
                    continue;
                }
                match end_of_answer(&message)? {
                    Some(0) => return Ok(()),
                    Some(errno) => return Err(io::Error::from_raw_os_error(errno)),
                    None => each(&message)?,
                }
            }
        }
    }

    fn wait(&self) -> io::Result<()> {
        let mut fds = [PollFd::new(self.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, PollTimeout::from(PATIENCE_MS)) {
            Ok(0) => Err(io::ErrorKind::TimedOut.into()),
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }
}

/// The errno with which the answer ends, 0 for success; `None` when it goes on.
fn end_of_answer(message: &Message<'_>) -> io::Result<Option<i32>> {
    if message.header.subsystem() != 0 {
        return Ok(None);
    }
    Ok(match parse::reply(message).map_err(invalid)? {
        Reply::Verdict { errno } | Reply::Done { errno } => Some(errno),
        _ => None,
    })
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// What both kinds of socket have.
#[derive(Debug)]
struct Endpoint {
    socket: Socket,
    port_id: u32,
}

impl Endpoint {
    fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_NETFILTER)?;
        socket.set_non_blocking(true)?;
        // Before any group is joined: an unbound socket receives no event at all.
        let port_id = socket.bind_auto()?.port_number();
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self { socket, port_id })
    }

    fn receive(&self, buf: &mut [u8]) -> io::Result<Received> {
        // MSG_TRUNC tells the whole length of a datagram that was cut.
        let flags = MsgFlags::MSG_TRUNC | MsgFlags::MSG_DONTWAIT;
        loop {
            return match recv(self.socket.as_raw_fd(), buf, flags) {
                Ok(len) if len > buf.len() => Err(invalid(Cut {
                    len,
                    room: buf.len(),
                })),
                Ok(len) => Ok(Received::Data(len)),
                // A read lets the kernel add the next part of a dump. EINVAL: there was none by then, as the thread that asked
                // for the dump had just written its end. Nothing is lost by it.
                Err(Errno::EINTR | Errno::EINVAL) => continue,
                Err(Errno::EAGAIN) => Ok(Received::WouldBlock),
                Err(Errno::ENOBUFS) => Ok(Received::Overrun),
                Err(errno) => Err(errno.into()),
            };
        }
    }

    fn receive_batch(&self, batch: &mut Batch, most: usize) -> io::Result<Received> {
        loop {
            return match batch.read(self.socket.as_fd(), most) {
                Ok(count) => match batch.cut() {
                    Some(cut) => Err(invalid(cut)),
                    None => Ok(Received::Data(count)),
                },
                Err(Errno::EINTR) => continue,
                Err(Errno::EAGAIN) => Ok(Received::WouldBlock),
                Err(Errno::ENOBUFS) => Ok(Received::Overrun),
                Err(errno) => Err(errno.into()),
            };
        }
    }

    fn set_receive_buffer(&self, len: usize) -> io::Result<usize> {
        if setsockopt(&self.socket, RcvBufForce, &len).is_err() {
            SockRef::from(&self.socket).set_recv_buffer_size(len)?;
        }
        self.receive_buffer()
    }

    fn receive_buffer(&self) -> io::Result<usize> {
        SockRef::from(&self.socket).recv_buffer_size()
    }
}

/// A datagram did not fit the caller's buffer.
#[derive(Debug, thiserror::Error)]
#[error("datagram of {len} bytes cut to {room}")]
struct Cut {
    len: usize,
    room: usize,
}

macro_rules! endpoint {
    ($socket:ident) => {
        impl $socket {
            /// The port id of this socket: what events that it caused carry.
            #[must_use]
            pub fn port_id(&self) -> u32 {
                self.0.port_id
            }

            /// Reads one datagram into `buf`.
            ///
            /// # Errors
            /// `InvalidData` when the datagram is longer than `buf`; the kernel's others.
            pub fn receive(&self, buf: &mut [u8]) -> io::Result<Received> {
                self.0.receive(buf)
            }

            /// Asks for a receive buffer of `len` bytes; the kernel doubles it. Returns what it is now.
            ///
            /// Without privilege the system's limit applies (`net.core.rmem_max`).
            ///
            /// # Errors
            /// The kernel's.
            pub fn set_receive_buffer(&self, len: usize) -> io::Result<usize> {
                self.0.set_receive_buffer(len)
            }

            /// Bytes of the receive buffer.
            ///
            /// # Errors
            /// The kernel's.
            pub fn receive_buffer(&self) -> io::Result<usize> {
                self.0.receive_buffer()
            }
        }

        impl AsRawFd for $socket {
            fn as_raw_fd(&self) -> RawFd {
                self.0.socket.as_raw_fd()
            }
        }

        impl AsFd for $socket {
            fn as_fd(&self) -> BorrowedFd<'_> {
                self.0.socket.as_fd()
            }
        }
    };
}

endpoint!(EventSocket);
endpoint!(RequestSocket);
