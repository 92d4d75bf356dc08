//! What administrators type from habit, on live traffic, beside the original; and what only ours has.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use netlab::process::{run_within, wait_until};
use netlab::{Feature, Lab, Namespace, require_feature_or_skip, require_root_or_skip};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(10);
const SETTLED: Duration = Duration::from_millis(300);
const HERE: Ipv4Addr = Ipv4Addr::LOCALHOST;

macro_rules! require_kernel_or_skip {
    () => {
        require_root_or_skip!("conntrack");
        require_feature_or_skip!(Feature::Conntrack);
    };
}

/// A namespace with connections to itself.
struct Site {
    namespace: Namespace,
    _open: Vec<(TcpStream, TcpStream)>,
    _lab: Lab,
}

impl Site {
    fn new() -> Self {
        let mut lab = Lab::new().unwrap();
        let namespace = lab.namespace("site").unwrap();
        for (setting, value) in [("events", "1"), ("acct", "1"), ("timestamp", "1")] {
            let setting = format!("net.netfilter.nf_conntrack_{setting}");
            namespace.sysctl(&setting, value).unwrap();
        }
        let track = "table inet t {
                chain c { type filter hook input priority 0; ct state new accept; }
            }";
        namespace.nft(track).unwrap();
        let mut site = Self {
            namespace,
            _open: Vec::new(),
            _lab: lab,
        };
        site._open = vec![site.tcp(40001, 22), site.tcp(40002, 443)];
        site.udp(40003, 500);
        site.udp(40004, 53);
        site
    }

    /// An open connection.
    fn tcp(&self, from: u16, to: u16) -> (TcpStream, TcpStream) {
        self.namespace
            .enter(|| {
                let listener = TcpListener::bind((HERE, to)).unwrap();
                let client =
                    socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)
                        .unwrap();
                client.bind(&SocketAddr::from((HERE, from)).into()).unwrap();
                client
                    .connect(&SocketAddr::from((HERE, to)).into())
                    .unwrap();
                let mut client = TcpStream::from(client);
                let mut server = listener.accept().unwrap().0;
                client.write_all(b"hello").unwrap();
                server.read_exact(&mut [0; 5]).unwrap();
                (client, server)
            })
            .unwrap()
    }

    /// A question and its answer.
    fn udp(&self, from: u16, to: u16) {
        self.namespace
            .enter(|| {
                let server = UdpSocket::bind((HERE, to)).unwrap();
                let client = UdpSocket::bind((HERE, from)).unwrap();
                let mut buffer = [0; 8];
                client.send_to(b"question", (HERE, to)).unwrap();
                server.recv_from(&mut buffer).unwrap();
                server.send_to(b"answer", (HERE, from)).unwrap();
                client.recv_from(&mut buffer).unwrap();
            })
            .unwrap();
    }

    fn command(&self, program: &Path, line: &str) -> Command {
        let mut command = self.namespace.command(program.to_str().unwrap());
        command.args(line.split_whitespace());
        command
    }

    /// Standard output, without what counts down, in order.
    fn lines(&self, program: &Path, line: &str) -> Vec<String> {
        let finished = run_within(self.command(program, line), "", LIMIT).unwrap();
        assert!(finished.status.success(), "{line}: {finished:?}");
        let mut lines: Vec<_> = finished.stdout.lines().map(timeless).collect();
        lines.sort();
        lines
    }

    /// What an event listener shows of some traffic.
    fn events(
        &self,
        program: &Path,
        line: &str,
        traffic: impl FnOnce(),
        expected: usize,
    ) -> Vec<String> {
        // If it never shows as much, its end shows it.
        let line = format!("-s INT {} {} {line}", LIMIT.as_secs(), program.display());
        let mut command = self.command(Path::new("timeout"), &line);
        let mut listener = Listener(
            command
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .unwrap(),
        );
        assert!(wait_until(LIMIT, || self.is_listened()), "nobody listens");
        traffic();
        let mut out = listener.0.stdout.take().unwrap();
        let mut text = String::new();
        let mut buffer = [0; 4096];
        while text.lines().count() < expected || !text.ends_with('\n') {
            let len = out.read(&mut buffer).unwrap();
            assert!(len > 0, "ended early: {text}");
            text.push_str(std::str::from_utf8(&buffer[..len]).unwrap());
        }
        // What comes beyond that must show; and interrupted while it writes, the original writes the same again.
        std::thread::sleep(SETTLED);
        let pid = Pid::from_raw(listener.0.id().try_into().unwrap());
        kill(pid, Signal::SIGINT).unwrap();
        out.read_to_string(&mut text).unwrap();
        let mut lines: Vec<_> = text.lines().map(timeless).collect();
        lines.sort();
        lines
    }

    /// Whether a socket in the namespace has joined groups of the connection tracking.
    fn is_listened(&self) -> bool {
        let table = self.namespace.run("cat /proc/net/netlink").unwrap();
        table.lines().skip(1).any(|line| {
            let fields: Vec<_> = line.split_whitespace().collect();
            fields.get(1) == Some(&"12")
                && fields.get(3).is_some_and(|groups| *groups != "00000000")
        })
    }
}

