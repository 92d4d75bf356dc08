//! The identity of a node: an Ed25519 key pair, written as 32 bytes of base64.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{Ed25519KeyPair, KeyPair};

/// What stands before the seed of an Ed25519 key in PKCS#8 (RFC 8410).
const PKCS8_HEAD: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// What stands before an Ed25519 key in a SubjectPublicKeyInfo (RFC 8410).
const SPKI_HEAD: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];

/// Why a text is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not base64.
    #[error("a key is 44 characters of base64")]
    Base64,
    /// Not 32 bytes.
    #[error("a key has 32 bytes, this has {0}")]
    Length(usize),
}

/// A public key: what a node is known by. The order decides which of two nodes dials.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PublicKey(pub [u8; 32]);

impl PublicKey {
    /// The key as it travels in a handshake.
    pub(crate) fn to_spki(self) -> Vec<u8> {
        [&SPKI_HEAD[..], &self.0].concat()
    }

    /// The key that travelled in a handshake.
    pub(crate) fn from_spki(spki: &[u8]) -> Option<Self> {
        let key = spki.strip_prefix(&SPKI_HEAD)?;
        key.try_into().ok().map(Self)
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        read(text).map(Self)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode(self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A private key. Never printed but by [`PrivateKey::to_text`].
#[derive(Clone, PartialEq, Eq)]
pub struct PrivateKey {
    seed: [u8; 32],
    public: PublicKey,
}

impl PrivateKey {
    /// The key of these random bytes.
    #[must_use]
    pub fn from_seed(seed: [u8; 32]) -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed);
        let public = pair
            .ok()
            .and_then(|pair| pair.public_key().as_ref().try_into().ok())
            .unwrap_or_default();
        Self {
            seed,
            public: PublicKey(public),
        }
    }

    /// What the peers know this node by.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        self.public
    }

    /// As it stands in its file.
    #[must_use]
    pub fn to_text(&self) -> String {
        STANDARD.encode(self.seed)
    }

    /// The key for the signing library.
    pub(crate) fn to_pkcs8(&self) -> Vec<u8> {
        [&PKCS8_HEAD[..], &self.seed].concat()
    }

    /// A secret of its own for each purpose, the same after every start.
    pub(crate) fn derive(&self, purpose: &str) -> [u8; 32] {
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &self.seed);
        let tag = ring::hmac::sign(&key, purpose.as_bytes());
        tag.as_ref().try_into().unwrap_or_default()
    }
}

impl FromStr for PrivateKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        read(text).map(Self::from_seed)
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey(of {})", self.public)
    }
}

fn read(text: &str) -> Result<[u8; 32], KeyError> {
    let bytes = STANDARD.decode(text.trim()).map_err(|_| KeyError::Base64)?;
    let len = bytes.len();
    bytes.try_into().map_err(|_| KeyError::Length(len))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first test vector of RFC 8032.
    #[test]
    fn a_public_key_belongs_to_its_private_key() {
        let hex = |text: &str| -> [u8; 32] {
            let byte = |at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap();
            std::array::from_fn(byte)
        };
        let seed = hex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60");
        let public = hex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
        assert_eq!(PrivateKey::from_seed(seed).public(), PublicKey(public));
    }

    #[test]
    fn keys_are_read_as_they_are_written() {
        let key = PrivateKey::from_seed([7; 32]);
        assert_eq!(key.to_text().len(), 44);
        assert_eq!(key.to_text().parse(), Ok(key.clone()));
        assert_eq!(format!(" {}\n", key.to_text()).parse(), Ok(key.clone()));
        assert_eq!(key.public().to_string().parse(), Ok(key.public()));
        assert_eq!(
            PublicKey::from_spki(&key.public().to_spki()),
            Some(key.public())
        );
        assert_eq!("AAAA".parse::<PublicKey>(), Err(KeyError::Length(3)));
        assert_eq!("not base64".parse::<PublicKey>(), Err(KeyError::Base64));
    }

    #[test]
    fn a_private_key_does_not_show_in_debug_output() {
        let key = PrivateKey::from_seed([7; 32]);
        assert!(!format!("{key:?}").contains(&key.to_text()));
    }
}
