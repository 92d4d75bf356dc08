//! Batches of requests to the kernel, and which requests failed.
//!
//! Errors come unasked; success is told for the last request of a batch only, which is the fence: when its verdict
//! arrives, all others before it have been decided. Several batches may be under way on a socket: the kernel takes them
//! in order.

use std::collections::VecDeque;

use ctnetlink::request::Ack;

/// Requests in one batch.
pub(crate) const BATCH_LEN: usize = 64;

/// Batches under way at most: a few milliseconds of the kernel's work, so that it need not wait for the next one.
pub(crate) const UNDER_WAY_MAX: usize = 16;

/// Offset of the flags in a netlink header.
const FLAGS_OFFSET: usize = 6;

/// `NLM_F_ACK`.
const ACK_FLAG: u8 = 4;

/// Requests under way on one socket, and those of the batch that is being written; `T` says what each is for.
#[derive(Debug)]
pub(crate) struct Batches<T> {
    /// The batch that is being written, or was sealed last.
    bytes: Vec<u8>,
    last_offset: usize,
    /// With their verdicts, in order.
    requests: VecDeque<(T, i32)>,
    /// Number of the first of them.
    first_seq: u32,
    next_seq: u32,
    /// Requests of each batch under way.
    sealed: VecDeque<usize>,
    /// Requests of the batch that is being written.
    written: usize,
}

impl<T> Batches<T> {
    pub(crate) fn new() -> Self {
        Self {
            bytes: Vec::new(),
            last_offset: 0,
            requests: VecDeque::new(),
            first_seq: 1,
            next_seq: 1,
            sealed: VecDeque::new(),
            written: 0,
        }
    }

    /// Whether requests wait for their verdict.
    pub(crate) fn is_under_way(&self) -> bool {
        !self.sealed.is_empty()
    }

    /// Whether another batch may be sent.
    pub(crate) fn has_room(&self) -> bool {
        self.sealed.len() < UNDER_WAY_MAX
    }

    /// Whether nothing has been written since the last batch.
    pub(crate) fn is_empty(&self) -> bool {
        self.written == 0
    }

    /// Whether what is being written is a whole batch.
    pub(crate) fn is_full(&self) -> bool {
        self.written >= BATCH_LEN
    }

    /// Appends a request; `write` gets the buffer, the number and whether to ask for a verdict.
    pub(crate) fn push(&mut self, purpose: T, write: impl FnOnce(&mut Vec<u8>, u32, Ack)) {
        if self.written == 0 {
            self.bytes.clear();
        }
        self.last_offset = self.bytes.len();
        write(&mut self.bytes, self.next_seq, Ack::Silent);
        self.next_seq = self.next_seq.wrapping_add(1);
        self.requests.push_back((purpose, 0));
        self.written += 1;
    }

    /// Seals the batch: [`Batches::bytes`] are to be sent, verdicts are awaited. `false`: it is empty.
    pub(crate) fn seal(&mut self) -> bool {
        if self.written == 0 {
            return false;
        }
        if let Some(flags) = self.bytes.get_mut(self.last_offset + FLAGS_OFFSET) {
            // Host byte order: the low byte of the flags is where the acknowledgement is asked for.
            if cfg!(target_endian = "little") {
                *flags |= ACK_FLAG;
            } else if let Some(flags) = self.bytes.get_mut(self.last_offset + FLAGS_OFFSET + 1) {
                *flags |= ACK_FLAG;
            }
        }
        self.sealed.push_back(std::mem::take(&mut self.written));
        true
    }

    /// What [`Batches::seal`] has sealed.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The purpose of the request under way with this number.
    pub(crate) fn purpose(&self, seq: u32) -> Option<&T> {
        let index = self.position(seq)?;
        self.requests.get(index).map(|(purpose, _)| purpose)
    }

    /// Notes a verdict. Returns whether the first batch under way is complete.
    pub(crate) fn verdict(&mut self, seq: u32, errno: i32) -> bool {
        let Some(index) = self.position(seq) else {
            return false;
        };
        if let Some((_, known)) = self.requests.get_mut(index) {
            *known = errno;
        }
        let mut end = 0;
        let fence = self.sealed.iter().position(|len| {
            end += len;
            end > index
        });
        if end != index + 1 {
            return false;
        }
        // Those before it have been decided as well, told or not.
        for _ in 0..fence.unwrap_or(0) {
            let len = self.sealed.pop_front().unwrap_or(0);
            if let Some(next) = self.sealed.front_mut() {
                *next += len;
            }
        }
        true
    }

    /// Takes all requests of the first batch under way with their verdicts.
    pub(crate) fn finish(&mut self, requests: &mut Vec<(T, i32)>) {
        requests.clear();
        let len = self.sealed.pop_front().unwrap_or(0);
        requests.extend(self.requests.drain(..len.min(self.requests.len())));
        self.first_seq = self.first_seq.wrapping_add(len as u32);
    }

    /// Where the request with this number is, if it is under way.
    fn position(&self, seq: u32) -> Option<usize> {
        let index = seq.wrapping_sub(self.first_seq) as usize;
        let under_way = self.requests.len() - self.written;
        (index < under_way).then_some(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batches(lens: &[usize]) -> Batches<u32> {
        let mut batches = Batches::new();
        for len in lens {
            for _ in 0..*len {
                let purpose = batches.next_seq;
                batches.push(purpose, |buf, _, _| buf.extend([0; 16]));
            }
            assert!(batches.seal());
            assert_eq!(batches.bytes().len(), 16 * len);
        }
        batches
    }

    fn finished(batches: &mut Batches<u32>) -> Vec<(u32, i32)> {
        let mut finished = Vec::new();
        batches.finish(&mut finished);
        finished
    }

    #[test]
    fn each_batch_ends_with_its_own_fence() {
        let mut batches = batches(&[2, 1, 2]);
        assert!(!batches.verdict(1, 17));
        assert!(!batches.verdict(4, 2), "an error before its turn");
        assert!(batches.verdict(2, 0));
        assert_eq!(finished(&mut batches), [(1, 17), (2, 0)]);
        assert!(!batches.verdict(2, 0), "told twice");
        assert!(batches.verdict(3, 0));
        assert_eq!(finished(&mut batches), [(3, 0)]);
        assert!(batches.verdict(5, 0) && batches.is_under_way());
        assert_eq!(finished(&mut batches), [(4, 2), (5, 0)]);
        assert!(!batches.is_under_way());
    }

    #[test]
    fn a_fence_decides_the_batches_before_it_too() {
        let mut batches = batches(&[1, 1, 1]);
        assert!(batches.verdict(2, 0));
        assert_eq!(finished(&mut batches), [(1, 0), (2, 0)]);
        assert_eq!(batches.purpose(3), Some(&3));
    }

    #[test]
    fn what_is_being_written_is_not_under_way() {
        let mut batches = batches(&[1]);
        batches.push(2, |buf, _, _| buf.push(0));
        assert_eq!((batches.purpose(1), batches.purpose(2)), (Some(&1), None));
        assert!(!batches.verdict(2, 0));
    }

    #[test]
    fn no_more_batches_are_under_way_than_may_be() {
        let batches = batches(&[1; UNDER_WAY_MAX]);
        assert!(!batches.has_room());
    }
}
