//! Attributes: a borrowed iterator over them, and an emitter into a reused buffer.
//!
//! | offset | size | field | byte order |
//! | --- | --- | --- | --- |
//! | 0 | 2 | length, these four bytes included, padding not | host |
//! | 2 | 2 | number; 0x8000 nested, 0x4000 value in network order | host |
//! | 4 | length − 4 | value; numbers are big-endian | |
//!
//! Example, `CTA_STATUS` = 0x18e on a little-endian machine: `08 00 03 00 00 00 01 8e`.

use crate::{
    Header, ParseError,
    uapi::{NLA_F_NESTED, NLA_TYPE_MASK},
};

/// Length of an attribute's header.
pub const HEADER_LEN: usize = 4;

/// One attribute, borrowed from the message.
#[derive(Clone, Copy, Debug)]
pub struct Attr<'a> {
    /// Number, without the flag bits.
    pub kind: u16,
    /// What it holds, without padding.
    pub value: &'a [u8],
    /// Offset of the value's end in the message.
    end: usize,
}

/// The attributes of a message or of a nest. After an error it ends.
///
/// Up to three bytes behind the last attribute are padding and ignored.
#[derive(Clone, Debug)]
pub struct Attrs<'a> {
    rest: &'a [u8],
    /// Offset in the message where `rest` ends.
    end: usize,
}

impl<'a> Attrs<'a> {
    /// Attributes of `bytes`, which begin at `offset` of the message (for errors only).
    #[must_use]
    #[inline]
    pub fn new(bytes: &'a [u8], offset: usize) -> Self {
        Self {
            rest: bytes,
            end: offset.saturating_add(bytes.len()),
        }
    }

    #[cold]
    fn fail(&mut self, attr: u16, want: usize) -> ParseError {
        let got = self.rest.len();
        let offset = self.end.saturating_sub(got);
        self.rest = &[];
        ParseError::Length {
            attr,
            offset,
            got,
            want,
        }
    }
}

impl<'a> Iterator for Attrs<'a> {
    type Item = Result<Attr<'a>, ParseError>;

    #[inline(always)]
    fn next(&mut self) -> Option<Self::Item> {
        let (&[l0, l1, k0, k1], _) = self.rest.split_first_chunk::<HEADER_LEN>()?;
        let len = usize::from(u16::from_ne_bytes([l0, l1]));
        let kind = u16::from_ne_bytes([k0, k1]) & NLA_TYPE_MASK;
        let Some(value) = self.rest.get(HEADER_LEN..len) else {
            return Some(Err(self.fail(kind, len.max(HEADER_LEN))));
        };
        let end = self.end.saturating_sub(self.rest.len()).saturating_add(len);
        self.rest = self.rest.get(aligned(len)..).unwrap_or_default();
        Some(Ok(Attr { kind, value, end }))
    }
}

impl<'a> Attr<'a> {
    /// Offset of the value in the message.
    #[must_use]
    pub fn offset(&self) -> usize {
        self.end.saturating_sub(self.value.len())
    }

    /// The attributes inside.
    #[must_use]
    #[inline]
    pub fn nested(&self) -> Attrs<'a> {
        Attrs {
            rest: self.value,
            end: self.end,
        }
    }

    /// The first `N` bytes; longer values are accepted as the kernel accepts them.
    ///
    /// # Errors
    /// The value is shorter.
    #[inline(always)]
    pub fn array<const N: usize>(&self) -> Result<[u8; N], ParseError> {
        match self.value.first_chunk::<N>() {
            Some(bytes) => Ok(*bytes),
            None => Err(self.length_error(N)),
        }
    }

    /// A byte.
    ///
    /// # Errors
    /// The value is empty.
    #[inline(always)]
    pub fn u8(&self) -> Result<u8, ParseError> {
        self.array().map(u8::from_be_bytes)
    }

    /// A big-endian number of two bytes.
    ///
    /// # Errors
    /// The value is shorter.
    #[inline(always)]
    pub fn u16(&self) -> Result<u16, ParseError> {
        self.array().map(u16::from_be_bytes)
    }

    /// A big-endian number of four bytes.
    ///
    /// # Errors
    /// The value is shorter.
    #[inline(always)]
    pub fn u32(&self) -> Result<u32, ParseError> {
        self.array().map(u32::from_be_bytes)
    }

    /// A big-endian number of eight bytes.
    ///
    /// # Errors
    /// The value is shorter.
    #[inline(always)]
    pub fn u64(&self) -> Result<u64, ParseError> {
        self.array().map(u64::from_be_bytes)
    }

    /// The error for a value that should have had `want` bytes.
    #[must_use]
    #[cold]
    pub fn length_error(&self, want: usize) -> ParseError {
        ParseError::Length {
            attr: self.kind,
            offset: self.offset(),
            got: self.value.len(),
            want,
        }
    }
}

