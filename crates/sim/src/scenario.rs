//! A run: trouble, then calm, then the questions that must be answered with yes.

use std::time::{Duration, Instant};

use engine::api::{Caches, InternalMode, Mode};
use engine::{Command, LinkId, Scope, Side};

use crate::plan::{ModeName, Plan};
use crate::{A, B, Faults, Rng, World, world::name};

/// Time between two steps.
const STEP: Duration = Duration::from_millis(20);

/// When the first comparison is made.
const CALM: &str = "after calm";

/// What may not be asked of one direction, because of what happened.
#[derive(Clone, Copy, Debug, Default)]
struct Excuses {
    /// The peer may lack entries, or know them in an older state.
    missing: bool,
    /// The peer may have entries that have gone.
    stale: bool,
    /// The internal cache may lack entries of the kernel.
    internal: bool,
}

/// How a run went.
#[derive(Debug)]
pub struct Report {
    /// What the seed made of it.
    pub plan: Plan,
    /// The same for two runs that did the same.
    pub transcript: u64,
    /// Datagrams sent and lost.
    pub datagrams: (u64, u64),
    /// Entries of A's kernel at the end.
    pub entries: usize,
    /// Whether the first comparison was exact.
    pub exact: bool,
    /// What should not be.
    pub violations: Vec<String>,
}

/// Carries out the run of a seed.
#[must_use]
pub fn run(seed: u64, mode: Option<ModeName>, trace: bool) -> Report {
    let mut rng = Rng::new(seed);
    let plan = Plan::draw(&mut rng, mode);
    let mut world = World::new(&mut rng, &plan.settings, plan.table_max, plan.sizes);
    world.trace = trace;
    world.note(format_args!("{plan:?}"));
    let mut run = Run {
        world,
        excuses: [Excuses::default(); 2],
        restart_at: [None; 2],
        gentle_until: None,
        violations: Vec::new(),
        exact: false,
        rng,
        plan,
    };
    run.begin();
    run.trouble();
    run.calm();
    run.questions();
    let stats = run.world.links.iter().flatten().map(|link| link.stats);
    Report {
        transcript: run.world.transcript(),
        datagrams: stats.fold((0, 0), |sum, s| (sum.0 + s.sent, sum.1 + s.lost)),
        entries: run.world.nodes[A].kernel.len(),
        exact: run.exact,
        violations: run.violations,
        plan: run.plan,
    }
}

mod questions;

struct Run {
    plan: Plan,
    world: World,
    excuses: [Excuses; 2],
    restart_at: [Option<Instant>; 2],
    gentle_until: Option<Instant>,
    violations: Vec<String>,
    exact: bool,
    rng: Rng,
}

impl Run {
    /// Both nodes start on good links and shake hands.
    fn begin(&mut self) {
        for node in [A, B] {
            self.world.nodes[node].buffers.events = self.plan.event_buffer;
            for _ in 0..self.rng.below(10) {
                self.traffic(node);
            }
            self.world.start(node);
            let pause = self.rng.millis(0, 500);
            self.world.run_for(pause);
        }
        self.world.run_for(Duration::from_secs(3));
        // What was there before is announced by nobody unless it is asked for.
        self.excuses[A].missing = true;
        self.excuses[B].missing = true;
        self.resynchronise();
    }

    fn trouble(&mut self) {
        for step in 0..self.plan.steps {
            for node in [A, B] {
                let count = if self.rng.chance(5) {
                    200
                } else {
                    self.rng.below(4)
                };
                for _ in 0..count {
                    self.traffic(node);
                }
            }
            if step % 5 == 0 {
                self.world.expire();
            }
            self.make_trouble();
            self.world.run_for(STEP);
            if step % 25 == 0 {
                self.check_bounds();
            }
        }
    }

    fn traffic(&mut self, node: usize) {
        if self.plan.sizes[node] > 0 {
            self.world.traffic_step(node);
        }
    }

