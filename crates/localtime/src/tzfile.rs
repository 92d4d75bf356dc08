//! Compiled time zone files (RFC 8536).

use super::Zone;
use super::posix::Rule;

/// Length of the header: magic, version, reserved bytes, six counts.
const HEADER_LEN: usize = 44;

/// Reads a file; `None` if it is not one.
///
/// Version 1 has 32-bit times; later versions repeat all with 64 bits and end in a rule for the time after
/// the last transition.
pub(super) fn parse(bytes: &[u8]) -> Option<Zone> {
    let header = Header::parse(bytes)?;
    if header.version == 0 {
        return block(&header, bytes.get(HEADER_LEN..)?, 4);
    }
    let rest = bytes.get(HEADER_LEN.checked_add(header.block_len(4)?)?..)?;
    let header = Header::parse(rest)?;
    let rest = rest.get(HEADER_LEN..)?;
    let mut zone = block(&header, rest, 8)?;
    let footer = rest.get(header.block_len(8)?..)?;
    let rule = footer.strip_prefix(b"\n")?.split(|&b| b == b'\n').next()?;
    zone.rule = Rule::parse(std::str::from_utf8(rule).ok()?);
    Some(zone)
}

struct Header {
    version: u8,
    utc_flags: usize,
    standard_flags: usize,
    leaps: usize,
    times: usize,
    types: usize,
    name_bytes: usize,
}

impl Header {
    fn parse(bytes: &[u8]) -> Option<Self> {
        if bytes.get(..4)? != b"TZif" {
            return None;
        }
        let count = |index: usize| -> Option<usize> {
            let at = 20 + 4 * index;
            let field: [u8; 4] = bytes.get(at..at + 4)?.try_into().ok()?;
            usize::try_from(u32::from_be_bytes(field)).ok()
        };
        Some(Self {
            version: *bytes.get(4)?,
            utc_flags: count(0)?,
            standard_flags: count(1)?,
            leaps: count(2)?,
            times: count(3)?,
            types: count(4)?,
            name_bytes: count(5)?,
        })
    }

    /// Length of all that follows the header, with times of `time_len` bytes.
    fn block_len(&self, time_len: usize) -> Option<usize> {
        self.times
            .checked_mul(time_len.checked_add(1)?)?
            .checked_add(self.types.checked_mul(6)?)?
            .checked_add(self.name_bytes)?
            .checked_add(self.leaps.checked_mul(time_len.checked_add(4)?)?)?
            .checked_add(self.standard_flags)?
            .checked_add(self.utc_flags)
    }
}

fn block(header: &Header, bytes: &[u8], time_len: usize) -> Option<Zone> {
    let times_len = header.times.checked_mul(time_len)?;
    let (times, rest) = bytes.split_at_checked(times_len)?;
    let (indexes, rest) = rest.split_at_checked(header.times)?;
    let types = rest.get(..header.types.checked_mul(6)?)?;
    let offset_of = |index: usize| -> Option<i32> {
        let field = types.chunks_exact(6).nth(index)?.get(..4)?;
        Some(i32::from_be_bytes(field.try_into().ok()?))
    };
    let mut transitions = Vec::new();
    for (time, &index) in times.chunks_exact(time_len).zip(indexes) {
        let time = match time.len() {
            4 => i64::from(i32::from_be_bytes(time.try_into().ok()?)),
            _ => i64::from_be_bytes(time.try_into().ok()?),
        };
        transitions.push((time, offset_of(usize::from(index))?));
    }
    Some(Zone {
        transitions,
        initial_s: offset_of(0)?,
        rule: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One transition at 1000 from +1 h to +2 h, in both blocks; after it the rule `<+02>-2`.
    fn sample() -> Vec<u8> {
        let mut bytes = Vec::new();
        for time_len in [4usize, 8] {
            bytes.extend_from_slice(b"TZif2");
            bytes.extend_from_slice(&[0; 15]);
            for count in [0u32, 0, 0, 1, 2, 4] {
                bytes.extend_from_slice(&count.to_be_bytes());
            }
            bytes.extend_from_slice(&1000i64.to_be_bytes()[8 - time_len..]);
            bytes.push(1);
            for (offset_s, daylight) in [(3600i32, 0), (7200, 1)] {
                bytes.extend_from_slice(&offset_s.to_be_bytes());
                bytes.extend_from_slice(&[daylight, 0]);
            }
            bytes.extend_from_slice(b"ABC\0");
        }
        bytes.extend_from_slice(b"\n<+02>-2\n");
        bytes
    }

    #[test]
    fn transitions_and_rule_are_read_from_the_second_block() {
        let zone = parse(&sample()).unwrap();
        assert_eq!(zone.transitions, [(1000, 7200)]);
        assert_eq!((zone.offset_s(999), zone.offset_s(1000)), (3600, 7200));
        assert_eq!(zone.rule, Rule::parse("<+02>-2"));
    }

    #[test]
    fn a_file_of_version_1_has_no_rule() {
        let mut bytes = sample();
        bytes[4] = 0;
        let zone = parse(&bytes).unwrap();
        assert_eq!((zone.transitions.len(), zone.rule), (1, None));
    }

    #[test]
    fn no_cut_and_no_changed_byte_is_fatal() {
        let bytes = sample();
        for len in 0..bytes.len() - 1 {
            assert!(parse(&bytes[..len]).is_none_or(|zone| zone.rule.is_none()));
        }
        for at in 0..bytes.len() {
            for value in [0, 0x7f, 0xff] {
                let mut bytes = bytes.clone();
                bytes[at] = value;
                if let Some(zone) = parse(&bytes) {
                    let _ = zone.at(i64::from(value));
                }
            }
        }
    }
}
