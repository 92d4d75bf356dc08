//! What a daemon that somebody has taken over could still do: asked from inside, through a debugger that makes the
//! running process call functions; and who may ask it for what.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use netlab::process::{Finished, run_within};
use netlab::table::Table;
use netlab::{Daemon, Feature, Lab, NodeConfig, Peer, sample};
use netlab::{require_feature_or_skip, require_root_or_skip};

const LIMIT: Duration = Duration::from_secs(60);

/// The user that may do nothing: `nobody`, in a group of its own.
const NOBODY: &str = "--reuid=65534 --regid=65534 --clear-groups";

macro_rules! require_or_skip {
    ($($tool:expr),*) => {
        require_root_or_skip!("conntrackd", $($tool),*);
        require_feature_or_skip!(Feature::Conntrack);
    };
}

/// A node with a link to nobody.
fn node(lab: &mut Lab, program: &Path) -> Daemon {
    let [a, b] = ["a", "b"].map(|role| lab.namespace(role).unwrap());
    lab.cable((&a, "sync"), (&b, "sync")).unwrap();
    a.add_addr("sync", "192.168.100.1/24").unwrap();
    let config = NodeConfig::ftfw_multicast("sync", "192.168.100.1");
    Daemon::prepare(program, lab, &a, &config).unwrap()
}

/// Has the running process evaluate expressions; returns their values.
fn inside(daemon: &Daemon, expressions: &[String]) -> Vec<i64> {
    let pid = daemon.pid().unwrap().to_string();
    let mut command = Command::new("gdb");
    command.args(["-nx", "-batch", "-p", &pid]);
    for expression in expressions {
        command.args(["-ex", &format!("print \"value\", {expression}")]);
    }
    let said = run_within(command, "", LIMIT).unwrap();
    let values: Vec<_> = said
        .stdout
        .lines()
        .filter_map(|line| line.strip_prefix('$')?.split_once(" = ")?.1.parse().ok())
        .collect();
    assert_eq!(values.len(), expressions.len(), "{said:?}");
    values
}

fn open(path: &Path, flags: i32) -> String {
    format!("(int)open64(\"{}\", {flags}, 0600)", path.display())
}

/// Binds a fresh TCP or UDP socket to a port of any address.
fn bind(kind: i32, port: u16) -> String {
    let [high, low] = port.to_be_bytes();
    format!(
        "(int)bind((int)socket(2, {kind}, 0), \
         ($a = (char*)calloc(1, 16), $a[0] = 2, $a[2] = {high}, $a[3] = {low}, $a), 16)"
    )
}

const WRITE: i32 = 0o1;
const CREATE: i32 = 0o101;

#[test]
fn from_inside_nothing_can_be_started_written_or_bound_that_is_not_the_daemons() {
    require_or_skip!("gdb");
    let mut lab = Lab::new().unwrap();
    let mut daemon = node(&mut lab, &Peer::Ours.program().unwrap());
    daemon.launch().unwrap();
    let foreign = lab.dir().join("intruder");
    let existing = lab.dir().join("existing");
    std::fs::write(&existing, "kept").unwrap();
    let refused = [
        open(&foreign, CREATE),
        open(&existing, WRITE),
        format!("(int)unlink(\"{}\")", existing.display()),
        format!("(int)mkdir(\"{}\", 0700)", foreign.display()),
        // By its other name: a library has a function `fork` of its own.
        "(int)__fork()".to_owned(),
        "(int)execl(\"/bin/true\", \"true\", (char*)0)".to_owned(),
        // A TCP port, and a UDP port that takes a right of its own.
        bind(1, 4000),
        bind(2, 53),
        // Packets on the wire, and another family of netlink.
        "(int)socket(17, 3, 768)".to_owned(),
        "(int)socket(16, 3, 16)".to_owned(),
        "(int)unshare(0x10000000)".to_owned(),
        "(int)kill(1, 0)".to_owned(),
        "(int)setuid(0)".to_owned(),
    ];
    let values = inside(&daemon, &refused);
    for (call, value) in refused.iter().zip(&values) {
        assert_eq!(*value, -1, "{call}");
    }
    assert_eq!(std::fs::read_to_string(&existing).unwrap(), "kept");
    // What it needs it can: its log, a socket for the link, the kernel's table.
    let allowed = [
        open(&daemon.path("log"), WRITE),
        "(int)socket(2, 2, 0)".to_owned(),
        "(int)socket(16, 3, 12)".to_owned(),
    ];
    let values = inside(&daemon, &allowed);
    assert!(values.iter().all(|&value| value >= 0), "{values:?}");
    daemon.client(["-s"]).unwrap();
    daemon.stop().unwrap();
    assert!(!daemon.path("ctl").exists() && !daemon.path("lock").exists());
}

