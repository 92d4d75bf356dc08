//! Two engines under a simulated kernel, link and clock.
//!
//! One seed decides everything: what traffic comes, what the links lose, when a node dies, which
//! commands are given. A failure is repeated by its seed.

#![forbid(unsafe_code)]

pub mod kernel;
pub mod link;
pub mod rng;

pub use kernel::SimKernel;
pub use link::{Faults, SimLink};
pub use rng::Rng;
