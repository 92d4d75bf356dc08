//! Text from outside, made safe to print.

/// Appends a name, each control character replaced by `?`: a peer must not be able to forge lines.
pub(crate) fn put_name(out: &mut Vec<u8>, name: &[u8]) {
    out.extend(
        name.iter()
            .map(|&b| if b.is_ascii_control() { b'?' } else { b }),
    );
}

/// Appends a name as XML text.
pub(crate) fn put_xml_name(out: &mut Vec<u8>, name: &[u8]) {
    for &byte in name {
        match byte {
            b'&' => out.extend_from_slice(b"&amp;"),
            b'<' => out.extend_from_slice(b"&lt;"),
            b'>' => out.extend_from_slice(b"&gt;"),
            b if b.is_ascii_control() => out.push(b'?'),
            b => out.push(b),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_can_neither_end_a_line_nor_open_an_element() {
        let mut out = Vec::new();
        put_name(&mut out, b"f\ntp");
        assert_eq!(out, b"f?tp");
        out.clear();
        put_xml_name(&mut out, b"<a&b>\n");
        assert_eq!(out, b"&lt;a&amp;b&gt;?");
    }
}
