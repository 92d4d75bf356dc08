//! Numbers as the C library reads them: as much of the text as is a number, the rest ignored.

/// What a number's text gave.
struct Digits {
    magnitude: Option<u64>,
    negative: bool,
    /// Bytes read; 0 when there is no number at all.
    len: usize,
}

fn digits(text: &str, base: u32) -> Digits {
    let bytes = text.as_bytes();
    let blank = |b: &u8| matches!(b, b' ' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r');
    let mut at = bytes.iter().take_while(|b| blank(b)).count();
    let negative = bytes.get(at) == Some(&b'-');
    if negative || bytes.get(at) == Some(&b'+') {
        at += 1;
    }
    let hex_follows = |at: usize| {
        bytes.get(at) == Some(&b'0')
            && bytes.get(at + 1).is_some_and(|b| b | 0x20 == b'x')
            && bytes.get(at + 2).is_some_and(u8::is_ascii_hexdigit)
    };
    let base = match base {
        0 | 16 if hex_follows(at) => {
            at += 2;
            16
        }
        0 if bytes.get(at) == Some(&b'0') => 8,
        0 => 10,
        base => base,
    };
    let mut magnitude = Some(0_u64);
    let mut any = false;
    while let Some(digit) = bytes.get(at).and_then(|&b| char::from(b).to_digit(base)) {
        magnitude = magnitude
            .and_then(|m| m.checked_mul(u64::from(base)))
            .and_then(|m| m.checked_add(u64::from(digit)));
        any = true;
        at += 1;
    }
    Digits {
        magnitude,
        negative,
        len: if any { at } else { 0 },
    }
}

/// `strtoul` with base 0: decimal, `0x` hexadecimal, leading `0` octal; 0 when there is no number.
#[must_use]
pub fn unsigned(text: &str) -> u64 {
    let read = digits(text, 0);
    match read.magnitude {
        None => u64::MAX,
        Some(magnitude) if read.negative => magnitude.wrapping_neg(),
        Some(magnitude) => magnitude,
    }
}

/// [`unsigned`], cut to 32 bits.
#[must_use]
pub fn unsigned_32(text: &str) -> u32 {
    low_32(unsigned(text))
}

/// [`unsigned`], cut to 16 bits.
#[must_use]
pub fn unsigned_16(text: &str) -> u16 {
    low_16(unsigned(text))
}

fn low_32(number: u64) -> u32 {
    let [a, b, c, d, ..] = number.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

fn low_16(number: u64) -> u16 {
    let [a, b, ..] = number.to_le_bytes();
    u16::from_le_bytes([a, b])
}

/// `atol`: decimal; 0 when there is no number.
#[must_use]
pub fn signed(text: &str) -> i64 {
    let read = digits(text, 10);
    let limit = if read.negative { i64::MIN } else { i64::MAX };
    let magnitude = read.magnitude.and_then(|m| i64::try_from(m).ok());
    match magnitude {
        None => limit,
        Some(magnitude) if read.negative => magnitude.wrapping_neg(),
        Some(magnitude) => magnitude,
    }
}

/// `atol`, cut to 32 bits without a sign.
#[must_use]
pub fn signed_32(text: &str) -> u32 {
    low_32(signed(text).cast_unsigned())
}

/// `atol`, cut to 16 bits without a sign: how ports are read.
#[must_use]
pub fn signed_16(text: &str) -> u16 {
    low_16(signed(text).cast_unsigned())
}

/// `atol`, cut to 8 bits without a sign.
#[must_use]
pub fn signed_8(text: &str) -> u8 {
    let [low, ..] = signed(text).to_le_bytes();
    low
}

/// A whole text that is a number of at most `max`, in base 10 or, with `any_base`, as [`unsigned`] reads it.
#[must_use]
pub fn whole(text: &str, any_base: bool, max: u64) -> Option<u64> {
    let read = digits(text, if any_base { 0 } else { 10 });
    let complete = read.len == text.len() && !text.is_empty() && !read.negative;
    read.magnitude.filter(|&m| complete && m <= max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_far_as_they_go() {
        for (text, number) in [
            ("10", 10),
            ("0x1f", 31),
            ("0X1F", 31),
            ("010", 8),
            ("  7", 7),
            ("+7", 7),
            ("7seven", 7),
            ("0x", 0),
            ("09", 0),
            ("x", 0),
            ("", 0),
            ("-1", u64::MAX),
            ("99999999999999999999", u64::MAX),
        ] {
            assert_eq!(unsigned(text), number, "{text:?}");
        }
    }

    #[test]
    fn numbers_that_do_not_fit_are_cut() {
        assert_eq!(unsigned_16("65537"), 1);
        assert_eq!(unsigned_32("0x1ffffffff"), u32::MAX);
        assert_eq!(signed_16("65537"), 1);
        assert_eq!(signed_16("-1"), u16::MAX);
        assert_eq!(signed_8("264"), 8);
        assert_eq!(signed_32("-5"), u32::MAX - 4);
    }

    #[test]
    fn decimal_numbers_know_no_bases() {
        assert_eq!(signed("010"), 10);
        assert_eq!(signed("0x10"), 0);
        assert_eq!(signed("-12x"), -12);
        assert_eq!(signed("99999999999999999999"), i64::MAX);
        assert_eq!(signed("-99999999999999999999"), i64::MIN);
    }

    #[test]
    fn whole_numbers_leave_nothing_over() {
        assert_eq!(whole("17", true, 255), Some(17));
        assert_eq!(whole("0x11", true, 255), Some(17));
        assert_eq!(whole("0x11", false, 255), None);
        assert_eq!(whole("+16", false, 32), Some(16));
        assert_eq!(whole(" 16", false, 32), Some(16));
        for text in ["", "17x", "256", "-1", " ", "+"] {
            assert_eq!(whole(text, true, 255), None, "{text:?}");
        }
    }
}
