//! Somebody else on the wire: random datagrams, forged messages, and what was really said, changed and repeated.

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use netlab::{Feature, Lab, Namespace, Peer, require_feature_or_skip, require_root_or_skip};
use syncwire::{Flags, encode};

use crate::rig::{Churn, Rig, below, report, scaled};

const LIMIT: Duration = Duration::from_secs(30);
const GROUP: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(225, 0, 0, 50), 3780);
const ATTACKER: Ipv4Addr = Ipv4Addr::new(192, 168, 100, 3);

/// The pair and somebody else on a switch.
fn with_attacker() -> (Rig, Namespace) {
    let mut lab = Lab::new().unwrap();
    let [a, b, c] = ["a", "b", "c"].map(|role| lab.namespace(role).unwrap());
    lab.switch("sync", &[&a, &b, &c]).unwrap();
    c.add_addr("sync", &format!("{ATTACKER}/24")).unwrap();
    c.run("ip route add 224.0.0.0/4 dev sync").unwrap();
    (Rig::wired(lab, Peer::Ours, [a, b], |_| {}), c)
}

/// What an attacker sends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Random bytes, and control messages with random numbers.
    Made,
    /// What the nodes say to each other, with some bytes changed.
    Overheard,
}

/// Sends at full speed until it is told to stop. Returns how many datagrams.
fn attack(c: &Namespace, kind: Kind, stop: &AtomicBool) -> u64 {
    let socket = c
        .enter(|| {
            let socket = UdpSocket::bind(GROUP).unwrap();
            socket.join_multicast_v4(GROUP.ip(), &ATTACKER).unwrap();
            socket.set_multicast_loop_v4(false).unwrap();
            socket.set_nonblocking(true).unwrap();
            socket
        })
        .unwrap();
    let mut random = Random(below(u64::MAX) | 1);
    let mut overheard = Vec::new();
    let (mut sent, mut buffer) = (0, [0; 2048]);
    while !stop.load(Ordering::Relaxed) {
        let datagram = match kind {
            Kind::Made => made(&mut random),
            Kind::Overheard => {
                while let Ok(len) = socket.recv(&mut buffer) {
                    let place = random.below(64);
                    overheard.truncate(63);
                    overheard.insert(place.min(overheard.len()), buffer[..len].to_vec());
                }
                if overheard.is_empty() {
                    continue;
                }
                changed(&overheard[random.below(overheard.len())], &mut random)
            }
        };
        // The queue of the interface may be full.
        sent += u64::from(socket.send_to(&datagram, GROUP).is_ok());
    }
    sent
}

/// Random bytes, or a forged control message.
fn made(random: &mut Random) -> Vec<u8> {
    let mut bytes = Vec::new();
    let seq = random.next() as u32;
    let flags = match random.below(12) {
        0 => Flags::ACK,
        1 => Flags::NACK,
        2 => Flags::RESYNC,
        3 => Flags::ALIVE,
        _ => {
            let len = random.below(1400);
            bytes.extend((0..len).map(|_| random.next() as u8));
            // Half of them look like messages of this version.
            if let (Some(first), 0) = (bytes.first_mut(), random.below(2)) {
                *first = *first & 0x0f | 0x10;
            }
            return bytes;
        }
    };
    encode::control(
        &mut bytes,
        flags,
        seq,
        random.next() as u32,
        random.next() as u32,
    );
    bytes
}

/// The same with a few bytes changed, or cut.
fn changed(datagram: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = datagram.to_vec();
    // Not even a greeting is known to be forged.
    if random.below(64) == 0 {
        bytes.clear();
        let flags = Flags::HELLO | Flags::ALIVE;
        encode::control(&mut bytes, flags, random.next() as u32, 0, 0);
    }
    for _ in 0..random.below(4) {
        let at = random.below(bytes.len());
        bytes[at] = random.next() as u8;
    }
    if random.below(8) == 0 {
        bytes.truncate(random.below(bytes.len()));
    }
    bytes
}

/// Numbers that are quick to have.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    fn below(&mut self, limit: usize) -> usize {
        self.next() as usize % limit.max(1)
    }
}

/// Attacks for a time while traffic goes on. Returns datagrams a second, and how long an order waited at most.
fn under_attack(rig: &Rig, c: &Namespace, kind: Kind, time: Duration) -> (u64, Duration) {
    let (stop, sent) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut slowest = Duration::ZERO;
    thread::scope(|scope| {
        scope.spawn(|| sent.store(attack(c, kind, &stop), Ordering::Relaxed));
        let churn = Churn::start(&rig.a, 2000, 2000);
        let begun = Instant::now();
        while begun.elapsed() < time {
            thread::sleep(Duration::from_millis(500));
            // Whoever gives orders is still heard.
            let asked = Instant::now();
            rig.b.daemon.client(["-s"]).unwrap();
            slowest = slowest.max(asked.elapsed());
        }
        churn.finish();
        stop.store(true, Ordering::Relaxed);
    });
    (sent.into_inner() / time.as_secs().max(1), slowest)
}

#[test]
fn random_datagrams_and_forged_messages_at_full_speed() {
    require_root_or_skip!();
    require_feature_or_skip!(Feature::Conntrack);
    let (mut rig, c) = with_attacker();
    let time = Duration::from_secs(scaled(4, 600));
    let (rate, slowest) = under_attack(&rig, &c, Kind::Made, time);
    let begun = Instant::now();
    rig.nothing_lost();
    // Without a command: what the flood kept from B, and what forged greetings confused, is told again.
    rig.heals(LIMIT);
    report(
        &format!(
            "random datagrams, forged acks, nacks, resyncs for {} s",
            time.as_secs()
        ),
        begun.elapsed(),
        &format!(
            "{rate} datagrams/s; nothing was asked for; an order waited {} ms at most",
            slowest.as_millis()
        ),
    );
    let malformed = rig.b.stat("/receive/malformed_header") + rig.b.stat("/receive/bad_type");
    assert!(malformed > 0);
    let allowed = scaled(40, 3000);
    rig.a.says_little(allowed);
    rig.b.says_little(allowed);
    rig.ends_well(LIMIT);
}

#[test]
fn what_was_said_comes_again_changed() {
    require_root_or_skip!();
    require_feature_or_skip!(Feature::Conntrack);
    let (mut rig, c) = with_attacker();
    let time = Duration::from_secs(scaled(3, 60));
    let (rate, slowest) = under_attack(&rig, &c, Kind::Overheard, time);
    // Version 1 cannot tell a forged entry from a true one. Whoever asks anew is rid of it.
    let begun = Instant::now();
    rig.b.daemon.client(["-f", "external"]).unwrap();
    rig.b.daemon.client(["-n"]).unwrap();
    rig.heals(LIMIT);
    report(
        &format!(
            "overheard datagrams sent again and changed for {} s",
            time.as_secs()
        ),
        begun.elapsed(),
        &format!(
            "{rate} datagrams/s; asked by -f external and -n; an order waited {} ms at most",
            slowest.as_millis()
        ),
    );
    rig.a.daemon.client(["-f", "external"]).unwrap();
    rig.ends_well(LIMIT);
}
