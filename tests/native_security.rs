//! The native dialect against strangers: keys, replays, forgeries, floods, listeners, and old protocols.

mod native;

use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use native::{ADDRS, LIMIT, Nodes, PORT, make_key};
use netlab::process::{Background, wait_until};
use netlab::require_root_or_skip;
use netlab::{Namespace, Table, sample};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

/// Of two nodes the one with the lower key does.
fn dials(own: &str, other: &str) -> bool {
    let bytes = |text| config::PublicKey::from_text(text).unwrap().0;
    bytes(own) < bytes(other)
}

#[test]
fn only_the_configured_keys_connect_and_old_protocols_get_nowhere() {
    require_root_or_skip!();
    let mut nodes = Nodes::new();
    // The file is for its owner alone, and is never written over.
    let again = make_key(&nodes.daemons[0], "key");
    assert_eq!(again, nodes.keys[0]);
    let open = nodes.daemons[0].path("open");
    std::fs::copy(nodes.daemons[0].path("key"), &open).unwrap();
    let for_all = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(&open, for_all).unwrap();
    let [key_a, key_b] = nodes.keys.clone();
    nodes.configure(0, "open", &key_b, "");
    let refused = nodes.daemons[0].launch().unwrap_err().to_string();
    assert!(refused.contains("may be read by others"), "{refused}");

    // A node with a key that nobody knows, such that somebody dials.
    let wrong = (0..1024)
        .map(|number| format!("wrong{number}"))
        .find(|file| {
            let wrong = make_key(&nodes.daemons[1], file);
            dials(&key_a, &key_b) || dials(&wrong, &key_a)
        })
        .expect("half of all keys will do");
    let link = "[[sync.link]]\ntransport = \"udp\"\ninterface = \"sync\"\nport = 3780\n\
                local_address = \"192.168.100.1\"\npeer_address = \"192.168.100.2\"\n";
    nodes.configure(0, "key", &key_b, link);
    nodes.configure(1, &wrong, &key_a, "");
    nodes.daemons[0].launch().unwrap();
    nodes.daemons[1].launch().unwrap();
    nodes.wait_for_words(0, "it has none of the keys that are configured for it");
    nodes.wait_for_words(1, "it does not accept the key of this node");
    assert_eq!(
        (nodes.state(0), nodes.state(1)),
        ("connecting".into(), "connecting".into())
    );
    assert_eq!(nodes.number(0, "connections"), 0);

    // No way back to version 1, though a link is written down; and it is said.
    nodes.wait_for_words(0, "version 1 of the protocol is off");
    let sockets = nodes.namespaces[0].run("ss -Hlun").unwrap();
    assert!(
        sockets.contains(":3781") && !sockets.contains(":3780"),
        "{sockets}"
    );
    nodes.daemons[1].stop().unwrap();
    let old = [0x10, 0, 0, 8, 0, 0, 0, 1];
    let from = SocketAddrV4::new(ADDRS[1], PORT);
    let to = SocketAddrV4::new(ADDRS[0], PORT);
    spoof(&nodes.namespaces[1], [(from, to, &old[..])]);
    nodes.wait_for_words(0, "does not go back to an older protocol");
    assert!(nodes.unanswered(0, "foreign") > 0);

    // With the right key it comes about.
    nodes.configure(1, "key", &key_a, "");
    nodes.daemons[1].launch().unwrap();
    nodes.wait_for("in_sync");
    let mut table = Table::open(&nodes.namespaces[0]).unwrap();
    table.create((0..100).map(sample::nth)).unwrap();
    nodes.wait_for_entries(100);
    assert_eq!(
        nodes.daemons[0].internal().unwrap(),
        nodes.daemons[1].external().unwrap()
    );
    let text = nodes.daemons[1].client(["peers"]).unwrap();
    for words in [
        "node0: in sync",
        "192.168.100.1:3781",
        "AES-256-GCM",
        "round trip",
    ] {
        assert!(text.contains(words), "{words}\n{text}");
    }
    for daemon in &mut nodes.daemons {
        daemon.stop().unwrap();
    }
}

