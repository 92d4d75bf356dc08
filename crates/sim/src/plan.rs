//! What a run is about, drawn from its seed.

use std::time::Duration;

use engine::Settings;
use engine::api::{ExpectationSync, ExternalMode, InternalMode, LinkSettings, Mode};
use flow::{Action, FlowFilter};

use crate::Rng;

/// A mode by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModeName {
    /// FT-FW.
    Ftfw,
    /// NOTRACK.
    Notrack,
    /// ALARM.
    Alarm,
}

impl ModeName {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Ftfw, Self::Notrack, Self::Alarm];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ftfw => "ftfw",
            Self::Notrack => "notrack",
            Self::Alarm => "alarm",
        }
    }

    /// The mode with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.name() == name)
    }
}

/// A run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Mode.
    pub mode: ModeName,
    /// Settings of both nodes.
    pub settings: Settings,
    /// Entries that the tables of A and B hover around; B may have no traffic of its own.
    pub sizes: [usize; 2],
    /// Most entries in a kernel's table.
    pub table_max: usize,
    /// Events that may wait for an engine.
    pub event_buffer: usize,
    /// Time in microseconds that each node's kernel takes for a batch of requests.
    pub batch_us: [u64; 2],
    /// Steps of 20 ms with faults.
    pub steps: u64,
    /// How bad links get: 0 not at all, 3 very.
    pub severity: u64,
    /// Whether engines die.
    pub crashes: bool,
    /// Whether a node that starts again finds good links for its first seconds.
    pub gentle_restarts: bool,
    /// Whether commands are given at random moments.
    pub commands: bool,
    /// Whether datagrams arrive that nobody should have sent.
    pub garbage: bool,
    /// Whether an engine sometimes does not read its events for long, or does not run at all.
    pub stalls: bool,
    /// Seconds since 1970 when the run begins: sequence numbers begin there, and wrap.
    pub epoch_s: u32,
    /// Whether clocks jump while an engine is dead.
    pub clock_jumps: bool,
    /// Whether links notice spoilt datagrams.
    pub checksum: bool,
    /// Whether entries made while an engine is dead raise no events.
    pub deaf_entries: bool,
    /// Whether B's kernel lacks the helpers.
    pub helpers_missing: bool,
    /// The caches have no room for all entries.
    pub tight: bool,
}

impl Plan {
    /// Draws a run.
    #[must_use]
    pub fn draw(rng: &mut Rng, mode: Option<ModeName>) -> Self {
        let drawn = *rng.pick(&[
            ModeName::Ftfw,
            ModeName::Ftfw,
            ModeName::Notrack,
            ModeName::Alarm,
        ]);
        let mode = mode.unwrap_or(drawn);
        let size = *rng.pick(&[10, 40, 150]);
        let sizes = [size, if rng.chance(300) { size / 2 } else { 0 }];
        let mut settings = settings(rng, mode, sizes);
        // Where entries go straight into the peer's kernel, they would come back from there.
        let one_way = settings.external == ExternalMode::Inject;
        // And without an internal cache nothing makes good for lost events.
        let deep = one_way || settings.internal == InternalMode::Bypass;
        let tight = !deep && rng.chance(50);
        if tight {
            settings.cache_limit = size / 2 + 1;
        }
        let severity = rng.below(4);
        let crashes = rng.chance(300) && !one_way;
        let mut apart = rng.clone().fork();
        let batch_us = [(); 2].map(|()| *apart.pick(&[0, 0, 100, 3000, 20_000]));
        Self {
            mode,
            settings,
            sizes,
            table_max: if rng.chance(100) { size } else { 100_000 },
            event_buffer: if deep {
                4096
            } else {
                *rng.pick(&[20, 4096, 4096])
            },
            batch_us,
            steps: rng.between(200, 1000),
            severity,
            crashes,
            gentle_restarts: rng.chance(700),
            commands: rng.chance(500) && !one_way,
            garbage: rng.chance(300),
            stalls: rng.chance(300) && !deep,
            epoch_s: if rng.chance(100) {
                u32::MAX - rng.below(2000) as u32
            } else {
                1_800_000_000
            },
            clock_jumps: crashes && rng.chance(300),
            checksum: severity == 0 || !rng.chance(100),
            deaf_entries: crashes && !deep && rng.chance(300),
            helpers_missing: !one_way && rng.chance(100),
            tight,
        }
    }
}

/// A filter that no entry is caught in. Where one is set, a purge reads the table before it deletes.
fn passes_all() -> FlowFilter {
    const EXPERIMENTS: u8 = 253;
    FlowFilter {
        protocols: Some((Action::Ignore, vec![EXPERIMENTS])),
        ..FlowFilter::default()
    }
}

fn settings(rng: &mut Rng, mode: ModeName, sizes: [usize; 2]) -> Settings {
    let links = if rng.chance(250) { 2 } else { 1 };
    let payload_len = *rng.pick(&[1472, 1472, 500]);
    let bypass = mode == ModeName::Notrack && sizes[1] == 0 && rng.chance(150);
    let inject = mode != ModeName::Alarm && sizes[1] == 0 && rng.chance(150);
    Settings {
        mode: match mode {
            ModeName::Ftfw => Mode::Ftfw {
                resend_queue_len: *rng.pick(&[16, 200, 131_072]),
                ack_window: *rng.pick(&[1, 5, 20, 300]),
            },
            ModeName::Notrack => Mode::Notrack,
            ModeName::Alarm => Mode::Alarm {
                refresh: Duration::from_secs(rng.between(2, 10)),
                cache_timeout: Duration::from_secs(rng.between(15, 25)),
            },
        },
        internal: if bypass {
            InternalMode::Bypass
        } else {
            InternalMode::Cache
        },
        external: if inject {
            ExternalMode::Inject
        } else {
            ExternalMode::Cache
        },
        links: (0..links)
            .map(|link| LinkSettings {
                payload_len,
                default: link == 0,
            })
            .collect(),
        native: engine::api::NativeSettings::default(),
        standby: engine::api::StandbySettings::default(),
        commit_timeout_s: rng.chance(100).then_some(180),
        purge_timeout: Duration::from_secs(5),
        startup_resync: rng.chance(500) && !inject,
        tcp_window_tracking: rng.chance(300),
        expectation_sync: match rng.below(3) {
            0 => ExpectationSync::Off,
            1 => ExpectationSync::All,
            _ => ExpectationSync::Helpers(vec!["FT".to_owned()]),
        },
        cache_limit: 100_000,
        policy: engine::api::PolicySettings::default(),
        filter: if rng.chance(300) {
            passes_all()
        } else {
            FlowFilter::default()
        },
        overrun_resync: Some(Duration::from_secs(rng.between(1, 5))),
        poll: None,
    }
}
