//! The other modes, and what each does where the original has a quirk.

mod common;

use std::time::Duration;

use common::{FTFW, Node, ORIGINS, answer, flow, requests, settings};
use ctnetlink::{EventKind, Header, emit, messages};
use engine::api::{ExpectationSync, ExternalMode, InternalMode, Settings};
use engine::snapshot::{ExternalStats, InternalStats};
use engine::{ClientId, Command, KernelSocket, LinkState, Mode, Notice, Scope};
use flow::{Action, FlowFilter, Key, ProtoInfo, Tcp, TcpFlags, TcpState};
use syncwire::{Change, Kind};

const ALARM: Mode = Mode::Alarm {
    refresh: Duration::from_secs(2),
    cache_timeout: Duration::from_secs(10),
};

#[test]
fn notrack_applies_late_messages_and_acknowledges_nothing() {
    let mut node = Node::new(settings(Mode::Notrack));
    node.data(Change::New, 0, 10, 1);
    node.data(Change::New, 0, 9, 2);
    assert_eq!(node.external(), 2);
    assert_eq!(node.engine.snapshot().receive.before, 1);
    node.control(0x08, 11, 1, 2);
    assert_eq!(node.engine.snapshot().receive.malformed_header, 1);
    assert!(node.messages().is_empty());
    node.wait(Duration::from_secs(1));
    let sent = node.messages();
    assert_eq!((sent[0].kind, sent[0].flags), (Kind::Control, 0x10));
}

#[test]
fn alarm_says_nothing_but_entries_and_says_them_again() {
    let mut node = Node::new(settings(ALARM));
    node.event(EventKind::New, 0, &flow(1));
    assert_eq!(node.messages()[0].kind, Kind::Flow(Change::New));
    let mut told = 0;
    for _ in 0..40 {
        node.wait(Duration::from_millis(250));
        for message in node.messages() {
            assert_eq!((message.kind, message.flags), (Kind::Flow(Change::New), 0));
            told += 1;
        }
    }
    // Ten seconds, each pause between 1.2 and 3.2 seconds.
    assert!((3..=9).contains(&told), "{told}");
}

#[test]
fn alarm_forgets_what_is_not_said_again_and_ignores_flags() {
    let mut node = Node::new(settings(ALARM));
    node.data(Change::New, 0, 1, 1);
    node.data(Change::New, 0x20, 2, 2);
    assert_eq!(
        node.external(),
        1,
        "a message with a flag is none of this mode"
    );
    assert_eq!(node.engine.snapshot().receive.malformed(), 0);
    node.wait(Duration::from_secs(6));
    node.data(Change::Update, 0, 3, 1);
    node.wait(Duration::from_secs(6));
    assert_eq!(node.external(), 1, "said again in time");
    node.wait(Duration::from_secs(6));
    assert_eq!(node.external(), 0);
}

#[test]
fn without_internal_cache_an_event_leaves_at_once() {
    let mut node = Node::new(Settings {
        internal: InternalMode::Bypass,
        ..settings(Mode::Notrack)
    });
    for (kind, change) in [
        (EventKind::New, Change::New),
        (EventKind::Update, Change::Update),
        (EventKind::Destroy, Change::Delete),
    ] {
        node.event(kind, 0, &flow(1));
        assert_eq!(node.messages()[0].kind, Kind::Flow(change));
        node.event(kind, ORIGINS.flush, &flow(2));
        assert!(node.messages().is_empty(), "our own doing is not sent back");
    }
    let Some(InternalStats::Bypass(stats)) = node.engine.snapshot().internal else {
        panic!("no bypass")
    };
    assert_eq!((stats.new, stats.updated, stats.destroyed), (1, 1, 1));
}

const NEW: u16 = 0x100;
const GET: u16 = 0x101;
const DELETE: u16 = 0x102;

