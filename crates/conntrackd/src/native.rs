//! The native dialect's socket, and the connections that ride on it.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;
use std::time::Instant;

use control::peers::{Connection, PortReport};
use engine::PeerId;
use native::keys::PublicKey;
use native::transport::{self, Event, Failure, Settings, Timing, Transport};
use quinn_udp::{BATCH_SIZE, RecvMeta, UdpSockRef, UdpSocketState};
use record::Recorded;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::Notify;

use crate::keys::{self, KeyFileError};
use crate::pace::{Pace, SEND_PAUSE};

/// Datagrams handed to the transport before everything else gets a turn.
pub(crate) const DATAGRAMS_PER_TURN: usize = 256;

/// Transmits in one turn: about a millisecond of work.
const TRANSMITS_PER_TURN: usize = 128;

/// Receive buffer asked for: a bulk comes in bursts.
const RECEIVE_BUFFER_LEN: usize = 4 * 1024 * 1024;

/// Why the native dialect cannot be spoken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NativeError {
    /// The private key.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// The address cannot be had.
    #[error("can't listen on {address}: {source}")]
    Listen {
        /// Address.
        address: SocketAddr,
        /// Reason.
        source: io::Error,
    },
    /// The library refuses.
    #[error("can't speak the native dialect: {0}")]
    Transport(#[from] transport::StartError),
}

/// Socket, connections, and what is noted about each peer for the log.
pub(crate) struct Native {
    transport: Transport,
    socket: UdpSocket,
    state: UdpSocketState,
    /// The socket is of both families: addresses of IPv4 go in and out mapped.
    is_dual: bool,
    peers: Vec<PeerLog>,
    /// A transmit that the socket did not take.
    pending: Option<(transport::Transmit, Vec<u8>)>,
    /// Wakes the task that waits until the socket takes more.
    pub(crate) blocked: Rc<Notify>,
    /// When it was last looked for something to send.
    sent_at: Option<Instant>,
    /// Something waits until then.
    send_at: Option<Instant>,
    /// Bytes of the socket's buffer.
    buffer_len: usize,
    buffer: Vec<u8>,
    spare: VecDeque<Vec<u8>>,
    foreign_told: u64,
    /// Sends that failed for good.
    send_errors: u64,
    receive_errors: u64,
}

/// What the log has said of a peer last.
struct PeerLog {
    name: String,
    failure: Option<Failure>,
}

impl Native {
    /// Reads the key, binds the socket, begins to dial.
    ///
    /// # Errors
    /// The key is missing or readable by others, the address cannot be had.
    pub(crate) fn open(config: &config::Native, now: Instant) -> Result<Self, NativeError> {
        let private_key = keys::read(&config.private_key_file)?;
        let (socket, is_dual) = listen(config.listen).map_err(|source| NativeError::Listen {
            address: config.listen,
            source,
        })?;
        let state = UdpSocketState::new(UdpSockRef::from(&socket)).map_err(|source| {
            NativeError::Listen {
                address: config.listen,
                source,
            }
        })?;
        tracing::info!(
            "native dialect: this is {}, public key {}, {} on {}",
            config.name,
            private_key.public(),
            transport::CIPHER,
            config.listen,
        );
        let peers = config.peers.iter().map(|peer| transport::PeerSettings {
            addresses: peer.addresses.clone(),
            public_keys: accepted(peer),
        });
        let settings = Settings {
            private_key,
            peers: peers.collect(),
            timing: Timing::default(),
        };
        let mut seed = [0; 32];
        keys::random(&mut seed)?;
        let names = config.peers.iter().map(|peer| PeerLog {
            name: peer.name.clone(),
            failure: None,
        });
        let segments = state.gro_segments();
        let buffer_len = socket2::SockRef::from(&socket)
            .recv_buffer_size()
            .unwrap_or(RECEIVE_BUFFER_LEN);
        Ok(Self {
            transport: Transport::new(settings, seed, now)?,
            socket,
            state,
            is_dual,
            peers: names.collect(),
            pending: None,
            blocked: Rc::default(),
            sent_at: None,
            send_at: None,
            buffer_len,
            buffer: vec![0; BATCH_SIZE * segments * 1500],
            spare: VecDeque::new(),
            foreign_told: 0,
            send_errors: 0,
            receive_errors: 0,
        })
    }

    /// Takes over the keys of the same peers, and returns the public one of this node. A connection stays as long as the key
    /// that its peer has shown is accepted.
    ///
    /// # Errors
    /// The own key is missing, readable by others or none; then nothing has changed.
    pub(crate) fn set_keys(
        &mut self,
        now: Instant,
        config: &config::Native,
    ) -> Result<PublicKey, NativeError> {
        let private_key = keys::read(&config.private_key_file)?;
        let keys = config.peers.iter().map(accepted).collect();
        self.transport.set_keys(now, &private_key, keys)?;
        Ok(private_key.public())
    }

    /// The socket, to wait on.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Bytes of the socket's buffer.
    pub(crate) fn buffer_len(&self) -> usize {
        self.buffer_len
    }

