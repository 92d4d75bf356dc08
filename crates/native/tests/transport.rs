//! Connections between nodes: who may, what is lost, what is carried on.

mod net;

use std::time::Duration;

use native::keys::PrivateKey;
use native::transport::{Closed, Failure};
use net::{Datagram, Net, PEER, address, key, peer, settings, two_keys};

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|n| (n * 7 + n / 251) as u8).collect()
}

/// Has the first node write and the second read.
fn carry(net: &mut Net, len: usize) {
    let bytes = pattern(len);
    net.nodes[1].got.clear();
    net.nodes[0].to_write = bytes.clone();
    net.run_until("everything has arrived", |net| {
        net.nodes[1].got.len() >= len
    });
    assert!(net.nodes[1].got == bytes, "other bytes than were written");
}

#[test]
fn two_nodes_connect_and_carry_a_stream_each_way() {
    let mut net = Net::pair();
    net.connect();
    assert!(net.since_start() < Duration::from_millis(50));
    net.nodes[1].to_write = pattern(1000);
    carry(&mut net, 2_000_000);
    net.run_until("the other way too", |net| net.nodes[0].got == pattern(1000));
    for at in [0, 1] {
        let report = net.transport(at).report(PEER);
        assert!(report.is_connected);
        assert_eq!(report.connections, 1);
        assert_eq!(report.address, Some(address(2 - at as u8, 0)));
    }
}

#[test]
fn loss_reordering_and_delay_change_nothing_but_the_time() {
    let mut net = Net::pair();
    net.loss = 50;
    net.delay = Duration::from_millis(50);
    net.jitter = Duration::from_millis(5);
    net.connect();
    carry(&mut net, 300_000);
    assert_eq!(net.nodes[0].closed, []);
    assert!(net.transport(0).report(PEER).lost_packets > 0);
}

#[test]
fn a_node_with_a_wrong_key_gets_no_connection_and_both_say_so() {
    // Whichever of the two is the stranger, the one that dials or the one that accepts.
    for stranger in [0, 1] {
        let mut net = Net::pair();
        let keys = two_keys();
        let other = 1 - stranger;
        // A key that keeps the roles.
        let wrong = (3..=255)
            .map(key)
            .find(|wrong| (wrong.public() < keys[other].public()) == (stranger == 0))
            .unwrap();
        let known = peer(&[address(1 + other as u8, 0)], &[&keys[other]]);
        net.change(stranger, settings(&wrong, vec![known]));
        net.run(Duration::from_secs(5));
        assert!(net.nodes.iter().all(|node| node.opened == 0));
        assert!(net.nodes[other].failures.contains(&Failure::WrongKey));
        assert!(net.nodes[stranger].failures.contains(&Failure::KeyRefused));
        // Not without pause.
        assert!(net.captured.len() < 200, "{} datagrams", net.captured.len());
    }
}

#[test]
fn a_key_counts_only_for_the_peer_it_is_configured_for() {
    let mut net = Net::new();
    let mut keys: Vec<PrivateKey> = (1..4).map(key).collect();
    keys.sort_by_key(PrivateKey::public);
    let [low, middle, high] = [&keys[0], &keys[1], &keys[2]];
    // The second expects the first's key at another address.
    net.add(
        settings(low, vec![peer(&[address(2, 0)], &[high])]),
        &[address(1, 0)],
    );
    let peers = vec![
        peer(&[address(1, 0)], &[middle]),
        peer(&[address(3, 0)], &[low]),
    ];
    net.add(settings(high, peers), &[address(2, 0)]);
    net.run(Duration::from_secs(5));
    assert_eq!(net.nodes[1].opened, 0);
    assert!(net.nodes[1].failures.contains(&Failure::WrongKey));
}

