//! Two nodes of the native dialect on a cable.
#![allow(dead_code)]

use std::net::Ipv4Addr;
use std::time::Duration;

use netlab::process::wait_until;
use netlab::{Daemon, Lab, Namespace, NodeConfig, Peer, sample};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

pub(crate) const LIMIT: Duration = Duration::from_secs(20);

pub(crate) const ADDRS: [Ipv4Addr; 2] = [
    Ipv4Addr::new(192, 168, 100, 1),
    Ipv4Addr::new(192, 168, 100, 2),
];

/// Where both listen.
pub(crate) const PORT: u16 = 3781;

/// Two nodes on a cable.
pub(crate) struct Nodes {
    pub(crate) daemons: [Daemon; 2],
    pub(crate) namespaces: [Namespace; 2],
    pub(crate) keys: [String; 2],
    /// Lines of the section of every node.
    pub(crate) more_native: &'static str,
    /// Where each is to be reached by the other.
    pub(crate) reached_at: [String; 2],
    pub(crate) lab: Lab,
}

impl Nodes {
    /// With keys made, and nothing configured or started.
    pub(crate) fn new() -> Self {
        let mut lab = Lab::new().unwrap();
        let namespaces = ["a", "b"].map(|role| lab.namespace(role).unwrap());
        let [a, b] = &namespaces;
        lab.cable((a, "sync"), (b, "sync")).unwrap();
        let program = Peer::Ours.program().unwrap();
        let mut daemons = Vec::new();
        for (namespace, addr) in namespaces.iter().zip(ADDRS) {
            sample::prepare(namespace).unwrap();
            namespace.untrack("sync").unwrap();
            namespace.add_addr("sync", &format!("{addr}/24")).unwrap();
            let config = NodeConfig::ftfw_multicast("sync", &addr.to_string());
            daemons.push(Daemon::prepare(&program, &lab, namespace, &config).unwrap());
        }
        let daemons: [Daemon; 2] = daemons.try_into().ok().unwrap();
        let keys = [0, 1].map(|node: usize| make_key(&daemons[node], "key"));
        Self {
            daemons,
            namespaces,
            keys,
            more_native: "",
            reached_at: ADDRS.map(|addr| addr.to_string()),
            lab,
        }
    }

    /// Configures a node that knows the other one by a key, with more lines in front.
    pub(crate) fn configure(&mut self, node: usize, key_file: &str, peer_key: &str, more: &str) {
        let daemon = &mut self.daemons[node];
        let path = |file: &str| daemon.path(file).display().to_string();
        let text = format!(
            "{more}
[native]
name = \"node{node}\"
private_key_file = \"{}\"
{}[[peer]]
name = \"node{}\"
addresses = [\"{}\"]
public_keys = [\"{peer_key}\"]
[general]
hash_limit = 400000
netlink_buffer_bytes = 33554432
netlink_buffer_max_growth_bytes = 268435456
lock_file = \"{}\"
unix_path = \"{}\"
log_file = \"{}\"
",
            path(key_file),
            self.more_native,
            1 - node,
            self.reached_at[1 - node],
            path("lock"),
            path("ctl"),
            path("log"),
        );
        daemon.configure_toml(&text).unwrap();
    }

    /// Starts both, and waits until both have proved that they hold the same.
    pub(crate) fn start(&mut self) {
        for node in 0..2 {
            let peer_key = self.keys[1 - node].clone();
            self.configure(node, "key", &peer_key, "");
            self.daemons[node].launch().unwrap();
        }
        self.wait_for("in_sync");
    }

    /// Has a node read its configuration again.
    pub(crate) fn reload(&self, node: usize) {
        let pid = self.daemons[node].pid().unwrap().try_into().unwrap();
        kill(Pid::from_raw(pid), Signal::SIGHUP).unwrap();
    }

    #[track_caller]
    pub(crate) fn wait_for(&self, state: &str) {
        assert!(
            wait_until(LIMIT, || (0..2).all(|node| self.state(node) == state)),
            "{}\n{}",
            self.daemons[0].messages(),
            self.daemons[1].messages()
        );
    }

    pub(crate) fn peer(&self, node: usize) -> serde_json::Value {
        let text = self.daemons[node].client(["peers", "--json"]).unwrap();
        let peers: serde_json::Value = serde_json::from_str(&text).unwrap();
        peers[0].clone()
    }

    pub(crate) fn state(&self, node: usize) -> String {
        self.peer(node)["state"].as_str().unwrap().to_owned()
    }

    pub(crate) fn number(&self, node: usize, key: &str) -> u64 {
        self.peer(node)[key].as_u64().unwrap()
    }

    /// What came to the port of a node and was not worth a connection.
    pub(crate) fn unanswered(&self, node: usize, reason: &str) -> u64 {
        let text = self.daemons[node].client(["stats", "--json"]).unwrap();
        let report: serde_json::Value = serde_json::from_str(&text).unwrap();
        report["native_port"][reason].as_u64().unwrap()
    }

    /// Until the second node holds so many entries of the first.
    #[track_caller]
    pub(crate) fn wait_for_entries(&self, count: u64) {
        assert!(
            wait_until(LIMIT, || self.number(1, "entries") == count),
            "{} of {count}\n{}",
            self.number(1, "entries"),
            self.daemons[1].messages()
        );
    }

    #[track_caller]
    pub(crate) fn wait_for_words(&self, node: usize, words: &str) {
        assert!(
            wait_until(LIMIT, || self.daemons[node].messages().contains(words)),
            "{words}\n{}",
            self.daemons[node].messages()
        );
    }
}

pub(crate) fn make_key(daemon: &Daemon, file: &str) -> String {
    let path = daemon.path(file).display().to_string();
    let public = daemon.client(["keygen", &path]).unwrap();
    public.trim().to_owned()
}