#[test]
fn without_external_cache_what_is_in_the_way_is_replaced() {
    let mut node = Node::new(Settings {
        external: ExternalMode::Inject,
        ..settings(FTFW)
    });
    node.kernel.clear();
    node.data(Change::New, 0x20, 1, 1);
    node.datagrams();
    let first = requests(&node.kernel[0]);
    assert_eq!(first.iter().map(|r| r.0).collect::<Vec<_>>(), [NEW]);
    answer(&mut node, KernelSocket::Inject, first[0].1, 17);
    node.datagrams();
    let second = requests(&node.kernel[1]);
    assert_eq!(
        second.iter().map(|r| r.0).collect::<Vec<_>>(),
        [DELETE, DELETE, NEW]
    );
    answer(&mut node, KernelSocket::Inject, second[1].1, 2);
    answer(&mut node, KernelSocket::Inject, second[2].1, 0);
    let Some(ExternalStats::Inject(stats)) = node.engine.snapshot().external else {
        panic!("no injection")
    };
    assert_eq!((stats.created, stats.create_failed), (1, 0));
}

fn commit(node: &mut Node) {
    node.kernel.clear();
    let command = Command::Commit(Scope::All);
    node.engine.handle_command(node.now, ClientId(1), command);
    node.datagrams();
}

#[test]
fn a_second_commit_changes_the_same_connection_in_place() {
    let mut node = Node::new(settings(FTFW));
    node.data(Change::New, 0x20, 1, 1);
    commit(&mut node);
    let create = requests(&node.kernel[0]);
    answer(&mut node, KernelSocket::Commit, create[0].1, 17);
    node.datagrams();
    let lookup = requests(&node.kernel[1]);
    assert_eq!(lookup[0].0, GET);
    let mut existing = Vec::new();
    let mut told = flow(1);
    told.proto = ProtoInfo::Tcp(Tcp {
        state: Some(TcpState::Established),
        ..Tcp::default()
    });
    emit::flow(&mut existing, Header::flow_dump(lookup[0].1, 0), &told);
    node.engine
        .handle_kernel_reply(node.now, KernelSocket::Commit, &existing);
    answer(&mut node, KernelSocket::Commit, lookup[0].1, 0);
    node.datagrams();
    let update = requests(&node.kernel[2]);
    assert_eq!(
        update.iter().map(|r| r.0).collect::<Vec<_>>(),
        [NEW],
        "nothing is deleted"
    );
    answer(&mut node, KernelSocket::Commit, update[0].1, 0);
    node.datagrams();
    assert!(node.notices.contains(&Notice::CommittedFlows(1)));
}

#[test]
fn another_connection_in_the_way_of_a_commit_is_deleted_first() {
    let mut node = Node::new(settings(FTFW));
    node.data(Change::New, 0x20, 1, 1);
    commit(&mut node);
    let create = requests(&node.kernel[0]);
    answer(&mut node, KernelSocket::Commit, create[0].1, 17);
    node.datagrams();
    let lookup = requests(&node.kernel[1]);
    // Not by its original tuple: the reply tuple is what is taken.
    answer(&mut node, KernelSocket::Commit, lookup[0].1, 2);
    node.datagrams();
    let again = requests(&node.kernel[2]);
    assert_eq!(
        again.iter().map(|r| r.0).collect::<Vec<_>>(),
        [DELETE, DELETE, NEW]
    );
    answer(&mut node, KernelSocket::Commit, again[2].1, 16);
    node.datagrams();
    assert!(node.notices.contains(&Notice::CommittedFlows(0)));
    assert!(node.notices.contains(&Notice::FlowsNotCommitted(1)));
}

#[test]
fn children_are_committed_after_all_others() {
    let mut node = Node::new(settings(FTFW));
    let mut child = flow(1);
    child.master = Some(flow(2).orig);
    let mut bytes = Vec::new();
    let options = syncwire::EncodeOptions::default();
    syncwire::encode::flow(
        &mut bytes,
        Change::New,
        syncwire::Flags(0x20),
        1,
        &child,
        options,
    );
    syncwire::encode::flow(
        &mut bytes,
        Change::New,
        syncwire::Flags(0),
        2,
        &flow(2),
        options,
    );
    node.receive(&bytes);
    commit(&mut node);
    let masters = requests(&node.kernel[0]);
    assert_eq!(masters.len(), 1, "the master alone");
    answer(&mut node, KernelSocket::Commit, masters[0].1, 0);
    node.datagrams();
    assert_eq!(requests(&node.kernel[1]).len(), 1);
}

