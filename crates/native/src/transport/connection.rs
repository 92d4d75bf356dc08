//! One connection and its two streams.

use std::collections::VecDeque;
use std::time::Instant;

use bytes::Bytes;
use quinn_proto::{
    ConnectionError, ConnectionEvent, Dir, Event as QuicEvent, Side, StreamEvent, StreamId,
    TransportErrorCode, VarInt,
};
use rustls::pki_types::CertificateDer;

use super::{Closed, Event, Failure, OUTGOING_LEN, PeerId, PeerReport};
use crate::keys::PublicKey;

/// First byte of each stream.
const FRAMING: u8 = 1;

/// Codes that this end gives when it closes.
mod code {
    pub(super) const ENDED: u32 = 0;
    pub(super) const GIVEN_UP: u32 = 1;
    pub(super) const WRONG_KEY: u32 = 2;
    pub(super) const KEY_STRUCK: u32 = 3;
}

/// TLS alerts as QUIC tells them.
mod alert {
    pub(super) const BAD_CERTIFICATE: u8 = 42;
    pub(super) const CERTIFICATE_UNKNOWN: u8 = 46;
    pub(super) const UNKNOWN_CA: u8 = 48;
    pub(super) const ACCESS_DENIED: u8 = 49;
    pub(super) const DECRYPT_ERROR: u8 = 51;
    pub(super) const CERTIFICATE_REQUIRED: u8 = 116;
    pub(super) const NO_APPLICATION_PROTOCOL: u8 = 120;
}

/// How a connection has ended: as one that was open, and as one that was not.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) closed: Closed,
    pub(super) failure: Failure,
    /// Whether the handshake had come to its end.
    pub(super) was_connected: bool,
    /// When the peer was heard last.
    pub(super) heard_at: Instant,
}

/// What [`Connection::poll`] found.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) is_connected: bool,
    pub(super) ended: Option<Ended>,
}

pub(super) struct Connection {
    pub(super) peer: PeerId,
    pub(super) inner: quinn_proto::Connection,
    pub(super) is_dialed: bool,
    /// Whether it stands in the queue of those that may send.
    pub(super) is_busy: bool,
    /// Whether its streams serve.
    pub(super) is_open: bool,
    /// Whether it was dialled by the node with the lower key.
    pub(super) is_by_lower_key: bool,
    is_connected: bool,
    has_ended: bool,
    /// When a packet came that the peer had sealed.
    heard_at: Instant,
    /// How many frames have come in such packets.
    heard: u64,
    outgoing: Option<StreamId>,
    incoming: Option<StreamId>,
    /// Whether the first byte has come.
    has_begun: bool,
    is_unknown_framing: bool,
    /// What waits until the connection takes more.
    waiting: VecDeque<u8>,
    reason: Option<Closed>,
}

impl Connection {
    pub(super) fn dialed(peer: PeerId, inner: quinn_proto::Connection, now: Instant) -> Self {
        Self::new(peer, inner, true, now)
    }

    pub(super) fn accepted(peer: PeerId, inner: quinn_proto::Connection, now: Instant) -> Self {
        Self::new(peer, inner, false, now)
    }

    fn new(peer: PeerId, inner: quinn_proto::Connection, is_dialed: bool, now: Instant) -> Self {
        debug_assert_eq!(inner.side() == Side::Client, is_dialed);
        Self {
            peer,
            inner,
            is_dialed,
            is_busy: false,
            is_open: false,
            is_by_lower_key: false,
            is_connected: false,
            has_ended: false,
            heard_at: now,
            heard: 0,
            outgoing: None,
            incoming: None,
            has_begun: false,
            is_unknown_framing: false,
            waiting: VecDeque::new(),
            reason: None,
        }
    }

    /// The key that the other end has shown.
    pub(super) fn key(&self) -> Option<PublicKey> {
        let identity = self.inner.crypto_session().peer_identity()?;
        let chain = identity.downcast::<Vec<CertificateDer<'static>>>().ok()?;
        PublicKey::from_spki(chain.first()?.as_ref())
    }

    /// Takes a datagram. One that the peer has not sealed says nothing of the peer.
    pub(super) fn receive(&mut self, event: ConnectionEvent, now: Instant) {
        self.inner.handle_event(event);
        let frames = self.inner.stats().frame_rx;
        let heard = [frames.acks, frames.ping, frames.stream, frames.crypto];
        let heard = heard.into_iter().fold(0, u64::wrapping_add);
        if heard != self.heard {
            (self.heard, self.heard_at) = (heard, now);
        }
    }

