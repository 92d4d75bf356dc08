//! Connections between nodes: QUIC, one connection per pair, one stream in each direction.
//!
//! Sans-IO: datagrams and time come in through `handle_*`, datagrams and events go out through `poll_*`. After
//! any call, drain [`Transport::poll_transmit`] and [`Transport::poll_event`], and call
//! [`Transport::handle_timeout`] when [`Transport::poll_timeout`] says so.
//!
//! The node with the lower public key dials, the other accepts. While keys are being changed both may come to
//! dial: of two connections the one dialled by the lower key stays, of two in the same direction the newer.
//!
//! A dialled connection counts as open when the other end has begun its stream: before that, it may yet refuse
//! the key of this node. Each stream begins with one byte, the version of this framing.
//!
//! What strangers get: datagrams from an address that no peer has are dropped. First packets of a handshake
//! are looked at in bounded number, answered by a Retry that proves the sender's address, and hold no memory
//! until the proof comes back; handshakes under way are bounded per peer. What is no handshake and belongs to
//! no connection is answered, rarely, by a stateless reset, so that a restarted node is noticed at once.

mod connection;
mod gate;
mod lifecycle;
mod rekey;
mod settings;
mod tls;
mod types;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::BytesMut;
use quinn_proto::crypto::rustls::QuicClientConfig;
use quinn_proto::{
    AckFrequencyConfig, ClientConfig, ConnectionHandle, DatagramEvent, Endpoint, EndpointConfig,
    HashedConnectionIdGenerator, IdleTimeout, ServerConfig, TimeSource, TransportConfig, VarInt,
};

use crate::keys::PublicKey;
use connection::Connection;
use gate::Gate;

pub use quinn_proto::EcnCodepoint;
pub use settings::{PeerId, PeerSettings, Settings, Timing};
pub use tls::CIPHER;
pub use types::{Closed, Event, Failure, PeerReport, Refusals, StartError, Transmit};

/// Bytes that wait for room in a connection, per peer.
const OUTGOING_LEN: usize = 256 * 1024;

/// Bytes under way that have not been acknowledged, per peer: bounds what a slow peer costs.
const WINDOW_LEN: u32 = 4 * 1024 * 1024;

/// Handshakes of one peer that may be under way.
const HANDSHAKES_MAX: usize = 4;

/// Packets that are acknowledged together at most ...
const ACKNOWLEDGED_TOGETHER: u32 = 25;

/// ... and how long the first of them waits for it, unless something else is said sooner.
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_millis(25);

/// Datagrams in one transmit, at most.
const SEGMENTS_MAX: usize = 16;

struct Peer {
    settings: PeerSettings,
    client: ClientConfig,
    /// The connection whose streams are open.
    current: Option<ConnectionHandle>,
    /// The attempt under way, and until when.
    dialing: Option<(ConnectionHandle, Instant)>,
    dials: bool,
    address_index: usize,
    next_dial: Instant,
    handshakes: usize,
    /// Of connections that have ended.
    past: PeerReport,
}

/// The connections of one node.
pub struct Transport {
    endpoint: Endpoint,
    /// How connections that come in are met.
    server: ServerConfig,
    /// What every connection has in common.
    common: Arc<TransportConfig>,
    key: PublicKey,
    peers: Vec<Peer>,
    by_address: HashMap<SocketAddr, PeerId>,
    /// By the number of the handle, so that their order is the same in every run.
    connections: BTreeMap<usize, Connection>,
    /// Those that may have something to send.
    busy: VecDeque<ConnectionHandle>,
    /// Answers that belong to no connection.
    answers: VecDeque<(Transmit, Vec<u8>)>,
    events: VecDeque<Event>,
    gate: Gate,
    refusals: Refusals,
    timing: Timing,
    clock: Arc<Clock>,
    start: Instant,
    is_closing: bool,
}

/// Time for the library's tokens: since the start, so that nobody's clock matters.
#[derive(Debug, Default)]
struct Clock(AtomicU64);

