//! Expectations among nodes of the native dialect.
#![allow(clippy::disallowed_methods, reason = "a test may start anywhere")]

mod common;
mod mesh;

use std::time::Duration;

use common::{FTFW, flow, settings};
use ctnetlink::EventKind;
use engine::api::{ExpectationSync, Settings, StandbySettings};
use engine::role::RoleCause;
use engine::{Command, Role, Scope, Side};
use flow::{Expectation, Flow, HelperName, Zone};
use mesh::{Asked, Mesh};

fn replicating() -> Settings {
    Settings {
        expectation_sync: ExpectationSync::All,
        ..settings(FTFW)
    }
}

/// A connection that expects others.
fn master(n: u16) -> Flow {
    Flow {
        helper: HelperName::new(b"ftp"),
        ..flow(n)
    }
}

/// What it expects, for so many seconds.
fn expected_by(master: &Flow, timeout_s: u32) -> Expectation {
    let port = master.orig.sport().unwrap();
    Expectation {
        helper: master.helper,
        timeout_s: Some(timeout_s),
        ..Expectation::new(master.orig, flow(50_000 + port).orig, flow(0).orig)
    }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn expectations_of_a_peer_that_is_away_run_out_and_are_asked_for_when_it_is_back() {
    let mut mesh = Mesh::new(2, &replicating());
    for n in 0..3 {
        mesh.event(0, EventKind::New, 0, &master(n));
    }
    for (n, timeout_s) in [(0, 40), (1, 300), (2, 40)] {
        mesh.expectation_event(0, EventKind::New, &expected_by(&master(n), timeout_s));
    }
    mesh.join(0, 1);
    mesh.settle();
    // While it is there it says itself what it has no more.
    mesh.run(seconds(60));
    assert_eq!(mesh.expectations(1, Side::External).len(), 3);
    mesh.cut(0, 1);
    mesh.run(seconds(5));
    assert_eq!(mesh.expectations(1, Side::External).len(), 3);
    mesh.run(seconds(10));
    let kept = mesh.expectations(1, Side::External);
    let lasting = expected_by(&master(1), 300);
    let masters: Vec<_> = kept.iter().map(|kept| kept.master).collect();
    assert_eq!(
        masters,
        [lasting.master],
        "the time of the others has passed"
    );
    assert_eq!(mesh.flows(1, Side::External).len(), 3);

    // One had been made anew over there, the other had run out indeed.
    mesh.expectation_event(0, EventKind::Destroy, &expected_by(&master(2), 40));
    mesh.join(0, 1);
    mesh.settle();
    let ours = mesh.expectations(0, Side::Internal);
    assert_eq!(ours.len(), 2);
    assert_eq!(mesh.expectations(1, Side::External).len(), 2);
    let hearer = mesh.peer(1, 0);
    assert_eq!((hearer.received.repaired(), hearer.received.doubts), (0, 0));
    assert!(hearer.asked_again >= 1);
}

/// Three nodes, joined; the kernels of the second and third follow what they are told.
fn standbys() -> Mesh {
    let settings = Settings {
        standby: StandbySettings { inject: true },
        ..replicating()
    };
    let mut mesh = Mesh::new(3, &settings);
    mesh.join_all();
    for node in 0..3 {
        mesh.serve(node);
        let role = if node == 0 {
            Role::Primary
        } else {
            Role::Backup
        };
        mesh.command(node, Command::Become(role, RoleCause::Role));
        mesh.run(seconds(1));
    }
    // What the others had given up for the promotion is held no longer.
    mesh.run(seconds(12));
    mesh.settle();
    for node in 0..3 {
        mesh.serve(node);
    }
    mesh
}

/// The master of this number and what it expects come up at a node.
fn open(mesh: &mut Mesh, node: usize, n: u16) -> Expectation {
    let (master, expected) = (master(n), expected_by(&master(n), 300));
    mesh.event(node, EventKind::New, 0, &master);
    mesh.expectation_event(node, EventKind::New, &expected);
    expected
}

/// What the kernel of a node is asked for within this time.
fn asked(mesh: &mut Mesh, node: usize, time: Duration) -> Asked {
    let mut all = mesh.serve(node);
    let until = mesh.now + time;
    while mesh.now < until {
        mesh.run(Duration::from_millis(100));
        all.append(mesh.serve(node));
    }
    all
}

fn take_over(mesh: &mut Mesh, taker: usize, former: usize) {
    let peers = [Mesh::id(taker, former)].into_iter().collect();
    mesh.command(taker, Command::TakeOver(peers, RoleCause::Role));
}

#[test]
fn the_kernel_of_a_standby_gets_an_expectation_and_loses_it_in_its_own_zone() {
    let mut mesh = standbys();
    let mut zoned = master(1);
    zoned.zone = Zone::both(7);
    let expected = Expectation {
        zone: 7,
        ..expected_by(&zoned, 300)
    };
    mesh.event(0, EventKind::New, 0, &zoned);
    mesh.expectation_event(0, EventKind::New, &expected);
    let plain = open(&mut mesh, 0, 1);
    let written = asked(&mut mesh, 1, seconds(1));
    let zones: Vec<_> = written.expectations.iter().map(|it| it.zone).collect();
    assert_eq!(zones, [7, 0]);
    mesh.expectation_event(0, EventKind::Destroy, &expected);
    let written = asked(&mut mesh, 1, seconds(1));
    assert!(written.has_removed(&expected) && !written.has_removed(&plain));
    assert!(mesh.expectations(1, Side::Internal).is_empty());
}

#[test]
fn an_expectation_that_two_nodes_tell_goes_with_the_last_of_them() {
    let mut mesh = standbys();
    let expected = open(&mut mesh, 0, 1);
    asked(&mut mesh, 2, seconds(1));
    // The second has it as well, and the kernel of the third needs no other one for that.
    open(&mut mesh, 1, 1);
    assert!(asked(&mut mesh, 2, seconds(1)).expectations.is_empty());
    mesh.expectation_event(0, EventKind::Destroy, &expected);
    let written = asked(&mut mesh, 2, seconds(1));
    assert!(!written.has_removed(&expected) && written.expectations.is_empty());
    mesh.expectation_event(1, EventKind::Destroy, &expected);
    assert!(asked(&mut mesh, 2, seconds(1)).has_removed(&expected));
}

#[test]
fn what_the_kernel_drops_is_put_back_and_no_more_than_once_a_second() {
    let mut mesh = standbys();
    let expected = open(&mut mesh, 0, 1);
    asked(&mut mesh, 1, seconds(2));
    let mut put_back = 0;
    for _ in 0..100 {
        mesh.expectation_event(1, EventKind::Destroy, &expected);
        let written = asked(&mut mesh, 1, Duration::from_millis(100));
        put_back += written.expectations.len();
    }
    // Ten seconds have passed.
    assert!((5..=11).contains(&put_back), "{put_back}");
    // Nobody told of its end: a reading shows that it is not there.
    asked(&mut mesh, 1, seconds(2));
    mesh.command(1, Command::ResyncFromKernel(Scope::Expectations));
    assert_eq!(asked(&mut mesh, 1, seconds(2)).expectations.len(), 1);
    // What its owner has ended is not.
    mesh.expectation_event(0, EventKind::Destroy, &expected);
    asked(&mut mesh, 1, seconds(2));
    mesh.expectation_event(1, EventKind::Destroy, &expected);
    mesh.command(1, Command::ResyncFromKernel(Scope::Expectations));
    assert!(asked(&mut mesh, 1, seconds(2)).expectations.is_empty());
}

#[test]
fn whoever_forwards_keeps_its_expectation_and_gives_it_up_when_it_stands_by() {
    let mut mesh = standbys();
    open(&mut mesh, 0, 1);
    // A node that stands by tells the same: it has no claim.
    open(&mut mesh, 1, 1);
    let written = asked(&mut mesh, 0, seconds(1));
    assert!(written.expectations.is_empty());
    assert_eq!(mesh.expectations(0, Side::Internal).len(), 1);
    assert_eq!(mesh.expectations(1, Side::Internal).len(), 0, "it yields");
    // The roles change, and the expectation is told over there.
    mesh.command(0, Command::Become(Role::Backup, RoleCause::Role));
    mesh.run(seconds(1));
    mesh.command(1, Command::Become(Role::Primary, RoleCause::Role));
    let expected = open(&mut mesh, 1, 1);
    let written = asked(&mut mesh, 0, seconds(1));
    assert_eq!(mesh.expectations(0, Side::Internal).len(), 0);
    assert!(!written.has_removed(&expected));
    assert!(written.expectations.is_empty(), "it is there as it is");
    mesh.expectation_event(1, EventKind::Destroy, &expected);
    assert!(asked(&mut mesh, 0, seconds(1)).has_removed(&expected));
}

#[test]
fn what_a_former_owner_gives_up_stays_in_the_kernels_of_others_until_the_next_one_tells_it() {
    let mut mesh = standbys();
    let (kept, ended) = (open(&mut mesh, 0, 1), open(&mut mesh, 0, 2));
    for node in 1..3 {
        asked(&mut mesh, node, seconds(1));
    }
    take_over(&mut mesh, 1, 0);
    mesh.serve(1);
    mesh.run(Duration::from_millis(10));
    for expected in [&kept, &ended] {
        mesh.expectation_event(0, EventKind::Destroy, expected);
    }
    let written = asked(&mut mesh, 2, seconds(1));
    assert!(!written.has_removed(&kept) && !written.has_removed(&ended));
    open(&mut mesh, 1, 1);
    let written = asked(&mut mesh, 2, seconds(12));
    assert!(!written.has_removed(&kept));
    assert!(written.expectations.is_empty(), "it is there as it is");
    // Nobody has told the other one.
    assert!(written.has_removed(&ended));
    // And the one that was told goes with its new owner's word, at once.
    mesh.expectation_event(1, EventKind::Destroy, &kept);
    assert!(asked(&mut mesh, 2, seconds(1)).has_removed(&kept));
}

#[test]
fn what_a_former_owner_announces_during_its_takeover_gets_into_the_kernel_of_the_taker() {
    let mut mesh = standbys();
    open(&mut mesh, 0, 1);
    asked(&mut mesh, 1, seconds(1));
    take_over(&mut mesh, 1, 0);
    mesh.run(Duration::from_millis(100));
    let expected = open(&mut mesh, 0, 2);
    mesh.run(Duration::from_millis(100));
    // Only now its kernel answers, and the takeover is complete.
    let written = asked(&mut mesh, 1, seconds(2));
    let wanted = |it: &Expectation| it.master == expected.master;
    assert!(written.expectations.iter().any(wanted));
}