    /// Begins to serve.
    pub(super) fn open(&mut self, by_lower_key: bool, events: &mut VecDeque<Event>) {
        self.is_open = true;
        self.is_by_lower_key = by_lower_key;
        self.outgoing = self.inner.streams().open(Dir::Uni);
        self.push(&[FRAMING]);
        self.read(events);
    }

    pub(super) fn room(&self) -> usize {
        if self.is_open && !self.has_ended {
            OUTGOING_LEN.saturating_sub(self.waiting.len())
        } else {
            0
        }
    }

    /// Takes as much as there is room for.
    pub(super) fn write(&mut self, bytes: &[u8]) -> usize {
        let bytes = bytes.get(..self.room()).unwrap_or(bytes);
        let mut written = 0;
        if self.waiting.is_empty() {
            written = self.push(bytes);
        }
        self.waiting
            .extend(bytes.get(written..).unwrap_or_default());
        bytes.len()
    }

    /// Hands bytes to the library; returns how many it took.
    fn push(&mut self, bytes: &[u8]) -> usize {
        let Some(stream) = self.outgoing else {
            return 0;
        };
        self.inner.send_stream(stream).write(bytes).unwrap_or(0)
    }

    /// Hands over what waits; whether there is more room than before.
    fn push_waiting(&mut self) -> bool {
        let before = self.waiting.len();
        while !self.waiting.is_empty() {
            let Some(stream) = self.outgoing else { break };
            let (front, _) = self.waiting.as_slices();
            let taken = self.inner.send_stream(stream).write(front).unwrap_or(0);
            if taken == 0 {
                break;
            }
            self.waiting.drain(..taken);
        }
        self.waiting.len() < before
    }

    /// Takes in what the library has to say.
    pub(super) fn poll(&mut self, now: Instant, events: &mut VecDeque<Event>) -> Outcome {
        let mut outcome = Outcome::default();
        while let Some(event) = self.inner.poll() {
            match event {
                QuicEvent::Connected if !self.is_dialed => {
                    self.is_connected = true;
                    outcome.is_connected = true;
                }
                QuicEvent::ConnectionLost { reason } => {
                    outcome.ended = self.end(&reason);
                }
                QuicEvent::Stream(StreamEvent::Opened { dir: Dir::Uni }) => {
                    if self.is_dialed && !self.is_connected {
                        self.is_connected = true;
                        outcome.is_connected = true;
                    }
                    self.read(events);
                }
                QuicEvent::Stream(StreamEvent::Readable { .. }) => self.read(events),
                _ => {}
            }
        }
        // Asked every time: the library does not tell of every way in which a window opens.
        if !self.waiting.is_empty() && self.push_waiting() {
            events.push_back(Event::Writable(self.peer));
        }
        if self.is_unknown_framing {
            let reason = Closed::Broken("a stream of another version".into());
            self.close_with(now, code::GIVEN_UP, reason);
        }
        if self.reason.is_some() && !self.has_ended {
            outcome.ended = self.end(&ConnectionError::LocallyClosed);
        }
        outcome
    }

    /// Everything that has arrived in order.
    fn read(&mut self, events: &mut VecDeque<Event>) {
        if !self.is_open || self.has_ended {
            return;
        }
        if self.incoming.is_none() {
            self.incoming = self.inner.streams().accept(Dir::Uni);
        }
        let Some(stream) = self.incoming else {
            return;
        };
        let mut stream = self.inner.recv_stream(stream);
        let Ok(mut chunks) = stream.read(true) else {
            return;
        };
        let mut is_other = false;
        while let Ok(Some(mut chunk)) = chunks.next(usize::MAX) {
            if !self.has_begun && !chunk.bytes.is_empty() {
                self.has_begun = true;
                is_other = chunk.bytes.split_to(1).first() != Some(&FRAMING);
            }
            if !chunk.bytes.is_empty() && !is_other {
                events.push_back(Event::Bytes(self.peer, chunk.bytes));
            }
        }
        // The connection is sent from after every call; nothing is to be noted here.
        let _ = chunks.finalize();
        if is_other {
            self.is_unknown_framing = true;
        }
    }

