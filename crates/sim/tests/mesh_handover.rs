//! Named takeovers among three to five nodes that live, at any moment and whatever else goes on: every connection has one owner,
//! and is in the kernel of all nodes all the time.

mod native;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use engine::api::ExpectationSync;
use engine::role::RoleCause;
use engine::{Command, Role, Scope, Settings, Side};
use flow::{
    Addrs, Expectation, Flow, HelperName, Key, L4, ProtoInfo, Status, Tcp, TcpState, Tuple,
    protocol,
};
use sim::kernel::PACKETS;
use sim::mesh::{Mesh, peer_id};
use sim::{Faults, Rng};

/// How many nodes there are: with half of the seeds three.
fn nodes(seed: u64) -> usize {
    [3, 3, 4, 5][(seed % 4) as usize]
}

/// Timeouts of connections that somebody forwards are no longer than this, those of a standby much longer.
const TIMEOUT_S: u32 = 3000;

/// The connection of this number.
fn connection(number: u32) -> Flow {
    let [_, a, b, c] = number.to_be_bytes();
    let addrs = Addrs::new([10, a, b, c].into(), [192, 0, 2, 1].into()).unwrap();
    let mut flow = Flow::new(Tuple {
        addrs,
        proto: protocol::TCP,
        l4: L4::Ports { src: 4000, dst: 80 },
    });
    flow.status = Some(Status::CONFIRMED | Status::SEEN_REPLY | Status::ASSURED);
    flow.proto = ProtoInfo::Tcp(Tcp {
        state: Some(TcpState::Established),
        ..Tcp::default()
    });
    flow.timeout_s = Some(TIMEOUT_S);
    flow.helper = HelperName::new(b"ftp").filter(|_| number.is_multiple_of(4));
    flow
}

/// What a connection expects, if it has a helper.
fn expected_by(master: &Flow) -> Option<Expectation> {
    let tuple = Tuple {
        l4: L4::Ports { src: 0, dst: 2000 },
        ..master.orig.mirrored()
    };
    let expected = Expectation {
        helper: master.helper,
        ..Expectation::new(master.orig, tuple, tuple)
    };
    master.helper.map(|_| expected)
}

/// `inject`: hot standbys.
fn settings(inject: bool) -> Settings {
    Settings {
        expectation_sync: ExpectationSync::All,
        ..native::settings(inject)
    }
}

struct Run {
    mesh: Mesh,
    rng: Rng,
    seed: u64,
    next: u32,
    /// Whose each connection should be. Of those that a takeover met on their way nobody can say.
    owners: BTreeMap<Key, Option<usize>>,
    /// Since when each connection was in all kernels.
    everywhere: BTreeMap<Key, std::time::Instant>,
}

impl Run {
    /// `inject`: hot standbys.
    fn new(seed: u64, inject: bool) -> Self {
        let mut rng = Rng::new(seed);
        let mut mesh = Mesh::new(&mut rng, &settings(inject), nodes(seed), 0);
        for member in &mut mesh.members {
            member.node.dump_us = *rng.pick(&[300, 3000, 50_000]);
            member.node.batch_us = *rng.pick(&[0, 100, 5000]);
        }
        mesh.set_faults(Faults {
            loss: *rng.pick(&[0, 0, 20]),
            jitter_ms: *rng.pick(&[0, 0, 2, 20]),
            ..Faults::default()
        });
        let primaries = rng.between(1, nodes(seed) as u64) as usize;
        Self::begin(mesh, rng, seed, primaries)
    }

    /// Links without faults, kernels of one speed.
    fn quiet(seed: u64, primaries: usize) -> Self {
        let mut rng = Rng::new(seed);
        let mut mesh = Mesh::new(&mut rng, &settings(true), 3, 0);
        for member in &mut mesh.members {
            (member.node.dump_us, member.node.batch_us) = (50_000, 5000);
        }
        Self::begin(mesh, rng, seed, primaries)
    }

