//! Messages into values.

mod entry;
mod expectation;
mod tuple;

use flow::{Expectation, Flow, Key};

use crate::{
    Message,
    uapi::{
        CTA_SECCTX, CTA_SECCTX_NAME, CTA_TUPLE_ORIG, CTA_ZONE, IPCTNL_MSG_CT_DELETE,
        IPCTNL_MSG_CT_NEW, IPCTNL_MSG_EXP_DELETE, IPCTNL_MSG_EXP_NEW, NLM_F_CREATE, NLMSG_DONE,
        NLMSG_ERROR,
    },
};

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
#[allow(clippy::large_enum_variant)]
pub enum Event {
    /// About a connection.
    Flow(EventKind, Flow),
    /// About an expectation.
    Expectation(EventKind, Expectation),
}

/// An answer to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::large_enum_variant)]
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
#[non_exhaustive]
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
    /// A datagram that ends before its message does, or a message too short for its headers.
    #[error("message of {got} bytes, expected {want}")]
    Message {
        /// Bytes found.
        got: usize,
        /// Bytes expected.
        want: usize,
    },
    /// An attribute without which the message means nothing is missing or incomplete.
    #[error("message of kind {kind:#x}: attribute {attr} is missing or incomplete")]
    Missing {
        /// The message's kind.
        kind: u16,
        /// Attribute number.
        attr: u16,
    },
}

/// Reads an event. `Ok(None)`: a message that is none (another subsystem, a control message).
///
/// # Errors
/// The message is shorter than its own lengths say, or lacks a tuple.
#[inline]
pub fn event(message: &Message<'_>) -> Result<Option<Event>, ParseError> {
    let kind = match message.header.kind {
        IPCTNL_MSG_CT_NEW | IPCTNL_MSG_EXP_NEW if message.header.flags & NLM_F_CREATE != 0 => {
            EventKind::New
        }
        IPCTNL_MSG_CT_NEW | IPCTNL_MSG_EXP_NEW => EventKind::Update,
        IPCTNL_MSG_CT_DELETE | IPCTNL_MSG_EXP_DELETE => EventKind::Destroy,
        _ => return Ok(None),
    };
    Ok(Some(
        if message.header.subsystem() == crate::uapi::NFNL_SUBSYS_CTNETLINK {
            Event::Flow(kind, entry::flow(message)?)
        } else {
            Event::Expectation(kind, expectation::expectation(message)?)
        },
    ))
}

/// Reads an answer.
///
/// # Errors
/// As [`event`].
#[inline]
pub fn reply(message: &Message<'_>) -> Result<Reply, ParseError> {
    Ok(match message.header.kind {
        IPCTNL_MSG_CT_NEW | IPCTNL_MSG_CT_DELETE => Reply::Flow(entry::flow(message)?),
        IPCTNL_MSG_EXP_NEW | IPCTNL_MSG_EXP_DELETE => {
            Reply::Expectation(expectation::expectation(message)?)
        }
        NLMSG_ERROR => match error_code(message) {
            Some(errno) => Reply::Verdict { errno },
            None => {
                return Err(ParseError::Message {
                    got: message.payload.len(),
                    want: 4,
                });
            }
        },
        NLMSG_DONE => Reply::Done {
            errno: error_code(message).unwrap_or(0),
        },
        _ => Reply::Other,
    })
}

/// Reads just the key of a conntrack message: enough to look up or filter.
///
/// # Errors
/// As [`event`].
pub fn original_tuple(message: &Message<'_>) -> Result<Key, ParseError> {
    let (mut tuple, mut zone, mut tuple_zone) = (None, None, None);
    for attr in message.attrs()? {
        let attr = attr?;
        match attr.kind {
            CTA_TUPLE_ORIG => {
                let parts = tuple::parts(attr)?;
                tuple = parts.tuple();
                tuple_zone = parts.zone;
            }
            CTA_ZONE => zone = Some(attr.u16()?),
            _ => {}
        }
    }
    let tuple = tuple.ok_or(ParseError::Missing {
        kind: message.header.kind,
        attr: CTA_TUPLE_ORIG,
    })?;
    let zone = zone.or(tuple_zone).unwrap_or(0);
    Ok(Key { tuple, zone })
}

/// The security context's name of a conntrack message, without its NUL.
#[must_use]
pub fn secctx<'a>(message: &Message<'a>) -> Option<&'a [u8]> {
    let find = |attrs: crate::attr::Attrs<'a>, kind| {
        attrs.filter_map(Result::ok).find(|attr| attr.kind == kind)
    };
    let context = find(message.attrs().ok()?, CTA_SECCTX)?;
    let name = find(context.nested(), CTA_SECCTX_NAME)?.value;
    name.split(|&byte| byte == 0).next()
}

/// The positive errno of an error message or of a dump's end.
fn error_code(message: &Message<'_>) -> Option<i32> {
    let code = i32::from_ne_bytes(*message.payload.first_chunk()?);
    Some(code.saturating_neg().max(0))
}
