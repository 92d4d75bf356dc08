//! Configuration: the original's grammar and TOML, lowered into one validated [`Config`].
//!
//! Both readers turn a file into the same list of statements; lowering walks the list once, fills in
//! defaults, collects warnings in file order and stops at the first error. Whoever holds a [`Config`]
//! need not validate anything again, except against the host it runs on: that is [`check()`].
//!
//! This crate does **not** open logs, sockets or interfaces, and reads no file but in [`load`].
//!
//! Modules in reading order: `schema`, `native` and `policy` (what a configuration is), `error`, `statement` (what both
//! readers produce), `legacy` (`conntrackd.conf`), `toml`, `lower`, `check`, `convert`, `load`.
#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::arithmetic_side_effects
    )
)]

mod check;
mod compare;
mod convert;
mod error;
mod legacy;
mod load;
mod lower;
mod native;
mod policy;
mod protocols;
mod render;
mod schema;
mod statement;
mod toml;

pub use check::{Finding, Host, HostInterface, Severity, check};
pub use compare::needing_restart;
pub use convert::to_toml;
pub use error::{ErrorKind, ParseError};
pub use load::{LoadError, load, parse_text};
pub use native::{MAX_PEERS, NATIVE_PORT, Native, Peer, PeerPolicy, PublicKey};
pub use policy::Policy;
pub use schema::{
    Alarm, CacheUse, Config, ExpectationSync, Facility, FilterFrom, Ftfw, General, Helper,
    HelperPolicy, HelperTransport, Helpers, Link, LogLevel, MAX_LINKS, MetricsAddress, Mode,
    Notrack, Origin, Place, Role, Scheduler, Source, Statistics, Sync, Transport, Warning,
};
