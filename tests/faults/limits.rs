//! Something runs out: descriptors, room in the kernel's table, room on the disk, places for clients.

use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use control::request::Request;
use flow::{Addrs, Flow};
use netlab::limits::TableLimits;
use netlab::process::{COMMAND_LIMIT, run_within, wait_until};
use netlab::{Feature, Peer, require_feature_or_skip, require_root_or_skip, sample};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::rig::{Churn, Node, Rig, below, report, scaled};

const LIMIT: Duration = Duration::from_secs(20);

/// Longest that whoever gives orders waits for an answer while others do their worst.
const PATIENCE: Duration = Duration::from_secs(3);

/// Runs a program of the system, which must succeed.
#[track_caller]
fn run(program: &str, arguments: &[&str]) {
    let mut command = std::process::Command::new(program);
    command.args(arguments);
    run_within(command, "", COMMAND_LIMIT)
        .unwrap()
        .success()
        .unwrap();
}

/// Clients of each kind.
const CLIENTS: usize = 334;

#[test]
fn a_thousand_clients_that_are_silent_slow_or_talk_garbage() {
    require_root_or_skip!();
    require_feature_or_skip!(Feature::Conntrack);
    // A descriptor each, at our end.
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, most.min(4096), most).unwrap();
    let mut rig = Rig::new(|_| {});
    let descriptors = rig.a.descriptors();
    let churn = Churn::start(&rig.a, 2000, 2000);
    let stop = AtomicBool::new(false);
    let mut slowest = Duration::ZERO;
    let connect = || rig.a.daemon.connect().unwrap();
    thread::scope(|scope| {
        let silent: Vec<_> = (0..CLIENTS).map(|_| connect()).collect();
        let slow: Vec<_> = (0..CLIENTS)
            .map(|_| {
                let mut client = connect();
                // It may have been sent away already.
                let _ = client.write_all(&Request::DumpInternal.number().to_ne_bytes());
                client
            })
            .collect();
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let clients: Vec<_> = (0..CLIENTS).map(|_| connect()).collect();
                clients.into_iter().for_each(talk_garbage);
            }
        });
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(scaled(4, 60)) {
            let asked = Instant::now();
            rig.a.daemon.client(["-s"]).unwrap();
            slowest = slowest.max(asked.elapsed());
            thread::sleep(Duration::from_millis(50));
        }
        stop.store(true, Ordering::Relaxed);
        drop((silent, slow));
    });
    churn.finish();
    let begun = Instant::now();
    assert!(slowest < PATIENCE, "an order waited for {slowest:?}");
    rig.a.says_little(4);
    rig.ends_well(LIMIT);
    let healed = begun.elapsed();
    assert!(
        wait_until(Duration::from_secs(8), || rig.a.descriptors()
            <= descriptors),
        "{} descriptors, {descriptors} before",
        rig.a.descriptors()
    );
    report(
        "a thousand clients, silent, slow, flooding with garbage",
        healed,
        &format!("an order waited {} ms at most", slowest.as_millis()),
    );
}

fn talk_garbage(mut client: UnixStream) {
    let bytes: Vec<u8> = (0..256).map(|_| below(256) as u8).collect();
    // It may not listen to the end.
    let _ = client.write_all(&bytes);
}

/// Sets the number of descriptors that a node's daemon may have.
fn set_descriptors(node: &Node, most: usize) {
    let pid = node.daemon.pid().unwrap().to_string();
    run("prlimit", &["--pid", &pid, &format!("--nofile={most}:")]);
}

/// The first descriptor that is not in use.
fn free_descriptor(node: &Node) -> usize {
    let pid = node.daemon.pid().unwrap();
    let is_free = |number: &usize| !Path::new(&format!("/proc/{pid}/fd/{number}")).exists();
    (0..).find(is_free).unwrap()
}

#[test]
fn descriptors_run_out() {
    require_root_or_skip!("prlimit");
    require_feature_or_skip!(Feature::Conntrack);
    let mut rig = Rig::new(|_| {});
    set_descriptors(&rig.a, free_descriptor(&rig.a));
    let churn = Churn::start(&rig.a, 5000, 2000);
    let clients: Vec<_> = (0..20).map(|_| rig.a.daemon.connect().unwrap()).collect();
    rig.a.namespace.set_link("sync", false).unwrap();
    thread::sleep(Duration::from_millis(500));
    rig.a.namespace.set_link("sync", true).unwrap();
    thread::sleep(Duration::from_secs(scaled(2, 20)));
    let made = churn.finish();
    // What is open goes on to work.
    let told = wait_until(Duration::from_secs(8), || {
        let held = rig.b.daemon.counter("cache external", "current active");
        held.unwrap() == rig.a.table.len().unwrap() as u64
    });
    assert!(
        told,
        "{made} entries were made, and B has {}",
        rig.b.daemon.external().unwrap().len()
    );
    drop(clients);
    set_descriptors(&rig.a, 1024);
    let begun = Instant::now();
    rig.a.daemon.client(["-s"]).unwrap();
    rig.a.says("can't accept", 6);
    rig.ends_well(LIMIT);
    report(
        "descriptors exhausted (RLIMIT_NOFILE)",
        begun.elapsed(),
        "replication went on; clients waited",
    );
}

