//! Statistics for programs, from a live pair with traffic: JSON, and what Prometheus is answered.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use netlab::process::wait_until;
use netlab::schema::Schema;
use netlab::{Daemon, Feature, Lab, NodeConfig, Peer, Table, sample};
use netlab::{require_feature_or_skip, require_root_or_skip};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(5);
const ADDRESS: &str = "127.0.0.1:9273";

/// A pair, ours with metrics and the original as its peer, in which ours has entries.
struct Numbers {
    daemon: Daemon,
    peer: Daemon,
    lab: Lab,
    table: Table,
    entries: u64,
}

impl Numbers {
    fn start(metrics: impl FnOnce(&Daemon) -> String) -> Self {
        let mut lab = Lab::new().unwrap();
        let [a, b] = ["a", "b"].map(|role| lab.namespace(role).unwrap());
        lab.cable((&a, "sync"), (&b, "sync")).unwrap();
        a.add_addr("sync", "192.168.100.1/24").unwrap();
        b.add_addr("sync", "192.168.100.2/24").unwrap();
        let config = |addr| NodeConfig::ftfw_multicast("sync", addr);
        let peer = Daemon::start(Peer::Original, &lab, &b, &config("192.168.100.2")).unwrap();
        let program = Peer::Ours.program().unwrap();
        let mut daemon = Daemon::prepare(&program, &lab, &a, &config("192.168.100.1")).unwrap();
        let toml = daemon.try_client(["convert"]).unwrap().stdout;
        let option = format!("[general]\nmetrics = \"{}\"\n", metrics(&daemon));
        daemon
            .configure_toml(&toml.replace("[general]\n", &option))
            .unwrap();
        daemon.launch().unwrap();
        let table = Table::open(&a).unwrap();
        let mut numbers = Self {
            daemon,
            peer,
            lab,
            table,
            entries: 0,
        };
        // What is told during the handshake needs no acknowledgement.
        numbers.create(50);
        numbers.create(50);
        numbers
    }

    /// Makes entries and waits until the peer has acknowledged them.
    fn create(&mut self, count: u32) {
        let first = self.entries as u32;
        let flows = (first..first + count).map(sample::nth);
        self.table.create(flows).unwrap();
        self.entries += u64::from(count);
        assert!(
            wait_until(LIMIT, || {
                let report = self.json(&[]);
                report["internal"]["active"] == self.entries
                    && report["replication"]["at_risk"] == 0
            }),
            "{}",
            self.json(&[])
        );
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let words = [&["stats", "--json"], arguments].concat();
        serde_json::from_str(&self.daemon.client(words).unwrap()).unwrap()
    }

    fn stop(mut self) {
        self.daemon.stop().unwrap();
        self.peer.stop().unwrap();
        drop(self.lab);
    }
}

