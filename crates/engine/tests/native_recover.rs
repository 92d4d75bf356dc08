//! A node that has lost its table gets it back from several peers that know different parts of it.
#![allow(clippy::disallowed_methods, reason = "a test may start anywhere")]

mod common;
mod mesh;

use std::collections::BTreeSet;
use std::time::Duration;

use common::{FTFW, flow, settings};
use ctnetlink::EventKind;
use engine::api::{ExpectationSync, NativeSettings, Settings};
use engine::role::RoleCause;
use engine::{Command, KernelSocket, Notice, Role};
use flow::{Expectation, Flow, HelperName, Key};
use mesh::{Asked, Mesh};

/// Three nodes, the first of which has these connections and gets back what it loses. Others know of them whom it is joined to.
fn mesh() -> Mesh {
    let settings = Settings {
        expectation_sync: ExpectationSync::All,
        native: NativeSettings {
            recover: true,
            ..NativeSettings::default()
        },
        ..settings(FTFW)
    };
    let mut mesh = Mesh::new(3, &settings);
    for node in 0..3 {
        mesh.serve(node);
    }
    mesh.join(1, 2);
    mesh
}

fn open(mesh: &mut Mesh, numbers: std::ops::Range<u16>) {
    for n in numbers {
        let lasting = Flow {
            timeout_s: Some(600),
            ..flow(n)
        };
        mesh.event(0, EventKind::New, 0, &lasting);
    }
}

fn end(mesh: &mut Mesh, numbers: std::ops::Range<u16>) {
    for n in numbers {
        mesh.event(0, EventKind::Destroy, 0, &flow(n));
    }
}

