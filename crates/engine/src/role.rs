//! What this node is in its pair, and whether it may become the one that forwards.

use std::fmt;
use std::time::{Duration, Instant};

use crate::api::ClientId;
use crate::work::{End, PeerState};

/// What this node is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Role {
    /// Nobody has said.
    #[default]
    Unknown,
    /// Traffic passes here.
    Primary,
    /// Traffic passes at the peer; this node is ready to take over.
    Backup,
    /// This node cannot forward.
    Fault,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "unknown",
            Self::Primary => "primary",
            Self::Backup => "backup",
            Self::Fault => "fault",
        })
    }
}

/// What a role follows from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum RoleCause {
    /// The daemon has started.
    #[default]
    Start,
    /// It was told by name.
    Role,
    /// keepalived told it.
    Keepalived,
    /// A commit (`-c`).
    Commit,
    /// A scheduled purge (`-t`).
    Purge,
    /// A request for the peer's table (`-n`).
    ResyncRequest,
}

impl fmt::Display for RoleCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Start => "start",
            Self::Role => "role",
            Self::Keepalived => "keepalived",
            Self::Commit => "commit (-c)",
            Self::Purge => "purge (-t)",
            Self::ResyncRequest => "resync request (-n)",
        })
    }
}

/// The role at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoleState {
    /// What this node is.
    pub role: Role,
    /// Since when.
    pub since: Instant,
    /// What it follows from.
    pub cause: RoleCause,
    /// Grows with each change; tells which of two answers is newer.
    pub generation: u64,
    /// Everything that the role asks for has been done; a primary may take traffic.
    pub is_settled: bool,
}

/// The role, and who waits until it is settled.
#[derive(Debug)]
pub(crate) struct RoleKeeper {
    state: RoleState,
    /// When it was asked for the last time.
    begun: Instant,
    waiting: Vec<ClientId>,
}

impl RoleKeeper {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            state: RoleState {
                role: Role::Unknown,
                since: now,
                cause: RoleCause::Start,
                generation: 0,
                is_settled: true,
            },
            begun: now,
            waiting: Vec::new(),
        }
    }

    pub(crate) fn state(&self) -> RoleState {
        self.state
    }

    /// Whether this role is being taken and not settled yet.
    pub(crate) fn is_becoming(&self, role: Role) -> bool {
        self.state.role == role && !self.state.is_settled
    }

    /// The role changes, or is taken once more. Returns who waited for the one before.
    pub(crate) fn begin(&mut self, role: Role, cause: RoleCause, now: Instant) -> Vec<ClientId> {
        if self.state.role != role {
            self.state.since = now;
            self.state.cause = cause;
        }
        self.begun = now;
        self.state.role = role;
        self.state.generation += 1;
        self.state.is_settled = false;
        std::mem::take(&mut self.waiting)
    }

    /// One of the old commands tells of the role without asking for one.
    pub(crate) fn follow(&mut self, role: Role, cause: RoleCause, now: Instant) {
        let known = self.state.role == role || !self.state.is_settled;
        // Whoever forwards may ask its peer for everything and goes on forwarding.
        let asks = role == Role::Backup && self.state.role == Role::Primary;
        if !known && !asks {
            self.state = RoleState {
                role,
                since: now,
                cause,
                generation: self.state.generation + 1,
                is_settled: true,
            };
        }
    }

    /// When it was asked for the last time.
    pub(crate) fn begun(&self) -> Instant {
        self.begun
    }

    pub(crate) fn wait(&mut self, client: ClientId) {
        self.waiting.push(client);
    }

    /// Everything has been done. Returns who waited for it.
    pub(crate) fn settle(&mut self) -> Vec<ClientId> {
        self.state.is_settled = true;
        std::mem::take(&mut self.waiting)
    }
}

