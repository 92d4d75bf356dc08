//! Links whose interface comes late or goes, and peers with link-local addresses, with the original as the peer.

use std::io::{Read as _, Write as _};
use std::net::{TcpStream, UdpSocket};
use std::time::Duration;

use netlab::process::wait_until;
use netlab::{Daemon, Feature, Lab, Namespace, NodeConfig, Peer, Table, sample};
use netlab::{require_feature_or_skip, require_root_or_skip};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use syncwire::{Change, EncodeOptions, Flags, encode};

const LIMIT: Duration = Duration::from_secs(10);

/// Two nodes on a cable: ours and the original.
struct Nodes {
    ours: Namespace,
    original: Namespace,
    /// Where an interface is while it is away.
    elsewhere: Namespace,
    lab: Lab,
}

/// What a link speaks, with the addresses of ours and of the original.
#[derive(Clone, Copy)]
struct Speech {
    section: &'static str,
    /// Lines with `OWN` and `PEER` in them.
    lines: &'static str,
    addrs: [&'static str; 2],
    prefix_len: u8,
}

const MULTICAST: Speech = Speech {
    section: "Multicast",
    lines: "IPv4_address 225.0.0.50\nGroup 3780\nIPv4_interface OWN",
    addrs: ["192.168.100.1", "192.168.100.2"],
    prefix_len: 24,
};

const UDP: Speech = Speech {
    section: "UDP",
    lines: "IPv4_address OWN\nIPv4_Destination_Address PEER\nPort 3780",
    addrs: ["192.168.100.1", "192.168.100.2"],
    prefix_len: 24,
};

const TCP: Speech = Speech {
    section: "TCP",
    ..UDP
};

const LINK_LOCAL_UDP: Speech = Speech {
    section: "UDP",
    lines: "IPv6_address OWN\nIPv6_Destination_Address PEER\nPort 3780",
    addrs: ["fe80::a1", "fe80::a2"],
    prefix_len: 64,
};

const LINK_LOCAL_TCP: Speech = Speech {
    section: "TCP",
    ..LINK_LOCAL_UDP
};

impl Speech {
    fn config(self, node: usize) -> NodeConfig {
        let (own, peer) = (self.addrs[node], self.addrs[1 - node]);
        let mut config = NodeConfig::ftfw_multicast("", "");
        config.ignore = Vec::new();
        config.links = vec![format!(
            "{} {{\n{}\nInterface sync\n}}",
            self.section,
            self.lines.replace("OWN", own).replace("PEER", peer)
        )];
        config
    }

    fn addr(self, node: usize) -> String {
        format!("{}/{}", self.addrs[node], self.prefix_len)
    }
}

impl Nodes {
    fn new(speech: Speech) -> Self {
        let mut lab = Lab::new().unwrap();
        let [ours, original, elsewhere] =
            ["ours", "original", "elsewhere"].map(|role| lab.namespace(role).unwrap());
        // Through a switch: the original's end stays up whatever happens to ours.
        lab.switch("sync", &[&ours, &original]).unwrap();
        for (node, namespace) in [&ours, &original].into_iter().enumerate() {
            sample::prepare(namespace).unwrap();
            namespace.untrack("sync").unwrap();
            namespace.add_addr("sync", &speech.addr(node)).unwrap();
        }
        Self {
            ours,
            original,
            elsewhere,
            lab,
        }
    }

    fn start(&self, peer: Peer, speech: Speech) -> Daemon {
        let (namespace, node) = match peer {
            Peer::Ours => (&self.ours, 0),
            Peer::Original => (&self.original, 1),
        };
        Daemon::start(peer, &self.lab, namespace, &speech.config(node)).unwrap()
    }

    /// The interface of ours goes.
    fn take_away(&self) {
        let to = self.elsewhere.name();
        self.ours
            .run(&format!("ip link set sync netns {to}"))
            .unwrap();
    }

