//! Netlink messages in a datagram.
//!
//! | offset | size | field | byte order |
//! | --- | --- | --- | --- |
//! | 0 | 4 | length, this header included | host |
//! | 4 | 2 | kind: subsystem in the high byte, message in the low one | host |
//! | 6 | 2 | flags | host |
//! | 8 | 4 | sequence number | host |
//! | 12 | 4 | port id | host |
//! | 16 | 1 | address family | |
//! | 17 | 1 | version | |
//! | 18 | 2 | resource: the CPU in per-CPU statistics | big-endian |
//! | 20 | | attributes | |
//!
//! Example, the headers of a NEW event of IPv4 on a little-endian machine:
//! `d4 00 00 00 00 01 00 06 00 00 00 00 92 10 00 00 02 00 00 00`.

use crate::{ParseError, attr::Attrs, attr::aligned};

/// Length of the netlink header.
pub const HEADER_LEN: usize = 16;
/// Length of family, version and resource, which follow the netlink header.
pub const FAMILY_LEN: usize = 4;
/// Where the attributes begin in a message.
pub const ATTRS_OFFSET: usize = 20;

/// The netlink header, host byte order on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// Length of the message, header included.
    pub len: u32,
    /// Subsystem in the high byte, message in the low one.
    pub kind: u16,
    /// `NLM_F_*`.
    pub flags: u16,
    /// Number of the request that is answered; 0 in events.
    pub seq: u32,
    /// Port id of the socket that caused the message; 0 is the kernel.
    pub port_id: u32,
}

impl Header {
    /// Subsystem, the high byte of the kind.
    #[must_use]
    pub const fn subsystem(&self) -> u16 {
        self.kind >> 8
    }
}

/// One message: its header and what follows it.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// Header.
    pub header: Header,
    /// Everything behind the netlink header.
    pub payload: &'a [u8],
}

impl<'a> Message<'a> {
    /// The netfilter family byte (`AF_INET`, `AF_INET6`, 0).
    #[must_use]
    pub fn family(&self) -> Option<u8> {
        self.payload.first().copied()
    }

    /// The resource field: the CPU in per-CPU statistics.
    #[must_use]
    pub fn resource(&self) -> Option<u16> {
        let bytes = self.payload.get(2..)?.first_chunk()?;
        Some(u16::from_be_bytes(*bytes))
    }

    /// The attributes.
    ///
    /// # Errors
    /// The message ends before them.
    #[inline]
    pub fn attrs(&self) -> Result<Attrs<'a>, ParseError> {
        match self.payload.get(FAMILY_LEN..) {
            Some(bytes) => Ok(Attrs::new(bytes, ATTRS_OFFSET)),
            None => Err(ParseError::Message {
                got: self.payload.len().saturating_add(HEADER_LEN),
                want: ATTRS_OFFSET,
            }),
        }
    }
}

/// The messages of one datagram.
#[derive(Clone, Debug)]
pub struct Messages<'a> {
    rest: &'a [u8],
}

/// Splits a datagram into its messages. After an error the iterator ends.
#[must_use]
#[inline]
pub fn messages(datagram: &[u8]) -> Messages<'_> {
    Messages { rest: datagram }
}

impl<'a> Iterator for Messages<'a> {
    type Item = Result<Message<'a>, ParseError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let Some(header) = header(self.rest) else {
            return Some(Err(self.fail(HEADER_LEN)));
        };
        let len = usize::try_from(header.len).unwrap_or(usize::MAX);
        let Some(payload) = self.rest.get(HEADER_LEN..len) else {
            return Some(Err(self.fail(len.max(HEADER_LEN))));
        };
        self.rest = self.rest.get(aligned(len)..).unwrap_or_default();
        Some(Ok(Message { header, payload }))
    }
}

impl Messages<'_> {
    #[cold]
    fn fail(&mut self, want: usize) -> ParseError {
        let got = self.rest.len();
        self.rest = &[];
        ParseError::Message { got, want }
    }
}

#[inline]
fn header(bytes: &[u8]) -> Option<Header> {
    let &[
        l0,
        l1,
        l2,
        l3,
        k0,
        k1,
        f0,
        f1,
        s0,
        s1,
        s2,
        s3,
        p0,
        p1,
        p2,
        p3,
    ] = bytes.first_chunk::<HEADER_LEN>()?;
    Some(Header {
        len: u32::from_ne_bytes([l0, l1, l2, l3]),
        kind: u16::from_ne_bytes([k0, k1]),
        flags: u16::from_ne_bytes([f0, f1]),
        seq: u32::from_ne_bytes([s0, s1, s2, s3]),
        port_id: u32::from_ne_bytes([p0, p1, p2, p3]),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attr::Emitter;

    fn batch(count: u32) -> Vec<u8> {
        let mut buf = Vec::new();
        for seq in 0..count {
            let header = Header {
                kind: 0x101,
                seq,
                port_id: 77,
                ..Header::default()
            };
            let mut emitter = Emitter::new(&mut buf, header, 2, 0);
            emitter.u32(8, seq);
            emitter.finish();
        }
        buf
    }

    #[test]
    fn a_datagram_is_split_into_its_messages() {
        let buf = batch(3);
        let seqs: Vec<_> = messages(&buf)
            .map(|m| m.map(|m| (m.header.seq, m.header.len, m.payload.len())))
            .collect();
        assert_eq!(seqs, [Ok((0, 28, 12)), Ok((1, 28, 12)), Ok((2, 28, 12))]);
    }

    #[test]
    fn a_cut_message_is_an_error_and_the_end() {
        let buf = batch(2);
        for cut in 1..28 {
            let mut all = messages(&buf[..buf.len() - cut]);
            assert!(all.next().unwrap().is_ok());
            assert!(all.next().unwrap().is_err(), "{cut}");
            assert!(all.next().is_none());
        }
    }

    #[test]
    fn a_length_below_the_header_is_an_error() {
        let mut buf = batch(1);
        buf[0] = 15;
        assert_eq!(
            messages(&buf).next().unwrap().unwrap_err(),
            ParseError::Message { got: 28, want: 16 }
        );
    }
}
