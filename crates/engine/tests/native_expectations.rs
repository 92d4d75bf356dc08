//! Expectations among nodes of the native dialect.
#![allow(clippy::disallowed_methods, reason = "a test may start anywhere")]

mod common;
mod mesh;

use std::time::Duration;

use common::{FTFW, flow, settings};
use ctnetlink::EventKind;
use engine::Side;
use engine::api::{ExpectationSync, Settings};
use flow::{Expectation, Flow, HelperName};
use mesh::Mesh;

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
    Expectation {
        helper: master.helper,
        timeout_s: Some(timeout_s),
        ..Expectation::new(master.orig, flow(50_000).orig, flow(0).orig)
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