fn answer(mut stream: impl std::io::Read + std::io::Write, request: &str) -> (String, String) {
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

#[test]
fn json_has_what_the_pages_have_and_lag_and_risk() {
    require_root_or_skip!("conntrackd");
    require_feature_or_skip!(Feature::Conntrack);
    let numbers = Numbers::start(|_| ADDRESS.to_owned());
    let report = numbers.json(&[]);
    let page = |block: &str, words: &str| numbers.daemon.counter(block, words).unwrap();
    assert_eq!(
        report["internal"]["active"],
        page("cache internal", "current active connections")
    );
    assert_eq!(report["internal"]["kind"], "cache");
    assert_eq!(report["role"]["role"], "unknown");
    let replication = &report["replication"];
    assert_eq!(replication["lag_s"], 0.0);
    let p50 = replication["p50_s"].as_f64().unwrap();
    assert!(p50 > 0.0 && p50 <= replication["p99_s"].as_f64().unwrap());
    let link = &report["links"][0];
    assert_eq!(
        (&link["interface"], &link["active"]),
        (&"sync".into(), &true.into())
    );
    let keys = |arguments: &[&str]| {
        let report = numbers.json(arguments);
        let keys = report.as_object().unwrap().keys();
        keys.cloned().collect::<Vec<_>>()
    };
    assert_eq!(keys(&["cache"]), ["commits", "external", "internal"]);
    assert_eq!(keys(&["link"]), ["links"]);
    // Without the option: the familiar text.
    let text = numbers.daemon.client(["stats", "cache"]).unwrap();
    assert_eq!(text, numbers.daemon.client(["-s", "cache"]).unwrap());
    numbers.stop();
}

#[test]
fn json_is_what_the_schemas_say() {
    require_root_or_skip!("conntrackd");
    require_feature_or_skip!(Feature::Conntrack);
    let numbers = Numbers::start(|_| ADDRESS.to_owned());
    let daemon = &numbers.daemon;
    let check = |schema: &str, words: &[&str]| {
        let text = daemon.try_client(words).unwrap().stdout;
        let schema = Schema::of(schema).unwrap();
        assert!(!text.is_empty(), "{words:?}");
        for line in text.lines() {
            assert_eq!(schema.complaint(line), None, "{words:?}: {line}");
        }
        text
    };
    check("stats", &["stats", "--json"]);
    check("role", &["role", "--json"]);
    check("ready", &["ready", "--json"]);
    let internal = check("dump", &["dump", "internal", "--json"]);
    assert_eq!(internal.lines().count() as u64, numbers.entries);
    for (verb, letter) in [
        (["dump", "internal"].as_slice(), "-i"),
        (&["dump", "external"], "-e"),
    ] {
        assert_eq!(
            daemon.client(verb).unwrap().lines().count(),
            daemon.client([letter]).unwrap().lines().count()
        );
    }
    let xml = daemon.client(["dump", "internal", "--xml"]).unwrap();
    assert!(xml.lines().all(|line| line.starts_with("<flow>")), "{xml}");

    // A takeover: what the peer has told goes into the kernel, and shows.
    let mut told = Table::open(numbers.peer.namespace()).unwrap();
    told.create((5000..5040).map(sample::nth)).unwrap();
    assert!(wait_until(LIMIT, || {
        daemon
            .client(["dump", "external", "--json"])
            .unwrap()
            .lines()
            .count()
            == 40
    }));
    check("dump", &["dump", "external", "--json"]);
    let taken = check("role", &["role", "primary", "--json"]);
    assert!(taken.contains("\"outcome\":\"done\""), "{taken}");
    let report = check("stats", &["stats", "--json"]);
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["commits"]["last"]["committed"], 40, "{report}");
    assert_eq!(report["commits"]["count"], 1);
    assert_eq!(report["peer"]["state"], "alive");
    assert!(
        report["bulks"]["sent"]["entries"].as_u64() >= Some(40),
        "{report}"
    );
    numbers.stop();
}

#[test]
fn prometheus_is_answered_on_loopback() {
    require_root_or_skip!("conntrackd");
    require_feature_or_skip!(Feature::Conntrack);
    let numbers = Numbers::start(|_| ADDRESS.to_owned());
    let get = |request: &str| {
        let namespace = numbers.daemon.namespace();
        namespace
            .enter(|| answer(TcpStream::connect(ADDRESS).unwrap(), request))
            .unwrap()
    };
    let (head, body) = get("GET /metrics HTTP/1.1\r\nAccept: application/openmetrics-text\r\n\r\n");
    assert!(head.starts_with("HTTP/1.0 200 OK"), "{head}");
    assert!(
        head.contains("application/openmetrics-text; version=1.0.0"),
        "{head}"
    );
    let entries = format!(
        "conntrackd_cache_entries{{cache=\"internal\",table=\"flows\"}} {}\n",
        numbers.entries
    );
    assert!(
        body.contains(&entries) && body.ends_with("# EOF\n"),
        "{body}"
    );
    let (head, body) = get("GET /metrics HTTP/1.1\r\n\r\n");
    assert!(head.contains("text/plain; version=0.0.4"), "{head}");
    assert!(
        body.contains("# TYPE conntrackd_kernel_events_total counter"),
        "{body}"
    );
    for (request, status) in [
        ("GET /other HTTP/1.1\r\n\r\n", "404"),
        ("POST /metrics HTTP/1.1\r\n\r\n", "405"),
    ] {
        assert_eq!(get(request).0.split(' ').nth(1), Some(status));
    }
    numbers.stop();
}

#[test]
fn prometheus_is_answered_on_a_unix_socket_and_garbage_hurts_nobody() {
    require_root_or_skip!("conntrackd");
    require_feature_or_skip!(Feature::Conntrack);
    let numbers = Numbers::start(|daemon| daemon.path("metrics").display().to_string());
    let path = numbers.daemon.path("metrics");
    let connect = || UnixStream::connect(&path).unwrap();
    // One that says nothing, one that never ends.
    let silent = connect();
    let mut endless = connect();
    endless.write_all(&[b'x'; 8 * 1024]).unwrap();
    let mut refused = String::new();
    endless.read_to_string(&mut refused).unwrap();
    assert!(refused.starts_with("HTTP/1.0 405"), "{refused}");
    let (head, body) = answer(connect(), "GET /metrics HTTP/1.1\r\n\r\n");
    assert!(head.starts_with("HTTP/1.0 200 OK") && body.contains("conntrackd_ready"));
    drop(silent);
    numbers.stop();
    assert!(!path.exists(), "the socket is removed at the end");
}
