//! What options and commands do, seen from outside: each is observed with the original and with ours, and both
//! observations are equal.

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::time::Duration;

use flow::{Flow, ProtoInfo, TcpFlags};
use netlab::process::wait_until;
use netlab::{Daemon, Feature, Lab, Namespace, NodeConfig, Peer, Table, sample};
use netlab::{require_feature_or_skip, require_root_or_skip};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const LIMIT: Duration = Duration::from_secs(5);

/// A node with one of the two daemons and, at the other end of its link, the original.
struct Node {
    daemon: Daemon,
    other: Daemon,
    table: Table,
    _lab: Lab,
}

fn config(node: u8) -> NodeConfig {
    let mut config = NodeConfig::ftfw_multicast("sync", "");
    config.links = vec![format!(
        "UDP {{\nIPv4_address 192.168.100.{node}\nIPv4_Destination_Address 192.168.100.{}\nPort 3780\nInterface sync\n}}",
        3 - node
    )];
    config.ignore = Vec::new();
    config.filter = Some(String::new());
    config
}

fn namespaces(lab: &mut Lab) -> [Namespace; 2] {
    let [own, other] = ["own", "other"].map(|role| lab.namespace(role).unwrap());
    lab.cable((&own, "sync"), (&other, "sync")).unwrap();
    for (number, namespace) in [(1, &own), (2, &other)] {
        sample::prepare(namespace).unwrap();
        namespace.untrack("sync").unwrap();
        let addr = format!("192.168.100.{number}/24");
        namespace.add_addr("sync", &addr).unwrap();
    }
    [own, other]
}

impl Node {
    fn start(peer: Peer, change: impl Fn(&mut NodeConfig)) -> Self {
        let mut lab = Lab::new().unwrap();
        let [own, other] = namespaces(&mut lab);
        let both = |number| {
            let mut config = config(number);
            change(&mut config);
            config
        };
        let other = Daemon::start(Peer::Original, &lab, &other, &both(2)).unwrap();
        let daemon = Daemon::start(peer, &lab, &own, &both(1)).unwrap();
        Self {
            table: Table::open(&own).unwrap(),
            daemon,
            other,
            _lab: lab,
        }
    }

    fn create(&mut self, flows: impl IntoIterator<Item = Flow>) {
        let written = self.table.create(flows).unwrap();
        assert_eq!(written.refused, 0, "errno {}", written.errno);
    }

    #[track_caller]
    fn until(&self, what: &str, done: impl FnMut() -> bool) {
        let said = || format!("{}{}", self.daemon.messages(), self.other.messages());
        assert!(wait_until(LIMIT, done), "never {what}\n{}", said());
    }

    /// Lines of the log so far, without date and pid.
    fn log(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.daemon.path("log")).unwrap();
        text.lines().map(|line| undated(line).to_owned()).collect()
    }
}

fn undated(line: &str) -> &str {
    line.split_once("(pid=")
        .and_then(|(_, rest)| rest.split_once(") "))
        .map_or(line, |(_, rest)| rest)
}

/// Entries `from..to` of the samples.
fn flows(from: u32, to: u32) -> impl Iterator<Item = Flow> {
    (from..to).map(sample::nth)
}

/// What is seen of the original and of ours is equal.
#[track_caller]
fn alike<T: std::fmt::Debug + PartialEq>(observe: impl Fn(Peer) -> T) {
    let (original, ours) = (observe(Peer::Original), observe(Peer::Ours));
    assert_eq!(original, ours, "the original's is left, ours is right");
}

macro_rules! require_kernel_or_skip {
    () => {
        require_root_or_skip!("conntrackd");
        require_feature_or_skip!(Feature::Conntrack, Feature::Labels);
    };
}

#[test]
fn the_log_of_a_start_is_the_same() {
    require_kernel_or_skip!();
    let mode = |line: &'static str| {
        move |config: &mut NodeConfig| config.mode_lines = vec![line.to_owned()]
    };
    let general = |line: &'static str| {
        move |config: &mut NodeConfig| {
            config.general.retain(|l| !l.starts_with("Netlink"));
            config.general.extend(line.split('\n').map(str::to_owned));
        }
    };
    let filter =
        |line: &'static str| move |config: &mut NodeConfig| config.filter = Some(line.to_owned());
    let observe = |change: &dyn Fn(&mut NodeConfig)| {
        alike(|peer| {
            let node = Node::start(peer, change);
            node.until("started", || {
                node.log().iter().any(|line| line.contains("console mode"))
            });
            node.log()
        });
    };
    observe(&mode("PurgeTimeout 5"));
    observe(&mode("DisableExternalCache On\nCommitTimeout 9"));
    observe(&general("NetlinkEventsReliable On"));
    observe(&general(
        "NetlinkBufferSize 2097152\nNetlinkBufferSizeMaxGrowth 8388608",
    ));
    observe(&general(
        "NetlinkBufferSize 8388608\nNetlinkBufferSizeMaxGrowth 2097152",
    ));
    observe(&general("PollSecs 60"));
    observe(&filter(
        "Filter From Kernelspace { Protocol Accept { TCP } }",
    ));
    observe(&|config: &mut NodeConfig| {
        config.mode = "NOTRACK".to_owned();
        config.mode_lines = vec!["DisableInternalCache On".to_owned()];
    });
}

