//! keepalived drives a pair of ours with the script and the configuration of `config/keepalived`, while connections
//! run through it.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use netlab::process::{Background, Finished, wait_until};
use netlab::skip::find_tool;
use netlab::traffic::{self, Pace, Traffic};
use netlab::{
    Daemon, Feature, Namespace, Pair, Peer, Table, listing, require_feature_or_skip,
    require_root_or_skip,
};
use nix::sys::signal::Signal;

const SAMPLE: &str = include_str!("../config/keepalived/keepalived.conf");
const SCRIPT: &str = include_str!("../config/keepalived/conntrackd-notify");
const COMMAND: &str = "/usr/sbin/conntrackd role";

/// How long a change of roles may take with everything that follows from it.
const LIMIT: Duration = Duration::from_secs(30);
/// A connection that stands still for longer has been lost in all but name.
const PATIENCE: Duration = Duration::from_secs(15);

/// The addresses that move, as the pair gives them: interface, in the sample, in the pair.
const ADDRS: [(&str, &str, &str); 4] = [
    ("lan", "192.168.0.1/24", "10.0.1.1/24"),
    ("lan", "fd00:1::1/64", "fd00:1::1/64"),
    ("wan", "192.168.1.1/24", "203.0.113.1/24"),
    ("wan", "fd00:2::1/64", "2001:db8:2::1/64"),
];

/// Translates to the address that moves, and lets nothing invalid reach the firewall itself.
const RULES: &str = "
    table inet own { chain input { type filter hook input priority 0; ct state invalid drop; }; }
    flush chain ip nat postrouting
    table ip nat { chain postrouting {
        oifname \"wan\" meta l4proto { tcp, udp } snat to 203.0.113.1 fully-random
    }; }
";

/// The text with one word replaced, which must be there.
#[track_caller]
fn with(text: &str, word: &str, replacement: &str) -> String {
    assert!(text.contains(word), "no `{word}` in\n{text}");
    text.replace(word, replacement)
}

/// A firewall with its daemon, its keepalived and what keepalived runs.
struct Node {
    firewall: Namespace,
    daemon: Daemon,
    table: Table,
    script: PathBuf,
    /// Files of keepalived.
    dir: PathBuf,
    keepalived: Option<Background>,
}

impl Node {
    /// Everything is prepared, nothing runs.
    fn prepare(pair: &Pair, a: bool) -> Self {
        let (firewall, own, priority) = if a {
            (&pair.a, 2, "150")
        } else {
            (&pair.b, 3, "100")
        };
        for (interface, addr) in [("lan", "10.0.1"), ("wan", "203.0.113")] {
            firewall
                .add_addr(interface, &format!("{addr}.{own}/24"))
                .unwrap();
        }
        firewall.nft(RULES).unwrap();

        let mut config = pair.config(a);
        // Soon enough to see it happen: what an old role left in the kernel must not be what helps later.
        config.mode_lines = vec!["PurgeTimeout 1".to_owned()];
        for addr in [
            "10.0.1.2",
            "10.0.1.3",
            "203.0.113.2",
            "203.0.113.3",
            "224.0.0.18",
        ] {
            config.ignore.push(addr.to_owned());
        }
        let program = Peer::Ours.program().expect("no program");
        let daemon = Daemon::prepare(&program, &pair.lab, firewall, &config).unwrap();

        let dir = daemon.path("keepalived");
        std::fs::create_dir(&dir).unwrap();
        let script = dir.join("conntrackd-notify");
        std::fs::write(&script, script_for(&program, &daemon)).unwrap();
        std::fs::set_permissions(&script, Permissions::from_mode(0o755)).unwrap();
        std::fs::write(dir.join("conf"), conf_for(&script, priority)).unwrap();
        Self {
            firewall: firewall.clone(),
            table: Table::open(firewall).unwrap(),
            daemon,
            script,
            dir,
            keepalived: None,
        }
    }

    /// Starts keepalived, which has the daemon started.
    fn start_keepalived(&mut self) {
        let mut command = self.firewall.command("keepalived");
        command.args(["--dont-fork", "--log-console", "--log-detail", "--vrrp"]);
        for (option, file) in [("-f", "conf"), ("-p", "pid"), ("-r", "vrrp.pid")] {
            command.arg(option).arg(self.dir.join(file));
        }
        self.keepalived = Some(Background::spawn(command, &self.dir.join("log")).unwrap());
        self.until("answering", || {
            self.daemon.path("ctl").exists()
                && self.daemon.try_client(["-s"]).unwrap().status.success()
        });
    }