    fn make_trouble(&mut self) {
        let now = self.world.now();
        for node in [A, B] {
            if self.restart_at[node].is_some_and(|at| at <= now) {
                self.restart(node);
            }
        }
        let gentle = self.gentle_until.is_some_and(|until| until > now);
        if !gentle && self.plan.severity > 0 && self.rng.chance(15) {
            let faults = self.faults();
            self.world.set_faults(faults);
            if self.plan.mode != ModeName::Ftfw {
                self.excuses = self.excuses.map(|excuses| Excuses {
                    missing: true,
                    stale: true,
                    ..excuses
                });
            }
        }
        if self.plan.crashes && self.rng.chance(3) {
            let node = self.rng.below(2) as usize;
            self.crash(node);
        }
        if self.plan.commands && self.rng.chance(10) {
            self.random_command();
        }
        if self.plan.stalls && self.rng.chance(10) {
            let node = self.rng.below(2) as usize;
            self.world.nodes[node].reading_ms = *self.rng.pick(&[1, 2, 400]);
        }
        if self.plan.garbage && self.rng.chance(30) {
            self.garbage();
        }
    }

    fn faults(&mut self) -> Faults {
        let severity = self.plan.severity as u32;
        let rng = &mut self.rng;
        match rng.below(4) {
            0 => Faults::default(),
            1 => Faults {
                partitioned: severity > 1,
                loss: 50,
                ..Faults::default()
            },
            _ => Faults {
                loss: rng.below(u64::from(severity) * 120 + 1) as u32,
                duplication: rng.below(100) as u32,
                jitter_ms: rng.below(u64::from(severity) * 15 + 1),
                partitioned: false,
            },
        }
    }

    fn crash(&mut self, node: usize) {
        if self.restart_at[node].is_some() {
            return;
        }
        self.world.crash(node);
        let pause = self.rng.millis(500, 4000);
        self.restart_at[node] = Some(self.world.now() + pause);
        // What ended meanwhile is told by nobody; what the peer tells meanwhile is not heard.
        self.excuses[node].stale = true;
        self.excuses[node].missing = true;
        self.excuses[1 - node].missing = true;
    }

    fn restart(&mut self, node: usize) {
        self.restart_at[node] = None;
        if self.plan.gentle_restarts {
            self.world.set_faults(Faults::default());
            self.gentle_until = Some(self.world.now() + Duration::from_secs(4));
        } else {
            // Messages with a greeting are not asked for again when they are lost.
            self.excuses = self.excuses.map(|excuses| Excuses {
                missing: true,
                stale: true,
                ..excuses
            });
        }
        self.world.start(node);
    }

    fn random_command(&mut self) {
        let node = self.rng.below(2) as usize;
        let scope = *self.rng.pick(&[Scope::Flows, Scope::All]);
        let caches = *self
            .rng
            .pick(&[Caches::Internal, Caches::External, Caches::Both]);
        let command = match self.rng.below(12) {
            0 => Command::FlushCaches(caches),
            1 => Command::FlushKernel(scope),
            2 => Command::SchedulePurge,
            3 | 4 => Command::ResyncFromKernel(scope),
            5 | 6 => Command::Commit(scope),
            7..=9 => Command::SendBulk,
            _ => Command::RequestResync,
        };
        self.command(node, command);
    }

    fn command(&mut self, node: usize, command: Command) {
        self.world.note(format_args!("{}: {command:?}", name(node)));
        let bypass = self.plan.settings.internal == InternalMode::Bypass;
        match command {
            Command::FlushCaches(caches) => {
                if caches != Caches::External {
                    self.excuses[node].internal = true;
                    self.excuses[node].missing = true;
                    self.excuses[node].stale = true;
                }
                if caches != Caches::Internal || bypass {
                    self.excuses[1 - node].missing = true;
                }
            }
            // The end of these entries is not told to the peer.
            Command::FlushKernel(_) => self.excuses[node].stale = true,
            Command::SchedulePurge => {
                self.excuses[node].internal = true;
                self.excuses[node].missing = true;
                self.excuses[node].stale = true;
            }
            // Neither committed entries nor the end of those in their way are told.
            Command::Commit(_) => {
                self.excuses[node].missing = true;
                self.excuses[node].stale = true;
            }
            _ => {}
        }
        let now = self.world.now();
        self.world.nodes[node].command(now, command);
    }