#[test]
fn a_startup_resync_asks_once_the_start_has_been_told() {
    require_kernel_or_skip!();
    alike(|peer| {
        let mut node = Node::start(peer, |_| {});
        let mut other = Table::open(node.other.namespace()).unwrap();
        other.create(flows(0, 8)).unwrap();
        node.until("copied", || node.daemon.external().unwrap().len() == 8);
        let mut config = config(1);
        config.mode_lines = vec!["StartupResync On".to_owned()];
        node.daemon.stop().unwrap();
        node.daemon.configure(&config).unwrap();
        let before = node.log().len();
        node.daemon.launch().unwrap();
        node.until("copied at the start", || {
            node.daemon.external().unwrap().len() == 8
        });
        node.log().split_off(before)
    });
}

#[test]
fn every_command_is_logged_alike() {
    require_kernel_or_skip!();
    let commands: [&[&str]; 15] = [
        &["-c"],
        &["-c", "ct"],
        &["-c", "expect"],
        &["-f", "internal"],
        &["-R"],
        &["-R", "ct"],
        &["-R", "expect"],
        &["-f", "external"],
        &["-n"],
        &["-B"],
        &["-F", "ct"],
        &["-F"],
        &["-f"],
        &["-t"],
        &["-t"],
    ];
    for expectations in [false, true] {
        alike(|peer| {
            let mut node = Node::start(peer, |config| {
                if expectations {
                    config.options.push("ExpectationSync On".to_owned());
                }
            });
            node.create(flows(0, 4));
            let mut other = Table::open(node.other.namespace()).unwrap();
            other.create(flows(10, 13)).unwrap();
            node.until("copied", || {
                node.daemon.external().unwrap().len() == 3
                    && node.other.external().unwrap().len() == 4
            });
            let mut seen = node.log();
            for command in commands {
                seen.push(format!("> {}", command.join(" ")));
                let before = node.log().len();
                let answer = node.daemon.try_client(command).unwrap();
                seen.push(format!("{:?} {}", answer.status.code(), answer.stdout));
                let mut lines = node.log().split_off(before);
                for line in &mut lines {
                    if let Some((words, _)) = line.split_once("commit has taken") {
                        *line = format!("{words}commit has taken");
                    }
                }
                seen.append(&mut lines);
            }
            seen
        });
    }
}

#[test]
fn a_flush_leaves_what_the_filter_ignores_and_the_peer_is_not_told() {
    require_kernel_or_skip!();
    alike(|peer| {
        let mut node = Node::start(peer, |config| {
            config.filter = Some("Filter { Protocol Ignore { UDP } }".to_owned());
            config.mode_lines = vec!["PurgeTimeout 1".to_owned()];
        });
        ["-F", "-t"].map(|command| {
            node.create(flows(0, 16));
            node.until("copied", || {
                let told = node.other.external().unwrap();
                !told.is_empty() && told == node.daemon.internal().unwrap()
            });
            node.daemon.client([command]).unwrap();
            node.until("flushed", || node.daemon.internal().unwrap().is_empty());
            node.until("flushed from the kernel", || node.table.len().unwrap() < 16);
            let seen = (node.table.lines().unwrap(), node.other.external().unwrap());
            node.table.flush().unwrap();
            node.daemon.client(["-f"]).unwrap();
            node.other.client(["-f"]).unwrap();
            seen
        })
    });
}

#[test]
fn a_full_cache_counts_what_it_turns_away() {
    require_kernel_or_skip!();
    alike(|peer| {
        let mut node = Node::start(peer, |config| {
            config.general.retain(|line| !line.starts_with("Hash"));
            config.general.push("HashLimit 10".to_owned());
        });
        node.create(flows(0, 16));
        let page = || node.daemon.client(["-s", "cache"]).unwrap();
        node.until("filled", || page().contains("          10/           6"));
        page()
    });
}

#[test]
fn polling_finds_what_no_event_tells() {
    require_kernel_or_skip!();
    alike(|peer| {
        let mut node = Node::start(peer, |config| {
            config.general.push("PollSecs 1".to_owned());
        });
        node.create(flows(0, 8));
        node.until("found and told", || {
            node.other.external().unwrap().len() == 8
        });
        node.table
            .delete(flows(0, 4).map(|flow| flow.key()))
            .unwrap();
        node.until("missed and told", || {
            node.other.external().unwrap().len() == 4
        });
        node.daemon.internal().unwrap()
    });
}

