//! `conntrackd top` in a real terminal, with a real daemon.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use netlab::process::{run_within, wait_until};
use netlab::skip::find_tool;
use netlab::{Daemon, Feature, Lab, Namespace, NodeConfig, Peer, Table, sample};
use netlab::{require_feature_or_skip, require_root_or_skip};

const LIMIT: Duration = Duration::from_secs(10);

/// `conntrackd` with `conntrackd-top` beside it, as they are installed.
fn installed(lab: &Lab) -> PathBuf {
    let dir = lab.dir().join("bin");
    std::fs::create_dir(&dir).unwrap();
    let program = dir.join("conntrackd");
    std::fs::copy(Peer::Ours.program().unwrap(), &program).unwrap();
    std::fs::copy(
        env!("CARGO_BIN_EXE_conntrackd-top"),
        dir.join("conntrackd-top"),
    )
    .unwrap();
    program
}

/// A node with a daemon and 300 connections.
fn node(lab: &mut Lab, program: &Path) -> (Namespace, Daemon) {
    let namespace = lab.namespace("a").unwrap();
    let other = lab.namespace("b").unwrap();
    lab.cable((&namespace, "sync"), (&other, "sync")).unwrap();
    namespace.add_addr("sync", "192.168.100.1/24").unwrap();
    let config = NodeConfig::ftfw_multicast("sync", "192.168.100.1");
    let daemon = Daemon::start_program(program, lab, &namespace, &config).unwrap();
    let mut table = Table::open(&namespace).unwrap();
    table.create((0..300).map(sample::nth)).unwrap();
    (namespace, daemon)
}

/// A terminal of 80 columns and 24 lines.
struct Terminal {
    socket: PathBuf,
}

impl Terminal {
    fn start(lab: &Lab, command: &str) -> Self {
        let terminal = Self {
            socket: lab.dir().join("tmux"),
        };
        terminal.tmux(&["new-session", "-d", "-x", "80", "-y", "24", command]);
        terminal
    }

    fn tmux(&self, words: &[&str]) -> String {
        let mut command = Command::new(find_tool("tmux").unwrap());
        command
            .env("TERM", "xterm-256color")
            .env("LC_ALL", "C.UTF-8");
        command
            .args(["-f", "/dev/null", "-u", "-S"])
            .arg(&self.socket);
        command.args(words);
        run_within(command, "", LIMIT).unwrap().stdout
    }

    fn screen(&self) -> String {
        self.tmux(&["capture-pane", "-p"])
    }

    #[track_caller]
    fn until(&self, words: &[&str]) {
        let mut screen = String::new();
        let shown = wait_until(LIMIT, || {
            screen = self.screen();
            words.iter().all(|word| screen.contains(word))
        });
        assert!(shown, "no {words:?} in\n{screen}");
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.tmux(&["kill-server"]);
    }
}

#[test]
fn pages_filter_and_pause_work_in_a_terminal() {
    require_root_or_skip!("conntrackd");
    require_root_or_skip!("tmux");
    require_feature_or_skip!(Feature::Conntrack);
    let mut lab = Lab::new().unwrap();
    let program = installed(&lab);
    let (_namespace, mut daemon) = node(&mut lab, &program);
    let (program, conf) = (program.display(), daemon.path("conf"));
    let conf = conf.display();
    let peer = format!("{program} -C {conf} stats --json");
    let terminal = Terminal::start(
        &lab,
        &format!("{program} top -C {conf} --interval 0.2 --peer '{peer}'; echo left; cat"),
    );
    terminal.until(&["UNKNOWN", "Internal 300 entries", "Events", "/s"]);
    terminal.tmux(&["send-keys", "4"]);
    terminal.until(&["300 entries", "opened by", "service"]);
    terminal.tmux(&["send-keys", "/", "nothing like this", "Enter"]);
    terminal.until(&["only: nothing like this"]);
    terminal.tmux(&["send-keys", "Escape"]);
    terminal.tmux(&["send-keys", "5"]);
    terminal.until(&["events lost: buffer overruns"]);
    terminal.tmux(&["send-keys", "p", "1"]);
    terminal.until(&["paused", "This node"]);
    terminal.tmux(&["send-keys", "p"]);
    daemon.stop().unwrap();
    terminal.until(&["no answer for"]);
    terminal.tmux(&["send-keys", "q"]);
    terminal.until(&["left"]);
}

#[test]
fn once_prints_every_page_as_plain_text() {
    require_root_or_skip!("conntrackd");
    require_feature_or_skip!(Feature::Conntrack);
    let mut lab = Lab::new().unwrap();
    let program = installed(&lab);
    let (_namespace, mut daemon) = node(&mut lab, &program);
    let text = daemon
        .client(["top", "--once", "--interval", "0.1"])
        .unwrap();
    for words in [
        "Internal 300 entries",
        "Links and queues",
        "opened by",
        "messages lost",
    ] {
        assert!(text.contains(words), "no {words} in\n{text}");
    }
    assert!(!text.contains('\x1b'), "{text}");
    let wrong = daemon.try_client(["top", "--sideways"]).unwrap();
    assert_eq!(wrong.status.code(), Some(1));
    assert!(wrong.stderr.contains("Unknown option: --sideways"));
    daemon.stop().unwrap();
    let nobody = daemon.try_client(["top", "--once"]).unwrap();
    assert!(
        nobody.stderr.contains("is conntrackd running?"),
        "{}",
        nobody.stderr
    );
}