#[test]
fn a_key_is_changed_while_both_nodes_run() {
    require_root_or_skip!();
    let mut nodes = Nodes::new();
    nodes.start();
    let mut table = Table::open(&nodes.namespaces[0]).unwrap();
    table.create((0..100).map(sample::nth)).unwrap();
    nodes.wait_for_entries(100);

    let [key_a, old] = nodes.keys.clone();
    let new = make_key(&nodes.daemons[1], "next");
    nodes.configure(0, "key", &format!("{old}\", \"{new}"), "");
    nodes.reload(0);
    nodes.wait_for_words(0, &format!("the keys are in force, public key {key_a}"));
    nodes.configure(1, "next", &key_a, "");
    nodes.reload(1);
    nodes.wait_for_words(1, &format!("the keys are in force, public key {new}"));
    table.create((100..200).map(sample::nth)).unwrap();
    nodes.wait_for_entries(200);
    assert_eq!(nodes.number(0, "connections"), 1);
    assert_eq!(nodes.peer(0)["public_key"], old);

    nodes.configure(0, "key", &new, "");
    nodes.reload(0);
    assert!(
        wait_until(LIMIT, || nodes.peer(0)["public_key"] == new),
        "{}",
        nodes.daemons[0].messages()
    );
    table.create((200..300).map(sample::nth)).unwrap();
    nodes.wait_for_entries(300);
    for node in [0, 1] {
        assert_eq!(nodes.number(node, "connections"), 2);
        assert_eq!(nodes.number(node, "resumed"), 1, "from where it was");
        let said = nodes.daemons[node].messages();
        assert!(!said.contains("after a restart only"), "{said}");
    }

    // A file that others may read, or that holds no key, changes nothing.
    std::fs::write(nodes.daemons[1].path("none"), "no key\n").unwrap();
    nodes.configure(1, "none", &key_a, "");
    nodes.reload(1);
    nodes.wait_for_words(1, "the keys stay as they are");
    assert_eq!(nodes.state(0), "in_sync");
    for daemon in &mut nodes.daemons {
        daemon.stop().unwrap();
    }
}

#[test]
fn listeners_replays_forgeries_and_floods_gain_nothing() {
    require_root_or_skip!("tcpdump");
    let mut nodes = Nodes::new();
    let capture = nodes.lab.dir().join("capture");
    let mut dump = nodes.namespaces[0].command("tcpdump");
    dump.args([
        "-Z",
        "root",
        "--immediate-mode",
        "-i",
        "sync",
        "-U",
        "-s0",
        "-w",
    ]);
    dump.arg(&capture);
    let said = nodes.lab.dir().join("tcpdump");
    let mut dump = Background::spawn(dump, &said).unwrap();
    let said = || std::fs::read_to_string(&said).unwrap_or_default();
    assert!(
        wait_until(LIMIT, || said().contains("listening on")),
        "{}",
        said()
    );
    nodes.start();
    let mut table = Table::open(&nodes.namespaces[0]).unwrap();
    table.create((0..5000).map(sample::nth)).unwrap();
    nodes.wait_for_entries(5000);
    dump.signal(nix::sys::signal::Signal::SIGTERM).unwrap();
    dump.wait(LIMIT).unwrap();

    // Nothing that was seen on the link tells an address of any connection; it does tell those of the nodes.
    let seen = std::fs::read(&capture).unwrap();
    assert!(seen.len() > 50_000, "{} bytes captured", seen.len());
    // Four bytes may come about by chance; two addresses beside each other do not.
    let windows: HashSet<&[u8]> = seen.windows(8).collect();
    let pair = |src: Ipv4Addr, dst: Ipv4Addr| [src.octets(), dst.octets()].concat();
    assert!(windows.contains(&pair(ADDRS[0], ADDRS[1])[..]));
    for number in 0..5000 {
        if let flow::Addrs::V4 { src, dst } = sample::nth(number).orig.addrs {
            assert!(!windows.contains(&pair(src, dst)[..]), "{src} {dst}");
        }
    }

    // Everything once more, and once more with a changed byte.
    let packets = udp_payloads(&seen);
    assert!(packets.len() > 20, "{} packets", packets.len());
    let to_b = |(from, bytes): &(Ipv4Addr, Vec<u8>)| (*from == ADDRS[0]).then(|| bytes.clone());
    let replayed: Vec<Vec<u8>> = packets.iter().filter_map(to_b).collect();
    let forged = replayed.iter().cloned().map(|mut bytes| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        bytes
    });
    let (a, b) = (
        SocketAddrV4::new(ADDRS[0], PORT),
        SocketAddrV4::new(ADDRS[1], PORT),
    );
    let all: Vec<Vec<u8>> = replayed.iter().cloned().chain(forged).collect();
    spoof(
        &nodes.namespaces[0],
        all.iter().map(|bytes| (a, b, &bytes[..])),
    );

    // First packets of handshakes at full speed, from thousands of ports and under the peer's own address, while
    // connections come and go.
    let first = replayed
        .iter()
        .chain(packets.iter().map(|(_, bytes)| bytes))
        .find(|bytes| bytes[0] & 0xf0 == 0xc0 && bytes.len() >= 1200)
        .expect("a handshake has been captured");
    let before = [0, 1].map(|node| nodes.number(node, "connections"));
    let (rate, seconds) = flows_during_the_flood();
    let until = Instant::now() + Duration::from_secs(seconds);
    let namespaces = nodes.namespaces.clone();
    let (datagrams, made) = std::thread::scope(|scope| {
        let flood = scope.spawn(|| flood(&namespaces[0], first, b, until));
        let made = make_flows(&mut table, rate, until);
        (flood.join().unwrap(), made)
    });
    let reached = u64::from(made) / seconds;
    eprintln!(
        "flood: {} datagrams a second from 60,000 ports, {reached} of {rate} flows a second meanwhile",
        datagrams / seconds
    );
    assert!(datagrams > 10_000, "{datagrams}");
    let counted = |reason| nodes.unanswered(1, reason);
    assert!(counted("retries") > 0 && counted("floods") > 1000);
    assert!(
        !is_full() || reached >= u64::from(rate) * 95 / 100,
        "only {reached} of {rate} flows a second could be made"
    );
    nodes.wait_for_entries(5000 + u64::from(made));
    nodes.wait_for("in_sync");
    assert_eq!(
        nodes.daemons[0].internal().unwrap(),
        nodes.daemons[1].external().unwrap()
    );
    for node in [0, 1] {
        // The one connection of the beginning has lived through all of it.
        assert_eq!(nodes.number(node, "connections"), before[node]);
        assert_eq!(nodes.number(node, "malformed"), 0);
    }
    for daemon in &mut nodes.daemons {
        daemon.stop().unwrap();
    }
}

