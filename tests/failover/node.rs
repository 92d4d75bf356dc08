//! A firewall with its daemon and its keepalived.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use netlab::process::{Background, wait_until};
use netlab::{Daemon, Namespace, Pair, Peer, Table};
use nix::sys::signal::Signal;
use serde_json::Value;

const CONF: &str = include_str!("../../config/keepalived/keepalived.conf");
const GATE: &str = include_str!("../../config/keepalived/conntrackd-gate");
const OPEN: &str = include_str!("../../config/keepalived/gate-open.nft");
const CLOSED: &str = include_str!("../../config/keepalived/gate-closed.nft");
const COMMANDS: &str = include_str!("../../config/keepalived/conntrackd-notify");

const LIMIT: Duration = Duration::from_secs(40);

/// How long it may take to tell the other node what there is.
const STEP_LIMIT: Duration = Duration::from_secs(20);

/// The addresses that move: interface, in the samples, in the pair.
const ADDRS: [(&str, &str, &str); 4] = [
    ("lan", "192.168.0.1", "10.0.1.1"),
    ("lan", "fd00:1::1", "fd00:1::1"),
    ("wan", "192.168.1.1", "203.0.113.1"),
    ("wan", "fd00:2::1", "2001:db8:2::1"),
];

/// Translates to the address that moves, and lets nothing invalid reach the firewall itself.
const RULES: &str = "
    table inet own { chain input { type filter hook input priority 0; ct state invalid drop; }; }
    flush chain ip nat postrouting
    table ip nat { chain postrouting {
        oifname \"wan\" meta l4proto { tcp, udp } snat to 203.0.113.1 fully-random
    }; }
";

/// How the daemon hears of its role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// It reads keepalived's FIFO.
    Fifo,
    /// It reads keepalived's FIFO, but keepalived does not ask whether it is in step.
    Blindly,
    /// By `conntrackd-gate`.
    Gate,
    /// By `conntrackd-notify`: the commands of the original, one by one.
    Commands,
}

/// A pair whose addresses are keepalived's to give.
pub(crate) fn pair_without_addresses() -> Pair {
    let pair = Pair::new().unwrap();
    for (interface, _, addr) in ADDRS {
        let len = if addr.contains(':') { 64 } else { 24 };
        let line = format!("ip addr del {addr}/{len} dev {interface}");
        pair.a.run(&line).unwrap();
    }
    pair
}

pub(crate) struct Node {
    pub(crate) firewall: Namespace,
    pub(crate) daemon: Daemon,
    peer: Peer,
    dir: PathBuf,
    keepalived: Option<Background>,
}

impl Node {
    /// Everything configured from the samples and started, daemon first.
    pub(crate) fn start(pair: &Pair, a: bool, peer: Peer, told: Told, entries: usize) -> Self {
        let (firewall, own, priority) = if a {
            (&pair.a, 2, "150")
        } else {
            (&pair.b, 3, "100")
        };
        for (interface, addr) in [("lan", "10.0.1"), ("wan", "203.0.113")] {
            let addr = format!("{addr}.{own}/24");
            firewall.add_addr(interface, &addr).unwrap();
        }
        firewall.nft(RULES).unwrap();
        let mut config = pair.config(a).sized_for(entries);
        // Soon: what an old role left in the kernel must not be what helps later.
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
        let program = peer.program().expect("no program");
        let mut daemon = Daemon::prepare(&program, &pair.lab, firewall, &config).unwrap();
        let dir = daemon.path("keepalived");
        std::fs::create_dir(&dir).unwrap();
        if peer == Peer::Ours {
            configure_ours(&mut daemon, told);
        }
        let command = write_scripts(&dir, &program, &daemon, told);
        let conf = conf_for(&daemon, priority, told, &command);
        std::fs::write(dir.join("conf"), conf).unwrap();
        let mut node = Self {
            firewall: firewall.clone(),
            daemon,
            peer,
            dir,
            keepalived: None,
        };
        node.boot();
        node
    }

    /// Starts the daemon and keepalived, as a machine does that has nothing else yet.
    pub(crate) fn boot(&mut self) {
        self.daemon.launch().unwrap();
        let mut command = self.firewall.command("keepalived");
        command.args(["--dont-fork", "--log-console", "--log-detail", "--vrrp"]);
        for (option, file) in [("-f", "conf"), ("-p", "pid"), ("-r", "vrrp.pid")] {
            command.arg(option).arg(self.dir.join(file));
        }
        self.keepalived = Some(Background::spawn(command, &self.dir.join("log")).unwrap());
    }