/// Rounds up to the four bytes that netlink aligns everything to.
#[inline(always)]
pub(crate) fn aligned(len: usize) -> usize {
    len.saturating_add(3) & !3
}

/// Bytes one message rarely exceeds; reserved at once so that emitting grows a buffer at most once.
const USUAL_MESSAGE_LEN: usize = 512;

/// Appends one message to a buffer: headers, then attributes, then [`Emitter::finish`].
///
/// Numbers are written big-endian. Nothing is allocated when the buffer has room.
#[derive(Debug)]
pub struct Emitter<'a> {
    buf: &'a mut Vec<u8>,
    start: usize,
}

/// A nest that has been opened and must be closed.
#[derive(Debug)]
#[must_use = "a nest that is not closed has no length"]
pub struct Nest {
    start: usize,
}

impl<'a> Emitter<'a> {
    /// Begins a message: netlink header (its length is filled in by [`Emitter::finish`]), family, version.
    #[must_use]
    pub fn new(buf: &'a mut Vec<u8>, header: Header, family: u8, version: u8) -> Self {
        buf.reserve(USUAL_MESSAGE_LEN);
        let start = buf.len();
        let [k0, k1] = header.kind.to_ne_bytes();
        let [f0, f1] = header.flags.to_ne_bytes();
        let [s0, s1, s2, s3] = header.seq.to_ne_bytes();
        let [p0, p1, p2, p3] = header.port_id.to_ne_bytes();
        buf.extend_from_slice(&[
            0, 0, 0, 0, k0, k1, f0, f1, s0, s1, s2, s3, p0, p1, p2, p3, family, version, 0, 0,
        ]);
        Self { buf, start }
    }

    /// Opens a nest.
    #[inline]
    pub fn nest(&mut self, kind: u16) -> Nest {
        let start = self.buf.len();
        let [k0, k1] = (kind | NLA_F_NESTED).to_ne_bytes();
        self.buf.extend_from_slice(&[0, 0, k0, k1]);
        Nest { start }
    }

    /// Closes a nest.
    #[inline]
    pub fn close(&mut self, nest: Nest) {
        let len = self.buf.len().saturating_sub(nest.start);
        let len = u16::try_from(len).unwrap_or(u16::MAX);
        if let Some(slot) = self
            .buf
            .get_mut(nest.start..)
            .and_then(|b| b.first_chunk_mut())
        {
            *slot = len.to_ne_bytes();
        }
    }

    /// A byte.
    #[inline]
    pub fn u8(&mut self, kind: u16, value: u8) {
        let ([l0, l1], [k0, k1]) = (5u16.to_ne_bytes(), kind.to_ne_bytes());
        self.buf
            .extend_from_slice(&[l0, l1, k0, k1, value, 0, 0, 0]);
    }

    /// Two bytes as they are.
    #[inline]
    pub fn pair(&mut self, kind: u16, [a, b]: [u8; 2]) {
        let ([l0, l1], [k0, k1]) = (6u16.to_ne_bytes(), kind.to_ne_bytes());
        self.buf.extend_from_slice(&[l0, l1, k0, k1, a, b, 0, 0]);
    }

    /// A number of two bytes.
    #[inline]
    pub fn u16(&mut self, kind: u16, value: u16) {
        self.pair(kind, value.to_be_bytes());
    }

    /// Four bytes as they are.
    #[inline]
    pub fn quad(&mut self, kind: u16, [a, b, c, d]: [u8; 4]) {
        let ([l0, l1], [k0, k1]) = (8u16.to_ne_bytes(), kind.to_ne_bytes());
        self.buf.extend_from_slice(&[l0, l1, k0, k1, a, b, c, d]);
    }

    /// A number of four bytes.
    #[inline]
    pub fn u32(&mut self, kind: u16, value: u32) {
        self.quad(kind, value.to_be_bytes());
    }

    /// A number of eight bytes.
    #[inline]
    pub fn u64(&mut self, kind: u16, value: u64) {
        self.bytes(kind, &value.to_be_bytes());
    }

