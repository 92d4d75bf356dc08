//! The native dialect between firewalls: what is said, how it is proved, how it travels.
//!
//! No socket, no clock, no randomness: time and seeds are arguments. It knows nothing of caches; what is
//! told to whom and when is decided above.
//!
//! Reading order: [`mod@message`] (what is said), [`mod@digest`] (how equality is proved), [`mod@keys`] (who
//! speaks), [`mod@transport`] (how it travels).

#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::arithmetic_side_effects
    )
)]

pub mod digest;
pub mod keys;
pub mod message;
pub mod transport;

pub use digest::{Digest, DigestKey, RangeDigest};
pub use message::{Decoder, Encoder, Fields, Message};
