//! What other programs call to tell the daemon its role: keepalived's FIFO, Pacemaker, VyOS, systemd, FRR.

use std::fs::Permissions;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use netlab::process::{Background, run_within, wait_until};
use netlab::skip::find_tool;
use netlab::{Daemon, Feature, Lab, NodeConfig, Peer, Table, sample};
use netlab::{require_feature_or_skip, require_root_or_skip};
use nix::sys::signal::Signal;
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(10);
const UNIT: &str = include_str!("../config/systemd/conntrackd-role@.service");
const FRR: &str = include_str!("../config/frr/conntrackd-frr");

macro_rules! require_kernel_or_skip {
    () => {
        require_root_or_skip!("conntrackd");
        require_feature_or_skip!(Feature::Conntrack);
    };
}

/// A node with entries, and a peer that has told some.
struct Site {
    daemon: Daemon,
    peer: Daemon,
    _lab: Lab,
}

impl Site {
    fn new(options: &str) -> Self {
        let mut lab = Lab::new().unwrap();
        let [a, b] = ["a", "b"].map(|role| lab.namespace(role).unwrap());
        lab.cable((&a, "sync"), (&b, "sync")).unwrap();
        a.add_addr("sync", "192.168.100.1/24").unwrap();
        b.add_addr("sync", "192.168.100.2/24").unwrap();
        let config = |addr| NodeConfig::ftfw_multicast("sync", addr);
        let peer = Daemon::start(Peer::Ours, &lab, &b, &config("192.168.100.2")).unwrap();
        let program = Peer::Ours.program().unwrap();
        let mut daemon = Daemon::prepare(&program, &lab, &a, &config("192.168.100.1")).unwrap();
        if !options.is_empty() {
            let dir = daemon.path("").display().to_string();
            let options = format!("[general]\n{}\n", options.replace("DIR/", &dir));
            let toml = daemon.try_client(["convert"]).unwrap().stdout;
            daemon
                .configure_toml(&toml.replace("[general]\n", &options))
                .unwrap();
        }
        daemon.launch().unwrap();
        for (namespace, first) in [(&a, 0), (&b, 1000)] {
            let mut table = Table::open(namespace).unwrap();
            table.create((first..first + 20).map(sample::nth)).unwrap();
        }
        let site = Self {
            daemon,
            peer,
            _lab: lab,
        };
        assert!(wait_until(LIMIT, || {
            site.daemon.internal().unwrap().len() == 20
                && site.daemon.external().unwrap().len() == 20
        }));
        site
    }

    fn role(&self) -> Value {
        serde_json::from_str(&self.daemon.client(["role", "--json"]).unwrap()).unwrap()
    }

    #[track_caller]
    fn becomes(&self, role: &str, cause: &str) {
        let becomes = || {
            let told = self.role();
            told["role"] == role && told["cause"] == cause && told["settled"] == true
        };
        assert!(
            wait_until(LIMIT, becomes),
            "not {role} by {cause}: {}\n{}",
            self.role(),
            self.daemon.messages()
        );
    }

    fn stop(mut self) {
        self.daemon.stop().unwrap();
        self.peer.stop().unwrap();
    }
}

#[test]
fn roles_are_read_from_the_fifo_of_keepalived_across_its_ends() {
    require_kernel_or_skip!();
    let site = Site::new("keepalived_fifo = \"DIR/fifo\"");
    let path = site.daemon.path("fifo");
    let write = |text: &str| {
        let mut fifo = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        fifo.write_all(text.as_bytes()).unwrap();
    };
    write("INSTANCE \"inside\" BACKUP 150\nGROUP \"firewall\" BACKUP 150\n");
    site.becomes("backup", "keepalived");
    write("garbage\nINSTANCE \"inside\" MASTER 150\nGROUP \"firewall\" MASTER 150\n");
    site.becomes("primary", "keepalived");
    let log = site.daemon.messages();
    assert_eq!(log.matches("becoming primary").count(), 1, "{log}");
    assert!(log.contains("Committed 20 new entries"), "{log}");
    write("INSTANCE \"inside\" STOP 0\n");
    site.becomes("fault", "keepalived");

    // keepalived removes a FIFO that it has made, and makes it again.
    std::fs::remove_file(&path).unwrap();
    nix::unistd::mkfifo(
        &path,
        nix::sys::stat::Mode::S_IRUSR | nix::sys::stat::Mode::S_IWUSR,
    )
    .unwrap();
    write("GROUP \"firewall\" BACKUP 150\n");
    site.becomes("backup", "keepalived");
    site.stop();
}

#[test]
fn the_calls_of_the_agent_of_pacemaker_work() {
    require_kernel_or_skip!();
    let mut site = Site::new("");
    // The agent looks for the socket in the file, line by line.
    let conf = std::fs::read_to_string(site.daemon.config_path()).unwrap();
    let mut lines = conf.lines().skip_while(|line| !line.starts_with("UNIX {"));
    let socket = lines
        .find_map(|line| line.trim().strip_prefix("Path "))
        .unwrap();
    let is_monitored = |daemon: &Daemon| {
        std::path::Path::new(socket).exists() && daemon.try_client(["-s"]).unwrap().status.success()
    };
    // start
    site.daemon.stop().unwrap();
    assert!(!is_monitored(&site.daemon));
    site.daemon.launch().unwrap();
    assert!(is_monitored(&site.daemon));
    site.daemon.client(["-n"]).unwrap();
    site.becomes("backup", "resync request (-n)");
    assert!(wait_until(LIMIT, || site.daemon.external().unwrap().len() == 20));
    // promote
    for step in ["-c", "-f", "-R", "-B"] {
        site.daemon.client([step]).unwrap();
    }
    site.becomes("primary", "commit (-c)");
    assert!(wait_until(LIMIT, || site.daemon.internal().unwrap().len() == 40));
    // demote; the other node has been promoted
    for step in ["-t", "-n", "-B"] {
        site.daemon.client([step]).unwrap();
    }
    let role = site.role();
    assert!(role["generation"].as_u64() >= Some(2), "{role}");
    // stop
    site.daemon.client(["-k"]).unwrap();
    assert!(
        !std::path::Path::new(socket).exists(),
        "the socket is gone when -k returns"
    );
    site.daemon.ends().unwrap();
    site.peer.stop().unwrap();
}