#[test]
fn without_internal_cache_changes_pass_through() {
    require_kernel_or_skip!();
    alike(|peer| {
        let mut node = Node::start(peer, |config| {
            config.mode = "NOTRACK".to_owned();
            config.mode_lines = vec!["DisableInternalCache On".to_owned()];
        });
        node.create(flows(0, 8));
        node.until("told", || node.other.external().unwrap().len() == 8);
        node.table
            .delete(flows(0, 4).map(|flow| flow.key()))
            .unwrap();
        node.until("told of the end", || {
            node.other.external().unwrap().len() == 4
        });
        let page = node.daemon.client(["-s"]).unwrap();
        let bypass: Vec<_> = page.lines().take(5).map(str::to_owned).collect();
        // The listing is that of the kernel.
        (bypass, node.daemon.client(["-i"]).unwrap().lines().count())
    });
}

#[test]
fn checksums_may_be_left_out() {
    require_kernel_or_skip!();
    for (word, without) in [("on", false), ("off", true)] {
        for peer in [Peer::Original, Peer::Ours] {
            let mut node = Node::start(peer, |config| {
                let link = config.links[0].trim_end_matches('}').to_owned();
                config.links = vec![format!("{link}Checksum {word}\n}}")];
            });
            let other = node.other.namespace().clone();
            other
                .nft("table inet sums { chain c { type filter hook input priority 0; iifname \"sync\" udp checksum 0 counter; }; }")
                .unwrap();
            node.create(flows(0, 8));
            node.until("told", || node.other.external().unwrap().len() == 8);
            let rules = other.run("nft list table inet sums").unwrap();
            assert_eq!(
                !rules.contains("packets 0 "),
                without,
                "{peer:?} {word}: {rules}"
            );
        }
    }
}

#[test]
fn statistics_mode_counts_and_logs_alike() {
    require_kernel_or_skip!();
    alike(|peer| {
        let mut lab = Lab::new().unwrap();
        let [namespace, _] = namespaces(&mut lab);
        namespace
            .sysctl("net.netfilter.nf_conntrack_acct", "1")
            .unwrap();
        let program = peer.program().unwrap();
        let mut daemon = Daemon::prepare(&program, &lab, &namespace, &config(1)).unwrap();
        let dir = daemon.path("");
        let text = format!(
            "Stats {{\nLogFile {0}stats\n}}\nGeneral {{\nLogFile {0}log\nLockFile {0}lock\nUNIX {{\nPath {0}ctl\n}}\n}}\n",
            dir.display()
        );
        std::fs::write(daemon.path("conf"), text).unwrap();
        daemon.launch().unwrap();
        let mut table = Table::open(&namespace).unwrap();
        table.create(flows(0, 8)).unwrap();
        assert!(wait_until(LIMIT, || daemon.internal().unwrap().len() == 8));
        table.delete(flows(0, 6).map(|flow| flow.key())).unwrap();
        let path = daemon.path("stats");
        let lines = || {
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            let line = |line: &str| line.split_once('\t').map(|(_, entry)| entry.to_owned());
            let mut lines: Vec<_> = text.lines().map(|l| line(l).expect("no date")).collect();
            lines.sort();
            lines
        };
        // The original writes when its buffer is full or at the end.
        daemon.client(["-s"]).unwrap();
        let pages: Vec<_> = [["-s", "ct"], ["-s", "cache"], ["-e", "ct"]]
            .map(|words| daemon.client(words).unwrap())
            .to_vec();
        daemon.stop().unwrap();
        assert_eq!(lines().len(), 6, "{peer:?}");
        (lines(), pages)
    });
}

#[test]
fn without_sync_and_stats_it_answers_and_does_nothing() {
    require_kernel_or_skip!();
    alike(|peer| {
        let mut lab = Lab::new().unwrap();
        let [namespace, _] = namespaces(&mut lab);
        let program = peer.program().unwrap();
        let mut daemon = Daemon::prepare(&program, &lab, &namespace, &config(1)).unwrap();
        let text = format!(
            "General {{\nLockFile {0}lock\nUNIX {{\nPath {0}ctl\n}}\n}}\n",
            daemon.path("").display()
        );
        std::fs::write(daemon.path("conf"), text).unwrap();
        daemon.launch().unwrap();
        let answers: Vec<_> = ["-s", "-i", "-e", "-c", "-f", "-F", "-R", "-B", "-n", "-t"]
            .map(|word| {
                let answer = daemon.try_client([word]).unwrap();
                (answer.status.code(), answer.stdout)
            })
            .to_vec();
        let runtime = daemon.client(["-s", "runtime"]).unwrap();
        daemon.client(["-k"]).unwrap();
        daemon.ends().unwrap();
        (answers, runtime.lines().count())
    });
}

