//! A pair is upgraded from the original to ours, one node at a time, and back again, while connections run through it.
//!
//! Each replaced daemon is taken into service by a change of roles, with the steps of the stock script for keepalived; where
//! the native dialect is spoken, with `conntrackd role`. The steps are those of `docs/guide/migration.md`.

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

/// What a node speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Speech {
    /// Version 1: the original, or ours with the same file.
    Old(Peer),
    /// Ours: the native dialect, and version 1 beside it.
    Both,
    /// Ours: the native dialect alone.
    Native,
}

impl Speech {
    fn is_native(self) -> bool {
        !matches!(self, Self::Old(_))
    }
}

/// A firewall and its daemon.
struct Node {
    firewall: Namespace,
    config: NodeConfig,
    speech: Speech,
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
            speech: Speech::Old(peer),
            config,
        }
    }

    fn is_a(&self, pair: &Pair) -> bool {
        self.firewall.name() == pair.a.name()
    }

    /// Makes a key beside the configuration that there is; returns the public one.
    fn make_key(&self) -> String {
        let program = Peer::Ours.program().unwrap();
        let key = self.daemon.path("key").display().to_string();
        let made = self.daemon.client_of(&program, ["keygen", &key]).unwrap();
        made.success().unwrap().trim().to_owned()
    }

    /// Moves the file to TOML, as far as it has not been, and adds what the native dialect needs.
    fn replace_with_native(&mut self, pair: &Pair, speech: Speech, other_key: &str) {
        let program = Peer::Ours.program().unwrap();
        let mut convert = self.firewall.command(&program.display().to_string());
        convert
            .arg("convert")
            .arg("-C")
            .arg(self.daemon.path("conf"));
        let converted = netlab::process::run_within(convert, "", SYNC_LIMIT).unwrap();
        let (own, other) = match self.is_a(pair) {
            true => ("fw1", ("fw2", "192.168.100.2")),
            false => ("fw2", ("fw1", "192.168.100.1")),
        };
        let more = format!(
            "
[native]
name = \"{own}\"
private_key_file = \"{}\"
version_1 = {}
[[peer]]
name = \"{}\"
addresses = [\"{}\"]
public_keys = [\"{other_key}\"]
",
            self.daemon.path("key").display(),
            speech == Speech::Both,
            other.0,
            other.1,
        );
        let converted = converted.success().unwrap();
        let text = match speech {
            Speech::Native => without_links(&converted) + &more,
            _ => converted + &more,
        };
        self.daemon.stop().unwrap();
        self.daemon = Daemon::prepare(&program, &pair.lab, &self.firewall, &self.config).unwrap();
        self.daemon.configure_toml(&text).unwrap();
        self.daemon.launch().unwrap();
        // Asks for everything, where the other one still speaks version 1.
        self.command("role backup");
        self.speech = speech;
    }

    fn command(&self, words: &str) {
        self.daemon.client(words.split(' ')).unwrap();
    }

    /// Replaces the daemon, and asks for everything.
    fn replace(&mut self, pair: &Pair, peer: Peer) {
        self.daemon.stop().unwrap();
        self.daemon = Daemon::start(peer, &pair.lab, &self.firewall, &self.config).unwrap();
        self.daemon.client(["-n"]).unwrap();
        self.speech = Speech::Old(peer);
    }
}

/// Takes the links of version 1 out of a configuration.
fn without_links(text: &str) -> String {
    let mut is_link = false;
    let mut left = String::new();
    for line in text.lines() {
        if line.starts_with('[') {
            is_link = line.starts_with("[[sync.link") || line.starts_with("[sync.link");
        }
        if !is_link {
            left += line;
            left.push('\n');
        }
    }
    assert!(left.len() < text.len(), "no link in {text}");
    left
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
    let become_primary: (&str, &[&str]) = match new.speech {
        Speech::Old(_) => ("-c", &["-f", "-R", "-B"]),
        // One word, which returns when the kernel has everything.
        _ => ("role primary", &[]),
    };
    let become_backup: &[&str] = match old.speech {
        Speech::Old(_) => &["-t", "-n"],
        _ => &["role backup"],
    };
    new.command(become_primary.0);
    // Not before the commit: with an address the kernel deletes what it masqueraded to it, and tells the standby so.
    for (interface, addr) in ADDRS {
        old.firewall
            .run(&format!("ip addr del {addr} dev {interface}"))
            .unwrap();
    }
    pair.activate(&new.firewall).unwrap();
    become_primary.1.iter().for_each(|words| new.command(words));
    become_backup.iter().for_each(|words| old.command(words));
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

/// Connections that will have to live through it; nothing that passes afterwards is one opened anew.
fn connect(pair: &Pair) -> Vec<Traffic> {
    let pace = Pace::default();
    let connections = vec![
        traffic::tcp(&pair.masqueraded("masqueraded", 5001), pace).unwrap(),
        traffic::tcp(&pair.masqueraded("another masqueraded", 5002), pace).unwrap(),
        traffic::tcp(&pair.forwarded("port forward"), pace).unwrap(),
        traffic::tcp(&pair.over_v6("IPv6", 5003), pace).unwrap(),
    ];
    pair.close().unwrap();
    all_run(&connections, "in the beginning");
    connections
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
    let connections = connect(&pair);

    step(&pair, &connections, &a, &mut b, Peer::Ours);
    step(&pair, &connections, &b, &mut a, Peer::Ours);
    step(&pair, &connections, &a, &mut b, Peer::Original);
    step(&pair, &connections, &b, &mut a, Peer::Original);

    for outcome in traffic::finish_all(connections, PATIENCE) {
        assert!(outcome.survived(), "{outcome:?}");
    }
}

fn native_step(
    pair: &Pair,
    traffic: &[Traffic],
    active: &Node,
    standby: &mut Node,
    (speech, key): (Speech, &str),
) {
    let when = format!("{} becomes {speech:?}", standby.firewall.name());
    standby.replace_with_native(pair, speech, key);
    exchange_roles(pair, active, standby, &when);
    if active.speech.is_native() {
        must_speak_native(active, standby, &when);
    }
    all_run(traffic, &when);
}

#[track_caller]
fn must_speak_native(one: &Node, other: &Node, when: &str) {
    for node in [one, other] {
        let in_sync = wait_until(SYNC_LIMIT, || {
            node.daemon.client(["peers"]).unwrap().contains("in sync")
        });
        assert!(in_sync, "{when}\n{}", node.daemon.messages());
    }
}

#[test]
fn no_connection_is_lost_on_the_way_to_the_native_dialect_and_back() {
    require_root_or_skip!("conntrackd");
    require_feature_or_skip!(Feature::Conntrack, Feature::Nat);
    let pair = Pair::new().unwrap();
    let mut a = Node::start(&pair, true, Peer::Original);
    let mut b = Node::start(&pair, false, Peer::Original);
    let connections = connect(&pair);

    // Ours for the original, with its file.
    step(&pair, &connections, &a, &mut b, Peer::Ours);
    step(&pair, &connections, &b, &mut a, Peer::Ours);
    // The first with keys still speaks version 1 to the other; the second need not any more; the first stops.
    let [key_a, key_b] = [a.make_key(), b.make_key()];
    native_step(&pair, &connections, &a, &mut b, (Speech::Both, &key_a));
    native_step(&pair, &connections, &b, &mut a, (Speech::Native, &key_b));
    native_step(&pair, &connections, &a, &mut b, (Speech::Native, &key_a));
    // The same way back.
    native_step(&pair, &connections, &b, &mut a, (Speech::Both, &key_b));
    step(&pair, &connections, &a, &mut b, Peer::Original);
    step(&pair, &connections, &b, &mut a, Peer::Original);

    for outcome in traffic::finish_all(connections, PATIENCE) {
        assert!(outcome.survived(), "{outcome:?}");
    }
}