/// Whether `cargo xtask faults --full` asks for it.
fn is_full() -> bool {
    std::env::var_os("FAULTS_FULL").is_some()
}

/// Flows a second, and for how many seconds.
fn flows_during_the_flood() -> (u32, u64) {
    if is_full() { (20_000, 10) } else { (10_000, 3) }
}

/// Makes flows at a rate, or as many as can be made; returns how many.
fn make_flows(table: &mut Table, rate: u32, until: Instant) -> u32 {
    // Behind those that are there already.
    const FIRST: u32 = 10_000;
    let begun = Instant::now();
    let mut made = 0;
    while Instant::now() < until {
        let due = (begun.elapsed().as_secs_f64() * f64::from(rate)) as u32;
        let numbers = FIRST + made..FIRST + due.min(made + 2000);
        made += numbers.len() as u32;
        table.create(numbers.map(sample::nth)).unwrap();
        std::thread::sleep(Duration::from_millis(2));
    }
    made
}

/// Sends first packets as fast as it goes; returns how many.
fn flood(namespace: &Namespace, first: &[u8], to: SocketAddrV4, until: Instant) -> u64 {
    let mut sent = 0u64;
    while Instant::now() < until {
        let packets: Vec<_> = (0..1000u64)
            .map(|n| {
                let mut bytes = first.to_vec();
                bytes[6..14].copy_from_slice(&(sent + n).to_be_bytes());
                // Every other one under the address that the peer really has.
                let port = if n % 2 == 0 {
                    PORT
                } else {
                    1024 + ((sent + n) % 60_000) as u16
                };
                (SocketAddrV4::new(ADDRS[0], port), bytes)
            })
            .collect();
        let count = packets.len() as u64;
        spoof(
            namespace,
            packets.iter().map(|(from, bytes)| (*from, to, &bytes[..])),
        );
        sent += count;
    }
    sent
}

/// Sends datagrams under any source address and port.
fn spoof<'a>(
    namespace: &Namespace,
    datagrams: impl IntoIterator<Item = (SocketAddrV4, SocketAddrV4, &'a [u8])>,
) {
    let packets: Vec<(SocketAddrV4, Vec<u8>)> = datagrams
        .into_iter()
        .map(|(from, to, bytes)| (to, packet(from, to, bytes)))
        .collect();
    namespace
        .enter(|| {
            let raw = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(255))).unwrap();
            for (to, packet) in &packets {
                let to = SockAddr::from(SocketAddrV4::new(*to.ip(), 0));
                // A full queue loses some, as any network.
                let _ = raw.send_to(packet, &to);
            }
        })
        .unwrap();
}

/// Headers of IPv4 (whose checksum and length the kernel fills in) and UDP (without a checksum) before the bytes.
fn packet(from: SocketAddrV4, to: SocketAddrV4, bytes: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0];
    packet.extend_from_slice(&from.ip().octets());
    packet.extend_from_slice(&to.ip().octets());
    packet.extend_from_slice(&from.port().to_be_bytes());
    packet.extend_from_slice(&to.port().to_be_bytes());
    packet.extend_from_slice(&(bytes.len() as u16 + 8).to_be_bytes());
    packet.extend_from_slice(&[0, 0]);
    packet.extend_from_slice(bytes);
    packet
}

/// The UDP payloads of a capture over Ethernet, with who sent them; datagrams sent in one piece are cut as the network
/// would see them only where they fit it.
fn udp_payloads(capture: &[u8]) -> Vec<(Ipv4Addr, Vec<u8>)> {
    let mut rest = &capture[24..];
    let mut payloads = Vec::new();
    while rest.len() > 16 {
        let len = u32::from_le_bytes(rest[8..12].try_into().unwrap()) as usize;
        let Some(frame) = rest.get(16..16 + len) else {
            break;
        };
        rest = &rest[16 + len..];
        let is_udp = frame.len() > 42 && frame[12..14] == [8, 0] && frame[14 + 9] == 17;
        if is_udp && frame.len() <= 1514 {
            let source: [u8; 4] = frame[26..30].try_into().unwrap();
            payloads.push((source.into(), frame[42..].to_vec()));
        }
    }
    payloads
}