/// Whether this node could take over now, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// It forwards.
    Primary,
    /// It has what the peer has.
    Synchronised,
    /// No peer is to be heard: there is nobody to wait for.
    NoPeer,
    /// Nothing is replicated in this mode.
    Alone,
    /// The kernel's table is being read for the first time.
    Starting,
    /// The external cache is being put into the kernel.
    Committing,
    /// A peer is there, but was not asked for what it has.
    NotAsked,
    /// The peer was asked and has not answered yet.
    Awaiting,
    /// The peer's entries are coming in.
    Receiving {
        /// How many there are by now.
        entries: u64,
    },
    /// This node cannot forward.
    Fault,
}

impl Readiness {
    /// Whether it could.
    #[must_use]
    pub fn is_ready(self) -> bool {
        matches!(
            self,
            Self::Primary | Self::Synchronised | Self::NoPeer | Self::Alone
        )
    }
}

impl fmt::Display for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Primary => f.write_str("this node forwards"),
            Self::Synchronised => f.write_str("the peer's entries are here"),
            Self::NoPeer => f.write_str("no peer is to be heard"),
            Self::Alone => f.write_str("nothing is replicated in this mode"),
            Self::Starting => f.write_str("reading the kernel's table"),
            Self::Committing => f.write_str("committing the external cache"),
            Self::NotAsked => f.write_str("the peer was not asked for its entries"),
            Self::Awaiting => f.write_str("waiting for the peer's entries"),
            Self::Receiving { entries } => {
                write!(f, "receiving the peer's entries, {entries} so far")
            }
            Self::Fault => f.write_str("this node cannot forward"),
        }
    }
}

/// Growth is looked at this often.
const WINDOW: Duration = Duration::from_millis(500);

/// The kernel may tell so late that a link has come back.
const LINK_GRACE: Duration = Duration::from_millis(1500);

/// Growth in a window that traffic alone explains ...
const GROWTH_MIN: u64 = 64;

/// ... or this part of what there is.
const GROWTH_PART: u64 = 100;

/// How far the peer's answer to a request for everything has come.
///
/// Version 1 of the protocol does not tell where a bulk ends. While it comes in, the number of entries grows
/// much faster than traffic makes it grow; when it no longer does, the bulk is complete.
#[derive(Debug)]
pub(crate) struct Progress {
    asked: bool,
    since: Instant,
    /// A peer that says nothing for so long is not there.
    patience: Duration,
    window: Duration,
    /// End of the window under way and the number of entries at its start.
    watch: Option<(Instant, u64)>,
    is_complete: bool,
    /// When the last bulk that was asked for was complete.
    pub(crate) last: Option<End>,
}

impl Progress {
    /// `refresh`: how long it takes a peer to tell each entry again of its own accord (ALARM mode), where
    /// nothing needs to be asked for.
    pub(crate) fn new(now: Instant, refresh: Option<Duration>) -> Self {
        let window = refresh.map_or(WINDOW, |refresh| refresh + Duration::from_secs(1));
        Self {
            asked: refresh.is_some(),
            since: now,
            patience: window.max(Duration::from_secs(3)),
            window,
            watch: None,
            is_complete: false,
            last: None,
        }
    }

    /// The peer was asked for everything.
    pub(crate) fn ask(&mut self, now: Instant) {
        self.asked = true;
        self.since = now;
        self.watch = None;
        self.is_complete = false;
    }

    /// Whether links that are all down mean that there is no peer: not right after it was asked, as they may have come
    /// back with whatever made this node ask.
    pub(crate) fn believes_links(&self, now: Instant) -> bool {
        !self.asked || now.saturating_duration_since(self.since) >= LINK_GRACE
    }

