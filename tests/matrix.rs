//! Our daemon and the original as peers in every mode, over every kind of link, each in either role.

#[path = "matrix/expectations.rs"]
mod expectations;
#[path = "matrix/links.rs"]
mod links;
#[path = "matrix/nodes.rs"]
mod nodes;

use std::time::Duration;

use flow::{Flow, ProtoInfo, TcpState};
use links::Transport::{self, Multicast, Tcp, Udp};
use netlab::{Feature, Peer, require_feature_or_skip, require_root_or_skip, sample};
use nodes::External::{self, Cached, Direct};
use nodes::Mode::{self, Alarm, Ftfw, Notrack};
use nodes::{Nodes, Setup};

/// The next thing that happens to an entry: TCP goes on closing, the mark changes.
fn changed(flow: &Flow) -> Flow {
    let mut update = Flow::new(flow.orig);
    update.reply = flow.reply;
    update.zone = flow.zone;
    update.timeout_s = Some(1800);
    update.mark = Some(99);
    if let ProtoInfo::Tcp(mut tcp) = flow.proto {
        tcp.state = Some(TcpState::TimeWait);
        update.proto = ProtoInfo::Tcp(tcp);
    }
    update
}

/// Creates, changes and deletes of every kind of entry, with an FTP session and what it expects.
fn mixed_load(setup: Setup, active: Peer, standby: Peer) {
    let mut nodes = Nodes::start(setup, active, standby);
    let kinds = sample::every_kind();
    let many: Vec<_> = (0..300).map(sample::nth).collect();
    nodes.create(&kinds);
    let _session = expectations::Session::open(nodes.active.namespace());
    nodes.create(&many[..200]);
    nodes.in_step("after create");
    assert_eq!(
        expectations::in_kernel(nodes.active.namespace()).len(),
        1,
        "nothing is expected"
    );

    assert_eq!(
        nodes::masters(&nodes.active_table).len(),
        1,
        "no data connection"
    );

    nodes.update(kinds.iter().step_by(2).map(changed));
    let (gone, _) = kinds.split_at(kinds.len() / 3);
    nodes.delete(gone);
    nodes.update(many[..100].iter().map(changed));
    nodes.delete(&many[50..150]);
    nodes.create(&many[200..]);
    nodes.in_step("after update, delete and create");
    nodes.commit("after everything");
}

/// Many small datagrams with everything in them, some of which do not arrive.
fn loss(percent: u8, setup: Setup, active: Peer, standby: Peer) {
    let mut nodes = Nodes::start(setup, active, standby);
    if setup.mode == Ftfw {
        nodes.greeted();
    }
    for daemon in [&nodes.active, &nodes.standby] {
        daemon.namespace().lose("sync0", percent).unwrap();
    }
    let lost = |nodes: &Nodes| nodes.standby.namespace().lost().unwrap();
    let mut flows = (0..20_000).map(sample::nth);
    let mut made = 0;
    // Chance may spare what little traffic is needed.
    while made < 2000 || lost(&nodes) == 0 {
        let some: Vec<_> = flows.by_ref().take(20).collect();
        assert!(!some.is_empty(), "no datagram was lost");
        made += some.len();
        nodes.create(&some);
        nodes.update(some.iter().step_by(3).map(changed));
        nodes.delete(&some[..4]);
        // Many datagrams instead of few full ones.
        std::thread::sleep(Duration::from_millis(5));
    }
    nodes.in_step("with loss");
    nodes.commit("after loss");
}

/// The first link goes down and comes back, with traffic all the time.
fn link_failover(transport: Transport, active: Peer, standby: Peer) {
    let setup = Setup {
        links: 2,
        ..single(Ftfw, transport, false, Cached)
    };
    let mut nodes = Nodes::start(setup, active, standby);
    let flows: Vec<_> = (0..900).map(sample::nth).collect();
    nodes.create(&flows[..100]);
    nodes.in_step("over the first link");
    for (up, part) in [(false, 100..500), (true, 500..900)] {
        let before = nodes.active.namespace().clone();
        for (round, some) in flows[part.clone()].chunks(20).enumerate() {
            if round == 5 {
                before.set_link("sync0", up).unwrap();
            }
            nodes.create(some);
            nodes.update(some.iter().step_by(2).map(changed));
            std::thread::sleep(Duration::from_millis(5));
        }
        nodes.in_step(if up { "link back" } else { "link down" });
    }
    nodes.commit("after both");
}

