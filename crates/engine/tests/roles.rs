//! Roles: what a node does on being told what it is, and when it may be told.

mod common;

use std::time::Duration;

use common::{FTFW, Node, ORIGINS, answer, flow, requests, seen, settings};
use ctnetlink::{EventKind, Header, emit};
use engine::api::{LinkState, Settings};
use engine::{
    ClientId, Command, KernelSocket, LinkId, Mode, Notice, Outcome, Output, Readiness, Role,
    RoleCause, Scope,
};
use flow::{Action, FlowFilter};
use syncwire::{Change, Flags, Kind};

fn told(node: &mut Node, client: u64, command: Command) {
    node.engine
        .handle_command(node.now, ClientId(client), command);
}

fn role(node: &Node) -> Role {
    node.engine.role().role
}

fn readiness(node: &Node) -> Readiness {
    node.engine.readiness(node.now)
}

/// A backup with one entry of its peer.
fn backup() -> Node {
    let mut node = Node::new(settings(FTFW));
    node.data(Change::New, 0x20, 1, 1);
    node.datagrams();
    node.kernel.clear();
    node
}

/// The kernel takes the batch written last.
fn kernel_takes_all(node: &mut Node) {
    for (_, seq) in requests(&node.kernel.pop().unwrap()) {
        answer(node, KernelSocket::Commit, seq, 0);
    }
}

#[test]
fn a_primary_has_committed_before_it_is_ready_then_tells_everything() {
    let mut node = backup();
    told(
        &mut node,
        1,
        Command::Become(Role::Primary, RoleCause::Role),
    );
    node.datagrams();
    assert_eq!(role(&node), Role::Primary);
    assert_eq!(readiness(&node), Readiness::Committing);
    assert!(node.done.is_empty(), "the kernel has not answered");
    node.event(EventKind::New, ORIGINS.commit, &flow(1));
    kernel_takes_all(&mut node);
    let told_to_peer: Vec<_> = node.datagrams().iter().flat_map(|d| seen(d)).collect();
    assert_eq!(node.done, [(ClientId(1), Outcome::Done)]);
    assert_eq!(readiness(&node), Readiness::Primary);
    assert_eq!(node.external(), 0);
    assert_eq!(node.internal(), 1, "what was committed is ours now");
    assert!(
        told_to_peer.iter().any(|m| matches!(m.kind, Kind::Flow(_))),
        "{told_to_peer:?}"
    );
    assert!(
        node.notices
            .iter()
            .any(|n| matches!(n, Notice::Takeover(_)))
    );
}

#[test]
fn who_asks_twice_for_a_role_waits_for_the_same_end() {
    let mut node = backup();
    for client in 1..=3 {
        told(
            &mut node,
            client,
            Command::Become(Role::Primary, RoleCause::Role),
        );
    }
    node.datagrams();
    assert_eq!(node.kernel.len(), 1, "one commit");
    kernel_takes_all(&mut node);
    node.datagrams();
    let done = |client| (ClientId(client), Outcome::Done);
    assert_eq!(node.done, [done(1), done(2), done(3)]);
    assert_eq!(node.engine.role().generation, 1);
}

#[test]
fn the_newest_role_wins_and_the_older_one_hears_so() {
    let mut node = backup();
    told(
        &mut node,
        1,
        Command::Become(Role::Primary, RoleCause::Role),
    );
    node.datagrams();
    told(&mut node, 2, Command::Become(Role::Backup, RoleCause::Role));
    let sent: Vec<_> = node.datagrams().iter().flat_map(|d| seen(d)).collect();
    assert_eq!(
        node.done,
        [
            (ClientId(1), Outcome::Superseded),
            (ClientId(2), Outcome::Done)
        ]
    );
    assert_eq!(role(&node), Role::Backup);
    assert!(
        sent.iter()
            .any(|m| m.flags & Flags::RESYNC.0 != 0 && m.kind == Kind::Control),
        "a backup asks for everything: {sent:?}"
    );
    // Back again before the kernel has answered: the commit is made anew, from its start.
    told(
        &mut node,
        3,
        Command::Become(Role::Primary, RoleCause::Role),
    );
    node.datagrams();
    kernel_takes_all(&mut node);
    node.datagrams();
    assert!(node.notices.contains(&Notice::CommitInterrupted));
    assert_eq!(node.done.len(), 2, "the second commit has just begun");
    kernel_takes_all(&mut node);
    node.datagrams();
    assert_eq!(node.done[2], (ClientId(3), Outcome::Done));
}

