//! Role commands in any order and repetition end in the state of the last one.

use std::time::{Duration, Instant};

use engine::api::{ExternalMode, InternalMode, Mode};
use engine::{Command, Role, Side};

use super::{Excuses, Run};
use crate::schedule::{Act, When};
use crate::watch::Promise;
use crate::{A, B, check};

impl Run<'_> {
    pub(super) fn ask_roles(&mut self) {
        let acts = self.acts(When::Roles);
        let last = acts.iter().rev().find_map(|(_, act)| match act {
            Act::Command(_, Command::Become(role, _)) => Some(*role),
            _ => None,
        });
        let Some(last) = last.filter(|_| self.plan.settings.external == ExternalMode::Cache) else {
            return;
        };
        self.roles_at = Some(self.world.now());
        let purged = self.give(&acts);
        self.excuses = [Excuses::default(); 2];
        let purge = self.plan.settings.purge_timeout;
        self.pass(Duration::from_secs(1));
        let flushes = self.flushes();
        let refresh = match self.plan.settings.mode {
            Mode::Alarm { refresh, .. } => refresh,
            _ => Duration::ZERO,
        };
        self.pass(purge + refresh + Duration::from_secs(6));
        self.ask_state(last);
        match last {
            Role::Primary if self.flushes() != flushes => {
                let words = "a purge that an older role had scheduled emptied a primary's kernel";
                self.object(Promise::Roles, words.to_owned());
            }
            Role::Primary if !purged => self.ask_kernels("after role commands"),
            Role::Primary => {}
            _ => self.ask_standby(last),
        }
    }

    fn flushes(&self) -> u64 {
        self.world.nodes[B].snapshot().kernel.flushes
    }

    /// Gives the commands. Returns whether a purge on the way has emptied the kernel for good: who asked its
    /// peer for everything when the purge was scheduled puts it back when it takes over. In ALARM nobody is
    /// asked, and everything comes in its own time.
    fn give(&mut self, acts: &[(When, Act)]) -> bool {
        let answers = !matches!(self.plan.settings.mode, Mode::Alarm { .. });
        let mut purge: Option<(Instant, Role)> = None;
        let mut purged = None;
        for (_, act) in acts {
            let now = self.world.now();
            let due = purge.take_if(|(at, _)| *at <= now);
            purged = due.map(|(_, role)| role).or(purged);
            match act {
                Act::Command(_, Command::Become(Role::Primary, _)) => {
                    purge = None;
                    purged.take_if(|role| answers && *role == Role::Backup);
                }
                Act::Command(_, Command::Become(role, _)) => {
                    purge.get_or_insert((now + self.plan.settings.purge_timeout, *role));
                }
                _ => {}
            }
            self.carry_out(*act);
        }
        let now = self.world.now();
        purged.is_some() || purge.is_some_and(|(at, _)| at <= now)
    }

    fn ask_state(&mut self, last: Role) {
        let it = &self.world.nodes[B];
        let Some(state) = it.engine().map(engine::Engine::role) else {
            return;
        };
        let pending = it.pending_commands();
        if state.role != last || !state.is_settled || pending > 0 {
            let words = format!("told to be {last:?}, is {state:?}, {pending} commands go on");
            self.object(Promise::Roles, words);
        }
    }

    /// A node that gave up has nothing of its own, and as a backup what its peer has.
    fn ask_standby(&mut self, last: Role) {
        let it = &self.world.nodes[B];
        let (kernel, internal) = (it.kernel.len(), it.flows(Side::Internal).len());
        if kernel > 0 || internal > 0 {
            let words =
                format!("{last:?} was not purged: {kernel} entries, {internal} in its cache");
            self.object(Promise::Roles, words);
        }
        if last != Role::Backup || self.plan.tight {
            return;
        }
        let now = self.world.now();
        let [a, b] = [&self.world.nodes[A], &self.world.nodes[B]];
        let known = match self.plan.settings.internal {
            InternalMode::Bypass => a.kernel.flows(now).collect(),
            InternalMode::Cache => a.flows(Side::Internal),
        };
        let (known, found) = (check::flows(known), check::flows(b.flows(Side::External)));
        if let Some(words) = check::compare(&known, &found).words(true, true) {
            self.object(Promise::Roles, format!("what the backup has: {words}"));
        }
    }
}
