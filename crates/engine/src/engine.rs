//! The core as a whole: who is told what, and what is to be done next.

mod claims;
mod command;
mod events;
mod expected;
mod lookup;
mod output;
mod owner;
mod peers;
pub(crate) mod reading;
mod recover;
mod report;
mod settle;
mod standby;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use flow::{Expectation, Flow, Key};
use syncwire::Change;

use crate::api::{
    ClientId, ExpectationSync, ExternalMode, InternalMode, KernelSocket, LinkId, LinkState,
    LiveSettings, Mode, Outcome, PeerId, PeerSet, Scope, Settings, Start,
};
use crate::cache::Ahead;
use crate::early::Early;
use crate::external::External;
use crate::internal::Internal;
use crate::journal::Journal;
use crate::kernel::commit::Commit;
use crate::kernel::dump::{Dump, Job, Purpose, Table};
use crate::kernel::flush::Flush;
use crate::kernel::inject::Inject;
use crate::kernel::prepare::Rules;
use crate::kernel::recheck::Recheck;
use crate::kernel::standby::Standby;
use crate::kernel::verify::Verify;
use crate::links::Switch;
use crate::notice::Notice;
use crate::peer::Peer;
use crate::policy::Gate;
use crate::random::Random;
use crate::role::{Progress, RoleKeeper};
use crate::session::Session;
use crate::session::receive::Receiver;
use crate::snapshot::{BypassStats, KernelStats};
use crate::wheel::Wheel;
use crate::work::Commits;
use output::Action;
use owner::Adoption;
use recover::Recovery;

pub use report::{Dumped, Side};

/// The replication core. See the crate's documentation for how to drive it.
#[derive(Debug)]
pub struct Engine {
    settings: Settings,
    start: Start,
    now: Instant,
    random: Random,
    internal: Internal,
    /// One for each node that tells us its entries.
    externals: Vec<External>,
    /// The version 1 of the protocol, if it is spoken. Its peer is the first origin.
    sessions: Vec<Session>,
    /// The peers of the native dialect, by [`crate::PeerId`].
    peers: Vec<Peer>,
    /// Rotates, so that no peer starves another.
    next_peer: usize,
    /// Peers whose streams are to be closed.
    broken: VecDeque<PeerId>,
    /// What peers give back of this node's own after its start.
    recovery: Option<Recovery>,
    /// The highest term of a role heard of; each takeover begins the next.
    term: u64,
    bypass: BypassStats,
    bypass_expectations: BypassStats,
    refresh: Option<Refresh>,
    commit: Option<Commit>,
    commits: Commits,
    inject: Option<Inject>,
    standby: Option<Standby>,
    /// The peers whose connections a promotion is about; `None`: all that do not forward.
    takeover_from: Option<PeerSet>,
    /// When the kernel is to be asked for what a hot standby has taken over.
    adopt_at: Option<Instant>,
    /// What a hot standby has taken over and does not own yet.
    adoption: Option<Adoption>,
    /// Another commit follows the one that runs.
    commits_again: bool,
    /// The term in which this node was promoted.
    own_term: u64,
    flush: Flush,
    dump: Dump,
    verify: Verify,
    recheck: Recheck,
    early: Early,
    ahead: Ahead,
    role: RoleKeeper,
    progress: Progress,
    notices: VecDeque<Notice>,
    done: VecDeque<(ClientId, Outcome)>,
    ended: VecDeque<Flow>,
    purge_at: Option<Instant>,
    overrun_at: Option<Instant>,
    /// How long the last reading of the connections took.
    reading_took: Duration,
    poll_at: Option<Instant>,
    stats: KernelStats,
    gate: Gate,
    /// Rotates, so that no kind of output starves another.
    turn: usize,
}

/// In the ALARM mode entries are told again after a random time.
#[derive(Debug)]
struct Refresh {
    after: Duration,
    flows: Wheel,
    expectations: Wheel,
    fired: Vec<u32>,
}