#[test]
fn keys_are_changed_without_interruption() {
    let [old, other] = two_keys();
    let mut net = Net::pair();
    net.connect();
    // Another accepts both keys, then the key is changed, then the old one is struck out.
    let both = |key: &PrivateKey| peer(&[address(1, 0)], &[&old, key]);
    for new in [key(9), key(10), key(11), key(12)] {
        net.change(1, settings(&other, vec![both(&new)]));
        net.connect();
        // Where both come to dial, one of two connections gives way.
        net.run(Duration::from_secs(1));
        carry(&mut net, 1000);
        let known = peer(&[address(2, 0)], &[&other]);
        net.change(0, settings(&new, vec![known]));
        net.run_until("it is known by the new key", |net| {
            let transport = net.nodes[1].transport.as_ref().unwrap();
            transport.report(PEER).key == Some(new.public())
        });
        net.run(Duration::from_secs(1));
        let opened = net.nodes[1].opened;
        carry(&mut net, 1000);
        net.run(Duration::from_secs(20));
        assert_eq!(net.nodes[1].opened, opened, "the connection does not stay");
        net.change(0, settings(&old, vec![peer(&[address(2, 0)], &[&other])]));
        net.connect();
    }
}

#[test]
fn keys_are_changed_while_both_nodes_run() {
    let [low, high] = two_keys();
    // Whoever changes its key, and whoever dials before and after.
    for (at, old, other) in [(0, &low, &high), (1, &high, &low)] {
        for new in [key(9), key(10), key(11), key(12)] {
            let mut net = Net::pair();
            net.connect();
            let there = 1 - at;
            let public = |keys: &[&PrivateKey]| vec![keys.iter().map(|key| key.public()).collect()];
            net.set_keys(there, other, public(&[old, &new]));
            net.set_keys(at, &new, public(&[other]));
            carry(&mut net, 1000);
            assert_eq!(net.nodes[there].opened, 1, "nothing has been cut");
            assert_eq!(net.transport(there).report(PEER).key, Some(old.public()));

            net.set_keys(there, other, public(&[&new]));
            let struck = net.now;
            net.run_until("it is known by the new key", |net| {
                let report = net.nodes[there].transport.as_ref().unwrap().report(PEER);
                report.is_connected && report.key == Some(new.public())
            });
            assert!(net.now - struck < Duration::from_millis(100));
            assert_eq!(net.nodes[there].closed, [Closed::KeyStruck]);
            assert_eq!(net.nodes[at].closed, [Closed::KeyStruck]);
            carry(&mut net, 1000);

            // A key that the other end does not know of is refused, and tried again.
            net.set_keys(there, other, public(&[old]));
            net.run(Duration::from_secs(5));
            assert!(!net.transport(there).report(PEER).is_connected);
            net.set_keys(there, other, public(&[&new]));
            net.connect();
            carry(&mut net, 1000);
        }
    }
}

#[test]
fn a_connection_goes_on_under_new_session_keys() {
    let mut net = Net::pair();
    net.connect();
    for _ in 0..5 {
        let now = net.now;
        net.transport(0).renew_keys(now, PEER);
        carry(&mut net, 10_000);
    }
    assert_eq!((net.nodes[0].opened, net.nodes[1].opened), (1, 1));
}

#[test]
fn a_stranger_is_heard_by_nobody() {
    let mut net = Net::pair();
    net.connect();
    let first = net.captured[0].clone();
    for port in 1..2000 {
        let mut from = address(1, 0);
        from.set_port(port);
        net.send(Datagram {
            from,
            ..first.clone()
        });
    }
    net.run(Duration::from_millis(100));
    assert_eq!(net.transport(1).refusals().strangers, 1999);
    assert!(net.captured.iter().all(|sent| sent.to.port() == 3781));
}

/// First packets under the address of a peer, each a new attempt.
fn flood(net: &mut Net, count: u16) {
    let first = net.captured[0].clone();
    for n in 0..count {
        let mut bytes = first.bytes.clone();
        // The identifier of the connection; a wrong one makes the packet unreadable, but not before it is tried.
        bytes[6..8].copy_from_slice(&n.to_be_bytes());
        net.send(Datagram {
            bytes,
            ..first.clone()
        });
    }
}

#[test]
fn a_flood_of_first_packets_is_looked_at_in_bounded_number_and_disturbs_no_connection() {
    let mut net = Net::pair();
    net.connect();
    for _ in 0..10 {
        flood(&mut net, 5000);
        carry(&mut net, 10_000);
    }
    let refusals = net.transport(1).refusals();
    assert!(refusals.floods > 45_000, "{refusals:?}");
    assert_eq!((net.nodes[1].opened, net.nodes[1].closed.len()), (1, 0));
}

