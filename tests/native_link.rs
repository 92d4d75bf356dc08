//! The native dialect over a bad link: loss, reordering and delay, both ways.

mod native;

use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use native::{ADDRS, Nodes, PORT};
use netlab::{Namespace, Table, require_root_or_skip, sample};

/// How long a datagram is under way, one way; every tenth takes longer, so that others overtake it.
const DELAY: Duration = Duration::from_millis(50);
const LATE: Duration = Duration::from_millis(8);

/// In percent, each way.
const LOSS: u8 = 5;

/// Address of the relay, and its ports: each node takes one of them for the other node.
const RELAY: &str = "192.168.100.3";
const PORTS: [u16; 2] = [4001, 4002];

/// Passes on what the nodes say, late.
struct Relay {
    ended: Arc<AtomicBool>,
    overtaken: Arc<AtomicU64>,
    worker: Option<std::thread::JoinHandle<()>>,
}

impl Relay {
    fn start(namespace: &Namespace) -> Self {
        namespace.add_addr("sync", &format!("{RELAY}/24")).unwrap();
        let sockets = PORTS.map(|port| {
            let open = || UdpSocket::bind((RELAY, port)).unwrap();
            let socket = namespace.enter(open).unwrap();
            socket.set_nonblocking(true).unwrap();
            socket
        });
        let (ended, overtaken) = (Arc::default(), Arc::default());
        let worker = std::thread::spawn({
            let (ended, overtaken) = (Arc::clone(&ended), Arc::clone(&overtaken));
            move || relay(&sockets, &ended, &overtaken)
        });
        Self {
            ended,
            overtaken,
            worker: Some(worker),
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(worker) = self.worker.take() {
            let _ = worker.join();
        }
    }
}

/// What comes to the one socket leaves by the other.
fn relay(sockets: &[UdpSocket; 2], ended: &AtomicBool, overtaken: &AtomicU64) {
    let mut under_way: BTreeMap<(Instant, u64), (usize, Vec<u8>)> = BTreeMap::new();
    let mut buffer = [0; 2048];
    let (mut count, mut newest) = (0, [0; 2]);
    while !ended.load(Ordering::Relaxed) {
        let now = Instant::now();
        for (from, socket) in sockets.iter().enumerate() {
            while let Ok(len) = socket.recv(&mut buffer) {
                count += 1;
                let due = now + if count % 10 == 0 { DELAY + LATE } else { DELAY };
                under_way.insert((due, count), (1 - from, buffer[..len].to_vec()));
            }
        }
        while let Some(entry) = under_way.first_entry().filter(|entry| entry.key().0 <= now) {
            let ((_, number), (by, bytes)) = entry.remove_entry();
            if number < newest[by] {
                overtaken.fetch_add(1, Ordering::Relaxed);
            }
            newest[by] = newest[by].max(number);
            // Node 0 knows the first port, node 1 the second: the second socket is the one that node 1 hears.
            let to = SocketAddr::from((ADDRS[by], PORT));
            let _ = sockets[by].send_to(&bytes, to);
        }
        std::thread::sleep(Duration::from_micros(500));
    }
}

#[test]
fn loss_reordering_and_delay_are_seen_in_the_numbers_and_nowhere_else() {
    require_root_or_skip!();
    let mut nodes = Nodes::new();
    nodes.namespaces[1].untrack("lo").unwrap();
    let relay = Relay::start(&nodes.namespaces[1]);
    // Node 1 is reached by node 0 at the port that node 0 is heard at, and the other way round.
    nodes.reached_at = [
        format!("{RELAY}:{}", PORTS[1]),
        format!("{RELAY}:{}", PORTS[0]),
    ];
    nodes.start();
    for namespace in &nodes.namespaces {
        namespace.lose("sync", LOSS).unwrap();
    }
    let mut table = Table::open(&nodes.namespaces[0]).unwrap();
    let lost = |nodes: &Nodes| {
        let each = nodes.namespaces.each_ref();
        each.map(|namespace| namespace.lost().unwrap())
    };
    let mut number = 0;
    let begun = Instant::now();
    // Chance decides which packets are lost, and one node says little: it goes on until all of it was seen.
    let seen = |nodes: &Nodes| {
        lost(nodes).iter().all(|lost| *lost > 0)
            && relay.overtaken.load(Ordering::Relaxed) > 10
            && nodes.peer(0)["lost_packets"].as_u64() > Some(0)
    };
    while begun.elapsed() < Duration::from_secs(5) || !seen(&nodes) {
        assert!(
            begun.elapsed() < Duration::from_secs(40),
            "{:?}",
            lost(&nodes)
        );
        table
            .create((number..number + 20).map(sample::nth))
            .unwrap();
        // Of what was made a while ago half ends.
        if number >= 1000 {
            let ending = number - 1000..number - 990;
            table
                .delete(ending.map(|number| sample::nth(number).key()))
                .unwrap();
        }
        number += 20;
        std::thread::sleep(Duration::from_millis(10));
    }
    let peer = nodes.peer(0);
    let seconds = |value: &serde_json::Value| value.as_f64().unwrap_or_default();
    let (p50, p99) = (
        seconds(&peer["replication"]["p50_s"]),
        seconds(&peer["replication"]["p99_s"]),
    );
    let round_trip = seconds(&peer["round_trip_s"]);
    eprintln!("{number} flows: lag p50 {p50:.3} s, p99 {p99:.3} s, round trip {round_trip:.3} s");
    // There and back again, and with what had to be said twice.
    let there_and_back = 2.0 * DELAY.as_secs_f64();
    assert!((there_and_back..2.0).contains(&p50), "{peer}");
    assert!(p99 >= p50 && p99 < 10.0, "{peer}");
    assert!((there_and_back..1.0).contains(&round_trip), "{peer}");
    let overtaken = relay.overtaken.load(Ordering::Relaxed);
    eprintln!("lost {:?}, overtaken {overtaken}", lost(&nodes));

    // The link stays as bad as it is.
    nodes.wait_for_entries(table.len().unwrap() as u64);
    nodes.wait_for("in_sync");
    assert_eq!(
        nodes.daemons[0].internal().unwrap(),
        nodes.daemons[1].external().unwrap()
    );
    for node in [0, 1] {
        assert_eq!(nodes.number(node, "malformed"), 0);
        assert_eq!(nodes.number(node, "connections"), 1);
    }
    for daemon in &mut nodes.daemons {
        daemon.stop().unwrap();
    }
}
