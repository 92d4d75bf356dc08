//! Two engines under a simulated kernel, link and clock.
//!
//! One seed decides everything: what traffic comes, what the links lose, when a node dies, which
//! commands are given. A failure is repeated by its seed.

#![forbid(unsafe_code)]

pub mod check;
pub mod image;
pub mod kernel;
pub mod link;
pub mod mesh;
pub mod node;
pub mod plan;
pub mod rng;
pub mod scenario;
pub mod told;
pub mod trace;
pub mod workload;
pub mod world;

pub use kernel::SimKernel;
pub use link::{Faults, SimLink};
pub use node::Node;
pub use rng::Rng;
pub use workload::Workload;
pub use world::{A, B, World};
