//! The reliable mode message by message, with the numbers measured on the original.

mod common;

use std::time::Duration;

use common::{FTFW, Node, flow, seen, settings};
use ctnetlink::EventKind;
use engine::{ClientId, Command, Mode, Notice};
use syncwire::{Change, Kind};

const HELLO: u8 = 0x20;
const HELLO_BACK: u8 = 0x40;
const ALIVE: u8 = 0x10;
const ACK: u8 = 0x08;
const NACK: u8 = 0x04;
const RESYNC: u8 = 0x02;

/// A node whose handshake is done: the peer said hello with 999 and answered ours.
fn met(mode: Mode) -> Node {
    let mut node = Node::new(settings(mode));
    node.wait(Duration::from_secs(1));
    assert_eq!(node.messages().len(), 1);
    node.control(ALIVE | HELLO_BACK, 998, 0, 0);
    node
}

fn acks(node: &mut Node) -> Vec<(u32, u32)> {
    node.messages()
        .iter()
        .filter(|m| m.flags & ACK != 0)
        .filter_map(|m| m.range)
        .collect()
}

#[test]
fn a_lone_node_says_hello_every_second() {
    let mut node = Node::new(settings(FTFW));
    for second in 0..3 {
        node.wait(Duration::from_secs(1));
        let sent = node.messages();
        assert_eq!(sent.len(), 1);
        assert_eq!(
            (sent[0].kind, sent[0].flags),
            (Kind::Control, ALIVE | HELLO)
        );
        assert_eq!(sent[0].seq, 1000 + second);
    }
}

#[test]
fn the_handshake_is_the_one_of_the_recording() {
    let (mut a, mut b) = (Node::new(settings(FTFW)), Node::new(settings(FTFW)));
    a.wait(Duration::from_secs(1));
    let first = a.datagrams();
    assert_eq!(seen(&first[0])[0].flags, ALIVE | HELLO);
    b.receive(&first[0]);
    b.wait(Duration::from_secs(1));
    let answer = b.datagrams();
    assert_eq!(seen(&answer[0])[0].flags, ACK | HELLO | HELLO_BACK);
    a.receive(&answer[0]);
    a.wait(Duration::from_secs(1));
    let last = a.datagrams();
    assert_eq!(seen(&last[0])[0].flags, ACK | HELLO_BACK);
    b.receive(&last[0]);
    b.wait(Duration::from_secs(1));
    assert_eq!(b.messages()[0].flags, ACK);
}

#[test]
fn a_window_is_acknowledged_when_full_and_the_rest_by_the_timer() {
    let mut node = Node::new(settings(FTFW));
    node.data(Change::New, HELLO, 1000, 0);
    for n in 1..=700 {
        node.data(Change::New, 0, 1000 + u32::from(n), n);
    }
    assert_eq!(acks(&mut node), [(1000, 1299), (1300, 1599)]);
    node.wait(Duration::from_secs(1));
    assert_eq!(acks(&mut node), [(1600, 1700)]);
    assert_eq!(node.external(), 701);
}

#[test]
fn a_gap_is_acknowledged_up_to_and_asked_for_in_one_datagram() {
    let mut node = met(FTFW);
    for n in 0..5 {
        node.data(Change::New, 0, 999 + u32::from(n), n);
    }
    node.datagrams();
    node.data(Change::New, 0, 1010, 6);
    let datagrams = node.datagrams();
    assert_eq!(datagrams.len(), 1);
    let sent = seen(&datagrams[0]);
    assert_eq!(sent[0].flags, ACK);
    assert_eq!(sent[0].range, Some((998, 1003)));
    assert_eq!(sent[1].flags, NACK);
    assert_eq!(sent[1].range, Some((1004, 1009)));
    assert_eq!(
        node.engine.snapshot().receive.lost,
        6,
        "the number that is really missing"
    );
}

#[test]
fn older_messages_are_counted_and_not_answered() {
    let mut node = met(FTFW);
    node.data(Change::New, 0, 999, 1);
    node.datagrams();
    node.data(Change::Delete, 0, 999, 1);
    assert!(node.datagrams().is_empty());
    assert_eq!(node.external(), 1);
    assert_eq!(node.engine.snapshot().receive.before, 1);
}

