//! What happens in a run and when: drawn from the seed before the run begins, so that parts can be left out.
//!
//! Each act carries all that decides it. Leaving one out changes no other.

use std::time::Duration;

use engine::api::Caches;
use engine::role::RoleCause;
use engine::{Command, Role, Scope};

use crate::plan::Plan;
use crate::{A, B, Faults, Rng};

/// When an act happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Before the engines start.
    Before,
    /// In this step of the trouble.
    Step(u32),
    /// At the end, when the node with the standby's part is told its role.
    Roles,
}

/// Something that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// One thing in a node's traffic.
    Traffic {
        /// Whose.
        node: usize,
        /// What.
        seed: u64,
    },
    /// Links become so bad: those of one sender, or all.
    Links(Option<usize>, Faults),
    /// An engine dies, and starts again after this time.
    Crash {
        /// Whose.
        node: usize,
        /// Time until it starts.
        pause: Duration,
        /// Its clock has jumped meanwhile.
        clock_jump_s: i64,
    },
    /// A command is given.
    Command(usize, Command),
    /// A datagram arrives that makes no sense.
    Garbage {
        /// Where.
        node: usize,
        /// What it is.
        seed: u64,
    },
    /// A node reads its events so slowly from now on.
    Reading(usize, u64),
    /// A process does not run for so long.
    Freeze(usize, Duration),
    /// Time passes between two role commands.
    Pause(Duration),
}

/// All that happens in a run, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// Acts.
    pub acts: Vec<(When, Act)>,
    /// Steps with trouble.
    pub steps: u32,
}

impl Schedule {
    /// Draws what happens.
    #[must_use]
    pub fn draw(rng: &mut Rng, plan: &Plan) -> Self {
        let mut schedule = Self {
            acts: Vec::new(),
            steps: plan.steps as u32,
        };
        for node in [A, B] {
            let count = rng.below(10);
            schedule.traffic(rng, plan, When::Before, node, count);
        }
        for step in 0..schedule.steps {
            for node in [A, B] {
                let count = if rng.chance(5) { 200 } else { rng.below(4) };
                schedule.traffic(rng, plan, When::Step(step), node, count);
            }
            schedule.trouble(rng, plan, When::Step(step));
        }
        schedule.roles(rng, plan.settings.purge_timeout);
        schedule
    }

    /// The same without clocks that jump.
    #[must_use]
    pub fn with_steady_clocks(&self) -> Self {
        let mut steady = self.clone();
        for (_, act) in &mut steady.acts {
            if let Act::Crash { clock_jump_s, .. } = act {
                *clock_jump_s = 0;
            }
        }
        steady
    }

    /// Whether a clock jumps.
    #[must_use]
    pub fn has_clock_jumps(&self) -> bool {
        let jumps =
            |act: &Act| matches!(act, Act::Crash { clock_jump_s, .. } if *clock_jump_s != 0);
        self.acts.iter().any(|(_, act)| jumps(act))
    }

    fn traffic(&mut self, rng: &mut Rng, plan: &Plan, when: When, node: usize, count: u64) {
        if plan.sizes[node] > 0 {
            let acts = (0..count).map(|_| {
                let seed = rng.bits();
                (when, Act::Traffic { node, seed })
            });
            self.acts.extend(acts);
        }
    }

    fn trouble(&mut self, rng: &mut Rng, plan: &Plan, when: When) {
        let node = |rng: &mut Rng| rng.below(2) as usize;
        if plan.severity > 0 && rng.chance(15) {
            let faults = faults(rng, plan);
            let sender = rng.chance(300).then(|| node(rng));
            self.acts.push((when, Act::Links(sender, faults)));
        }
        if plan.crashes && rng.chance(3) {
            let act = Act::Crash {
                node: node(rng),
                pause: if rng.chance(400) {
                    rng.millis(1, 50)
                } else {
                    rng.millis(500, 4000)
                },
                clock_jump_s: match rng.below(6) {
                    _ if !plan.clock_jumps => 0,
                    0 => 1,
                    1 => -1,
                    2 => 3600,
                    3 => -3600,
                    4 => -86400 * 3650,
                    _ => 86400 * 3650,
                },
            };
            self.acts.push((when, act));
        }
        if plan.commands && rng.chance(10) {
            self.acts
                .push((when, Act::Command(node(rng), command(rng))));
        }
        if plan.stalls && rng.chance(10) {
            let ms = *rng.pick(&[1, 2, 400]);
            self.acts.push((when, Act::Reading(node(rng), ms)));
        }
        if plan.stalls && rng.chance(3) {
            let act = Act::Freeze(node(rng), rng.millis(100, 3000));
            self.acts.push((when, act));
        }
        if plan.garbage && rng.chance(30) {
            let act = Act::Garbage {
                node: node(rng),
                seed: rng.bits(),
            };
            self.acts.push((when, act));
        }
    }

    /// Role commands in any order and repetition, some of them before the one before has done its work.
    fn roles(&mut self, rng: &mut Rng, purge: Duration) {
        for _ in 0..rng.between(1, 6) {
            let role = *rng.pick(&[Role::Primary, Role::Backup, Role::Fault]);
            self.acts.push((
                When::Roles,
                Act::Command(B, Command::Become(role, RoleCause::Role)),
            ));
            if rng.chance(500) {
                let pause = match rng.below(4) {
                    0 => rng.millis(0, 5),
                    1 => rng.millis(5, 1000),
                    2 => rng.millis(1000, 8000),
                    // The next one comes in the moment of the purge.
                    _ => purge + rng.millis(0, 5),
                };
                self.acts.push((When::Roles, Act::Pause(pause)));
            }
        }
    }
}

fn faults(rng: &mut Rng, plan: &Plan) -> Faults {
    let severity = plan.severity as u32;
    match rng.below(5) {
        0 => Faults::default(),
        1 => Faults {
            partitioned: severity > 1,
            loss: 50,
            ..Faults::default()
        },
        2 if severity > 1 => Faults {
            mtu: *rng.pick(&[200, 400, 1000]),
            corruption: rng.below(100) as u32,
            ..Faults::default()
        },
        _ => Faults {
            loss: rng.below(u64::from(severity) * 120 + 1) as u32,
            duplication: rng.below(100) as u32,
            corruption: rng.below(30) as u32,
            jitter_ms: rng.below(u64::from(severity) * 15 + 1),
            late: if severity > 2 && rng.chance(500) {
                50
            } else {
                0
            },
            ..Faults::default()
        },
    }
}

fn command(rng: &mut Rng) -> Command {
    let scope = *rng.pick(&[Scope::Flows, Scope::All]);
    let caches = *rng.pick(&[Caches::Internal, Caches::External, Caches::Both]);
    match rng.below(14) {
        0 => Command::FlushCaches(caches),
        1 => Command::FlushKernel(scope),
        2 => Command::SchedulePurge,
        3 | 4 => Command::ResyncFromKernel(scope),
        5 | 6 => Command::Commit(scope),
        7..=9 => Command::SendBulk,
        10 => {
            let role = *rng.pick(&[Role::Primary, Role::Backup, Role::Fault]);
            Command::Become(role, RoleCause::Role)
        }
        _ => Command::RequestResync,
    }
}
