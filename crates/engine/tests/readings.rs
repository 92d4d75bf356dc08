//! What readings of the kernel's table bring: entries that raise no events, and entries of the peer.
#![allow(clippy::disallowed_methods, reason = "a test may start anywhere")]

mod common;

use std::time::Duration;

use common::{Node, ORIGINS, answer, flow, requests, settings};
use ctnetlink::{EventKind, Header, emit, messages, parse, uapi};
use engine::api::ExternalMode;
use engine::{ClientId, Command, KernelSocket, Mode, Notice, Role, RoleCause, Scope};
use flow::{Flow, Key};
use syncwire::{Change, Kind};

const ENOENT: i32 = 2;

fn is_dump(batch: &[u8]) -> bool {
    let dump = |flags: u16| flags & uapi::NLM_F_DUMP == uapi::NLM_F_DUMP;
    messages(batch).any(|m| dump(m.unwrap().header.flags))
}

/// Lets the node read its kernel's table, which holds these.
fn read(node: &mut Node, entries: &[Flow]) {
    node.kernel.clear();
    node.engine.handle_command(
        node.now,
        ClientId(1),
        Command::ResyncFromKernel(Scope::Flows),
    );
    show(node, entries);
}

/// Answers the reading that the node has asked for.
fn show(node: &mut Node, entries: &[Flow]) {
    node.messages();
    let dump = node.kernel.iter().find(|batch| is_dump(batch)).unwrap();
    let seq = requests(dump)[0].1;
    let mut bytes = Vec::new();
    for entry in entries {
        emit::flow(&mut bytes, Header::flow_dump(seq, 0), entry);
    }
    emit::done(&mut bytes, seq, 0, 0);
    node.engine
        .handle_kernel_reply(node.now, KernelSocket::Dump, &bytes);
}

/// The entries that were asked for one by one since the last look, with the number of the request.
fn lookups(node: &mut Node) -> Vec<(Key, u32)> {
    let batches = std::mem::take(&mut node.kernel);
    batches
        .iter()
        .flat_map(|batch| messages(batch).map(Result::unwrap).collect::<Vec<_>>())
        .filter(|m| m.header.kind == uapi::IPCTNL_MSG_CT_GET)
        .filter_map(|m| Some((parse::original_tuple(&m).ok()?, m.header.seq)))
        .collect()
}

fn told(node: &mut Node) -> Vec<Kind> {
    let data = |kind: &Kind| *kind != Kind::Control;
    let kinds = node.messages().into_iter().map(|m| m.kind);
    kinds.filter(data).collect()
}

#[test]
fn the_end_of_an_entry_that_raises_no_events_is_found_and_told() {
    let mut node = Node::new(settings(Mode::Notrack));
    read(&mut node, &[flow(1), flow(2)]);
    assert!(told(&mut node).is_empty());
    node.wait(Duration::from_secs(30));
    node.messages();
    let asked = lookups(&mut node);
    assert_eq!(asked.len(), 2);
    // The first is there, in another state; the second has gone.
    let mut changed = flow(1);
    changed.mark = Some(3);
    let mut bytes = Vec::new();
    emit::flow(&mut bytes, Header::flow_dump(asked[0].1, 0), &changed);
    node.engine
        .handle_kernel_reply(node.now, KernelSocket::Query, &bytes);
    answer(&mut node, KernelSocket::Query, asked[1].1, ENOENT);
    let kinds = told(&mut node);
    assert_eq!(
        kinds,
        [Kind::Flow(Change::New), Kind::Flow(Change::Delete)],
        "the peer had heard of neither"
    );
    assert_eq!(node.internal(), 1);
    node.wait(Duration::from_secs(31));
    node.messages();
    assert!(node.notices.contains(&Notice::Rechecked {
        changed: 1,
        gone: 1
    }));
    assert_eq!(lookups(&mut node).len(), 1, "the other one is looked after");
}

#[test]
fn entries_of_which_events_tell_are_not_looked_up() {
    let mut node = Node::new(settings(Mode::Notrack));
    read(&mut node, &[flow(1), flow(2)]);
    node.event(EventKind::Update, 0, &flow(1));
    node.event(EventKind::New, 0, &flow(3));
    node.messages();
    node.wait(Duration::from_secs(30));
    node.messages();
    let asked = lookups(&mut node);
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].0, flow(2).key());
    // Its event comes while the answer is on its way.
    node.event(EventKind::New, 0, &flow(2));
    answer(&mut node, KernelSocket::Query, asked[0].1, ENOENT);
    assert_eq!(node.internal(), 3);
    node.wait(Duration::from_secs(120));
    node.messages();
    assert!(lookups(&mut node).is_empty());
}

#[test]
fn a_round_through_many_entries_takes_its_time() {
    let mut node = Node::new(settings(Mode::Notrack));
    let many: Vec<Flow> = (0..10_000).map(flow).collect();
    read(&mut node, &many);
    node.messages();
    node.wait(Duration::from_secs(30));
    let mut asked = Vec::new();
    for _ in 0..1000 {
        node.messages();
        for (key, seq) in lookups(&mut node) {
            asked.push(key);
            answer(&mut node, KernelSocket::Query, seq, 0);
        }
        node.wait(Duration::from_millis(1));
    }
    assert!((1000..2300).contains(&asked.len()), "{}", asked.len());
    asked.sort();
    asked.dedup();
    assert!(asked.len() >= 1000, "none twice in a round");
}

