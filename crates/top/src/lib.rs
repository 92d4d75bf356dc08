//! `conntrackd top`: a live screen of a firewall pair.
//!
//! It asks the daemon of this node through its control socket and, with `--peer`, that of the other node through a command,
//! and draws. It holds a few minutes of history and changes nothing.
//!
//! A program of its own, `conntrackd-top`, which `conntrackd top` runs: the crates that it takes to draw stay out of the daemon.
//!
//! Reading order: [`source`] (asking), [`history`] (rates), [`app`] (keys and state), [`draw`] (pages).

#![forbid(unsafe_code)]

pub mod app;
pub mod draw;
pub mod history;
pub mod source;
