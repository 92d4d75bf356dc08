//! Two engines under a simulated kernel, link and clock.
//!
//! One seed decides everything: what traffic comes, what the links lose, when a node dies, which
//! commands are given. A failure is repeated by its seed, and made smaller by leaving parts out.
//!
//! Reading order: [`plan`] and [`schedule`] (what is drawn), [`world`], [`node`], [`kernel`], [`link`] (what there is),
//! [`watch`] (promises checked after every step), [`scenario`] (how a run goes, and the questions at its end), [`shrink`].

#![forbid(unsafe_code)]

pub mod check;
pub mod fault;
pub mod image;
pub mod kernel;
pub mod link;
pub mod mesh;
pub mod node;
pub mod plan;
pub mod rng;
pub mod scenario;
pub mod schedule;
pub mod shrink;
pub mod told;
pub mod trace;
pub mod watch;
pub mod workload;
pub mod world;
pub(crate) mod writing;

pub use kernel::SimKernel;
pub use link::{Faults, SimLink};
pub use node::Node;
pub use rng::Rng;
pub use workload::Workload;
pub use world::{A, B, World};
