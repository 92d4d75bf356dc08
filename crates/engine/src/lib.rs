//! The replication core, without I/O.
//!
//! Everything it does follows from the calls made to it: bytes of kernel and peers, commands, and the
//! passing of time come in through `Engine::handle_*`; what is to be sent, written or told goes out
//! through [`Engine::poll_output`]. Two engines in one test are two values.
//!
//! Data flows one way: kernel → `internal` cache → `session` → wire → `external` cache →
//! `kernel::commit`. It opens nothing, waits for nothing, and asks no clock.
//!
//! Reading order: [`api`], `cache`, `internal`, `queue`, `session`, `external`, `kernel`, `engine`.

#![forbid(unsafe_code)]

pub mod api;
mod cache;
mod early;
mod engine;
mod external;
pub mod fault;
mod internal;
mod journal;
mod kernel;
mod lag;
mod links;
pub mod notice;
mod packed;
mod peer;
mod policy;
mod queue;
mod random;
pub mod role;
mod session;
pub mod snapshot;
mod wheel;
pub mod work;

pub use api::{
    Caches, ClientId, Command, KernelSocket, LinkId, LinkState, LiveSettings, Mode, NativeSettings,
    Origins, Outcome, Output, PeerId, PeerSet, PeerSettings, Policy, Scope, Settings,
    StandbySettings, Start,
};
pub use engine::{Dumped, Engine, Side};
pub use lag::Percentiles;
pub use notice::{Level, Notice};
pub use role::{Readiness, Role, RoleCause};
pub use snapshot::Snapshot;
pub use work::Operations;
