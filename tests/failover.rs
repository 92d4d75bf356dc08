//! Failovers and fail-backs with real keepalived and the configuration of `config/keepalived`, under load.
//!
//! A short form always runs; `FAILOVERS=20` is the long one (`cargo xtask failovers`).

#[path = "failover/node.rs"]
mod node;

use std::thread::sleep;
use std::time::{Duration, Instant};

use netlab::process::wait_until;
use netlab::traffic::{self, Pace, Traffic};
use netlab::{Feature, Pair, Peer, Table, require_feature_or_skip, require_root_or_skip, sample};
use node::{Node, Told, pair_without_addresses};

/// A connection that stands still for longer has been lost.
const PATIENCE: Duration = Duration::from_secs(8);

/// How long a node may take to become what it is to be.
const LIMIT: Duration = Duration::from_secs(40);

fn connections(pair: &Pair) -> Vec<Traffic> {
    let pace = Pace {
        interval: Duration::from_millis(2),
        chunk_len: 1024,
    };
    vec![
        traffic::tcp(&pair.masqueraded("translated TCP", 5001), pace).unwrap(),
        traffic::tcp(&pair.masqueraded("another translated TCP", 5002), pace).unwrap(),
        traffic::tcp(&pair.forwarded("TCP through a port forward"), pace).unwrap(),
        traffic::tcp(&pair.over_v6("TCP over IPv6", 5003), pace).unwrap(),
        traffic::udp(&pair.masqueraded("translated UDP", 5004), pace.interval).unwrap(),
        traffic::udp(&pair.over_v6("UDP over IPv6", 5005), pace.interval).unwrap(),
    ]
}

/// What one program did.
#[derive(Debug, Default)]
struct Record {
    /// Longest pause of any connection, for each change of the active node.
    failovers: Vec<Duration>,
    failbacks: Vec<Duration>,
    /// Names of connections that did not live on, and when.
    lost: Vec<String>,
}

impl Record {
    fn tell(&self, program: &str) {
        let spread = |name: &str, outages: &[Duration]| {
            let mut ms: Vec<_> = outages.iter().map(Duration::as_millis).collect();
            ms.sort_unstable();
            let at =
                |percent: usize| ms.get((ms.len() * percent / 100).min(ms.len().saturating_sub(1)));
            let at = |percent| at(percent).map_or("-".to_owned(), u128::to_string);
            println!(
                "{program:<22} {name:<10} {:>3} outages, ms: min {:>5}  median {:>5}  p90 {:>5}  max {:>5}",
                ms.len(),
                at(0),
                at(50),
                at(90),
                at(100)
            );
        };
        spread("failover", &self.failovers);
        spread("fail-back", &self.failbacks);
        println!(
            "{program:<22} connections lost: {} {:?}",
            self.lost.len(),
            self.lost
        );
    }
}

/// Numbers that look random, the same in each run.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    fn pause(&mut self, from_ms: u64, to_ms: u64) {
        sleep(Duration::from_millis(from_ms + self.below(to_ms - from_ms)));
    }
}

/// Waits until every connection moves, drops those that do not, and tells the longest pause since the mark.
fn outage(alive: &mut Vec<Traffic>, record: &mut Record, when: &str) -> Duration {
    let goals: Vec<_> = alive.iter().map(|one| one.bytes() + 1).collect();
    wait_until(PATIENCE, || {
        alive
            .iter()
            .zip(&goals)
            .all(|(one, goal)| one.bytes() >= *goal)
    });
    let mut goals = goals.into_iter();
    alive.retain(|one| {
        let moves = goals.next().is_some_and(|goal| one.bytes() >= goal);
        if !moves {
            record.lost.push(format!("{} {when}", one.name()));
        }
        moves
    });
    alive
        .iter()
        .map(Traffic::longest_gap)
        .max()
        .unwrap_or_default()
}

fn run(peer: Peer, rounds: u64) -> Record {
    let pair = pair_without_addresses();
    let told = match peer {
        Peer::Ours => Told::Fifo,
        Peer::Original => Told::Commands,
    };
    let mut a = Node::start(&pair, true, peer, told, 1000);
    a.until("active in the beginning", || a.is_active());
    let mut b = Node::start(&pair, false, peer, told, 1000);
    let mut alive = connections(&pair);
    // From now on nothing that passes is a connection opened anew.
    pair.close().unwrap();
    let mut record = Record::default();
    let mut chance = Chance(0x9e37_79b9_7f4a_7c15);
    for round in 1..=rounds {
        b.until_in_step(&a);
        if chance.below(2) == 0 {
            // A cable that is loose: up again before anybody can have finished what follows from it.
            a.firewall.set_link("lan", false).unwrap();
            chance.pause(20, 200);
            a.firewall.set_link("lan", true).unwrap();
            a.until("active after a flap", || a.is_active() && !b.is_active());
            outage(&mut alive, &mut record, &format!("after flap {round}"));
            b.until_in_step(&a);
        }
        alive.iter().for_each(Traffic::mark);
        pair.cut(&a.firewall).unwrap();
        b.until("active after A was cut off", || b.is_active());
        let gap = outage(&mut alive, &mut record, &format!("in failover {round}"));
        record.failovers.push(gap);
        chance.pause(0, 400);
        alive.iter().for_each(Traffic::mark);
        for interface in ["sync", "lan", "wan"] {
            a.firewall.set_link(interface, true).unwrap();
        }
        a.until("active again", || a.is_active() && !b.is_active());
        let gap = outage(&mut alive, &mut record, &format!("in fail-back {round}"));
        record.failbacks.push(gap);
    }
    for outcome in traffic::finish_all(alive, PATIENCE) {
        if let Some(death) = outcome.death {
            record.lost.push(format!("{}: {death}", outcome.name));
        }
    }
    a.stop();
    b.stop();
    record
}

