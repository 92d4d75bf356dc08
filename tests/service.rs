//! What the service manager, keepalived and whoever gives orders are told.

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::Duration;

use netlab::process::wait_until;
use netlab::{Daemon, Feature, Lab, Namespace, NodeConfig, Peer};
use netlab::{require_feature_or_skip, require_root_or_skip};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const LIMIT: Duration = Duration::from_secs(5);

macro_rules! require_kernel_or_skip {
    () => {
        require_root_or_skip!("conntrackd");
        require_feature_or_skip!(Feature::Conntrack);
    };
}

/// Two nodes on one cable, without traffic.
fn nodes(lab: &mut Lab) -> [(Namespace, NodeConfig); 2] {
    let [a, b] = ["a", "b"].map(|role| lab.namespace(role).unwrap());
    lab.cable((&a, "sync"), (&b, "sync")).unwrap();
    [(a, 1), (b, 2)].map(|(namespace, number)| {
        let addr = format!("192.168.100.{number}");
        namespace.add_addr("sync", &format!("{addr}/24")).unwrap();
        let config = NodeConfig::ftfw_multicast("sync", &addr);
        (namespace, config)
    })
}

/// Takes the place of the service manager.
struct Manager {
    socket: UnixDatagram,
    told: Vec<String>,
}

impl Manager {
    fn new(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).unwrap();
        socket.set_read_timeout(Some(LIMIT)).unwrap();
        Self {
            socket,
            told: Vec::new(),
        }
    }

    /// Reads until something is told that begins with these words.
    #[track_caller]
    fn until(&mut self, beginning: &str) -> String {
        let mut buffer = [0; 1024];
        loop {
            let len = match self.socket.recv(&mut buffer) {
                Ok(len) => len,
                Err(error) => panic!("no {beginning}: {error}; told: {:?}", self.told),
            };
            let text = String::from_utf8_lossy(&buffer[..len])
                .trim_end()
                .to_owned();
            self.told.push(text.clone());
            if text.starts_with(beginning) {
                return text;
            }
        }
    }
}

/// A daemon under a service manager, started and told to end.
fn told_by(peer: Peer) -> Vec<String> {
    let mut lab = Lab::new().unwrap();
    let [(namespace, config), _] = nodes(&mut lab);
    let mut daemon = Daemon::prepare(&peer.program().unwrap(), &lab, &namespace, &config).unwrap();
    let path = daemon.path("notify");
    let mut manager = Manager::new(&path);
    daemon.set_env("NOTIFY_SOCKET", &path.to_string_lossy());
    daemon.set_env("WATCHDOG_USEC", "400000");
    daemon.launch().unwrap();
    manager.until("READY=1");
    // Watchdogs are told again and again.
    manager.until("WATCHDOG=1");
    manager.until("WATCHDOG=1");
    daemon.stop().unwrap();
    manager.until("STOPPING=1");
    manager.told
}

#[test]
fn the_service_manager_hears_of_start_life_and_end_as_from_the_original() {
    require_kernel_or_skip!();
    let mut told = [Peer::Original, Peer::Ours].map(told_by);
    // Ours tells more, but nothing of it in between the words that matter.
    for told in &mut told {
        told.retain(|text| !text.starts_with("STATUS="));
        told.dedup();
    }
    assert_eq!(told[0], ["READY=1", "WATCHDOG=1", "STOPPING=1"]);
    assert_eq!(told[0], told[1]);
}

#[test]
fn the_status_has_role_and_counts_and_follows_the_role() {
    require_kernel_or_skip!();
    let mut lab = Lab::new().unwrap();
    let [(namespace, config), _] = nodes(&mut lab);
    let program = Peer::Ours.program().unwrap();
    let mut daemon = Daemon::prepare(&program, &lab, &namespace, &config).unwrap();
    let path = daemon.path("notify");
    let mut manager = Manager::new(&path);
    daemon.set_env("NOTIFY_SOCKET", &path.to_string_lossy());
    daemon.launch().unwrap();
    let status = manager.until("STATUS=");
    assert!(
        status.starts_with("STATUS=unknown") && status.contains("0 internal entries, 0 external"),
        "{status}"
    );
    daemon.client(["-c"]).unwrap();
    manager.until("STATUS=primary; 0 internal entries, 0 external");
    daemon.client(["role", "fault"]).unwrap();
    manager.until("STATUS=fault (this node cannot forward); ");
    daemon.stop().unwrap();
}