#[test]
fn the_calls_of_vyos_work() {
    require_kernel_or_skip!();
    let site = Site::new("");
    for step in ["-c", "-f", "-R", "-B"] {
        site.daemon.client([step]).unwrap();
        if step == "-c" {
            site.daemon.client(["-c", "exp"]).unwrap();
        }
    }
    site.becomes("primary", "commit (-c)");
    assert!(wait_until(LIMIT, || site.daemon.internal().unwrap().len() == 40));
    for words in [
        ["-i", "ct", "-x"],
        ["-e", "ct", "-x"],
        ["-i", "expect", "-x"],
        ["-e", "expect", "-x"],
    ] {
        // Each line is a document of its own.
        for line in site.daemon.client(words).unwrap().lines() {
            assert!(
                line.starts_with("<flow><meta direction=\"original\">")
                    && line.ends_with("</flow>"),
                "{line}"
            );
        }
    }
    for words in [
        vec!["-s"],
        vec!["-s", "exp"],
        vec!["-B"],
        vec!["-n"],
        vec!["-f", "internal"],
        vec!["-f", "external"],
        vec!["-R"],
    ] {
        site.daemon.client(words).unwrap();
    }
    site.stop();
}

#[test]
fn the_unit_for_roles_takes_a_role() {
    require_kernel_or_skip!();
    let site = Site::new("");
    let line = UNIT
        .lines()
        .find_map(|line| line.strip_prefix("ExecStart="))
        .unwrap();
    for role in ["primary", "backup"] {
        let words = line.replace("%i", role);
        let words: Vec<_> = words.split(' ').skip(1).collect();
        site.daemon.client(words).unwrap();
        site.becomes(role, "role");
    }
    if find_tool("systemd-analyze").is_none() {
        netlab::skip::skip("`systemd-analyze` is not installed: the unit is not verified");
        return site.stop();
    }
    let dir = site.daemon.path("units");
    std::fs::create_dir(&dir).unwrap();
    let program = Peer::Ours.program().unwrap();
    let unit = UNIT.replace("/usr/sbin/conntrackd", &program.display().to_string());
    let daemon = format!("[Service]\nExecStart={}\n", program.display());
    std::fs::write(dir.join("conntrackd-role@primary.service"), unit).unwrap();
    std::fs::write(dir.join("conntrackd.service"), daemon).unwrap();
    let mut verify = std::process::Command::new(find_tool("systemd-analyze").unwrap());
    verify
        .args(["verify", "--man=no"])
        .arg(dir.join("conntrackd-role@primary.service"))
        .env("SYSTEMD_UNIT_PATH", format!("{}:", dir.display()));
    let verdict = run_within(verify, "", LIMIT).unwrap();
    assert!(verdict.status.success(), "{}", verdict.stderr);
    site.stop();
}

#[test]
fn a_virtual_router_of_frr_is_followed() {
    require_kernel_or_skip!();
    let site = Site::new("");
    let bin = site.daemon.path("bin");
    std::fs::create_dir(&bin).unwrap();
    let script = |name: &str, text: &str| {
        std::fs::write(bin.join(name), text).unwrap();
        std::fs::set_permissions(bin.join(name), Permissions::from_mode(0o755)).unwrap();
    };
    // It answers as vtysh does, with the state that a file holds.
    let state = bin.join("state");
    let answer = "#!/bin/sh\n[ \"$2\" = 'show vrrp 5 json' ] && printf '[{\"vrid\":5,\"v4\":{\"status\":\"%s\"}}]' \"$(cat STATE)\"\n";
    script(
        "vtysh",
        &answer.replace("STATE", &state.display().to_string()),
    );
    let client = format!(
        "{} -C {} role",
        Peer::Ours.program().unwrap().display(),
        site.daemon.config_path().display()
    );
    assert!(FRR.contains("/usr/sbin/conntrackd role"));
    script(
        "conntrackd-frr",
        &FRR.replace("/usr/sbin/conntrackd role", &client),
    );
    std::fs::write(&state, "Backup").unwrap();
    let mut command = site.daemon.namespace().command("env");
    let path = std::env::var("PATH").unwrap_or_default();
    command.arg(format!("PATH={}:{path}", bin.display()));
    command.arg(bin.join("conntrackd-frr")).args(["5", "0.1"]);
    let mut follower = Background::spawn(command, &bin.join("log")).unwrap();
    for (told, role) in [
        ("Backup", "backup"),
        ("Master", "primary"),
        ("Initialize", "fault"),
        ("", "fault"),
    ] {
        std::fs::write(&state, told).unwrap();
        site.becomes(role, "role");
    }
    follower.signal(Signal::SIGTERM).unwrap();
    let _ = follower.wait(LIMIT);
    site.stop();
}