fn mark(mesh: &mut Mesh, numbers: std::ops::Range<u16>, mark: u32) {
    for n in numbers {
        let marked = Flow {
            mark: Some(mark),
            ..flow(n)
        };
        mesh.event(0, EventKind::Update, 0, &marked);
    }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// The first node starts anew with an empty kernel, and is joined to these one after the other. What its kernel is asked
/// for within three seconds.
fn restarted(mesh: &mut Mesh, peers: &[usize]) -> Asked {
    mesh.restart(0);
    mesh.serve(0);
    for &peer in peers {
        mesh.join(0, peer);
        mesh.run(Duration::from_millis(100));
    }
    mesh.run(seconds(3));
    mesh.serve(0)
}

fn keys(numbers: impl IntoIterator<Item = u16>) -> BTreeSet<Key> {
    numbers.into_iter().map(|n| flow(n).key()).collect()
}

fn given_back(asked: &Asked) -> BTreeSet<Key> {
    let written = asked.written(KernelSocket::Commit);
    written.into_keys().collect()
}

#[test]
fn the_peer_that_heard_of_them_last_says_what_there_was_and_how_it_was() {
    for order in [[1, 2], [2, 1]] {
        let mut mesh = mesh();
        mesh.join(0, 1);
        mesh.join(0, 2);
        open(&mut mesh, 0..100);
        mark(&mut mesh, 0..100, 1);
        mesh.settle();
        // From here on only the second node is told.
        mesh.cut(0, 2);
        mesh.run(seconds(5));
        mark(&mut mesh, 0..10, 2);
        end(&mut mesh, 10..20);
        open(&mut mesh, 200..220);
        mesh.run(seconds(1));
        let asked = restarted(&mut mesh, &order);
        assert_eq!(
            given_back(&asked),
            keys((0..10).chain(20..100).chain(200..220))
        );
        for (key, flow) in asked.written(KernelSocket::Commit) {
            let expected = match () {
                () if keys(0..10).contains(&key) => Some(2),
                () if keys(20..100).contains(&key) => Some(1),
                () => None,
            };
            assert_eq!(flow.mark.filter(|&mark| mark != 0), expected, "{order:?}");
        }
    }
}

#[test]
fn one_that_had_heard_of_half_of_it_when_it_was_lost_does_not_outweigh_one_that_knew_it_before() {
    for order in [[1, 2], [2, 1]] {
        let mut mesh = mesh();
        mesh.join(0, 1);
        open(&mut mesh, 0..8000);
        mesh.settle();
        mesh.cut(0, 1);
        mesh.run(seconds(5));
        open(&mut mesh, 8000..8100);
        // The third node has just started when the stream breaks.
        mesh.join(0, 2);
        mesh.run(Duration::from_micros(250));
        mesh.cut_after(0, 2, 1000);
        let heard = u16::try_from(mesh.peer(2, 0).entries).unwrap();
        assert!((1..8000).contains(&heard), "{heard}");
        let asked = restarted(&mut mesh, &order);
        assert_eq!(given_back(&asked), keys(0..8000), "{order:?}");
    }
}

#[test]
fn a_peer_that_is_away_is_not_waited_for_and_one_that_knows_nothing_leaves_it_to_others() {
    let mut mesh = mesh();
    mesh.join(0, 1);
    open(&mut mesh, 0..100);
    mesh.settle();
    // The third node was never told anything.
    let asked = restarted(&mut mesh, &[2]);
    assert_eq!(given_back(&asked), keys([]));
    mesh.run(seconds(20));
    mesh.join(0, 1);
    mesh.run(seconds(1));
    assert_eq!(given_back(&mesh.serve(0)), keys(0..100));

    let mut mesh = self::mesh();
    mesh.join(0, 1);
    mesh.join(0, 2);
    open(&mut mesh, 0..100);
    mesh.settle();
    assert_eq!(given_back(&restarted(&mut mesh, &[2])), keys(0..100));
}

#[test]
fn what_another_node_has_taken_over_is_given_back_by_nobody() {
    let mut mesh = mesh();
    mesh.join(0, 1);
    mesh.join(0, 2);
    open(&mut mesh, 0..200);
    mesh.settle();
    // Traffic of most of it passes at the second node by now, which the third one knows of.
    for n in 0..180 {
        mesh.event(1, EventKind::New, 0, &flow(n));
    }
    mesh.run(seconds(1));
    for peers in [&[2][..], &[1], &[1, 2], &[2, 1]] {
        let asked = restarted(&mut mesh, peers);
        assert_eq!(given_back(&asked), keys(180..200), "{peers:?}");
    }
    // The third one has not heard of the rest.
    mesh.cut(1, 2);
    for n in 180..190 {
        mesh.event(1, EventKind::New, 0, &flow(n));
    }
    open(&mut mesh, 190..210);
    mesh.run(seconds(1));
    for peers in [&[1, 2], &[2, 1]] {
        let asked = restarted(&mut mesh, peers);
        assert_eq!(given_back(&asked), keys(190..210), "{peers:?}");
    }
}

#[test]
fn a_promotion_while_a_table_is_recovered_commits_what_is_taken_over_as_well() {
    let mut mesh = mesh();
    mesh.join(0, 1);
    mesh.join(0, 2);
    open(&mut mesh, 0..100);
    for n in 300..310 {
        mesh.event(1, EventKind::New, 0, &flow(n));
    }
    mesh.settle();
    mesh.restart(0);
    mesh.serve(0);
    mesh.join(0, 1);
    mesh.run(Duration::from_millis(100));
    mesh.cut(0, 1);
    // It begins to commit what was given back.
    mesh.run(seconds(2));
    assert!(!mesh.nodes[0].kernel.is_empty());
    mesh.command(0, Command::Become(Role::Primary, RoleCause::Role));
    let asked = mesh.serve(0);
    assert_eq!(given_back(&asked), keys((0..100).chain(300..310)));
}

#[test]
fn a_kernel_that_has_its_table_gets_nothing_whatever_an_outdated_peer_has() {
    let mut mesh = mesh();
    mesh.join(0, 1);
    mesh.join(0, 2);
    open(&mut mesh, 0..500);
    mesh.settle();
    mesh.cut(0, 2);
    mesh.run(seconds(5));
    end(&mut mesh, 0..400);
    mesh.run(seconds(1));
    mesh.restart(0);
    open(&mut mesh, 400..500);
    mesh.serve(0);
    mesh.join(0, 2);
    mesh.join(0, 1);
    mesh.run(seconds(3));
    assert_eq!(given_back(&mesh.serve(0)), keys([]));
    let notices = &mesh.nodes[0].notices;
    let is_told = |notice: &Notice| matches!(notice, Notice::Recovering(_));
    assert!(!notices.iter().any(is_told));
}

#[test]
fn expectations_come_back_with_the_connections_that_expect() {
    let mut mesh = mesh();
    mesh.join(0, 1);
    mesh.join(0, 2);
    let helper = HelperName::new(b"ftp");
    let expected = |n| Expectation {
        helper,
        timeout_s: Some(300),
        ..Expectation::new(flow(n).orig, flow(1000 + n).orig, flow(0).orig)
    };
    for n in 0..10 {
        let master = Flow { helper, ..flow(n) };
        mesh.event(0, EventKind::New, 0, &master);
        mesh.expectation_event(0, EventKind::New, &expected(n));
    }
    mesh.settle();
    // What was fulfilled is known to one of them only; what is made last, too.
    mesh.cut(0, 2);
    mesh.run(seconds(5));
    mesh.expectation_event(0, EventKind::Destroy, &expected(0));
    mesh.expectation_event(0, EventKind::New, &expected(20));
    let master = Flow { helper, ..flow(20) };
    mesh.event(0, EventKind::New, 0, &master);
    mesh.run(seconds(1));
    let asked = restarted(&mut mesh, &[2, 1]);
    assert_eq!(given_back(&asked), keys((0..10).chain([20])));
    let back: BTreeSet<_> = asked.expectations.iter().map(|it| it.tuple).collect();
    let wanted: BTreeSet<_> = (1..10).chain([20]).map(|n| expected(n).tuple).collect();
    assert_eq!(back, wanted);
    let timeouts = asked.expectations.iter().map(|it| it.timeout_s);
    assert!(timeouts.into_iter().all(|timeout| timeout >= Some(290)));
}