#[test]
fn numbers_go_on_past_the_end_of_their_range() {
    let mut node = met(FTFW);
    node.data(Change::New, HELLO, u32::MAX - 1, 1);
    node.data(Change::New, 0, u32::MAX, 2);
    node.data(Change::New, 0, 0, 3);
    node.data(Change::New, 0, 1, 4);
    assert_eq!(node.external(), 4);
    let stats = node.engine.snapshot().receive;
    assert_eq!((stats.lost, stats.before), (0, 0));
    node.data(Change::New, 0, 3, 5);
    assert_eq!(node.engine.snapshot().receive.lost, 1);
}

#[test]
fn what_is_asked_for_is_sent_again_with_new_numbers() {
    let mut node = met(FTFW);
    for n in 0..10 {
        node.event(EventKind::New, 0, &flow(n));
    }
    let sent = node.messages();
    assert_eq!(sent.len(), 10);
    let (from, to) = (sent[3].seq, sent[5].seq);
    node.control(NACK, 999, from, to);
    let again = node.messages();
    assert_eq!(again.len(), 3);
    let next = sent[9].seq + 1;
    assert_eq!(
        again.iter().map(|m| m.seq).collect::<Vec<_>>(),
        [next, next + 1, next + 2]
    );
    // A second request for the same numbers finds nothing.
    node.control(NACK, 1000, from, to);
    assert!(node.messages().is_empty());
}

#[test]
fn an_ended_entry_stays_until_its_end_is_acknowledged() {
    let mut node = met(FTFW);
    node.event(EventKind::New, 0, &flow(1));
    node.messages();
    node.event(EventKind::Destroy, 0, &flow(1));
    let end = node.messages();
    assert_eq!(end[0].kind, Kind::Flow(Change::Delete));
    let total = |node: &Node| match node.engine.snapshot().internal {
        Some(engine::snapshot::InternalStats::Cache(stats)) => (stats.active, stats.total),
        other => panic!("{other:?}"),
    };
    assert_eq!(total(&node), (0, 1));
    node.control(ACK, 999, end[0].seq, end[0].seq);
    assert_eq!(total(&node), (0, 0));
}

#[test]
fn what_was_acknowledged_to_a_peer_before_it_started_again_is_not_told_to_it_after() {
    let mut node = met(FTFW);
    for n in 0..300 {
        node.data(Change::New, 0, 999 + u32::from(n), n);
    }
    assert_eq!(acks(&mut node).len(), 1, "a full window is acknowledged");
    // It starts again behind where it was, and is told again what it has not acknowledged.
    node.wait(Duration::from_secs(1));
    node.messages();
    node.control(RESYNC | HELLO | HELLO_BACK, 900, 0, 0);
    assert_eq!(acks(&mut node), []);
}

/// A node that starts again counts from its clock, and may be behind where it was.
#[test]
fn an_acknowledgement_of_what_was_never_sent_is_one_of_an_earlier_life() {
    let mut node = met(FTFW);
    node.event(EventKind::New, 0, &flow(1));
    let sent = node.messages();
    let seq = sent.last().expect("the entry is told").seq;
    node.event(EventKind::Destroy, 0, &flow(1));
    let end = node.messages();
    let end = end.last().expect("its end is told").seq;
    node.control(ACK, 999, seq, end + 20);
    // The end is still there to be asked for.
    node.control(NACK, 1000, end, end);
    let again = node.messages();
    assert!(again.iter().any(|m| m.kind == Kind::Flow(Change::Delete)));
    node.control(ACK, 1001, seq, again.last().expect("sent again").seq);
    assert_eq!(
        node.engine.snapshot().resend_queue.map(|queue| queue.len),
        Some(0)
    );
}

#[test]
fn a_full_resend_queue_keeps_the_newest_and_a_late_request_is_answered_with_everything() {
    let mut node = met(Mode::Ftfw {
        resend_queue_len: 4,
        ack_window: 300,
    });
    for n in 0..10 {
        node.event(EventKind::New, 0, &flow(n));
        assert_eq!(node.messages().len(), 1);
    }
    let queue = node.engine.snapshot().resend_queue.unwrap();
    assert_eq!((queue.len, queue.overflows), (4, 6));
    let first = node.engine.resend_queue().next().unwrap();
    let engine::snapshot::ResendElement::Object { seq } = first else {
        panic!("{first:?}")
    };
    node.control(NACK, 999, seq - 3, seq - 2);
    let told = node
        .messages()
        .iter()
        .filter(|m| m.kind != Kind::Control)
        .count();
    assert_eq!(told, 10, "all entries, since some are no longer kept");
    assert!(node.notices.contains(&Notice::ResendImpossible));
}

