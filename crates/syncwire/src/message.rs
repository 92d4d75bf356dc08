//! What a message is about: its type and flags.

use std::ops::{BitOr, BitOrAssign};

use flow::{Expectation, Flow};

/// The protocol's version.
pub const VERSION: u8 = 1;

/// Length of the header.
pub const HEADER_LEN: usize = 8;

/// Length of a control message with a range.
pub const RANGE_LEN: usize = 16;

/// Header flags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
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

    /// Flags of control messages that carry a range.
    pub const RANGED: Self = Self(0x02 | 0x04 | 0x08);
    /// Flags that may ride on any message.
    pub const HANDSHAKE: Self = Self(0x20 | 0x40);

    /// Whether all bits of `other` are set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether any bit of `other` is set.
    #[must_use]
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// These flags without those of `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether no flag is set.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl BitOr for Flags {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for Flags {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

/// What a data message says about an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Change {
    /// It is new.
    New,
    /// It changed.
    Update,
    /// It is gone.
    Delete,
}

/// Type of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// About a connection.
    Flow(Change),
    /// About an expectation.
    Expectation(Change),
    /// Between the daemons.
    Control,
}

impl Kind {
    /// The type with this number, if there is one.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::Flow(Change::New),
            1 => Self::Flow(Change::Update),
            2 => Self::Flow(Change::Delete),
            3 => Self::Expectation(Change::New),
            4 => Self::Expectation(Change::Update),
            5 => Self::Expectation(Change::Delete),
            10 => Self::Control,
            _ => return None,
        })
    }

    /// Its number on the wire.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Flow(Change::New) => 0,
            Self::Flow(Change::Update) => 1,
            Self::Flow(Change::Delete) => 2,
            Self::Expectation(Change::New) => 3,
            Self::Expectation(Change::Update) => 4,
            Self::Expectation(Change::Delete) => 5,
            Self::Control => 10,
        }
    }
}

/// What a message carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::large_enum_variant)]
pub enum Body {
    /// A connection.
    Flow(Change, Flow),
    /// An expectation.
    Expectation(Change, Expectation),
    /// Control, meaning given by the flags; inclusive range for ACK and NACK, else 0 and 0.
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