    /// Starts the nodes, so many of which forward.
    fn begin(mesh: Mesh, rng: Rng, seed: u64, primaries: usize) -> Self {
        let mut run = Self {
            mesh,
            rng,
            seed,
            next: 1,
            owners: BTreeMap::new(),
            everywhere: BTreeMap::new(),
        };
        for index in 0..run.nodes() {
            run.mesh.start(index);
        }
        for index in 0..run.nodes() {
            let role = if index < primaries {
                Role::Primary
            } else {
                Role::Backup
            };
            run.command(index, Command::Become(role, RoleCause::Role));
            run.pass(0, 300);
        }
        for index in 0..primaries {
            run.open(index, 80);
        }
        run
    }

    fn nodes(&self) -> usize {
        self.mesh.members.len()
    }

    fn others(&self, index: usize) -> Vec<usize> {
        (0..self.nodes()).filter(|&other| other != index).collect()
    }

    fn command(&mut self, index: usize, command: Command) {
        let now = self.mesh.now();
        self.mesh.members[index].node.command(now, command);
    }

    fn pass(&mut self, from_ms: u64, to_ms: u64) {
        let time = self.rng.millis(from_ms, to_ms);
        self.mesh.run_for(time);
    }

    fn forwards(&self, index: usize) -> bool {
        let engine = self.mesh.members[index].node.engine().unwrap();
        engine.role().role == Role::Primary
    }

    /// Traffic opens connections on a node.
    fn open(&mut self, index: usize, most: u64) {
        let now = self.mesh.now();
        for _ in 0..self.rng.between(1, most) {
            let flow = connection(self.next);
            self.next += 1;
            let kernel = &mut self.mesh.members[index].node.kernel;
            assert!(kernel.create(now, flow, PACKETS));
            if let Some(expected) = expected_by(&flow) {
                kernel.expect(now, expected, PACKETS).unwrap();
            }
            self.owners.insert(flow.key(), Some(index));
        }
    }

    /// Traffic ends some connections on the node that owns them.
    fn end(&mut self) {
        let now = self.mesh.now();
        let keys: Vec<Key> = self.owners.keys().copied().collect();
        for key in keys {
            if let Some(Some(owner)) = self.owners.get(&key).copied()
                && self.rng.chance(50)
            {
                self.mesh.members[owner]
                    .node
                    .kernel
                    .destroy(now, &key, PACKETS);
                self.owners.remove(&key);
                self.everywhere.remove(&key);
            }
        }
    }

    /// A node takes over another one, or two, while this and that happens.
    fn take_over(&mut self) {
        let taker = self.rng.below(self.nodes() as u64) as usize;
        let others = self.others(taker);
        let named: BTreeSet<usize> = match self.rng.below(others.len() as u64 + 1) {
            0 => others.iter().copied().collect(),
            which => [others[which as usize - 1]].into(),
        };
        let is_quiet = self.rng.chance(500);
        if is_quiet {
            self.settle();
        } else {
            // Later than whatever of the takeover before is on its way.
            self.pass(1500, 3000);
        }
        let peers = named.iter().map(|&other| peer_id(taker, other)).collect();
        self.command(taker, Command::TakeOver(peers, RoleCause::Role));
        for owner in self.owners.values_mut() {
            if owner.is_some_and(|owner| named.contains(&owner)) {
                *owner = is_quiet.then_some(taker);
            }
        }
        for _ in 0..self.rng.below(4) {
            self.pass(0, 60);
            let some = self.rng.below(self.nodes() as u64) as usize;
            match self.rng.below(3) {
                0 => self.command(some, Command::ResyncFromKernel(Scope::All)),
                1 if self.forwards(some) => self.open(some, 5),
                2 if is_quiet => {
                    // Later than whatever of the takeover is on its way.
                    self.pass(3000, 3000);
                    self.end();
                    self.pass(1000, 1000);
                }
                _ => {}
            }
        }
    }

    /// Takes over what these nodes have.
    fn take(&mut self, taker: usize, named: &[usize]) {
        let peers = named.iter().map(|&other| peer_id(taker, other)).collect();
        self.command(taker, Command::TakeOver(peers, RoleCause::Role));
        for owner in self.owners.values_mut() {
            if owner.is_some_and(|owner| named.contains(&owner)) {
                *owner = Some(taker);
            }
        }
    }

