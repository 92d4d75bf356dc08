//! What goes out of the transport: events, datagrams, reports.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::Bytes;
use quinn_proto::EcnCodepoint;

use super::PeerId;
use crate::keys::PublicKey;

/// Why the transport cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The library refuses the keys.
    #[error("keys: {0}")]
    Keys(#[from] rustls::Error),
}

/// What has happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The streams to and from a peer are open, both at their beginning.
    Connected(PeerId),
    /// The next bytes of the stream from a peer.
    Bytes(PeerId, Bytes),
    /// There is more room for the stream to a peer than before.
    Writable(PeerId),
    /// Both streams are gone. The moment is the one at which the peer was heard last.
    Closed(PeerId, Closed, Instant),
    /// A connection with this address did not come about.
    Failed(PeerId, SocketAddr, Failure),
}

impl std::fmt::Display for Closed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Silent => "nothing was heard for too long",
            Self::Restarted => "the peer has restarted",
            Self::ByPeer => "the peer has ended it",
            Self::ByUs => "this node has ended it",
            Self::Replaced => "a newer connection has taken its place",
            Self::KeyStruck => "a key that was shown for it is not accepted any more",
            Self::Broken(why) => why,
        })
    }
}

/// Why a connection has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Closed {
    /// Nothing was heard for too long.
    Silent,
    /// The peer has restarted and knows nothing of it.
    Restarted,
    /// The peer ended it.
    ByPeer,
    /// This node ended it.
    ByUs,
    /// A newer connection of the same peer took its place.
    Replaced,
    /// A key has been changed: one that was shown when it began is not accepted any more.
    KeyStruck,
    /// It broke the rules of the protocol.
    Broken(String),
}

/// Why a connection did not come about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// No answer.
    Silent,
    /// The other end has none of the keys that are configured for it.
    WrongKey,
    /// The other end does not accept the key of this node.
    KeyRefused,
    /// The other end does not speak this dialect, or no version of it that is known here.
    OtherProtocol,
    /// Anything else.
    Other(String),
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Silent => "no answer",
            Self::WrongKey => "it has none of the keys that are configured for it",
            Self::KeyRefused => "it does not accept the key of this node",
            Self::OtherProtocol => "it does not speak this protocol",
            Self::Other(why) => why,
        })
    }
}

/// A datagram to send, or several of one size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// To.
    pub to: SocketAddr,
    /// The own address to send from, where it matters.
    pub from: Option<IpAddr>,
    /// Congestion marks.
    pub ecn: Option<EcnCodepoint>,
    /// Length of each datagram but the last, where there are several in the buffer.
    pub segment_len: Option<usize>,
}

/// What there is to tell of a peer's connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerReport {
    /// Address in use, or tried.
    pub address: Option<SocketAddr>,
    /// Its key, once it has shown it.
    pub key: Option<PublicKey>,
    /// Whether both streams are open.
    pub is_connected: bool,
    /// Round-trip time.
    pub round_trip: Duration,
    /// Bytes of datagrams sent, of all connections with this peer.
    pub sent_bytes: u64,
    /// Bytes of datagrams received.
    pub received_bytes: u64,
    /// Packets sent.
    pub sent_packets: u64,
    /// Packets that had to be sent again.
    pub lost_packets: u64,
    /// Connections that came about.
    pub connections: u64,
    /// Handshakes that failed.
    pub failures: u64,
}

/// What was not worth an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refusals {
    /// Datagrams from addresses that no peer has.
    pub strangers: u64,
    /// Datagrams of a peer's address that are not QUIC, as those of version 1 of the protocol.
    pub foreign: u64,
    /// First packets beyond what may be looked at.
    pub floods: u64,
    /// First packets that were answered by a demand for proof of address.
    pub retries: u64,
    /// First packets with proof, but with too many handshakes of that peer under way.
    pub crowded: u64,
}