#[test]
fn the_address_is_proved_before_a_handshake_costs_anything() {
    let mut net = Net::pair();
    net.connect();
    assert_eq!(net.transport(1).refusals().retries, 1);
    // The same first packet again, as from one who cannot receive: a Retry for each, and nothing is kept.
    let first = net.captured[0].clone();
    let sent = net.captured.len();
    for _ in 0..100 {
        net.send(first.clone());
    }
    net.run(Duration::from_millis(20));
    assert_eq!(net.transport(1).refusals().retries, 101);
    let answers: Vec<_> = net.captured[sent..]
        .iter()
        .filter(|datagram| datagram.from == address(2, 0) && datagram.bytes[0] & 0xf0 == 0xf0)
        .collect();
    assert!(answers.len() <= 100);
    // Answers are shorter than questions: nobody can be flooded through this node.
    assert!(
        answers
            .iter()
            .all(|answer| answer.bytes.len() < first.bytes.len() / 4)
    );
    assert_eq!(net.nodes[1].opened, 1);
}

#[test]
fn replayed_and_forged_packets_do_nothing() {
    let mut net = Net::pair();
    net.connect();
    carry(&mut net, 20_000);
    let captured = net.captured.clone();
    net.nodes[1].got.clear();
    for datagram in &captured {
        net.send(datagram.clone());
        let mut forged = datagram.clone();
        let middle = forged.bytes.len() / 2;
        forged.bytes[middle] ^= 1;
        net.send(forged);
    }
    net.run(Duration::from_secs(1));
    assert_eq!(net.nodes[1].got, []);
    assert_eq!((net.nodes[0].opened, net.nodes[1].opened), (1, 1));
    carry(&mut net, 20_000);
    assert_eq!(
        (net.nodes[0].closed.len(), net.nodes[1].closed.len()),
        (0, 0)
    );
}

#[test]
fn nothing_of_a_stream_can_be_read_on_the_way() {
    let mut net = Net::pair();
    net.connect();
    carry(&mut net, 50_000);
    let secret = &pattern(50_000)[1000..1016];
    let seen = |datagram: &Datagram| datagram.bytes.windows(16).any(|part| part == secret);
    assert!(!net.captured.iter().any(seen));
}

#[test]
fn when_a_link_goes_silent_the_next_address_takes_over() {
    let mut net = Net::new();
    let [low, high] = two_keys();
    let links = |n| [address(n, 0), address(n, 1)];
    net.add(settings(&low, vec![peer(&links(2), &[&high])]), &links(1));
    net.add(settings(&high, vec![peer(&links(1), &[&low])]), &links(2));
    net.connect();
    carry(&mut net, 1000);
    assert_eq!(net.transport(1).report(PEER).address, Some(address(1, 0)));

    net.down.insert(address(1, 0));
    let went_down = net.now;
    net.run_until("both have noticed", |net| {
        net.nodes.iter().all(|node| !node.closed.is_empty())
    });
    net.connect();
    assert!(net.now - went_down < Duration::from_secs(5));
    carry(&mut net, 1000);
    assert_eq!(net.transport(1).report(PEER).address, Some(address(1, 1)));
    assert_eq!(net.nodes[0].closed, [Closed::Silent]);

    // And back.
    net.down.clear();
    net.down.insert(address(2, 1));
    net.run_until("both have noticed", |net| {
        net.nodes.iter().all(|node| node.closed.len() == 2)
    });
    net.connect();
    assert_eq!(net.transport(0).report(PEER).address, Some(address(2, 0)));
}

#[test]
fn a_restarted_node_is_noticed_at_once() {
    for restarted in [0, 1] {
        let mut net = Net::pair();
        net.connect();
        net.run(Duration::from_secs(5));
        net.start(restarted);
        let at = net.now;
        net.run_until("there is a new connection", |net| {
            net.nodes[1 - restarted].opened == 2 && !net.nodes[restarted].is_open.is_empty()
        });
        let took = net.now - at;
        assert!(took < Duration::from_millis(1500), "{restarted}: {took:?}");
        carry(&mut net, 1000);
        let reason = net.nodes[1 - restarted].closed[0].clone();
        assert!(matches!(reason, Closed::Restarted | Closed::Replaced));
    }
}