    /// Stops keepalived as a service is stopped: it gives its addresses back.
    fn stop_keepalived(&mut self) {
        let mut keepalived = self.keepalived.take().expect("not running");
        keepalived.signal(Signal::SIGTERM).unwrap();
        keepalived.wait(LIMIT).unwrap();
    }

    /// Whether it has the addresses that move.
    fn is_active(&self) -> bool {
        ADDRS.iter().all(|(interface, _, addr)| {
            self.firewall
                .run(&format!("ip -o addr show dev {interface}"))
                .unwrap()
                .contains(addr)
        })
    }

    /// Whether its kernel knows connections of the client. Its own, such as the advertisements, do not count.
    fn knows_connections(&self) -> bool {
        let lines = self.table.lines().unwrap();
        let of_the_client = |line: &String| {
            ["10.0.1.10", "fd00:1::10"]
                .iter()
                .any(|addr| line.contains(addr))
        };
        lines.iter().any(of_the_client)
    }

    /// How often it has taken each step of a takeover.
    fn takeovers(&self) -> [usize; 4] {
        TAKEOVER.map(|step| self.logged(step))
    }

    fn notify(&self, state: &str) -> Finished {
        let script = self.script.to_string_lossy();
        self.firewall.try_run(&format!("{script} {state}")).unwrap()
    }

    /// How often a line of the daemon's log ends so.
    fn logged(&self, text: &str) -> usize {
        let log = std::fs::read_to_string(self.daemon.path("log")).unwrap_or_default();
        log.lines().filter(|line| line.ends_with(text)).count()
    }

    #[track_caller]
    fn until(&self, what: &str, done: impl FnMut() -> bool) {
        let keepalived = || std::fs::read_to_string(self.dir.join("log")).unwrap_or_default();
        assert!(
            wait_until(LIMIT, done),
            "{} is never {what}\n{}\n{}",
            self.firewall.name(),
            self.daemon.messages(),
            keepalived()
        );
    }
}

/// The script as an administrator adapts it.
fn script_for(program: &Path, daemon: &Daemon) -> String {
    let path = |file| daemon.path(file).to_string_lossy().into_owned();
    let text = with(SCRIPT, "/usr/sbin/conntrackd", &program.to_string_lossy());
    let text = with(&text, "/etc/conntrackd/conntrackd.conf", &path("conf"));
    with(&text, "/var/lock/conntrack.lock", &path("lock"))
}

/// The sample as an administrator adapts it.
fn conf_for(script: &Path, priority: &str) -> String {
    let mut text = with(SAMPLE, COMMAND, &script.to_string_lossy());
    // The original has no such file.
    text = with(&text, "    sync_group_tracking_weight\n", "");
    text = with(&text, "    track_file {\n        conntrackd\n    }\n", "");
    text = with(&text, "track_file conntrackd", "track_file unused");
    for (_, sample, addr) in ADDRS {
        text = with(&text, sample, addr);
    }
    text = with(&text, "eth0", "lan");
    text = with(&text, "eth1", "wan");
    text = with(&text, "priority 150", &format!("priority {priority}"));
    with(
        &text,
        "    advert_int",
        "    preempt_delay 2\n    advert_int",
    )
}

/// A pair whose addresses are keepalived's to give.
fn pair() -> Pair {
    let pair = Pair::new().unwrap();
    for (interface, _, addr) in ADDRS {
        pair.a
            .run(&format!("ip addr del {addr} dev {interface}"))
            .unwrap();
    }
    pair
}

/// Waits until one is active with a table of its own, and the other one stands by with all of it in its cache and no
/// table.
#[track_caller]
fn roles(active: &Node, standby: &Node, when: &str) {
    active.until(&format!("active {when}"), || {
        active.is_active() && !standby.is_active()
    });
    let (mut internal, mut external) = (Vec::new(), Vec::new());
    let equal = wait_until(LIMIT, || {
        internal = active.daemon.internal().unwrap();
        external = standby.daemon.external().unwrap();
        !internal.is_empty() && internal == external
    });
    assert!(
        equal,
        "{when}\n{}active:\n{}standby:\n{}",
        listing::difference(&internal, &external),
        active.daemon.messages(),
        standby.daemon.messages()
    );
    active.until(&format!("aware of the connections {when}"), || {
        active.knows_connections()
    });
    standby.until(&format!("purged {when}"), || !standby.knows_connections());
}

#[track_caller]
fn all_run(connections: &[Traffic], when: &str) {
    for connection in connections {
        assert!(
            connection.progresses(200_000, PATIENCE),
            "{when}: {} stands still",
            connection.name()
        );
    }
}

/// What the daemon logs of a takeover, in order.
const TAKEOVER: [&str; 4] = [
    "committing all external caches",
    "flushing caches",
    "resync with master conntrack table",
    "sending bulk update",
];