    /// Any bytes, padded. Values too long for an attribute (65,532 bytes and more) are left out.
    #[inline]
    pub fn bytes(&mut self, kind: u16, value: &[u8]) {
        self.string(kind, value, &[]);
    }

    /// A name with its terminating NUL.
    pub fn name(&mut self, kind: u16, name: &[u8]) {
        self.string(kind, name, &[0]);
    }

    #[inline]
    fn string(&mut self, kind: u16, value: &[u8], end: &[u8]) {
        let value_len = value.len().saturating_add(end.len());
        let Ok(len) = u16::try_from(value_len.saturating_add(HEADER_LEN)) else {
            return;
        };
        let ([l0, l1], [k0, k1]) = (len.to_ne_bytes(), kind.to_ne_bytes());
        self.buf.extend_from_slice(&[l0, l1, k0, k1]);
        self.buf.extend_from_slice(value);
        self.buf.extend_from_slice(end);
        let padding = aligned(value_len).saturating_sub(value_len);
        self.buf
            .extend_from_slice([0; 3].get(..padding).unwrap_or_default());
    }

    /// Ends the message: fills in its length.
    pub fn finish(self) {
        let len = self.buf.len().saturating_sub(self.start);
        let len = u32::try_from(len).unwrap_or(u32::MAX);
        if let Some(slot) = self
            .buf
            .get_mut(self.start..)
            .and_then(|b| b.first_chunk_mut())
        {
            *slot = len.to_ne_bytes();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn emitted(fill: impl FnOnce(&mut Emitter<'_>)) -> Vec<u8> {
        let mut buf = Vec::new();
        let mut emitter = Emitter::new(&mut buf, Header::default(), 2, 0);
        fill(&mut emitter);
        emitter.finish();
        buf
    }

    #[test]
    fn what_is_emitted_is_read_back_with_nests_and_padding() {
        let bytes = emitted(|e| {
            let nest = e.nest(9);
            e.u64(1, 0x0102_0304_0506_0708);
            e.close(nest);
            e.name(5, b"ftp");
            e.u8(6, 7);
            e.bytes(7, b"12345");
        });
        assert_eq!(bytes.len(), 20 + 16 + 8 + 8 + 12);
        let attrs: Vec<_> = Attrs::new(&bytes[20..], 20).map(Result::unwrap).collect();
        let kinds: Vec<_> = attrs.iter().map(|a| (a.kind, a.offset())).collect();
        assert_eq!(kinds, [(9, 24), (5, 40), (6, 48), (7, 56)]);
        let inner = attrs[0].nested().next().unwrap().unwrap();
        assert_eq!((inner.kind, inner.offset()), (1, 28));
        assert_eq!(inner.u64(), Ok(0x0102_0304_0506_0708));
        assert_eq!(attrs[1].value, b"ftp\0");
        assert_eq!(attrs[2].u8(), Ok(7));
        assert_eq!(attrs[3].value, b"12345");
    }

    #[test]
    fn an_attribute_longer_than_the_rest_is_an_error_and_the_end() {
        let mut attrs = Attrs::new(&[9, 0, 3, 0, 1, 2, 3, 4], 20);
        assert_eq!(
            attrs.next().unwrap().unwrap_err(),
            ParseError::Length {
                attr: 3,
                offset: 20,
                got: 8,
                want: 9
            }
        );
        assert!(attrs.next().is_none());
    }

    #[test]
    fn an_attribute_shorter_than_its_header_is_an_error() {
        for len in 0..4 {
            let bytes = [len, 0, 3, 0, 1, 2, 3, 4];
            let mut attrs = Attrs::new(&bytes, 0);
            assert!(attrs.next().unwrap().is_err(), "{len}");
        }
    }

    #[test]
    fn a_short_value_is_an_error_and_a_long_one_is_cut() {
        let value = |value| Attr {
            kind: 8,
            value,
            end: 50,
        };
        assert_eq!(
            value(&[1, 2]).u32(),
            Err(ParseError::Length {
                attr: 8,
                offset: 48,
                got: 2,
                want: 4
            })
        );
        assert_eq!(value(&[0, 0, 1, 2, 9, 9]).u32(), Ok(0x102));
    }

    #[test]
    fn flag_bits_are_not_part_of_the_number() {
        let bytes = [4, 0, 0x09, 0xc0];
        assert_eq!(Attrs::new(&bytes, 0).next().unwrap().unwrap().kind, 9);
    }
}
