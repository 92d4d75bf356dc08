//! What was said, and the promises that are checked while it is.
//!
//! The watch reads every datagram when it leaves and when it arrives, so that it knows what each node can know of
//! the others, and looks at the caches after every step.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::time::{Duration, Instant};

use engine::api::{ExternalMode, InternalMode, Mode};
use engine::snapshot::{ExternalStats, InternalStats};
use engine::{Settings, Side};
use flow::{Flow, Key, ProtoInfo, Tcp};
use syncwire::{Body, Carrier, Change, Flags, Split, split};

use crate::link::Datagram;
use crate::world::name;
use crate::{Node, World};

/// What is promised. `docs/guarantees.md` says it in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Promise {
    /// Once faults stop, tables become equal in time.
    Agreement,
    /// Nothing is on a node that its peer never had or never told.
    Origin,
    /// Nothing that was deleted, and known to be, comes back.
    NoReturn,
    /// Nothing of a peer's earlier life is taken.
    Incarnation,
    /// Queues and tables stay within their bounds.
    Bounds,
    /// A node that lives is heard.
    Voice,
    /// Role commands end in the state of the last one.
    Roles,
    /// What makes no sense changes nothing but a counter.
    Garbage,
    /// A clock that jumps changes no entry's remaining life.
    Lives,
    /// Every command ends.
    Commands,
    /// Nothing panics.
    Panic,
}

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub promise: Promise,
    /// How, and by whom.
    pub words: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.promise, self.words)
    }
}

/// A node with nothing to say says so every second.
const SILENCE: Duration = Duration::from_millis(1100);

/// So long after a node has started nothing of its life before is taken.
const UNDER_WAY: Duration = Duration::from_secs(2);

/// A node whose numbers after its start are nearer to those before cannot be told from what it was.
const FAR: u64 = 1000;

/// Elements that may be left to send when a node has done what it can: one step of a bulk.
const LEFT_TO_SEND: u64 = 64;

/// What one node has told.
#[derive(Debug, Default)]
struct Told {
    life: u32,
    /// Number of the last message.
    last: u32,
    /// The same of the life before.
    died_at: u32,
    /// Every state of every entry that was ever told.
    images: HashMap<Key, Vec<Flow>>,
    /// Ends told in this life and not acknowledged, by number.
    ends: BTreeMap<u32, Key>,
    /// Their numbers.
    ended: HashMap<Key, u32>,
    /// Entries whose end the peer knows, and of which nothing was told since.
    gone: HashSet<Key>,
}

/// What a node has taken of another.
#[derive(Clone, Copy, Debug, Default)]
struct Taken {
    newest: u32,
    /// The life of which something was taken before.
    before: u32,
    /// Since when the newest is known.
    since: Option<Instant>,
    /// The highest number that has arrived.
    arrived: Option<u32>,
}

impl Taken {
    /// Whether what comes from this life can be told from the newest: version 1 does not say, but who knows the
    /// numbers of both refuses the old ones for a while.
    fn is_known(&self, life: u32, now: Instant) -> bool {
        let lately = |since: Instant| now.duration_since(since) < UNDER_WAY;
        life == self.before && life > 0 && self.since.is_some_and(lately)
    }
}

impl Told {
    /// Whether a datagram of the life before is refused by who knows the numbers of both: it does not greet, and its
    /// numbers are clearly nearer to where the node was when it died.
    fn refuses(&self, bytes: &[u8]) -> bool {
        let distance = |a: u32, b: u32| u64::from(a.wrapping_sub(b).min(b.wrapping_sub(a)));
        let mut rest = bytes;
        while let Split::Message(message, others) = split(rest, Carrier::Datagram) {
            rest = others;
            let former = distance(message.seq, self.died_at);
            let is_near = distance(self.died_at, self.last) < FAR;
            if is_near
                || message.flags.contains(Flags::HELLO)
                || 4 * former >= distance(message.seq, self.last)
            {
                return false;
            }
        }
        true
    }

    /// The peer may have gone back in time: what it has acknowledged is told again.
    fn unsettle(&mut self) {
        self.gone.clear();
        self.ends.clear();
        self.ended.clear();
    }

