//! Which nodes a new primary of the native dialect takes over: those that are down, or those that are named.

use std::time::Duration;

use netlab::mesh::{Firewall, Mesh, MeshOptions};
use netlab::process::wait_until;
use netlab::schema::Schema;
use netlab::{Daemon, Peer, Table, listing, sample};
use netlab::{Lab, NodeConfig, require_root_or_skip};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(20);

/// Entries of the first node, and of the second.
const ENTRIES: [std::ops::Range<u32>; 2] = [0..300, 1000..1500];

/// Three nodes, of which two forward.
fn two_primaries(inject: bool) -> Mesh {
    let options = MeshOptions {
        inject,
        entries: 4000,
    };
    let mut mesh = Mesh::new(&Peer::Ours.program().unwrap(), 3, options).unwrap();
    mesh.start(LIMIT).unwrap();
    mesh.firewalls[1]
        .daemon
        .client(["role", "primary"])
        .unwrap();
    for (firewall, numbers) in mesh.firewalls.iter().zip(ENTRIES) {
        let mut table = Table::open(&firewall.namespace).unwrap();
        table.create(numbers.map(sample::nth)).unwrap();
    }
    let both = (ENTRIES[0].len() + ENTRIES[1].len()) as u64;
    until("the third node has what both have", || {
        entries(&mesh.firewalls[2], "cache external") == both
    });
    mesh
}

#[track_caller]
fn until(what: &str, done: impl FnMut() -> bool) {
    assert!(wait_until(LIMIT, done), "never: {what}");
}

fn entries(firewall: &Firewall, cache: &str) -> u64 {
    let words = "current active connections";
    firewall.daemon.counter(cache, words).unwrap()
}

fn kernel(firewall: &Firewall) -> Vec<String> {
    Table::open(&firewall.namespace).unwrap().lines().unwrap()
}

#[test]
fn the_named_node_is_taken_over_though_it_forwards_and_no_other() {
    require_root_or_skip!();
    let mesh = two_primaries(true);
    let [fw1, fw2, fw3] = &mesh.firewalls[..] else {
        unreachable!()
    };
    let text = fw3
        .daemon
        .client(["role", "primary", "--from", "fw2", "--json"])
        .unwrap();
    let report: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(report["role"], "primary");
    assert_eq!(report["settled"], true);
    assert_eq!(report["outcome"], "done");
    assert_eq!(Schema::of("role").unwrap().complaint(&text), None);
    until("what fw2 had is fw3's, and fw1 keeps its own", || {
        entries(fw1, "cache internal") == ENTRIES[0].len() as u64
            && entries(fw2, "cache internal") == 0
            && entries(fw3, "cache internal") == ENTRIES[1].len() as u64
    });

    // The other one as well: what was taken before stays.
    fw3.daemon
        .client(["role", "primary", "--from", "fw1", "--from", "fw2"])
        .unwrap();
    let all = ENTRIES[0].len() + ENTRIES[1].len();
    until("fw3 is the owner of everything", || {
        entries(fw3, "cache internal") == all as u64
            && entries(fw1, "cache internal") == 0
            && entries(fw2, "cache internal") == 0
    });
    for firewall in &mesh.firewalls {
        assert_eq!(kernel(firewall).len(), all, "{}", firewall.name);
    }
}

#[test]
fn of_the_named_node_alone_connections_are_committed() {
    require_root_or_skip!();
    let mesh = two_primaries(false);
    let [_, fw2, fw3] = &mesh.firewalls[..] else {
        unreachable!()
    };
    assert!(kernel(fw3).is_empty());
    fw3.daemon
        .client(["role", "primary", "--from", "fw2"])
        .unwrap();
    assert_eq!(listing::difference(&kernel(fw2), &kernel(fw3)), "");
    assert_eq!(kernel(fw3).len(), ENTRIES[1].len());
}

#[test]
fn without_a_name_the_nodes_that_are_down_are_taken_over() {
    require_root_or_skip!();
    let mut mesh = two_primaries(false);
    // Within 5 s of its own promotion fw2 takes over whoever it has not heard since, as promoted in its place.
    until("fw2 has heard fw1 since its promotion", || {
        let text = mesh.firewalls[1].daemon.client(["role", "--json"]).unwrap();
        let role: Value = serde_json::from_str(&text).unwrap();
        role["for_s"].as_f64().unwrap() >= 1.5
    });
    mesh.firewalls[0].daemon.kill().unwrap();
    mesh.cut(0).unwrap();
    let [_, fw2, fw3] = &mesh.firewalls[..] else {
        unreachable!()
    };
    until("fw1 is missed", || {
        fw3.peer("fw1").unwrap()["state"] == "connecting"
    });
    fw3.daemon.client(["role", "primary"]).unwrap();
    assert_eq!(kernel(fw3).len(), ENTRIES[0].len());
    until("fw2 keeps its own", || {
        entries(fw2, "cache internal") == ENTRIES[1].len() as u64
            && entries(fw3, "cache internal") == ENTRIES[0].len() as u64
    });
}

#[test]
fn a_name_that_nobody_has_changes_nothing_and_is_named() {
    require_root_or_skip!();
    let options = MeshOptions {
        inject: false,
        entries: 100,
    };
    let mut mesh = Mesh::new(&Peer::Ours.program().unwrap(), 2, options).unwrap();
    mesh.firewalls[0].daemon.launch().unwrap();
    let daemon = &mesh.firewalls[0].daemon;
    refuses(daemon, "there is no peer `fw9' here; there is: `fw2'");
    let role = daemon.client(["role"]).unwrap();
    assert!(role.starts_with("unknown for "), "{role}");

    // Without the native dialect nodes have no names.
    let mut lab = Lab::new().unwrap();
    let alone = lab.namespace("alone").unwrap();
    let other = lab.namespace("other").unwrap();
    lab.cable((&alone, "sync"), (&other, "sync")).unwrap();
    alone.add_addr("sync", "192.168.100.1/24").unwrap();
    let config = NodeConfig::ftfw_multicast("sync", "192.168.100.1");
    let daemon = Daemon::start(Peer::Ours, &lab, &alone, &config).unwrap();
    refuses(
        &daemon,
        "nodes have names in the native dialect only, which is not configured here",
    );
}

#[track_caller]
fn refuses(daemon: &Daemon, why: &str) {
    let ended = daemon
        .try_client(["role", "primary", "--from", "fw9", "--json"])
        .unwrap();
    assert_eq!(ended.status.code(), Some(1));
    assert!(ended.stderr.contains(why), "{}", ended.stderr);
    let report: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(report["outcome"], "refused");
    assert_eq!(report["error"], why);
    assert_eq!(report["settled"], true);
}
