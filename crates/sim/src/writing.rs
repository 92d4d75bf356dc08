//! Requests on their way to a node's kernel: a thread of the daemon writes one batch after the other, and what the kernel has
//! answered is taken some time later.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use engine::KernelSocket;

use crate::kernel::Received;

/// What the kernel has said to a batch, and where it was asked.
pub(crate) type Answered = (KernelSocket, Vec<Received>);

/// Batches under way, in order.
#[derive(Debug, Default)]
pub(crate) struct Writing {
    asked: VecDeque<(KernelSocket, Vec<u8>)>,
    /// When the kernel is done with the first of them.
    done_at: Option<Instant>,
    answered: VecDeque<Answered>,
    /// When these are taken.
    taken_at: Option<Instant>,
}

impl Writing {
    /// A batch waits for its turn; the kernel takes so long for each.
    pub(crate) fn ask(
        &mut self,
        now: Instant,
        takes: Duration,
        socket: KernelSocket,
        batch: &[u8],
    ) {
        self.asked.push_back((socket, batch.to_vec()));
        self.done_at.get_or_insert(now + takes);
    }

    /// The batch that the kernel is done with by now.
    pub(crate) fn next_done(
        &mut self,
        now: Instant,
        takes: Duration,
    ) -> Option<(Instant, KernelSocket, Vec<u8>)> {
        let at = self.done_at.take_if(|at| *at <= now)?;
        let (socket, batch) = self.asked.pop_front()?;
        self.done_at = (!self.asked.is_empty()).then(|| at + takes);
        Some((at, socket, batch))
    }

    /// The kernel has answered; that is taken so much later.
    pub(crate) fn answer(&mut self, now: Instant, later: Duration, answered: Answered) {
        self.answered.push_back(answered);
        self.taken_at.get_or_insert(now + later);
    }

    /// What is taken now.
    pub(crate) fn take_answers(&mut self, now: Instant) -> VecDeque<Answered> {
        match self.taken_at.take_if(|at| *at <= now) {
            Some(_) => std::mem::take(&mut self.answered),
            None => VecDeque::new(),
        }
    }

    /// When something happens next.
    pub(crate) fn next(&self) -> Option<Instant> {
        [self.done_at, self.taken_at].into_iter().flatten().min()
    }

    /// The process has died.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}