    /// The peer knows of the end that was told with this number.
    fn known(&mut self, seq: u32) {
        if let Some(key) = self.ends.remove(&seq) {
            self.ended.remove(&key);
            self.gone.insert(key);
        }
    }
}

/// See the module.
#[derive(Debug)]
pub struct Watch {
    /// What should not have happened.
    pub violations: Vec<Violation>,
    /// Datagrams are what was sent: what they say can be held against whoever said it.
    pub trusts: bool,
    told: Vec<Told>,
    /// By receiver and sender, for the receiver's life: the lives of which something was taken.
    taken: Vec<Vec<Taken>>,
    before: Option<(Vec<Flow>, u64)>,
    acknowledges: bool,
    ordered: bool,
    /// What is told of an entry is all that is known of it.
    pub tells_all: bool,
    has_external: bool,
    speaks: bool,
    resend_max: Option<u64>,
    cache_limit: u64,
    /// What each node said last.
    last: Vec<Vec<u8>>,
    /// What each external cache had counted when it was looked at last.
    seen: Vec<(u64, u32)>,
}

impl Watch {
    /// Nothing has been said.
    #[must_use]
    pub fn new(nodes: usize, settings: &Settings) -> Self {
        Self {
            violations: Vec::new(),
            trusts: true,
            told: (0..nodes).map(|_| Told::default()).collect(),
            taken: vec![vec![Taken::default(); nodes]; nodes],
            before: None,
            acknowledges: matches!(settings.mode, Mode::Ftfw { .. }),
            ordered: true,
            tells_all: settings.internal == InternalMode::Cache,
            has_external: settings.external == ExternalMode::Cache,
            speaks: !matches!(settings.mode, Mode::Alarm { .. }),
            resend_max: match settings.mode {
                Mode::Ftfw {
                    resend_queue_len, ..
                } => Some(resend_queue_len as u64),
                _ => None,
            },
            cache_limit: settings.cache_limit as u64,
            last: vec![Vec::new(); nodes],
            seen: vec![(u64::MAX, 0); nodes],
        }
    }

    /// Notes what should not have happened.
    pub fn object(&mut self, promise: Promise, words: String) {
        self.violations.push(Violation { promise, words });
    }

    /// From now on datagrams may come late or twice.
    pub fn order_is_lost(&mut self) {
        self.ordered = false;
    }

    /// A node begins a new life.
    pub fn started(&mut self, node: usize, life: u32) {
        let told = &mut self.told[node];
        told.life = life;
        told.died_at = told.last;
        self.taken[node].fill(Taken::default());
        told.ends.clear();
        told.ended.clear();
        // It has forgotten what it acknowledged.
        for (other, told) in self.told.iter_mut().enumerate() {
            if other != node {
                told.gone.clear();
            }
        }
        // Without acknowledgements nobody knows what was on its way.
        if !self.acknowledges && life > 1 {
            self.ordered = false;
        }
    }

    /// A node sends a datagram.
    pub fn said(&mut self, from: usize, now: Instant, mut bytes: &[u8]) {
        let last = &mut self.last[from];
        last.clear();
        last.extend_from_slice(bytes);
        while let Split::Message(message, rest) = split(bytes, Carrier::Datagram) {
            bytes = rest;
            self.told[from].last = message.seq;
            match message.packet().map(|packet| packet.body) {
                Ok(Body::Flow(change, flow)) => self.told_of(from, message.seq, change, &flow),
                Ok(Body::Control { from: first, to }) if message.flags.contains(Flags::ACK) => {
                    self.acknowledged(from, now, first, to);
                }
                _ => {}
            }
        }
    }

    /// What a node said last, if anything.
    #[must_use]
    pub fn last_said(&self, node: usize) -> Option<&[u8]> {
        Some(self.last[node].as_slice()).filter(|said| !said.is_empty())
    }

