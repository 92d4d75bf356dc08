//! A pair is upgraded from the original to ours, one node at a time, and back again, while connections run through it.
//!
//! Each replaced daemon is taken into service by a change of roles, with the steps of the stock script for keepalived.

use std::time::Duration;

use netlab::process::wait_until;
use netlab::traffic::{self, Pace, Traffic};
use netlab::{
    Daemon, Feature, Namespace, NodeConfig, Pair, Peer, Table, listing, require_feature_or_skip,
    require_root_or_skip,
};

const SYNC_LIMIT: Duration = Duration::from_secs(20);
const PATIENCE: Duration = Duration::from_secs(8);

/// The addresses that move, as the pair gives them.
const ADDRS: [(&str, &str); 4] = [
    ("lan", "10.0.1.1/24"),
    ("lan", "fd00:1::1/64"),
    ("wan", "203.0.113.1/24"),
    ("wan", "2001:db8:2::1/64"),
];

/// A firewall and its daemon.
struct Node {
    firewall: Namespace,
    config: NodeConfig,
    daemon: Daemon,
    table: Table,
}

impl Node {
    fn start(pair: &Pair, a: bool, peer: Peer) -> Self {
        let firewall = if a { &pair.a } else { &pair.b };
        let mut config = pair.config(a);
        // Soon enough to see it happen: what an old role left in the kernel must not be what helps later.
        config.mode_lines = vec!["PurgeTimeout 1".to_owned()];
        Self {
            firewall: firewall.clone(),
            daemon: Daemon::start(peer, &pair.lab, firewall, &config).unwrap(),
            table: Table::open(firewall).unwrap(),
            config,
        }
    }

    /// Replaces the daemon, and asks for everything.
    fn replace(&mut self, pair: &Pair, peer: Peer) {
        self.daemon.stop().unwrap();
        self.daemon = Daemon::start(peer, &pair.lab, &self.firewall, &self.config).unwrap();
        self.daemon.client(["-n"]).unwrap();
    }
}

/// Waits until the standby holds what the active node holds.
#[track_caller]
fn in_step(active: &Node, standby: &Node, when: &str) {
    let (mut internal, mut external) = (Vec::new(), Vec::new());
    let equal = wait_until(SYNC_LIMIT, || {
        internal = active.daemon.internal().unwrap();
        external = standby.daemon.external().unwrap();
        !internal.is_empty() && internal == external
    });
    assert!(
        equal,
        "{when}\n{}active:\n{}standby:\n{}",
        listing::difference(&internal, &external),
        active.daemon.messages(),
        standby.daemon.messages()
    );
}

/// The standby becomes active, by the steps of the stock script; then the other one becomes standby.
#[track_caller]
fn exchange_roles(pair: &Pair, old: &Node, new: &Node, when: &str) {
    in_step(old, new, when);
    new.daemon.client(["-c"]).unwrap();
    // Not before the commit: with an address the kernel deletes what it masqueraded to it, and tells the standby so.
    for (interface, addr) in ADDRS {
        old.firewall
            .run(&format!("ip addr del {addr} dev {interface}"))
            .unwrap();
    }
    pair.activate(&new.firewall).unwrap();
    for command in ["-f", "-R", "-B"] {
        new.daemon.client([command]).unwrap();
    }
    for command in ["-t", "-n"] {
        old.daemon.client([command]).unwrap();
    }
    in_step(new, old, when);
    let purged = wait_until(SYNC_LIMIT, || old.table.is_empty().unwrap());
    assert!(
        purged,
        "{when}: {} entries are not purged\n{}",
        old.table.len().unwrap(),
        old.daemon.messages()
    );
    in_step(new, old, when);
}

#[track_caller]
fn all_run(traffic: &[Traffic], when: &str) {
    for one in traffic {
        assert!(
            one.progresses(100_000, PATIENCE),
            "{when}: {} stands still",
            one.name()
        );
    }
}

fn step(pair: &Pair, traffic: &[Traffic], active: &Node, standby: &mut Node, peer: Peer) {
    let when = format!("{} becomes {peer:?}", standby.firewall.name());
    standby.replace(pair, peer);
    exchange_roles(pair, active, standby, &when);
    all_run(traffic, &when);
}

#[test]
fn no_connection_is_lost_in_a_rolling_upgrade_and_back() {
    require_root_or_skip!("conntrackd");
    require_feature_or_skip!(Feature::Conntrack, Feature::Nat);
    let pair = Pair::new().unwrap();
    let mut a = Node::start(&pair, true, Peer::Original);
    let mut b = Node::start(&pair, false, Peer::Original);
    let pace = Pace::default();
    let connections = vec![
        traffic::tcp(&pair.masqueraded("masqueraded", 5001), pace).unwrap(),
        traffic::tcp(&pair.masqueraded("another masqueraded", 5002), pace).unwrap(),
        traffic::tcp(&pair.forwarded("port forward"), pace).unwrap(),
        traffic::tcp(&pair.over_v6("IPv6", 5003), pace).unwrap(),
    ];
    // From now on nothing that passes is a connection opened anew.
    pair.close().unwrap();
    all_run(&connections, "in the beginning");

    step(&pair, &connections, &a, &mut b, Peer::Ours);
    step(&pair, &connections, &b, &mut a, Peer::Ours);
    step(&pair, &connections, &a, &mut b, Peer::Original);
    step(&pair, &connections, &b, &mut a, Peer::Original);

    for outcome in traffic::finish_all(connections, PATIENCE) {
        assert!(outcome.survived(), "{outcome:?}");
    }
}
