//! Sockets: what the kernel has to tell, and what is lost when nobody reads it.

use std::time::Instant;

use ctnetlink::{EventKind, Header, emit};
use flow::{Expectation, Flow, Key};

use super::{Datagrams, ExpectationKey, SimKernel};

/// Entries in one datagram of a dump.
const DUMP_PART: usize = 8;

/// What a read from a socket gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    /// A datagram.
    Data(Vec<u8>),
    /// Datagrams were lost (ENOBUFS).
    Overrun,
    /// Nothing waits.
    Empty,
}

/// A dump that is being read.
#[derive(Debug)]
pub(crate) enum Dump {
    Flows {
        seq: u32,
        after: Option<Key>,
    },
    Expectations {
        seq: u32,
        after: Option<ExpectationKey>,
    },
}

/// A socket's receive buffer.
#[derive(Debug)]
pub struct Socket {
    queue: Datagrams,
    /// Most datagrams that may wait.
    capacity: usize,
    /// The reader has to be told of a loss.
    overrun: bool,
    /// Everything is lost until the reader has emptied the queue.
    deaf: bool,
    pub(crate) dump: Option<Dump>,
}

impl Socket {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            queue: Datagrams::new(),
            capacity,
            overrun: false,
            deaf: false,
            dump: None,
        }
    }

    pub(crate) fn push(&mut self, datagram: Vec<u8>) {
        if self.deaf || self.queue.len() >= self.capacity {
            self.overrun |= !self.deaf;
            self.deaf = true;
            return;
        }
        self.queue.push_back(datagram);
    }

    fn pop(&mut self) -> Received {
        if std::mem::take(&mut self.overrun) {
            return Received::Overrun;
        }
        match self.queue.pop_front() {
            Some(datagram) => {
                self.deaf &= !self.queue.is_empty();
                Received::Data(datagram)
            }
            None => {
                self.deaf = false;
                Received::Empty
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.queue.is_empty() && !self.overrun
    }
}

impl SimKernel {
    /// Opens the socket for events, which holds so many.
    pub fn listen(&mut self, capacity: usize) {
        self.events = Some(Socket::new(capacity));
    }

    /// Opens a socket for requests under a port id; so many answers may wait.
    pub fn open(&mut self, port_id: u32, capacity: usize) {
        self.sockets.insert(port_id, Socket::new(capacity));
    }

    /// Closes all sockets: their owner has died.
    pub fn close_all(&mut self) {
        self.events = None;
        self.sockets.clear();
    }

    /// Whether anybody listens to events.
    pub(crate) fn is_heard(&self) -> bool {
        self.events.is_some()
    }

    /// Whether a read of the events would give something.
    #[must_use]
    pub fn has_events(&self) -> bool {
        self.events
            .as_ref()
            .is_some_and(|socket| !socket.is_empty())
    }

    /// Reads an event.
    pub fn read_event(&mut self) -> Received {
        self.events.as_mut().map_or(Received::Empty, Socket::pop)
    }

    /// Whether a read of this socket would give something.
    #[must_use]
    pub fn has_answers(&self, port_id: u32) -> bool {
        let socket = self.sockets.get(&port_id);
        socket.is_some_and(|socket| !socket.is_empty())
    }

    /// Reads an answer. The next part of a dump is made as the one before is read.
    pub fn read_answer(&mut self, now: Instant, port_id: u32) -> Received {
        let Some(socket) = self.sockets.get_mut(&port_id) else {
            return Received::Empty;
        };
        let received = socket.pop();
        if let (Received::Data(_), Some(dump)) = (&received, socket.dump.take()) {
            self.continue_dump(now, port_id, dump);
        }
        received
    }

    /// Makes the next part of a dump.
    pub(crate) fn continue_dump(&mut self, now: Instant, port_id: u32, dump: Dump) {
        use std::ops::Bound::{Excluded, Unbounded};
        let mut bytes = Vec::new();
        let mut rest = None;
        match dump {
            Dump::Flows { seq, after } => {
                let from = after.map_or(Unbounded, Excluded);
                let part = self.flows.range((from, Unbounded)).take(DUMP_PART);
                let mut last = None;
                for (key, entry) in part {
                    let shown = Flow {
                        use_count: Some(1),
                        ..entry.shown(now)
                    };
                    emit::flow(&mut bytes, Header::flow_dump(seq, port_id), &shown);
                    last = Some(*key);
                }
                match last {
                    Some(_) => rest = Some(Dump::Flows { seq, after: last }),
                    None => emit::done(&mut bytes, seq, port_id, 0),
                }
            }
            Dump::Expectations { seq, after } => {
                let from = after.map_or(Unbounded, Excluded);
                let part = self.expectations.range((from, Unbounded)).take(DUMP_PART);
                let mut last = None;
                for (key, entry) in part {
                    let header = Header::expectation_dump(seq, port_id);
                    emit::expectation(&mut bytes, header, &entry.shown(now));
                    last = Some(*key);
                }
                match last {
                    Some(_) => rest = Some(Dump::Expectations { seq, after: last }),
                    None => emit::done(&mut bytes, seq, port_id, 0),
                }
            }
        }
        if let Some(socket) = self.sockets.get_mut(&port_id) {
            socket.dump = rest;
            socket.push(bytes);
        }
    }

    pub(crate) fn tell_flow(&mut self, kind: EventKind, flow: &Flow, cause: u32) {
        if let Some(socket) = &mut self.events {
            let mut bytes = Vec::new();
            emit::flow(&mut bytes, Header::flow_event(kind, cause), flow);
            socket.push(bytes);
        }
    }

    pub(crate) fn tell_expectation(
        &mut self,
        kind: EventKind,
        expectation: &Expectation,
        cause: u32,
    ) {
        if let Some(socket) = &mut self.events {
            let mut bytes = Vec::new();
            let header = Header::expectation_event(kind, cause);
            emit::expectation(&mut bytes, header, expectation);
            socket.push(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_an_overrun_everything_is_lost_until_the_queue_is_empty() {
        let mut socket = Socket::new(2);
        for number in 0..4 {
            socket.push(vec![number]);
        }
        assert_eq!(socket.pop(), Received::Overrun);
        assert_eq!(socket.pop(), Received::Data(vec![0]));
        socket.push(vec![4]);
        assert_eq!(socket.pop(), Received::Data(vec![1]));
        assert_eq!(socket.pop(), Received::Empty);
        socket.push(vec![5]);
        assert_eq!(socket.pop(), Received::Data(vec![5]));
    }
}
