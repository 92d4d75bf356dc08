//! Netlink messages in a datagram.

use crate::ParseError;

/// The netlink header, host byte order on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

/// One message: its header and what follows it.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// Header.
    pub header: Header,
    /// Everything behind the netlink header.
    pub payload: &'a [u8],
}

/// The messages of one datagram.
#[derive(Clone, Debug)]
pub struct Messages<'a> {
    rest: &'a [u8],
}

/// Splits a datagram into its messages. After an error the iterator ends.
#[must_use]
pub fn messages(datagram: &[u8]) -> Messages<'_> {
    Messages { rest: datagram }
}

impl<'a> Iterator for Messages<'a> {
    type Item = Result<Message<'a>, ParseError>;

    fn next(&mut self) -> Option<Self::Item> {
        let _ = self.rest;
        todo!()
    }
}
