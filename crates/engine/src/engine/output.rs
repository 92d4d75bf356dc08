//! What is to be done next, one piece at a time.

use super::{Engine, socket_of};
use crate::api::{LinkId, Output, PeerId};
use crate::fault::{Fault, is_planted};
use crate::kernel::commit::Commit;
use crate::kernel::dump::Purpose;

/// A piece of work, without the bytes it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Transmit(LinkId),
    Stream(PeerId),
    Inject,
    Commit,
    Flush,
    Verify,
    Dump,
}

/// Kinds of work that take turns.
const KINDS: usize = 7;

impl Engine {
    /// The next output. Call until `None` after every `handle_*`, or come back soon: each is a bounded
    /// piece of work. The bytes are good until the next call.
    #[must_use]
    pub fn poll_output(&mut self) -> Option<Output<'_>> {
        if let Some(flow) = self.ended.pop_front() {
            return Some(Output::FlowEnded(Box::new(flow)));
        }
        if let Some(peer) = self.broken.pop_front() {
            return Some(Output::ClosePeer(peer));
        }
        self.follow_caches();
        self.follow_externals();
        let action = loop {
            self.finish_commit();
            self.recover();
            self.finish_promotion();
            self.sweep();
            if let Some(notice) = self.notices.pop_front() {
                return Some(Output::Notice(notice));
            }
            if let Some((client, outcome)) = self.done.pop_front() {
                return Some(Output::Done { client, outcome });
            }
            match self.next_action() {
                Some(action) => break action,
                // A commit may end without another batch.
                None if self.commit.as_ref().is_some_and(Commit::is_done) => {}
                None => return None,
            }
        };
        let bytes = match action {
            Action::Transmit(link) => {
                let session = self
                    .sessions
                    .iter_mut()
                    .find(|session| session.is_sending())?;
                return Some(Output::Transmit {
                    link,
                    bytes: session.datagram(link),
                });
            }
            Action::Stream(peer) => {
                let bytes = self.peer(peer)?.teller.piece();
                return Some(Output::Stream { peer, bytes });
            }
            Action::Inject => self.inject.as_ref()?.bytes(),
            Action::Commit => self.commit.as_ref()?.bytes(),
            Action::Flush => self.flush.bytes(),
            Action::Verify => self.verify.bytes(),
            Action::Dump => self.dump.bytes(),
        };
        Some(Output::Kernel {
            socket: socket_of(action)?,
            bytes,
        })
    }

    fn next_action(&mut self) -> Option<Action> {
        for offset in 0..KINDS {
            let kind = (self.turn + offset) % KINDS;
            if let Some(action) = self.action_of_kind(kind) {
                self.turn = kind + 1;
                return Some(action);
            }
        }
        None
    }

    fn flushes(&self) -> bool {
        self.flush.is_under_way() || self.dump.has(Purpose::Flush)
    }

    fn action_of_kind(&mut self, kind: usize) -> Option<Action> {
        match kind {
            0 => {
                let (internal, now) = (&mut self.internal, self.now);
                self.sessions
                    .iter_mut()
                    .find_map(|session| session.next_datagram(internal, now))
                    .map(Action::Transmit)
            }
            1 => {
                let epoch = self.dump.epoch;
                self.feed_standby();
                let written = self.inject.as_mut()?.next_batch(epoch);
                self.give_up_claimed();
                written.then_some(Action::Inject)
            }
            // A flush asked for before must not find what is committed now.
            2 if self.flushes() => None,
            2 => {
                let expectations = self.replicates_expectations();
                let mut now_s = self.now_s();
                if is_planted(Fault::WallClockAges) {
                    now_s += self.start.unix_time_s % 101;
                }
                let commit = self.commit.as_mut()?;
                commit
                    .next_batch(&self.externals, expectations, self.now, now_s)
                    .then_some(Action::Commit)
            }
            3 => self.flush.next_batch().then_some(Action::Flush),
            4 => self.next_piece().map(Action::Stream),
            5 => self.verify.next_batch().then_some(Action::Verify),
            _ => self.dump.next_request(self.now).then_some(Action::Dump),
        }
    }
}
