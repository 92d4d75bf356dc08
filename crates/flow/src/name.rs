//! Short names held in place.

use std::fmt;

/// A name of at most `N` bytes without its terminating NUL; never holds a NUL.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Name<const N: usize> {
    bytes: [u8; N],
    len: u8,
}

/// Name of a connection helper. The kernel allows 15 characters and a NUL.
pub type HelperName = Name<15>;

/// Name of the function an expectation calls. The kernel allows 31 characters and a NUL.
pub type FunctionName = Name<31>;

impl<const N: usize> Name<N> {
    /// Takes the bytes up to the first NUL; `None` when they are more than `N`.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.split(|&b| b == 0).next().unwrap_or_default();
        let mut name = Self {
            bytes: [0; N],
            len: u8::try_from(bytes.len()).ok()?,
        };
        name.bytes.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(name)
    }

    /// The bytes, without a NUL.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }
}

impl<const N: usize> fmt::Display for Name<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&String::from_utf8_lossy(self.as_bytes()))
    }
}

impl<const N: usize> fmt::Debug for Name<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(self.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_ends_at_its_nul_and_is_refused_when_too_long() {
        assert_eq!(HelperName::new(b"ftp\0\0\0").unwrap().as_bytes(), b"ftp");
        assert_eq!(HelperName::new(b"").unwrap().as_bytes(), b"");
        assert!(HelperName::new(b"0123456789abcde").is_some());
        assert!(HelperName::new(b"0123456789abcdef").is_none());
    }
}