#[test]
fn flushes_are_refused_while_a_commit_runs_and_work_again_after_it() {
    let mut node = Node::new(settings(FTFW));
    node.data(Change::New, 0x20, 1, 1);
    commit(&mut node);
    let flush = Command::FlushCaches(engine::Caches::Both);
    node.engine.handle_command(node.now, ClientId(2), flush);
    node.datagrams();
    assert!(node.notices.contains(&Notice::FlushRefused));
    let create = requests(&node.kernel[0]);
    answer(&mut node, KernelSocket::Commit, create[0].1, 0);
    node.datagrams();
    node.engine.handle_command(node.now, ClientId(3), flush);
    node.datagrams();
    assert_eq!(node.external(), 0);
}

#[test]
fn the_end_of_an_entry_is_told_whatever_state_it_ended_in() {
    let filter = FlowFilter {
        tcp_states: Some((Action::Accept, vec![TcpState::Established])),
        ..FlowFilter::default()
    };
    let mut node = Node::new(Settings {
        filter,
        ..settings(Mode::Notrack)
    });
    let mut entry = flow(1);
    node.event(EventKind::New, 0, &entry);
    assert!(node.messages().is_empty(), "SYN_SENT is not in the list");
    entry.proto = ProtoInfo::Tcp(Tcp {
        state: Some(TcpState::Established),
        ..Tcp::default()
    });
    node.event(EventKind::Update, 0, &entry);
    assert_eq!(node.messages().len(), 1);
    entry.proto = ProtoInfo::Tcp(Tcp {
        state: Some(TcpState::TimeWait),
        ..Tcp::default()
    });
    node.event(EventKind::Destroy, 0, &entry);
    assert_eq!(node.messages()[0].kind, Kind::Flow(Change::Delete));
    assert_eq!(node.engine.snapshot().kernel.filtered, 1);
}

#[test]
fn a_full_cache_refuses_and_evicts_nobody() {
    let mut node = Node::new(Settings {
        cache_limit: 3,
        ..settings(Mode::Notrack)
    });
    for n in 0..5 {
        node.event(EventKind::New, 0, &flow(n));
    }
    let Some(InternalStats::Cache(stats)) = node.engine.snapshot().internal else {
        panic!("no cache")
    };
    assert_eq!(
        (stats.active, stats.create_failed, stats.no_space),
        (3, 2, 2)
    );
    assert_eq!(node.messages().len(), 3);
}

#[test]
fn expectations_of_a_peer_are_dropped_where_they_are_not_replicated() {
    let orig = flow(1).orig;
    let expectation = flow::Expectation::new(orig, orig, orig);
    let mut bytes = Vec::new();
    let options = syncwire::EncodeOptions::default();
    let flags = syncwire::Flags(0x20);
    syncwire::encode::expectation(&mut bytes, Change::New, flags, 1, &expectation, options);
    for (sync, kept) in [(ExpectationSync::Off, 0), (ExpectationSync::All, 1)] {
        let mut node = Node::new(Settings {
            expectation_sync: sync,
            ..settings(FTFW)
        });
        node.receive(&bytes);
        let mut shown = 0;
        let side = engine::Side::External;
        node.engine.expectations(side, 0, 10, &mut |_| shown += 1);
        assert_eq!(shown, kept);
        assert_eq!(node.engine.snapshot().receive.malformed(), 0);
    }
}

