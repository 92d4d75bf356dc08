//! The replication core, without I/O.
//!
//! Everything it does follows from the calls made to it: bytes of kernel and peers, commands, and the
//! passing of time come in through `handle_*`; what is to be sent, written or told goes out through
//! [`Engine::poll_output`]. Two engines in one test are two values.
//!
//! Data flows one way: kernel → [`internal`] cache → [`session`] → wire → [`external`] cache →
//! [`commit`]. It opens nothing, waits for nothing, and asks no clock.

#![forbid(unsafe_code)]

pub mod api;
pub mod snapshot;

pub use api::{
    ClientId, Command, KernelSocket, LinkId, LinkState, Notice, Origins, Output, Scope, Settings,
    Start,
};
pub use snapshot::Snapshot;
