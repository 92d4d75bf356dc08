//! Numbers to and from bytes.

/// Why the body of a message cannot be used. The stream goes on behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// It ends before everything it must hold.
    #[error("message cut short at {what}")]
    Truncated {
        /// What was read last.
        what: &'static str,
    },
    /// A value that cannot be.
    #[error("{what} cannot be {value}")]
    Value {
        /// Field.
        what: &'static str,
        /// What it said.
        value: u64,
    },
}

/// What is left of a body.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(rest: &'a [u8]) -> Self {
        Self { rest }
    }

    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    #[inline]
    pub(super) fn bytes<const N: usize>(
        &mut self,
        what: &'static str,
    ) -> Result<[u8; N], MessageError> {
        let (value, rest) = self
            .rest
            .split_first_chunk::<N>()
            .ok_or(MessageError::Truncated { what })?;
        self.rest = rest;
        Ok(*value)
    }

    pub(super) fn slice(
        &mut self,
        len: usize,
        what: &'static str,
    ) -> Result<&'a [u8], MessageError> {
        let (value, rest) = self
            .rest
            .split_at_checked(len)
            .ok_or(MessageError::Truncated { what })?;
        self.rest = rest;
        Ok(value)
    }

    #[inline]
    pub(super) fn u8(&mut self, what: &'static str) -> Result<u8, MessageError> {
        Ok(u8::from_be_bytes(self.bytes(what)?))
    }

    pub(super) fn u16(&mut self, what: &'static str) -> Result<u16, MessageError> {
        Ok(u16::from_be_bytes(self.bytes(what)?))
    }

    pub(super) fn u32(&mut self, what: &'static str) -> Result<u32, MessageError> {
        Ok(u32::from_be_bytes(self.bytes(what)?))
    }

    pub(super) fn u64(&mut self, what: &'static str) -> Result<u64, MessageError> {
        Ok(u64::from_be_bytes(self.bytes(what)?))
    }

    /// Most numbers fit into one byte.
    #[inline]
    pub(super) fn var64(&mut self, what: &'static str) -> Result<u64, MessageError> {
        if let Some((&byte, rest)) = self.rest.split_first()
            && byte & 0x80 == 0
        {
            self.rest = rest;
            return Ok(u64::from(byte));
        }
        self.long_var64(what)
    }

    fn long_var64(&mut self, what: &'static str) -> Result<u64, MessageError> {
        let mut value = 0u64;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = self.u8(what)?;
            let bits = u64::from(byte & 0x7f);
            // The tenth byte has room for one bit.
            if shift == 63 && bits > 1 {
                break;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(MessageError::Value { what, value })
    }

    #[inline]
    pub(super) fn var32(&mut self, what: &'static str) -> Result<u32, MessageError> {
        let value = self.var64(what)?;
        u32::try_from(value).map_err(|_| MessageError::Value { what, value })
    }

    pub(super) fn var16(&mut self, what: &'static str) -> Result<u16, MessageError> {
        let value = self.var64(what)?;
        u16::try_from(value).map_err(|_| MessageError::Value { what, value })
    }
}

/// Appends a varint.
pub(super) fn put_var(buf: &mut Vec<u8>, value: impl Into<u64>) {
    let mut value = value.into();
    while value >= 0x80 {
        buf.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    buf.push(value as u8);
}

/// Appends words in network byte order.
pub(super) fn put_words(buf: &mut Vec<u8>, words: &[u32]) {
    for word in words {
        buf.extend_from_slice(&word.to_be_bytes());
    }
}

pub(super) fn impossible(what: &'static str, value: impl Into<u64>) -> MessageError {
    MessageError::Value {
        what,
        value: value.into(),
    }
}

/// A difference as a small number, whatever its sign.
pub(super) fn zigzag(delta: i32) -> u32 {
    ((delta << 1) ^ (delta >> 31)).cast_unsigned()
}

/// The difference again.
pub(super) fn unzigzag(value: u32) -> i32 {
    (value >> 1).cast_signed() ^ (value & 1).cast_signed().wrapping_neg()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_varint_comes_back(value in any::<u64>(), shift in 0u32..64) {
            let value = value >> shift;
            let mut buf = Vec::new();
            put_var(&mut buf, value);
            let mut reader = Reader::new(&buf);
            prop_assert_eq!(reader.var64("it"), Ok(value));
            prop_assert!(reader.rest().is_empty());
        }

        #[test]
        fn a_difference_comes_back(delta in any::<i32>()) {
            prop_assert_eq!(unzigzag(zigzag(delta)), delta);
        }
    }

    #[test]
    fn a_varint_of_more_than_64_bits_is_refused() {
        let mut reader = Reader::new(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2]);
        assert!(matches!(
            reader.var64("it"),
            Err(MessageError::Value { .. })
        ));
        let mut reader = Reader::new(&[0x80; 11]);
        assert!(reader.var64("it").is_err());
    }
}