fn kill_standby(setup: Setup, active: Peer, standby: Peer) {
    let mut nodes = Nodes::start(setup, active, standby);
    let flows: Vec<_> = (0..500).map(sample::nth).collect();
    nodes.create(&flows[..250]);
    nodes.in_step("before the crash");
    nodes.crash_standby(|nodes| {
        nodes.create(&flows[250..]);
        // What went directly into the kernel stays there: version 1 of the protocol cannot say what has gone meanwhile.
        if setup.external == Cached {
            nodes.delete(&flows[..50]);
        }
    });
    nodes.standby.client(["-n"]).unwrap();
    nodes.in_step("after -n");
    nodes.update(flows[100..400].iter().map(changed));
    nodes.delete(&flows[400..]);
    nodes.in_step("going on after the restart");
    nodes.commit("after the restart");
}

fn kill_active(setup: Setup, active: Peer, standby: Peer) {
    let mut nodes = Nodes::start(setup, active, standby);
    let flows: Vec<_> = (0..500).map(sample::nth).collect();
    nodes.create(&flows[..250]);
    nodes.in_step("before the crash");
    // Nothing is deleted meanwhile: version 1 of the protocol cannot say what a peer should have forgotten.
    nodes.crash_active(|nodes| nodes.create(&flows[250..400]));
    nodes.active.client(["-B"]).unwrap();
    nodes.in_step("after -B");
    nodes.create(&flows[400..]);
    nodes.delete(&flows[..100]);
    nodes.in_step("going on after the restart");
    nodes.commit("after the restart");
}

fn single(mode: Mode, transport: Transport, v6: bool, external: External) -> Setup {
    Setup {
        mode,
        transport,
        v6,
        external,
        links: 1,
    }
}

fn ftfw(transport: Transport, v6: bool, external: External) -> Setup {
    single(Ftfw, transport, v6, external)
}

