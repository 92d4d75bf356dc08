//! Settings of nodes of the native dialect, and of standbys whose kernel follows.

use std::time::Duration;

use engine::api::{ExpectationSync, ExternalMode, InternalMode, PolicySettings};
use engine::{Mode, NativeSettings, Settings, StandbySettings};
use flow::FlowFilter;

/// `inject`: hot standby.
pub(crate) fn settings(inject: bool) -> Settings {
    Settings {
        mode: Mode::Ftfw {
            resend_queue_len: 131_072,
            ack_window: 300,
        },
        internal: InternalMode::Cache,
        external: ExternalMode::Cache,
        links: Vec::new(),
        native: NativeSettings::default(),
        standby: StandbySettings { inject },
        policy: PolicySettings::default(),
        commit_timeout_s: None,
        purge_timeout: Duration::from_secs(5),
        startup_resync: false,
        tcp_window_tracking: false,
        expectation_sync: ExpectationSync::Off,
        cache_limit: 100_000,
        filter: FlowFilter::default(),
        overrun_resync: Some(Duration::from_secs(2)),
        poll: None,
    }
}

/// The seeds that a test runs: `usual` many from 1 on, or as `MESH_SEEDS` (how many) and `MESH_SEED` (the first) say.
#[allow(dead_code, reason = "not every test runs many seeds")]
pub(crate) fn seeds(usual: u64) -> std::ops::Range<u64> {
    let number = |name| std::env::var(name).ok()?.parse().ok();
    let first = number("MESH_SEED").unwrap_or(1);
    first..first + number("MESH_SEEDS").unwrap_or(usual)
}