    pub(crate) fn stop(&mut self) {
        if let Some(mut keepalived) = self.keepalived.take() {
            keepalived.signal(Signal::SIGTERM).unwrap();
            keepalived.wait(LIMIT).unwrap();
        }
        self.daemon.stop().unwrap();
    }

    /// Everything ends at once, without a word to anybody; nothing is left but files.
    pub(crate) fn die(&mut self, pair: &Pair) {
        pair.cut(&self.firewall).unwrap();
        for pid in self.pids_of_keepalived() {
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), Signal::SIGKILL);
        }
        if let Some(mut keepalived) = self.keepalived.take() {
            let _ = keepalived.wait(LIMIT);
        }
        self.daemon.kill().unwrap();
        let _ = std::fs::remove_file(self.daemon.path("ready"));
        for (interface, _, addr) in ADDRS {
            let len = if addr.contains(':') { 64 } else { 24 };
            let line = format!("ip addr del {addr}/{len} dev {interface}");
            let _ = self.firewall.try_run(&line);
        }
        let _ = self
            .firewall
            .try_run("nft delete table inet conntrackd_gate");
        // The kernel starts with an empty table.
        self.firewall.run("conntrack -F").unwrap();
    }

    fn pids_of_keepalived(&self) -> Vec<i32> {
        ["vrrp.pid", "pid"]
            .iter()
            .filter_map(|file| std::fs::read_to_string(self.dir.join(file)).ok())
            .filter_map(|text| text.trim().parse().ok())
            .collect()
    }

    /// Whether it has the addresses that move.
    pub(crate) fn is_active(&self) -> bool {
        ["lan", "wan"].iter().all(|interface| {
            let line = format!("ip -o addr show dev {interface}");
            let shown = self.firewall.run(&line).unwrap_or_default();
            ADDRS
                .iter()
                .filter(|(of, ..)| of == interface)
                .all(|(_, _, addr)| shown.contains(&format!(" {addr}/")))
        })
    }

    /// Whether it could take over.
    pub(crate) fn is_ready(&self) -> bool {
        self.daemon.try_client(["ready"]).unwrap().status.success()
    }

    fn report(&self) -> Value {
        let text = self.daemon.client(["stats", "--json"]).unwrap();
        serde_json::from_str(&text).unwrap()
    }

    /// Whether it is primary and has done all that belongs to it.
    pub(crate) fn is_settled(&self) -> bool {
        let role = self.report()["role"].clone();
        role["role"] == "primary" && role["settled"] == true
    }

    /// Entries that the other node has told.
    pub(crate) fn external(&self) -> u64 {
        self.daemon
            .counter("cache external", "current active connections")
            .unwrap()
    }

    /// Entries that its commits have put into the kernel, or are about to.
    pub(crate) fn committing(&self) -> u64 {
        let report = self.report();
        let number = |value: &Value| value.as_u64().unwrap_or(0);
        number(&report["commits"]["entries"]) + number(&report["work"]["commit"]["total"])
    }

    pub(crate) fn table_len(&self) -> usize {
        Table::open(&self.firewall).unwrap().len().unwrap()
    }

    /// Waits until it has what the other one has: by its word, or, where it has none, by looking.
    pub(crate) fn until_in_step(&self, active: &Node) {
        let in_step = wait_until(STEP_LIMIT, || match self.peer {
            Peer::Ours => self.is_ready() && self.external() > 0,
            Peer::Original => {
                let internal = active.daemon.internal().unwrap();
                !internal.is_empty() && internal == self.daemon.external().unwrap()
            }
        });
        assert!(
            in_step,
            "never in step\nactive, with {} entries in its kernel:\n{}\n{}standby:\n{}\n{}",
            active.table_len(),
            active.report(),
            active.daemon.messages(),
            self.report(),
            self.daemon.messages()
        );
    }

    /// What it has said and what it is, for a test that fails.
    pub(crate) fn account(&self) -> String {
        let keepalived = std::fs::read_to_string(self.dir.join("log")).unwrap_or_default();
        let gate = self.firewall.run("nft list tables").unwrap_or_default();
        format!(
            "{}, active: {}, tables:\n{gate}daemon:\n{}keepalived:\n{keepalived}",
            self.firewall.name(),
            self.is_active(),
            self.daemon.messages(),
        )
    }

    #[track_caller]
    pub(crate) fn until(&self, what: &str, done: impl FnMut() -> bool) {
        assert!(wait_until(LIMIT, done), "never {what}: {}", self.account());
    }
}

