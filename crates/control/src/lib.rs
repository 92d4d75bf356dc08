//! The control socket's requests and the texts that answer them.
//!
//! Numbers and entries in, bytes out. Every text is the original's, byte for byte: scripts read it.
//! Nothing here opens a socket, asks a clock or holds state; a dump is rendered one entry at a time, so
//! that a table of any size needs no memory.
//!
//! Reading order: [`request`], [`takeover`], [`stats`], [`dump`], [`xml`], [`jsonl`],
//! [`statslog`], [`json`], [`report`], [`operations`], [`rehearsal`], [`metrics`], [`talkers`].

#![forbid(unsafe_code)]

/// Appends formatted text to a `Vec<u8>`; writing to a vector cannot fail.
macro_rules! put {
    ($out:expr, $($arg:tt)*) => {{
        use std::io::Write as _;
        let _ = write!($out, $($arg)*);
    }};
}

mod bytes;
pub mod dump;
pub mod json;
pub mod jsonl;
pub mod metrics;
mod names;
pub mod operations;
pub mod peers;
pub mod rehearsal;
pub mod report;
pub mod request;
pub mod stats;
pub mod statslog;
pub mod takeover;
pub mod talkers;
pub mod xml;

pub use request::{Answer, Dump, Format, Page, Request, Side, Table};
