//! Numbers and addresses as text, without the detour over the formatting machinery.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Appends a decimal number.
pub fn decimal(out: &mut Vec<u8>, number: impl Into<u64>) {
    let mut rest = number.into();
    let mut digits = [0; 20];
    let mut start = digits.len();
    for slot in digits.iter_mut().rev() {
        // A remainder of ten is a digit.
        *slot = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        start -= 1;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(start..).unwrap_or_default());
}

/// Appends a hexadecimal number, in lower case and without leading zeros.
pub fn hexadecimal(out: &mut Vec<u8>, number: u16) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut begun = false;
    for shift in [12, 8, 4, 0] {
        let digit = usize::from(number >> shift & 0xf);
        begun |= digit != 0 || shift == 0;
        if begun {
            out.push(DIGITS.get(digit).copied().unwrap_or(b'0'));
        }
    }
}

/// Appends a decimal number of at least `width` characters, filled with `fill` on the left.
pub fn padded(out: &mut Vec<u8>, number: impl Into<u64>, width: usize, fill: u8) {
    let start = out.len();
    decimal(out, number);
    let len = out.len() - start;
    if len < width {
        out.resize(start + width, fill);
        out.get_mut(start..)
            .unwrap_or_default()
            .rotate_right(width - len);
        out.get_mut(start..start + width - len)
            .unwrap_or_default()
            .fill(fill);
    }
}

/// Appends a word, filled with blanks to `width` on the right.
pub fn word(out: &mut Vec<u8>, word: &str, width: usize) {
    out.extend_from_slice(word.as_bytes());
    let end = out.len() + width.saturating_sub(word.len());
    out.resize(end, b' ');
}

/// Appends an address as `inet_ntop` writes it.
pub fn address(out: &mut Vec<u8>, addr: IpAddr) {
    match addr {
        IpAddr::V4(addr) => ipv4(out, addr),
        IpAddr::V6(addr) => ipv6(out, addr),
    }
}

#[inline]
fn ipv4(out: &mut Vec<u8>, addr: Ipv4Addr) {
    for (number, octet) in addr.octets().into_iter().enumerate() {
        if number > 0 {
            out.push(b'.');
        }
        let (hundreds, tens, ones) = (octet / 100, octet / 10 % 10, octet % 10);
        if hundreds > 0 {
            out.push(b'0' + hundreds);
        }
        if hundreds > 0 || tens > 0 {
            out.push(b'0' + tens);
        }
        out.push(b'0' + ones);
    }
}

fn ipv6(out: &mut Vec<u8>, addr: Ipv6Addr) {
    let groups = addr.segments();
    let gap = longest_zeros(&groups);
    let embedded = match (gap, groups) {
        // ::a.b.c.d and ::ffff:a.b.c.d
        ((0, 6), _) | ((0, 5), [_, _, _, _, _, 0xffff, _, _]) => 6,
        _ => 8,
    };
    let (start, len) = gap;
    let mut at = 0;
    while at < embedded {
        if at == start && len > 1 {
            out.extend_from_slice(b"::");
            at += len;
            continue;
        }
        if at > 0 && (at != start + len || len <= 1) {
            out.push(b':');
        }
        hexadecimal(out, groups.get(at).copied().unwrap_or(0));
        at += 1;
    }
    if embedded == 6 {
        if len == 5 {
            out.push(b':');
        }
        let [.., a, b, c, d] = addr.octets();
        ipv4(out, Ipv4Addr::new(a, b, c, d));
    }
}

/// Where the first of the longest runs of zero groups is, and its length; runs of one do not count.
fn longest_zeros(groups: &[u16; 8]) -> (usize, usize) {
    let (mut best, mut run) = ((0, 0), (0, 0));
    for (at, &group) in groups.iter().enumerate() {
        if group != 0 {
            run = (at + 1, 0);
            continue;
        }
        run.1 += 1;
        if run.1 > best.1 {
            best = run;
        }
    }
    if best.1 < 2 { (0, 0) } else { best }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn numbers_have_all_their_digits() {
        for number in [0, 9, 10, 4_294_967_295, u64::MAX] {
            assert_eq!(text(|out| decimal(out, number)), number.to_string());
        }
        assert_eq!(text(|out| hexadecimal(out, 0)), "0");
        assert_eq!(text(|out| hexadecimal(out, 0xabc)), "abc");
        assert_eq!(text(|out| padded(out, 7_u8, 6, b'0')), "000007");
        assert_eq!(text(|out| padded(out, 7_u8, 3, b' ')), "  7");
        assert_eq!(text(|out| padded(out, 1234_u16, 3, b' ')), "1234");
        assert_eq!(text(|out| word(out, "tcp", 8)), "tcp     ");
    }

    #[test]
    fn addresses_are_written_as_the_c_library_does() {
        for addr in [
            "0.0.0.0",
            "10.20.30.40",
            "255.255.255.255",
            "::",
            "::1",
            "1::",
            "fe80::1",
            "2001:db8:0:1:1:1:1:1",
            "2001:db8::1:0:0:1",
            "1:0:0:4::8",
            "::1.2.3.4",
            "::ffff:1.2.3.4",
            "::ffff:0:1:1",
            "1:2:3:4:5:6:7:8",
            "64:ff9b::1:2",
            "1:2:3:4:5:6::",
            "::2:3:4:5:6:7",
        ] {
            let parsed: IpAddr = addr.parse().unwrap();
            assert_eq!(text(|out| address(out, parsed)), addr);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn every_address_can_be_read_again(groups in proptest::array::uniform8(prop_oneof![Just(0_u16), any::<u16>()])) {
            let addr = IpAddr::from(Ipv6Addr::from(groups));
            prop_assert_eq!(text(|out| address(out, addr)).parse(), Ok(addr));
        }

        #[test]
        fn every_ipv4_address_is_as_usual(bits: u32) {
            let addr = Ipv4Addr::from_bits(bits);
            prop_assert_eq!(text(|out| address(out, addr.into())), addr.to_string());
        }
    }
}
