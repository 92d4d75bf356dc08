//! Messages into values.

use flow::{Expectation, Flow};

use crate::Message;

/// What happened to an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// Created.
    New,
    /// Changed.
    Update,
    /// Gone.
    Destroy,
}

/// A multicast message of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// About a connection.
    Flow(EventKind, Flow),
    /// About an expectation.
    Expectation(EventKind, Expectation),
}

/// An answer to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// An entry, from a dump or a get.
    Flow(Flow),
    /// An expectation, from a dump or a get.
    Expectation(Expectation),
    /// The verdict on the request with the header's number; `errno` is 0 for success.
    Verdict {
        /// Positive errno, 0 for success.
        errno: i32,
    },
    /// The end of a dump; `errno` is 0 unless it failed half-way.
    Done {
        /// Positive errno, 0 for success.
        errno: i32,
    },
    /// Something else, skipped.
    Other,
}

/// Why a message could not be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// A length that does not fit.
    #[error("attribute {attr} at offset {offset}: {got} bytes, expected {want}")]
    Length {
        /// Attribute number.
        attr: u16,
        /// Offset in the message.
        offset: usize,
        /// Bytes found.
        got: usize,
        /// Bytes expected.
        want: usize,
    },
}

/// Reads an event. `Ok(None)`: a message that is none (another subsystem, a control message).
///
/// # Errors
/// The message is shorter than its own lengths say, or lacks a tuple.
pub fn event(_message: &Message<'_>) -> Result<Option<Event>, ParseError> {
    todo!()
}

/// Reads an answer.
///
/// # Errors
/// As [`event`].
pub fn reply(_message: &Message<'_>) -> Result<Reply, ParseError> {
    todo!()
}
