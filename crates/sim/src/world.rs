//! Nodes, the links between them, and the clock.
//!
//! What is said on a link reaches every other node on it. Version 1 of the protocol has two nodes; nothing here
//! depends on that, nor on what the datagrams say: [`Watch`] reads them, and only where they are version 1.

use std::hash::{DefaultHasher, Hasher};
use std::time::{Duration, Instant};

use engine::{LinkId, Settings};

use crate::link::{Datagram, LinkStats};
use crate::watch::Watch;
use crate::{Faults, Node, Rng, SimKernel, SimLink, Workload};

/// Moments without time passing that no honest engine needs.
const STANDSTILL: u32 = 100_000;

/// Node A, which mostly has the traffic.
pub const A: usize = 0;
/// Node B, which mostly waits for A to fail.
pub const B: usize = 1;

/// A dedicated link: every pair of nodes has a direction of its own each way.
#[derive(Debug)]
pub struct Segment {
    /// By sender and receiver; nobody sends to itself.
    directions: Vec<Vec<SimLink>>,
}

/// What the world is made of.
#[derive(Clone, Debug)]
pub struct Outfit {
    /// Settings of all nodes.
    pub settings: Settings,
    /// Most entries in a kernel's table.
    pub table_max: usize,
    /// Entries that the table of each node hovers around; as many nodes as sizes.
    pub sizes: Vec<usize>,
    /// Seconds since 1970 when the world begins.
    pub epoch_s: u32,
    /// Whether links notice spoilt datagrams.
    pub checksum: bool,
}

/// Everything.
#[derive(Debug)]
pub struct World {
    /// The nodes.
    pub nodes: Vec<Node>,
    /// Traffic of each node.
    pub traffic: Vec<Workload>,
    /// The dedicated links.
    pub links: Vec<Segment>,
    /// What is known of what was said, and what should not have happened.
    pub watch: Watch,
    /// Whether what happens is printed.
    pub trace: bool,
    /// Datagrams that found no room at a process that did not run.
    pub overflowed: u64,
    began: Instant,
    now: Instant,
    epoch_s: u32,
    /// How wrong the clock of each node is, in seconds.
    wall_offset_s: Vec<i64>,
    transcript: DefaultHasher,
}

impl World {
    /// Nodes that are not started yet.
    #[must_use]
    pub fn new(rng: &mut Rng, outfit: &Outfit) -> Self {
        let now = Instant::now();
        let count = outfit.sizes.len();
        let nodes = (0..count as u32).map(|index| {
            let kernel = SimKernel::new(outfit.table_max);
            Node::new(index, outfit.settings.clone(), kernel, rng.fork())
        });
        let nodes = nodes.collect();
        let links = outfit.settings.links.iter().map(|_| Segment {
            directions: (0..count)
                .map(|_| {
                    (0..count)
                        .map(|_| SimLink::new(rng.fork(), outfit.checksum))
                        .collect()
                })
                .collect(),
        });
        let links = links.collect();
        let sizes = outfit.sizes.iter().enumerate();
        Self {
            nodes,
            traffic: sizes
                .map(|(index, size)| Workload::new(index as u8 + 1, *size))
                .collect(),
            links,
            watch: Watch::new(count, &outfit.settings),
            trace: false,
            overflowed: 0,
            began: now,
            now,
            epoch_s: outfit.epoch_s,
            wall_offset_s: vec![0; count],
            transcript: DefaultHasher::new(),
        }
    }

