//! A run: trouble, then calm, then the questions that must be answered with yes.

mod garbage;
mod questions;
mod roles;

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use engine::api::{Caches, InternalMode, Mode};
use engine::{Command, Role, Scope};
use flow::Key;

use crate::plan::{ModeName, Plan};
use crate::schedule::{Act, Schedule, When};
use crate::watch::{Promise, Violation, look};
use crate::world::{Outfit, name};
use crate::{A, B, Faults, Rng, World, kernel};

/// Time between two steps.
pub const STEP: Duration = Duration::from_millis(20);

/// When the first comparison is made.
const CALM: &str = "after calm";

/// A node that reads entries of which no event tells notices their end within this time.
const DEAF: Duration = Duration::from_secs(40);

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

/// A run before it begins.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Where it comes from.
    pub seed: u64,
    /// What it is about.
    pub plan: Plan,
    /// What happens.
    pub schedule: Schedule,
}

impl Scenario {
    /// Draws a run; in this mode, or in one that the seed decides.
    #[must_use]
    pub fn draw(seed: u64, mode: Option<ModeName>) -> Self {
        let mut rng = Rng::new(seed);
        let plan = Plan::draw(&mut rng, mode);
        let schedule = Schedule::draw(&mut rng, &plan);
        Self {
            seed,
            plan,
            schedule,
        }
    }
}

/// The first promise that was broken, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// In which step of the trouble; after the last one the questions follow.
    pub step: u32,
    /// Simulated time since the beginning.
    pub at: Duration,
    /// What was found; the first is what the failure is called after.
    pub violations: Vec<Violation>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "step {}, {:.3} s:", self.step, self.at.as_secs_f64())?;
        self.violations
            .iter()
            .try_for_each(|v| write!(f, "\n  {v}"))
    }
}

/// How a run went.
#[derive(Debug)]
pub struct Report {
    /// The same for two runs that did the same.
    pub transcript: u64,
    /// Datagrams sent and lost.
    pub datagrams: (u64, u64),
    /// What was handed to engines: events, answers, datagrams, commands, timeouts.
    pub inputs: u64,
    /// Entries of A's kernel at the end.
    pub entries: usize,
    /// Whether the first comparison was exact.
    pub exact: bool,
    /// How long after the last fault B had what A has; where no command was needed.
    pub agreed_after: Option<Duration>,
    /// Remaining lives of what was committed.
    pub lives: BTreeMap<Key, u32>,
    /// What should not be.
    pub failure: Option<Failure>,
}

/// Carries out the run of a seed.
#[must_use]
pub fn run(seed: u64, mode: Option<ModeName>) -> Report {
    carry_out(&Scenario::draw(seed, mode), false)
}

/// Carries out a run. Where clocks jump it is done once more without, and lives are compared.
#[must_use]
pub fn carry_out(scenario: &Scenario, trace: bool) -> Report {
    let mut report = carry_out_once(scenario, trace);
    // Commands put into the kernels what was known at their moment.
    let comparable = scenario.schedule.has_clock_jumps() && !scenario.plan.commands;
    if report.failure.is_none() && comparable {
        let steady = Scenario {
            schedule: scenario.schedule.with_steady_clocks(),
            ..scenario.clone()
        };
        let other = carry_out_once(&steady, false);
        report.inputs += other.inputs;
        report.failure = other
            .failure
            .or_else(|| compare_lives(scenario, &report, &other.lives));
    }
    report
}

fn compare_lives(
    scenario: &Scenario,
    report: &Report,
    steady: &BTreeMap<Key, u32>,
) -> Option<Failure> {
    let changed = report.lives.iter().find_map(|(key, left)| {
        let other = *steady.get(key)?;
        (left.abs_diff(other) > 1).then_some((key, *left, other))
    });
    changed.map(|(key, left, other)| Failure {
        step: scenario.schedule.steps,
        at: Duration::ZERO,
        violations: vec![Violation {
            promise: Promise::Lives,
            words: format!("{key:?} lives {left} s, and {other} s if no clock jumps"),
        }],
    })
}

