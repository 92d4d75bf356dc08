//! What a peer may make a node keep and do.

mod common;

use std::time::Duration;

use common::{FTFW, Node, flow, settings};
use engine::{Mode, Notice};
use flow::filter::Network;
use syncwire::Change;

const ALIVE: u8 = 0x10;
const HELLO_BACK: u8 = 0x40;
const RESYNC: u8 = 0x02;

fn policed(mode: Mode, policy: engine::api::PolicySettings) -> Node {
    let mut settings = settings(mode);
    settings.policy = policy;
    let mut node = Node::new(settings);
    node.wait(Duration::from_secs(1));
    node.messages();
    node.control(ALIVE | HELLO_BACK, 998, 0, 0);
    node
}

fn entries(policy: flow::Policy) -> engine::api::PolicySettings {
    engine::api::PolicySettings {
        entries: policy,
        ..Default::default()
    }
}

#[test]
fn what_the_policy_forbids_is_counted_and_reaches_no_cache() {
    let networks = vec![Network {
        addr: "10.1.0.0".parse().unwrap(),
        prefix_len: 16,
    }];
    let policies = [
        flow::Policy {
            addresses: Some(networks),
            ..Default::default()
        },
        flow::Policy {
            protocols: Some(vec![17]),
            ..Default::default()
        },
        flow::Policy {
            tcp_states: Some(vec![flow::TcpState::Established]),
            ..Default::default()
        },
        flow::Policy {
            zones: Some(vec![7]),
            ..Default::default()
        },
    ];
    for policy in policies {
        let mut node = policed(FTFW, entries(policy));
        for n in 0..10 {
            node.data(Change::New, 0, 999 + u32::from(n), n);
        }
        assert_eq!(node.external(), 0);
        let snapshot = node.engine.snapshot();
        let stats = snapshot.policy;
        assert_eq!(
            stats.address + stats.protocol + stats.state + stats.zone,
            10
        );
        // The messages were heard all the same: nothing is missing or malformed.
        assert_eq!(
            (snapshot.receive.lost, snapshot.receive.malformed()),
            (0, 0)
        );
    }
    let mut node = policed(FTFW, entries(flow::Policy::default()));
    node.data(Change::New, 0, 999, 1);
    assert_eq!(node.external(), 1);
}

#[test]
fn a_peer_gets_no_more_entries_than_it_may_have() {
    let policy = engine::api::PolicySettings {
        max_entries: Some(5),
        ..Default::default()
    };
    let mut node = policed(FTFW, policy);
    for n in 0..10 {
        node.data(Change::New, 0, 999 + u32::from(n), n);
    }
    assert_eq!(node.external(), 5);
    let Some(engine::snapshot::ExternalStats::Cache(stats)) = node.engine.snapshot().external
    else {
        panic!();
    };
    assert_eq!(stats.no_space, 5);
    // What has to go goes: there is room for another.
    node.data(Change::Delete, 0, 1009, 0);
    node.data(Change::New, 0, 1010, 9);
    assert_eq!(node.external(), 5);
}

/// Data messages sent while somebody asks for everything ten times a second for a minute.
fn sent_to_a_mad_peer(interval: Duration) -> (usize, Node) {
    let policy = engine::api::PolicySettings {
        resync_interval: interval,
        ..Default::default()
    };
    let mut node = policed(Mode::Notrack, policy);
    for n in 0..100 {
        node.event(ctnetlink::EventKind::New, 0, &flow(n));
    }
    node.messages();
    let mut data = 0;
    for tick in 0..600 {
        node.control(RESYNC, 2000 + tick, 0, 0);
        node.wait(Duration::from_millis(100));
        let messages = node.messages();
        data += messages
            .iter()
            .filter(|m| matches!(m.kind, syncwire::Kind::Flow(_)))
            .count();
    }
    (data, node)
}

#[test]
fn a_mad_peer_does_not_make_a_node_work_for_ever() {
    let (all, _) = sent_to_a_mad_peer(Duration::ZERO);
    assert!(all >= 500 * 100, "{all}");
    let (data, node) = sent_to_a_mad_peer(Duration::from_secs(10));
    // Four at once and one in ten seconds, each of a hundred entries.
    assert!((900..=1000).contains(&data), "{data}");
    assert!(node.engine.snapshot().policy.resyncs_put_off > 500);
    assert!(node.notices.contains(&Notice::ResyncPutOff));
}

#[test]
fn a_request_that_came_too_soon_is_answered_later() {
    let mut node = policed(FTFW, engine::api::PolicySettings::default());
    node.event(ctnetlink::EventKind::New, 0, &flow(1));
    node.messages();
    for seq in 999..1004 {
        node.control(RESYNC, seq, 0, 0);
    }
    node.messages();
    node.wait(Duration::from_secs(9));
    node.messages();
    node.wait(Duration::from_secs(2));
    let told = node.messages();
    assert!(
        told.iter()
            .any(|m| matches!(m.kind, syncwire::Kind::Flow(_))),
        "{told:?}"
    );
}