    /// And comes back, as new: without addresses, and down.
    fn bring_back(&self, speech: Speech) {
        let to = self.ours.name();
        self.elsewhere
            .run(&format!("ip link set sync netns {to}"))
            .unwrap();
        self.ours.set_link("sync", true).unwrap();
        self.ours.add_addr("sync", &speech.addr(0)).unwrap();
    }
}

/// An entry made on a node shows on the other one, sooner or later.
#[track_caller]
fn replicates(from: &Daemon, to: &Daemon, number: u32) {
    let mut table = Table::open(from.namespace()).unwrap();
    let flow = sample::nth(number);
    table.create([flow]).unwrap();
    let port = match flow.orig.l4 {
        flow::L4::Ports { src, .. } => format!(" sport={src} "),
        other => panic!("{other:?}"),
    };
    let mut mark = 0;
    let arrived = wait_until(LIMIT, || {
        // What was told while nobody could hear is told again with a change.
        mark += 1;
        let mut update = flow::Flow::new(flow.orig);
        update.reply = flow.reply;
        update.mark = Some(mark);
        table.update([update]).unwrap();
        std::thread::sleep(Duration::from_millis(50));
        to.external()
            .unwrap()
            .iter()
            .any(|line| line.contains(&port))
    });
    assert!(arrived, "from:\n{}to:\n{}", from.messages(), to.messages());
}

fn comes_late_goes_and_returns(speech: Speech) {
    let nodes = Nodes::new(speech);
    let original = nodes.start(Peer::Original, speech);
    nodes.take_away();
    let ours = nodes.start(Peer::Ours, speech);
    let says = |words: &str| {
        assert!(
            wait_until(LIMIT, || ours.messages().contains(words)),
            "no `{words}' in\n{}",
            ours.messages()
        );
    };
    says("interface sync is absent: waiting for it");
    for round in 0..2 {
        nodes.bring_back(speech);
        replicates(&ours, &original, 4 * round);
        replicates(&original, &ours, 4 * round + 2);
        nodes.take_away();
        let link = || ours.client(["-s", "link"]).unwrap();
        assert!(
            wait_until(LIMIT, || link().contains("status=DOWN")),
            "{}",
            link()
        );
    }
    says("link on sync is open");
    let check = ours.try_client(["check"]).unwrap();
    assert_eq!(check.status.code(), Some(1), "{check:?}");
}

/// What ours waits for ends the original, and a check says so.
fn ends_the_original(speech: Speech) {
    let nodes = Nodes::new(speech);
    nodes.take_away();
    let program = Peer::Original.program().unwrap();
    let config = speech.config(0);
    let original = Daemon::prepare(&program, &nodes.lab, &nodes.ours, &config).unwrap();
    let ended = original.start_another(&program).unwrap();
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    let ours = Peer::Ours.program().unwrap();
    let check = original.client_of(&ours, ["check"]).unwrap();
    assert_eq!(check.status.code(), Some(1), "{check:?}");
    assert!(
        check.stdout.contains("sync") || check.stderr.contains("sync"),
        "{check:?}"
    );
}

fn reach_each_other(speech: Speech, peer: Peer) {
    let nodes = Nodes::new(speech);
    let ours = nodes.start(Peer::Ours, speech);
    let config = speech.config(1);
    let other = Daemon::start(peer, &nodes.lab, &nodes.original, &config).unwrap();
    replicates(&ours, &other, 0);
    replicates(&other, &ours, 2);
}

macro_rules! cases {
    ($($name:ident: $function:ident($($argument:expr),*);)*) => {
        $(#[test] fn $name() {
            require_root_or_skip!("conntrackd");
            require_feature_or_skip!(Feature::Conntrack, Feature::Labels);
            $function($($argument),*);
        })*
    };
}

cases! {
    an_absent_interface_is_waited_for_with_multicast: comes_late_goes_and_returns(MULTICAST);
    an_absent_interface_is_waited_for_with_udp: comes_late_goes_and_returns(UDP);
    an_absent_interface_is_waited_for_with_tcp: comes_late_goes_and_returns(TCP);
    an_absent_interface_ends_the_original_and_fails_a_check: ends_the_original(UDP);
    link_local_peers_reach_each_other_with_udp: reach_each_other(LINK_LOCAL_UDP, Peer::Original);
    // The original cannot be started with this.
    link_local_peers_reach_each_other_with_tcp: reach_each_other(LINK_LOCAL_TCP, Peer::Ours);
}

/// What is said of connections, some to a datagram.
fn say(socket: &UdpSocket, change: Change, numbers: std::ops::Range<u32>) {
    const TOGETHER: usize = 10;
    let numbers: Vec<_> = numbers.collect();
    for numbers in numbers.chunks(TOGETHER) {
        let mut bytes = Vec::new();
        for number in numbers {
            let flow = sample::nth(*number);
            let options = EncodeOptions::default();
            encode::flow(&mut bytes, change, Flags::default(), 0, &flow, options);
        }
        socket.send(&bytes).unwrap();
    }
}