#[test]
fn an_end_tells_when_the_peer_was_heard_last_whatever_others_send_in_its_name() {
    let mut net = Net::pair();
    net.connect();
    net.run(Duration::from_secs(5));
    net.captured.clear();
    net.run(Duration::from_secs(1));
    let mut of_peer = net.captured.iter().filter(|d| d.from == address(2, 0));
    let of_peer = of_peer.next_back().unwrap().clone();
    net.stop(1);
    let stopped = net.now;
    for _ in 0..20 {
        net.run(Duration::from_millis(100));
        net.send(of_peer.clone());
    }
    net.run_until("the silence is noticed", |net| {
        net.nodes[0].heard_at.is_some()
    });
    assert_eq!(net.nodes[0].closed, [Closed::Silent]);
    let heard_at = net.nodes[0].heard_at.unwrap();
    let before = stopped.saturating_duration_since(heard_at);
    let after = heard_at.saturating_duration_since(stopped);
    // Somebody living says something every 750 ms.
    assert!(before < Duration::from_secs(1), "{before:?} before its end");
    assert!(after < Duration::from_millis(20), "{after:?} after its end");
}

#[test]
fn a_node_that_ends_says_so() {
    let mut net = Net::pair();
    net.connect();
    let now = net.now;
    net.transport(1).close(now);
    net.run(Duration::from_millis(100));
    assert_eq!(net.nodes[0].closed, [Closed::ByPeer]);
    assert_eq!(net.nodes[1].closed, [Closed::ByUs]);
    // It accepts nobody from now on, and is dialled with pauses.
    net.run(Duration::from_secs(10));
    assert_eq!(net.nodes[0].opened, 1);
    net.start(1);
    net.connect();
}

#[test]
fn a_peer_that_takes_nothing_fills_its_room_and_no_more() {
    let mut net = Net::pair();
    net.connect();
    net.stop(1);
    let (now, bytes) = (net.now, pattern(100_000));
    let mut taken = 0;
    while net.transport(0).room(PEER) > 0 {
        taken += net.transport(0).write(now, PEER, &bytes);
        assert!(taken < 8_000_000, "it takes without end");
    }
    assert_eq!(net.transport(0).write(now, PEER, &bytes), 0);
    net.run(Duration::from_secs(5));
    assert_eq!(net.nodes[0].closed, [Closed::Silent]);
    assert_eq!(net.transport(0).room(PEER), 0);
}

#[test]
fn room_comes_back_as_the_peer_reads() {
    let mut net = Net::pair();
    net.delay = Duration::from_millis(20);
    net.connect();
    carry(&mut net, 12_000_000);
}

#[test]
fn three_nodes_have_a_connection_each() {
    let mut net = Net::new();
    let keys: Vec<PrivateKey> = (1..4).map(key).collect();
    for at in 0..3usize {
        let others = (0..3).filter(|&other| other != at);
        let peers = others.map(|other| peer(&[address(other as u8 + 1, 0)], &[&keys[other]]));
        net.add(
            settings(&keys[at], peers.collect()),
            &[address(at as u8 + 1, 0)],
        );
    }
    net.run_until("all are connected", |net| {
        net.nodes.iter().all(|node| node.is_open.len() == 2)
    });
}

#[test]
fn no_bytes_from_a_peers_address_break_the_transport() {
    let mut net = Net::pair();
    net.connect();
    carry(&mut net, 5000);
    let captured = net.captured.clone();
    let mut random = 1u64;
    for round in 0..2000 {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let mut datagram = captured[round % captured.len()].clone();
        let at = random as usize % datagram.bytes.len();
        datagram.bytes[at] = (random >> 32) as u8;
        datagram
            .bytes
            .truncate(1 + (random >> 40) as usize % datagram.bytes.len());
        net.send(datagram);
    }
    net.run(Duration::from_secs(2));
    carry(&mut net, 5000);
    assert_eq!((net.nodes[0].opened, net.nodes[1].opened), (1, 1));
}
