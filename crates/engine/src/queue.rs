//! The two queues of a session: what is to be sent, and what was sent and may be asked for again.
//!
//! Both are lists over one slab, so that an element moves between them without being looked for, and an
//! entry is in at most one of them.

use slab::Slab;
use syncwire::Flags;

/// No element.
const NONE: u32 = u32::MAX;

/// An entry of the internal caches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// A connection, by its position.
    Flow(u32),
    /// An expectation, by its position.
    Expectation(u32),
}

/// What waits in a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Element {
    /// An entry; what is told of it is decided when it is sent.
    Entry(Entry),
    /// A control message.
    Control { flags: Flags, from: u32, to: u32 },
}

/// Which queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Queue {
    /// To be sent.
    Send,
    /// Sent, not acknowledged.
    Resend,
}

#[derive(Debug)]
struct Node {
    element: Element,
    seq: u32,
    queue: Queue,
    previous: u32,
    next: u32,
}

#[derive(Clone, Copy, Debug)]
struct List {
    head: u32,
    tail: u32,
    len: usize,
}

const EMPTY: List = List {
    head: NONE,
    tail: NONE,
    len: 0,
};

/// The queues of one session.
#[derive(Debug)]
pub(crate) struct Queues {
    nodes: Slab<Node>,
    send: List,
    resend: List,
    controls: u64,
    /// Node of each entry, by position; `NONE` for those in no queue.
    flows: Vec<u32>,
    expectations: Vec<u32>,
}

impl Queues {
    pub(crate) fn new() -> Self {
        Self {
            nodes: Slab::new(),
            send: EMPTY,
            resend: EMPTY,
            controls: 0,
            flows: Vec::new(),
            expectations: Vec::new(),
        }
    }

    pub(crate) fn len(&self, queue: Queue) -> usize {
        self.list(queue).len
    }

    /// Control messages in either queue.
    pub(crate) fn controls(&self) -> u64 {
        self.controls
    }

    /// The queue an entry is in.
    pub(crate) fn queue_of(&self, entry: Entry) -> Option<Queue> {
        let node = self.node_of(entry)?;
        Some(self.nodes.get(node as usize)?.queue)
    }

    /// Puts an element at the end of a queue. An entry must be in none.
    pub(crate) fn push(&mut self, queue: Queue, element: Element, seq: u32) {
        let node = Node {
            element,
            seq,
            queue,
            previous: NONE,
            next: NONE,
        };
        let id = self.nodes.insert(node) as u32;
        match element {
            Element::Entry(entry) => self.remember(entry, id),
            Element::Control { .. } => self.controls += 1,
        }
        self.link(queue, id);
    }

    /// Takes the first element out, unless `keep` says no.
    pub(crate) fn pop(&mut self, queue: Queue) -> Option<(Element, u32)> {
        let id = self.list(queue).head;
        self.take(id)
    }

    /// The first element and its number.
    pub(crate) fn first(&self, queue: Queue) -> Option<(Element, u32)> {
        let node = self.nodes.get(self.list(queue).head as usize)?;
        Some((node.element, node.seq))
    }

    /// Moves an entry that waits for its acknowledgement to the end of the send queue.
    pub(crate) fn requeue(&mut self, entry: Entry) {
        if let Some(id) = self.node_of(entry) {
            self.transfer(id);
        }
    }

    /// Takes an entry out of whatever queue it is in. Returns whether it was in one.
    pub(crate) fn remove(&mut self, entry: Entry) -> bool {
        self.node_of(entry)
            .is_some_and(|id| self.take(id).is_some())
    }

    /// Walks the resend queue from its head: `judge` says what to do with each number.
    pub(crate) fn sweep_resend(
        &mut self,
        mut judge: impl FnMut(u32) -> Sweep,
        mut released: impl FnMut(Element),
    ) -> usize {
        let mut id = self.resend.head;
        let mut count = 0;
        while let Some(node) = self.nodes.get(id as usize) {
            let next = node.next;
            match judge(node.seq) {
                Sweep::Stop => break,
                Sweep::Keep => {}
                Sweep::Resend => {
                    self.transfer(id);
                    count += 1;
                }
                Sweep::Release => {
                    if let Some((element, _)) = self.take(id) {
                        released(element);
                    }
                    count += 1;
                }
            }
            id = next;
        }
        count
    }