#[test]
fn files_have_the_same_modes_and_scheduling_is_the_same() {
    require_kernel_or_skip!();
    for scheduler in [
        "",
        "Scheduler {\nType FIFO\nPriority 20\n}",
        "Scheduler {\nType RR\n}",
    ] {
        alike(|peer| {
            let node = Node::start(peer, |config| config.general.push(scheduler.to_owned()));
            let mode = |file: &str| {
                let metadata = std::fs::metadata(node.daemon.path(file)).unwrap();
                metadata.permissions().mode() & 0o777
            };
            let pid = node.daemon.pid().unwrap();
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
            let (_, fields) = stat.rsplit_once(") ").unwrap();
            let fields: Vec<_> = fields.split(' ').collect();
            let scheduling = [fields[37].to_owned(), fields[38].to_owned()];
            (["ctl", "lock", "log"].map(mode), scheduling)
        });
    }
}

#[test]
fn signals_end_it_as_they_end_the_original() {
    require_kernel_or_skip!();
    for signal in [
        Signal::SIGTERM,
        Signal::SIGINT,
        Signal::SIGUSR1,
        Signal::SIGQUIT,
    ] {
        alike(|peer| {
            let mut lab = Lab::new().unwrap();
            let [namespace, _] = namespaces(&mut lab);
            let mut daemon = Daemon::start(peer, &lab, &namespace, &config(1)).unwrap();
            let pid = Pid::from_raw(daemon.pid().unwrap().try_into().unwrap());
            kill(pid, signal).unwrap();
            let status = daemon.wait(LIMIT).unwrap();
            let left = ["ctl", "lock"].map(|file| daemon.path(file).exists());
            let log = daemon.messages();
            let told = log.contains("---- shutdown received ----");
            (status.code(), status.signal(), left, told)
        });
    }
}

#[test]
fn a_start_that_fails_says_so_in_the_same_place() {
    require_kernel_or_skip!();
    for (words, instead) in [("Sync {", "Sink {"), ("LogFile ", "LogFile /nowhere")] {
        for arguments in [&[][..], &["-d"]] {
            alike(|peer| {
                let mut lab = Lab::new().unwrap();
                let [namespace, _] = namespaces(&mut lab);
                let program = peer.program().unwrap();
                let daemon = Daemon::prepare(&program, &lab, &namespace, &config(1)).unwrap();
                let text = std::fs::read_to_string(daemon.path("conf")).unwrap();
                std::fs::write(daemon.path("conf"), text.replace(words, instead)).unwrap();
                let ended = daemon.client_of(&program, arguments).unwrap();
                let first = ended.stderr.lines().next().map(undated).unwrap_or_default();
                let left = ["ctl", "lock"].map(|file| daemon.path(file).exists());
                let first = first.replace(&daemon.path("").display().to_string(), "");
                (ended.status.code(), ended.stdout, first, left)
            });
        }
    }
}

#[test]
fn window_scales_that_the_original_tells_are_in_the_kernel_after_our_commit() {
    require_kernel_or_skip!();
    let node = Node::start(Peer::Ours, |config| {
        config.options.push("TCPWindowTracking On".to_owned());
    });
    let mut there = Table::open(node.other.namespace()).unwrap();
    let scaled = |mut flow: Flow| match &mut flow.proto {
        ProtoInfo::Tcp(tcp) => {
            (tcp.wscale_orig, tcp.wscale_reply) = (Some(7), Some(9));
            let negotiated = Some(TcpFlags::set(TcpFlags::WINDOW_SCALE));
            (tcp.flags_orig, tcp.flags_reply) = (negotiated, negotiated);
            Some(flow)
        }
        _ => None,
    };
    let created: Vec<_> = flows(0, 40).filter_map(scaled).collect();
    assert!(!created.is_empty());
    let written = there.create(created.iter().copied()).unwrap();
    assert_eq!(written.refused, 0, "errno {}", written.errno);
    node.until("told", || {
        node.daemon.external().unwrap().len() == created.len()
    });
    node.daemon.client(["-c"]).unwrap();
    let scales = |table: &Table| -> Vec<_> {
        let scale = |flow: Flow| match flow.proto {
            ProtoInfo::Tcp(tcp) => Some((tcp.wscale_orig, tcp.wscale_reply)),
            _ => None,
        };
        table
            .dump()
            .unwrap()
            .into_iter()
            .filter_map(scale)
            .collect()
    };
    let told = scales(&there);
    assert_eq!(told, vec![(Some(7), Some(9)); created.len()]);
    assert_eq!(scales(&node.table), told);
}
