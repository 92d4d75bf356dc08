//! Connections with helpers: what they expect, and what no event tells of them.

mod common;

use std::time::Duration;

use common::{FTFW, Node, answer, flow, requests, settings};
use ctnetlink::{EventKind, Header, emit, messages};
use engine::api::{ExpectationSync, ExternalMode, Settings};
use engine::{KernelSocket, Mode};
use flow::{Expectation, Flow, SeqAdj, Tuple};
use syncwire::{Change, EncodeOptions, Flags, Kind, encode};

fn node(mode: Mode) -> Node {
    Node::new(Settings {
        expectation_sync: ExpectationSync::All,
        ..settings(mode)
    })
}

fn expected_by(master: &Flow) -> Expectation {
    let tuple: Tuple = master.orig.mirrored();
    Expectation::new(master.orig, tuple, tuple)
}

fn expectation_event(node: &mut Node, kind: EventKind, expectation: &Expectation) {
    let mut bytes = Vec::new();
    emit::expectation(&mut bytes, Header::expectation_event(kind, 0), expectation);
    node.engine.handle_events(node.now, &bytes);
}

fn kinds(node: &mut Node) -> Vec<Kind> {
    let kinds = node.messages().into_iter().map(|message| message.kind);
    kinds.filter(|&kind| kind != Kind::Control).collect()
}

#[test]
fn an_expectation_that_is_told_before_its_master_waits_for_it() {
    let mut node = node(Mode::Notrack);
    let (master, other) = (flow(1), flow(2));
    expectation_event(&mut node, EventKind::New, &expected_by(&master));
    assert_eq!(kinds(&mut node), []);
    node.event(EventKind::New, 0, &other);
    assert_eq!(kinds(&mut node), [Kind::Flow(Change::New)]);
    node.event(EventKind::New, 0, &master);
    assert_eq!(
        kinds(&mut node),
        [Kind::Flow(Change::New), Kind::Expectation(Change::New)]
    );
}

#[test]
fn an_expectation_whose_master_does_not_come_is_forgotten() {
    let mut node = node(Mode::Notrack);
    let (taken_back, late) = (flow(1), flow(2));
    expectation_event(&mut node, EventKind::New, &expected_by(&taken_back));
    expectation_event(&mut node, EventKind::Destroy, &expected_by(&taken_back));
    node.event(EventKind::New, 0, &taken_back);
    assert_eq!(kinds(&mut node), [Kind::Flow(Change::New)]);
    expectation_event(&mut node, EventKind::New, &expected_by(&late));
    node.wait(Duration::from_secs(6));
    expectation_event(&mut node, EventKind::New, &expected_by(&flow(3)));
    node.event(EventKind::New, 0, &late);
    assert!(!kinds(&mut node).contains(&Kind::Expectation(Change::New)));
}

#[test]
fn an_expectation_whose_end_may_have_been_lost_does_not_wait_for_its_master() {
    let mut node = node(Mode::Notrack);
    let master = flow(1);
    expectation_event(&mut node, EventKind::New, &expected_by(&master));
    node.engine.handle_overrun(node.now);
    node.event(EventKind::New, 0, &master);
    assert_eq!(kinds(&mut node), [Kind::Flow(Change::New)]);
}

#[test]
fn an_expectation_that_gets_into_the_kernel_right_before_its_master_is_tried_again() {
    let mut node = Node::new(Settings {
        expectation_sync: ExpectationSync::All,
        external: ExternalMode::Inject,
        ..settings(FTFW)
    });
    node.kernel.clear();
    // The link has changed their order.
    let mut said = Vec::new();
    let expected = expected_by(&flow(1));
    let options = EncodeOptions::default();
    encode::expectation(&mut said, Change::New, Flags(0x20), 1, &expected, options);
    node.receive(&said);
    node.data(Change::New, 0, 2, 1);
    node.datagrams();
    let first = requests(&node.kernel[0]);
    let [(wanted, its_seq), (_, master_seq)] = first[..] else {
        panic!("{first:?}")
    };
    answer(&mut node, KernelSocket::Inject, its_seq, 2);
    answer(&mut node, KernelSocket::Inject, master_seq, 0);
    node.datagrams();
    let again: Vec<_> = requests(&node.kernel[1]).iter().map(|r| r.0).collect();
    assert_eq!(again, [wanted]);
}

#[test]
fn what_a_helper_has_adjusted_is_asked_for_and_told() {
    let mut node = node(FTFW);
    let mut master = flow(1);
    node.event(EventKind::New, 0, &master);
    node.messages();
    node.kernel.clear();
    expectation_event(&mut node, EventKind::New, &expected_by(&master));
    kinds(&mut node);
    let asked: Vec<_> = node.kernel.drain(..).collect();
    let lookup = messages(&asked[0]).next().unwrap().unwrap();
    master.seq_adj_orig = Some(SeqAdj {
        correction_pos: 1,
        offset_before: 0,
        offset_after: 2,
    });
    let mut answer = Vec::new();
    let header = Header {
        seq: lookup.header.seq,
        ..Header::flow_event(EventKind::New, 0)
    };
    emit::flow(&mut answer, header, &master);
    node.engine
        .handle_kernel_reply(node.now, KernelSocket::Query, &answer);
    assert_eq!(kinds(&mut node), [Kind::Flow(Change::Update)]);
    let mut told = None;
    node.engine
        .flows(engine::Side::Internal, 0, 10, &mut |dumped| {
            told = dumped.entry.seq_adj_orig;
        });
    assert_eq!(told, master.seq_adj_orig);
}