    /// Takes the control messages with these flags out of both queues.
    pub(crate) fn drop_controls(&mut self, which: Flags) {
        let matching = |(id, node): (usize, &Node)| match node.element {
            Element::Control { flags, .. } if flags.intersects(which) => Some(id as u32),
            _ => None,
        };
        let ids: Vec<u32> = self.nodes.iter().filter_map(matching).collect();
        for id in ids {
            self.take(id);
        }
    }

    /// The element of the resend queue behind `after`, for listings.
    pub(crate) fn resend_elements(&self) -> impl Iterator<Item = (Element, u32)> + '_ {
        let mut id = self.resend.head;
        std::iter::from_fn(move || {
            let node = self.nodes.get(id as usize)?;
            id = node.next;
            Some((node.element, node.seq))
        })
    }

    fn transfer(&mut self, id: u32) {
        self.unlink(id);
        if let Some(node) = self.nodes.get_mut(id as usize) {
            node.queue = Queue::Send;
            self.link(Queue::Send, id);
        }
    }

    fn take(&mut self, id: u32) -> Option<(Element, u32)> {
        if !self.nodes.contains(id as usize) {
            return None;
        }
        self.unlink(id);
        let node = self.nodes.try_remove(id as usize)?;
        match node.element {
            Element::Entry(entry) => self.remember(entry, NONE),
            Element::Control { .. } => self.controls -= 1,
        }
        Some((node.element, node.seq))
    }

    fn link(&mut self, queue: Queue, id: u32) {
        let tail = self.list(queue).tail;
        if let Some(node) = self.nodes.get_mut(id as usize) {
            (node.previous, node.next) = (tail, NONE);
        }
        if let Some(last) = self.nodes.get_mut(tail as usize) {
            last.next = id;
        }
        let list = self.list_mut(queue);
        if list.head == NONE {
            list.head = id;
        }
        list.tail = id;
        list.len += 1;
    }

    fn unlink(&mut self, id: u32) {
        let Some(node) = self.nodes.get(id as usize) else {
            return;
        };
        let (previous, next, queue) = (node.previous, node.next, node.queue);
        if let Some(node) = self.nodes.get_mut(previous as usize) {
            node.next = next;
        }
        if let Some(node) = self.nodes.get_mut(next as usize) {
            node.previous = previous;
        }
        let list = self.list_mut(queue);
        if list.head == id {
            list.head = next;
        }
        if list.tail == id {
            list.tail = previous;
        }
        list.len -= 1;
    }

    fn list(&self, queue: Queue) -> List {
        match queue {
            Queue::Send => self.send,
            Queue::Resend => self.resend,
        }
    }

    fn list_mut(&mut self, queue: Queue) -> &mut List {
        match queue {
            Queue::Send => &mut self.send,
            Queue::Resend => &mut self.resend,
        }
    }

    fn node_of(&self, entry: Entry) -> Option<u32> {
        let (nodes, id) = match entry {
            Entry::Flow(id) => (&self.flows, id),
            Entry::Expectation(id) => (&self.expectations, id),
        };
        nodes.get(id as usize).copied().filter(|&node| node != NONE)
    }

    fn remember(&mut self, entry: Entry, node: u32) {
        let (nodes, id) = match entry {
            Entry::Flow(id) => (&mut self.flows, id as usize),
            Entry::Expectation(id) => (&mut self.expectations, id as usize),
        };
        if nodes.len() <= id {
            nodes.resize(id + 1, NONE);
        }
        if let Some(slot) = nodes.get_mut(id) {
            *slot = node;
        }
    }

    /// Forgets where entries were, after all of them have been taken out.
    pub(crate) fn shrink(&mut self) {
        if self.nodes.is_empty() {
            self.nodes = Slab::new();
            (self.flows, self.expectations) = (Vec::new(), Vec::new());
        }
    }

    pub(crate) fn is_consistent(&self) -> bool {
        self.send.len + self.resend.len == self.nodes.len()
    }
}

/// What to do with an element of the resend queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sweep {
    /// Leave it.
    Keep,
    /// Take it out.
    Release,
    /// Send it again.
    Resend,
    /// Look no further.
    Stop,
}