/// A file system with hardly any room; unmounted when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(path: &Path) -> Self {
        std::fs::create_dir(path).unwrap();
        run(
            "mount",
            &[
                "-t",
                "tmpfs",
                "-o",
                "size=16k",
                "tmpfs",
                path.to_str().unwrap(),
            ],
        );
        Self(path.to_owned())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // The directory of the lab cannot go while something is mounted in it.
        let _ = std::process::Command::new("umount")
            .args(["-l".as_ref(), self.0.as_os_str()])
            .status();
    }
}

#[test]
fn the_disk_for_the_log_is_full() {
    require_root_or_skip!("mount");
    require_feature_or_skip!(Feature::Conntrack);
    let (lab, nodes) = Rig::wires();
    let own = lab.dir().join(nodes[0].name());
    std::fs::create_dir(&own).unwrap();
    let disk = SmallDisk::mount(&own.join("small"));
    let log = disk.0.join("log");
    std::os::unix::fs::symlink(&log, own.join("log")).unwrap();
    // A page that is begun has room for some lines yet, whatever the rest of the disk has.
    std::fs::write(&log, "x".repeat(3500) + "\n").unwrap();
    let mut rig = Rig::wired(lab, Peer::Ours, nodes, |_| {});
    let filler = disk.0.join("filler");
    // As much as there is room for, and then some.
    let _ = std::fs::write(&filler, [b'x'; 64 * 1024]);
    let churn = Churn::start(&rig.a, 5000, 2000);
    for _ in 0..scaled(8, 100) {
        rig.a.daemon.client(["-B"]).unwrap();
        rig.a.daemon.client(["-R"]).unwrap();
        thread::sleep(Duration::from_millis(100));
    }
    churn.finish();
    let full = std::fs::read_to_string(&log).unwrap();
    std::fs::remove_file(filler).unwrap();
    let begun = Instant::now();
    rig.a.daemon.client(["-B"]).unwrap();
    let says = |words: &str| {
        // Looked after every five seconds.
        wait_until(Duration::from_secs(8), || {
            std::fs::read_to_string(&log).unwrap().contains(words)
        })
    };
    assert!(
        says("could not be written"),
        "full: {full}\n{}",
        std::fs::read_to_string(&log).unwrap()
    );
    let text = std::fs::read_to_string(&log).unwrap();
    assert!(
        text.lines().filter(|line| line.starts_with('[')).count() > full.lines().count(),
        "it goes on with whole lines: {text}"
    );
    rig.ends_well(LIMIT);
    report(
        "disk full for the log",
        begun.elapsed(),
        "how many lines are missing is in the log",
    );
}

/// Entries that fit into any kernel's table while it is full.
const ROOM: u64 = 1000;

/// Entries of the whole table.
const TABLE: u32 = 200_000;

/// An entry that nobody replicates and nobody evicts.
fn filler(number: u32) -> Flow {
    let mut flow = sample::nth(number | 3);
    let src = std::net::Ipv4Addr::from(0x0b00_0000 + number).into();
    flow.orig.addrs = Addrs::new(src, "203.0.113.9".parse().unwrap()).unwrap();
    flow
}

#[test]
fn the_standbys_table_is_full() {
    require_root_or_skip!();
    require_feature_or_skip!(Feature::Conntrack);
    let mut rig = Rig::of(Peer::Ours, |config| {
        config.ignore.push("203.0.113.9".to_owned());
    });
    let flows = (10_000..14_000).map(sample::nth);
    assert_eq!(rig.a.table.create(flows).unwrap().refused, 0);
    rig.heals(LIMIT);
    rig.mark();
    let fillers = TABLE - ROOM as u32;
    let limits = TableLimits::set(TABLE.into()).unwrap();
    let written = rig.b.table.create((0..fillers).map(filler)).unwrap();
    assert_eq!(written.refused, 0, "errno {}", written.errno);
    let status = rig.b.daemon.try_client(["-c"]).unwrap().status;
    drop(limits);
    assert!(status.success(), "{status}");
    // Ten of them are told one by one.
    rig.b.says("entries can't be committed", 26);
    rig.b
        .table
        .delete((0..fillers).map(|number| filler(number).key()))
        .unwrap();
    let begun = Instant::now();
    rig.ends_well(LIMIT);
    report(
        "nf_conntrack_max reached on the standby",
        begun.elapsed(),
        "by another commit",
    );
}
