//! What can be seen from outside: counters, sizes, entries.

use std::time::{Duration, Instant};

use flow::{Expectation, Flow};

use super::Engine;
use crate::api::{ExternalMode, InternalMode, Mode, PeerId, Scope};
use crate::cache::{Cache, Object, State};
use crate::external::External;
use crate::kernel::commit::Commit;
use crate::kernel::inject::Inject;
use crate::role::{Readiness, Role, RoleState};
use crate::session::Session;
use crate::snapshot::{
    ExternalStats, InternalStats, PolicyStats, QueueStats, ReceiveStats, Replication,
    ResendElement, Snapshot,
};
use crate::work::{Operations, finished};

/// Which cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The own kernel's entries.
    Internal,
    /// The peers' entries.
    External,
}

/// An entry of a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dumped<T> {
    /// The entry.
    pub entry: T,
    /// Time since it was put into this cache.
    pub active_since: Duration,
    /// Time until it is removed unless the peer tells it again (ALARM mode).
    pub expires_in: Option<Duration>,
}

impl Engine {
    /// Everything countable, now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let expectations = self.replicates_expectations();
        let synchronises = self.synchronises();
        let internal = match self.settings.internal {
            InternalMode::Cache => InternalStats::Cache(self.internal.flows.stats()),
            InternalMode::Bypass => InternalStats::Bypass(self.bypass),
        };
        let internal_expectations = match self.settings.internal {
            InternalMode::Cache => InternalStats::Cache(self.internal.expectations.stats()),
            InternalMode::Bypass => InternalStats::Bypass(self.bypass_expectations),
        };
        Snapshot {
            internal: (self.settings.mode != Mode::Idle).then_some(internal),
            external: synchronises.then(|| self.external_stats(|external| &external.flows)),
            internal_expectations: (expectations && synchronises).then_some(internal_expectations),
            external_expectations: (expectations && synchronises)
                .then(|| self.external_expectation_stats()),
            receive: self.receive_stats(),
            policy: self.policy_stats(),
            kernel: self.stats,
            tx_queue: self
                .sessions
                .first()
                .map_or(QueueStats::default(), |s| s.tx_stats()),
            resend_queue: self.sessions.first().and_then(|s| s.resend_stats()),
            queued_controls: self.sessions.iter().map(Session::queued_controls).sum(),
            injected: self.inject.as_ref().map_or(0, |i| i.injected.len() as u64),
            active_link: self.sessions.first().map_or(0, |s| s.links.active()),
        }
    }

    /// What this node is.
    #[must_use]
    pub fn role(&self) -> RoleState {
        self.role.state()
    }

    /// Whether this node could take over now, and why.
    #[must_use]
    pub fn readiness(&self, now: Instant) -> Readiness {
        let state = self.role.state();
        if !self.synchronises() {
            Readiness::Alone
        } else if !self.is_ready() {
            Readiness::Starting
        } else if self.commit.is_some() {
            Readiness::Committing
        } else if state.role == Role::Primary {
            Readiness::Primary
        } else if state.role == Role::Fault {
            Readiness::Fault
        } else if self.progress.believes_links(now)
            && self.sessions.iter().all(|s| s.links.is_cut_off())
        {
            Readiness::NoPeer
        } else {
            let entries = self.entries_of_peers();
            self.progress.readiness(now, self.heard_at(), entries)
        }
    }

    /// What is under way, and what has been done.
    #[must_use]
    pub fn operations(&self, now: Instant) -> Operations {
        let heard = self.heard_at();
        let session = self.sessions.first();
        let internal = &self.internal;
        let to_send = internal.flows.stats().active + internal.expectations.stats().active;
        let to_commit = |commit: &Commit| {
            let (mut flows, mut expectations) = (0, 0);
            for external in &self.externals {
                flows += external.flows.stats().active;
                expectations += external.expectations.stats().active;
            }
            match commit.scope() {
                Scope::Flows => flows,
                Scope::Expectations => expectations,
                Scope::All => flows + expectations,
            }
        };
        let commit = self.commit.as_ref();
        let mut operations = Operations {
            peer: self.progress.peer(now, heard),
            heard: heard.map(|at| now.saturating_duration_since(at)),
            commit: commit.map(|commit| commit.work(to_commit(commit), now)),
            bulk: session.and_then(|session| session.bulk_work(to_send, now)),
            bulk_sent: session
                .and_then(|s| s.last_bulk)
                .map(|end| finished(end, now)),
            bulk_received: self.progress.last.map(|end| finished(end, now)),
            ..Operations::default()
        };
        self.commits.tell(&mut operations, now);
        operations
    }

    /// How far the peers are behind, at most.
    #[must_use]
    pub fn replication(&self, now: Instant) -> Replication {
        self.sessions
            .iter()
            .map(|session| session.replication(now))
            .max_by_key(|replication| (replication.lag, replication.at_risk))
            .unwrap_or_default()
    }

    /// When a peer last said something.
    pub(super) fn heard_at(&self) -> Option<Instant> {
        self.sessions.iter().filter_map(|s| s.heard_at).max()
    }

    /// How many entries the peers have told of.
    pub(super) fn entries_of_peers(&self) -> u64 {
        match self.direct_inject() {
            Some(inject) => inject.flows.created.saturating_sub(inject.flows.destroyed),
            None => self
                .externals
                .iter()
                .map(|external| external.flows.stats().active)
                .sum(),
        }
    }

    /// The injection that stands in for the external caches.
    fn direct_inject(&self) -> Option<&Inject> {
        self.inject.as_ref().filter(|_| self.standby.is_none())
    }

    fn policy_stats(&self) -> PolicyStats {
        let put_off = self.sessions.iter().map(|session| session.asked.put_off);
        PolicyStats {
            resyncs_put_off: put_off.sum(),
            ..self.gate.stats
        }
    }

    fn external_stats<T: Object>(&self, cache: fn(&External) -> &Cache<T>) -> ExternalStats {
        match self.direct_inject() {
            Some(inject) => ExternalStats::Inject(inject.flows),
            None => ExternalStats::Cache(
                self.externals
                    .iter()
                    .map(|external| cache(external).stats())
                    .sum(),
            ),
        }
    }

    fn external_expectation_stats(&self) -> ExternalStats {
        match self.direct_inject() {
            Some(inject) => ExternalStats::Inject(inject.expectations),
            None => self.external_stats(|external| &external.expectations),
        }
    }

    fn receive_stats(&self) -> ReceiveStats {
        self.sessions
            .first()
            .map_or(ReceiveStats::default(), |session| session.stats)
    }

    /// The resend queue, oldest first; empty in other modes than FT-FW.
    pub fn resend_queue(&self) -> impl Iterator<Item = ResendElement> + '_ {
        self.sessions
            .iter()
            .flat_map(|session| session.resend_elements())
    }

    /// Whether a bulk is under way.
    #[must_use]
    pub fn is_bulk_running(&self) -> bool {
        self.sessions
            .iter()
            .any(|session| session.is_bulk_running())
    }

    /// Shows up to `max` connections from `cursor` on (0 at first). Returns where to go on.
    pub fn flows(
        &self,
        side: Side,
        cursor: u64,
        max: usize,
        visit: &mut dyn FnMut(&Dumped<Flow>),
    ) -> Option<u64> {
        let expires = |origin: usize, id| {
            let external = self
                .externals
                .get(origin)
                .filter(|_| side == Side::External)?;
            external.flow_expires_in(id, self.now)
        };
        match side {
            Side::Internal => self.walk(&[&self.internal.flows], cursor, max, &expires, visit),
            Side::External if self.settings.external == ExternalMode::Inject => None,
            Side::External => {
                let caches: Vec<_> = self.externals.iter().map(|e| &e.flows).collect();
                self.walk(&caches, cursor, max, &expires, visit)
            }
        }
    }

    /// Shows up to `max` connections that a native peer has told, from `cursor` on (0 at first). Returns where
    /// to go on.
    pub fn peer_flows(
        &self,
        peer: PeerId,
        cursor: u64,
        max: usize,
        visit: &mut dyn FnMut(&Dumped<Flow>),
    ) -> Option<u64> {
        let origin = self.peer(peer)?.origin;
        let cache = &self.externals.get(origin)?.flows;
        self.walk(&[cache], cursor, max, &|_, _| None, visit)
    }

    /// Shows up to `max` expectations from `cursor` on (0 at first). Returns where to go on.
    pub fn expectations(
        &self,
        side: Side,
        cursor: u64,
        max: usize,
        visit: &mut dyn FnMut(&Dumped<Expectation>),
    ) -> Option<u64> {
        let expires = |origin: usize, id| {
            let external = self
                .externals
                .get(origin)
                .filter(|_| side == Side::External)?;
            external.expectation_expires_in(id, self.now)
        };
        if !self.replicates_expectations() {
            return None;
        }
        match side {
            Side::Internal => {
                self.walk(&[&self.internal.expectations], cursor, max, &expires, visit)
            }
            Side::External => {
                let caches: Vec<_> = self.externals.iter().map(|e| &e.expectations).collect();
                self.walk(&caches, cursor, max, &expires, visit)
            }
        }
    }

    fn walk<T: Object>(
        &self,
        caches: &[&Cache<T>],
        cursor: u64,
        max: usize,
        expires: &dyn Fn(usize, u32) -> Option<Duration>,
        visit: &mut dyn FnMut(&Dumped<T::Value>),
    ) -> Option<u64> {
        // The cursor holds the cache in its high half and the position in its low one.
        let (mut origin, mut from) = ((cursor >> 32) as usize, cursor as u32);
        let mut count = 0;
        while let Some(cache) = caches.get(origin) {
            let Some(id) = cache.next_from(from) else {
                (origin, from) = (origin + 1, 0);
                continue;
            };
            if count == max {
                return Some((origin as u64) << 32 | u64::from(id));
            }
            from = id + 1;
            let Some(slot) = cache.get(id) else { continue };
            if slot.state != State::Dead {
                count += 1;
                let active_s = self.now_s().saturating_sub(slot.created_s);
                visit(&Dumped {
                    entry: slot.value(),
                    active_since: Duration::from_secs(active_s.into()),
                    expires_in: expires(origin, id),
                });
            }
        }
        None
    }
}