    fn told_of(&mut self, from: usize, seq: u32, change: Change, flow: &Flow) {
        let told = &mut self.told[from];
        let key = flow.key();
        if let Some(before) = told.ended.remove(&key) {
            told.ends.remove(&before);
        }
        if change == Change::Delete {
            if self.acknowledges || self.ordered {
                told.ends.insert(seq, key);
                told.ended.insert(key, seq);
            }
            return;
        }
        told.gone.remove(&key);
        let image = comparable(flow);
        let images = told.images.entry(key).or_default();
        if !images.iter().rev().any(|known| *known == image) {
            images.push(image);
        }
    }

    /// A node tells the others what it has received from them.
    fn acknowledged(&mut self, by: usize, now: Instant, first: u32, last: u32) {
        for (peer, told) in self.told.iter_mut().enumerate() {
            let taken = self.taken[by][peer];
            // It may speak of an earlier life of the peer.
            let is_of_this_life = taken.newest == told.life && taken.since != Some(now);
            if peer == by || !self.acknowledges || !is_of_this_life {
                continue;
            }
            let within = |seq: &u32| seq.wrapping_sub(first) <= last.wrapping_sub(first);
            let ends = told.ends.keys().copied().filter(within);
            for seq in ends.collect::<Vec<_>>() {
                told.known(seq);
            }
        }
    }

    /// A datagram is about to be taken.
    pub fn before_delivery(&mut self, node: &Node, to: usize, from: usize, datagram: &Datagram) {
        self.look_at_greetings(to, from, &datagram.bytes);
        let taken = self.taken[to][from];
        self.before = None;
        if datagram.life != taken.newest && node.engine().is_some() {
            let flows = match datagram.life < taken.newest {
                true => node.flows(Side::External),
                false => Vec::new(),
            };
            self.before = Some((flows, refused(node)));
        }
    }

    /// A greeting that has been overtaken looks like another start, and is believed when it is late enough.
    fn look_at_greetings(&mut self, to: usize, from: usize, bytes: &[u8]) {
        let mut rest = bytes;
        let arrived = &mut self.taken[to][from].arrived;
        while let Split::Message(message, others) = split(rest, Carrier::Datagram) {
            rest = others;
            let is_behind = arrived.is_some_and(|last| message.seq.wrapping_sub(last) as i32 <= 0);
            if !is_behind {
                *arrived = Some(message.seq);
            } else if message.flags.contains(Flags::HELLO) {
                self.told[from].unsettle();
            }
        }
    }

    /// It was taken, or refused.
    pub fn after_delivery(
        &mut self,
        node: &Node,
        now: Instant,
        (to, from): (usize, usize),
        datagram: &Datagram,
    ) {
        if !self.acknowledges && self.ordered && node.engine().is_some() {
            self.heard_in_order(from, &datagram.bytes);
        }
        let Some((flows, count)) = self.before.take() else {
            return;
        };
        let taken = &mut self.taken[to][from];
        if datagram.life > taken.newest {
            if refused(node) == count {
                *taken = Taken {
                    newest: datagram.life,
                    before: taken.newest,
                    since: Some(now),
                    ..*taken
                };
            }
            return;
        }
        let told = &mut self.told[from];
        if !taken.is_known(datagram.life, now) || !told.refuses(&datagram.bytes) {
            // Version 1 cannot tell; it may bring back anything, now or when others go on from it.
            told.unsettle();
            return;
        }
        let promised = self.trusts && self.acknowledges && self.has_external;
        if promised && node.flows(Side::External) != flows {
            let words = format!(
                "{} took what {} said in its life {}, after its life {}",
                name(to),
                name(from),
                datagram.life,
                taken.newest
            );
            self.object(Promise::Incarnation, words);
        }
    }

    /// What arrives in order and once is known.
    fn heard_in_order(&mut self, from: usize, mut bytes: &[u8]) {
        while let Split::Message(message, rest) = split(bytes, Carrier::Datagram) {
            bytes = rest;
            if let Ok(Body::Flow(Change::Delete, flow)) = message.packet().map(|p| p.body) {
                let told = &mut self.told[from];
                if told.ended.get(&flow.key()) == Some(&message.seq) {
                    told.known(message.seq);
                }
            }
        }
    }
}

/// Messages that were not taken.
fn refused(node: &Node) -> u64 {
    let receive = node.snapshot().receive;
    receive.before + receive.malformed()
}

