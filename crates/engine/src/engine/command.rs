//! What an administrator or a script asks for.

use std::time::Instant;

use super::Engine;
use super::recover::Recovery;
use crate::api::{
    Caches, ClientId, Command, ExternalMode, InternalMode, Mode, Outcome, PeerSet, Scope,
};
use crate::external::Owner;
use crate::fault::{Fault, is_planted};
use crate::kernel::commit::Commit;
use crate::kernel::dump::Purpose;
use crate::notice::Notice;
use crate::role::{Role, RoleCause};
use crate::session::Session;

impl Engine {
    /// Takes a command. Its end is told by [`crate::Output::Done`] with the same client.
    pub fn handle_command(&mut self, now: Instant, client: ClientId, command: Command) {
        self.now = now;
        // What waits for something ends later, everything else has ended when it returns.
        let waits = match command {
            _ if self.settings.mode == Mode::Idle => false,
            Command::Commit(scope) => {
                if scope != Scope::Expectations {
                    self.role.follow(Role::Primary, RoleCause::Commit, now);
                }
                for external in &mut self.externals {
                    external.owner = Owner::ThisNode;
                }
                self.start_commit(Some(client), scope)
            }
            Command::FlushCaches(caches) => {
                self.flush_caches(caches);
                false
            }
            Command::FlushKernel(scope) => {
                self.flush_kernel(scope);
                false
            }
            Command::ResyncFromKernel(scope) => self.resync_from_kernel(client, scope),
            Command::SendBulk => {
                self.send_bulk();
                false
            }
            Command::RequestResync => {
                if self.synchronises() {
                    self.role
                        .follow(Role::Backup, RoleCause::ResyncRequest, now);
                    self.request_resync();
                }
                false
            }
            Command::SchedulePurge => {
                self.role.follow(Role::Fault, RoleCause::Purge, now);
                self.schedule_purge();
                false
            }
            Command::Become(role, cause) => self.become_role(client, role, cause, None),
            Command::TakeOver(peers, cause) => {
                self.become_role(client, Role::Primary, cause, Some(peers))
            }
        };
        if let Some(inject) = self.inject.as_mut().filter(|_| self.standby.is_none()) {
            let role = self.role.state().role;
            inject.injected.set_primary(role == Role::Primary);
        }
        if !waits {
            self.done.push_back((client, Outcome::Done));
        }
        debug_assert!(self.check_invariants());
    }

    /// Takes a role, of a primary that of these peers. Returns whether the client has to wait.
    fn become_role(
        &mut self,
        client: ClientId,
        role: Role,
        cause: RoleCause,
        from: Option<PeerSet>,
    ) -> bool {
        let chose_others = std::mem::replace(&mut self.takeover_from, from) != from;
        let is_becoming = self.role.is_becoming(role);
        if is_becoming && !chose_others {
            self.role.wait(client);
            return true;
        }
        let superseded = self.role.begin(role, cause, self.now);
        let superseded = superseded.into_iter().map(|c| (c, Outcome::Superseded));
        self.done.extend(superseded);
        self.notices.push_back(Notice::Becoming(role));
        if role == Role::Primary {
            self.role.wait(client);
            if self.standby.is_some() {
                // The kernel has everything but what is under way.
                self.purge_at = None;
                return true;
            }
            self.take_origins();
            // The commit of what was given back knows nothing of what is taken over.
            self.commits_again |= self.recovery.as_ref().is_some_and(Recovery::is_committing);
            if let Some(commit) = self.commit.as_mut().filter(|_| is_becoming) {
                // It may have passed by what is taken over only now.
                commit.interrupt();
            }
            // A commit that runs already will do, unless it has been told to stop.
            if self.commit.is_none() && !self.start_commit(None, Scope::All) {
                self.finish_takeover();
            }
            return true;
        }
        if let Some(commit) = &mut self.commit {
            commit.interrupt();
        }
        self.schedule_purge();
        self.give_back();
        for peer in &mut self.peers {
            peer.tell_role(role, self.term);
        }
        if role == Role::Backup && self.synchronises() {
            self.request_resync();
        }
        if !is_planted(Fault::RoleNotSettled) {
            self.role.settle();
        }
        false
    }

    /// The kernel has everything: the node may take traffic, and the peers are told what there is now.
    fn finish_takeover(&mut self) {
        self.clear_version_1();
        self.leave_to_living();
        self.send_bulk();
        if self.inject.is_some() && self.has_internal_cache() {
            // What was injected is this node's now, and only the kernel knows it.
            self.read(Purpose::Reconcile, None, Scope::All);
        }
        self.announce_takeover();
    }

    /// Tells whoever waits for it that this node may take traffic.
    pub(super) fn announce_takeover(&mut self) {
        let took = self.now.saturating_duration_since(self.role.begun());
        self.notices.push_back(Notice::Takeover(took));
        let waited = self.role.settle();
        self.done
            .extend(waited.into_iter().map(|c| (c, Outcome::Done)));
    }

    pub(super) fn start_commit(&mut self, client: Option<ClientId>, scope: Scope) -> bool {
        let expectations = self.replicates_expectations();
        if !self.synchronises() || (scope == Scope::Expectations && !expectations) {
            return false;
        }
        if !is_planted(Fault::PurgeNotCancelled) {
            self.purge_at = None;
        }
        if self.commit.is_some() {
            self.notices.push_back(Notice::CommitInProgress);
            return false;
        }
        self.notices.push_back(match scope {
            Scope::All => Notice::CommittingAll,
            Scope::Flows => Notice::CommittingFlows,
            Scope::Expectations => Notice::CommittingExpectations,
        });
        if self.settings.external == ExternalMode::Inject {
            return false;
        }
        if self.settings.internal == InternalMode::Cache {
            let taken = self.externals.iter().filter(|external| external.is_taken());
            let entries: u64 = taken.map(|e| e.flows.stats().active).sum();
            self.internal.flows.expect(entries as usize);
        }
        self.commit = Some(Commit::new(client, scope, self.rules(), self.now));
        true
    }

