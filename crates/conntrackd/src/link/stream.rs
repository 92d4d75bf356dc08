//! TCP: each node writes on the connection it made and reads from the one it accepted.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Notify;

use super::{Endpoint, Kind, force_buffers, with_scope};

/// A refused connection is tried again this much later at the earliest.
const RECONNECT: Duration = Duration::from_secs(1);

/// Longest a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// An open link: a listener, and a connection that is made when there is something to send.
#[derive(Debug)]
pub(crate) struct StreamLink {
    outgoing: Rc<RefCell<Outgoing>>,
    /// Shared with the task that accepts the peer.
    pub(crate) listener: Rc<TcpListener>,
    /// Index of the interface it was opened on.
    pub(crate) interface_index: u32,
}

#[derive(Debug)]
struct Outgoing {
    peer: SocketAddr,
    stream: Option<Rc<TcpStream>>,
    connecting: bool,
    next_attempt: Option<Instant>,
    /// Buffers not yet sent, oldest first; bounded, the oldest is dropped.
    queue: VecDeque<Vec<u8>>,
    /// Bytes of the first buffer that have been sent.
    first_sent: usize,
    queue_max: usize,
    dropped: u64,
    blocked: Rc<Notify>,
}

impl StreamLink {
    /// Starts to listen; the connection to the peer follows with the first message.
    ///
    /// # Errors
    /// The local address is not ours, no address of the peer is configured, …
    pub(crate) fn open(endpoint: &Endpoint, index: u32) -> io::Result<Self> {
        let Kind::Tcp {
            local,
            peer: Some(peer),
            queue_max,
        } = endpoint.kind
        else {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "no address of the peer is configured",
            ));
        };
        let local = local.unwrap_or(match peer {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        });
        let local = with_scope(local, endpoint.port, index);
        let listener = Socket::new(
            Domain::for_address(local),
            Type::STREAM,
            Some(Protocol::TCP),
        )?;
        listener.set_reuse_address(true)?;
        if local.is_ipv6() {
            listener.set_only_v6(true)?;
        }
        listener.set_keepalive(true)?;
        force_buffers(&listener, endpoint);
        listener.set_nonblocking(true)?;
        listener.bind(&local.into())?;
        listener.listen(4)?;
        let outgoing = Outgoing {
            peer: with_scope(peer, endpoint.port, index),
            stream: None,
            connecting: false,
            next_attempt: None,
            queue: VecDeque::new(),
            first_sent: 0,
            queue_max,
            dropped: 0,
            blocked: Rc::new(Notify::new()),
        };
        let link = Self {
            outgoing: Rc::new(RefCell::new(outgoing)),
            listener: Rc::new(TcpListener::from_std(listener.into())?),
            interface_index: index,
        };
        link.connect();
        Ok(link)
    }

    /// Sends a buffer or keeps it for later. Must be called within a `LocalSet`.
    ///
    /// # Errors
    /// The peer is not connected; the buffer waits in the queue.
    pub(crate) fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut outgoing = self.outgoing.borrow_mut();
        outgoing.enqueue(bytes);
        outgoing.flush();
        if outgoing.stream.is_some() || outgoing.connecting {
            return Ok(bytes.len());
        }
        drop(outgoing);
        self.connect();
        Err(io::ErrorKind::NotConnected.into())
    }

    /// Begins to connect, unless it is too early for another attempt.
    fn connect(&self) {
        let mut outgoing = self.outgoing.borrow_mut();
        if outgoing.next_attempt.is_none_or(|at| Instant::now() >= at) {
            outgoing.connecting = true;
            tokio::task::spawn_local(connection(Rc::downgrade(&self.outgoing)));
        }
    }

    /// Whether the connection to the peer is up.
    pub(crate) fn is_connected(&self) -> bool {
        self.outgoing.borrow().stream.is_some()
    }

    /// Buffers waiting, and buffers dropped because too many waited.
    pub(crate) fn queue(&self) -> (usize, u64) {
        let outgoing = self.outgoing.borrow();
        (outgoing.queue.len(), outgoing.dropped)
    }
}

impl Outgoing {
    fn enqueue(&mut self, bytes: &[u8]) {
        if self.queue.len() >= self.queue_max {
            // A buffer that is partly sent must be completed, or the stream loses its framing.
            let oldest = usize::from(self.first_sent > 0);
            self.queue.remove(oldest);
            self.dropped += 1;
        }
        self.queue.push_back(bytes.to_vec());
    }

    /// Writes what the connection takes.
    fn flush(&mut self) {
        let Some(stream) = &self.stream else { return };
        while let Some(first) = self.queue.front() {
            match stream.try_write(first.get(self.first_sent..).unwrap_or_default()) {
                Ok(len) => {
                    self.first_sent += len;
                    if self.first_sent >= first.len() {
                        self.queue.pop_front();
                        self.first_sent = 0;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.blocked.notify_one();
                    return;
                }
                Err(_) => return self.disconnect(),
            }
        }
    }

    fn disconnect(&mut self) {
        self.stream = None;
        // What was partly sent is sent again as a whole: the peer drops its part.
        self.first_sent = 0;
        self.next_attempt = Some(Instant::now() + RECONNECT);
    }
}

/// Makes the connection and keeps it until it breaks or the link is closed.
async fn connection(outgoing: std::rc::Weak<RefCell<Outgoing>>) {
    let Some(peer) = outgoing.upgrade().map(|o| o.borrow().peer) else {
        return;
    };
    let attempt = async {
        let socket = if peer.is_ipv4() {
            TcpSocket::new_v4()?
        } else {
            TcpSocket::new_v6()?
        };
        socket.connect(peer).await
    };
    let connected = tokio::time::timeout(CONNECT_TIMEOUT, attempt).await;
    let Some(link) = outgoing.upgrade() else {
        return;
    };
    let (stream, blocked) = {
        let mut out = link.borrow_mut();
        out.connecting = false;
        let Ok(Ok(stream)) = connected else {
            out.disconnect();
            return;
        };
        let _ = stream.set_nodelay(true);
        let stream = Rc::new(stream);
        out.stream = Some(Rc::clone(&stream));
        out.flush();
        (stream, Rc::clone(&out.blocked))
    };
    drop(link);
    loop {
        tokio::select! {
            // The peer never writes here: whatever becomes readable is the end of the connection.
            readable = stream.readable() => {
                let mut byte = [0; 64];
                let open = readable.is_ok() && match stream.try_read(&mut byte) {
                    Ok(len) => len > 0,
                    Err(error) => error.kind() == io::ErrorKind::WouldBlock,
                };
                if !open {
                    break;
                }
            }
            () = blocked.notified() => {
                if stream.writable().await.is_err() {
                    break;
                }
                let Some(link) = outgoing.upgrade() else { return };
                link.borrow_mut().flush();
            }
        }
    }
    if let Some(link) = outgoing.upgrade() {
        let mut out = link.borrow_mut();
        if out.stream.as_ref().is_some_and(|s| Rc::ptr_eq(s, &stream)) {
            out.disconnect();
        }
    }
}