    /// A datagram that makes no sense changes nothing but a counter.
    fn garbage(&mut self) {
        let node = self.rng.below(2) as usize;
        if self.world.nodes[node].engine().is_none() {
            return;
        }
        let mut bytes: Vec<u8> = (0..self.rng.between(1, 80))
            .map(|_| self.rng.bits() as u8)
            .collect();
        if let [first, _, high, low, ..] = bytes.as_mut_slice() {
            match self.rng.below(4) {
                0 => (*high, *low) = (0, 0),
                1 => (*high, *low) = (0xff, 0xff),
                2 => bytes.truncate(7),
                _ => {
                    *first = (*first & 0x0f) | 0x30;
                    let len = bytes.len().max(16) as u8;
                    bytes.resize(usize::from(len), 0);
                    (bytes[2], bytes[3]) = (0, len);
                }
            }
        }
        let now = self.world.now();
        let state = |run: &Self| {
            let node = &run.world.nodes[node];
            let sides = [Side::Internal, Side::External];
            (
                sides.map(|side| node.flows(side)),
                node.snapshot().tx_queue,
                node.snapshot().resend_queue,
            )
        };
        let counted = |run: &Self| run.world.nodes[node].snapshot().receive.malformed();
        let (before, count) = (state(self), counted(self));
        self.world.nodes[node].receive(now, LinkId(0), &bytes);
        if state(self) != before || counted(self) != count + 1 {
            self.violations
                .push(format!("{} was impressed by {bytes:02x?}", name(node)));
        }
    }

    fn check_bounds(&mut self) {
        for node in [A, B] {
            let snapshot = self.world.nodes[node].snapshot();
            if let (
                Some(queue),
                Mode::Ftfw {
                    resend_queue_len, ..
                },
            ) = (snapshot.resend_queue, &self.plan.settings.mode)
                && queue.len > *resend_queue_len as u64
            {
                self.violations
                    .push(format!("resend queue of {}: {queue:?}", name(node)));
            }
            let entries = self.world.nodes[node].kernel.len() as u64;
            if snapshot.tx_queue.len > 2 * entries + 1000 {
                let queue = snapshot.tx_queue;
                self.violations
                    .push(format!("transmit queue of {}: {queue:?}", name(node)));
            }
        }
    }

    /// Everything works again, and whoever lacks something asks for it.
    fn calm(&mut self) {
        self.gentle_until = None;
        for node in [A, B] {
            self.world.nodes[node].reading_ms = 2;
        }
        self.world.set_faults(Faults::default());
        for node in [A, B] {
            if self.restart_at[node].is_some() {
                self.restart(node);
            }
        }
        self.pass(Duration::from_secs(15));
        self.resynchronise();
    }

    /// Asks for what may be missing.
    fn resynchronise(&mut self) {
        for node in [A, B] {
            if self.excuses[node].internal {
                self.command(node, Command::ResyncFromKernel(Scope::All));
                self.pass(Duration::from_secs(2));
                self.excuses[node].internal = false;
                self.excuses[node].missing = true;
            }
            if self.excuses[node].missing && self.plan.mode != ModeName::Alarm {
                self.command(1 - node, Command::RequestResync);
            }
            self.excuses[node].missing = false;
        }
        let settle = match self.plan.settings.mode {
            Mode::Alarm {
                refresh,
                cache_timeout,
            } => {
                // Time heals everything in this mode.
                self.excuses = [Excuses::default(); 2];
                refresh + cache_timeout + Duration::from_secs(4)
            }
            _ => Duration::from_secs(5),
        };
        self.pass(settle);
    }

    /// Time without traffic.
    fn pass(&mut self, duration: Duration) {
        let end = self.world.now() + duration;
        while self.world.now() < end {
            self.world.expire();
            self.world.run_for(Duration::from_millis(200));
        }
    }
}