#[test]
fn a_commit_of_the_old_kind_serves_a_primary_too() {
    let mut node = backup();
    told(&mut node, 1, Command::Commit(Scope::All));
    node.datagrams();
    told(
        &mut node,
        2,
        Command::Become(Role::Primary, RoleCause::Role),
    );
    node.datagrams();
    assert_eq!(node.kernel.len(), 1);
    kernel_takes_all(&mut node);
    node.datagrams();
    let done = |client| (ClientId(client), Outcome::Done);
    assert_eq!(node.done, [done(1), done(2)]);
}

#[test]
fn a_return_in_time_keeps_what_the_purge_would_have_deleted() {
    let mut node = Node::new(Settings {
        purge_timeout: Duration::from_secs(2),
        ..settings(FTFW)
    });
    told(&mut node, 1, Command::Become(Role::Backup, RoleCause::Role));
    told(
        &mut node,
        2,
        Command::Become(Role::Primary, RoleCause::Role),
    );
    node.datagrams();
    node.wait(Duration::from_secs(3));
    node.datagrams();
    assert!(!node.notices.contains(&Notice::PurgingKernel));
    told(&mut node, 3, Command::Become(Role::Fault, RoleCause::Role));
    node.datagrams();
    node.wait(Duration::from_secs(3));
    node.datagrams();
    assert!(node.notices.contains(&Notice::PurgingKernel));
    assert_eq!(readiness(&node), Readiness::Fault);
}

/// A node that is purging the entry of its time as primary when it has to take over again, with the entry that its peer has told.
fn purging_when_it_takes_over(filter: FlowFilter) -> Node {
    let mut node = Node::new(Settings {
        purge_timeout: Duration::from_secs(1),
        filter,
        ..settings(FTFW)
    });
    node.event(EventKind::New, 0, &flow(1));
    told(&mut node, 1, Command::Become(Role::Backup, RoleCause::Role));
    node.data(Change::New, 0x20, 1, 1);
    node.datagrams();
    node.kernel.clear();
    node.wait(Duration::from_secs(1));
    let primary = Command::Become(Role::Primary, RoleCause::Role);
    told(&mut node, 2, primary);
    node.datagrams();
    assert!(node.notices.contains(&Notice::PurgingKernel));
    node
}

/// The one request made last.
fn only_request(node: &mut Node) -> (u16, u32) {
    let asked: Vec<_> = node.kernel.drain(..).flat_map(|b| requests(&b)).collect();
    assert_eq!(asked.len(), 1, "{asked:?}");
    asked[0]
}

const NEW_FLOW: u16 = 0x100;
const GET_FLOW: u16 = 0x101;
const DELETE_FLOW: u16 = 0x102;

#[test]
fn what_a_purge_under_way_deletes_is_not_what_the_takeover_commits() {
    let mut node = purging_when_it_takes_over(FlowFilter::default());
    let (kind, seq) = only_request(&mut node);
    assert_eq!(kind, DELETE_FLOW, "the kernel has not flushed yet");
    answer(&mut node, KernelSocket::Flush, seq, 0);
    node.datagrams();
    assert_eq!(only_request(&mut node).0, NEW_FLOW);
}

#[test]
fn a_purge_of_some_entries_has_ended_before_the_takeover_commits() {
    let filter = FlowFilter {
        protocols: Some((Action::Ignore, vec![17])),
        ..FlowFilter::default()
    };
    let mut node = purging_when_it_takes_over(filter);
    let (kind, seq) = only_request(&mut node);
    assert_eq!(kind, GET_FLOW, "what is to be deleted is read");
    let mut part = Vec::new();
    let header = Header {
        seq,
        ..Header::flow_event(EventKind::New, 0)
    };
    emit::flow(&mut part, header, &flow(1));
    emit::done(&mut part, seq, 0, 0);
    node.engine
        .handle_kernel_reply(node.now, KernelSocket::Dump, &part);
    node.datagrams();
    let (kind, seq) = only_request(&mut node);
    assert_eq!(kind, DELETE_FLOW);
    answer(&mut node, KernelSocket::Flush, seq, 0);
    node.datagrams();
    assert_eq!(only_request(&mut node).0, NEW_FLOW);
}