#[test]
fn failovers_and_failbacks_lose_no_connection() {
    require_root_or_skip!("keepalived", "conntrackd");
    require_feature_or_skip!(Feature::Conntrack, Feature::Nat);
    let rounds = std::env::var("FAILOVERS").ok().and_then(|n| n.parse().ok());
    let ours = run(Peer::Ours, rounds.unwrap_or(3));
    let original = run(Peer::Original, rounds.unwrap_or(1));
    ours.tell("this daemon");
    original.tell("the original, scripts");
    assert!(ours.lost.is_empty(), "{ours:?}");
}

/// What a node has to learn that comes back empty, and how fast the cable lets it.
const ENTRIES: u32 = 200_000;
const NARROW: &str = "tc qdisc add dev sync root tbf rate 80mbit burst 64k limit 64m";

/// A pair whose first node has died and has come back empty, at the moment at which it has the addresses again.
struct Return {
    pair: Pair,
    a: Node,
    b: Node,
    alive: Vec<Traffic>,
    back: Instant,
    /// Entries of the peer's that A knew.
    entries: u64,
}

impl Return {
    fn after_reboot(told: Told) -> Self {
        let pair = pair_without_addresses();
        let mut a = Node::start(&pair, true, Peer::Ours, told, ENTRIES as usize);
        a.until("active in the beginning", || a.is_active());
        let b = Node::start(&pair, false, Peer::Ours, told, ENTRIES as usize);
        let alive = connections(&pair);
        pair.close().unwrap();
        Table::open(&a.firewall)
            .unwrap()
            .create((0..ENTRIES).map(sample::nth))
            .unwrap();
        b.until("in step", || {
            b.external() >= u64::from(ENTRIES) && b.is_ready()
        });

        // A dies as a machine does, and comes back empty.
        a.die(&pair);
        b.until("active after A died", || b.is_active() && b.is_settled());
        for one in &alive {
            assert!(
                one.progresses(10_000, PATIENCE),
                "{} after A died",
                one.name()
            );
        }
        assert!(b.table_len() >= ENTRIES as usize, "{}", b.table_len());
        // Telling it all takes longer than keepalived takes to elect.
        b.firewall.run(NARROW).unwrap();
        for interface in ["sync", "lan", "wan"] {
            a.firewall.set_link(interface, true).unwrap();
        }
        let back = Instant::now();
        a.boot();
        a.until("active again", || {
            // Somebody forwards all the time; whether A took over too early, the number of entries tells.
            assert!(a.is_active() || b.is_active() || back.elapsed() < LIMIT);
            a.is_active()
        });
        Self {
            entries: a.external().max(a.committing()),
            pair,
            a,
            b,
            alive,
            back,
        }
    }
}

#[test]
fn a_rebooted_node_takes_over_when_it_is_in_step_and_answers_when_it_has_committed() {
    require_root_or_skip!("keepalived", "tc");
    require_feature_or_skip!(Feature::Conntrack, Feature::Nat);
    let Return {
        pair,
        mut a,
        mut b,
        alive,
        back,
        entries,
    } = Return::after_reboot(Told::Gate);
    assert!(
        entries >= u64::from(ENTRIES),
        "A took over with {entries} entries\n{}",
        a.daemon.messages()
    );
    // The first answer of an address that moves comes after the commit. B answers as long as it has it.
    b.until("without the addresses", || !b.is_active());
    let answered = wait_until(PATIENCE, || {
        pair.client.run("ping -c 1 -W 1 -i 0.01 10.0.1.1").is_ok()
    });
    assert!(
        answered,
        "the address never answers\n{}\n{}",
        a.account(),
        b.account()
    );
    assert!(
        a.is_settled(),
        "an address answered before the commit had ended"
    );
    assert!(
        a.daemon
            .messages()
            .contains("ready: the peer's entries are here"),
        "{}",
        a.daemon.messages()
    );
    println!(
        "back after {} ms: in step, in charge and committed",
        back.elapsed().as_millis()
    );
    for one in &alive {
        assert!(
            one.progresses(10_000, PATIENCE),
            "{} after A is back",
            one.name()
        );
    }
    for outcome in traffic::finish_all(alive, PATIENCE) {
        assert!(outcome.survived(), "{outcome:?}");
    }
    a.stop();
    b.stop();
}

/// What the test above looks at is decided by readiness: without it, a node that comes back takes over too early.
#[test]
fn a_rebooted_node_that_nobody_asks_takes_over_before_it_is_in_step() {
    require_root_or_skip!("keepalived", "tc");
    require_feature_or_skip!(Feature::Conntrack, Feature::Nat);
    let mut early = Return::after_reboot(Told::Blindly);
    assert!(
        early.entries < u64::from(ENTRIES),
        "{} entries",
        early.entries
    );
    println!(
        "without readiness: in charge after {} ms with {} of {ENTRIES} entries",
        early.back.elapsed().as_millis(),
        early.entries
    );
    early.a.stop();
    early.b.stop();
}
