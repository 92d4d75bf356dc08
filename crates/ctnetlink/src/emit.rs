//! Values into messages: exactly what an entry holds, every attribute.

use flow::{Expectation, Flow};

use crate::Header;

/// Appends a conntrack message (header, family, attributes) to `buf`; the length is filled in.
pub fn flow(_buf: &mut Vec<u8>, _header: Header, _flow: &Flow) {
    todo!()
}

/// Appends an expectation message to `buf`; the length is filled in.
pub fn expectation(_buf: &mut Vec<u8>, _header: Header, _expectation: &Expectation) {
    todo!()
}
