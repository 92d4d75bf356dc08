//! The synchronisation protocol between firewalls, version 1, byte for byte.
//!
//! A [`Packet`] is one message: header and body. [`decode`] reads the next one of a datagram or stream,
//! [`encode`] appends one. [`Frame`] packs messages into datagrams. It knows nothing of sequence
//! tracking, acknowledgements or caches.

#![forbid(unsafe_code)]

use flow::{Expectation, Flow};

/// Header flags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(pub u8);

impl Flags {
    /// Ask for everything.
    pub const RESYNC: Self = Self(0x02);
    /// These messages are missing.
    pub const NACK: Self = Self(0x04);
    /// These messages have arrived.
    pub const ACK: Self = Self(0x08);
    /// Nothing to say.
    pub const ALIVE: Self = Self(0x10);
    /// The sender has just started.
    pub const HELLO: Self = Self(0x20);
    /// The receiver knows that the sender has just started.
    pub const HELLO_BACK: Self = Self(0x40);
}

/// What a data message says about an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is new.
    New,
    /// It changed.
    Update,
    /// It is gone.
    Delete,
}

/// What a message carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::large_enum_variant)]
pub enum Body {
    /// A connection.
    Flow(Change, Flow),
    /// An expectation.
    Expectation(Change, Expectation),
    /// Control, meaning given by the flags; inclusive range for ACK and NACK, 0 and 0 for RESYNC.
    Control {
        /// First number.
        from: u32,
        /// Last number.
        to: u32,
    },
}

/// One message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Sequence number.
    pub seq: u32,
    /// Flags.
    pub flags: Flags,
    /// Body.
    pub body: Body,
}

/// How entries are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EncodeOptions {
    /// Send the remaining timeout (not with `CommitTimeout`).
    pub timeout: bool,
    /// Send TCP window scales (`TCPWindowTracking`).
    pub window_scale: bool,
}
