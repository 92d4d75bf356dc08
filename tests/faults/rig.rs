//! Two nodes on a wire, traffic on one of them, and what must hold after every fault.

use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use flow::Flow;
use netlab::process::wait_until;
use netlab::{Daemon, Lab, Namespace, NodeConfig, Peer, Table, listing, sample};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Environment variable: run every fault as long as the issue wants it, not as long as a test may take.
const FULL: &str = "FAULTS_FULL";

/// Environment variable with the path of a file that collects what was measured, one line each.
const TABLE: &str = "FAULTS_TABLE";

/// Entries that are told and acknowledged before a fault.
pub(crate) const PROTECTED: u32 = 1000;

/// Where the numbers of changing entries begin.
const CHANGING: u32 = 1_000_000;

/// What a fault may leave behind in a process: pages that the allocator keeps.
const MEMORY_SLACK_KIB: u64 = 24 * 1024;

/// Whether everything is to be run at its full length.
pub(crate) fn is_full() -> bool {
    std::env::var_os(FULL).is_some()
}

/// One of two numbers, by the length of the run.
pub(crate) fn scaled<T>(short: T, full: T) -> T {
    if is_full() { full } else { short }
}

/// One node.
pub(crate) struct Node {
    pub(crate) daemon: Daemon,
    pub(crate) table: Table,
    pub(crate) namespace: Namespace,
    config: NodeConfig,
    memory_kib: u64,
    log_len: usize,
}

/// The pair. A has the traffic, B stands by.
pub(crate) struct Rig {
    pub(crate) a: Node,
    pub(crate) b: Node,
    protected: Vec<String>,
    // Last, so that everything inside ends before the namespaces go.
    _lab: Lab,
}

impl Rig {
    /// Both run our daemon; `adjust` changes the configurations.
    pub(crate) fn new(adjust: impl Fn(&mut NodeConfig)) -> Self {
        Self::of(Peer::Ours, adjust)
    }

    /// Both run this daemon.
    pub(crate) fn of(peer: Peer, adjust: impl Fn(&mut NodeConfig)) -> Self {
        let (lab, nodes) = Self::wires();
        Self::wired(lab, peer, nodes, adjust)
    }

    /// Two namespaces on a cable, without daemons.
    pub(crate) fn wires() -> (Lab, [Namespace; 2]) {
        let mut lab = Lab::new().unwrap();
        let [a, b] = ["a", "b"].map(|role| lab.namespace(role).unwrap());
        lab.cable((&a, "sync"), (&b, "sync")).unwrap();
        (lab, [a, b])
    }

    /// On namespaces whose interface `sync` is there.
    pub(crate) fn wired(
        lab: Lab,
        peer: Peer,
        [a, b]: [Namespace; 2],
        adjust: impl Fn(&mut NodeConfig),
    ) -> Self {
        // The standby first: what is sent before it is there is lost.
        let b = Node::start(&lab, peer, b, 2, &adjust);
        let a = Node::start(&lab, peer, a, 1, &adjust);
        let mut rig = Self {
            a,
            b,
            protected: Vec::new(),
            _lab: lab,
        };
        rig.protect();
        rig
    }

    /// Makes the entries that must not be lost, and waits until they are acknowledged.
    fn protect(&mut self) {
        let flows = (0..PROTECTED).map(sample::nth);
        assert_eq!(self.a.table.create(flows).unwrap().refused, 0);
        self.heals(Duration::from_secs(20));
        self.protected = self.b.daemon.external().unwrap();
        assert_eq!(self.protected.len(), PROTECTED as usize);
        self.mark();
    }

    /// Remembers memory and logs as they are before a fault.
    pub(crate) fn mark(&mut self) {
        for node in [&mut self.a, &mut self.b] {
            node.mark();
        }
    }

    /// Waits until B's external cache is A's internal cache is A's kernel. How long that took.
    #[track_caller]
    pub(crate) fn heals(&self, limit: Duration) -> Duration {
        let begun = Instant::now();
        let mut problem = String::new();
        let equal = wait_until(limit, || {
            problem = self.difference();
            problem.is_empty()
        });
        let shown: Vec<_> = problem.lines().take(20).collect();
        assert!(
            equal,
            "not equal after {limit:?}: {shown:#?}\n{}",
            self.messages()
        );
        begun.elapsed()
    }