#[test]
fn a_request_for_everything_sends_every_entry_once() {
    let mut node = met(FTFW);
    for n in 0..1000 {
        node.event(EventKind::New, 0, &flow(n));
    }
    let last = node.messages().last().unwrap().seq;
    node.control(ACK, 999, 0, last);
    node.control(RESYNC, 1000, 0, 0);
    let sent = node.messages();
    assert_eq!(
        sent.iter()
            .filter(|m| m.kind == Kind::Flow(Change::New))
            .count(),
        1000
    );
}

#[test]
fn own_commits_enter_the_cache_and_are_not_sent_back() {
    let mut node = met(FTFW);
    node.event(EventKind::New, common::ORIGINS.commit, &flow(1));
    assert!(node.messages().is_empty());
    assert_eq!(node.internal(), 1);
    node.event(EventKind::Update, 0, &flow(1));
    assert_eq!(node.messages().len(), 1, "the next genuine change is told");
    node.event(EventKind::New, common::ORIGINS.inject, &flow(2));
    assert_eq!(node.internal(), 1, "injected entries are not ours");
    node.event(EventKind::Destroy, common::ORIGINS.flush, &flow(1));
    assert!(node.messages().is_empty());
    assert_eq!(node.internal(), 0);
}

#[test]
fn an_overrun_is_followed_by_one_reading_however_many_come() {
    let mut node = met(FTFW);
    node.engine.handle_overrun(node.now);
    node.kernel.clear();
    for _ in 0..29 {
        node.wait(Duration::from_millis(30));
        node.engine.handle_overrun(node.now);
        node.datagrams();
    }
    assert!(node.kernel.is_empty());
    node.wait(Duration::from_millis(200));
    node.datagrams();
    assert_eq!(node.kernel.len(), 1);
    assert_eq!(node.engine.snapshot().kernel.overruns, 30);
}

#[test]
fn malformed_messages_change_nothing_but_their_counter() {
    let mut node = met(FTFW);
    node.data(Change::New, 0, 999, 1);
    node.receive(&[0x1a]);
    node.receive(&[0x2a, 0x10, 0, 8, 0, 0, 0, 1]);
    node.receive(&[0x16, 0, 0, 8, 0, 0, 3, 0xe8]);
    node.receive(&[0x10, 0, 0, 200, 0, 0, 3, 0xe8]);
    node.receive(&[0x10, 0, 0, 8, 0, 0, 3, 0xe8]);
    let stats = node.engine.snapshot().receive;
    assert_eq!(
        (
            stats.truncated,
            stats.wrong_version,
            stats.malformed_header,
            stats.bad_size
        ),
        (1, 1, 1, 1)
    );
    assert_eq!(
        stats.malformed_payload, 1,
        "an entry without addresses is none"
    );
    assert_eq!(node.external(), 1);
}

#[test]
fn what_was_never_said_can_neither_be_acknowledged_nor_asked_for() {
    let mut node = met(FTFW);
    node.event(EventKind::New, 0, &flow(1));
    let said = node.messages();
    let seq = said.last().unwrap().seq;
    let waiting = |node: &Node| node.engine.snapshot().resend_queue.unwrap().len;
    assert_eq!(waiting(&node), 1);
    // Of a former start, backwards, or simply invented.
    for (number, (from, to)) in [(seq, seq + 1), (seq, seq - 1), (0x8000_0000, 0x7fff_ffff)]
        .into_iter()
        .enumerate()
    {
        for flags in [ACK, NACK] {
            node.control(flags, 999 + number as u32, from, to);
            assert!(node.messages().iter().all(|m| m.kind == Kind::Control));
            assert_eq!(waiting(&node), 1);
        }
    }
    node.control(ACK, 1010, seq, seq);
    assert_eq!(waiting(&node), 0);
}