/// The same configuration in TOML, which knows the options that keepalived needs.
fn configure_ours(daemon: &mut Daemon, told: Told) {
    let toml = daemon.try_client(["convert"]).unwrap().stdout;
    let path = |file| daemon.path(file).display().to_string();
    let mut options = format!("[general]\nready_file = \"{}\"\n", path("ready"));
    if matches!(told, Told::Fifo | Told::Blindly) {
        options += &format!("keepalived_fifo = \"{}\"\n", path("fifo"));
    }
    let toml = with(&toml, "[general]\n", &options);
    daemon.configure_toml(&toml).unwrap();
}

/// Scripts as an administrator adapts them. Returns what keepalived calls, less the role.
fn write_scripts(dir: &Path, program: &Path, daemon: &Daemon, told: Told) -> String {
    let conf = daemon.config_path().display().to_string();
    let client = format!("{} -C {conf} role", program.display());
    let (name, text) = match told {
        Told::Fifo | Told::Blindly => return client,
        Told::Gate => {
            let mut closed = CLOSED.to_owned();
            for (_, sample, addr) in ADDRS {
                closed = with(&closed, sample, addr);
            }
            std::fs::write(dir.join("gate-closed.nft"), closed).unwrap();
            std::fs::write(dir.join("gate-open.nft"), OPEN).unwrap();
            let text = with(GATE, "/usr/sbin/conntrackd role", &client);
            let text = with(&text, "/etc/conntrackd", &dir.display().to_string());
            ("conntrackd-gate", text)
        }
        Told::Commands => {
            let text = with(
                COMMANDS,
                "/usr/sbin/conntrackd",
                &program.display().to_string(),
            );
            let text = with(&text, "/etc/conntrackd/conntrackd.conf", &conf);
            let lock = daemon.path("lock").display().to_string();
            (
                "conntrackd-notify",
                with(&text, "/var/lock/conntrack.lock", &lock),
            )
        }
    };
    let script = dir.join(name);
    std::fs::write(&script, text).unwrap();
    std::fs::set_permissions(&script, Permissions::from_mode(0o755)).unwrap();
    script.display().to_string()
}

/// The sample as an administrator adapts it; everything faster.
fn conf_for(daemon: &Daemon, priority: &str, told: Told, command: &str) -> String {
    let mut text = CONF.to_owned();
    for (_, sample, addr) in ADDRS {
        text = with(&text, &format!("{sample}/"), &format!("{addr}/"));
    }
    text = with(&text, "eth0", "lan");
    text = with(&text, "eth1", "wan");
    text = with(&text, "priority 150", &format!("priority {priority}"));
    text = with(&text, "advert_int 0.5", "advert_int 0.1");
    let ready = daemon.path("ready").display().to_string();
    text = with(&text, "/run/conntrackd.ready", &ready);
    if matches!(told, Told::Blindly | Told::Commands) {
        text = with(&text, "    sync_group_tracking_weight\n", "");
        text = with(&text, "    track_file {\n        conntrackd\n    }\n", "");
    }
    match told {
        Told::Fifo | Told::Blindly => {
            let fifo = daemon.path("fifo").display().to_string();
            text = with(
                &text,
                "#vrrp_notify_fifo /run/conntrackd.fifo",
                &format!("vrrp_notify_fifo {fifo}"),
            );
            let lines = text
                .lines()
                .filter(|line| !line.trim_start().starts_with("notify_"));
            lines.fold(String::new(), |text, line| text + line + "\n")
        }
        Told::Gate => with(&text, "/usr/sbin/conntrackd role", command),
        Told::Commands => {
            // The original has no word for being in step: a fixed time must do.
            text = with(
                &text,
                "    advert_int",
                "    preempt_delay 2\n    advert_int",
            );
            with(&text, "/usr/sbin/conntrackd role", command)
        }
    }
}

/// The text with some words replaced, which must be there.
#[track_caller]
fn with(text: &str, words: &str, replacement: &str) -> String {
    assert!(text.contains(words), "no `{words}` in\n{text}");
    text.replace(words, replacement)
}