fn carry_out_once(scenario: &Scenario, trace: bool) -> Report {
    let plan = &scenario.plan;
    let outfit = Outfit {
        settings: plan.settings.clone(),
        table_max: plan.table_max,
        sizes: plan.sizes.to_vec(),
        epoch_s: plan.epoch_s,
        checksum: plan.checksum,
    };
    let mut world = World::new(&mut Rng::new(scenario.seed ^ 0x5eed), &outfit);
    world.trace = trace;
    world.watch.trusts = plan.checksum;
    // After a flush, or where there was no room at first, an event tells of an entry only what has changed.
    world.watch.tells_all &= !plan.commands && !plan.tight;
    world.note(format_args!("{plan:?}"));
    let mut run = Run {
        committed_at: world.now(),
        roles_at: None,
        world,
        excuses: [Excuses::default(); 2],
        restart_at: [None; 2],
        gentle_until: None,
        step: 0,
        exact: false,
        agreed_after: None,
        lives: BTreeMap::new(),
        plan: plan.clone(),
        schedule: &scenario.schedule,
    };
    let stages = [
        Run::begin,
        Run::trouble,
        Run::calm,
        Run::questions,
        Run::ask_roles,
    ];
    for stage in stages {
        if run.world.watch.violations.is_empty() {
            stage(&mut run);
        }
    }
    run.report()
}

struct Run<'a> {
    plan: Plan,
    schedule: &'a Schedule,
    world: World,
    excuses: [Excuses; 2],
    restart_at: [Option<Instant>; 2],
    gentle_until: Option<Instant>,
    step: u32,
    exact: bool,
    agreed_after: Option<Duration>,
    lives: BTreeMap<Key, u32>,
    /// Since when B's kernel goes its own way.
    committed_at: Instant,
    /// When B was first told its role.
    roles_at: Option<Instant>,
}