/// Waits until a node has taken over once more, by the steps of the script, with the connections.
#[track_caller]
fn takes_over(node: &Node, before: [usize; 4], connections: &[Traffic], when: &str) {
    for (step, before) in TAKEOVER.into_iter().zip(before) {
        node.until(&format!("done `{step}` {when}"), || {
            node.logged(step) > before
        });
    }
    node.until(&format!("active {when}"), || node.is_active());
    all_run(connections, when);
}

#[test]
fn no_connection_is_lost_when_keepalived_moves_the_addresses_and_moves_them_back() {
    require_root_or_skip!("keepalived");
    require_feature_or_skip!(Feature::Conntrack, Feature::Nat);
    let pair = pair();
    let mut a = Node::prepare(&pair, true);
    let mut b = Node::prepare(&pair, false);
    a.start_keepalived();
    a.until("active in the beginning", || a.is_active());
    b.start_keepalived();

    let pace = Pace::default();
    let connections = vec![
        traffic::tcp(&pair.masqueraded("translated", 5001), pace).unwrap(),
        traffic::tcp(&pair.masqueraded("another translated", 5002), pace).unwrap(),
        traffic::tcp(&pair.forwarded("port forward"), pace).unwrap(),
        traffic::tcp(&pair.over_v6("IPv6", 5003), pace).unwrap(),
    ];
    // From now on nothing that passes is a connection opened anew.
    pair.close().unwrap();
    roles(&a, &b, "in the beginning");
    all_run(&connections, "in the beginning");

    let before = b.takeovers();
    pair.cut(&a.firewall).unwrap();
    takes_over(&b, before, &connections, "after A was cut off");
    a.until("told of its fault", || {
        a.logged("flushing conntrack table in 1 secs") >= 2
    });
    a.until("purged", || !a.knows_connections());

    let before = a.takeovers();
    for interface in ["sync", "lan", "wan"] {
        a.firewall.set_link(interface, true).unwrap();
    }
    takes_over(&a, before, &connections, "after A has returned");
    roles(&a, &b, "after A has returned");

    let before = b.takeovers();
    a.stop_keepalived();
    takes_over(&b, before, &connections, "after A's keepalived was stopped");

    let before = a.takeovers();
    a.start_keepalived();
    takes_over(&a, before, &connections, "after A's keepalived is back");
    roles(&a, &b, "after A's keepalived is back");

    for outcome in traffic::finish_all(connections, PATIENCE) {
        assert!(outcome.survived(), "{outcome:?}");
    }
}

#[test]
fn the_script_starts_a_daemon_that_has_died_and_refuses_what_it_does_not_know() {
    require_root_or_skip!();
    require_feature_or_skip!(Feature::Conntrack);
    let pair = pair();
    let a = Node::prepare(&pair, true);
    for state in ["", "master"] {
        let refused = a.notify(state);
        assert_eq!(refused.status.code(), Some(1), "{state}");
        assert!(refused.stderr.contains("usage:"), "{}", refused.stderr);
    }
    assert_eq!(a.logged("initialization completed"), 0);

    for starts in 1..=2 {
        let requests = a.logged("resync requested");
        let begun = a.notify("backup");
        assert!(begun.status.success(), "{begun:?}");
        assert!(a.daemon.try_client(["-s"]).unwrap().status.success());
        assert_eq!(a.logged("initialization completed"), starts);
        assert!(a.logged("flushing conntrack table in 1 secs") >= starts);
        assert_eq!(a.logged("resync requested"), requests + 1);
        // Told again it does not start another one.
        assert!(a.notify("backup").status.success());
        assert_eq!(a.logged("initialization completed"), starts);
        kill_daemon(&a);
        assert!(a.daemon.path("lock").exists(), "a crash leaves the lock");
    }

    // Nobody answers: each failure is said, none ends the script.
    for state in ["primary", "fault"] {
        let told = a.notify(state);
        let expected = if state == "primary" { 4 } else { 1 };
        assert_eq!(told.stderr.matches("can't connect").count(), expected);
    }
}

/// Kills the daemon that the script has started.
#[track_caller]
fn kill_daemon(node: &Node) {
    let mut command = std::process::Command::new(find_tool("ip").unwrap());
    command.args(["netns", "pids", node.firewall.name()]);
    let pids = netlab::process::run_within(command, "", LIMIT)
        .unwrap()
        .success()
        .unwrap();
    let pids: Vec<i32> = pids
        .lines()
        .map(|pid| pid.trim().parse().unwrap())
        .collect();
    assert_eq!(pids.len(), 1, "one daemon");
    for pid in pids {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    }
    node.until("dead", || {
        !node.daemon.try_client(["-s"]).unwrap().status.success()
    });
}
