//! Bytes of a peer into messages.

mod expectation;
mod flow;

use std::net::{Ipv4Addr, Ipv6Addr};

use ::flow::{Addrs, Expectation, Flow, L4, Name, Tuple};

use crate::message::{Body, Flags, HEADER_LEN, Kind, Packet, RANGE_LEN, VERSION};

/// How the bytes travelled: what is incomplete in a stream is broken in a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// One datagram, complete.
    Datagram,
    /// A piece of a stream; more may follow.
    Stream,
}

/// Why the rest of a datagram, or of a stream, cannot be split into messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FramingError {
    /// It ends inside a header.
    #[error("message cut short: {got} bytes, at least {want} expected")]
    Truncated {
        /// Bytes there are.
        got: usize,
        /// Bytes a header takes.
        want: usize,
    },
    /// The length field cannot be.
    #[error("message length {len} with {remaining} bytes left")]
    BadSize {
        /// Length field.
        len: usize,
        /// Bytes there are.
        remaining: usize,
    },
}

/// Why the payload of a message cannot be used. Nothing of the message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PayloadError {
    /// An attribute's length does not fit.
    #[error("attribute {attr}: {got} bytes, expected {want}")]
    Length {
        /// Attribute number.
        attr: u16,
        /// Payload bytes found.
        got: usize,
        /// Payload bytes expected, or allowed at most.
        want: usize,
    },
    /// A number beyond the last known attribute.
    #[error("unknown attribute {attr}")]
    Unknown {
        /// Attribute number.
        attr: u16,
    },
    /// Without it the entry has no identity.
    #[error("no {what}")]
    Missing {
        /// What is missing.
        what: &'static str,
    },
}

/// Why a well-framed message cannot be used, in the order of the checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// Another version of the protocol.
    #[error("version {version}, expected 1")]
    Version {
        /// Version found.
        version: u8,
    },
    /// A type that does not exist.
    #[error("unknown type {number}")]
    Kind {
        /// Type found.
        number: u8,
    },
    /// The payload cannot be used.
    #[error(transparent)]
    Payload(#[from] PayloadError),
}

/// What is at the start of some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split<'a> {
    /// A well-framed message, and the bytes behind it.
    Message(RawMessage<'a>, &'a [u8]),
    /// Nothing, or the beginning of a message whose end has not arrived (streams only).
    Incomplete,
    /// Nothing that could be split further.
    Bad(FramingError),
}

/// A well-framed message whose payload has not been looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawMessage<'a> {
    /// Protocol version.
    pub version: u8,
    /// Type, 0–15; see [`RawMessage::kind`].
    pub kind_number: u8,
    /// Flags.
    pub flags: Flags,
    /// Sequence number.
    pub seq: u32,
    /// Everything behind the header.
    pub body: &'a [u8],
}

/// Takes the first message off `bytes`. Call until nothing is left.
#[must_use]
pub fn split(bytes: &[u8], carrier: Carrier) -> Split<'_> {
    let remaining = bytes.len();
    if remaining == 0 {
        return Split::Incomplete;
    }
    let cut = |want| match carrier {
        Carrier::Stream => Split::Incomplete,
        Carrier::Datagram => Split::Bad(FramingError::Truncated {
            got: remaining,
            want,
        }),
    };
    let Some(&[first, flags, len_hi, len_lo, s0, s1, s2, s3]) = bytes.first_chunk() else {
        return cut(HEADER_LEN);
    };
    let len = usize::from(u16::from_be_bytes([len_hi, len_lo]));
    let bad_size = Split::Bad(FramingError::BadSize { len, remaining });
    if len == 0 {
        return bad_size;
    }
    let flags = Flags(flags);
    let kind_number = first & 0x0f;
    let shortest = if kind_number == Kind::Control.number() && flags.intersects(Flags::RANGED) {
        RANGE_LEN
    } else {
        HEADER_LEN
    };
    let Some((message, rest)) = bytes.split_at_checked(len) else {
        return match carrier {
            Carrier::Stream => Split::Incomplete,
            Carrier::Datagram => bad_size,
        };
    };
    if remaining < shortest {
        return cut(shortest);
    }
    if len < shortest {
        return bad_size;
    }
    let seq = u32::from_be_bytes([s0, s1, s2, s3]);
    let body = message.get(HEADER_LEN..).unwrap_or_default();
    Split::Message(
        RawMessage {
            version: first >> 4,
            kind_number,
            flags,
            seq,
            body,
        },
        rest,
    )
}

/// The original tuples of the connections that a datagram tells of, as far as they come first in its messages: for
/// looking ahead, not for deciding anything.
pub fn tuples(datagram: &[u8]) -> impl Iterator<Item = Tuple> {
    let mut rest = datagram;
    std::iter::from_fn(move || match split(rest, Carrier::Datagram) {
        Split::Message(message, behind) => {
            rest = behind;
            Some(message)
        }
        Split::Incomplete | Split::Bad(_) => None,
    })
    .filter(|message| matches!(message.kind(), Some(Kind::Flow(_))))
    .filter_map(|message| flow::first_tuple(message.body))
}

