//! Sessions of the native dialect: what one node has, the others have, and both know.
#![allow(clippy::disallowed_methods, reason = "a test may start anywhere")]

mod common;
mod mesh;

use std::time::Duration;

use common::{FTFW, flow, settings};
use ctnetlink::EventKind;
use engine::Side;
use engine::api::Policy;
use engine::snapshot::PeerState;
use flow::{Flow, ProtoInfo, Status, Tcp, TcpState};
use mesh::Mesh;

fn established(n: u16) -> Flow {
    let mut flow = flow(n);
    flow.status = Some(Status::CONFIRMED | Status::SEEN_REPLY | Status::ASSURED);
    flow.proto = ProtoInfo::Tcp(Tcp {
        state: Some(TcpState::Established),
        ..Tcp::default()
    });
    flow
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn pair() -> Mesh {
    Mesh::new(2, &settings(FTFW))
}

/// What the first node has is what the second has of it.
fn assert_equal(mesh: &Mesh) {
    let (ours, theirs) = (mesh.flows(0, Side::Internal), mesh.flows(1, Side::External));
    assert_eq!(ours, theirs);
}

#[test]
fn what_there_was_before_and_what_changes_after_is_told_and_proved() {
    let mut mesh = pair();
    for n in 0..3000 {
        mesh.event(0, EventKind::New, 0, &flow(n));
    }
    assert_eq!(mesh.peer(0, 1).state, PeerState::Connecting);
    mesh.join(0, 1);
    mesh.settle();
    assert_eq!(mesh.flows(1, Side::External).len(), 3000);
    assert_equal(&mesh);
    for n in 0..500 {
        mesh.event(0, EventKind::Update, 0, &established(n));
        mesh.event(0, EventKind::Destroy, 0, &flow(1000 + n));
        mesh.event(0, EventKind::New, 0, &flow(4000 + n));
    }
    mesh.run(seconds(1));
    assert_equal(&mesh);
    mesh.settle();
    let (teller, hearer) = (mesh.peer(0, 1), mesh.peer(1, 0));
    assert_eq!(hearer.received.repaired(), 0, "{hearer:?}");
    assert_eq!(teller.replication.at_risk, 0);
    let lag = teller.replication.percentiles.expect("something was told");
    assert!(lag.p99 < Duration::from_millis(10), "{lag:?}");
}

#[test]
fn changes_that_wait_become_one_message() {
    let mut mesh = pair();
    mesh.join(0, 1);
    mesh.settle();
    let before = mesh.peer(0, 1).messages_sent;
    mesh.event(0, EventKind::New, 0, &flow(1));
    mesh.event(0, EventKind::Update, 0, &established(1));
    mesh.event(0, EventKind::New, 0, &flow(2));
    mesh.event(0, EventKind::Destroy, 0, &flow(2));
    mesh.run(seconds(1));
    assert_eq!(mesh.peer(0, 1).messages_sent - before, 1);
    assert_equal(&mesh);
}

#[test]
fn an_update_tells_what_changed_and_no_more() {
    let mut mesh = pair();
    mesh.join(0, 1);
    for n in 0..100 {
        mesh.event(0, EventKind::New, 0, &flow(n));
    }
    mesh.settle();
    let before = mesh.bytes(0, 1);
    for n in 0..100 {
        mesh.event(0, EventKind::Update, 0, &established(n));
    }
    mesh.run(Duration::from_millis(50));
    let each = (mesh.bytes(0, 1) - before) / 100;
    assert!(each <= 8, "{each} bytes for an update");
    assert_equal(&mesh);
}

/// Bytes of a statement of one leaf and of what leads to it.
const LEAF_BYTES: usize = 2000;

fn repaired(damage: impl FnOnce(&mut Mesh)) -> engine::snapshot::RepairStats {
    let mut mesh = pair();
    for n in 0..5000 {
        mesh.event(0, EventKind::New, 0, &flow(n));
    }
    mesh.join(0, 1);
    mesh.settle();
    let before = (mesh.bytes(0, 1), mesh.peer(0, 1).sent.checks);
    damage(&mut mesh);
    // Two rounds.
    mesh.run(seconds(21));
    assert_equal(&mesh);
    let after = (mesh.bytes(0, 1), mesh.peer(0, 1).sent.checks);
    let checks = usize::try_from(after.1 - before.1).unwrap();
    let beside_checks = (after.0 - before.0).saturating_sub(checks * 26);
    assert!(beside_checks < LEAF_BYTES, "{beside_checks} bytes");
    mesh.settle();
    mesh.peer(1, 0).received
}

#[test]
fn an_entry_changed_behind_the_cores_back_is_repaired() {
    let stats = repaired(|mesh| {
        let changed = Flow {
            mark: Some(77),
            ..flow(1234)
        };
        let engine = &mut mesh.nodes[0].engine;
        assert!(engine.damage(Side::Internal, &changed.key(), Some(&changed)));
    });
    assert_eq!((stats.missing, stats.extra, stats.different), (0, 0, 1));
}

#[test]
fn a_wrong_attribute_is_repaired() {
    let stats = repaired(|mesh| {
        let wrong = established(4999);
        let engine = &mut mesh.nodes[1].engine;
        assert!(engine.damage(Side::External, &wrong.key(), Some(&wrong)));
    });
    assert_eq!((stats.missing, stats.extra, stats.different), (0, 0, 1));
}

#[test]
fn a_lost_delete_is_repaired() {
    let stats = repaired(|mesh| {
        let engine = &mut mesh.nodes[0].engine;
        assert!(engine.damage(Side::Internal, &flow(17).key(), None));
    });
    assert_eq!((stats.missing, stats.extra, stats.different), (0, 1, 0));
}

#[test]
fn a_lost_entry_is_repaired() {
    let stats = repaired(|mesh| {
        let engine = &mut mesh.nodes[1].engine;
        assert!(engine.damage(Side::External, &flow(17).key(), None));
    });
    assert_eq!((stats.missing, stats.extra, stats.different), (1, 0, 0));
}

#[test]
fn a_broken_stream_is_gone_on_with_where_it_broke() {
    let mut mesh = pair();
    for n in 0..2000 {
        mesh.event(0, EventKind::New, 0, &flow(n));
    }
    mesh.join(0, 1);
    mesh.settle();
    let bulk = mesh.bytes(0, 1);
    for round in 0..20 {
        for n in 0..20 {
            mesh.event(0, EventKind::Update, 0, &established(round * 20 + n));
            mesh.event(0, EventKind::Destroy, 0, &flow(1000 + round * 20 + n));
            mesh.event(0, EventKind::New, 0, &flow(3000 + round * 20 + n));
        }
        mesh.cut_after(0, 1, usize::from(round) * 37);
        mesh.event(0, EventKind::Update, 0, &established(round));
        mesh.run(seconds(1));
        mesh.join(0, 1);
        if round % 3 > 0 {
            mesh.run(Duration::from_millis(5));
        }
    }
    mesh.run(seconds(1));
    assert_equal(&mesh);
    mesh.settle();
    let heard = mesh.peer(1, 0);
    assert_eq!(heard.received.repaired(), 0, "{heard:?}");
    assert!(heard.resumed >= 15, "{}", heard.resumed);
    assert!(mesh.bytes(0, 1) < 4 * bulk, "{}", mesh.bytes(0, 1));
}

#[test]
fn an_end_that_was_lost_with_a_stream_is_told_again() {
    let mut mesh = pair();
    for n in 0..100 {
        mesh.event(0, EventKind::New, 0, &flow(n));
    }
    mesh.join(0, 1);
    mesh.settle();
    for n in 0..50 {
        mesh.event(0, EventKind::Destroy, 0, &flow(2 * n));
    }
    mesh.cut_after(0, 1, 40);
    mesh.join(0, 1);
    mesh.run(Duration::from_millis(2));
    assert_equal(&mesh);
    mesh.settle();
    assert_eq!(mesh.peer(1, 0).received.repaired(), 0);
}

#[test]
fn what_ran_out_while_the_peer_was_away_is_asked_for_and_is_no_difference() {
    let mut mesh = pair();
    for n in 0..600 {
        let timeout_s = Some(if n % 2 == 0 { 20 } else { 600 });
        mesh.event(
            0,
            EventKind::New,
            0,
            &Flow {
                timeout_s,
                ..flow(n)
            },
        );
    }
    mesh.join(0, 1);
    mesh.settle();
    mesh.cut(0, 1);
    mesh.run(seconds(35));
    assert_eq!(
        mesh.flows(1, Side::External).len(),
        300,
        "their timeout has passed"
    );
    // Traffic has refreshed most of them over there: of that nothing is told. Some have ended, some have changed.
    for n in 0..100 {
        mesh.event(0, EventKind::Destroy, 0, &flow(n));
        mesh.event(0, EventKind::Update, 0, &established(100 + n));
        mesh.event(0, EventKind::New, 0, &flow(1000 + n));
    }
    let before = mesh.bytes(0, 1);
    mesh.join(0, 1);
    mesh.settle();
    assert_equal(&mesh);
    let (teller, hearer) = (mesh.peer(0, 1), mesh.peer(1, 0));
    // Those that live, and a second time those that were heard of before the answer came.
    let asked = hearer.asked_again;
    assert!((250..=300).contains(&asked), "{asked}");
    assert_eq!((hearer.received.repaired(), hearer.received.doubts), (0, 0));
    assert_eq!(teller.sent.doubts, 0);
    let each = (mesh.bytes(0, 1) - before) / 450;
    assert!(each < 60, "{each} bytes for an entry that was told");
}

#[test]
fn a_change_of_what_ran_out_here_brings_it_back_at_once() {
    let mut mesh = pair();
    let timeout_s = Some(20);
    let short = Flow {
        timeout_s,
        ..flow(5)
    };
    mesh.event(0, EventKind::New, 0, &short);
    mesh.join(0, 1);
    mesh.settle();
    mesh.cut(0, 1);
    mesh.run(seconds(35));
    assert_eq!(mesh.flows(1, Side::External).len(), 0);
    mesh.event(
        0,
        EventKind::Update,
        0,
        &Flow {
            timeout_s,
            ..established(5)
        },
    );
    mesh.join(0, 1);
    mesh.run(Duration::from_millis(1));
    assert_equal(&mesh);
    assert_eq!(mesh.flows(1, Side::External).len(), 1);
    mesh.settle();
    assert_eq!(mesh.peer(1, 0).received.repaired(), 0);
}

#[test]
fn a_break_in_the_middle_of_everything_loses_nothing() {
    let mut mesh = pair();
    for n in 0..20_000 {
        mesh.event(0, EventKind::New, 0, &flow(n));
    }
    for _ in 0..20 {
        mesh.join(0, 1);
        mesh.run(Duration::from_micros(350));
        mesh.cut_after(0, 1, 1000);
    }
    mesh.join(0, 1);
    mesh.settle();
    assert_equal(&mesh);
    assert_eq!(mesh.peer(1, 0).received.repaired(), 0);
}

#[test]
fn a_restarted_hearer_gets_everything_and_a_restarted_teller_replaces_what_it_had() {
    let mut mesh = pair();
    for n in 0..1000 {
        mesh.event(0, EventKind::New, 0, &flow(n));
    }
    mesh.join(0, 1);
    mesh.settle();
    mesh.restart(1);
    mesh.join(0, 1);
    mesh.settle();
    assert_equal(&mesh);
    assert_eq!(mesh.flows(1, Side::External).len(), 1000);
    mesh.restart(0);
    // In another order, and not all of them.
    for n in (0..900).rev() {
        mesh.event(0, EventKind::New, 0, &established(n));
    }
    let kept = mesh.flows(1, Side::External).len();
    assert_eq!(kept, 1000, "until the origin has said what it has");
    mesh.join(0, 1);
    mesh.settle();
    assert_equal(&mesh);
    assert_eq!(mesh.flows(1, Side::External).len(), 900);
    assert_eq!(mesh.peer(1, 0).received.repaired(), 0);
}

#[test]
fn as_many_entries_as_before_a_restart_are_acknowledged() {
    let mut mesh = pair();
    mesh.event(0, EventKind::New, 0, &flow(1));
    mesh.join(0, 1);
    mesh.settle();
    mesh.restart(0);
    mesh.event(0, EventKind::New, 0, &flow(2));
    mesh.join(0, 1);
    // The greeting and all entries arrive in one piece.
    mesh.held = Some((0, 1));
    mesh.run(Duration::from_millis(10));
    mesh.held = None;
    mesh.settle();
    assert_equal(&mesh);
    assert_eq!(mesh.peer(0, 1).replication.at_risk, 0);
}

#[test]
fn emptied_caches_are_filled_again() {
    use engine::{Caches, ClientId, Command};
    let mut mesh = pair();
    for n in 0..1000 {
        mesh.event(0, EventKind::New, 0, &flow(n));
    }
    mesh.join(0, 1);
    mesh.settle();
    let flush = |mesh: &mut Mesh, node: usize, caches| {
        let now = mesh.now;
        let engine = &mut mesh.nodes[node].engine;
        engine.handle_command(now, ClientId(1), Command::FlushCaches(caches));
    };
    flush(&mut mesh, 1, Caches::External);
    mesh.run(seconds(21));
    assert_eq!(mesh.flows(1, Side::External).len(), 1000);
    flush(&mut mesh, 0, Caches::Internal);
    mesh.run(seconds(1));
    assert_eq!(mesh.flows(1, Side::External).len(), 0);
    for n in 0..10 {
        mesh.event(0, EventKind::New, 0, &flow(n));
    }
    mesh.settle();
    assert_equal(&mesh);
}

#[test]
fn five_nodes_keep_the_entries_of_each_apart() {
    let mut mesh = Mesh::new(5, &settings(FTFW));
    for node in 0..5 {
        for n in 0..200 {
            let n = n + 1000 * u16::try_from(node).unwrap();
            mesh.event(node, EventKind::New, 0, &flow(n));
        }
    }
    mesh.join_all();
    mesh.settle();
    for node in 0..5 {
        assert_eq!(mesh.flows(node, Side::External).len(), 800);
        for other in (0..5).filter(|&other| other != node) {
            assert_eq!(mesh.peer(node, other).entries, 200);
        }
    }
    mesh.cut(0, 1);
    mesh.event(0, EventKind::Destroy, 0, &flow(5));
    mesh.run(seconds(1));
    assert_eq!(mesh.peer(1, 0).entries, 200, "it cannot know");
    assert_eq!(mesh.peer(2, 0).entries, 199);
    mesh.join(0, 1);
    mesh.settle();
    assert_eq!(mesh.peer(1, 0).entries, 199);
}

#[test]
fn what_a_policy_refuses_is_counted_and_not_kept() {
    let mut settings = settings(FTFW);
    settings.native.peers.push(engine::PeerSettings {
        policy: Policy {
            mark_mask: 0xff,
            ..Policy::default()
        },
        ..Default::default()
    });
    let mut mesh = Mesh::new(2, &settings);
    for n in 0..100 {
        let mark = Some(if n % 2 == 0 { 1 } else { 0x100 });
        mesh.event(0, EventKind::New, 0, &Flow { mark, ..flow(n) });
    }
    mesh.join(0, 1);
    mesh.settle();
    assert_eq!(mesh.flows(1, Side::External).len(), 50);
    assert_eq!(mesh.peer(1, 0).refused, 50);
    let mark = Some(2);
    mesh.event(0, EventKind::Update, 0, &Flow { mark, ..flow(1) });
    mesh.run(seconds(1));
    assert_eq!(
        mesh.flows(1, Side::External).len(),
        50,
        "not told whole again"
    );
}

#[test]
fn no_bytes_of_a_peer_do_any_harm() {
    use engine::{Output, PeerId};
    let mut mesh = pair();
    for n in 0..300 {
        mesh.event(0, EventKind::New, 0, &flow(n));
        mesh.event(1, EventKind::New, 0, &flow(1000 + n));
    }
    mesh.join(0, 1);
    let honest = mesh.recorded(0, 1);
    let mut random = 1_u64;
    let mut next = move |below: usize| {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (random >> 33) as usize % below
    };
    let peer = PeerId(0);
    let mut closed = 0;
    for _ in 0..1000 {
        let engine = &mut mesh.nodes[1].engine;
        let mut bytes = honest.clone();
        for _ in 0..1 + next(4) {
            let at = next(bytes.len().min(4000));
            bytes[at] = u8::try_from(next(256)).unwrap();
        }
        bytes.truncate(next(6000));
        engine.handle_peer_closed(mesh.now, peer, mesh.now);
        engine.handle_peer_open(mesh.now, peer);
        engine.set_peer_room(peer, 1000);
        engine.handle_peer_bytes(mesh.now, peer, &bytes);
        while let Some(output) = engine.poll_output() {
            closed += usize::from(matches!(output, Output::ClosePeer(_)));
        }
    }
    assert!(closed > 10, "{closed}");
    mesh.cut(0, 1);
    mesh.join(0, 1);
    mesh.settle();
    assert_equal(&mesh);
}