impl TimeSource for Clock {
    fn now(&self) -> SystemTime {
        let since_start = Duration::from_millis(self.0.load(Ordering::Relaxed));
        UNIX_EPOCH.checked_add(since_start).unwrap_or(UNIX_EPOCH)
    }
}

impl std::fmt::Debug for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transport")
            .field("key", &self.key)
            .field("connections", &self.connections.len())
            .finish_non_exhaustive()
    }
}

impl Transport {
    /// Begins to dial at once where this node is the one that dials.
    ///
    /// `seed`: random; decides connection identifiers and what else need not be secret. Keys of sessions come
    /// from the system's randomness.
    ///
    /// # Errors
    /// When the library refuses a key.
    pub fn new(settings: Settings, seed: [u8; 32], now: Instant) -> Result<Self, StartError> {
        let Settings {
            private_key,
            peers,
            timing,
        } = settings;
        let clock = Arc::new(Clock::default());
        let common = Arc::new(transport_config(&timing));
        let reset_key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &private_key.derive("reset"));
        let mut config = EndpointConfig::new(Arc::new(reset_key));
        // The same after a restart, so that connections of before are answered by a reset.
        let [a, b, c, d, e, f, g, h, ..] = private_key.derive("connection id");
        let id_key = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
        config
            .rng_seed(Some(seed))
            .grease_quic_bit(false)
            .cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(id_key)));

        let all_keys = peers.iter().flat_map(|peer| peer.public_keys.clone());
        let token_key = ring::hkdf::Salt::new(ring::hkdf::HKDF_SHA256, &seed)
            .extract(&private_key.derive("token"));
        let tls = tls::server(&private_key, all_keys.collect())?;
        let mut server = ServerConfig::new(tls, Arc::new(token_key));
        let mut tokens = quinn_proto::ValidationTokenConfig::default();
        tokens.sent(0);
        server
            .transport_config(Arc::clone(&common))
            .validation_token_config(tokens)
            .retry_token_lifetime(timing.silence)
            .max_incoming(HANDSHAKES_MAX)
            .incoming_buffer_size(4 * 1500)
            .incoming_buffer_size_total(64 * 1500)
            .time_source(Arc::clone(&clock) as Arc<dyn TimeSource>);

        let key = private_key.public();
        let mut by_address = HashMap::new();
        let mut known = Vec::new();
        for (id, peer) in (0..=u8::MAX).zip(peers) {
            for address in &peer.addresses {
                by_address.insert(canonical(*address), PeerId(id));
            }
            let tls = tls::client(&private_key, peer.public_keys.clone())?;
            known.push(Peer {
                dials: peer.dials(key),
                settings: peer,
                client: client_config(tls, &common),
                current: None,
                dialing: None,
                address_index: 0,
                next_dial: now,
                handshakes: 0,
                past: PeerReport::default(),
            });
        }
        let mut transport = Self {
            endpoint: Endpoint::new(Arc::new(config), Some(Arc::new(server.clone())), true, None),
            server,
            common,
            key,
            peers: known,
            by_address,
            connections: BTreeMap::new(),
            busy: VecDeque::new(),
            answers: VecDeque::new(),
            events: VecDeque::new(),
            gate: Gate::new(now),
            refusals: Refusals::default(),
            timing,
            clock,
            start: now,
            is_closing: false,
        };
        transport.dial_all(now);
        Ok(transport)
    }

    /// Takes a datagram. `to`: the own address it was sent to, where that is known.
    pub fn handle_datagram(
        &mut self,
        now: Instant,
        from: SocketAddr,
        to: Option<IpAddr>,
        ecn: Option<EcnCodepoint>,
        datagram: BytesMut,
    ) {
        self.set_clock(now);
        let from = canonical(from);
        let Some(&peer) = self.by_address.get(&from) else {
            self.refusals.strangers = self.refusals.strangers.saturating_add(1);
            return;
        };
        if !gate::is_quic(&datagram) {
            self.refusals.foreign = self.refusals.foreign.saturating_add(1);
            return;
        }
        if gate::is_first(&datagram) && !self.gate.pass(now) {
            self.refusals.floods = self.refusals.floods.saturating_add(1);
            return;
        }
        let mut answer = Vec::new();
        let to = to.map(|ip| ip.to_canonical());
        match self
            .endpoint
            .handle(now, from, to, ecn, datagram, &mut answer)
        {
            None => {}
            Some(DatagramEvent::Response(transmit)) => self.answer(&transmit, answer),
            Some(DatagramEvent::NewConnection(incoming)) => self.incoming(now, peer, incoming),
            Some(DatagramEvent::ConnectionEvent(handle, event)) => {
                if let Some(connection) = self.connections.get_mut(&handle.0) {
                    connection.receive(event, now);
                    self.after(now, handle);
                }
            }
        }
    }

    /// Lets time pass.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.set_clock(now);
        let due: Vec<_> = self
            .connections
            .iter_mut()
            .filter_map(|(&handle, connection)| {
                let at = connection.inner.poll_timeout()?;
                (at <= now).then_some(ConnectionHandle(handle))
            })
            .collect();
        for handle in due {
            if let Some(connection) = self.connections.get_mut(&handle.0) {
                connection.inner.handle_timeout(now);
                self.after(now, handle);
            }
        }
        let late: Vec<_> = self
            .peers
            .iter()
            .filter_map(|peer| peer.dialing)
            .filter(|&(_, until)| until <= now)
            .collect();
        for (handle, _) in late {
            if let Some(connection) = self.connections.get_mut(&handle.0) {
                connection.give_up(now);
                self.after(now, handle);
            }
        }
        self.dial_all(now);
    }

    /// When to call [`Transport::handle_timeout`]. May change after any other call.
    pub fn poll_timeout(&mut self) -> Option<Instant> {
        let timers = self
            .connections
            .values_mut()
            .filter_map(|connection| connection.inner.poll_timeout());
        let is_closing = self.is_closing;
        let dials = self.peers.iter().filter_map(|peer| match peer.dialing {
            Some((_, until)) => Some(until),
            None => (peer.dials && peer.current.is_none() && !is_closing).then_some(peer.next_dial),
        });
        timers.chain(dials).min()
    }

    /// The next datagrams to send, appended to `buffer`, which must be empty.
    pub fn poll_transmit(&mut self, now: Instant, buffer: &mut Vec<u8>) -> Option<Transmit> {
        if let Some((transmit, datagram)) = self.answers.pop_front() {
            buffer.extend_from_slice(&datagram);
            return Some(transmit);
        }
        while let Some(&handle) = self.busy.front() {
            if let Some(connection) = self.connections.get_mut(&handle.0) {
                if let Some(transmit) = connection.inner.poll_transmit(now, SEGMENTS_MAX, buffer) {
                    // One after the other, so that a bulk to one peer delays no other.
                    self.busy.rotate_left(1);
                    return Some(outgoing(&transmit));
                }
                connection.is_busy = false;
            }
            self.busy.pop_front();
            self.settle(now, handle);
        }
        None
    }

    /// What has happened since the last call.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// How many bytes [`Transport::write`] takes now for this peer.
    #[must_use]
    pub fn room(&self, peer: PeerId) -> usize {
        self.current(peer).map_or(0, Connection::room)
    }

    /// Appends to the stream to a peer as much as there is room for; returns how much that was.
    pub fn write(&mut self, now: Instant, peer: PeerId, bytes: &[u8]) -> usize {
        let Some(handle) = self.peer(peer).and_then(|peer| peer.current) else {
            return 0;
        };
        let Some(connection) = self.connections.get_mut(&handle.0) else {
            return 0;
        };
        let taken = connection.write(bytes);
        self.after(now, handle);
        taken
    }

    /// Ends every connection, and dials no more. What has been written may not arrive.
    pub fn close(&mut self, now: Instant) {
        self.is_closing = true;
        let handles: Vec<_> = self
            .connections
            .keys()
            .copied()
            .map(ConnectionHandle)
            .collect();
        for handle in handles {
            if let Some(connection) = self.connections.get_mut(&handle.0) {
                connection.close(now);
                self.after(now, handle);
            }
        }
    }

    /// Ends the connection with a peer. Where this node dials, it dials again after a pause.
    pub fn disconnect(&mut self, now: Instant, peer: PeerId) {
        if let Some(handle) = self.peer(peer).and_then(|peer| peer.current)
            && let Some(connection) = self.connections.get_mut(&handle.0)
        {
            connection.close(now);
            self.after(now, handle);
        }
    }

    /// Has a connection use new keys; the library does so by itself long before old ones are worn.
    pub fn renew_keys(&mut self, now: Instant, peer: PeerId) {
        if let Some(handle) = self.peer(peer).and_then(|peer| peer.current)
            && let Some(connection) = self.connections.get_mut(&handle.0)
        {
            connection.inner.force_key_update();
            self.after(now, handle);
        }
    }

    /// What there is to tell of a peer's connection.
    #[must_use]
    pub fn report(&self, peer: PeerId) -> PeerReport {
        let Some(it) = self.peer(peer) else {
            return PeerReport::default();
        };
        let mut report = it.past.clone();
        if let Some(connection) = self.current(peer) {
            connection.add_to(&mut report);
            report.is_connected = true;
        } else {
            report.address = it.settings.addresses.get(it.address_index).copied();
        }
        report
    }

    /// What was not worth an answer.
    #[must_use]
    pub fn refusals(&self) -> Refusals {
        self.refusals
    }

    fn peer(&self, peer: PeerId) -> Option<&Peer> {
        self.peers.get(usize::from(peer.0))
    }

    fn peer_mut(&mut self, peer: PeerId) -> Option<&mut Peer> {
        self.peers.get_mut(usize::from(peer.0))
    }

    fn current(&self, peer: PeerId) -> Option<&Connection> {
        let handle = self.peer(peer)?.current?;
        self.connections.get(&handle.0)
    }

    fn set_clock(&self, now: Instant) {
        let since_start = now.saturating_duration_since(self.start).as_millis();
        self.clock.0.store(
            u64::try_from(since_start).unwrap_or(u64::MAX),
            Ordering::Relaxed,
        );
    }

    fn answer(&mut self, transmit: &quinn_proto::Transmit, datagram: Vec<u8>) {
        // Answers to strangers never pile up.
        if self.answers.len() < 64 {
            self.answers.push_back((outgoing(transmit), datagram));
        }
    }
}