#[test]
fn with_the_sandbox_off_the_same_file_can_be_written() {
    require_or_skip!("gdb");
    let mut lab = Lab::new().unwrap();
    let mut daemon = node(&mut lab, &Peer::Ours.program().unwrap());
    daemon.set_env("CONNTRACKD_SANDBOX", "off");
    daemon.launch().unwrap();
    let foreign = lab.dir().join("intruder");
    let values = inside(&daemon, &[open(&foreign, CREATE), bind(1, 4000)]);
    assert!(values[0] >= 0 && values[1] == 0, "{values:?}");
    assert!(foreign.exists());
    // The rights are given up all the same.
    assert_eq!(inside(&daemon, &[bind(2, 53)]), [-1]);
    assert!(
        daemon.messages().contains("sandbox is off"),
        "{}",
        daemon.messages()
    );
    daemon.stop().unwrap();
}

/// A line of the status of the daemon's threads, which is the same for all of them.
fn status(daemon: &Daemon, name: &str) -> String {
    let of_thread = |path: PathBuf| {
        let status = std::fs::read_to_string(path.join("status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap().trim_start_matches(':').trim().to_owned()
    };
    let mut lines: Vec<_> = threads(daemon).into_iter().map(of_thread).collect();
    lines.dedup();
    assert_eq!(lines.len(), 1, "{name}: {lines:?}");
    lines.remove(0)
}

/// What the kernel tells of each of the daemon's threads.
fn threads(daemon: &Daemon) -> Vec<PathBuf> {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", daemon.pid().unwrap())).unwrap();
    tasks.map(|task| task.unwrap().path()).collect()
}

/// The scheduling policy of a thread.
fn policy(thread: &Path) -> String {
    let stat = std::fs::read_to_string(thread.join("stat")).unwrap();
    // The 41st field; the second is a name in parentheses.
    let (_, rest) = stat.rsplit_once(") ").unwrap();
    rest.split(' ').nth(38).unwrap().to_owned()
}

#[test]
fn only_the_right_to_change_the_network_is_kept() {
    require_or_skip!();
    let mut lab = Lab::new().unwrap();
    let mut daemon = node(&mut lab, &Peer::Ours.program().unwrap());
    daemon.launch().unwrap();
    let net_admin = format!("{:016x}", 1 << 12);
    for set in ["CapEff", "CapPrm", "CapBnd"] {
        assert_eq!(status(&daemon, set), net_admin, "{set}");
    }
    for set in ["CapInh", "CapAmb"] {
        assert_eq!(status(&daemon, set), "0000000000000000", "{set}");
    }
    assert_eq!(status(&daemon, "NoNewPrivs"), "1");
    assert_eq!(status(&daemon, "Seccomp"), "2");
    // That goes for the other threads too, of which the one that fetches tables is of no real-time class.
    let mut policies: Vec<_> = threads(&daemon).iter().map(|t| policy(t)).collect();
    policies.sort();
    assert!(
        policies.len() == 3 && policies[0] == "0" && policies[1] != "0",
        "{policies:?}"
    );
    daemon.stop().unwrap();
}

/// A copy of the program where everybody may run it, and a script that does as nobody.
fn as_nobody(lab: &Lab, rights: &str) -> PathBuf {
    let program = lab.dir().join("conntrackd");
    std::fs::copy(Peer::Ours.program().unwrap(), &program).unwrap();
    let script = lab.dir().join(format!("nobody{}", rights.len()));
    let text = format!(
        "#!/bin/sh\nexec setpriv {NOBODY} {rights} {} \"$@\"\n",
        program.display()
    );
    std::fs::write(&script, text).unwrap();
    std::fs::set_permissions(&script, Permissions::from_mode(0o755)).unwrap();
    std::fs::set_permissions(lab.dir(), Permissions::from_mode(0o755)).unwrap();
    script
}

#[test]
fn a_user_with_one_capability_replicates_commits_and_ends_cleanly() {
    require_or_skip!("setpriv");
    let mut lab = Lab::new().unwrap();
    let script = as_nobody(&lab, "--inh-caps=+net_admin --ambient-caps=+net_admin");
    let mut daemon = node(&mut lab, &script);
    let dir = daemon.path("conf").parent().unwrap().to_owned();
    std::os::unix::fs::chown(&dir, Some(65534), Some(65534)).unwrap();
    sample::prepare(daemon.namespace()).unwrap();
    daemon.launch().unwrap();
    assert_eq!(status(&daemon, "Uid"), "65534\t65534\t65534\t65534");
    assert_eq!(status(&daemon, "CapEff"), format!("{:016x}", 1 << 12));
    let mut table = Table::open(daemon.namespace()).unwrap();
    table.create((0..100).map(sample::nth)).unwrap();
    assert!(netlab::process::wait_until(LIMIT, || {
        daemon.internal().unwrap().len() == 100
    }));
    // Buffers beyond the system's limit, readings, commands: nothing needs more.
    for command in ["-R", "-c", "-f", "-B", "-n", "-t"] {
        daemon.client([command]).unwrap();
    }
    daemon.stop().unwrap();
    assert!(!daemon.path("ctl").exists() && !daemon.path("lock").exists());
    let messages = daemon.messages();
    assert!(!messages.contains("ERROR"), "{messages}");
}

#[test]
fn members_of_the_group_may_look_and_command_nothing() {
    require_or_skip!("setpriv");
    let mut lab = Lab::new().unwrap();
    let mut daemon = node(&mut lab, &Peer::Ours.program().unwrap());
    let toml = daemon.client(["convert"]).unwrap();
    let group = nix::unistd::Group::from_gid(65534.into()).unwrap().unwrap();
    let option = format!("[general]\nunix_group = \"{}\"\n", group.name);
    daemon
        .configure_toml(&toml.replace("[general]\n", &option))
        .unwrap();
    let stranger = as_nobody(&lab, "");
    daemon.launch().unwrap();
    let mode = std::fs::metadata(daemon.path("ctl")).unwrap().permissions();
    assert_eq!(mode.mode() & 0o7777, 0o660);
    let ask = |words: &[&str]| -> Finished { daemon.client_of(&stranger, words).unwrap() };
    for looks in [
        &["-s"][..],
        &["-i"],
        &["-e", "-x"],
        &["role"],
        &["stats", "--json"],
    ] {
        assert!(ask(looks).status.success(), "{looks:?}: {:?}", ask(looks));
    }
    let commands = [
        &["-k"][..],
        &["-c"],
        &["-F"],
        &["-f"],
        &["-t"],
        &["role", "primary"],
    ];
    for command in commands {
        let refused = ask(command);
        assert_eq!(refused.status.code(), Some(1), "{command:?}: {refused:?}");
        assert!(refused.stderr.contains("permission denied"), "{refused:?}");
        assert_eq!(refused.stdout, "", "{command:?}");
    }
    let report = daemon.client(["stats", "--json"]).unwrap();
    let refused = format!("\"clients_refused\":{}", commands.len());
    assert!(report.contains(&refused), "{report}");
    assert!(daemon.messages().contains("user 65534 may not"));
    // Root may do everything, and did not lose the daemon to the stranger.
    daemon.client(["-c"]).unwrap();
    daemon.stop().unwrap();
}

#[test]
fn without_a_group_the_socket_is_for_its_user_alone() {
    require_or_skip!("setpriv");
    let mut lab = Lab::new().unwrap();
    let mut daemon = node(&mut lab, &Peer::Ours.program().unwrap());
    let stranger = as_nobody(&lab, "");
    daemon.launch().unwrap();
    let refused = daemon.client_of(&stranger, ["-s"]).unwrap();
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert!(refused.stderr.contains("can't connect"), "{refused:?}");
    daemon.stop().unwrap();
}

/// The figure in `SECURITY.md`.
const EXPOSURE_MAX: &str = "23";

#[test]
fn the_unit_is_as_little_exposed_as_is_promised() {
    let Some(analyze) = netlab::skip::find_tool("systemd-analyze") else {
        netlab::skip::skip("`systemd-analyze` is not installed");
        return;
    };
    let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../systemd/conntrackd.service");
    let mut command = Command::new(analyze);
    command.args(["security", "--offline=true", "--threshold", EXPOSURE_MAX]);
    command.arg(unit);
    let said = run_within(command, "", LIMIT).unwrap();
    assert!(said.status.success(), "{}", said.stdout);
}

#[test]
fn what_a_daemon_could_not_remove_is_swept_away_and_a_live_one_is_left_alone() {
    require_or_skip!("setpriv");
    let mut lab = Lab::new().unwrap();
    let mut daemon = node(&mut lab, &Peer::Ours.program().unwrap());
    daemon.launch().unwrap();
    let refused = daemon.try_client(["sweep"]).unwrap();
    assert!(!refused.status.success(), "{refused:?}");
    assert!(daemon.path("ctl").exists() && daemon.path("lock").exists());
    daemon.kill().unwrap();
    assert!(daemon.path("ctl").exists() && daemon.path("lock").exists());
    // As in `/var/lock`, where everybody may write and files are the daemon's user's.
    let lock = daemon.path("lock");
    std::os::unix::fs::chown(&lock, Some(65534), None).unwrap();
    let everybody = Permissions::from_mode(0o1777);
    std::fs::set_permissions(lock.parent().unwrap(), everybody).unwrap();
    daemon.client(["sweep"]).unwrap();
    assert!(!daemon.path("ctl").exists() && !daemon.path("lock").exists());
}

#[test]
fn entries_that_the_policy_forbids_come_into_neither_cache_nor_kernel() {
    require_or_skip!();
    let mut lab = Lab::new().unwrap();
    let [a, b] = ["a", "b"].map(|role| lab.namespace(role).unwrap());
    lab.cable((&a, "sync"), (&b, "sync")).unwrap();
    a.add_addr("sync", "192.168.100.1/24").unwrap();
    b.add_addr("sync", "192.168.100.2/24").unwrap();
    let config = |addr| NodeConfig::ftfw_multicast("sync", addr);
    // The peer is the original, or somebody who speaks like it.
    let peer = Daemon::start(Peer::Original, &lab, &a, &config("192.168.100.1")).unwrap();
    let program = Peer::Ours.program().unwrap();
    let mut daemon = Daemon::prepare(&program, &lab, &b, &config("192.168.100.2")).unwrap();
    let toml = daemon.client(["convert"]).unwrap();
    // Of the samples a quarter is IPv6, and a quarter UDP.
    let policy = "\n[policy]\naddresses = [\"0.0.0.0/0\"]\nprotocols = [\"tcp\"]\n";
    daemon.configure_toml(&(toml + policy)).unwrap();
    daemon.launch().unwrap();
    sample::prepare(&a).unwrap();
    let mut table = Table::open(&a).unwrap();
    table.create((0..400).map(sample::nth)).unwrap();
    let refused = |reason: &str| {
        let report = daemon.client(["stats", "--json"]).unwrap();
        let report: serde_json::Value = serde_json::from_str(&report).unwrap();
        report["policy"][reason].as_u64().unwrap()
    };
    assert!(
        netlab::process::wait_until(LIMIT, || {
            (refused("address"), refused("protocol")) == (100, 100)
        }),
        "{}",
        daemon.client(["stats", "--json"]).unwrap()
    );
    assert_eq!(daemon.external().unwrap().len(), 200);
    daemon.client(["-c"]).unwrap();
    assert_eq!(Table::open(&b).unwrap().len().unwrap(), 200);
    drop(peer);
}