    /// Some take over at about the same time, each other's perhaps. Returns who, and whose.
    fn cross(&mut self) -> Vec<(usize, Vec<usize>)> {
        let nodes = self.nodes() as u64;
        let mut takeovers = Vec::new();
        for _ in 0..self.rng.between(2, nodes) {
            let taker = self.rng.below(nodes) as usize;
            let others = self.others(taker);
            let which = self.rng.below(nodes) as usize;
            let named = others.get(which..=which).unwrap_or(&others);
            self.take(taker, named);
            takeovers.push((taker, named.to_vec()));
            self.pass(0, 60);
            if self.rng.chance(300) {
                self.open(taker, 5);
            }
        }
        // Whoever they are left to, it is one.
        self.owners.values_mut().for_each(|owner| *owner = None);
        takeovers
    }

    fn agree(&mut self) {
        let is_proved = self.mesh.settle(Duration::from_secs(60));
        assert!(is_proved, "seed {}: {:#?}", self.seed, self.mesh.states());
    }

    fn own(&self, index: usize) -> BTreeSet<Key> {
        let own = self.mesh.members[index].node.flows(Side::Internal);
        own.iter().map(Flow::key).collect()
    }

    /// What every other node keeps of a node is what it has.
    fn check_kept(&self, index: usize) {
        let (own, seed) = (self.own(index), self.seed);
        for other in self.others(index) {
            let kept = self.mesh.kept(other, index);
            let kept: BTreeSet<Key> = kept.iter().map(Flow::key).collect();
            let first = own.symmetric_difference(&kept).next();
            let (own, kept) = (own.len(), kept.len());
            assert!(
                first.is_none(),
                "seed {seed}: {index} has {own}, {other} keeps {kept} of it: {first:?}"
            );
        }
    }

    fn settle(&mut self) {
        // What was handed over is held for 10 s.
        self.mesh.run_for(Duration::from_secs(12));
        self.agree();
        let now = self.mesh.now();
        for index in 0..self.nodes() {
            let kernel = &self.mesh.members[index].node.kernel;
            let lacking = self
                .owners
                .keys()
                .filter(|key| kernel.flow(key, now).is_none());
            let lacking: Vec<_> = lacking.map(|key| (key, self.owners[key])).collect();
            assert!(
                lacking.is_empty(),
                "seed {}: node {index} lacks {lacking:?}",
                self.seed
            );
            let extra: Vec<Key> = kernel.keys();
            let extra: Vec<_> = extra
                .iter()
                .filter(|key| !self.owners.contains_key(key))
                .collect();
            assert!(
                extra.is_empty(),
                "seed {}: node {index} still has {extra:?}",
                self.seed
            );
        }
        for key in self.owners.keys() {
            self.everywhere.entry(*key).or_insert(now);
        }
        for (key, since) in &self.everywhere {
            for (index, member) in self.mesh.members.iter().enumerate() {
                assert!(
                    !member.node.kernel.ended_since(key, *since),
                    "seed {}: node {index} has lost {key:?} for a moment",
                    self.seed
                );
            }
        }
    }

    /// Whose each connection is, in the eyes of all.
    fn check(&mut self) {
        self.settle();
        let seed = self.seed;
        let mut found = BTreeMap::new();
        for index in 0..self.nodes() {
            for key in self.own(index) {
                let other = found.insert(key, index);
                assert_eq!(other, None, "seed {seed}: {key:?} has two owners");
            }
            self.check_kept(index);
        }
        for (key, owner) in &self.owners {
            let known = found.get(key).copied();
            assert!(
                known.is_some(),
                "seed {seed}: nobody owns {key:?}, but {owner:?}"
            );
            if owner.is_some() {
                assert_eq!(known, *owner, "seed {seed}: {key:?}");
            }
        }
        self.check_expectations(&found);
        let now = self.mesh.now();
        for index in 0..self.nodes() {
            for flow in self.mesh.members[index].node.kernel.flows(now) {
                let is_short = flow.timeout_s <= Some(TIMEOUT_S);
                let is_own = found.get(&flow.key()) == Some(&index);
                let timeout_s = flow.timeout_s;
                assert_eq!(
                    is_short,
                    is_own,
                    "seed {seed}: node {index}, {timeout_s:?} s: {:?}",
                    flow.key()
                );
            }
        }
    }
}