impl RawMessage<'_> {
    /// The type, if it is one that exists.
    #[must_use]
    pub fn kind(&self) -> Option<Kind> {
        Kind::from_number(self.kind_number)
    }

    /// The range of an ACK or NACK, both ends inclusive.
    #[must_use]
    pub fn range(&self) -> Option<(u32, u32)> {
        let from = u32::from_be_bytes(*self.body.first_chunk()?);
        let to = u32::from_be_bytes(*self.body.get(4..)?.first_chunk()?);
        Some((from, to))
    }

    /// The whole message, whatever its flags: which of them go with which type is the mode's business.
    ///
    /// # Errors
    /// It is of another version or type, or its payload cannot be used.
    pub fn packet(&self) -> Result<Packet, MessageError> {
        if self.version != VERSION {
            let version = self.version;
            return Err(MessageError::Version { version });
        }
        let number = self.kind_number;
        let body = match self.kind().ok_or(MessageError::Kind { number })? {
            Kind::Flow(change) => Body::Flow(change, self.flow()?),
            Kind::Expectation(change) => Body::Expectation(change, self.expectation()?),
            Kind::Control => {
                let ranged = self.flags.intersects(Flags::RANGED);
                let (from, to) = self.range().filter(|_| ranged).unwrap_or_default();
                Body::Control { from, to }
            }
        };
        Ok(Packet {
            seq: self.seq,
            flags: self.flags,
            body,
        })
    }

    /// The entry of a message about a connection.
    ///
    /// # Errors
    /// An attribute is unknown or of the wrong size, or addresses or protocol are missing.
    pub fn flow(&self) -> Result<Flow, PayloadError> {
        flow::decode(self.body)
    }

    /// The entry of a message about an expectation.
    ///
    /// # Errors
    /// As [`RawMessage::flow`].
    pub fn expectation(&self) -> Result<Expectation, PayloadError> {
        expectation::decode(self.body)
    }
}

/// One attribute.
#[derive(Clone, Copy, Debug)]
struct Attribute<'a> {
    number: u16,
    value: &'a [u8],
}

impl Attribute<'_> {
    /// The value, which must be of exactly this size.
    fn fixed<const N: usize>(&self) -> Result<[u8; N], PayloadError> {
        self.value.try_into().map_err(|_| self.wrong_length(N))
    }

    fn wrong_length(&self, want: usize) -> PayloadError {
        PayloadError::Length {
            attr: self.number,
            got: self.value.len(),
            want,
        }
    }

    fn u8(&self) -> Result<u8, PayloadError> {
        self.fixed::<1>().map(|[byte]| byte)
    }

    fn u16(&self) -> Result<u16, PayloadError> {
        self.fixed().map(u16::from_be_bytes)
    }

    /// The three values that the original swaps once too often.
    fn u16_swapped(&self) -> Result<u16, PayloadError> {
        self.fixed().map(u16::from_le_bytes)
    }

    fn u32(&self) -> Result<u32, PayloadError> {
        self.fixed().map(u32::from_be_bytes)
    }

    fn ports(&self) -> Result<L4, PayloadError> {
        let [s0, s1, d0, d1] = self.fixed()?;
        Ok(L4::Ports {
            src: u16::from_be_bytes([s0, s1]),
            dst: u16::from_be_bytes([d0, d1]),
        })
    }

    fn v4_pair(&self) -> Result<Addrs, PayloadError> {
        let bits = u64::from_be_bytes(self.fixed()?);
        let [s0, s1, s2, s3, d0, d1, d2, d3] = bits.to_be_bytes();
        Ok(Addrs::V4 {
            src: Ipv4Addr::new(s0, s1, s2, s3),
            dst: Ipv4Addr::new(d0, d1, d2, d3),
        })
    }

    fn v6_pair(&self) -> Result<Addrs, PayloadError> {
        let wrong = self.wrong_length(32);
        let (src, dst) = self.value.split_first_chunk::<16>().ok_or(wrong)?;
        let dst: [u8; 16] = dst.try_into().map_err(|_| wrong)?;
        Ok(Addrs::V6 {
            src: Ipv6Addr::from(*src),
            dst: Ipv6Addr::from(dst),
        })
    }
}

/// Calls `visit` for each attribute below `end`.
fn attributes(
    mut bytes: &[u8],
    end: u16,
    mut visit: impl FnMut(Attribute<'_>) -> Result<(), PayloadError>,
) -> Result<(), PayloadError> {
    // compat: up to four bytes behind the last attribute are ignored.
    while bytes.len() > 4 {
        let Some(&[l0, l1, n0, n1]) = bytes.first_chunk() else {
            return Ok(());
        };
        let len = usize::from(u16::from_be_bytes([l0, l1]));
        let number = u16::from_be_bytes([n0, n1]);
        let value = bytes.get(4..len).ok_or(PayloadError::Length {
            attr: number,
            got: bytes.len(),
            want: len,
        })?;
        if number >= end {
            return Err(PayloadError::Unknown { attr: number });
        }
        visit(Attribute { number, value })?;
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(())
}

/// A name, NUL or not, never read beyond the attribute; an empty one is none.
fn name<const N: usize>(a: Attribute<'_>, max: usize) -> Result<Option<Name<N>>, PayloadError> {
    let wrong = a.wrong_length(max);
    if a.value.len() > max {
        return Err(wrong);
    }
    let name = Name::new(a.value).ok_or(wrong)?;
    Ok((!name.as_bytes().is_empty()).then_some(name))
}

/// The parts of a tuple as they come in.
#[derive(Clone, Copy, Debug, Default)]
struct Parts {
    addrs: Option<Addrs>,
    proto: Option<u8>,
    l4: L4,
}

impl Parts {
    fn tuple(&self, what: &'static str) -> Result<Tuple, PayloadError> {
        let missing = PayloadError::Missing { what };
        let addrs = self.addrs.ok_or(missing)?;
        Ok(Tuple {
            addrs,
            proto: self.proto.ok_or(missing)?,
            l4: self.l4,
        })
    }
}