fn canonical(address: SocketAddr) -> SocketAddr {
    // A socket of both families tells IPv4 addresses as mapped ones; the scope of a link-local address is
    // how it is reached, not who it is.
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

fn outgoing(transmit: &quinn_proto::Transmit) -> Transmit {
    Transmit {
        to: transmit.destination,
        from: transmit.src_ip,
        ecn: transmit.ecn,
        segment_len: transmit.segment_size,
    }
}

fn client_config(tls: Arc<QuicClientConfig>, common: &Arc<TransportConfig>) -> ClientConfig {
    let mut config = ClientConfig::new(tls);
    config.transport_config(Arc::clone(common));
    config
}

fn transport_config(timing: &Timing) -> TransportConfig {
    let mut config = TransportConfig::default();
    let silence = IdleTimeout::try_from(timing.silence).ok();
    // Every datagram costs both ends a wake-up. What is lost is noticed by what comes behind it.
    let mut acknowledgements = AckFrequencyConfig::default();
    acknowledgements
        .ack_eliciting_threshold(VarInt::from_u32(ACKNOWLEDGED_TOGETHER))
        .max_ack_delay(Some(ACKNOWLEDGED_WITHIN));
    config
        .max_concurrent_bidi_streams(VarInt::from_u32(0))
        .max_concurrent_uni_streams(VarInt::from_u32(1))
        .datagram_receive_buffer_size(None)
        .max_idle_timeout(silence)
        .keep_alive_interval(Some(timing.keep_alive))
        .stream_receive_window(VarInt::from_u32(WINDOW_LEN))
        .receive_window(VarInt::from_u32(WINDOW_LEN))
        .send_window(u64::from(WINDOW_LEN))
        .initial_rtt(Duration::from_millis(20))
        .ack_frequency_config(Some(acknowledgements))
        .allow_spin(false);
    config
}
