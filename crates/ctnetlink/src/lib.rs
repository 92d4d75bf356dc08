//! The kernel's connection-tracking netlink format, both ways.
//!
//! Bytes in, values out and back: no allocation while parsing or emitting into a reused buffer. The
//! sockets (feature `io`) are plain non-blocking file descriptors; who waits for them is not decided
//! here. It knows nothing of caches, peers or policy: [`emit`] writes exactly what an entry holds.
//!
//! Reading order: [`attr`], [`message`], [`parse`], [`emit`], [`request`], [`stats`], [`bpf`], `socket`.

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
pub mod bpf;
pub mod emit;
pub mod message;
pub mod parse;
pub mod request;
#[cfg(feature = "io")]
pub mod socket;
pub mod stats;
pub mod uapi;
mod write;

pub use message::{Header, Message, Messages, messages};
pub use parse::{Event, EventKind, ParseError, Reply};
