//! What is written to the own kernel, and how its answers are understood.

pub(crate) mod batch;
pub(crate) mod commit;
pub(crate) mod dump;
pub(crate) mod flush;
pub(crate) mod inject;
pub(crate) mod injected;
pub(crate) mod prepare;
pub(crate) mod recheck;
pub(crate) mod standby;
pub(crate) mod verify;

/// No such entry.
pub(crate) const ENOENT: i32 = 2;

/// Such an entry exists.
pub(crate) const EEXIST: i32 = 17;
