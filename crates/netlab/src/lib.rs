//! Real kernels for tests and the demo: network namespaces, traffic through them, and daemons as peers.
//!
//! It does not judge: it builds what a test asks for, measures, and removes it again, also after a panic.
//! Everything here needs root; see [`require_root_or_skip!`].
//!
//! In reading order: [`lab`] (namespaces and their wiring), [`namespace`] (commands, sysctls, rules inside one),
//! [`process`] (bounded and background commands), [`announce`] (addresses that move), [`traffic`] (TCP, UDP and ping whose
//! content and gaps are checked), [`config`] (configuration texts), [`daemon`] (ours and the original behind one
//! interface), [`listing`] (comparable lines out of listings), [`features`] (what this kernel can do),
//! [`schema`] (JSON against its schema), [`table`] (the kernel's table), [`sample`] (entries to fill it with), [`pair`] (two firewalls between a client and a server), [`mesh`] (several, which speak the native dialect), [`skip`] (why a test did not run), [`limits`] (room in the kernel's table for large tests).

pub mod announce;
pub mod config;
pub mod daemon;
mod ends;
pub mod features;
pub mod lab;
pub mod limits;
pub mod listing;
pub mod mesh;
pub mod namespace;
pub mod pair;
pub mod process;
pub mod sample;
pub mod schema;
pub mod skip;
pub mod table;
pub mod traffic;

pub use config::NodeConfig;
pub use daemon::{Daemon, Peer};
pub use ends::Ends;
pub use features::Feature;
pub use lab::Lab;
pub use mesh::Mesh;
pub use namespace::Namespace;
pub use pair::Pair;
pub use table::Table;