#[test]
fn the_first_usable_link_takes_over_and_the_one_the_peer_uses_is_followed() {
    let mut both = settings(FTFW);
    both.links.push(engine::api::LinkSettings {
        payload_len: 1472,
        default: false,
    });
    let mut node = Node::new(both);
    let up = LinkState {
        up: true,
        running: true,
    };
    let down = LinkState {
        up: false,
        running: false,
    };
    let (first, second) = (engine::LinkId(0), engine::LinkId(1));
    node.engine.handle_link(node.now, first, up);
    node.engine.handle_link(node.now, second, up);
    node.engine.handle_link(node.now, first, down);
    assert_eq!(node.engine.snapshot().active_link, 1);
    node.engine.handle_link(node.now, first, up);
    assert_eq!(
        node.engine.snapshot().active_link,
        1,
        "nothing moves back by itself"
    );
    node.data(Change::New, 0x20, 1, 1);
    assert_eq!(
        node.engine.snapshot().active_link,
        0,
        "the peer was heard there"
    );
    node.engine.handle_link(node.now, second, down);
    node.engine.handle_link(node.now, first, down);
    node.datagrams();
    assert!(node.notices.contains(&Notice::NoLink));
}

#[test]
fn a_resync_with_the_kernel_sends_only_what_differs() {
    let mut node = Node::new(settings(Mode::Notrack));
    for n in 0..3 {
        node.event(EventKind::New, 0, &flow(n));
    }
    assert_eq!(node.messages().len(), 3);
    node.engine.handle_overrun(node.now);
    node.wait(Duration::from_secs(30));
    node.kernel.clear();
    node.messages();
    let dump = requests(&node.kernel[0])[0].1;
    // In the kernel: 0 as it was, 1 with another mark, 2 gone, 3 new.
    // A reading tells a mark of zero, an event does not.
    // It also tells the flags of TCP, which are nobody's business.
    let mut unmarked = flow(0);
    unmarked.mark = Some(0);
    if let ProtoInfo::Tcp(tcp) = &mut unmarked.proto {
        let flags = Some(TcpFlags { flags: 8, mask: 0 });
        (tcp.flags_orig, tcp.flags_reply) = (flags, flags);
    }
    let mut marked = flow(1);
    marked.mark = Some(9);
    for entry in [unmarked, marked, flow(3)] {
        let mut part = Vec::new();
        emit::flow(&mut part, Header::flow_dump(dump, 0), &entry);
        node.engine
            .handle_kernel_reply(node.now, KernelSocket::Dump, &part);
    }
    let mut done = Vec::new();
    emit::done(&mut done, dump, 0, 0);
    node.engine
        .handle_kernel_reply(node.now, KernelSocket::Dump, &done);
    node.kernel.clear();
    let told: Vec<_> = node.messages().iter().map(|m| m.kind).collect();
    assert_eq!(told, [Kind::Flow(Change::Update), Kind::Flow(Change::New)]);
    // What was not shown is asked for by itself before it counts as gone.
    let lookups: Vec<Key> = messages(&node.kernel[0])
        .map(|m| ctnetlink::parse::original_tuple(&m.unwrap()).unwrap())
        .collect();
    assert_eq!(lookups, [flow(2).key()]);
    let seq = requests(&node.kernel[0])[0].1;
    answer(&mut node, KernelSocket::Query, seq, 2);
    assert_eq!(node.messages()[0].kind, Kind::Flow(Change::Delete));
    assert!(node.notices.contains(&Notice::Reconciled {
        changed: 2,
        gone: 1
    }));
    let missed = node.engine.snapshot().kernel.missed;
    assert_eq!((missed.changed, missed.gone), (2, 1));
}

#[test]
fn readings_after_overruns_leave_nine_parts_of_ten_of_the_time_and_wait_no_longer_than_configured()
{
    for (took_s, waits_s) in [(0, 1), (2, 20), (9, 30)] {
        let mut node = Node::new(settings(Mode::Notrack));
        for (took_s, waits_s) in [(took_s, 1), (0, waits_s)] {
            node.kernel.clear();
            node.engine.handle_overrun(node.now);
            for tenth in 0..10 * waits_s {
                assert!(node.kernel.is_empty(), "too early: {tenth} tenths");
                node.wait(Duration::from_millis(100));
                node.datagrams();
            }
            let dump = requests(&node.kernel[0])[0].1;
            node.wait(Duration::from_secs(took_s));
            let mut done = Vec::new();
            emit::done(&mut done, dump, 0, 0);
            node.engine
                .handle_kernel_reply(node.now, KernelSocket::Dump, &done);
            node.datagrams();
        }
    }
}
