//! The core of the daemon, with nobody around it.

use std::time::{Duration, Instant};

use ctnetlink::{EventKind, Header, emit};
use engine::api::{ExpectationSync, ExternalMode, InternalMode, LinkSettings, Settings};
use engine::{Engine, LinkId, Mode, Origins, Start};
use flow::{Addrs, Flow, FlowFilter, L4, Status, Tuple, protocol};

/// The only link.
pub const LINK: LinkId = LinkId(0);

/// How it replicates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sync {
    /// Without tracking of what arrives.
    Notrack,
    /// Everything again and again.
    Alarm,
    /// With acknowledgements.
    Ftfw,
}

impl From<u8> for Sync {
    fn from(byte: u8) -> Self {
        match byte % 3 {
            0 => Self::Ftfw,
            1 => Self::Alarm,
            _ => Self::Notrack,
        }
    }
}

/// What a core that replicates like this is told; its caches hold so many entries.
#[must_use]
pub fn settings(sync: Sync, cache_limit: usize) -> Settings {
    let mode = match sync {
        Sync::Notrack => Mode::Notrack,
        Sync::Alarm => Mode::Alarm {
            refresh: Duration::from_secs(15),
            cache_timeout: Duration::from_secs(180),
        },
        Sync::Ftfw => Mode::Ftfw {
            resend_queue_len: 64,
            ack_window: 8,
        },
    };
    Settings {
        mode,
        internal: InternalMode::Cache,
        external: ExternalMode::Cache,
        links: vec![LinkSettings {
            payload_len: 1472,
            default: true,
        }],
        native: engine::api::NativeSettings::default(),
        standby: engine::api::StandbySettings::default(),
        commit_timeout_s: None,
        purge_timeout: Duration::from_secs(60),
        startup_resync: false,
        tcp_window_tracking: true,
        expectation_sync: ExpectationSync::All,
        cache_limit,
        policy: engine::api::PolicySettings::default(),
        filter: FlowFilter::default(),
        overrun_resync: Some(Duration::from_secs(30)),
        poll: None,
    }
}

/// A running core.
#[derive(Debug)]
pub struct Node {
    /// It.
    pub engine: Engine,
    /// The present moment.
    pub now: Instant,
}

impl Node {
    /// One that has just read an empty table.
    #[must_use]
    pub fn new(sync: Sync) -> Self {
        Self::with(settings(sync, 64))
    }

    /// One that has just started.
    #[must_use]
    pub fn with(settings: Settings) -> Self {
        let start = Self::start();
        Self {
            engine: Engine::new(settings, start),
            now: start.now,
        }
    }

    /// The world at its start.
    #[must_use]
    pub fn start() -> Start {
        Start {
            now: Instant::now(),
            unix_time_s: 1_000,
            seed: 7,
            origins: Origins {
                commit: 1_001,
                inject: 1_002,
                flush: 1_003,
            },
        }
    }

    /// Lets the kernel tell of some entries, so that there is something to lose.
    pub fn fill(&mut self) {
        let mut bytes = Vec::new();
        for number in 0..4 {
            let addrs = Addrs::V4 {
                src: [10, 0, 0, number].into(),
                dst: [10, 0, 1, 1].into(),
            };
            let mut flow = Flow::new(Tuple {
                addrs,
                proto: protocol::UDP,
                l4: L4::Ports { src: 1, dst: 2 },
            });
            flow.status = Some(Status::CONFIRMED);
            emit::flow(&mut bytes, Header::flow_event(EventKind::New, 0), &flow);
        }
        self.engine.handle_events(self.now, &bytes);
        self.settle();
    }

    /// Takes everything that it wants done.
    pub fn settle(&mut self) {
        let mut count = 0;
        while self.engine.poll_output().is_some() {
            count += 1;
            assert!(count < 100_000, "output without end");
        }
    }

    /// Lets some time pass.
    pub fn wait(&mut self) {
        for _ in 0..8 {
            let Some(at) = self.engine.poll_timeout() else {
                return;
            };
            self.now = self.now.max(at);
            self.engine.handle_timeout(self.now);
            self.settle();
        }
    }
}