impl Engine {
    /// A core that has just started; its first output asks for the kernel's tables.
    #[must_use]
    pub fn new(settings: Settings, start: Start) -> Self {
        let now = start.now;
        let mut random = Random::new(start.seed);
        let (expire_after, refresh) = match settings.mode {
            Mode::Alarm {
                refresh,
                cache_timeout,
            } => (Some(cache_timeout), Some(refresh)),
            _ => (None, None),
        };
        let synchronises = !matches!(settings.mode, Mode::Statistics | Mode::Idle);
        let limit = settings.cache_limit;
        let mut engine = Self {
            now,
            internal: Internal::new(limit, random.next()),
            externals: Vec::new(),
            sessions: Vec::new(),
            peers: Vec::new(),
            next_peer: 0,
            broken: VecDeque::new(),
            recovery: None,
            term: 0,
            bypass: BypassStats::default(),
            bypass_expectations: BypassStats::default(),
            refresh: refresh.map(|after| {
                let longest = after + Duration::from_secs(2);
                Refresh {
                    after,
                    flows: Wheel::new(now, longest),
                    expectations: Wheel::new(now, longest),
                    fired: Vec::new(),
                }
            }),
            commit: None,
            commits: Commits::default(),
            inject: None,
            standby: None,
            takeover_from: None,
            adopt_at: None,
            adoption: None,
            commits_again: false,
            own_term: 0,
            flush: Flush::new(),
            dump: Dump::new(random.next()),
            verify: Verify::new(),
            recheck: Recheck::new(now),
            early: Early::default(),
            ahead: Ahead::default(),
            role: RoleKeeper::new(now),
            progress: Progress::new(now, refresh),
            notices: VecDeque::new(),
            done: VecDeque::new(),
            ended: VecDeque::new(),
            purge_at: None,
            overrun_at: None,
            reading_took: Duration::ZERO,
            poll_at: None,
            stats: KernelStats::default(),
            gate: Gate::new(&settings.policy.entries),
            turn: 0,
            random,
            settings,
            start,
        };
        if synchronises {
            engine.add_peers(expire_after);
        }
        engine.populate();
        engine
    }

    fn add_peers(&mut self, expire_after: Option<Duration>) {
        let max = self.settings.policy.max_entries.unwrap_or(usize::MAX);
        let (limit, now) = (self.settings.cache_limit.min(max), self.now);
        let native = &self.settings.native;
        if native.peers.is_empty() || !self.settings.links.is_empty() {
            let seed = self.random.next();
            self.externals
                .push(External::new(limit, seed, expire_after, now));
            let session = Session::new(&self.settings, self.start.unix_time_s, now);
            self.sessions.push(session);
        }
        let epoch = self.random.next();
        for peer in &native.peers {
            let origin = self.externals.len();
            self.peers
                .push(Peer::new(peer, &native.name, origin, epoch, limit));
            let seed = self.random.next();
            self.externals.push(External::new(limit, seed, None, now));
        }
        if !self.peers.is_empty() {
            self.internal.flows.journal = Some(Journal::new(false));
            self.internal.expectations.journal = Some(Journal::new(false));
        }
        self.choose_way_into_kernel(limit);
        self.prepare_recovery(limit);
    }

    fn choose_way_into_kernel(&mut self, limit: usize) {
        if self.settings.external == ExternalMode::Inject {
            let seed = self.random.next();
            self.inject = Some(Inject::new(self.rules(), limit, seed));
        } else if self.settings.standby.inject {
            self.stand_by(limit);
        }
    }

    fn stand_by(&mut self, limit: usize) {
        let seed = self.random.next();
        // Timeouts are set apart.
        let rules = Rules {
            timeout_s: None,
            ..self.rules()
        };
        let mut inject = Inject::new(rules, limit, seed);
        // The external caches know what is the peers'.
        inject.injected.set_primary(true);
        self.inject = Some(inject);
        self.standby = Some(Standby::new(self.externals.len()));
        for external in &mut self.externals {
            external.flows.journal = Some(Journal::new(true));
            external.expectations.journal = Some(Journal::new(true));
        }
    }

    /// Whether there is anybody to tell.
    fn synchronises(&self) -> bool {
        !self.sessions.is_empty() || !self.peers.is_empty()
    }

    /// Asks the peer for everything, if that is to be done once after a start. For when the start has been
    /// told to whoever waits for it.
    pub fn begin(&mut self, now: Instant) {
        self.now = now;
        if self.settings.startup_resync && self.synchronises() {
            self.request_resync();
        }
    }

