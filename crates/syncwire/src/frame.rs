//! Messages into datagrams, and pieces of a stream into messages.

/// Packs messages until a datagram is full.
///
/// A message is appended while the sum stays below the limit, as the original does: with an MTU of
/// 1500 the largest UDP payload is 1468 bytes.
#[derive(Debug)]
pub struct Frame {
    bytes: Vec<u8>,
    limit: usize,
    /// Length of the datagram that is complete; what lies behind it belongs to the next.
    sealed: usize,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// It is in the datagram; more may fit.
    Packed,
    /// It starts the next datagram; the one before is complete: send [`Frame::sealed`], then
    /// [`Frame::advance`].
    Sealed,
    /// It can never fit and was dropped.
    TooLong,
}

impl Frame {
    /// A frame for datagrams of less than `limit` bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            bytes: Vec::with_capacity(limit.saturating_add(512)),
            limit,
            sealed: 0,
        }
    }

    /// Appends the message that `encode` writes. Must not be called while a datagram is sealed.
    pub fn push(&mut self, encode: impl FnOnce(&mut Vec<u8>)) -> Pushed {
        debug_assert_eq!(self.sealed, 0, "a sealed datagram waits to be sent");
        let start = self.bytes.len();
        encode(&mut self.bytes);
        let end = self.bytes.len();
        if end.saturating_sub(start) >= self.limit {
            self.bytes.truncate(start);
            return Pushed::TooLong;
        }
        if end < self.limit {
            return Pushed::Packed;
        }
        self.sealed = start;
        Pushed::Sealed
    }

    /// Completes the datagram with what there is. Returns whether there is anything.
    pub fn seal(&mut self) -> bool {
        if self.sealed == 0 {
            self.sealed = self.bytes.len();
        }
        self.sealed > 0
    }

    /// The datagram that is complete; empty if none is.
    #[must_use]
    pub fn sealed(&self) -> &[u8] {
        self.bytes.get(..self.sealed).unwrap_or_default()
    }

    /// Drops the datagram that was sent.
    pub fn advance(&mut self) {
        self.bytes.drain(..self.sealed);
        self.sealed = 0;
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

/// What a stream left incomplete. A message is at most 65535 bytes, and so is this.
#[derive(Debug, Default)]
pub struct StreamBuffer {
    bytes: Vec<u8>,
}

impl StreamBuffer {
    /// Appends a piece and hands out all that waits; `take` returns how much of it was used.
    pub fn feed(&mut self, piece: &[u8], take: impl FnOnce(&[u8]) -> usize) {
        if self.bytes.is_empty() {
            let used = take(piece);
            self.bytes
                .extend_from_slice(piece.get(used..).unwrap_or_default());
        } else {
            self.bytes.extend_from_slice(piece);
            let used = take(&self.bytes).min(self.bytes.len());
            self.bytes.drain(..used);
        }
    }

    /// Forgets what is incomplete: the stream has ended.
    pub fn reset(&mut self) {
        self.bytes.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(frame: &mut Frame, len: usize) -> Pushed {
        frame.push(|buf| buf.extend(std::iter::repeat_n(7, len)))
    }

    #[test]
    fn nineteen_messages_of_76_bytes_fit_an_ethernet_frame() {
        let mut frame = Frame::new(1472);
        for _ in 0..19 {
            assert_eq!(push(&mut frame, 76), Pushed::Packed);
        }
        assert_eq!(push(&mut frame, 76), Pushed::Sealed);
        assert_eq!(frame.sealed().len(), 1444);
        frame.advance();
        assert!(frame.seal());
        assert_eq!(frame.sealed().len(), 76);
        frame.advance();
        assert!(!frame.seal());
    }

    #[test]
    fn a_message_that_never_fits_is_dropped_and_costs_nothing_else() {
        let mut frame = Frame::new(100);
        assert_eq!(push(&mut frame, 50), Pushed::Packed);
        assert_eq!(push(&mut frame, 100), Pushed::TooLong);
        assert_eq!(push(&mut frame, 49), Pushed::Packed);
        assert!(frame.seal());
        assert_eq!(frame.sealed().len(), 99);
    }

    #[test]
    fn a_stream_keeps_what_is_incomplete_until_it_ends() {
        let mut buffer = StreamBuffer::default();
        buffer.feed(b"abc", |bytes| {
            assert_eq!(bytes, b"abc");
            2
        });
        buffer.feed(b"def", |bytes| {
            assert_eq!(bytes, b"cdef");
            0
        });
        buffer.reset();
        buffer.feed(b"x", |bytes| {
            assert_eq!(bytes, b"x");
            1
        });
    }
}