/// A program in the background; killed when dropped.
struct Listener(Child);

impl Drop for Listener {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A line without the seconds left and the age.
fn timeless(line: &str) -> String {
    let mut is_number_seen = false;
    let words = line.split_whitespace().map(|word| {
        if word.starts_with("delta-time=") {
            return "delta-time=#";
        }
        let is_number = word.bytes().all(|byte| byte.is_ascii_digit());
        let is_timeout = is_number && is_number_seen;
        is_number_seen |= is_number;
        if is_timeout { "#" } else { word }
    });
    words.collect::<Vec<_>>().join(" ")
}

fn ours() -> PathBuf {
    std::env::var_os("CONNTRACK_BIN")
        .map_or_else(|| env!("CARGO_BIN_EXE_conntrack").into(), PathBuf::from)
}

fn original() -> PathBuf {
    netlab::skip::find_tool("conntrack").expect("it has been looked for")
}

/// Both programs show the same entries, so many.
#[track_caller]
fn list_alike(line: &str, entries: usize) {
    let site = Site::new();
    let shown = site.lines(&ours(), line);
    assert_eq!(shown.len(), entries, "{shown:#?}");
    assert_eq!(shown, site.lines(&original(), line));
}

/// Both programs show the same events of the same traffic, so many.
#[track_caller]
fn follow_alike(line: &str, events: usize) {
    let of = |program: &Path| {
        let site = Site::new();
        let traffic = || {
            drop(site.tcp(41000, 22));
            site.udp(41001, 22);
            drop(site.tcp(41002, 80));
        };
        site.events(program, line, traffic, events)
    };
    let shown = of(&ours());
    assert_eq!(shown.len(), events, "{shown:#?}");
    assert_eq!(shown, of(&original()));
}

#[test]
fn listing_everything() {
    require_kernel_or_skip!();
    list_alike("-L", 4);
}

#[test]
fn counting() {
    require_kernel_or_skip!();
    let site = Site::new();
    assert_eq!(site.lines(&ours(), "-C"), ["4"]);
    assert_eq!(site.lines(&original(), "-C"), ["4"]);
}

#[test]
fn following_what_is_new() {
    require_kernel_or_skip!();
    follow_alike("-E -e NEW", 3);
}

#[test]
fn listing_established_connections() {
    require_kernel_or_skip!();
    list_alike("-L -p tcp --state ESTABLISHED", 2);
}

#[test]
fn listing_by_port() {
    require_kernel_or_skip!();
    list_alike("-L -p udp --dport 500", 1);
}

#[test]
fn following_new_connections_to_a_port() {
    require_kernel_or_skip!();
    follow_alike("-E -e NEW -p tcp --dport 22", 1);
}

#[test]
fn another_namespace_is_named() {
    require_kernel_or_skip!();
    let site = Site::new();
    let mut command = Command::new(ours());
    command.args(["--netns", site.namespace.name(), "-C"]);
    let finished = run_within(command, "", LIMIT).unwrap();
    assert_eq!(finished.stdout, "4\n", "{finished:?}");
    let mut command = Command::new(ours());
    let path = format!("/run/netns/{}", site.namespace.name());
    command.args(["--netns", &path, "-C"]);
    assert_eq!(run_within(command, "", LIMIT).unwrap().stdout, "4\n");
    let mut command = Command::new(ours());
    command.args(["--netns", "no-such-namespace", "-C"]);
    let finished = run_within(command, "", LIMIT).unwrap();
    assert!(!finished.status.success());
    assert!(
        finished.stderr.contains("no-such-namespace"),
        "{finished:?}"
    );
}

#[test]
fn what_would_be_hit_is_shown_and_not_touched() {
    require_kernel_or_skip!();
    let site = Site::new();
    for (line, hit) in [
        ("-D -p udp --dry-run", 2),
        ("-U -p tcp -m 7 --dry-run", 2),
        ("-F --dry-run", 4),
    ] {
        assert_eq!(site.lines(&ours(), line).len(), hit, "{line}");
        assert_eq!(site.lines(&original(), "-C"), ["4"], "{line}");
        assert!(site.lines(&original(), "-L -m 7").is_empty(), "{line}");
    }
    assert_eq!(site.lines(&ours(), "-D -p udp").len(), 2);
    assert_eq!(site.lines(&original(), "-C"), ["2"]);
}

/// Checks a value against the part of the schema that describes it; notes which members were there.
fn conform(value: &Value, part: &Value, schema: &Value, place: &str, seen: &mut BTreeSet<String>) {
    let part = match part["$ref"].as_str() {
        Some(reference) => schema.pointer(reference.trim_start_matches('#')).unwrap(),
        None => part,
    };
    match (part["type"].as_str().unwrap(), value) {
        ("object", Value::Object(members)) => {
            for required in part["required"].as_array().into_iter().flatten() {
                assert!(
                    members.contains_key(required.as_str().unwrap()),
                    "{place}: no {required}: {value}"
                );
            }
            for (name, member) in members {
                let place = format!("{place}/{name}");
                let inner = &part["properties"][name];
                assert!(inner.is_object(), "{place} is not in the schema");
                conform(member, inner, schema, &place, seen);
                seen.insert(place);
            }
        }
        ("array", Value::Array(items)) => {
            for item in items {
                conform(item, &part["items"], schema, place, seen);
            }
        }
        ("integer", value) => assert!(value.is_u64(), "{place}: {value}"),
        ("string", Value::String(text)) => {
            if let Some(words) = part["enum"].as_array() {
                assert!(words.contains(value), "{place}: {text}");
            }
        }
        (wanted, _) => panic!("{place}: {value} is no {wanted}"),
    }
}

#[test]
fn json_is_what_the_schema_says() {
    require_kernel_or_skip!();
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/json-schema/conntrack.schema.json");
    let schema: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let site = Site::new();
    for line in [
        "-I -s 10.0.0.1 -d 10.0.0.2 -p sctp --sport 1 --dport 2 --state ESTABLISHED --orig-vtag 1 --reply-vtag 2 -t 60 -w 3",
        "-I -s 10.0.0.1 -d 10.0.0.2 -p gre --srckey 1 --dstkey 2 -t 60 --orig-zone 4",
        "-I -s fd00::1 -d fd00::2 -p icmpv6 --icmpv6-type 128 --icmpv6-code 0 --icmpv6-id 5 -t 60 -m 9",
    ] {
        site.lines(&ours(), line);
    }
    let mut seen = BTreeSet::new();
    let mut check = |text: &str, kind: &str| {
        assert!(!text.is_empty(), "{kind}");
        for line in text.lines() {
            let value: Value =
                serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
            conform(&value, &schema["$defs"][kind], &schema, kind, &mut seen);
        }
    };
    let output = |line: &str| {
        run_within(site.command(&ours(), line), "", LIMIT)
            .unwrap()
            .stdout
    };
    check(&output("-L -o json"), "entry");
    check(&output("-S -o json"), "statistics");
    check(&output("-S expect -o json"), "statistics");
    check(
        &output("-G -s 127.0.0.1 -d 127.0.0.1 -p udp --sport 40003 --dport 500 -o json"),
        "entry",
    );
    let events = site.events(&ours(), "-E -o json", || drop(output("-D -p udp")), 2);
    check(&events.join("\n"), "entry");
    check(&output("-D -o json"), "entry");
    for member in [
        "entry/original/srckey",
        "entry/original/icmp_id",
        "entry/state",
        "entry/zone",
        "entry/orig_vtag",
        "entry/event",
    ] {
        let member = member.replace("icmp_id", "id");
        assert!(seen.contains(&member), "{member} was never there");
    }
}
