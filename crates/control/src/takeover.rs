//! What follows the number of [`Request::TakeOver`](crate::Request::TakeOver): names of nodes.
//!
//! Four bytes, a length in host byte order, then so many bytes: names, each with a zero byte behind it.

/// Longest list, bytes: more than all names that a configuration may hold.
pub const NAMES_LEN_MAX: usize = 16 * 1024;

/// The names as they are sent, length included. `None`: they are longer than [`NAMES_LEN_MAX`], or have a zero byte in them.
#[must_use]
pub fn encode<S: AsRef<str>>(names: &[S]) -> Option<Vec<u8>> {
    let mut list = Vec::new();
    for name in names.iter().map(AsRef::as_ref) {
        if name.contains('\0') {
            return None;
        }
        list.extend_from_slice(name.as_bytes());
        list.push(0);
    }
    let len = u32::try_from(list.len()).ok()?;
    if list.len() > NAMES_LEN_MAX {
        return None;
    }
    let mut bytes = len.to_ne_bytes().to_vec();
    bytes.append(&mut list);
    Some(bytes)
}

/// How many bytes follow a length; `None` for more than is taken.
#[must_use]
pub fn len(bytes: [u8; 4]) -> Option<usize> {
    let len = usize::try_from(u32::from_ne_bytes(bytes)).ok()?;
    (len <= NAMES_LEN_MAX).then_some(len)
}

/// The names in what followed the length; `None` for what is no such list, or names nobody.
#[must_use]
pub fn decode(list: &[u8]) -> Option<Vec<&str>> {
    let list = std::str::from_utf8(list.strip_suffix(&[0])?).ok()?;
    Some(list.split('\0').collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_were_written_and_nothing_else_is_a_list() {
        let bytes = encode(&["fw1", "fw2"]).unwrap();
        let (length, list) = bytes.split_first_chunk().unwrap();
        assert_eq!(len(*length), Some(list.len()));
        assert_eq!(decode(list), Some(vec!["fw1", "fw2"]));
        for bytes in [&b""[..], b"fw1", b"\xff\0"] {
            assert_eq!(decode(bytes), None, "{bytes:?}");
        }
        assert_eq!(encode(&["a\0b"]), None);
        assert_eq!(encode(&["x".repeat(NAMES_LEN_MAX)]), None);
        assert_eq!(len(u32::MAX.to_ne_bytes()), None);
    }
}
