//! Section `policy`, which only TOML has: what a peer may make this node keep and do.

use std::num::NonZeroU32;
use std::time::Duration;

/// What a peer may make this node keep and do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Which entries. `addresses`, `protocols`, `tcp_states`, `zones`, each default all.
    pub entries: flow::Policy,
    /// Most entries of one peer. `max_entries`, default `hash_limit`, and never more than that.
    pub max_entries: Option<NonZeroU32>,
    /// A peer that asks for everything gets it four times at once, then once in so long. `resync_interval_s`,
    /// unit: seconds, default 10; 0: as often as it asks.
    pub resync_interval: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            entries: flow::Policy::default(),
            max_entries: None,
            resync_interval: Duration::from_secs(10),
        }
    }
}