impl Run {
    /// What is expected is expected by all kernels, and belongs to whoever owns the connection that expects.
    fn check_expectations(&self, owners: &BTreeMap<Key, usize>) {
        let (seed, now) = (self.seed, self.mesh.now());
        for (index, member) in self.mesh.members.iter().enumerate() {
            let flows = member.node.kernel.flows(now);
            let expect: BTreeSet<Tuple> = flows
                .filter(|flow| flow.helper.is_some())
                .map(|flow| flow.orig)
                .collect();
            let expected = member.node.kernel.expectations(now);
            let expected: BTreeSet<Tuple> = expected.map(|it| it.master).collect();
            let first = expected.symmetric_difference(&expect).next();
            let (has, wants) = (expected.len(), expect.len());
            assert!(
                first.is_none(),
                "seed {seed}: {has} of {wants} in the kernel of {index}: {first:?}"
            );
            let is_own = |key: &Key| owners.get(key) == Some(&index);
            let own = expect.iter().map(|&tuple| Key { tuple, zone: 0 });
            let own: BTreeSet<Key> = own.filter(is_own).collect();
            let told = member.node.expectations(Side::Internal);
            let told: BTreeSet<Key> = told.iter().map(Expectation::master_key).collect();
            let first = told.symmetric_difference(&own).next();
            let (told, own) = (told.len(), own.len());
            assert!(
                first.is_none(),
                "seed {seed}: {index} owns {told}, not {own}: {first:?}"
            );
        }
    }
}

#[test]
fn every_connection_has_one_owner_and_is_in_all_kernels_whoever_is_taken_over_by_name() {
    for seed in native::seeds(12) {
        let mut run = Run::new(seed, true);
        for _ in 0..4 {
            run.take_over();
        }
        run.check();
    }
}

#[test]
fn what_is_taken_over_again_before_its_former_owner_is_forgotten_is_lost_nowhere() {
    let mut run = Run::quiet(7, 3);
    // Quick to read what it has taken over, and slow to set it right.
    run.mesh.members[2].node.dump_us = 3000;
    run.pass(3000, 3000);
    for (taker, named) in [(1, &[0, 2][..]), (2, &[1]), (1, &[0, 2])] {
        run.take(taker, named);
        run.pass(2000, 2000);
    }
    run.check();
}

#[test]
fn what_has_ended_at_a_former_owner_does_not_live_on_at_the_next() {
    let mut run = Run::quiet(7, 3);
    run.settle();
    run.take(0, &[1, 2]);
    run.pass(200, 200);
    // Its own, opened since.
    run.open(2, 4);
    run.pass(3000, 3000);
    let now = run.mesh.now();
    let own = run.mesh.members[2].node.flows(Side::Internal);
    let ended = own.first().unwrap().key();
    run.mesh.members[2]
        .node
        .kernel
        .destroy(now, &ended, PACKETS);
    run.owners.remove(&ended);
    run.everywhere.clear();
    run.pass(3000, 3000);
    run.take(1, &[2]);
    run.pass(1000, 1000);
    run.check();
}

#[test]
fn takeovers_that_cross_leave_every_connection_to_one_node_and_lose_none() {
    for seed in native::seeds(8) {
        let mut run = Run::new(seed, true);
        for _ in 0..2 {
            run.cross();
            run.settle();
        }
        run.check();
    }
}

#[test]
fn takeovers_that_cross_commit_what_there_was_where_no_standby_is_hot() {
    for seed in native::seeds(8) {
        let mut run = Run::new(seed, false);
        run.agree();
        let before: Vec<_> = (0..run.nodes()).map(|index| run.own(index)).collect();
        let takeovers = run.cross();
        // A commit under way is finished.
        run.mesh.run_for(Duration::from_secs(12));
        run.agree();
        for index in 0..run.nodes() {
            run.check_kept(index);
        }
        for (taker, named) in takeovers {
            let own = run.own(taker);
            for from in named {
                let lacking = before[from].difference(&own).next();
                assert_eq!(lacking, None, "seed {seed}: {taker} lacks {from}'s");
            }
        }
    }
}