    /// Now.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.now
    }

    /// Time since the beginning.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.now.duration_since(self.began)
    }

    /// A number that two runs share only if they sent the same bytes at the same times.
    #[must_use]
    pub fn transcript(&self) -> u64 {
        self.transcript.finish()
    }

    /// What happened on all links.
    pub fn link_stats(&self) -> impl Iterator<Item = LinkStats> + '_ {
        self.directions().map(|(_, _, link)| link.stats)
    }

    /// Datagrams under way from a node.
    #[must_use]
    pub fn in_flight_from(&self, node: usize) -> usize {
        let from = self.directions().filter(|(from, _, _)| *from == node);
        from.map(|(_, _, link)| link.in_flight()).sum()
    }

    fn directions(&self) -> impl Iterator<Item = (usize, usize, &SimLink)> + '_ {
        self.links.iter().flat_map(|segment| {
            segment
                .directions
                .iter()
                .enumerate()
                .flat_map(|(from, to)| {
                    to.iter()
                        .enumerate()
                        .filter(move |(to, _)| *to != from)
                        .map(move |(to, link)| (from, to, link))
                })
        })
    }

    /// Tells what happens, if anybody wants to know.
    pub fn note(&self, what: std::fmt::Arguments<'_>) {
        if self.trace {
            println!("{:10.4} {what}", self.age().as_secs_f64());
        }
    }

    /// Starts a node's engine.
    pub fn start(&mut self, node: usize) {
        self.note(format_args!("{} starts", name(node)));
        let age = self.age().as_secs() as i64;
        let wall = i64::from(self.epoch_s) + age + self.wall_offset_s[node];
        self.nodes[node].start(self.now, wall as u32);
        self.watch.started(node, self.nodes[node].life);
    }

    /// Kills a node's engine. What it sent is on its way.
    pub fn crash(&mut self, node: usize) {
        self.note(format_args!("{} dies", name(node)));
        self.nodes[node].crash();
    }

    /// Sets a node's clock; its process learns of it at its next start.
    pub fn set_clock(&mut self, node: usize, by_s: i64) {
        self.note(format_args!(
            "the clock of {} jumps by {by_s} s",
            name(node)
        ));
        self.wall_offset_s[node] += by_s;
    }

    /// Makes the links of this sender this bad, or all of them.
    pub fn set_faults(&mut self, sender: Option<usize>, faults: Faults) {
        self.note(format_args!("{}: {faults:?}", sender.map_or("all", name)));
        for segment in &mut self.links {
            for (from, directions) in segment.directions.iter_mut().enumerate() {
                if sender.is_none_or(|sender| sender == from) {
                    directions.iter_mut().for_each(|link| link.faults = faults);
                }
            }
        }
        if !faults.keep_order() {
            self.watch.order_is_lost();
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
    pub fn traffic_step(&mut self, node: usize, seed: u64) {
        self.traffic[node].step(seed, &mut self.nodes[node].kernel, self.now);
    }

    fn next_moment(&self) -> Option<Instant> {
        let arrivals = self
            .directions()
            .filter_map(|(_, _, link)| link.next_arrival());
        let acts = self.nodes.iter().filter_map(Node::next_act);
        arrivals.chain(acts).min()
    }

    fn deliver(&mut self) {
        let mut arrived = Vec::new();
        for (number, segment) in self.links.iter_mut().enumerate() {
            for (from, directions) in segment.directions.iter_mut().enumerate() {
                for (to, direction) in directions.iter_mut().enumerate() {
                    while let Some(datagram) = direction.receive(self.now) {
                        arrived.push((to, LinkId(number as u8), from, datagram));
                    }
                }
            }
        }
        for (to, link, from, datagram) in arrived {
            if !self.nodes[to].is_frozen() {
                self.hand_over(to, link, from, &datagram);
            } else if !self.nodes[to].keep(link, from, datagram) {
                self.overflowed += 1;
            }
        }
    }

    fn hand_over(&mut self, to: usize, link: LinkId, from: usize, datagram: &Datagram) {
        let node = &mut self.nodes[to];
        self.watch.before_delivery(node, to, from, datagram);
        node.receive(self.now, link, &datagram.bytes);
        self.watch
            .after_delivery(node, self.now, (to, from), datagram);
    }

    fn act(&mut self) {
        for from in 0..self.nodes.len() {
            for (link, sender, datagram) in self.nodes[from].thaw(self.now) {
                self.hand_over(from, link, sender, &datagram);
            }
            let (now, age, life) = (self.now, self.age(), self.nodes[from].life);
            let (links, watch, transcript) =
                (&mut self.links, &mut self.watch, &mut self.transcript);
            let trace = self.trace;
            self.nodes[from].act(now, &mut |link, bytes| {
                transcript.write_u128(age.as_nanos());
                transcript.write(bytes);
                watch.said(from, now, bytes);
                if trace {
                    crate::trace::datagram(age, name(from), bytes);
                }
                if let Some(segment) = links.get_mut(usize::from(link.0)) {
                    for (to, direction) in segment.directions[from].iter_mut().enumerate() {
                        if to != from {
                            direction.send(now, bytes, life);
                        }
                    }
                }
            });
        }
    }
}

/// What a node is called.
#[must_use]
pub fn name(node: usize) -> &'static str {
    ["A", "B", "C", "D"].get(node).unwrap_or(&"?")
}
