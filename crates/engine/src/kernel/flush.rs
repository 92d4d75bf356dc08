//! Flushes of the own kernel's tables.

use std::collections::VecDeque;

use ctnetlink::request::{self, DumpFilter};
use flow::Key;

use super::batch::Batches;

/// Something to delete.
#[derive(Clone, Copy, Debug)]
enum Target {
    AllFlows,
    AllExpectations,
    Flow(Key, Option<u32>),
}

/// Deletions under way.
#[derive(Debug)]
pub(crate) struct Flush {
    batches: Batches<()>,
    finished: Vec<((), i32)>,
    waiting: VecDeque<Target>,
}

impl Flush {
    pub(crate) fn new() -> Self {
        Self {
            batches: Batches::new(),
            finished: Vec::new(),
            waiting: VecDeque::new(),
        }
    }

    pub(crate) fn all_flows(&mut self) {
        self.waiting.push_back(Target::AllFlows);
    }

    pub(crate) fn all_expectations(&mut self) {
        self.waiting.push_back(Target::AllExpectations);
    }

    pub(crate) fn flow(&mut self, key: Key, id: Option<u32>) {
        self.waiting.push_back(Target::Flow(key, id));
    }

    /// Deletions that have not been sent.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Whether deletions have not been sent, or not been answered.
    pub(crate) fn is_under_way(&self) -> bool {
        !self.waiting.is_empty() || self.batches.is_under_way()
    }

    /// Writes the next batch into [`Self::bytes`]. `false`: nothing to write, or answers are awaited.
    pub(crate) fn next_batch(&mut self) -> bool {
        if self.batches.is_under_way() {
            return false;
        }
        while !self.batches.is_full() {
            let Some(target) = self.waiting.pop_front() else {
                break;
            };
            self.batches.push((), |buf, seq, ack| match target {
                Target::AllFlows => request::flush_flows(buf, seq, &DumpFilter::default()),
                Target::AllExpectations => request::flush_expectations(buf, seq),
                Target::Flow(key, id) => request::delete_flow(buf, seq, ack, &key, id),
            });
        }
        self.batches.seal()
    }

    /// The batch to send.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.batches.bytes()
    }

    pub(crate) fn verdict(&mut self, seq: u32, errno: i32) {
        if self.batches.verdict(seq, errno) {
            self.complete();
        }
    }

    /// Ends the batch: an entry that was not there is as good as deleted.
    pub(crate) fn complete(&mut self) {
        self.batches.finish(&mut self.finished);
    }
}
