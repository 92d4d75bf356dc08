//! The native dialect against strangers: keys, replays, forgeries, floods, listeners, and old protocols.

use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use netlab::process::{Background, wait_until};
use netlab::require_root_or_skip;
use netlab::{Daemon, Lab, Namespace, NodeConfig, Peer, Table, sample};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

const LIMIT: Duration = Duration::from_secs(20);

const ADDRS: [Ipv4Addr; 2] = [
    Ipv4Addr::new(192, 168, 100, 1),
    Ipv4Addr::new(192, 168, 100, 2),
];

const PORT: u16 = 3781;

/// Two nodes on a cable.
struct Nodes {
    daemons: [Daemon; 2],
    namespaces: [Namespace; 2],
    keys: [String; 2],
    lab: Lab,
}

impl Nodes {
    /// With keys made, and nothing configured or started.
    fn new() -> Self {
        let mut lab = Lab::new().unwrap();
        let namespaces = ["a", "b"].map(|role| lab.namespace(role).unwrap());
        let [a, b] = &namespaces;
        lab.cable((a, "sync"), (b, "sync")).unwrap();
        let program = Peer::Ours.program().unwrap();
        let mut daemons = Vec::new();
        for (namespace, addr) in namespaces.iter().zip(ADDRS) {
            sample::prepare(namespace).unwrap();
            namespace.untrack("sync").unwrap();
            namespace.add_addr("sync", &format!("{addr}/24")).unwrap();
            let config = NodeConfig::ftfw_multicast("sync", &addr.to_string());
            daemons.push(Daemon::prepare(&program, &lab, namespace, &config).unwrap());
        }
        let daemons: [Daemon; 2] = daemons.try_into().ok().unwrap();
        let keys = [0, 1].map(|node: usize| make_key(&daemons[node], "key"));
        Self {
            daemons,
            namespaces,
            keys,
            lab,
        }
    }

    /// Configures a node that knows the other one by a key, with more lines in front.
    fn configure(&mut self, node: usize, key_file: &str, peer_key: &str, more: &str) {
        let daemon = &mut self.daemons[node];
        let path = |file: &str| daemon.path(file).display().to_string();
        let text = format!(
            "{more}
[native]
name = \"node{node}\"
private_key_file = \"{}\"
[[peer]]
name = \"node{}\"
addresses = [\"{}\"]
public_keys = [\"{peer_key}\"]
[general]
hash_limit = 200000
netlink_buffer_bytes = 33554432
netlink_buffer_max_growth_bytes = 268435456
lock_file = \"{}\"
unix_path = \"{}\"
log_file = \"{}\"
",
            path(key_file),
            1 - node,
            ADDRS[1 - node],
            path("lock"),
            path("ctl"),
            path("log"),
        );
        daemon.configure_toml(&text).unwrap();
    }

    /// Starts both, and waits until both have proved that they hold the same.
    fn start(&mut self) {
        for node in 0..2 {
            let peer_key = self.keys[1 - node].clone();
            self.configure(node, "key", &peer_key, "");
            self.daemons[node].launch().unwrap();
        }
        self.wait_for("in_sync");
    }

    #[track_caller]
    fn wait_for(&self, state: &str) {
        assert!(
            wait_until(LIMIT, || (0..2).all(|node| self.state(node) == state)),
            "{}\n{}",
            self.daemons[0].messages(),
            self.daemons[1].messages()
        );
    }

    fn peer(&self, node: usize) -> serde_json::Value {
        let text = self.daemons[node].client(["peers", "--json"]).unwrap();
        let peers: serde_json::Value = serde_json::from_str(&text).unwrap();
        peers[0].clone()
    }

    fn state(&self, node: usize) -> String {
        self.peer(node)["state"].as_str().unwrap().to_owned()
    }

    fn number(&self, node: usize, key: &str) -> u64 {
        self.peer(node)[key].as_u64().unwrap()
    }

    /// Until the second node holds so many entries of the first.
    #[track_caller]
    fn wait_for_entries(&self, count: u64) {
        assert!(
            wait_until(LIMIT, || self.number(1, "entries") == count),
            "{} of {count}\n{}",
            self.number(1, "entries"),
            self.daemons[1].messages()
        );
    }

    #[track_caller]
    fn wait_for_words(&self, node: usize, words: &str) {
        assert!(
            wait_until(LIMIT, || self.daemons[node].messages().contains(words)),
            "{words}\n{}",
            self.daemons[node].messages()
        );
    }
}

fn make_key(daemon: &Daemon, file: &str) -> String {
    let path = daemon.path(file).display().to_string();
    let public = daemon.client(["keygen", &path]).unwrap();
    public.trim().to_owned()
}

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
    let until = Instant::now() + Duration::from_secs(3);
    let namespaces = nodes.namespaces.clone();
    let sent = std::thread::scope(|scope| {
        let flood = scope.spawn(|| flood(&namespaces[0], first, b, until));
        let mut number = 10_000;
        while Instant::now() < until {
            table
                .create((number..number + 500).map(sample::nth))
                .unwrap();
            number += 500;
            std::thread::sleep(Duration::from_millis(10));
        }
        (flood.join().unwrap(), number - 10_000)
    });
    let (datagrams, made) = sent;
    eprintln!("{datagrams} datagrams of a flood in 3 s, {made} connections made meanwhile");
    assert!(datagrams > 10_000, "{datagrams}");
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