    /// Ends a commit that has nothing left to do.
    pub(super) fn finish_commit(&mut self) {
        if let Some(mut commit) = self.commit.take_if(|commit| commit.is_done()) {
            commit.report(&mut self.notices, self.now);
            let (end, refusals) = commit.end(self.now);
            self.commits.ended(self.now, end, refusals);
            self.done
                .extend(commit.client().map(|client| (client, Outcome::Done)));
            if commit.is_interrupted() {
                self.notices.push_back(Notice::CommitInterrupted);
            }
            self.recovered();
            let is_late = std::mem::take(&mut self.commits_again);
            let takes_over = self.role.is_becoming(Role::Primary);
            if is_late && !takes_over {
                self.start_commit(None, Scope::All);
            }
            let is_all = commit.is_complete() && !is_late;
            if takes_over && (is_all || !self.start_commit(None, Scope::All)) {
                self.finish_takeover();
            }
        }
    }

    /// Commits what was taken over after the commit of a promotion began.
    pub(super) fn commit_late(&mut self) {
        match &mut self.commit {
            // It may have passed by that.
            Some(_) => self.commits_again = true,
            None => {
                self.start_commit(None, Scope::All);
            }
        }
    }

    fn flush_caches(&mut self, caches: Caches) {
        if self.settings.mode == Mode::Statistics {
            // compat: this mode has one cache, which is flushed under the name of both.
            if caches != Caches::External {
                self.notices.push_back(Notice::FlushingCaches);
                self.clear_internal();
            }
            return;
        }
        if self.commit.is_some() {
            self.notices.push_back(Notice::FlushRefused);
            return;
        }
        if caches != Caches::External {
            self.purge_at = None;
        }
        self.notices.push_back(match caches {
            Caches::Internal => Notice::FlushingInternal,
            Caches::External => Notice::FlushingExternal,
            Caches::Both => Notice::FlushingCaches,
        });
        if caches != Caches::External {
            if self.has_internal_cache() {
                self.clear_internal();
            } else {
                // compat: without an internal cache this command is about the kernel's table.
                self.flush_kernel_flows();
            }
        }
        if caches != Caches::Internal {
            for external in &mut self.externals {
                external.clear();
            }
        }
    }

    fn clear_internal(&mut self) {
        for session in &mut self.sessions {
            session.forget_all(&mut self.internal);
        }
        if let Some(refresh) = &mut self.refresh {
            refresh.flows.clear_all();
            refresh.expectations.clear_all();
        }
        self.internal.flows.clear();
        self.internal.expectations.clear();
    }

    fn flush_kernel(&mut self, scope: Scope) {
        let expectations = self.replicates_expectations();
        if scope != Scope::Expectations {
            self.notices.push_back(Notice::FlushingKernelFlows);
            self.stats.flushes += 1;
            self.flush_kernel_flows();
        }
        if scope != Scope::Flows && expectations {
            self.notices.push_back(Notice::FlushingKernelExpectations);
            self.stats.flushes += 1;
            self.flush.all_expectations();
        }
    }

    fn flush_kernel_flows(&mut self) {
        if self.settings.filter.is_empty() {
            self.flush.all_flows();
        } else {
            self.read(Purpose::Flush, None, Scope::Flows);
        }
    }

    fn resync_from_kernel(&mut self, client: ClientId, scope: Scope) -> bool {
        let tables = [
            (scope != Scope::Expectations, Notice::ResyncFlows),
            (
                scope != Scope::Flows && self.replicates_expectations(),
                Notice::ResyncExpectations,
            ),
        ];
        let mut is_reading = false;
        for (_, notice) in tables.into_iter().filter(|(is_asked, _)| *is_asked) {
            if self.has_internal_cache() {
                self.notices.push_back(notice);
                self.stats.resyncs += 1;
                is_reading = true;
            } else {
                self.notices.push_back(Notice::ResyncUnsupported);
            }
        }
        if is_reading {
            self.read(Purpose::Resync, Some(client), scope);
        }
        is_reading
    }

    fn send_bulk(&mut self) {
        if !self.synchronises() {
            return;
        }
        // compat: ALARM tells every entry again anyway.
        if matches!(self.settings.mode, Mode::Alarm { .. }) {
            return;
        }
        if self.has_internal_cache() {
            self.notices.push_back(Notice::SendingBulk);
            self.sessions.iter_mut().for_each(Session::start_bulk);
        } else {
            self.read(Purpose::Bulk, None, Scope::Flows);
        }
    }

    fn schedule_purge(&mut self) {
        if self.synchronises() && self.purge_at.is_none() {
            self.purge_at = Some(self.now + self.settings.purge_timeout);
            self.notices
                .push_back(Notice::PurgeScheduled(self.settings.purge_timeout));
        }
    }

    /// The scheduled purge: what this node had as a former primary is of no use any more.
    pub(super) fn purge(&mut self) {
        if let Some(standby) = &mut self.standby {
            // Connection by connection: what a peer forwards by now is the peer's.
            standby.leaving = Some(0);
            return;
        }
        self.notices.push_back(Notice::PurgingKernel);
        self.stats.flushes += 1;
        self.flush_kernel_flows();
        self.clear_internal();
    }
}
