//! The numbers, the alerts and the dashboard, with a real Prometheus that scrapes a live pair.

use std::collections::BTreeSet;
use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use netlab::process::{Background, COMMAND_LIMIT, Finished, run_within, wait_until};
use netlab::skip::{find_tool, skip};
use netlab::{Daemon, Feature, Lab, Namespace, NodeConfig, Peer, Table, sample};
use netlab::{require_feature_or_skip, require_root_or_skip};
use serde_json::Value;

const METRICS: &str = "127.0.0.1:9273";
/// Where the other node's numbers are to be had from this one.
const PROXY: &str = "192.168.100.2:9274";
const PROMETHEUS: &str = "127.0.0.1:9090";
const LIMIT: Duration = Duration::from_secs(10);

fn config(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../config")
        .join(name)
}

/// A primary and its backup, both with metrics, with flows, after a takeover.
struct Live {
    nodes: [Daemon; 2],
    lab: Lab,
}

impl Live {
    fn start() -> Self {
        let mut lab = Lab::new().unwrap();
        let [a, b] = ["a", "b"].map(|role| lab.namespace(role).unwrap());
        lab.cable((&a, "sync"), (&b, "sync")).unwrap();
        let program = Peer::Ours.program().unwrap();
        let mut nodes = Vec::new();
        for (namespace, addr) in [(&a, "192.168.100.1"), (&b, "192.168.100.2")] {
            namespace.add_addr("sync", &format!("{addr}/24")).unwrap();
            sample::prepare(namespace).unwrap();
            let config = NodeConfig::ftfw_multicast("sync", addr);
            let mut daemon = Daemon::prepare(&program, &lab, namespace, &config).unwrap();
            let toml = daemon.try_client(["convert"]).unwrap().stdout;
            let option = format!("[general]\nmetrics = \"{METRICS}\"\n");
            daemon
                .configure_toml(&toml.replace("[general]\n", &option))
                .unwrap();
            daemon.launch().unwrap();
            nodes.push(daemon);
        }
        let live = Self {
            nodes: nodes.try_into().unwrap(),
            lab,
        };
        live.nodes[0].client(["role", "primary"]).unwrap();
        live.nodes[1].client(["role", "backup"]).unwrap();
        live.flows(0..50);
        assert!(wait_until(LIMIT, || live.nodes[1]
            .external()
            .unwrap()
            .len()
            == 50));
        live.nodes[1].client(["role", "primary"]).unwrap();
        live.nodes[0].client(["role", "backup"]).unwrap();
        live
    }

    fn flows(&self, which: std::ops::Range<u32>) {
        let mut table = Table::open(self.nodes[0].namespace()).unwrap();
        table.create(which.map(sample::nth)).unwrap();
    }

    fn stop(mut self) {
        for node in &mut self.nodes {
            node.stop().unwrap();
        }
        drop(self.lab);
    }
}

fn run(program: &str, arguments: &[&str]) -> Finished {
    let mut command = Command::new(program);
    command.args(arguments);
    run_within(command, "", COMMAND_LIMIT).unwrap()
}

fn promtool() -> Option<PathBuf> {
    let found = find_tool("promtool");
    if found.is_none() {
        skip("no promtool");
    }
    found
}

#[test]
fn the_alerts_fire_for_what_they_are_for() {
    let Some(promtool) = promtool() else { return };
    let promtool = promtool.to_str().unwrap();
    let [rules, tests] = ["rules.yml", "rules.test.yml"]
        .map(|name| config("prometheus").join(format!("conntrackd.{name}")));
    for arguments in [
        ["check", "rules", rules.to_str().unwrap()],
        ["test", "rules", tests.to_str().unwrap()],
    ] {
        let said = run(promtool, &arguments);
        assert!(said.status.success(), "{}{}", said.stdout, said.stderr);
    }
    let text = std::fs::read_to_string(rules).unwrap();
    let tested = std::fs::read_to_string(tests).unwrap();
    let alerts: Vec<_> = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "))
        .collect();
    assert!(alerts.len() > 8);
    for alert in alerts {
        assert!(
            tested.contains(&format!(
                "- {{alertname: {alert}, eval_time: 10m, exp_alerts: []}}"
            )),
            "{alert} is not shown to be silent"
        );
        assert!(
            tested.contains(&format!("- alertname: {alert}\n")),
            "{alert} is not shown to fire"
        );
    }
}