    /// How the two nodes differ; empty if they do not.
    pub(crate) fn difference(&self) -> String {
        let entries = self.a.table.len().unwrap();
        let held = |node: &Node, block: &str| node.daemon.counter(block, "current active");
        let (internal, external) = match (
            held(&self.a, "cache internal"),
            held(&self.b, "cache external"),
        ) {
            (Ok(internal), Ok(external)) => (internal, external),
            (internal, external) => return format!("{internal:?}, {external:?}"),
        };
        // The listing is for when the numbers agree.
        if entries as u64 != internal || internal != external {
            return format!("{entries} in A's kernel, {internal} internal, {external} external\n");
        }
        match (self.a.daemon.internal(), self.b.daemon.external()) {
            (Ok(internal), Ok(external)) => listing::difference(&internal, &external),
            (internal, external) => format!("{internal:?}, {external:?}"),
        }
    }

    /// B still has every entry that it had acknowledged before the fault.
    #[track_caller]
    pub(crate) fn nothing_lost(&self) {
        let external = self.b.daemon.external().unwrap();
        let lost = listing::difference(&self.protected, &external);
        let lost: Vec<_> = lost.lines().filter(|line| line.starts_with('-')).collect();
        assert!(
            lost.is_empty(),
            "{} acknowledged entries were lost, such as {:?}\n{}",
            lost.len(),
            lost.first(),
            self.messages()
        );
    }

    /// Commits on B: its kernel then has what A's has.
    #[track_caller]
    pub(crate) fn commits(&mut self) {
        self.b.daemon.client(["-c"]).unwrap();
        let mut problem = String::new();
        let equal = wait_until(Duration::from_secs(10), || {
            let (a, b) = (self.a.table.lines(), self.b.table.lines());
            problem = listing::difference(&a.unwrap(), &b.unwrap());
            problem.is_empty()
        });
        let shown: Vec<_> = problem.lines().take(20).collect();
        assert!(equal, "the kernels differ: {shown:#?}\n{}", self.messages());
    }

    /// What holds after every fault: nothing lost, equal within the limit, memory back, a commit gives B's kernel what
    /// A's has. Returns the time until equal.
    #[track_caller]
    pub(crate) fn ends_well(&mut self, limit: Duration) -> Duration {
        self.nothing_lost();
        let took = self.heals(limit);
        self.nothing_lost();
        for (name, node) in [("A", &self.a), ("B", &self.b)] {
            let (before, now) = (node.memory_kib, node.daemon.memory_kib().unwrap());
            assert!(
                now <= before + MEMORY_SLACK_KIB,
                "{name} had {before} KiB and has {now} KiB"
            );
        }
        self.commits();
        took
    }

    pub(crate) fn messages(&self) -> String {
        let mut text = String::new();
        for (name, node) in [("A", &self.a), ("B", &self.b)] {
            let messages = node.daemon.messages();
            let lines: Vec<_> = messages.lines().collect();
            let from = lines.len().saturating_sub(60);
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{name}:\n{}", lines[from..].join("\n"));
        }
        text
    }
}

impl Node {
    fn start(
        lab: &Lab,
        peer: Peer,
        namespace: Namespace,
        number: u8,
        adjust: &impl Fn(&mut NodeConfig),
    ) -> Self {
        let addr = format!("192.168.100.{number}");
        namespace.add_addr("sync", &format!("{addr}/24")).unwrap();
        namespace
            .sysctl("net.netfilter.nf_conntrack_events", "1")
            .unwrap();
        let mut config = NodeConfig::ftfw_multicast("sync", &addr);
        adjust(&mut config);
        let table = Table::open(&namespace).unwrap();
        let daemon = Daemon::start(peer, lab, &namespace, &config).unwrap();
        Self {
            daemon,
            table,
            namespace,
            config,
            memory_kib: 0,
            log_len: 0,
        }
    }

    /// Restarts it with another configuration.
    pub(crate) fn reconfigure(&mut self, adjust: impl FnOnce(&mut NodeConfig)) {
        adjust(&mut self.config);
        self.daemon.stop().unwrap();
        self.daemon.configure(&self.config).unwrap();
        self.daemon.launch().unwrap();
    }

    fn mark(&mut self) {
        self.memory_kib = self.daemon.memory_kib().unwrap();
        self.log_len = self.daemon.messages().len();
    }

    /// What the log has said since the fault began, without dates.
    pub(crate) fn said(&self) -> Vec<String> {
        let messages = self.daemon.messages();
        let new = messages.get(self.log_len..).unwrap_or_default();
        new.lines()
            .map(|line| {
                line.split_once("(pid=")
                    .map_or(line, |(_, rest)| rest)
                    .to_owned()
            })
            .collect()
    }

