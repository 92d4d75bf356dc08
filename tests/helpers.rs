//! What the kernel's helpers expect survives a failover: sessions of FTP, TFTP and SIP through a firewall, with the
//! original and ours in either role.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use netlab::process::wait_until;
use netlab::{Daemon, Feature, Namespace, Pair, Peer, Table, listing};
use netlab::{require_feature_or_skip, require_root_or_skip};

const LIMIT: Duration = Duration::from_secs(10);
const CLIENT: &str = "10.0.1.10";
const SERVER: &str = "203.0.113.10";
const FIREWALL: &str = "203.0.113.1";
const CLIENT_V6: &str = "fd00:1::10";
const SERVER_V6: &str = "2001:db8:2::10";

/// Gives connections to the usual ports their helper.
const HELPERS: &str = "
    table ip6 helpers {
        ct helper ftp { type \"ftp\" protocol tcp; }
        chain c { type filter hook prerouting priority -150; tcp dport 21 ct helper set \"ftp\"; }
    }
    table ip helpers {
        ct helper ftp { type \"ftp\" protocol tcp; }
        ct helper tftp { type \"tftp\" protocol udp; }
        ct helper sip { type \"sip\" protocol udp; }
        chain c {
            type filter hook prerouting priority -150;
            tcp dport 21 ct helper set \"ftp\"
            udp dport 69 ct helper set \"tftp\"
            udp dport 5060 ct helper set \"sip\"
        }
    }
";

/// A pair whose firewalls have the helpers, replicating what they expect.
struct Firewalls {
    active: Daemon,
    standby: Daemon,
    pair: Pair,
}

impl Firewalls {
    /// `expectations`: value of `ExpectationSync`.
    fn start(active: Peer, standby: Peer, expectations: &str) -> Self {
        let pair = Pair::new().unwrap();
        let daemon = |peer, a| {
            let firewall = if a { &pair.a } else { &pair.b };
            firewall.nft(HELPERS).unwrap();
            let mut config = pair.config(a);
            config
                .options
                .push(format!("ExpectationSync {expectations}"));
            Daemon::start(peer, &pair.lab, firewall, &config).unwrap()
        };
        Self {
            standby: daemon(standby, false),
            active: daemon(active, true),
            pair,
        }
    }

    /// What the original learns by reading the kernel's table only: an expectation that is older than its connection,
    /// and by how much numbers of bytes are adjusted. Ours learns both by itself.
    fn help_the_original(&self, active: Peer) {
        if active == Peer::Original {
            for command in ["-R", "-B"] {
                self.active.client([command]).unwrap();
            }
        }
    }

    /// Waits until the standby has been told everything, so many expectations among it.
    #[track_caller]
    fn in_step(&self, expectations: usize) {
        let expected = |daemon: &Daemon, cache| {
            let text = daemon.client([cache, "expect"]).unwrap();
            let line = |line: &str| line.split(" [").next().map(str::to_owned);
            let mut lines: Vec<_> = text.lines().filter_map(line).collect();
            lines.sort();
            lines
        };
        let mut difference = String::new();
        let equal = wait_until(LIMIT, || {
            let internal = expected(&self.active, "-i");
            difference = listing::difference(
                &self.active.internal().unwrap(),
                &self.standby.external().unwrap(),
            ) + &listing::difference(&internal, &expected(&self.standby, "-e"));
            if internal.len() != expectations {
                difference += &format!("{expectations} expectations wanted: {internal:?}\n");
            }
            difference.is_empty()
        });
        assert!(
            equal,
            "{difference}active:\n{}standby:\n{}",
            self.active.messages(),
            self.standby.messages()
        );
    }

    /// The active node dies, the standby takes over.
    fn fail_over(&mut self) {
        self.active.kill().unwrap();
        self.pair.cut(&self.pair.a).unwrap();
        self.standby.client(["-c"]).unwrap();
        self.pair.activate(&self.pair.b).unwrap();
    }

    /// Connections of the standby's kernel that were expected by another.
    fn children(&self) -> usize {
        let flows = Table::open(&self.pair.b).unwrap().dump().unwrap();
        flows.iter().filter(|flow| flow.master.is_some()).count()
    }
}

fn listen(namespace: &Namespace, addr: &str) -> TcpListener {
    namespace
        .enter(|| TcpListener::bind(addr).unwrap())
        .unwrap()
}

fn connect(namespace: &Namespace, to: SocketAddr) -> TcpStream {
    let stream = namespace
        .enter(|| TcpStream::connect_timeout(&to, LIMIT))
        .unwrap();
    let stream = stream.unwrap_or_else(|error| panic!("{to}: {error}"));
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream
}

fn accept(listener: &TcpListener) -> TcpStream {
    let (stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream
}

fn udp(namespace: &Namespace, addr: &str) -> UdpSocket {
    let socket = namespace.enter(|| UdpSocket::bind(addr).unwrap()).unwrap();
    socket.set_read_timeout(Some(LIMIT)).unwrap();
    socket
}

fn received(socket: &UdpSocket) -> (String, SocketAddr) {
    let mut buffer = [0; 2048];
    let (len, from) = socket.recv_from(&mut buffer).unwrap();
    (String::from_utf8_lossy(&buffer[..len]).into_owned(), from)
}

/// Bytes arrive in both directions.
#[track_caller]
fn talks(one: &mut TcpStream, other: &mut TcpStream) {
    let mut buffer = [0; 4];
    one.write_all(b"ping").unwrap();
    other.read_exact(&mut buffer).unwrap();
    other.write_all(b"pong").unwrap();
    one.read_exact(&mut buffer).unwrap();
    assert_eq!(&buffer, b"pong");
}

/// Both ends of a control connection.
struct Ftp {
    client: TcpStream,
    server: BufReader<TcpStream>,
}

impl Ftp {
    fn open(pair: &Pair, server: &str) -> Self {
        let addr = format!("{server}:21");
        let listener = listen(&pair.server, &addr);
        let client = connect(&pair.client, addr.parse().unwrap());
        Self {
            client,
            server: BufReader::new(accept(&listener)),
        }
    }

    /// The client says a line; what the server hears of it.
    #[track_caller]
    fn says(&mut self, line: &str) -> String {
        self.client.write_all(line.as_bytes()).unwrap();
        let mut heard = String::new();
        self.server.read_line(&mut heard).unwrap();
        heard
    }

    /// The client waits for data on a port; where the server is told to bring it.
    #[track_caller]
    fn announces(&mut self, port: u16) -> SocketAddr {
        let (high, low) = (port >> 8, port & 0xff);
        let heard = self.says(&format!("PORT 10,0,1,10,{high},{low}\r\n"));
        let numbers: Vec<u16> = heard
            .trim_start_matches("PORT ")
            .trim_end()
            .split(',')
            .map(|number| number.parse().unwrap_or_else(|_| panic!("{heard:?}")))
            .collect();
        let [a, b, c, d, high, low] = numbers[..] else {
            panic!("{heard:?}")
        };
        let target = format!("{a}.{b}.{c}.{d}:{}", high << 8 | low);
        assert!(target.starts_with(FIREWALL), "not translated: {target}");
        target.parse().unwrap()
    }
}

/// Without translation, over IPv6.
fn plain_ftp(active: Peer, standby: Peer) {
    let mut firewalls = Firewalls::start(active, standby, "On");
    let pair = &firewalls.pair;
    let mut session = Ftp::open(pair, &format!("[{SERVER_V6}]"));
    assert_eq!(session.says("NOOP\r\n"), "NOOP\r\n");
    let [open, announced] = [40_001, 40_002].map(|port| format!("[{CLIENT_V6}]:{port}"));
    let listeners = [&open, &announced].map(|addr| listen(&pair.client, addr));
    session.says(&format!("EPRT |2|{CLIENT_V6}|40001|\r\n"));
    let mut sender = connect(&pair.server, open.parse().unwrap());
    let mut taker = accept(&listeners[0]);
    talks(&mut sender, &mut taker);
    session.says(&format!("EPRT |2|{CLIENT_V6}|40002|\r\n"));
    pair.close().unwrap();
    firewalls.in_step(1);

    firewalls.fail_over();
    talks(&mut sender, &mut taker);
    assert_eq!(session.says("NOOP\r\n"), "NOOP\r\n");
    let mut late = connect(&firewalls.pair.server, announced.parse().unwrap());
    let mut taker = accept(&listeners[1]);
    talks(&mut late, &mut taker);
    assert_eq!(firewalls.children(), 2, "both belong to the session");
}

fn ftp(active: Peer, standby: Peer, expectations: &str) {
    let mut firewalls = Firewalls::start(active, standby, expectations);
    let pair = &firewalls.pair;
    let mut session = Ftp::open(pair, SERVER);
    // The helper believes only lines that follow one it has seen end.
    assert_eq!(session.says("NOOP\r\n"), "NOOP\r\n");
    let listeners = [40_001, 40_002].map(|port| listen(&pair.client, &format!("{CLIENT}:{port}")));
    // One data connection is open, another has been announced.
    let target = session.announces(40_001);
    let mut sender = connect(&pair.server, target);
    let mut taker = accept(&listeners[0]);
    talks(&mut sender, &mut taker);
    let announced = session.announces(40_002);
    // From now on only what was expected or open passes.
    pair.close().unwrap();
    firewalls.help_the_original(active);
    firewalls.in_step(1);

    firewalls.fail_over();
    talks(&mut sender, &mut taker);
    // The two addresses differ in length: numbers of bytes are adjusted here as they were there.
    assert_eq!(session.says("NOOP\r\n"), "NOOP\r\n");
    let mut late = connect(&firewalls.pair.server, announced);
    let mut taker = accept(&listeners[1]);
    talks(&mut late, &mut taker);
    assert_eq!(firewalls.children(), 2, "both belong to the session");
}

fn tftp(active: Peer, standby: Peer) {
    let mut firewalls = Firewalls::start(active, standby, "On");
    let pair = &firewalls.pair;
    let client = udp(&pair.client, &format!("{CLIENT}:40003"));
    let server = udp(&pair.server, &format!("{SERVER}:69"));
    client
        .send_to(b"\0\x01file\0octet\0", format!("{SERVER}:69"))
        .unwrap();
    let (_, from) = received(&server);
    assert!(from.to_string().starts_with(FIREWALL), "{from}");
    pair.close().unwrap();
    firewalls.help_the_original(active);
    firewalls.in_step(1);

    firewalls.fail_over();
    // The answer comes from another port, as it does in this protocol.
    let transfer = udp(&firewalls.pair.server, &format!("{SERVER}:40004"));
    transfer.send_to(b"\0\x03\0\x01data", from).unwrap();
    let (data, from) = received(&client);
    assert!(data.ends_with("data") && from.port() == 40_004, "{data:?}");
    client.send_to(b"\0\x04\0\x01", from).unwrap();
    received(&transfer);
    assert_eq!(firewalls.children(), 1);
}

fn sip(active: Peer, standby: Peer) {
    let mut firewalls = Firewalls::start(active, standby, "On");
    let pair = &firewalls.pair;
    let client = udp(&pair.client, &format!("{CLIENT}:5060"));
    let server = udp(&pair.server, &format!("{SERVER}:5060"));
    let media = udp(&pair.client, &format!("{CLIENT}:40006"));
    let body = format!(
        "v=0\r\no=- 1 1 IN IP4 {CLIENT}\r\ns=-\r\nc=IN IP4 {CLIENT}\r\nt=0 0\r\nm=audio 40006 RTP/AVP 0\r\n"
    );
    let call = format!(
        "INVITE sip:b@{SERVER} SIP/2.0\r\n\
         Via: SIP/2.0/UDP {CLIENT}:5060;branch=z9hG4bK1\r\n\
         From: <sip:a@{CLIENT}>;tag=1\r\nTo: <sip:b@{SERVER}>\r\n\
         Call-ID: 1@{CLIENT}\r\nCSeq: 1 INVITE\r\nContact: <sip:a@{CLIENT}:5060>\r\n\
         Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    client
        .send_to(call.as_bytes(), format!("{SERVER}:5060"))
        .unwrap();
    let (heard, _) = received(&server);
    assert!(heard.contains(&format!("c=IN IP4 {FIREWALL}")), "{heard}");
    let port = heard.lines().find_map(|line| line.strip_prefix("m=audio "));
    let port = port.and_then(|rest| rest.split(' ').next()).unwrap();
    let target = format!("{FIREWALL}:{port}");
    pair.close().unwrap();
    let expected = Table::open(&pair.a).unwrap();
    assert!(!expected.is_empty().unwrap());
    firewalls.help_the_original(active);
    // Sound, its control, and whoever calls back.
    let text = || firewalls.active.client(["-i", "expect"]).unwrap();
    assert!(
        wait_until(LIMIT, || text().lines().count() >= 2),
        "{}",
        text()
    );
    firewalls.in_step(text().lines().count());

    firewalls.fail_over();
    let sound = udp(&firewalls.pair.server, &format!("{SERVER}:40008"));
    sound.send_to(b"sound", &target).unwrap();
    let (data, from) = received(&media);
    assert_eq!(data, "sound");
    media.send_to(b"answer", from).unwrap();
    assert_eq!(received(&sound).0, "answer");
    assert_eq!(firewalls.children(), 1);
}

/// Tests with these peers.
macro_rules! peers {
    ($module:ident: $active:ident, $standby:ident; $($name:ident: $function:ident($($argument:expr),*);)*) => {
        mod $module {
            use super::*;
            $(#[test] fn $name() {
                guarded(|| $function(Peer::$active, Peer::$standby $(, $argument)*));
            })*
        }
    };
}

// The original puts a translated expectation into the kernel without its translation: what was announced is refused.
peers! {
    ours_active: Ours, Original;
    data_connections_of_ftp_survive: plain_ftp();
}

peers! {
    original_active: Original, Ours;
    data_connections_of_ftp_survive: plain_ftp();
    translated_data_connections_of_ftp_survive: ftp("On");
    a_transfer_of_tftp_survives: tftp();
    a_call_of_sip_survives: sip();
}

peers! {
    ours_both: Ours, Ours;
    data_connections_of_ftp_survive: plain_ftp();
    translated_data_connections_of_ftp_survive: ftp("On");
    data_connections_of_a_helper_by_name_survive: ftp("{\n ftp\n ras\n}");
    a_transfer_of_tftp_survives: tftp();
    a_call_of_sip_survives: sip();
}

fn guarded(case: impl FnOnce()) {
    require_root_or_skip!("conntrackd");
    require_feature_or_skip!(
        Feature::Conntrack,
        Feature::Nat,
        Feature::FtpHelper,
        Feature::TftpHelper,
        Feature::SipHelper,
    );
    case();
}