#[test]
fn the_old_commands_show_in_the_role() {
    let mut node = backup();
    assert_eq!(role(&node), Role::Unknown);
    told(&mut node, 1, Command::SchedulePurge);
    assert_eq!(role(&node), Role::Fault);
    told(&mut node, 2, Command::RequestResync);
    assert_eq!(role(&node), Role::Backup);
    told(&mut node, 3, Command::Commit(Scope::Expectations));
    assert_eq!(role(&node), Role::Backup);
    told(&mut node, 4, Command::Commit(Scope::All));
    assert_eq!(role(&node), Role::Primary);
}

#[test]
fn a_backup_is_ready_when_the_peers_entries_have_stopped_coming() {
    let mut node = Node::new(settings(FTFW));
    told(&mut node, 1, Command::Become(Role::Backup, RoleCause::Role));
    node.datagrams();
    assert_eq!(readiness(&node), Readiness::Awaiting);
    let mut seq = 1;
    for _ in 0..3 {
        for _ in 0..500 {
            node.data(Change::New, 0x20, seq, seq as u16);
            seq += 1;
        }
        node.datagrams();
        assert!(!readiness(&node).is_ready(), "{}", readiness(&node));
        node.wait(Duration::from_millis(500));
    }
    node.wait(Duration::from_millis(500));
    assert_eq!(readiness(&node), Readiness::Synchronised);
}

#[test]
fn without_a_peer_or_a_link_there_is_nothing_to_wait_for() {
    let mut node = Node::new(settings(Mode::Notrack));
    told(&mut node, 1, Command::Become(Role::Backup, RoleCause::Role));
    assert!(!readiness(&node).is_ready());
    node.wait(Duration::from_secs(3));
    assert_eq!(readiness(&node), Readiness::NoPeer);

    let mut node = Node::new(settings(FTFW));
    let down = LinkState {
        up: true,
        running: false,
    };
    node.engine.handle_link(node.now, LinkId(0), down);
    assert_eq!(readiness(&node), Readiness::NoPeer);
    let alone = Node::new(settings(Mode::Statistics));
    assert_eq!(readiness(&alone), Readiness::Alone);
}

#[test]
fn what_the_kernel_tells_of_a_commit_during_a_bulk_is_told_on() {
    let mut node = backup();
    told(
        &mut node,
        1,
        Command::Become(Role::Primary, RoleCause::Role),
    );
    node.datagrams();
    kernel_takes_all(&mut node);
    // The bulk has begun, nothing has been sent; then the last events of the commit arrive.
    assert!(matches!(node.engine.poll_output(), Some(Output::Notice(_))));
    node.event(EventKind::New, ORIGINS.commit, &flow(1));
    let told_to_peer: Vec<_> = node.datagrams().iter().flat_map(|d| seen(d)).collect();
    assert!(
        told_to_peer.iter().any(|m| matches!(m.kind, Kind::Flow(_))),
        "{told_to_peer:?}"
    );
}

#[test]
fn what_the_kernel_refuses_is_counted_by_reason_with_samples() {
    const ENOSPC: i32 = 28;
    let mut node = Node::new(settings(FTFW));
    for number in 1..=5 {
        node.data(Change::New, 0x20, number, number as u16);
    }
    node.datagrams();
    node.kernel.clear();
    told(&mut node, 1, Command::Commit(Scope::All));
    node.datagrams();
    let work = node.engine.operations(node.now).commit.unwrap();
    assert_eq!((work.done, work.total), (0, 5));
    for (position, (_, seq)) in requests(&node.kernel.pop().unwrap())
        .into_iter()
        .enumerate()
    {
        let errno = if position == 0 { 0 } else { ENOSPC };
        answer(&mut node, KernelSocket::Commit, seq, errno);
    }
    node.datagrams();
    let operations = node.engine.operations(node.now);
    assert_eq!(operations.commit, None);
    let last = operations.last_commit.unwrap();
    assert_eq!((last.committed, last.refused), (1, 4));
    let refused = &operations.refusals[&ENOSPC];
    assert_eq!((refused.count, refused.samples.len()), (4, 3));
}

#[test]
fn a_link_that_was_down_a_moment_ago_is_no_sign_that_there_is_no_peer() {
    let mut node = Node::new(settings(FTFW));
    let down = LinkState {
        up: true,
        running: false,
    };
    node.engine.handle_link(node.now, LinkId(0), down);
    told(
        &mut node,
        1,
        Command::Become(Role::Backup, RoleCause::Keepalived),
    );
    assert_eq!(readiness(&node), Readiness::Awaiting);
    node.wait(Duration::from_millis(1500));
    assert_eq!(readiness(&node), Readiness::NoPeer);
}
