//! Recordings: everything a core was told, with the time of each, and digests of what it answered.
//!
//! The core opens nothing and asks no clock: whoever tells it the same again gets the same answers. [`Recorded`] stands
//! in front of an [`engine::Engine`] and writes down what passes; [`Replay`] reads that, tells a new core the same,
//! and compares the digests. A recording holds whatever kernel and peers said, addresses included.
//!
//! A file begins with one line of text, [`Header`] as JSON behind [`MAGIC`]; then follow steps, each as postcard writes
//! it. Reading order: [`step`], [`recorded`], [`replay`].

#![forbid(unsafe_code)]

pub mod digest;
pub mod recorded;
pub mod replay;
pub mod step;

pub use recorded::{Recorded, Sink, Tape};
pub use replay::{Replay, ReplayError, Summary};
pub use step::{End, Header, MAGIC, Step, VERSION};