    /// Notes the end, once.
    fn end(&mut self, error: &ConnectionError) -> Option<Ended> {
        if self.has_ended {
            return None;
        }
        self.has_ended = true;
        self.waiting = VecDeque::new();
        Some(Ended {
            closed: self.reason.clone().unwrap_or_else(|| closed(error)),
            failure: match self.reason {
                Some(Closed::Silent) => Failure::Silent,
                Some(Closed::Broken(_)) => Failure::WrongKey,
                _ => failure(error),
            },
            was_connected: self.is_connected,
            heard_at: self.heard_at,
        })
    }

    fn close_with(&mut self, now: Instant, code: u32, reason: Closed) {
        if !self.has_ended && self.reason.is_none() {
            self.inner.close(now, VarInt::from_u32(code), Bytes::new());
            self.reason = Some(reason);
        }
    }

    pub(super) fn close(&mut self, now: Instant) {
        self.close_with(now, code::ENDED, Closed::ByUs);
    }

    pub(super) fn replace(&mut self, now: Instant) {
        self.close_with(now, code::ENDED, Closed::Replaced);
    }

    /// The handshake takes too long.
    pub(super) fn give_up(&mut self, now: Instant) {
        self.close_with(now, code::GIVEN_UP, Closed::Silent);
    }

    /// The key belongs to another peer.
    pub(super) fn refuse_key(&mut self, now: Instant) {
        self.close_with(
            now,
            code::WRONG_KEY,
            Closed::Broken("the key of another peer".into()),
        );
    }

    /// The key may not be used any more.
    pub(super) fn strike_key(&mut self, now: Instant) {
        self.close_with(now, code::KEY_STRUCK, Closed::KeyStruck);
    }

    /// Adds what this connection has done, and how it is doing.
    pub(super) fn add_to(&self, report: &mut PeerReport) {
        self.add_to_past(report);
        report.address = Some(self.inner.remote_address());
        report.key = self.key();
        report.round_trip = self.inner.rtt();
    }

    /// Adds what this connection has done.
    pub(super) fn add_to_past(&self, report: &mut PeerReport) {
        let stats = self.inner.stats();
        for (sum, part) in [
            (&mut report.sent_bytes, stats.udp_tx.bytes),
            (&mut report.received_bytes, stats.udp_rx.bytes),
            (&mut report.sent_packets, stats.path.sent_packets),
            (&mut report.lost_packets, stats.path.lost_packets),
        ] {
            *sum = sum.saturating_add(part);
        }
    }
}

fn closed(error: &ConnectionError) -> Closed {
    match error {
        ConnectionError::TimedOut => Closed::Silent,
        ConnectionError::Reset => Closed::Restarted,
        ConnectionError::ApplicationClosed(close)
            if close.error_code == VarInt::from_u32(code::KEY_STRUCK) =>
        {
            Closed::KeyStruck
        }
        ConnectionError::ApplicationClosed(_) | ConnectionError::ConnectionClosed(_) => {
            Closed::ByPeer
        }
        ConnectionError::LocallyClosed => Closed::ByUs,
        other => Closed::Broken(other.to_string()),
    }
}

fn failure(error: &ConnectionError) -> Failure {
    let (code, is_told) = match error {
        ConnectionError::TimedOut => return Failure::Silent,
        ConnectionError::VersionMismatch => return Failure::OtherProtocol,
        ConnectionError::ApplicationClosed(close)
            if close.error_code == VarInt::from_u32(code::WRONG_KEY) =>
        {
            return Failure::KeyRefused;
        }
        ConnectionError::TransportError(error) => (error.code, false),
        ConnectionError::ConnectionClosed(close) => (close.error_code, true),
        other => return Failure::Other(other.to_string()),
    };
    let is_alert = |alert: u8| code == TransportErrorCode::crypto(alert);
    let is_about_keys = [
        alert::BAD_CERTIFICATE,
        alert::CERTIFICATE_UNKNOWN,
        alert::UNKNOWN_CA,
        alert::ACCESS_DENIED,
        alert::DECRYPT_ERROR,
        alert::CERTIFICATE_REQUIRED,
    ]
    .into_iter()
    .any(is_alert);
    match (is_about_keys, is_told) {
        (true, true) => Failure::KeyRefused,
        (true, false) => Failure::WrongKey,
        (false, _) if is_alert(alert::NO_APPLICATION_PROTOCOL) => Failure::OtherProtocol,
        (false, _) => Failure::Other(error.to_string()),
    }
}
