//! Messages into values.

mod entry;
mod expectation;
mod tuple;

use flow::{Expectation, Flow, Key};

use crate::{
    Message,
    uapi::{
        CTA_SECCTX, CTA_SECCTX_NAME, CTA_TUPLE_ORIG, CTA_TUPLE_REPLY, CTA_ZONE,
        IPCTNL_MSG_CT_DELETE, IPCTNL_MSG_CT_NEW, IPCTNL_MSG_EXP_DELETE, IPCTNL_MSG_EXP_NEW,
        NFNL_SUBSYS_CTNETLINK, NLM_F_CREATE, NLMSG_DONE, NLMSG_ERROR,
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
    if message.header.subsystem() != NFNL_SUBSYS_CTNETLINK {
        let expectation = expectation::expectation(message)?;
        return Ok(Some(Event::Expectation(kind, expectation)));
    }
    let start = entry::start(message)?;
    let mut event = Ok(Some(Event::Flow(kind, start.flow())));
    if let Ok(Some(Event::Flow(_, flow))) = &mut event
        && let Err(error) = entry::fill(flow, start, message)
    {
        event = Err(error);
    }
    event
}

/// Reads an answer.
///
/// # Errors
/// As [`event`].
#[inline]
pub fn reply(message: &Message<'_>) -> Result<Reply, ParseError> {
    Ok(match message.header.kind {
        IPCTNL_MSG_CT_NEW | IPCTNL_MSG_CT_DELETE => {
            let start = entry::start(message)?;
            let mut reply = Ok(Reply::Flow(start.flow()));
            if let Ok(Reply::Flow(flow)) = &mut reply
                && let Err(error) = entry::fill(flow, start, message)
            {
                reply = Err(error);
            }
            return reply;
        }
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
    let missing = ParseError::Missing {
        kind: message.header.kind,
        attr: CTA_TUPLE_ORIG,
    };
    // Expectations use the same number for the tuple of their master.
    if message.header.subsystem() != NFNL_SUBSYS_CTNETLINK {
        return Err(missing);
    }
    let (mut tuple, mut zone, mut tuple_zone) = (None, None, None);
    for attr in message.attrs()? {
        let attr = attr?;
        match attr.kind {
            // Of two the first counts, as for [`event`].
            CTA_TUPLE_ORIG if tuple.is_none() => {
                let parts = tuple::parts(attr)?;
                tuple = parts.tuple();
                tuple_zone = parts.zone;
            }
            CTA_ZONE => zone = Some(attr.u16()?),
            // The kernel writes the tuples first, then the zone.
            CTA_TUPLE_REPLY => {}
            _ if tuple.is_some() => break,
            _ => {}
        }
    }
    let tuple = tuple.ok_or(missing)?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Header, attr::Emitter, emit, messages, uapi::CTA_STATUS};
    use flow::{Addrs, Expectation, L4, Status, Tuple, Zone};

    fn tuple() -> Tuple {
        Tuple {
            addrs: Addrs::new("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap()).unwrap(),
            proto: 17,
            l4: L4::Ports { src: 1, dst: 2 },
        }
    }

    fn only(bytes: &[u8]) -> Message<'_> {
        messages(bytes).next().unwrap().unwrap()
    }

    fn emitted(kind: u16, fill: impl FnOnce(&mut Emitter<'_>)) -> Vec<u8> {
        let mut buf = Vec::new();
        let header = Header {
            kind,
            ..Header::default()
        };
        let mut out = Emitter::new(&mut buf, header, 2, 0);
        fill(&mut out);
        out.finish();
        buf
    }

    #[test]
    fn a_flow_without_an_original_tuple_is_an_error() {
        let bytes = emitted(0x100, |out| {
            crate::write::tuple(out, CTA_TUPLE_REPLY, &tuple(), 0);
        });
        let missing = ParseError::Missing {
            kind: 0x100,
            attr: 1,
        };
        assert_eq!(event(&only(&bytes)), Err(missing));
        assert_eq!(reply(&only(&bytes)), Err(missing));
        assert_eq!(original_tuple(&only(&bytes)), Err(missing));
    }

    #[test]
    fn attributes_before_the_original_tuple_count() {
        let bytes = emitted(0x102, |out| {
            out.u16(CTA_ZONE, 5);
            out.u32(CTA_STATUS, 8);
            crate::write::tuple(out, CTA_TUPLE_ORIG, &tuple(), 0);
            out.u32(999, 1);
        });
        let Ok(Some(Event::Flow(EventKind::Destroy, flow))) = event(&only(&bytes)) else {
            panic!();
        };
        assert_eq!(flow.status, Some(Status(8)));
        assert_eq!(flow.zone, Zone::both(5));
        assert_eq!(original_tuple(&only(&bytes)), Ok(flow.key()));
    }

    #[test]
    fn of_two_original_tuples_the_first_counts() {
        let second = Tuple {
            proto: 6,
            ..tuple()
        };
        let bytes = emitted(0x100, |out| {
            crate::write::tuple(out, CTA_TUPLE_ORIG, &tuple(), 0);
            crate::write::tuple(out, CTA_TUPLE_ORIG, &second, 0);
        });
        let Ok(Some(Event::Flow(_, flow))) = event(&only(&bytes)) else {
            panic!();
        };
        assert_eq!(flow.orig, tuple());
        assert_eq!(original_tuple(&only(&bytes)), Ok(flow.key()));
    }

    #[test]
    fn an_expectation_has_no_key_of_its_own() {
        let mut buf = Vec::new();
        let expectation = Expectation::new(tuple(), tuple(), tuple());
        let header = Header::expectation_event(EventKind::New, 0);
        emit::expectation(&mut buf, header, &expectation);
        assert!(original_tuple(&only(&buf)).is_err());
    }

    #[test]
    fn verdicts_and_ends_have_positive_error_numbers() {
        let mut buf = Vec::new();
        emit::verdict(&mut buf, 4, 9, 17);
        emit::verdict(&mut buf, 5, 9, 0);
        emit::done(&mut buf, 6, 9, 0);
        emit::done(&mut buf, 7, 9, 4);
        let told: Vec<_> = messages(&buf)
            .map(Result::unwrap)
            .map(|m| (m.header.seq, reply(&m).unwrap()))
            .collect();
        assert_eq!(
            told,
            [
                (4, Reply::Verdict { errno: 17 }),
                (5, Reply::Verdict { errno: 0 }),
                (6, Reply::Done { errno: 0 }),
                (7, Reply::Done { errno: 4 })
            ]
        );
        assert_eq!(event(&only(&buf)), Ok(None));
    }

    #[test]
    fn messages_of_other_subsystems_are_no_events() {
        let bytes = emitted(0xa00, |_| {});
        assert_eq!(event(&only(&bytes)), Ok(None));
        assert_eq!(reply(&only(&bytes)), Ok(Reply::Other));
    }

    #[test]
    fn a_security_context_is_borrowed_without_its_nul() {
        let bytes = emitted(0x100, |out| {
            let nest = out.nest(CTA_SECCTX);
            out.name(CTA_SECCTX_NAME, b"system_u");
            out.close(nest);
        });
        assert_eq!(secctx(&only(&bytes)), Some(&b"system_u"[..]));
        assert_eq!(secctx(&only(&emitted(0x100, |_| {}))), None);
    }

    #[test]
    fn an_attribute_of_the_wrong_size_is_an_error_that_says_where() {
        let bytes = emitted(0x100, |out| {
            crate::write::tuple(out, CTA_TUPLE_ORIG, &tuple(), 0);
            out.u16(CTA_STATUS, 8);
        });
        let offset = bytes.len() - 4;
        assert_eq!(
            event(&only(&bytes)),
            Err(ParseError::Length {
                attr: CTA_STATUS,
                offset,
                got: 2,
                want: 4
            })
        );
    }
}