/// What every message about an entry brings and no other adds to, the running timeout aside.
fn comparable(flow: &Flow) -> Flow {
    let proto = match flow.proto {
        ProtoInfo::Tcp(tcp) => ProtoInfo::Tcp(Tcp {
            state: tcp.state,
            ..Tcp::default()
        }),
        _ => ProtoInfo::None,
    };
    Flow {
        zone: flow.zone,
        status: flow.status,
        nat: flow.nat,
        proto,
        ..Flow::new(flow.orig)
    }
}

/// Looks at every node after a step.
pub fn look(world: &mut World) {
    for node in 0..world.nodes.len() {
        look_at_origin(world, node);
        look_at_bounds(world, node);
        look_at_voice(world, node);
    }
}

fn look_at_origin(world: &mut World, node: usize) {
    if !world.watch.trusts || !world.watch.has_external {
        return;
    }
    let it = &world.nodes[node];
    let Some(counted) = it.external_changes() else {
        return;
    };
    let seen = (counted, it.life);
    if std::mem::replace(&mut world.watch.seen[node], seen) == seen {
        return;
    }
    // What was lost of events makes messages incomplete, and what they lack may come from an older one.
    let overruns = |node: &Node| node.snapshot().kernel.overruns + u64::from(node.life > 1);
    let tells_all = world.watch.tells_all && world.nodes.iter().all(|node| overruns(node) == 0);
    // Numbers of different lives overlap: what is late may then count as new, until it is told again.
    let is_first_life = world.nodes.iter().all(|node| node.life <= 1);
    let mut wrong = None;
    for flow in it.flows(Side::External) {
        let key = flow.key();
        let others = || (0..world.nodes.len()).filter(|other| *other != node);
        let told = &world.watch.told;
        if !others().any(|other| world.nodes[other].kernel.ever_had(&key)) {
            wrong = Some((Promise::Origin, "that nobody ever had", flow));
        } else if tells_all
            && !others().any(|other| {
                let image = comparable(&flow);
                let images = told[other].images.get(&key);
                images.is_some_and(|images| images.iter().rev().any(|known| *known == image))
            })
        {
            wrong = Some((Promise::Origin, "as nobody ever told it", flow));
        } else if is_first_life && others().all(|other| told[other].gone.contains(&key)) {
            wrong = Some((Promise::NoReturn, "whose end it has acknowledged", flow));
        }
    }
    if let Some((promise, what, flow)) = wrong {
        let words = format!("{} has an entry {what}: {flow:?}", name(node));
        world.watch.object(promise, words);
    }
}

fn look_at_bounds(world: &mut World, node: usize) {
    let it = &world.nodes[node];
    if it.engine().is_none() || it.is_frozen() {
        return;
    }
    let snapshot = it.snapshot();
    let (limit, resend_max) = (world.watch.cache_limit, world.watch.resend_max);
    let resend = snapshot.resend_queue.unwrap_or_default().len;
    let internal = match snapshot.internal {
        Some(InternalStats::Cache(stats)) => stats.total,
        _ => 0,
    };
    let external = match snapshot.external {
        Some(ExternalStats::Cache(stats)) => stats.total,
        _ => 0,
    };
    let lengths = [
        ("queue to send", snapshot.tx_queue.len, LEFT_TO_SEND),
        ("resend queue", resend, resend_max.unwrap_or(0)),
        ("injected entries", snapshot.injected, limit),
        ("internal cache", internal, limit),
        ("external cache", external, limit),
    ];
    for (what, len, max) in lengths.into_iter().filter(|(_, len, max)| len > max) {
        let words = format!("{what} of {}: {len} of {max}", name(node));
        world.watch.object(Promise::Bounds, words);
    }
}

fn look_at_voice(world: &mut World, node: usize) {
    let it = &world.nodes[node];
    if !world.watch.speaks || it.engine().is_none() || it.is_frozen() {
        return;
    }
    let silent = |since: Instant| world.now().duration_since(since);
    if let Some(silence) = it.spoke_at.map(silent).filter(|silence| *silence > SILENCE) {
        let words = format!("{} has said nothing for {silence:?}", name(node));
        world.watch.object(Promise::Voice, words);
    }
}
