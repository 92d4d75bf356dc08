//! Processes that die, stop, and start again in the middle of something.

use std::thread;
use std::time::{Duration, Instant};

use netlab::process::wait_until;
use netlab::{Feature, require_feature_or_skip, require_root_or_skip, sample};
use nix::sys::signal::Signal;

use crate::rig::{Churn, Node, Rig, below, report, scaled};

const LIMIT: Duration = Duration::from_secs(20);

/// Waits for a random part of a time.
fn a_while(most_ms: u64) {
    thread::sleep(Duration::from_millis(below(most_ms)));
}

/// What whoever starts a node again says: the standby forgets what it was told and asks for everything.
fn asks_anew(standby: &Node) {
    standby.daemon.client(["-f", "external"]).unwrap();
    standby.daemon.client(["-n"]).unwrap();
}

#[test]
fn the_active_node_is_killed_at_random_moments() {
    require_root_or_skip!();
    require_feature_or_skip!(Feature::Conntrack);
    let mut rig = Rig::new(|_| {});
    let mut slowest = Duration::ZERO;
    for _ in 0..scaled(2, 20) {
        rig.mark();
        let churn = Churn::start(&rig.a, 5000, 1000);
        a_while(1500);
        rig.a.daemon.kill().unwrap();
        // Whoever takes over now must have everything that was acknowledged.
        rig.nothing_lost();
        a_while(500);
        rig.a.daemon.launch().unwrap();
        let begun = Instant::now();
        a_while(500);
        churn.finish();
        asks_anew(&rig.b);
        rig.heals(LIMIT);
        slowest = slowest.max(begun.elapsed());
        rig.b.says_little(12);
    }
    rig.ends_well(LIMIT);
    report(
        "SIGKILL of the active node under load",
        slowest,
        "from its start, asked by -f external and -n",
    );
}

#[test]
fn the_standby_is_killed_at_random_moments() {
    require_root_or_skip!();
    require_feature_or_skip!(Feature::Conntrack);
    let mut rig = Rig::new(|config| config.mode_lines.push("StartupResync on".to_owned()));
    let mut slowest = Duration::ZERO;
    for _ in 0..scaled(2, 20) {
        rig.mark();
        let churn = Churn::start(&rig.a, 5000, 1000);
        a_while(1500);
        rig.b.daemon.kill().unwrap();
        a_while(1000);
        rig.b.daemon.launch().unwrap();
        let begun = Instant::now();
        a_while(500);
        churn.finish();
        rig.heals(LIMIT);
        slowest = slowest.max(begun.elapsed());
        rig.a.says_little(8);
    }
    rig.a.says("resync requested by other node", 8);
    rig.ends_well(LIMIT);
    report(
        "SIGKILL of the standby under load",
        slowest,
        "from its start, StartupResync",
    );
}

#[test]
fn either_node_is_stopped_for_seconds() {
    require_root_or_skip!();
    require_feature_or_skip!(Feature::Conntrack);
    let mut rig = Rig::new(|_| {});
    let stopped = Duration::from_secs(scaled(2, 10));
    for active in [true, false] {
        rig.mark();
        let churn = Churn::start(&rig.a, 10_000, 2000);
        thread::sleep(Duration::from_millis(300));
        let node = if active { &rig.a } else { &rig.b };
        node.signal(Signal::SIGSTOP);
        thread::sleep(stopped);
        node.signal(Signal::SIGCONT);
        let begun = Instant::now();
        thread::sleep(Duration::from_millis(200));
        churn.finish();
        rig.heals(LIMIT);
        let name = if active { "active node" } else { "standby" };
        report(
            &format!(
                "SIGSTOP of the {name} for {} s under load",
                stopped.as_secs()
            ),
            begun.elapsed(),
            "",
        );
        rig.a.says_little(6);
        rig.b.says_little(6);
    }
    rig.ends_well(LIMIT);
}

/// Entries on A that B has yet to hear of or to write.
const MANY: u32 = 20_000;