/// A node that asks for nothing again, and the namespace in which its peer is played.
fn beside_a_played_peer(speech: &Speech) -> (Lab, [Namespace; 2], NodeConfig) {
    let mut lab = Lab::new().unwrap();
    let nodes = ["own", "peer"].map(|role| lab.namespace(role).unwrap());
    let [own, peer] = &nodes;
    lab.cable((own, "sync"), (peer, "sync")).unwrap();
    own.add_addr("sync", &speech.addr(0)).unwrap();
    peer.add_addr("sync", &speech.addr(1)).unwrap();
    let mut config = speech.config(0);
    (config.mode, config.mode_lines) = ("NOTRACK".to_owned(), Vec::new());
    (lab, nodes, config)
}

#[test]
fn a_commit_begins_with_what_the_peer_has_said_before_it() {
    const ENTRIES: u32 = 1000;
    require_root_or_skip!();
    require_feature_or_skip!(Feature::Conntrack);
    let (lab, [own, peer], mut config) = beside_a_played_peer(&UDP);
    let lines = config.links[0].replace('}', "RcvSocketBuffer 4194304\n}");
    config.links = vec![lines];
    let daemon = Daemon::start(Peer::Ours, &lab, &own, &config).unwrap();
    let socket = peer
        .enter(|| UdpSocket::bind((UDP.addrs[1], 3780)))
        .unwrap();
    let socket = socket.unwrap();
    socket.connect((UDP.addrs[0], 3780)).unwrap();
    let held = || daemon.counter("cache external", "current active connections");
    say(&socket, Change::New, 0..ENTRIES);
    assert!(wait_until(LIMIT, || held().unwrap() == u64::from(ENTRIES)));

    // While it cannot look, it is told much of no account, then that nearly all have ended; and to commit.
    let pid = Pid::from_raw(i32::try_from(daemon.pid().unwrap()).unwrap());
    kill(pid, Signal::SIGSTOP).unwrap();
    for _ in 0..1000 {
        let mut bytes = Vec::new();
        encode::control(&mut bytes, Flags::ALIVE, 0, 0, 0);
        socket.send(&bytes).unwrap();
    }
    say(&socket, Change::Delete, 1..ENTRIES);
    std::thread::scope(|scope| {
        let commit = scope.spawn(|| daemon.client(["-c"]));
        std::thread::sleep(Duration::from_millis(200));
        kill(pid, Signal::SIGCONT).unwrap();
        commit.join().unwrap().unwrap();
    });
    assert_eq!(Table::open(&own).unwrap().len().unwrap(), 1);
    assert_eq!(held().unwrap(), 1);
}

#[test]
fn a_commit_begins_with_what_has_come_over_a_connection_before_it() {
    const ENTRIES: u32 = 100;
    require_root_or_skip!();
    require_feature_or_skip!(Feature::Conntrack);
    let (lab, [own, peer], config) = beside_a_played_peer(&TCP);
    let daemon = Daemon::start(Peer::Ours, &lab, &own, &config).unwrap();
    let mut stream = peer
        .enter(|| TcpStream::connect((TCP.addrs[0], 3780)))
        .unwrap()
        .unwrap();
    let mut say = |change, numbers: std::ops::Range<u32>| {
        let mut bytes = Vec::new();
        for number in numbers {
            let (flow, options) = (sample::nth(number), EncodeOptions::default());
            encode::flow(&mut bytes, change, Flags::default(), 0, &flow, options);
        }
        stream.write_all(&bytes).unwrap();
    };
    let held = || daemon.counter("cache external", "current active connections");
    say(Change::New, 0..ENTRIES);
    assert!(wait_until(LIMIT, || held().unwrap() == u64::from(ENTRIES)));

    // A client is there already, and half of its request: it has its turn before the peer's connection.
    let request = control::Request::CommitAll.number().to_ne_bytes();
    let (half, rest) = request.split_at(2);
    let mut client = daemon.connect().unwrap();
    std::thread::sleep(Duration::from_millis(50));
    let pid = Pid::from_raw(i32::try_from(daemon.pid().unwrap()).unwrap());
    kill(pid, Signal::SIGSTOP).unwrap();
    client.write_all(half).unwrap();
    say(Change::Delete, 1..ENTRIES);
    std::thread::sleep(Duration::from_millis(50));
    client.write_all(rest).unwrap();
    kill(pid, Signal::SIGCONT).unwrap();
    client.read_to_end(&mut Vec::new()).unwrap();
    assert_eq!(Table::open(&own).unwrap().len().unwrap(), 1);
    assert_eq!(held().unwrap(), 1);
}