#[test]
fn a_scheduled_purge_is_cancelled_by_a_commit() {
    let mut node = met(FTFW);
    node.engine
        .handle_command(node.now, ClientId(1), Command::SchedulePurge);
    node.engine
        .handle_command(node.now, ClientId(2), Command::Commit(engine::Scope::All));
    node.datagrams();
    node.wait(Duration::from_secs(120));
    node.datagrams();
    assert!(!node.notices.contains(&Notice::PurgingKernel));
}

#[test]
fn what_was_not_acknowledged_is_told_again_to_a_peer_that_greets() {
    let mut node = met(FTFW);
    for n in 0..3 {
        node.event(EventKind::New, 0, &flow(n));
    }
    assert_eq!(node.messages().len(), 3);
    node.control(ALIVE | HELLO, 5000, 0, 0);
    let told = |node: &mut Node| {
        let data = node.messages().into_iter();
        data.filter(|m| m.kind != Kind::Control).count()
    };
    assert_eq!(told(&mut node), 3);
    // Further greetings of the same handshake change nothing.
    node.control(ALIVE | HELLO, 5001, 0, 0);
    assert_eq!(told(&mut node), 0);
}

#[test]
fn a_greeting_makes_no_end_forgotten_however_many_were_not_acknowledged() {
    let mut node = met(FTFW);
    let many = 6000;
    for n in 0..many {
        node.event(EventKind::New, 0, &flow(n));
        node.event(EventKind::Destroy, 0, &flow(n));
        node.messages();
    }
    // The peer has not started at all: somebody else greets in its name.
    node.control(ALIVE | HELLO, 5000, 0, 0);
    let ends = |node: &mut Node| {
        let messages = node.messages().into_iter();
        messages
            .filter(|m| m.kind == Kind::Flow(Change::Delete))
            .count()
    };
    assert_eq!(ends(&mut node), many as usize);
    // Whoever goes on greeting has it all sent every ten seconds at most.
    node.wait(Duration::from_secs(3));
    node.control(ALIVE | HELLO, 9_000_000, 0, 0);
    assert_eq!(ends(&mut node), 0);
}

#[test]
fn what_a_peer_never_asks_for_is_told_again_when_later_numbers_are_acknowledged() {
    let mut node = met(FTFW);
    for n in 0..4 {
        node.event(EventKind::New, 0, &flow(n));
    }
    let sent = node.messages();
    let later = (sent[2].seq, sent[3].seq);
    for seq in 999..1003 {
        node.control(ACK, seq, later.0, later.1);
        node.wait(Duration::from_secs(1));
    }
    let again = node.messages();
    let told = again.iter().filter(|m| m.kind != Kind::Control).count();
    assert_eq!(told, 2, "{again:?}");
}

#[test]
fn messages_lost_while_a_peer_greets_are_asked_for() {
    let mut node = Node::new(settings(FTFW));
    node.data(Change::New, HELLO, 5000, 1);
    node.data(Change::New, HELLO, 5003, 2);
    let asked = node.messages();
    let range = asked.iter().find(|m| m.flags & NACK != 0).unwrap().range;
    assert_eq!(range, Some((5001, 5002)));
}

#[test]
fn a_malformed_message_out_of_its_place_moves_no_number() {
    let mut node = met(FTFW);
    node.receive(&[0x10, 0, 0, 8, 0, 0, 9, 0]);
    assert_eq!(node.engine.snapshot().receive.malformed_payload, 1);
    node.data(Change::New, 0, 999, 1);
    let stats = node.engine.snapshot().receive;
    assert_eq!((node.external(), stats.lost, stats.before), (1, 0, 0));
}

#[test]
fn a_node_that_is_never_idle_lets_go_of_the_acknowledgements_it_gets() {
    let mut a = met(FTFW);
    let (mut acknowledged, mut last) = (0, 0);
    for n in 0..2000u16 {
        // Always something to say, so that no timer says that the acknowledgements came.
        a.event(EventKind::New, 0, &flow(n));
        let first = a.messages()[0].seq;
        a.control(ACK, 999 + u32::from(n), first, first);
        for (from, to) in acks(&mut a) {
            assert!(last == 0 || from == last + 1, "{from} follows {last}");
            (acknowledged, last) = (acknowledged + 1, to);
        }
    }
    // Every few hundred, and up to what came then: two nodes do not keep each other busy.
    assert!((2..=8).contains(&acknowledged), "{acknowledged}");
    assert!(last > 999 + 1400, "{last}");
}
