//! Proof of equality: keyed digests over ranges of handles.
//!
//! Both ends compute a digest over the same handles at the same place of the stream, straight from the entries
//! that they hold, so that whatever differs is found, however it came about. The key is random per stream:
//! nobody who chooses addresses and ports can aim at a collision.

use std::hash::Hasher;

use flow::{Expectation, Flow};
use siphasher::sip::SipHasher24;
use siphasher::sip128::{Hasher128, SipHasher24 as SipHasher128};

use crate::message::{Fields, canonical_expectation, canonical_flow};

/// Key of the digests of a stream, told in its first word.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct DigestKey(pub [u8; 16]);

impl std::fmt::Debug for DigestKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DigestKey(..)")
    }
}

/// SipHash-2-4-128 over entries and their handles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest(pub [u8; 16]);

/// A digest in the making: add every entry of the range in the order of handles, nothing for vacant ones.
///
/// One value serves any number of ranges and allocates only for the first entry.
#[derive(Clone, Debug)]
pub struct RangeDigest {
    key: DigestKey,
    fields: Fields,
    hasher: SipHasher128,
    bytes: Vec<u8>,
}

impl RangeDigest {
    /// `fields`: what both ends know how to tell; [`Fields::ALL`] among equals.
    #[must_use]
    pub fn new(key: DigestKey, fields: Fields) -> Self {
        Self {
            key,
            fields,
            hasher: SipHasher128::new_with_key(&key.0),
            bytes: Vec::new(),
        }
    }

    /// The connection under this handle.
    pub fn add_flow(&mut self, handle: u32, flow: &Flow) {
        self.bytes.clear();
        self.bytes.extend_from_slice(&handle.to_be_bytes());
        canonical_flow(&mut self.bytes, flow, self.fields);
        self.add();
    }

    /// The expectation under this handle.
    pub fn add_expectation(&mut self, handle: u32, expectation: &Expectation) {
        self.bytes.clear();
        self.bytes.extend_from_slice(&handle.to_be_bytes());
        canonical_expectation(&mut self.bytes, expectation);
        self.add();
    }

    /// The length goes before the bytes, so that no two rows of entries give the same bytes.
    fn add(&mut self) {
        self.hasher.write(&(self.bytes.len() as u16).to_be_bytes());
        self.hasher.write(&self.bytes);
    }

    /// The digest of what was added since the last call.
    pub fn finish(&mut self) -> Digest {
        let digest = Digest(self.hasher.finish128().as_bytes());
        self.hasher = SipHasher128::new_with_key(&self.key.0);
        digest
    }

    /// Hash of one connection, without its handle; never 0, which means vacant.
    pub fn flow_hash(&mut self, flow: &Flow) -> u64 {
        self.bytes.clear();
        canonical_flow(&mut self.bytes, flow, self.fields);
        self.hash()
    }

    /// Hash of one expectation, without its handle; never 0, which means vacant.
    pub fn expectation_hash(&mut self, expectation: &Expectation) -> u64 {
        self.bytes.clear();
        canonical_expectation(&mut self.bytes, expectation);
        self.hash()
    }

    fn hash(&self) -> u64 {
        let mut hasher = SipHasher24::new_with_key(&self.key.0);
        hasher.write(&self.bytes);
        hasher.finish().max(1)
    }
}