    /// Reads what has arrived. Returns whether the socket ran dry.
    pub(crate) fn receive(&mut self, now: Instant, pace: &Pace) -> bool {
        let mut left = DATAGRAMS_PER_TURN;
        while left > 0 {
            let each = self.buffer.len() / BATCH_SIZE;
            let mut metas = [RecvMeta::default(); BATCH_SIZE];
            let mut slices = self.buffer.chunks_mut(each).map(IoSliceMut::new);
            let mut slices: [IoSliceMut<'_>; BATCH_SIZE] =
                std::array::from_fn(|_| slices.next().unwrap_or_else(|| IoSliceMut::new(&mut [])));
            let received = self
                .state
                .recv(UdpSockRef::from(&self.socket), &mut slices, &mut metas);
            let count = match received {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                // What the network says of something that was sent, such as that a peer's port is closed.
                Err(_) => {
                    self.receive_errors += 1;
                    left -= 1;
                    continue;
                }
            };
            for (meta, bytes) in metas.iter().zip(self.buffer.chunks(each)).take(count) {
                let bytes = bytes.get(..meta.len).unwrap_or_default();
                for datagram in bytes.chunks(meta.stride.max(1)) {
                    let ecn = meta
                        .ecn
                        .and_then(|ecn| transport::EcnCodepoint::from_bits(ecn as u8));
                    pace.native_datagram(datagram.len());
                    let datagram = datagram.into();
                    self.transport
                        .handle_datagram(now, meta.addr, meta.dst_ip, ecn, datagram);
                    left = left.saturating_sub(1);
                }
            }
            if count < BATCH_SIZE {
                // Fewer than asked for: the next ones have to be waited for.
                return true;
            }
        }
        false
    }

    /// When [`Native::timeout`] has to be called.
    pub(crate) fn poll_timeout(&mut self) -> Option<Instant> {
        [self.transport.poll_timeout(), self.send_at]
            .into_iter()
            .flatten()
            .min()
    }

    /// Whether what there is to send waits a moment for what comes behind it: each datagram has its price at both ends.
    pub(crate) fn waits_for_more(&mut self, now: Instant, is_busy: bool) -> bool {
        let earliest = self.sent_at.map(|at| at + SEND_PAUSE);
        self.send_at = earliest.filter(|at| is_busy && *at > now);
        self.send_at.is_some()
    }

    /// Lets time pass.
    pub(crate) fn timeout(&mut self, now: Instant) {
        if self.transport.poll_timeout().is_some_and(|at| at <= now) {
            self.transport.handle_timeout(now);
        }
    }

    /// Tells the core what has happened, and how much room there is. Returns how many messages of peers there were.
    pub(crate) fn tell(&mut self, engine: &mut Recorded, now: Instant) -> u64 {
        let mut messages = 0;
        while let Some(event) = self.transport.poll_event() {
            match event {
                Event::Connected(peer) => {
                    self.log_connected(peer);
                    engine.handle_peer_open(now, PeerId(peer.0));
                }
                Event::Bytes(peer, bytes) => {
                    messages += engine.handle_peer_bytes(now, PeerId(peer.0), &bytes);
                }
                Event::Writable(_) => {}
                Event::Closed(peer, reason, heard_at) => {
                    let name = self.name(peer);
                    tracing::warn!("peer {name}: connection lost: {reason}");
                    engine.handle_peer_closed(now, PeerId(peer.0), heard_at);
                }
                Event::Failed(peer, address, failure) => self.log_failure(peer, address, failure),
            }
        }
        for id in (0..=u8::MAX).take(self.peers.len()) {
            engine.set_peer_room(PeerId(id), self.transport.room(transport::PeerId(id)));
        }
        let foreign = self.transport.refusals().foreign;
        if foreign > self.foreign_told {
            self.foreign_told = foreign;
            tracing::warn!(
                "datagrams that are not of the native dialect (version 1 of the protocol?) come from \
                 the address of a peer: dropped; this node does not go back to an older protocol"
            );
        }
        messages
    }

    /// Appends to the stream to a peer.
    pub(crate) fn write(&mut self, now: Instant, peer: PeerId, bytes: &[u8]) {
        let taken = self.transport.write(now, transport::PeerId(peer.0), bytes);
        // The core keeps to the room it was told of; a connection that has just ended takes nothing.
        debug_assert!(taken == bytes.len() || taken == 0);
    }

    /// Ends a connection whose stream cannot be understood.
    pub(crate) fn disconnect(&mut self, now: Instant, peer: PeerId) {
        self.transport.disconnect(now, transport::PeerId(peer.0));
    }

    /// Says farewell to all peers.
    pub(crate) fn close(&mut self, now: Instant) {
        self.transport.close(now);
        self.transmit(now);
    }

    /// Sends what there is to send. Returns whether more is left for the next turn.
    pub(crate) fn transmit(&mut self, now: Instant) -> bool {
        self.sent_at = Some(now);
        for _ in 0..TRANSMITS_PER_TURN {
            let (transmit, bytes) = match self.pending.take() {
                Some(pending) => pending,
                None => {
                    let mut bytes = self.spare.pop_front().unwrap_or_default();
                    bytes.clear();
                    match self.transport.poll_transmit(now, &mut bytes) {
                        Some(transmit) => (transmit, bytes),
                        None => {
                            self.spare.push_front(bytes);
                            return false;
                        }
                    }
                }
            };
            match self.send(&transmit, &bytes) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.pending = Some((transmit, bytes));
                    self.blocked.notify_one();
                    return false;
                }
                // The link is down or the peer's port closed: as good as lost on the way.
                Err(_) => self.send_errors += 1,
            }
            self.spare.push_front(bytes);
        }
        true
    }

    fn send(&self, transmit: &transport::Transmit, bytes: &[u8]) -> io::Result<()> {
        let destination = match transmit.to {
            SocketAddr::V4(to) if self.is_dual => {
                SocketAddr::new(to.ip().to_ipv6_mapped().into(), to.port())
            }
            to => to,
        };
        self.state.try_send(
            UdpSockRef::from(&self.socket),
            &quinn_udp::Transmit {
                destination,
                ecn: transmit
                    .ecn
                    .and_then(|ecn| quinn_udp::EcnCodepoint::from_bits(ecn as u8)),
                contents: bytes,
                segment_size: transmit.segment_len,
                src_ip: transmit.from,
            },
        )
    }

    /// What came to the port and was not worth a connection.
    pub(crate) fn port(&self) -> PortReport {
        let refusals = self.transport.refusals();
        PortReport {
            strangers: refusals.strangers,
            foreign: refusals.foreign,
            floods: refusals.floods,
            retries: refusals.retries,
            crowded: refusals.crowded,
            send_errors: self.send_errors,
            receive_errors: self.receive_errors,
        }
    }

    /// What there is to tell of every peer's connection, in the order of the configuration.
    pub(crate) fn connections(&self) -> impl Iterator<Item = Connection> {
        let ids = (0..=u8::MAX).map(transport::PeerId);
        ids.take(self.peers.len()).map(|id| {
            let report = self.transport.report(id);
            Connection {
                address: report.address.map(|address| address.to_string()),
                key: report.key.map(|key| key.to_string()),
                is_connected: report.is_connected,
                cipher: transport::CIPHER,
                round_trip: report.round_trip,
                sent_bytes: report.sent_bytes,
                received_bytes: report.received_bytes,
                sent_packets: report.sent_packets,
                lost_packets: report.lost_packets,
                connections: report.connections,
                failures: report.failures,
            }
        })
    }

    fn name(&self, peer: transport::PeerId) -> &str {
        self.peers
            .get(usize::from(peer.0))
            .map_or("?", |peer| peer.name.as_str())
    }

    fn log_connected(&mut self, peer: transport::PeerId) {
        let mut text = String::new();
        if let Some(address) = self.transport.report(peer).address {
            // Writing into a string does not fail.
            let _ = write!(text, " over {address}");
        }
        tracing::info!(
            "peer {}: encrypted connection{text}, {}",
            self.name(peer),
            transport::CIPHER
        );
        if let Some(log) = self.peers.get_mut(usize::from(peer.0)) {
            log.failure = None;
        }
    }

    /// Says once what keeps a connection from coming about.
    fn log_failure(&mut self, peer: transport::PeerId, address: SocketAddr, failure: Failure) {
        let Some(log) = self.peers.get_mut(usize::from(peer.0)) else {
            return;
        };
        if log.failure.as_ref() != Some(&failure) {
            let name = &log.name;
            tracing::warn!("peer {name} at {address}: no connection: {failure}; trying again");
            log.failure = Some(failure);
        }
    }
}