#[test]
fn what_ends_during_a_reading_does_not_hide_another_entry_with_the_same_id() {
    let mut node = Node::new(settings(Mode::Notrack));
    let [ended, living] = [1, 2].map(|n| Flow {
        id: Some(7),
        ..flow(n)
    });
    node.kernel.clear();
    node.engine.handle_command(
        node.now,
        ClientId(1),
        Command::ResyncFromKernel(Scope::Flows),
    );
    node.messages();
    node.event(EventKind::Destroy, 0, &ended);
    show(&mut node, &[ended, living]);
    assert_eq!(node.internal(), 1, "the one that has not ended");
    read(&mut node, &[living]);
    assert_eq!(node.internal(), 1);
}

fn injecting() -> Node {
    let mut settings = settings(common::FTFW);
    settings.external = ExternalMode::Inject;
    Node::new(settings)
}

/// The peer tells of an entry, which the kernel takes.
fn inject(node: &mut Node, seq: u32, n: u16) {
    node.kernel.clear();
    node.data(Change::New, 0, seq, n);
    node.messages();
    let request = node.kernel.iter().flat_map(|batch| requests(batch)).last();
    answer(node, KernelSocket::Inject, request.unwrap().1, 0);
    node.event(EventKind::New, ORIGINS.inject, &flow(n));
}

#[test]
fn what_was_injected_is_not_told_back_after_a_reading() {
    let mut node = injecting();
    inject(&mut node, 500, 1);
    inject(&mut node, 501, 2);
    read(&mut node, &[flow(1), flow(2), flow(3)]);
    assert_eq!(node.internal(), 1, "only the third is this node's");
    assert_eq!(node.engine.snapshot().injected, 2);
    // The peer ends one of them; another connection may have its key later.
    node.data(Change::Delete, 0, 502, 1);
    node.messages();
    let request = requests(node.kernel.last().unwrap())[0];
    answer(&mut node, KernelSocket::Inject, request.1, 0);
    read(&mut node, &[flow(1), flow(2), flow(3)]);
    assert_eq!(node.internal(), 2);
}

#[test]
fn what_a_reading_no_longer_shows_is_forgotten() {
    let mut node = injecting();
    inject(&mut node, 500, 1);
    inject(&mut node, 501, 2);
    read(&mut node, &[flow(2)]);
    assert_eq!(node.engine.snapshot().injected, 1);
}

#[test]
fn traffic_makes_an_injected_entry_this_nodes_own() {
    let mut node = injecting();
    inject(&mut node, 500, 1);
    node.messages();
    node.event(EventKind::Update, 0, &flow(1));
    assert_eq!(told(&mut node).len(), 1);
    assert_eq!(node.engine.snapshot().injected, 0);
}

#[test]
fn a_new_primary_tells_what_was_injected() {
    let mut node = injecting();
    inject(&mut node, 500, 1);
    read(&mut node, &[flow(1)]);
    node.kernel.clear();
    node.engine.handle_command(
        node.now,
        ClientId(9),
        Command::Become(Role::Primary, RoleCause::Role),
    );
    show(&mut node, &[flow(1)]);
    assert_eq!(told(&mut node), [Kind::Flow(Change::New)]);
    assert_eq!(node.internal(), 1);
    // What the old primary still tells is not taken away from the new one.
    node.data(Change::Update, 0, 501, 1);
    node.messages();
    assert_eq!(node.internal(), 1);
}

#[test]
fn what_a_restart_has_read_is_given_up_when_the_peer_tells_it() {
    let mut node = injecting();
    read(&mut node, &[flow(1), flow(2)]);
    assert_eq!(node.internal(), 2);
    inject(&mut node, 500, 1);
    assert_eq!(node.internal(), 1);
    assert!(told(&mut node).is_empty());
    read(&mut node, &[flow(1), flow(2)]);
    assert_eq!(node.internal(), 1);
}

#[test]
fn a_full_memory_of_injected_entries_takes_no_more() {
    let mut settings = settings(common::FTFW);
    settings.external = ExternalMode::Inject;
    settings.cache_limit = 2;
    let mut node = Node::new(settings);
    for n in 1..=3u16 {
        inject(&mut node, 500 + u32::from(n), n);
    }
    assert_eq!(node.engine.snapshot().injected, 2);
    read(&mut node, &[flow(1), flow(2), flow(3)]);
    assert_eq!(node.internal(), 1);
}

/// An overrun tells of an entry in part, the table in whole; what was under way meanwhile is no news of the rest.
#[test]
fn what_a_reading_finds_while_an_older_state_is_acknowledged_is_still_told() {
    let mut node = Node::new(settings(common::FTFW));
    show(&mut node, &[]);
    node.control(0x10 | 0x40, 998, 0, 0);
    let whole = flow(1);
    let part = Flow {
        proto: flow::ProtoInfo::None,
        mark: Some(7),
        ..whole
    };
    node.event(EventKind::Update, 0, &part);
    let sent = node.messages();
    let seq = sent.last().expect("it is told").seq;
    node.engine.handle_overrun(node.now);
    read(&mut node, &[whole]);
    node.control(0x08, 999, seq, seq);
    node.messages();
    node.kernel.clear();
    node.wait(Duration::from_secs(31));
    show(&mut node, &[whole]);
    let told = node.messages();
    assert!(
        told.iter().any(|m| matches!(m.kind, Kind::Flow(_))),
        "{told:?}"
    );
}
