//! Verification tags of SCTP.
//!
//! compat: the original hands the number to the kernel in the machine's byte order, although the kernel
//! takes the field as it is on the wire. So a tag of 1 is the wire's 0x01000000 on a little-endian machine.

/// The number that is typed and shown, from a tag as the wire's bytes read big-endian.
#[must_use]
pub(crate) fn vtag_number(tag: u32) -> u32 {
    u32::from_ne_bytes(tag.to_be_bytes())
}

/// The tag as the wire's bytes read big-endian, from the number that is typed.
#[must_use]
pub(crate) fn vtag(number: u32) -> u32 {
    u32::from_be_bytes(number.to_ne_bytes())
}