/// The socket, and whether it is of both families. A host without IPv6 is heard over IPv4.
fn listen(address: SocketAddr) -> io::Result<(UdpSocket, bool)> {
    let is_any = address.ip().is_unspecified() && address.is_ipv6();
    match bind(address, is_any) {
        Err(error)
            if is_any
                && matches!(
                    error.raw_os_error(),
                    Some(nix::libc::EAFNOSUPPORT | nix::libc::EADDRNOTAVAIL)
                ) =>
        {
            let any = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
            bind(SocketAddr::new(any, address.port()), false)
        }
        bound => bound,
    }
}

fn bind(address: SocketAddr, is_dual: bool) -> io::Result<(UdpSocket, bool)> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::DGRAM,
        Some(Protocol::UDP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(!is_dual)?;
    }
    use nix::sys::socket::{setsockopt, sockopt};
    if setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER_LEN).is_err() {
        // Without the right to more, what the system grants.
        let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER_LEN);
    }
    socket.bind(&address.into())?;
    socket.set_nonblocking(true)?;
    Ok((socket.into(), is_dual))
}

/// The keys that a peer may have.
fn accepted(peer: &config::Peer) -> Vec<PublicKey> {
    peer.public_keys
        .iter()
        .map(|key| PublicKey(key.0))
        .collect()
}