    /// The log has said these words, in all no more than `most` lines.
    #[track_caller]
    pub(crate) fn says(&self, words: &str, most: usize) {
        let said = wait_until(Duration::from_secs(8), || {
            self.said().iter().any(|line| line.contains(words))
        });
        let lines = self.said();
        assert!(said, "nothing about `{words}' in {lines:#?}");
        assert!(lines.len() <= most, "too much was said: {lines:#?}");
    }

    /// The log has said no more than `most` lines.
    #[track_caller]
    pub(crate) fn says_little(&self, most: usize) {
        let lines = self.said();
        assert!(lines.len() <= most, "too much was said: {lines:#?}");
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = self.daemon.pid().unwrap();
        kill(Pid::from_raw(pid.try_into().unwrap()), signal).unwrap();
    }

    /// A number of the JSON report, by its path.
    pub(crate) fn stat(&self, path: &str) -> u64 {
        let text = self.daemon.client(["stats", "--json"]).unwrap();
        let report: serde_json::Value = serde_json::from_str(&text).unwrap();
        let value = report.pointer(path);
        value
            .and_then(serde_json::Value::as_u64)
            .unwrap_or_else(|| panic!("no {path} in {text}"))
    }

    /// Open descriptors.
    pub(crate) fn descriptors(&self) -> usize {
        let pid = self.daemon.pid().unwrap();
        std::fs::read_dir(format!("/proc/{pid}/fd"))
            .unwrap()
            .count()
    }
}

/// Entries that come, change and go on a node until they are told to stop.
pub(crate) struct Churn {
    stop: Arc<AtomicBool>,
    /// Entries made.
    made: Arc<AtomicU64>,
    worker: Option<JoinHandle<()>>,
}

impl Churn {
    /// `rate` entries come a second; `living` of them are there at any time.
    pub(crate) fn start(node: &Node, rate: u32, living: u32) -> Self {
        let (stop, made) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicU64::new(0)),
        );
        let namespace = node.namespace.clone();
        let worker = {
            let (stop, made) = (Arc::clone(&stop), Arc::clone(&made));
            thread::spawn(move || churn(&namespace, rate, living, &stop, &made))
        };
        Self {
            stop,
            made,
            worker: Some(worker),
        }
    }

    /// Ends it; what lives stays. How many entries were made.
    pub(crate) fn finish(mut self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(worker) = self.worker.take() {
            worker.join().unwrap();
        }
        self.made.load(Ordering::Relaxed)
    }

    /// How many entries were made.
    pub(crate) fn made(&self) -> u64 {
        self.made.load(Ordering::Relaxed)
    }
}

impl Drop for Churn {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(worker) = self.worker.take() {
            // A test that fails already says so.
            let _ = worker.join();
        }
    }
}

/// Milliseconds between two batches.
const TICK_MS: u32 = 5;

fn churn(namespace: &Namespace, rate: u32, living: u32, stop: &AtomicBool, made: &AtomicU64) {
    let mut table = Table::open(namespace).unwrap();
    let per_tick = (rate * TICK_MS / 1000).max(1);
    let (mut next, mut oldest) = (0, 0);
    let mut due = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        table.create((next..next + per_tick).map(changing)).unwrap();
        // Half of those made a while ago change once more.
        let before = next.saturating_sub(living / 2).max(oldest);
        let until = (before + per_tick / 2).min(next);
        table.update((before..until).map(changed)).unwrap();
        next += per_tick;
        if next - oldest > living {
            let until = next - living;
            let gone = (oldest..until).map(|number| changing(number).key());
            table.delete(gone).unwrap();
            oldest = until;
        }
        made.fetch_add(per_tick.into(), Ordering::Relaxed);
        due += Duration::from_millis(TICK_MS.into());
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }
}

/// An entry of the churn; its numbers come again after a long while.
pub(crate) fn changing(number: u32) -> Flow {
    sample::nth(CHANGING + (number & 0x00ff_ffff))
}

fn changed(number: u32) -> Flow {
    let flow = changing(number);
    let mut update = Flow::new(flow.orig);
    update.reply = flow.reply;
    update.mark = Some(number | 1);
    update
}

/// Tells what was measured, for the table in `docs/guarantees.md`.
pub(crate) fn report(fault: &str, healed: Duration, more: &str) {
    let line = format!(
        "{fault:<58} healed after {:>6.2} s  {more}",
        healed.as_secs_f64()
    );
    println!("{line}");
    if let Some(path) = std::env::var_os(TABLE) {
        let file = std::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(path);
        writeln!(file.unwrap(), "{line}").unwrap();
    }
}

/// A random number below `limit`, another one each time.
pub(crate) fn below(limit: u64) -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0) % limit.max(1)
}
