//! Messages of the native dialect, to and from the bytes of an ordered stream.
//!
//! A message is an envelope and a body:
//!
//! | size | field |
//! |---|---|
//! | 1 | kind (upper three bits), length of the body (lower five bits; 31: the length follows) |
//! | 0–3 | length of the body, as a varint |
//! | length | body |
//!
//! Kinds: 0 a word of the session (the body begins with its number), 1 flow new, 2 flow update, 3 flow gone,
//! 4 expectation new, 5 expectation gone, 6 acknowledgement. What a receiver does not know, it skips: kinds,
//! words, and what follows the known part of a body. Numbers are varints of seven bits a byte, least
//! significant first; ports, addresses and hashes are in network byte order.
//!
//! An entry is named by its **handle**, the sender's number for it. Handles are told as the difference to the
//! handle told before in the same table and direction, so that both ends keep one number per table:
//! [`Encoder`] and [`Decoder`].
//!
//! Reading order: [`Message`], then `fields` (what of an entry is told), `entry` (tuples and entries), `word`
//! (the words of the session), `stream` (both ends).

mod entry;
mod expectation;
mod fields;
mod proto;
mod stream;
mod tuple;
mod wire;
mod word;

use flow::{Expectation, Flow};

pub use entry::{Changes, Usual, canonical_expectation, canonical_flow};
pub use fields::Fields;
pub use stream::{BODY_LEN_MAX, Decoder, Encoder, StreamError};
pub use wire::MessageError;
pub use word::{Capabilities, Hashes, Hello, Range, Resume, RoleWord, Table, Takeover, Word};

/// Version of the dialect, told in [`Hello`].
pub const VERSION: u8 = 1;

/// A message as it was read.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(clippy::large_enum_variant)]
pub enum Message<'a> {
    /// An entry under a handle, told whole. Whatever the handle meant before is gone.
    NewFlow {
        /// Handle.
        handle: u32,
        /// Entry.
        flow: Flow,
    },
    /// What changed of an entry.
    UpdateFlow {
        /// Handle.
        handle: u32,
        /// What changed.
        changes: Changes<'a>,
    },
    /// An entry has ended; its handle is vacant.
    GoneFlow {
        /// Handle.
        handle: u32,
    },
    /// An expectation under a handle, told whole, new or changed.
    NewExpectation {
        /// Handle.
        handle: u32,
        /// Expectation.
        expectation: Expectation,
    },
    /// An expectation has ended; its handle is vacant.
    GoneExpectation {
        /// Handle.
        handle: u32,
    },
    /// So many messages about entries (every kind above, and statements) of this stream have been applied.
    Ack {
        /// How many since the stream began.
        position: u64,
    },
    /// What stands under a handle, after doubt: the entry, or nothing.
    StatementFlow {
        /// Handle.
        handle: u32,
        /// Entry; `None`: the handle is vacant.
        flow: Option<Flow>,
    },
    /// The same of an expectation.
    StatementExpectation {
        /// Handle.
        handle: u32,
        /// Expectation; `None`: the handle is vacant.
        expectation: Option<Expectation>,
    },
    /// A connection of the node that this goes to, as it told it before it started anew. Given back for the asking,
    /// not counted, and lost with the stream.
    ReturnedFlow {
        /// Entry.
        flow: Flow,
    },
    /// The same of an expectation.
    ReturnedExpectation {
        /// Expectation.
        expectation: Expectation,
    },
    /// A word of the session.
    Word(Word<'a>),
    /// A kind or word of a later version; skipped.
    Unknown,
}

impl Message<'_> {
    /// Whether it counts for the position in the stream.
    #[must_use]
    pub fn is_entry(&self) -> bool {
        !matches!(
            self,
            Self::Ack { .. }
                | Self::ReturnedFlow { .. }
                | Self::ReturnedExpectation { .. }
                | Self::Word(_)
                | Self::Unknown
        )
    }
}