#[test]
fn prometheus_scrapes_a_pair_and_every_query_of_dashboard_and_alerts_finds_something() {
    require_root_or_skip!();
    require_feature_or_skip!(Feature::Conntrack);
    let (Some(promtool), Some(_)) = (promtool(), find_tool("prometheus")) else {
        return skip("no prometheus");
    };
    let live = Live::start();
    let [a, b] = [0, 1].map(|node| live.nodes[node].namespace().clone());
    lint(&promtool, &a);
    let proxy = Proxy::start(&b);
    let prometheus = prometheus(&live.lab, &a);
    let query = |expression: &str| {
        let mut command = a.command(promtool.to_str().unwrap());
        command.args([
            "query",
            "instant",
            &format!("http://{PROMETHEUS}"),
            expression,
        ]);
        run_within(command, "", COMMAND_LIMIT).unwrap()
    };
    assert!(
        wait_until(LIMIT * 2, || query("up == 1").stdout.lines().count() == 2),
        "{:?}",
        query("up")
    );
    // Rates need two scrapes, and something that goes on between them.
    let mut next = 50;
    assert!(wait_until(LIMIT, || {
        live.flows(next..next + 5);
        next += 5;
        let rate = query("rate(conntrackd_kernel_events_total{instance=\"a\"}[10s]) > 0");
        rate.stdout.contains("=>")
    }));
    for expression in expressions() {
        let said = query(&expression);
        assert!(
            said.status.success() && said.stdout.contains("=>"),
            "{expression}: {said:?}"
        );
        assert!(!said.stdout.contains("NaN"), "{expression}: {said:?}");
    }
    for metric in
        metrics_in(&std::fs::read_to_string(config("prometheus/conntrackd.rules.yml")).unwrap())
    {
        // Nothing was refused here, so that no reason is there to be told.
        if metric != "conntrackd_commit_refused_total" {
            assert!(query(&metric).stdout.contains("=>"), "{metric}");
        }
    }
    drop((prometheus, proxy));
    live.stop();
}

/// Prometheus's own judge of names, units and help finds nothing.
fn lint(promtool: &Path, namespace: &Namespace) {
    let text = namespace.enter(|| {
        let mut stream = TcpStream::connect(METRICS)?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        io::Result::Ok(text)
    });
    let text = text.unwrap().unwrap();
    let (_, page) = text.split_once("\r\n\r\n").unwrap();
    assert!(
        page.contains("conntrackd_commits_total 1") || page.contains("conntrackd_commits_total"),
        "{page}"
    );
    let mut command = Command::new(promtool);
    command.args(["check", "metrics"]);
    let said = run_within(command, page, COMMAND_LIMIT).unwrap();
    assert!(
        said.status.success() && said.stderr.is_empty(),
        "{}{}",
        said.stdout,
        said.stderr
    );
}

fn prometheus(lab: &Lab, namespace: &Namespace) -> Background {
    let dir = lab.dir().join("prometheus");
    std::fs::create_dir(&dir).unwrap();
    let file = dir.join("prometheus.yml");
    let rules = config("prometheus/conntrackd.rules.yml");
    // The example, with the two nodes of this pair and no time to lose.
    let example = std::fs::read_to_string(config("prometheus/prometheus.yml")).unwrap();
    let rules = format!("- {}", rules.display());
    let mut text = example
        .replace("scrape_interval: 15s", "scrape_interval: 1s")
        .replace("- conntrackd.rules.yml", &rules);
    let targets = text.find("- targets").unwrap();
    text.truncate(targets);
    for (target, name) in [(METRICS, "a"), (PROXY, "b")] {
        text += &format!(
            "- targets: [\"{target}\"]\n        labels: {{pair: fw, instance: {name}}}\n      "
        );
    }
    std::fs::write(&file, text.trim_end()).unwrap();
    let mut command = namespace.command("prometheus");
    command.arg(format!("--config.file={}", file.display()));
    command.arg(format!(
        "--storage.tsdb.path={}",
        dir.join("data").display()
    ));
    command.arg(format!("--web.listen-address={PROMETHEUS}"));
    Background::spawn(command, &dir.join("log")).unwrap()
}

/// The queries of all panels, with what Grafana puts in.
fn expressions() -> BTreeSet<String> {
    let text = std::fs::read_to_string(config("grafana/conntrackd.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels
        .iter()
        .flat_map(|panel| panel["targets"].as_array().unwrap());
    let expressions: BTreeSet<_> = targets
        .map(|target| {
            let expression = target["expr"].as_str().unwrap();
            expression
                .replace("$instance", ".*")
                .replace("$__rate_interval", "10s")
        })
        .collect();
    assert!(expressions.len() > 20, "{}", expressions.len());
    assert!(
        !expressions
            .iter()
            .any(|expression| expression.contains('$')),
        "{expressions:?}"
    );
    expressions
}

fn metrics_in(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words
        .filter(|word| word.starts_with("conntrackd_"))
        .map(str::to_owned)
        .collect()
}

/// What an administrator puts before an endpoint on loopback: passes connections on.
struct Proxy(Arc<AtomicBool>, Option<thread::JoinHandle<()>>);

impl Proxy {
    fn start(namespace: &Namespace) -> Self {
        let listener = namespace
            .enter(|| TcpListener::bind(PROXY))
            .unwrap()
            .unwrap();
        listener.set_nonblocking(true).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, namespace) = (Arc::clone(&stop), namespace.clone());
        let thread = thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                match listener.accept() {
                    // A scrape that fails is seen by who scrapes.
                    Ok((client, _)) => drop(namespace.enter(|| pass(client))),
                    Err(_) => thread::sleep(Duration::from_millis(20)),
                }
            }
        });
        Self(stop, Some(thread))
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
        self.1.take().map(thread::JoinHandle::join);
    }
}

/// One request and its answer.
fn pass(mut client: TcpStream) -> io::Result<()> {
    client.set_nonblocking(false)?;
    client.set_read_timeout(Some(LIMIT))?;
    let mut head = [0; 8192];
    let len = client.read(&mut head)?;
    let mut daemon = TcpStream::connect(METRICS)?;
    daemon.write_all(&head[..len])?;
    io::copy(&mut daemon, &mut client)?;
    client.shutdown(Shutdown::Both)
}