    /// Whether the kernel's tables have been read for the first time.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        !self.dump.has(Purpose::Populate)
    }

    /// Whether so much waits to be sent or written that no more should be read from peers or dumps.
    #[must_use]
    pub fn is_congested(&self) -> bool {
        self.inject
            .as_ref()
            .is_some_and(|inject| inject.waiting() > 4096)
            || self.sessions.iter().any(Session::is_congested)
            || self.flush.waiting() > 65536
    }

    /// Takes a datagram of a peer.
    pub fn handle_datagram(&mut self, now: Instant, link: LinkId, bytes: &[u8]) {
        self.now = now;
        for external in &self.externals {
            let keys = syncwire::tuples(bytes).map(|tuple| Key { tuple, zone: 0 });
            external.flows.fetch(keys, &mut self.ahead);
        }
        self.incoming(|session, internal, receiver| {
            session.receive_datagram(internal, receiver, link, now, bytes);
        });
        debug_assert!(self.check_invariants());
    }

    /// Takes a piece of a peer's stream.
    pub fn handle_stream(&mut self, now: Instant, link: LinkId, piece: &[u8]) {
        self.now = now;
        self.incoming(|session, internal, receiver| {
            session.receive_stream(internal, receiver, link, now, piece);
        });
        debug_assert!(self.check_invariants());
    }

    /// A peer's stream has ended; what it left incomplete is dropped.
    pub fn handle_stream_closed(&mut self, link: LinkId) {
        for session in &mut self.sessions {
            session.links.take_stream(link);
        }
        debug_assert!(self.check_invariants());
    }

    /// The interface of a link has changed its condition.
    pub fn handle_link(&mut self, now: Instant, link: LinkId, state: LinkState) {
        self.now = now;
        for session in &mut self.sessions {
            match session.links.set_state(link, state) {
                Switch::Stays => {}
                Switch::To(link) => self.notices.push_back(Notice::LinkActive(link)),
                Switch::NoneLeft => self.notices.push_back(Notice::NoLink),
            }
        }
        debug_assert!(self.check_invariants());
    }

    /// Acts on the passing of time. Call when [`Engine::poll_timeout`] says so.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.now = now;
        for session in &mut self.sessions {
            session.handle_timeout(now);
        }
        for external in &mut self.externals {
            external.handle_timeout(now);
        }
        let now_s = self.now_s();
        if let Some(inject) = &mut self.inject {
            inject.handle_timeout(now_s);
        }
        self.time_peers();
        self.progress.handle_timeout(now, self.entries_of_peers());
        self.refresh_entries();
        self.recheck();
        let due = |at: &mut Option<Instant>| at.take_if(|at| *at <= now).is_some();
        if due(&mut self.purge_at) {
            self.purge();
        }
        if due(&mut self.adopt_at) {
            self.read(Purpose::Reconcile, None, Scope::All);
        }
        if due(&mut self.overrun_at) {
            self.stats.resyncs += 1;
            self.read(Purpose::Reconcile, None, Scope::All);
        }
        if due(&mut self.poll_at) {
            self.poll_at = self.settings.poll.map(|period| now + period);
            self.read(Purpose::Poll, None, Scope::All);
        }
        debug_assert!(self.check_invariants());
    }

    /// When to call [`Engine::handle_timeout`]. May change after any `handle_*`.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let sessions = self.sessions.iter().filter_map(Session::poll_timeout);
        let externals = self.externals.iter().filter_map(External::poll_timeout);
        let refresh = self.refresh.iter().flat_map(|refresh| {
            [
                refresh.flows.poll_timeout(),
                refresh.expectations.poll_timeout(),
            ]
        });
        let peers = self.peers.iter().filter_map(|p| p.poll_timeout(self.now));
        // The rest of a long sweep, after whatever else wants a turn.
        let sweep = (self.is_sweep_due() || self.is_standby_due()).then_some(self.now);
        let progress = self.progress.poll_timeout();
        let recovery = self.recovery.as_ref();
        let own = [
            self.purge_at,
            self.adopt_at,
            self.overrun_at,
            self.poll_at,
            sweep,
            progress,
            self.recheck.poll_timeout(),
            recovery.and_then(|it| it.poll_timeout(self.now)),
            self.standby.as_ref().and_then(|it| it.expectations_due),
        ];
        sessions
            .chain(externals)
            .chain(peers)
            .chain(refresh.chain(own).flatten())
            .min()
    }

    /// Takes over what may change while running.
    pub fn reconfigure(&mut self, now: Instant, live: LiveSettings) {
        self.now = now;
        self.settings.filter = live.filter;
        self.settings.commit_timeout_s = live.commit_timeout_s;
        self.settings.purge_timeout = live.purge_timeout;
        self.settings.overrun_resync = live.overrun_resync;
        debug_assert!(self.check_invariants());
    }

    /// Seconds since the start.
    fn now_s(&self) -> u32 {
        let passed = self.now.saturating_duration_since(self.start.now).as_secs();
        u32::try_from(passed).unwrap_or(u32::MAX)
    }

    fn rules(&self) -> Rules {
        Rules {
            // compat: entries injected at once get what the peer told.
            timeout_s: self
                .settings
                .commit_timeout_s
                .filter(|_| self.settings.external == ExternalMode::Cache),
            window_tracking: self.settings.tcp_window_tracking,
        }
    }

    fn has_internal_cache(&self) -> bool {
        self.settings.internal == InternalMode::Cache
    }

    fn replicates_expectations(&self) -> bool {
        self.settings.expectation_sync != ExpectationSync::Off
    }

    fn request_resync(&mut self) {
        // compat: ALARM has no messages but entries, which are told again anyway.
        if !matches!(self.settings.mode, Mode::Alarm { .. }) {
            self.notices.push_back(Notice::ResyncRequested);
            self.sessions.iter_mut().for_each(Session::request_resync);
        }
        self.progress.ask(self.now);
    }

    fn populate(&mut self) {
        if self.settings.mode == Mode::Idle || !self.has_internal_cache() {
            return;
        }
        if let Some(period) = self.settings.poll {
            self.poll_at = Some(self.now + period);
        }
        self.read(Purpose::Populate, None, Scope::All);
    }

    /// Has the kernel's tables read, expectations only where they are replicated; the last reading carries the client.
    fn read(&mut self, purpose: Purpose, client: Option<ClientId>, scope: Scope) {
        let expectations = scope != Scope::Flows && self.replicates_expectations();
        if scope != Scope::Expectations {
            self.dump.add(Job {
                table: Table::Flows,
                purpose,
                client: client.filter(|_| !expectations),
            });
        }
        if expectations {
            self.dump.add(Job {
                table: Table::Expectations,
                purpose,
                client,
            });
        }
    }

    /// Lets every session take what came in.
    fn incoming(&mut self, mut take: impl FnMut(&mut Session, &mut Internal, &mut dyn Receiver)) {
        let now_s = self.now_s();
        let with_expectations = self.replicates_expectations();
        let with_internal = self.has_internal_cache();
        for (session, external) in self.sessions.iter_mut().zip(&mut self.externals) {
            let mut receiver = Incoming {
                external,
                inject: self.inject.as_mut().filter(|_| self.standby.is_none()),
                gate: &mut self.gate,
                notices: &mut self.notices,
                now: self.now,
                now_s,
                with_expectations,
                with_internal,
            };
            take(session, &mut self.internal, &mut receiver);
        }
        if self.heard_at() == Some(self.now) {
            self.progress.heard(self.now, self.entries_of_peers());
        }
        if !self.has_internal_cache() && self.sessions.iter_mut().any(Session::take_bulk_request) {
            self.read(Purpose::Bulk, None, Scope::Flows);
        }
    }

    /// Whether the parts agree with each other; cheap enough for every call of a debug build.
    fn check_invariants(&self) -> bool {
        self.internal.flows.is_consistent()
            && self.internal.expectations.is_consistent()
            && self.sessions.iter().all(Session::is_consistent)
            && self.peers.iter().all(Peer::is_consistent)
            && self
                .externals
                .iter()
                .all(|e| e.flows.is_consistent() && e.expectations.is_consistent())
    }
}

