//! Whether entries that a dump did not show, or that no event told of, have gone: each is asked for by itself.

use std::collections::VecDeque;

use ctnetlink::request;
use flow::Key;

use super::ENOENT;
use super::batch::Batches;

/// Why an entry is looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doubt {
    /// A reading did not show it, or showed something else than an event.
    Unseen,
    /// No event has told of it.
    Unheard,
    /// Its numbers of bytes may be adjusted differently now.
    Adjusted,
}

/// Lookups under way.
#[derive(Debug)]
pub(crate) struct Verify {
    batches: Batches<(Key, Doubt)>,
    finished: Vec<((Key, Doubt), i32)>,
    waiting: VecDeque<(Key, Doubt)>,
}

impl Verify {
    pub(crate) fn new() -> Self {
        Self {
            batches: Batches::new(),
            finished: Vec::new(),
            waiting: VecDeque::new(),
        }
    }

    /// Has an entry looked up.
    pub(crate) fn ask(&mut self, key: Key, doubt: Doubt) {
        self.waiting.push_back((key, doubt));
    }

    /// Lookups that have not been sent.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Whether every lookup has been answered.
    pub(crate) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && !self.batches.is_under_way()
    }

    /// Writes the next batch into [`Self::bytes`]. `false`: nothing to write, or answers are awaited.
    pub(crate) fn next_batch(&mut self) -> bool {
        if self.batches.is_under_way() {
            return false;
        }
        while !self.batches.is_full() {
            let Some((key, doubt)) = self.waiting.pop_front() else {
                break;
            };
            self.batches.push((key, doubt), |buf, seq, ack| {
                request::get_flow(buf, seq, ack, &key);
            });
        }
        self.batches.seal()
    }

    /// The batch to send.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.batches.bytes()
    }

    /// Notes a verdict. When the batch is complete, `gone` gets the keys of those that have gone.
    pub(crate) fn verdict(&mut self, seq: u32, errno: i32, gone: impl FnMut(&Key, Doubt)) {
        if self.batches.verdict(seq, errno) {
            self.complete(gone);
        }
    }

    /// Ends the batch; without a verdict an entry counts as there.
    pub(crate) fn complete(&mut self, mut gone: impl FnMut(&Key, Doubt)) {
        self.batches.finish(&mut self.finished);
        for ((key, doubt), errno) in self.finished.drain(..) {
            if errno == ENOENT {
                gone(&key, doubt);
            }
        }
    }
}
