//! A batch of requests to the kernel, and which of them failed.
//!
//! Errors come unasked; success is told for the last request only, which is the fence: when its verdict
//! arrives, all others have been decided.

use ctnetlink::request::Ack;

/// Requests in one batch.
pub(crate) const BATCH_LEN: usize = 64;

/// Offset of the flags in a netlink header.
const FLAGS_OFFSET: usize = 6;

/// `NLM_F_ACK`.
const ACK_FLAG: u8 = 4;

/// Requests under way on one socket; `T` says what each is for.
#[derive(Debug)]
pub(crate) struct Batch<T> {
    bytes: Vec<u8>,
    last_offset: usize,
    requests: Vec<(T, i32)>,
    first_seq: u32,
    next_seq: u32,
    under_way: bool,
}

impl<T> Batch<T> {
    pub(crate) fn new() -> Self {
        Self {
            bytes: Vec::new(),
            last_offset: 0,
            requests: Vec::with_capacity(BATCH_LEN),
            first_seq: 1,
            next_seq: 1,
            under_way: false,
        }
    }

    /// Whether requests wait for their verdict.
    pub(crate) fn is_under_way(&self) -> bool {
        self.under_way
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.requests.len() >= BATCH_LEN
    }

    /// Appends a request; `write` gets the buffer, the number and whether to ask for a verdict.
    pub(crate) fn push(&mut self, purpose: T, write: impl FnOnce(&mut Vec<u8>, u32, Ack)) {
        self.last_offset = self.bytes.len();
        write(&mut self.bytes, self.next_seq, Ack::Silent);
        self.next_seq = self.next_seq.wrapping_add(1);
        self.requests.push((purpose, 0));
    }

    /// Seals the batch: [`Batch::bytes`] are to be sent, verdicts are awaited. `false`: it is empty.
    pub(crate) fn seal(&mut self) -> bool {
        if self.requests.is_empty() {
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
        self.under_way = true;
        true
    }

    /// What [`Batch::seal`] has sealed.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What the requests of the batch are for.
    pub(crate) fn purposes(&self) -> impl Iterator<Item = &T> {
        self.requests.iter().map(|(purpose, _)| purpose)
    }

    /// The purpose of the request with this number.
    pub(crate) fn purpose(&self, seq: u32) -> Option<&T> {
        let index = seq.wrapping_sub(self.first_seq) as usize;
        self.requests
            .get(index)
            .filter(|_| self.under_way)
            .map(|(purpose, _)| purpose)
    }

    /// Notes a verdict. Returns whether the batch is complete.
    pub(crate) fn verdict(&mut self, seq: u32, errno: i32) -> bool {
        let index = seq.wrapping_sub(self.first_seq) as usize;
        let Some((_, known)) = self.requests.get_mut(index).filter(|_| self.under_way) else {
            return false;
        };
        *known = errno;
        index + 1 == self.requests.len()
    }

    /// Takes all requests with their verdicts and starts anew.
    pub(crate) fn finish(&mut self, requests: &mut Vec<(T, i32)>) {
        requests.clear();
        std::mem::swap(requests, &mut self.requests);
        self.bytes.clear();
        self.first_seq = self.next_seq;
        self.under_way = false;
    }
}
