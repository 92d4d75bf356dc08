//! What takes long, before it matters and while it lasts: rehearsals, and progress on a terminal.

use std::process::Command;
use std::thread;
use std::time::Duration;

use flow::Flow;
use netlab::process::{run_within, wait_until};
use netlab::schema::Schema;
use netlab::skip::find_tool;
use netlab::{Daemon, Feature, Lab, NodeConfig, Peer, Table, sample};
use netlab::{require_feature_or_skip, require_root_or_skip};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(60);
const ENTRIES: u32 = 60_000;

/// A standby whose peer has told it many connections.
struct Standby {
    daemon: Daemon,
    peer: Daemon,
    _lab: Lab,
}

impl Standby {
    fn new() -> Self {
        let mut lab = Lab::new().unwrap();
        let [a, b] = ["a", "b"].map(|role| lab.namespace(role).unwrap());
        lab.cable((&a, "sync"), (&b, "sync")).unwrap();
        a.add_addr("sync", "192.168.100.1/24").unwrap();
        b.add_addr("sync", "192.168.100.2/24").unwrap();
        let config =
            |addr| NodeConfig::ftfw_multicast("sync", addr).sized_for(2 * ENTRIES as usize);
        let peer = Daemon::start(Peer::Ours, &lab, &b, &config("192.168.100.2")).unwrap();
        let daemon = Daemon::start(Peer::Ours, &lab, &a, &config("192.168.100.1")).unwrap();
        let mut table = Table::open(&b).unwrap();
        table.create((0..ENTRIES).map(sample::nth)).unwrap();
        let standby = Self {
            daemon,
            peer,
            _lab: lab,
        };
        assert!(wait_until(LIMIT, || standby.external() == u64::from(ENTRIES)));
        standby.daemon.client(["role", "backup"]).unwrap();
        assert!(wait_until(LIMIT, || {
            standby
                .daemon
                .try_client(["ready"])
                .unwrap()
                .status
                .success()
        }));
        standby
    }

    fn external(&self) -> u64 {
        let words = "current active connections";
        self.daemon.counter("cache external", words).unwrap()
    }

    /// What stands on a terminal in the end, every line that was overwritten included.
    fn on_a_terminal(&self, daemon: &Daemon, words: &str) -> String {
        let line = format!(
            "{} -C {} {words}",
            Peer::Ours.program().unwrap().display(),
            daemon.config_path().display()
        );
        let mut command = Command::new(find_tool("script").unwrap());
        command.args(["-qec", &line, "/dev/null"]);
        let finished = run_within(command, "", LIMIT).unwrap();
        assert!(finished.status.success(), "{finished:?}");
        finished.stdout
    }
}

#[test]
fn a_rehearsal_commits_everything_and_touches_nothing() {
    require_root_or_skip!("conntrackd");
    require_feature_or_skip!(Feature::Conntrack);
    let standby = Standby::new();
    let before = standby.daemon.client(["stats", "--json"]).unwrap();
    let before: Value = serde_json::from_str(&before).unwrap();
    let text = standby.daemon.client(["rehearse"]).unwrap();
    for words in [
        format!("the peer has told {ENTRIES} entries; {ENTRIES} of them are in a kernel's table"),
        "in step: the peer's entries are here".to_owned(),
        "and keep every connection".to_owned(),
    ] {
        assert!(text.contains(&words), "no `{words}' in\n{text}");
    }
    let json = standby.daemon.client(["rehearse", "--json"]).unwrap();
    let schema = Schema::of("rehearse").unwrap();
    assert_eq!(schema.complaint(json.trim_end()), None, "{json}");
    // Neither the kernel nor the cache nor the peer has noticed.
    let table = Table::open(standby.daemon.namespace()).unwrap();
    assert!(table.len().unwrap() < 100, "{}", table.len().unwrap());
    assert_eq!(standby.external(), u64::from(ENTRIES));
    let after = standby.daemon.client(["stats", "--json"]).unwrap();
    let after: Value = serde_json::from_str(&after).unwrap();
    assert_eq!(after["commits"]["count"], 0);
    assert_eq!(after["role"]["generation"], before["role"]["generation"]);

    // What the kernel would refuse is found out before it matters: a child whose master has gone.
    let mut table = Table::open(standby.peer.namespace()).unwrap();
    let master = sample::nth(ENTRIES + 2);
    let child = Flow {
        master: Some(master.orig),
        ..sample::nth(ENTRIES + 3)
    };
    table.create([master, child]).unwrap();
    let has = |count| wait_until(LIMIT, || standby.external() == u64::from(ENTRIES) + count);
    assert!(has(2));
    table.delete([master.key()]).unwrap();
    assert!(has(1), "{}", standby.external());
    let refused = standby.daemon.try_client(["rehearse"]).unwrap();
    assert_eq!(refused.status.code(), Some(1));
    for words in [
        "refused 1: No such file or directory",
        "would not keep every connection",
    ] {
        assert!(refused.stdout.contains(words), "{}", refused.stdout);
    }
}

#[test]
fn progress_shows_on_a_terminal_and_nowhere_else() {
    require_root_or_skip!("conntrackd", "script");
    require_feature_or_skip!(Feature::Conntrack);
    let standby = Standby::new();
    let quiet = standby.daemon.try_client(["dump", "external"]).unwrap();
    assert_eq!(quiet.stderr, "");
    let listed = standby.on_a_terminal(&standby.daemon, "dump external --json >/dev/null");
    let committed = standby.on_a_terminal(&standby.daemon, "-c");
    // A peer that acknowledges nothing for a while is what makes a bulk take its time.
    let acknowledging = Pid::from_raw(standby.daemon.pid().unwrap().try_into().unwrap());
    kill(acknowledging, Signal::SIGSTOP).unwrap();
    let sent = thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(Duration::from_secs(1));
            kill(acknowledging, Signal::SIGCONT).unwrap();
        });
        standby.on_a_terminal(&standby.peer, "-B")
    });
    for (name, shown) in [("list", listed), ("commit", committed), ("bulk", sent)] {
        // A listing may be done before a line would be worth it.
        if shown.is_empty() && name == "list" {
            continue;
        }
        assert!(
            shown.contains(&format!("{name}: "))
                && shown.contains(&format!(" of {ENTRIES} entries")),
            "{name}: {shown:?}"
        );
        assert!(
            shown.ends_with("\r\u{1b}[K"),
            "the line is removed: {shown:?}"
        );
    }
}