/// Where a peer's changes go.
struct Incoming<'a> {
    external: &'a mut External,
    inject: Option<&'a mut Inject>,
    gate: &'a mut Gate,
    notices: &'a mut VecDeque<Notice>,
    now: Instant,
    now_s: u32,
    with_expectations: bool,
    with_internal: bool,
}

impl Receiver for Incoming<'_> {
    fn flow(&mut self, change: Change, flow: &Flow) {
        if !self.gate.admits(flow) {
            return;
        }
        match &mut self.inject {
            Some(inject) => inject.flow(change, flow),
            None => self.external.apply_flow(change, flow, self.now, self.now_s),
        }
    }

    fn expectation(&mut self, change: Change, expectation: &Expectation) {
        // What could neither be shown nor committed is not kept.
        if !self.with_expectations || !self.gate.admits_expectation(expectation) {
            return;
        }
        match &mut self.inject {
            Some(inject) => inject.expectation(change, expectation),
            None => self
                .external
                .apply_expectation(change, expectation, self.now, self.now_s),
        }
    }

    fn notice(&mut self, notice: Notice) {
        // compat: without an internal cache a bulk is not told.
        if self.with_internal || !matches!(notice, Notice::SendingBulk) {
            self.notices.push_back(notice);
        }
    }
}

/// The socket that each kind of kernel request goes through.
fn socket_of(action: Action) -> Option<KernelSocket> {
    match action {
        Action::Inject => Some(KernelSocket::Inject),
        Action::Commit => Some(KernelSocket::Commit),
        Action::Flush => Some(KernelSocket::Flush),
        Action::Verify => Some(KernelSocket::Query),
        Action::Dump => Some(KernelSocket::Dump),
        Action::Transmit(_) | Action::Stream(_) => None,
    }
}
