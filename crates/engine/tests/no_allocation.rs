//! In steady state an event costs no allocation, from the kernel's bytes to the peer's datagram.

mod common;

use common::{FTFW, Node, flow, settings};
use ctnetlink::{EventKind, Header, emit};
use engine::{LinkId, Mode, Output};
use syncwire::{Flags, encode};

/// One life of each of 1000 connections, sent and, where the mode has it, acknowledged. Returns events.
fn round(node: &mut Node, events: &[Vec<u8>], ack: &mut Vec<u8>, peer_seq: &mut u32) -> usize {
    for batch in events.chunks(64) {
        for event in batch {
            node.engine.handle_events(node.now, event);
        }
        while let Some(output) = node.engine.poll_output() {
            assert!(matches!(output, Output::Transmit { .. }), "{output:?}");
        }
        ack.clear();
        *peer_seq += 1;
        // The peer acknowledges everything that it can have seen.
        encode::control(ack, Flags::ACK, *peer_seq, 0, i32::MAX as u32);
        node.engine.handle_datagram(node.now, LinkId(0), ack);
    }
    events.len()
}

fn lives() -> Vec<Vec<u8>> {
    let mut events = Vec::new();
    for kind in [EventKind::New, EventKind::Update, EventKind::Destroy] {
        for n in 0..1000 {
            let mut bytes = Vec::new();
            emit::flow(&mut bytes, Header::flow_event(kind, 0), &flow(n));
            events.push(bytes);
        }
    }
    events
}

fn assert_no_allocation(mode: Mode) {
    let mut node = Node::new(settings(mode));
    let events = lives();
    let (mut ack, mut peer_seq) = (Vec::with_capacity(64), 1);
    for _ in 0..3 {
        round(&mut node, &events, &mut ack, &mut peer_seq);
    }
    let mut count = 0;
    let allocations = allocation_counter::measure(|| {
        for _ in 0..5 {
            count += round(&mut node, &events, &mut ack, &mut peer_seq);
        }
    });
    assert_eq!(count, 15_000);
    assert_eq!(allocations.count_total, 0, "for {count} events");
    assert_eq!(node.internal(), 0);
}

#[test]
fn an_event_in_ftfw_allocates_nothing() {
    assert_no_allocation(FTFW);
}

#[test]
fn an_event_in_notrack_allocates_nothing() {
    assert_no_allocation(Mode::Notrack);
}
