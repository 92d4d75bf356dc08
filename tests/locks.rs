//! Starts, locks and clients that do not behave.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use netlab::process::wait_until;
use netlab::{Daemon, Feature, Lab, Namespace, NodeConfig, Peer, Table, sample};
use netlab::{require_feature_or_skip, require_root_or_skip};

const LIMIT: Duration = Duration::from_secs(5);

fn ready() -> bool {
    if let Some(reason) = netlab::skip::obstacle(&["conntrackd"]) {
        netlab::skip::skip(&reason);
        return false;
    }
    if !Feature::Conntrack.is_present() {
        netlab::skip::skip(&format!("the kernel lacks {}", Feature::Conntrack));
        return false;
    }
    true
}

fn node(lab: &mut Lab) -> (Namespace, NodeConfig) {
    let namespace = lab.namespace("node").unwrap();
    let other = lab.namespace("other").unwrap();
    lab.cable((&namespace, "sync"), (&other, "sync")).unwrap();
    namespace.add_addr("sync", "192.168.100.1/24").unwrap();
    let config = NodeConfig::ftfw_multicast("sync", "192.168.100.1");
    (namespace, config)
}

#[test]
fn what_a_crash_leaves_does_not_block_the_next_start() {
    if !ready() {
        return;
    }
    let mut lab = Lab::new().unwrap();
    let (namespace, config) = node(&mut lab);
    let mut daemon = Daemon::start(Peer::Ours, &lab, &namespace, &config).unwrap();
    for _ in 0..3 {
        daemon.kill().unwrap();
        assert!(daemon.path("ctl").exists() && daemon.path("lock").exists());
        daemon.launch().unwrap();
    }
    daemon.stop().unwrap();
}

#[test]
fn what_a_crash_of_the_original_leaves_does_not_block_ours() {
    if !ready() {
        return;
    }
    let mut lab = Lab::new().unwrap();
    let (namespace, config) = node(&mut lab);
    let mut original = Daemon::start(Peer::Original, &lab, &namespace, &config).unwrap();
    original.kill().unwrap();
    assert!(original.path("ctl").exists() && original.path("lock").exists());
    Daemon::start(Peer::Ours, &lab, &namespace, &config)
        .unwrap()
        .stop()
        .unwrap();
}

#[test]
fn a_living_daemon_of_either_kind_blocks_a_second_one() {
    if !ready() {
        return;
    }
    for alive in [Peer::Ours, Peer::Original] {
        let mut lab = Lab::new().unwrap();
        let (namespace, config) = node(&mut lab);
        let mut first = Daemon::start(alive, &lab, &namespace, &config).unwrap();
        let second = first.start_another(&Peer::Ours.program().unwrap()).unwrap();
        assert_eq!(second.status.code(), Some(1), "{alive:?}");
        let message = format!(
            "lockfile `{}' exists, perhaps conntrackd already running?",
            first.path("lock").display()
        );
        assert!(second.stderr.contains(&message), "{alive:?}: {second:?}");
        first.client(["-s"]).unwrap();
        assert!(first.path("lock").exists());
        first.stop().unwrap();
    }
}

#[test]
fn a_living_daemon_whose_lock_file_was_removed_still_blocks_a_second_one() {
    if !ready() {
        return;
    }
    let mut lab = Lab::new().unwrap();
    let (namespace, config) = node(&mut lab);
    let first = Daemon::start(Peer::Ours, &lab, &namespace, &config).unwrap();
    std::fs::remove_file(first.path("lock")).unwrap();
    let second = first.start_another(&Peer::Ours.program().unwrap()).unwrap();
    assert_eq!(second.status.code(), Some(1));
    first.client(["-s"]).unwrap();
}

#[test]
fn socket_and_lock_are_there_while_it_runs_and_gone_afterwards() {
    use std::os::unix::fs::PermissionsExt;
    if !ready() {
        return;
    }
    let mut lab = Lab::new().unwrap();
    let (namespace, config) = node(&mut lab);
    let mut daemon = Daemon::start(Peer::Ours, &lab, &namespace, &config).unwrap();
    let files = ["ctl", "lock"].map(|file| daemon.path(file));
    for file in &files {
        let mode = std::fs::metadata(file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", file.display());
    }
    daemon.stop().unwrap();
    assert!(files.iter().all(|file| !file.exists()));

    daemon.launch().unwrap();
    daemon.client(["-k"]).unwrap();
    // Scripts look as soon as the client returns.
    assert!(files.iter().all(|file| !file.exists()));
    daemon.ends().unwrap();
}

/// Clients of every bad kind; they stay what they are as long as the streams live.
fn bad_clients(daemon: &Daemon) -> Vec<UnixStream> {
    let mut clients = Vec::new();
    for number in 0..40_u32 {
        let mut client = daemon.connect().unwrap();
        match number % 4 {
            // Silent.
            0 => {}
            // Half a request.
            1 => client.write_all(&[16, 0]).unwrap(),
            // Asks for listings and reads nothing.
            2 => client.write_all(&16_u32.to_ne_bytes()).unwrap(),
            _ => client.write_all(&17_u32.to_ne_bytes()).unwrap(),
        }
        clients.push(client);
    }
    clients
}

#[test]
fn silent_and_slow_clients_do_not_stall_replication() {
    require_root_or_skip!();
    require_feature_or_skip!(Feature::Conntrack, Feature::Labels);
    let mut lab = Lab::new().unwrap();
    let a = lab.namespace("a").unwrap();
    let b = lab.namespace("b").unwrap();
    lab.cable((&a, "sync"), (&b, "sync")).unwrap();
    let start = |namespace: &Namespace, addr: &str| {
        namespace.add_addr("sync", &format!("{addr}/24")).unwrap();
        sample::prepare(namespace).unwrap();
        namespace.untrack("sync").unwrap();
        let config = NodeConfig::ftfw_multicast("sync", addr);
        Daemon::start(Peer::Ours, &lab, namespace, &config).unwrap()
    };
    let near = start(&a, "192.168.100.1");
    let far = start(&b, "192.168.100.2");
    let mut table = Table::open(&a).unwrap();

    // Listings that fit no socket buffer.
    table.create((0..20_000).map(sample::nth)).unwrap();
    let external = || {
        far.counter("cache external", "current active connections")
            .unwrap()
    };
    assert!(
        wait_until(Duration::from_secs(20), || external() == 20_000),
        "{} of 20000\nA:\n{}{}B:\n{}{}",
        external(),
        near.client(["-s"]).unwrap(),
        near.client(["-s", "runtime"]).unwrap(),
        far.client(["-s"]).unwrap(),
        far.client(["-s", "cache"]).unwrap(),
    );
    let mut clients = bad_clients(&near);
    clients.extend(bad_clients(&far));

    for round in 0..5 {
        let first = 20_000 + round * 100;
        let begun = Instant::now();
        table.create((first..first + 100).map(sample::nth)).unwrap();
        assert!(
            wait_until(LIMIT, || external() == u64::from(first) + 100),
            "round {round}: {} of {}",
            external(),
            first + 100
        );
        println!(
            "round {round}: replicated in {} ms",
            begun.elapsed().as_millis()
        );
        // Well-behaved clients are served meanwhile, listings too.
        assert_eq!(
            near.client(["-i"]).unwrap().lines().count() as u32,
            first + 100
        );
    }
    drop(clients);
    near.client(["-s"]).unwrap();
}