/// A test of each case, with ours in either role and the original in the other.
macro_rules! with_the_original {
    ($($name:ident: $function:ident($($argument:expr),*);)*) => {
        mod ours_active {
            use super::*;
            $(#[test] fn $name() { guarded(|| $function($($argument,)* Peer::Ours, Peer::Original)); })*
        }
        mod original_active {
            use super::*;
            $(#[test] fn $name() { guarded(|| $function($($argument,)* Peer::Original, Peer::Ours)); })*
        }
    };
}

/// A test of each case between two of ours.
macro_rules! among_ours {
    ($($name:ident: $function:ident($($argument:expr),*);)*) => {
        mod ours_both {
            use super::*;
            $(#[test] fn $name() { guarded(|| $function($($argument,)* Peer::Ours, Peer::Ours)); })*
        }
    };
}

with_the_original! {
    notrack_multicast_ipv4: mixed_load(single(Notrack, Multicast, false, Cached));
    notrack_multicast_ipv6: mixed_load(single(Notrack, Multicast, true, Cached));
    notrack_udp_ipv4: mixed_load(single(Notrack, Udp, false, Cached));
    notrack_udp_ipv6: mixed_load(single(Notrack, Udp, true, Cached));
    notrack_tcp_ipv4: mixed_load(single(Notrack, Tcp, false, Cached));
    notrack_tcp_ipv6: mixed_load(single(Notrack, Tcp, true, Cached));
    notrack_direct_multicast_ipv4: mixed_load(single(Notrack, Multicast, false, Direct));
    notrack_direct_multicast_ipv6: mixed_load(single(Notrack, Multicast, true, Direct));
    notrack_direct_udp_ipv4: mixed_load(single(Notrack, Udp, false, Direct));
    notrack_direct_udp_ipv6: mixed_load(single(Notrack, Udp, true, Direct));
    notrack_direct_tcp_ipv4: mixed_load(single(Notrack, Tcp, false, Direct));
    notrack_direct_tcp_ipv6: mixed_load(single(Notrack, Tcp, true, Direct));
    alarm_multicast_ipv4: mixed_load(single(Alarm, Multicast, false, Cached));
    alarm_multicast_ipv6: mixed_load(single(Alarm, Multicast, true, Cached));
    alarm_udp_ipv4: mixed_load(single(Alarm, Udp, false, Cached));
    alarm_udp_ipv6: mixed_load(single(Alarm, Udp, true, Cached));
    alarm_tcp_ipv4: mixed_load(single(Alarm, Tcp, false, Cached));
    alarm_tcp_ipv6: mixed_load(single(Alarm, Tcp, true, Cached));
    ftfw_multicast_ipv4: mixed_load(single(Ftfw, Multicast, false, Cached));
    ftfw_multicast_ipv6: mixed_load(single(Ftfw, Multicast, true, Cached));
    ftfw_udp_ipv4: mixed_load(single(Ftfw, Udp, false, Cached));
    ftfw_udp_ipv6: mixed_load(single(Ftfw, Udp, true, Cached));
    ftfw_tcp_ipv4: mixed_load(single(Ftfw, Tcp, false, Cached));
    ftfw_tcp_ipv6: mixed_load(single(Ftfw, Tcp, true, Cached));
    ftfw_direct_multicast_ipv4: mixed_load(single(Ftfw, Multicast, false, Direct));
    ftfw_direct_multicast_ipv6: mixed_load(single(Ftfw, Multicast, true, Direct));
    ftfw_direct_udp_ipv4: mixed_load(single(Ftfw, Udp, false, Direct));
    ftfw_direct_udp_ipv6: mixed_load(single(Ftfw, Udp, true, Direct));
    ftfw_direct_tcp_ipv4: mixed_load(single(Ftfw, Tcp, false, Direct));
    ftfw_direct_tcp_ipv6: mixed_load(single(Ftfw, Tcp, true, Direct));
    ftfw_with_1_percent_loss: loss(1, ftfw(Udp, false, Cached));
    ftfw_with_5_percent_loss: loss(5, ftfw(Udp, false, Cached));
    ftfw_with_20_percent_loss: loss(20, ftfw(Udp, false, Cached));
    ftfw_with_5_percent_loss_ipv6: loss(5, ftfw(Udp, true, Cached));
    ftfw_with_20_percent_loss_multicast_ipv6: loss(20, ftfw(Multicast, true, Cached));
    ftfw_direct_with_5_percent_loss: loss(5, ftfw(Udp, false, Direct));
    ftfw_direct_with_20_percent_loss_ipv6: loss(20, ftfw(Udp, true, Direct));
    alarm_with_5_percent_loss: loss(5, single(Alarm, Udp, false, Cached));
    ftfw_link_failover_multicast: link_failover(Multicast);
    ftfw_link_failover_udp: link_failover(Udp);
    ftfw_killed_standby_udp: kill_standby(ftfw(Udp, false, Cached));
    ftfw_killed_standby_tcp: kill_standby(ftfw(Tcp, false, Cached));
    ftfw_killed_standby_multicast_ipv6: kill_standby(ftfw(Multicast, true, Cached));
    ftfw_direct_killed_standby_udp: kill_standby(ftfw(Udp, false, Direct));
    ftfw_killed_active_udp: kill_active(ftfw(Udp, false, Cached));
    ftfw_killed_active_tcp: kill_active(ftfw(Tcp, false, Cached));
    ftfw_killed_active_multicast_ipv6: kill_active(ftfw(Multicast, true, Cached));
    ftfw_direct_killed_active_udp: kill_active(ftfw(Udp, false, Direct));
}

// What both roles with the original do not show already: what only ours do with each other.
among_ours! {
    notrack_direct_tcp_ipv6: mixed_load(single(Notrack, Tcp, true, Direct));
    alarm_multicast_ipv6: mixed_load(single(Alarm, Multicast, true, Cached));
    ftfw_multicast_ipv4: mixed_load(ftfw(Multicast, false, Cached));
    ftfw_udp_ipv6: mixed_load(ftfw(Udp, true, Cached));
    ftfw_direct_tcp_ipv4: mixed_load(ftfw(Tcp, false, Direct));
    ftfw_with_20_percent_loss: loss(20, ftfw(Udp, false, Cached));
    ftfw_direct_with_20_percent_loss: loss(20, ftfw(Udp, false, Direct));
    ftfw_link_failover_multicast: link_failover(Multicast);
    ftfw_link_failover_tcp: link_failover(Tcp);
    ftfw_killed_standby_tcp: kill_standby(ftfw(Tcp, false, Cached));
    ftfw_killed_active_tcp: kill_active(ftfw(Tcp, false, Cached));
}

fn guarded(case: impl FnOnce()) {
    require_root_or_skip!("conntrackd");
    require_feature_or_skip!(
        Feature::Conntrack,
        Feature::Nat,
        Feature::Labels,
        Feature::Zones,
        Feature::Random,
        Feature::FtpHelper,
    );
    case();
}