#[test]
fn a_reload_says_what_counts_now_and_what_needs_a_restart() {
    require_kernel_or_skip!();
    let mut lab = Lab::new().unwrap();
    let [(namespace, mut config), _] = nodes(&mut lab);
    let mut daemon = Daemon::start(Peer::Ours, &lab, &namespace, &config).unwrap();
    let reload = |daemon: &Daemon| {
        let pid = Pid::from_raw(daemon.pid().unwrap().try_into().unwrap());
        kill(pid, Signal::SIGHUP).unwrap();
    };
    let says = |daemon: &Daemon, words: &str| {
        assert!(
            wait_until(LIMIT, || daemon.messages().contains(words)),
            "no `{words}' in\n{}",
            daemon.messages()
        );
    };

    config.mode_lines = vec!["PurgeTimeout 7".to_owned()];
    config.general.retain(|line| !line.starts_with("Hash"));
    daemon.configure(&config).unwrap();
    let rotated = daemon.path("log.1");
    std::fs::rename(daemon.path("log"), &rotated).unwrap();
    reload(&daemon);
    says(&daemon, "filter, timeouts and log level are in force");
    says(
        &daemon,
        "in force after a restart only: general.hash_limit, general.hash_size",
    );
    daemon.client(["-t"]).unwrap();
    says(&daemon, "flushing conntrack table in 7 secs");
    let old = std::fs::read_to_string(rotated).unwrap();
    assert!(!old.contains("in force"), "the log was opened anew: {old}");

    std::fs::write(daemon.path("conf"), "General { Nonsense 1 }\n").unwrap();
    reload(&daemon);
    says(&daemon, "the configuration stays as it is");
    daemon.configure(&config).unwrap();
    daemon.client(["-s"]).unwrap();
    daemon.stop().unwrap();
}

#[test]
fn the_file_for_keepalived_says_whether_the_node_may_take_over() {
    require_kernel_or_skip!();
    let mut lab = Lab::new().unwrap();
    let [(namespace, config), (other, config_of_other)] = nodes(&mut lab);
    let peer = Daemon::start(Peer::Original, &lab, &other, &config_of_other).unwrap();
    let mut daemon = Daemon::start(Peer::Ours, &lab, &namespace, &config).unwrap();
    // The same in TOML, which knows the option.
    let toml = daemon.client(["convert"]).unwrap();
    daemon.stop().unwrap();
    let path = daemon.path("ready");
    let option = format!("[general]\nready_file = \"{}\"\n", path.display());
    assert!(toml.contains("[general]\n"), "{toml}");
    daemon
        .configure_toml(&toml.replace("[general]\n", &option))
        .unwrap();
    daemon.launch().unwrap();
    let file = || std::fs::read_to_string(&path).unwrap_or_default();
    let becomes = |text: &str| {
        assert!(
            wait_until(LIMIT, || file() == text),
            "{text:?}: {:?}",
            file()
        );
    };
    // The peer is there, and nobody has asked it for anything.
    becomes("-1\n");
    assert!(
        wait_until(LIMIT, || {
            let answer = daemon.try_client(["ready"]).unwrap();
            answer.status.code() == Some(1)
                && answer.stdout == "not ready: the peer was not asked for its entries\n"
        }),
        "{}",
        daemon.try_client(["ready"]).unwrap().stdout
    );
    daemon.client(["role", "backup"]).unwrap();
    becomes("0\n");
    let ready = daemon.client(["ready", "--json"]).unwrap();
    assert_eq!(
        ready,
        "{\"ready\":true,\"reason\":\"the peer's entries are here\"}\n"
    );
    daemon.stop().unwrap();
    becomes("-1\n");
    drop(peer);
}

#[test]
fn a_role_is_told_and_taken() {
    require_kernel_or_skip!();
    let mut lab = Lab::new().unwrap();
    let [(namespace, config), _] = nodes(&mut lab);
    let mut daemon = Daemon::start(Peer::Ours, &lab, &namespace, &config).unwrap();
    let role = || daemon.client(["role"]).unwrap();
    assert!(role().starts_with("unknown for "), "{}", role());
    assert_eq!(daemon.client(["role", "primary"]).unwrap(), "");
    assert!(role().starts_with("primary for "), "{}", role());
    assert!(
        role().contains(" s, since 20") && role().ends_with(", by role\n"),
        "{}",
        role()
    );
    let log = daemon.messages();
    for words in [
        "becoming primary",
        "committing all external caches",
        "ready to take traffic after",
        "sending bulk update",
    ] {
        assert!(log.contains(words), "no `{words}' in\n{log}");
    }
    let json = daemon.client(["role", "backup", "--json"]).unwrap();
    assert!(
        json.contains("\"role\":\"backup\"") && json.contains("\"outcome\":\"done\""),
        "{json}"
    );
    let wrong = daemon.try_client(["role", "king"]).unwrap();
    assert_eq!(wrong.status.code(), Some(1));
    assert!(wrong.stderr.contains("Unknown option: king"));
    daemon.stop().unwrap();
}

#[test]
fn the_original_is_said_to_be_another_program() {
    require_kernel_or_skip!();
    let mut lab = Lab::new().unwrap();
    let [(namespace, config), _] = nodes(&mut lab);
    let mut daemon = Daemon::start(Peer::Original, &lab, &namespace, &config).unwrap();
    let ours = Peer::Ours.program().unwrap();
    for verb in ["role", "ready"] {
        let answer = daemon.client_of(&ours, [verb]).unwrap();
        assert_eq!(answer.status.code(), Some(1), "{verb}");
        assert!(
            answer.stderr.contains("does not know this command"),
            "{}",
            answer.stderr
        );
    }
    daemon.stop().unwrap();
}
