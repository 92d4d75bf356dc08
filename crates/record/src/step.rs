//! The format: a header, then steps.

use engine::{
    ClientId, Command, KernelSocket, LinkId, LinkState, LiveSettings, Origins, PeerId, Settings,
};
use serde::{Deserialize, Serialize};

/// How a file begins.
pub const MAGIC: &str = "conntrackd-recording ";

/// Of the steps. Changes whenever an old file would be read wrongly.
pub const VERSION: u8 = 2;

/// What the core was made with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// [`VERSION`].
    pub version: u8,
    /// Which program recorded. Another one may answer differently.
    pub program: String,
    /// [`engine::Start::unix_time_s`].
    pub unix_time_s: u32,
    /// [`engine::Start::seed`].
    pub seed: u64,
    /// [`engine::Start::origins`].
    pub origins: Origins,
    /// [`engine::Engine::new`].
    pub settings: Settings,
}

/// Most times that one [`Step::Polled`] stands for: replaying a step is a bounded piece of work.
pub const POLLED_MAX: u64 = 1024;

/// Nanoseconds since the step before; what is told in one turn may carry the time at which the turn began.
pub type Passed = i64;

/// Something that happened to a core.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step<'a> {
    /// It was asked for outputs so many times, [`POLLED_MAX`] at most.
    Polled(u64),
    /// So many outputs had been had, and this was the digest of all of them.
    Check {
        /// Outputs.
        outputs: u64,
        /// [`crate::digest::Digest`].
        digest: u64,
    },
    /// `begin`
    Begin,
    /// `handle_timeout`
    Timeout,
    /// `handle_events`
    #[serde(borrow)]
    Events(#[serde(with = "serde_bytes")] &'a [u8]),
    /// `handle_overrun`
    Overrun,
    /// `handle_kernel_reply`
    KernelReply(KernelSocket, #[serde(with = "serde_bytes")] &'a [u8]),
    /// `handle_kernel_overrun`
    KernelOverrun(KernelSocket),
    /// `handle_datagram`
    Datagram(LinkId, #[serde(with = "serde_bytes")] &'a [u8]),
    /// `handle_stream`
    Stream(LinkId, #[serde(with = "serde_bytes")] &'a [u8]),
    /// `handle_stream_closed`
    StreamClosed(LinkId),
    /// `handle_link`
    Link(LinkId, LinkState),
    /// `handle_command`
    Command(ClientId, Command),
    /// `reconfigure`
    Reconfigure(LiveSettings),
    /// `handle_peer_open`
    PeerOpen(PeerId),
    /// `handle_peer_bytes`
    PeerBytes(PeerId, #[serde(with = "serde_bytes")] &'a [u8]),
    /// `handle_peer_closed`, so many nanoseconds after the peer was heard last
    PeerClosed(PeerId, u64),
    /// `set_peer_room`
    PeerRoom(PeerId, u64),
    /// Nothing more was recorded.
    End(End),
}

impl Step<'_> {
    /// Kinds of steps, by [`kind`](Self::kind).
    pub const KINDS: [&'static str; 19] = [
        "polled",
        "check",
        "begin",
        "timeout",
        "events",
        "overrun",
        "kernel reply",
        "kernel overrun",
        "datagram",
        "stream",
        "stream closed",
        "link",
        "command",
        "reconfigure",
        "peer open",
        "peer bytes",
        "peer closed",
        "peer room",
        "end",
    ];

    /// Position of its name in [`KINDS`](Self::KINDS).
    #[must_use]
    pub fn kind(&self) -> usize {
        match self {
            Self::Polled(_) => 0,
            Self::Check { .. } => 1,
            Self::Begin => 2,
            Self::Timeout => 3,
            Self::Events(_) => 4,
            Self::Overrun => 5,
            Self::KernelReply(..) => 6,
            Self::KernelOverrun(_) => 7,
            Self::Datagram(..) => 8,
            Self::Stream(..) => 9,
            Self::StreamClosed(_) => 10,
            Self::Link(..) => 11,
            Self::Command(..) => 12,
            Self::Reconfigure(_) => 13,
            Self::PeerOpen(_) => 14,
            Self::PeerBytes(..) => 15,
            Self::PeerClosed(..) => 16,
            Self::PeerRoom(..) => 17,
            Self::End(_) => 18,
        }
    }

    /// Bytes of kernel or peers that it carries.
    #[must_use]
    pub fn carried(&self) -> &[u8] {
        match self {
            Self::Events(bytes)
            | Self::KernelReply(_, bytes)
            | Self::Datagram(_, bytes)
            | Self::Stream(_, bytes)
            | Self::PeerBytes(_, bytes) => bytes,
            _ => &[],
        }
    }
}

/// Why a recording ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum End {
    /// The daemon was told to end.
    Stopped,
    /// It has become as long as it may be. The daemon went on.
    Full,
}
