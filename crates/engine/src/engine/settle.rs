//! Timeouts of what was taken over: the kernel of a standby has long ones.

use flow::Flow;

use super::Engine;
use super::standby::{living, next_step};
use crate::kernel::standby::{STEP, TIMEOUT_S, Walk};
use crate::packed::PackedFlow;

impl Engine {
    /// Gives connections that were taken over the timeouts that they should have, unless traffic has.
    pub(super) fn settle_timeouts(&mut self, walk: Walk) -> Option<Walk> {
        let is_native = self.peers.iter().any(|peer| peer.origin == walk.origin);
        let is_taken = self.externals.get(walk.origin)?.is_taken();
        let mut next = walk.next;
        let end = walk.next.saturating_add(STEP);
        while is_taken && next < end && self.is_kernel_ready() {
            self.settle_timeout(walk.origin, next);
            let external = self.externals.get_mut(walk.origin)?;
            if !is_native {
                // A peer of version 1 does not say what it still has.
                external.flows.remove(next);
            }
            next += 1;
        }
        let passed = if is_taken { next } else { u32::MAX };
        let external = self.externals.get(walk.origin)?;
        Some(next_step(walk, passed, &external.flows))
    }

    /// Gives a connection of an origin that is being taken over the timeout that it should have, if it is this node's by it.
    pub(super) fn settle_timeout(&mut self, origin: usize, id: u32) {
        let external = self.externals.get(origin);
        let Some(slot) = external.and_then(|external| external.flows.get(id)) else {
            return;
        };
        let (mut flow, updated_s) = (slot.value(), slot.updated_s);
        let key = flow.key();
        let own = living(&self.internal.flows, &key);
        let own = own.and_then(|id| self.internal.flows.get(id));
        let is_due = match own {
            // It has been read, and may have been given up to this node since.
            Some(own) => !own.is_heard,
            None => self.being_taken::<PackedFlow>(&key).is_some(),
        };
        if !is_due {
            return;
        }
        let age_s = self.now_s().saturating_sub(updated_s);
        flow.timeout_s = Some(self.rules().timeout(flow.timeout_s, age_s));
        if let Some(inject) = &mut self.inject {
            inject.timeout(&flow);
        }
    }

    /// The timeout that a connection has which was taken over, while the kernel may still have that of a standby.
    pub(super) fn correct_timeout(&self, flow: &mut Flow) {
        let is_long = flow.timeout_s > Some(TIMEOUT_S / 2);
        let taken = is_long
            .then(|| self.being_taken::<PackedFlow>(&flow.key()))
            .flatten();
        let slot = taken.and_then(|(origin, id)| self.externals.get(origin)?.flows.get(id));
        if let Some(slot) = slot {
            let age_s = self.now_s().saturating_sub(slot.updated_s);
            flow.timeout_s = Some(self.rules().timeout(slot.value().timeout_s, age_s));
        }
    }
}
