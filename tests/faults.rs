//! Real faults: real kernels, real daemons, real wires, and everything that can go wrong with them.
//!
//! After each one the tables are equal, memory is back, no entry that was acknowledged is lost, and the log says in a
//! few lines what happened. Short forms by default; `cargo xtask faults --full` runs all at full length and prints
//! what `docs/guarantees.md` has in its table.

#[path = "faults/datagrams.rs"]
mod datagrams;
#[path = "faults/kernel.rs"]
mod kernel;
#[path = "faults/limits.rs"]
mod limits;
#[path = "faults/processes.rs"]
mod processes;
#[path = "faults/recording.rs"]
mod recording;
#[path = "faults/rig.rs"]
mod rig;
#[path = "faults/soak.rs"]
mod soak;
#[path = "faults/wire.rs"]
mod wire;
