//! The synchronisation protocol between firewalls, version 1, byte for byte.
//!
//! [`decode::split`] takes the next message off a datagram or stream and [`decode::RawMessage`] reads its
//! payload; [`encode`] appends messages to a buffer; [`frame`] packs them into datagrams. It knows nothing
//! of sequence tracking, acknowledgements or caches.
//!
//! All multi-byte fields are big-endian but three: `SPAT_PORT`, `DPAT_PORT` and `ICMP_ID` are
//! little-endian, because the original swaps them once too often and runs on little-endian machines.
//!
//! Header, 8 bytes:
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 1 | version (high nibble, 1), type (low nibble) |
//! | 1 | 1 | flags |
//! | 2 | 2 | length, header and attributes with their padding |
//! | 4 | 4 | sequence number |
//!
//! Control messages with ACK, NACK or RESYNC go on with two 32-bit numbers, `from` and `to`; data messages
//! with attributes: length (16 bits, header included, padding not), number (16 bits), payload, padding to
//! four bytes.

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

pub mod attr;
pub mod decode;
pub mod encode;
pub mod frame;
pub mod message;

pub use decode::{
    Carrier, FramingError, MessageError, PayloadError, RawMessage, Split, split, tuples,
};
pub use encode::EncodeOptions;
pub use frame::{Frame, Pushed, StreamBuffer};
pub use message::{Body, Change, Flags, Kind, Packet};