impl Run<'_> {
    fn report(mut self) -> Report {
        let violations = std::mem::take(&mut self.world.watch.violations);
        let stats = self.world.link_stats();
        Report {
            transcript: self.world.transcript(),
            datagrams: stats.fold((0, 0), |sum, s| (sum.0 + s.sent, sum.1 + s.lost)),
            inputs: self.world.nodes.iter().map(|node| node.inputs).sum(),
            entries: self.world.nodes[A].kernel.len(),
            exact: self.exact,
            agreed_after: self.agreed_after,
            lives: self.lives,
            failure: (!violations.is_empty()).then(|| Failure {
                step: self.step,
                at: self.world.age(),
                violations,
            }),
        }
    }

    /// Both nodes start on good links and shake hands.
    fn begin(&mut self) {
        let early = self.acts(When::Before);
        for node in [A, B] {
            let it = &mut self.world.nodes[node];
            it.buffers.events = self.plan.event_buffer;
            it.batch_us = self.plan.batch_us[node];
            it.kernel.events_on_demand = self.plan.deaf_entries;
            if node == B && self.plan.helpers_missing {
                it.kernel.helpers = &[];
            }
            for (_, act) in early.iter().filter(|(_, act)| act.node() == Some(node)) {
                self.carry_out(*act);
            }
            self.world.start(node);
            self.world.run_for(Duration::from_millis(200));
        }
        self.world.run_for(Duration::from_secs(3));
        // What was there before is announced by nobody unless it is asked for.
        self.excuses[A].missing = true;
        self.excuses[B].missing = true;
        if self.plan.tight {
            self.excuses[A].internal = true;
            self.excuses[B].internal = true;
        }
        self.resynchronise();
    }

    fn acts(&self, when: When) -> Vec<(When, Act)> {
        let acts = self.schedule.acts.iter();
        acts.filter(|(at, _)| *at == when).copied().collect()
    }

    fn trouble(&mut self) {
        let mut acts = self.schedule.acts.iter().peekable();
        for step in 0..self.schedule.steps {
            self.step = step;
            crate::trace::enter_step(step);
            while let Some((when, act)) = acts.peek() {
                match when {
                    When::Step(at) if *at > step => break,
                    When::Roles => break,
                    When::Step(_) => self.carry_out(*act),
                    When::Before => {}
                }
                acts.next();
            }
            if step % 5 == 0 {
                self.world.expire();
            }
            self.start_what_is_due();
            self.world.run_for(STEP);
            look(&mut self.world);
            if !self.world.watch.violations.is_empty() {
                return;
            }
        }
        self.step = self.schedule.steps;
        crate::trace::enter_step(self.step);
    }

    fn start_what_is_due(&mut self) {
        let now = self.world.now();
        for node in [A, B] {
            if self.restart_at[node].is_some_and(|at| at <= now) {
                self.restart(node);
            }
        }
    }

    fn carry_out(&mut self, act: Act) {
        let now = self.world.now();
        match act {
            Act::Traffic { node, seed } => self.world.traffic_step(node, seed),
            Act::Links(sender, faults) => {
                if self.gentle_until.is_none_or(|until| until <= now) {
                    self.spoil_links(sender, faults);
                }
            }
            Act::Crash {
                node,
                pause,
                clock_jump_s,
            } => self.crash(node, pause, clock_jump_s),
            Act::Command(node, command) => self.command(node, command),
            Act::Garbage { node, seed } => self.garbage(node, seed),
            Act::Reading(node, ms) => self.world.nodes[node].reading_ms = ms,
            Act::Freeze(node, pause) => {
                self.world
                    .note(format_args!("{} does not run for {pause:?}", name(node)));
                self.world.nodes[node].freeze(now + pause);
            }
            Act::Pause(pause) => self.world.run_for(pause),
        }
    }

    fn spoil_links(&mut self, sender: Option<usize>, faults: Faults) {
        self.world.set_faults(sender, faults);
        if self.plan.mode != ModeName::Ftfw || !self.plan.checksum {
            self.excuse_all();
        }
    }

    fn excuse_all(&mut self) {
        self.excuses = self.excuses.map(|excuses| Excuses {
            missing: true,
            stale: true,
            ..excuses
        });
    }

    fn crash(&mut self, node: usize, pause: Duration, clock_jump_s: i64) {
        if self.restart_at[node].is_some() {
            return;
        }
        self.world.crash(node);
        if clock_jump_s != 0 {
            self.world.set_clock(node, clock_jump_s);
        }
        self.restart_at[node] = Some(self.world.now() + pause);
        // What ended meanwhile is told by nobody; what the peer tells meanwhile is not heard.
        self.excuses[node].stale = true;
        self.excuses[node].missing = true;
        self.excuses[1 - node].missing = true;
        if self.plan.mode != ModeName::Ftfw {
            self.excuses[1 - node].stale = true;
        }
    }

    fn restart(&mut self, node: usize) {
        self.restart_at[node] = None;
        if self.plan.gentle_restarts && self.world.in_flight_from(node) == 0 {
            self.world.set_faults(None, Faults::default());
            self.gentle_until = Some(self.world.now() + Duration::from_secs(4));
        } else {
            // Messages with a greeting are not asked for again when they are lost.
            self.excuse_all();
        }
        self.world.start(node);
    }

    fn command(&mut self, node: usize, command: Command) {
        self.world.note(format_args!("{}: {command:?}", name(node)));
        let bypass = self.plan.settings.internal == InternalMode::Bypass;
        let mut purges = false;
        match command {
            Command::FlushCaches(caches) => {
                purges = caches != Caches::External;
                if caches != Caches::Internal || bypass {
                    self.excuses[1 - node].missing = true;
                }
            }
            // The end of these entries is not told to the peer.
            Command::FlushKernel(_) => self.excuses[node].stale = true,
            Command::SchedulePurge | Command::Become(Role::Backup | Role::Fault, _) => {
                purges = true;
            }
            // Neither committed entries nor the end of those in their way are told; a takeover forgets the peer's.
            Command::Commit(_) | Command::Become(..) => {
                self.excuses[node].missing = true;
                self.excuses[node].stale = true;
                if matches!(command, Command::Become(Role::Primary, _)) {
                    self.excuses[1 - node].missing = true;
                }
            }
            _ => {}
        }
        if purges {
            self.excuses[node] = Excuses {
                missing: true,
                stale: true,
                internal: true,
            };
        }
        let now = self.world.now();
        self.world.nodes[node].command(now, command);
    }

    /// Everything works again, and whoever lacks something asks for it.
    fn calm(&mut self) {
        self.gentle_until = None;
        for node in [A, B] {
            self.world.nodes[node].reading_ms = 2;
        }
        self.world.set_faults(None, Faults::default());
        for node in [A, B] {
            if self.restart_at[node].is_some() {
                self.restart(node);
            }
        }
        if self.world.overflowed > 0 && self.plan.mode != ModeName::Ftfw {
            self.excuse_all();
        }
        self.measure_agreement();
        self.resynchronise();
    }

    /// Passes the time in which nodes agree by themselves, and notes when they do.
    fn measure_agreement(&mut self) {
        let began = self.world.now();
        let heal = match self.plan.deaf_entries {
            true => DEAF,
            false => Duration::from_secs(15),
        };
        let excused = self
            .excuses
            .iter()
            .any(|e| e.missing || e.stale || e.internal);
        let measured = self.plan.mode == ModeName::Ftfw && !excused && !self.plan.deaf_entries;
        while measured && self.agreed_after.is_none() && self.world.now() - began < heal {
            self.pass(Duration::from_millis(200));
            if self.agrees(A) && self.agrees(B) {
                self.agreed_after = Some(self.world.now() - began);
            }
        }
        self.pass(heal.saturating_sub(self.world.now() - began));
    }

    /// Asks for what may be missing.
    fn resynchronise(&mut self) {
        for node in [A, B] {
            if self.excuses[node].internal {
                self.command(node, Command::ResyncFromKernel(Scope::All));
                self.pass(Duration::from_secs(2));
                self.excuses[node].internal = self.plan.tight;
                self.excuses[node].missing = true;
            }
            if self.excuses[node].missing && self.plan.mode != ModeName::Alarm {
                self.command(1 - node, Command::RequestResync);
            }
            self.excuses[node].missing = self.plan.tight;
        }
        let settle = match self.plan.settings.mode {
            Mode::Alarm {
                refresh,
                cache_timeout,
            } => {
                // Time heals everything in this mode.
                self.excuses = self.excuses.map(|excuses| Excuses {
                    stale: false,
                    ..excuses
                });
                refresh + cache_timeout + Duration::from_secs(4)
            }
            _ => Duration::from_secs(5),
        };
        self.pass(settle);
    }

    /// Time without traffic.
    fn pass(&mut self, duration: Duration) {
        let end = self.world.now() + duration;
        while self.world.now() < end && self.world.watch.violations.is_empty() {
            self.world.expire();
            self.start_what_is_due();
            let step = Duration::from_millis(200).min(end - self.world.now());
            self.world.run_for(step);
            look(&mut self.world);
        }
    }

    fn object(&mut self, promise: Promise, words: String) {
        self.world.watch.object(promise, words);
    }

    /// Empties a node's kernel behind the back of its daemon.
    fn empty_kernel(&mut self, node: usize) {
        let now = self.world.now();
        self.world.nodes[node].kernel.flush(now, kernel::OTHER_TOOL);
    }
}

impl Act {
    fn node(&self) -> Option<usize> {
        match self {
            Self::Traffic { node, .. } => Some(*node),
            _ => None,
        }
    }
}