    /// The peer said something.
    pub(crate) fn heard(&mut self, now: Instant, entries: u64) {
        if self.asked && !self.is_complete && self.watch.is_none() {
            self.watch = Some((now + self.window, entries));
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant, entries: u64) {
        let Some((_, before)) = self.watch.take_if(|(end, _)| *end <= now) else {
            return;
        };
        if entries.saturating_sub(before) <= GROWTH_MIN.max(entries / GROWTH_PART) {
            self.is_complete = true;
            // The last window has shown that it was over.
            let took = now.saturating_duration_since(self.since);
            self.last = Some((now, took.saturating_sub(self.window), entries));
        } else {
            self.watch = Some((now + self.window, entries));
        }
    }

    /// Whether the peer is to be heard. `heard`: when it last said something.
    pub(crate) fn peer(&self, now: Instant, heard: Option<Instant>) -> PeerState {
        match heard {
            None => PeerState::Unheard,
            Some(at) if now.saturating_duration_since(at) >= self.patience => PeerState::Silent,
            Some(_) => PeerState::Alive,
        }
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.watch.map(|(end, _)| end)
    }

    /// What the peer's side of the matter is. `heard`: when it last said something.
    pub(crate) fn readiness(
        &self,
        now: Instant,
        heard: Option<Instant>,
        entries: u64,
    ) -> Readiness {
        let silent_since = heard.map_or(self.since, |at| at.max(self.since));
        let is_silent = now.saturating_duration_since(silent_since) >= self.patience;
        match self.watch {
            _ if self.is_complete => Readiness::Synchronised,
            _ if is_silent => Readiness::NoPeer,
            Some(_) => Readiness::Receiving { entries },
            None if !self.asked && heard.is_some() => Readiness::NotAsked,
            None => Readiness::Awaiting,
        }
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test may start anywhere")]
mod tests {
    use super::*;

    #[test]
    fn a_bulk_is_complete_when_the_entries_stop_growing() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut progress = Progress::new(start, None);
        progress.heard(start, 0);
        assert_eq!(
            progress.readiness(start, Some(start), 0),
            Readiness::NotAsked
        );
        progress.ask(start);
        assert_eq!(
            progress.readiness(start, Some(start), 0),
            Readiness::Awaiting
        );
        progress.heard(at(10), 0);
        for (ms, entries) in [(510, 40_000), (1010, 80_000)] {
            assert_eq!(progress.poll_timeout(), Some(at(ms)));
            progress.handle_timeout(at(ms), entries);
            let readiness = progress.readiness(at(ms), Some(at(ms)), entries);
            assert_eq!(readiness, Readiness::Receiving { entries });
        }
        // Traffic goes on: the table grows by half a percent.
        progress.handle_timeout(at(1510), 80_400);
        assert_eq!(
            progress.readiness(at(1510), Some(at(1510)), 80_400),
            Readiness::Synchronised
        );
        assert_eq!(progress.poll_timeout(), None);
    }

    #[test]
    fn a_peer_that_says_nothing_is_not_waited_for() {
        let start = Instant::now();
        let mut progress = Progress::new(start, None);
        progress.ask(start);
        let soon = start + Duration::from_secs(1);
        assert_eq!(progress.readiness(soon, None, 0), Readiness::Awaiting);
        let later = start + Duration::from_secs(3);
        assert_eq!(progress.readiness(later, None, 0), Readiness::NoPeer);
        progress.heard(later, 0);
        let receiving = Readiness::Receiving { entries: 0 };
        assert_eq!(progress.readiness(later, Some(later), 0), receiving);
        let gone = later + Duration::from_secs(3);
        assert_eq!(progress.readiness(gone, Some(later), 0), Readiness::NoPeer);
    }

    #[test]
    fn old_commands_tell_the_role_but_never_take_it_from_a_primary_that_asks() {
        let now = Instant::now();
        let mut keeper = RoleKeeper::new(now);
        keeper.follow(Role::Fault, RoleCause::Purge, now);
        keeper.follow(Role::Backup, RoleCause::ResyncRequest, now);
        assert_eq!(keeper.state().role, Role::Backup);
        keeper.follow(Role::Primary, RoleCause::Commit, now);
        keeper.follow(Role::Backup, RoleCause::ResyncRequest, now);
        assert_eq!(keeper.state().role, Role::Primary);
        assert_eq!(keeper.state().generation, 3);
    }
}
