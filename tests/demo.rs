//! The demo shows what it claims, and can fail.

use std::process::Command;
use std::time::Duration;

use netlab::process::{Finished, run_within};
use netlab::{Feature, Peer, require_feature_or_skip, require_root_or_skip};

fn demo(options: &[&str]) -> Finished {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["run", "--quiet", "--package", "xtask", "--", "demo"]);
    command.args(options);
    let finished = run_within(command, "", Duration::from_secs(100)).unwrap();
    println!("{}", finished.stdout);
    finished
}

#[test]
fn connections_survive_the_death_of_their_firewall() {
    require_root_or_skip!();
    require_feature_or_skip!(Feature::Conntrack, Feature::Nat);
    let daemon = Peer::Ours.program().expect("no daemon");
    let shown = demo(&["--daemon", daemon.to_str().unwrap()]);
    assert!(shown.status.success(), "{shown:?}");
    for text in [
        ">>>>>> CUT",
        "cache internal:",
        "cache external:",
        "multicast traffic (active device=sync)",
        "All 5 connections survived",
    ] {
        assert!(shown.stdout.contains(text), "no `{text}`");
    }
}

#[test]
fn without_the_daemon_every_connection_dies() {
    require_root_or_skip!();
    require_feature_or_skip!(Feature::Conntrack, Feature::Nat);
    let shown = demo(&["--without-sync"]);
    assert!(shown.status.success(), "{shown:?}");
    assert!(shown.stdout.contains("all 5 connections died"));
    assert!(!shown.stdout.contains("alive"));
}

#[test]
fn a_daemon_that_does_not_start_fails_the_demo() {
    require_root_or_skip!();
    require_feature_or_skip!(Feature::Conntrack, Feature::Nat);
    assert!(!demo(&["--daemon", "/bin/false"]).status.success());
}

#[test]
fn a_hot_standby_is_ready_as_soon_with_a_large_table_as_with_a_small_one() {
    require_root_or_skip!();
    require_feature_or_skip!(Feature::Conntrack, Feature::Nat);
    let daemon = Peer::Ours.program().expect("no daemon");
    let daemon = daemon.to_str().unwrap();
    let shown = demo(&["--native", "--flows", "1000,20000", "--daemon", daemon]);
    assert!(shown.status.success(), "{shown:?}");
    for text in ["AES-256-GCM", "Flat: ", "All 10 connections survived"] {
        assert!(shown.stdout.contains(text), "no `{text}`");
    }
}
