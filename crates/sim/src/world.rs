//! Two nodes, the links between them, and the clock.

use std::hash::{DefaultHasher, Hasher};
use std::time::{Duration, Instant};

use engine::{LinkId, Settings};

use crate::{Faults, Node, Rng, SimKernel, SimLink, Workload};

/// When the world began, in seconds since 1970.
const EPOCH_S: u32 = 1_800_000_000;

/// Moments without time passing that no honest engine needs.
const STANDSTILL: u32 = 100_000;

/// Node A, which mostly has the traffic.
pub const A: usize = 0;
/// Node B, which mostly waits for A to fail.
pub const B: usize = 1;

/// Everything.
pub struct World {
    /// The two nodes.
    pub nodes: [Node; 2],
    /// Traffic of each node.
    pub traffic: [Workload; 2],
    /// By link, the direction from A and the direction from B.
    pub links: Vec<[SimLink; 2]>,
    /// Whether what happens is printed.
    pub trace: bool,
    began: Instant,
    now: Instant,
    transcript: DefaultHasher,
}

impl World {
    /// Two nodes that are not started yet.
    #[must_use]
    pub fn new(rng: &mut Rng, settings: &Settings, table_max: usize, sizes: [usize; 2]) -> Self {
        let now = Instant::now();
        let mut node = |index| {
            Node::new(
                index,
                settings.clone(),
                SimKernel::new(table_max),
                rng.fork(),
            )
        };
        let nodes = [node(0), node(1)];
        let links = settings
            .links
            .iter()
            .map(|_| [SimLink::new(rng.fork()), SimLink::new(rng.fork())])
            .collect();
        let traffic = [
            Workload::new(rng.fork(), 1, sizes[A]),
            Workload::new(rng.fork(), 2, sizes[B]),
        ];
        Self {
            nodes,
            traffic,
            links,
            trace: false,
            began: now,
            now,
            transcript: DefaultHasher::new(),
        }
    }

    /// Now.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.now
    }

    /// A number that two runs share only if they sent the same bytes at the same times.
    #[must_use]
    pub fn transcript(&self) -> u64 {
        self.transcript.finish()
    }

    /// Tells what happens, if anybody wants to know.
    pub fn note(&self, what: std::fmt::Arguments<'_>) {
        if self.trace {
            let at = self.now.duration_since(self.began);
            println!("{:10.4} {what}", at.as_secs_f64());
        }
    }

    /// Starts a node's engine.
    pub fn start(&mut self, node: usize) {
        self.note(format_args!("{} starts", name(node)));
        let age = self.now.duration_since(self.began).as_secs() as u32;
        self.nodes[node].start(self.now, EPOCH_S + age);
    }

    /// Kills a node's engine; what it sent last is lost with it.
    pub fn crash(&mut self, node: usize) {
        self.note(format_args!("{} dies", name(node)));
        self.nodes[node].crash();
        for link in &mut self.links {
            link[node].clear();
        }
    }

    /// Makes all links this bad.
    pub fn set_faults(&mut self, faults: Faults) {
        self.note(format_args!("{faults:?}"));
        for direction in self.links.iter_mut().flatten() {
            direction.faults = faults;
        }
    }

    /// Lets so much time pass.
    pub fn run_for(&mut self, duration: Duration) {
        let end = self.now + duration;
        let mut standing = 0;
        self.act();
        while let Some(next) = self.next_moment().filter(|at| *at <= end) {
            standing = if next > self.now { 0 } else { standing + 1 };
            assert!(standing < STANDSTILL, "time stands still");
            self.now = self.now.max(next);
            self.deliver();
            self.act();
        }
        self.now = end;
    }

    /// Lets what has run out in the kernels go.
    pub fn expire(&mut self) {
        for node in &mut self.nodes {
            node.kernel.expire(self.now);
        }
    }

    /// One thing happens in a node's traffic.
    pub fn traffic_step(&mut self, node: usize) {
        self.traffic[node].step(&mut self.nodes[node].kernel, self.now);
    }

    fn next_moment(&self) -> Option<Instant> {
        let arrivals = self
            .links
            .iter()
            .flatten()
            .filter_map(SimLink::next_arrival);
        let acts = self.nodes.iter().filter_map(Node::next_act);
        arrivals.chain(acts).min()
    }

    fn deliver(&mut self) {
        for (number, directions) in self.links.iter_mut().enumerate() {
            for (from, direction) in directions.iter_mut().enumerate() {
                while let Some(bytes) = direction.receive(self.now) {
                    let link = LinkId(number as u8);
                    self.nodes[1 - from].receive(self.now, link, &bytes);
                }
            }
        }
    }

    fn act(&mut self) {
        for (from, node) in self.nodes.iter_mut().enumerate() {
            let at = self.now.duration_since(self.began);
            node.act(self.now, &mut |link, bytes| {
                self.transcript.write_u128(at.as_nanos());
                self.transcript.write(bytes);
                if self.trace {
                    crate::trace::datagram(at, name(from), bytes);
                }
                if let Some(directions) = self.links.get_mut(usize::from(link.0)) {
                    directions[from].send(self.now, bytes);
                }
            });
        }
    }
}

/// What a node is called.
#[must_use]
pub fn name(node: usize) -> &'static str {
    if node == A { "A" } else { "B" }
}
