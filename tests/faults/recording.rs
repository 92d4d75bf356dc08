//! `--record`: what a live pair was told is told to two cores again, which come to the same.

use std::time::Duration;

use engine::snapshot::{ExternalStats, InternalStats};
use netlab::{Feature, require_feature_or_skip, require_root_or_skip};
use record::{End, Replay, Step, Summary};

use crate::rig::{Churn, Node, Rig};

const LIMIT: Duration = Duration::from_secs(20);

/// What a node tells of itself: entries added, alive and removed of both caches, datagrams sent.
fn told(node: &Node) -> [u64; 7] {
    let cache = |name, what| node.stat(&format!("/{name}/{what}"));
    [
        cache("internal", "created"),
        cache("internal", "active"),
        cache("internal", "destroyed"),
        cache("external", "created"),
        cache("external", "active"),
        cache("external", "destroyed"),
        node.stat("/links/0/sent_packets"),
    ]
}

/// Replays the recording of a node. What the core tells of itself then, and what was done.
fn replayed(bytes: &[u8]) -> ([u64; 7], Summary) {
    let mut replay = Replay::new(bytes).unwrap();
    let summary = replay.finish().unwrap().clone();
    let snapshot = replay.engine().snapshot();
    let (Some(InternalStats::Cache(internal)), Some(ExternalStats::Cache(external))) =
        (snapshot.internal, snapshot.external)
    else {
        panic!("a cache is missing: {snapshot:?}");
    };
    let told = [
        internal.created,
        internal.active,
        internal.destroyed,
        external.created,
        external.active,
        external.destroyed,
        summary.transmitted,
    ];
    (told, summary)
}

#[test]
fn what_a_recorded_pair_was_told_makes_the_same_of_another_core() {
    require_root_or_skip!();
    require_feature_or_skip!(Feature::Conntrack);
    let mut rig = Rig::new(|_| {});
    let file = |node: &Node| node.daemon.path("recording");
    for node in [&mut rig.b, &mut rig.a] {
        let path = node.daemon.path("recording");
        node.daemon
            .set_arguments(["--record".into(), path.into_os_string()]);
        node.daemon.stop().unwrap();
        node.daemon.launch().unwrap();
    }
    let churn = Churn::start(&rig.a, 5000, 2000);
    std::thread::sleep(Duration::from_secs(1));
    // A reading, a bulk and a commit are told too.
    rig.a.daemon.client(["-R"]).unwrap();
    rig.b.daemon.client(["-n"]).unwrap();
    churn.finish();
    rig.heals(LIMIT);
    rig.commits();
    let live = [told(&rig.a), told(&rig.b)];
    for (node, live) in [&mut rig.a, &mut rig.b].into_iter().zip(live) {
        node.daemon.stop().unwrap();
        let bytes = std::fs::read(file(node)).unwrap();
        let (first, second) = (replayed(&bytes), replayed(&bytes));
        let digest = |summary: &Summary| (summary.digest.outputs(), summary.digest.value());
        assert_eq!(digest(&first.1), digest(&second.1));
        let ([entries @ .., sent], summary) = first;
        let [live_entries @ .., live_sent] = live;
        assert_eq!(entries, live_entries);
        // Between the question and the end it may have greeted and acknowledged.
        assert!(
            (live_sent..live_sent + 50).contains(&sent),
            "{live_sent} live, {sent}"
        );
        // Every check says that the answers were those of the live core.
        assert!(summary.checks > 0);
        assert_eq!(summary.end, Some(End::Stopped));
        println!(
            "{} bytes, {} outputs, {} datagrams, {:?}",
            bytes.len(),
            summary.digest.outputs(),
            summary.transmitted,
            Step::KINDS.iter().zip(summary.steps).collect::<Vec<_>>()
        );
    }
}

#[test]
fn a_recording_is_as_long_as_it_may_be_and_replication_goes_on() {
    require_root_or_skip!();
    require_feature_or_skip!(Feature::Conntrack);
    let mut rig = Rig::new(|_| {});
    let path = rig.a.daemon.path("recording");
    let arguments = ["--record-limit".into(), "1".into(), "--record".into()];
    let arguments = arguments.into_iter().chain([path.clone().into_os_string()]);
    rig.a.daemon.set_arguments(arguments);
    rig.a.daemon.stop().unwrap();
    rig.a.daemon.launch().unwrap();
    let churn = Churn::start(&rig.a, 5000, 2000);
    rig.a.says("as long as it may be", 20);
    churn.finish();
    rig.b.daemon.client(["-f", "external"]).unwrap();
    rig.b.daemon.client(["-n"]).unwrap();
    rig.heals(LIMIT);
    let bytes = std::fs::read(&path).unwrap();
    assert!(bytes.len() <= (1 << 20) + 64, "{} bytes", bytes.len());
    let (_, summary) = replayed(&bytes);
    assert_eq!(summary.end, Some(End::Full));
    // Another start does not write over it, and is none the worse for it.
    rig.a.daemon.stop().unwrap();
    rig.a.daemon.launch().unwrap();
    rig.a.says("nothing is recorded", 30);
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
}