#[test]
fn the_standby_is_killed_in_the_middle_of_a_commit() {
    require_root_or_skip!();
    require_feature_or_skip!(Feature::Conntrack);
    let mut rig = many();
    for _ in 0..scaled(2, 10) {
        let mut attempts = 0;
        while !commit_to_the_middle(&mut rig) {
            attempts += 1;
            assert!(attempts < 20, "every commit was faster");
            rig.b.daemon.launch().unwrap();
            rig.b.daemon.client(["-n"]).unwrap();
            rig.heals(LIMIT);
        }
        rig.b.daemon.launch().unwrap();
        let begun = Instant::now();
        rig.b.daemon.client(["-n"]).unwrap();
        rig.heals(LIMIT);
        rig.commits();
        report(
            "SIGKILL in the middle of a commit",
            begun.elapsed(),
            "until asked, told and committed",
        );
    }
    rig.ends_well(LIMIT);
}

fn many() -> Rig {
    let mut rig = Rig::new(|_| {});
    let flows = (10_000..10_000 + MANY).map(sample::nth);
    assert_eq!(rig.a.table.create(flows).unwrap().refused, 0);
    rig.heals(LIMIT);
    rig.mark();
    rig
}

/// Kills B when it has written a part. Returns whether it has not written all.
fn commit_to_the_middle(rig: &mut Rig) -> bool {
    rig.b.table.flush().unwrap();
    thread::scope(|scope| {
        let client = scope.spawn(|| rig.b.daemon.try_client(["-c"]).unwrap());
        let some = 100 + below(u64::from(MANY) / 4) as usize;
        while rig.b.table.len().unwrap() < some {
            thread::yield_now();
        }
        rig.b.signal(Signal::SIGKILL);
        client.join().unwrap();
    });
    // It has ended; this is only for whoever holds its handle.
    rig.b.daemon.kill().unwrap();
    rig.b.table.len().unwrap() < rig.a.table.len().unwrap()
}

#[test]
fn either_node_is_killed_in_the_middle_of_a_bulk() {
    require_root_or_skip!();
    require_feature_or_skip!(Feature::Conntrack);
    let mut rig = many();
    for active in [true, false] {
        rig.b.daemon.client(["-f", "external"]).unwrap();
        rig.a.daemon.client(["-B"]).unwrap();
        let some = 1000 + below(u64::from(MANY) / 2);
        wait_until(LIMIT, || {
            rig.b
                .daemon
                .counter("cache external", "current active")
                .unwrap()
                > some
        });
        let node = if active { &mut rig.a } else { &mut rig.b };
        node.daemon.kill().unwrap();
        node.daemon.launch().unwrap();
        let begun = Instant::now();
        rig.b.daemon.client(["-n"]).unwrap();
        rig.heals(LIMIT);
        let name = if active { "active node" } else { "standby" };
        report(
            &format!("SIGKILL of the {name} in the middle of a bulk"),
            begun.elapsed(),
            "from its start, asked by -n",
        );
    }
    rig.ends_well(LIMIT);
}

#[test]
fn a_node_is_killed_in_the_middle_of_a_purge() {
    require_root_or_skip!();
    require_feature_or_skip!(Feature::Conntrack);
    let mut rig = Rig::new(|config| config.mode_lines = vec!["PurgeTimeout 1".to_owned()]);
    let flows = (10_000..10_000 + MANY).map(sample::nth);
    assert_eq!(rig.a.table.create(flows).unwrap().refused, 0);
    rig.heals(LIMIT);
    rig.commits();
    rig.mark();
    let full = rig.b.table.len().unwrap();
    rig.b.daemon.client(["-t"]).unwrap();
    while rig.b.table.len().unwrap() == full {
        thread::yield_now();
    }
    rig.b.signal(Signal::SIGKILL);
    rig.b.daemon.kill().unwrap();
    let left = rig.b.table.len().unwrap();
    rig.b.daemon.launch().unwrap();
    let begun = Instant::now();
    rig.b.daemon.client(["-n"]).unwrap();
    // The purge is begun again, as by keepalived, and this time ends.
    rig.b.daemon.client(["-t"]).unwrap();
    assert!(
        wait_until(LIMIT, || rig.b.table.is_empty().unwrap()),
        "{} left\n{}",
        rig.b.table.len().unwrap(),
        rig.messages()
    );
    rig.heals(LIMIT);
    report(
        "SIGKILL in the middle of a purge",
        begun.elapsed(),
        &format!("{left} of {full} were left; until asked, told and purged (PurgeTimeout 1)"),
    );
    // Purging is the standby's business: A hears nothing of it.
    assert_eq!(rig.a.table.len().unwrap(), full);
    rig.ends_well(LIMIT);
}
