//! Replays a transcript: runs its commands and compares what comes.

use std::time::{Duration, Instant};

use netlab::process::Finished;

use crate::bench::Bench;
use crate::normal::{Exception, expected, normal};
use crate::script::{self, Node, Step};

/// How long a page may take to become what was recorded.
const LIMIT: Duration = Duration::from_secs(10);

/// A transcript, and how far it has been replayed.
pub(crate) struct Replay {
    pub(crate) bench: Bench,
    name: &'static str,
    steps: std::iter::Peekable<std::vec::IntoIter<Step>>,
    exceptions: Vec<Exception>,
    replaced: Vec<(&'static str, &'static str)>,
}

impl Replay {
    /// Reads a transcript; its first steps show the configuration.
    pub(crate) fn new(name: &'static str) -> Self {
        let mut steps = script::read(name).into_iter().peekable();
        let bench = Bench::new();
        let is_config = |step: &Step| step.command == "cat /etc/conntrackd/conntrackd.conf";
        while let Some(step) = steps.next_if(is_config) {
            bench.configure(step.node, &step.stdout);
        }
        Self {
            bench,
            name,
            steps,
            exceptions: Vec::new(),
            replaced: Vec::new(),
        }
    }

    /// From here on we say something else.
    pub(crate) fn replaced(
        &mut self,
        why: &'static str,
        recorded: &'static str,
        ours: &'static str,
    ) {
        assert!(!why.is_empty(), "an exception has a reason");
        self.replaced.push((recorded, ours));
    }

    /// From here on we say the same again.
    pub(crate) fn as_recorded(&mut self) {
        self.replaced.clear();
    }

    /// From here on numbers differ: command or prompt, block and words of the line, and ours if it is determined.
    pub(crate) fn except(
        &mut self,
        why: &'static str,
        numbers: &[(&'static str, &'static str, Option<u64>)],
    ) {
        assert!(!why.is_empty(), "an exception has a reason");
        for &(command, place, ours) in numbers {
            let (block, words) = place.split_once('/').expect("block/words");
            self.exceptions.push(Exception {
                command,
                block,
                words,
                ours,
            });
        }
    }

    /// From here on a peer may be told of fewer changes than there were.
    pub(crate) fn coalesced(&mut self) {
        self.except(
            "changes that follow closely are sent as one",
            &[
                ("conntrackd -s", "cache external/connections updated", None),
                ("conntrackd -s", "cache:external/update OK/failed", None),
            ],
        );
    }

    /// Replays up to a command and with it.
    #[track_caller]
    pub(crate) fn through(&mut self, prompt: &str) {
        while let Some(step) = self.steps.next() {
            self.replay(&step);
            if step.prompt() == prompt {
                return;
            }
        }
        panic!("{}: no more `{prompt}`", self.name);
    }

    /// Replays up to a command, without it.
    #[track_caller]
    pub(crate) fn up_to(&mut self, prompt: &str) {
        while let Some(step) = self.steps.next_if(|step| step.prompt() != prompt) {
            self.replay(&step);
        }
        assert!(
            self.steps.peek().is_some(),
            "{}: no more `{prompt}`",
            self.name
        );
    }

    /// Replays up to a remark.
    #[track_caller]
    pub(crate) fn up_to_remark(&mut self, remark: &str) {
        while let Some(step) = self
            .steps
            .next_if(|step| step.remark.as_deref() != Some(remark))
        {
            self.replay(&step);
        }
        assert!(
            self.steps.peek().is_some(),
            "{}: no more `{remark}`",
            self.name
        );
    }

    /// Replays up to a command and with it; what was recorded of it is edited first, for a reason.
    #[track_caller]
    pub(crate) fn edited(&mut self, prompt: &str, why: &str, edit: impl FnOnce(&str) -> String) {
        assert!(!why.is_empty(), "an edit has a reason");
        self.up_to(prompt);
        if let Some(mut step) = self.steps.next() {
            let edited = edit(&step.stdout);
            assert_ne!(
                edited, step.stdout,
                "{}: the edit changes nothing",
                self.name
            );
            step.stdout = edited;
            self.replay(&step);
        }
    }

    /// Leaves out the next command, for a reason.
    #[track_caller]
    pub(crate) fn leave_out(&mut self, prompt: &str, why: &str) {
        assert!(!why.is_empty(), "an omission has a reason");
        let step = self.steps.next().expect("no more steps");
        assert_eq!(step.prompt(), prompt, "{}", self.name);
    }

    /// Replays the rest.
    #[track_caller]
    pub(crate) fn rest(&mut self) {
        while let Some(step) = self.steps.next() {
            self.replay(&step);
        }
    }

    /// Waits for lines in a log, as many as that.
    #[track_caller]
    pub(crate) fn logged(&self, node: Node, text: &str, times: usize) {
        let count = || {
            let log = self.bench.log(node);
            log.lines().filter(|line| line.ends_with(text)).count()
        };
        assert!(
            netlab::process::wait_until(LIMIT, || count() >= times),
            "{}: {node:?} never logs `{text}`\n{}",
            self.name,
            self.bench.log(node)
        );
    }

    /// Does something while a daemon is stopped.
    #[track_caller]
    pub(crate) fn stopped(&self, node: Node, work: impl FnOnce()) {
        let log = self.bench.log(node);
        let (_, rest) = log.rsplit_once("(pid=").expect("a log");
        let (pid, _) = rest.split_once(')').expect("a process");
        let signal = |name: &str| {
            let finished = self.bench.run(node, &format!("kill -{name} {pid}"));
            assert!(finished.status.success(), "{finished:?}");
        };
        signal("STOP");
        work();
        signal("CONT");
    }

    /// Whether the nodes greet and acknowledge.
    pub(crate) fn is_reliable(&self) -> bool {
        self.name.starts_with("ftfw")
    }

    /// Waits until both nodes have heard from each other, and that they are heard.
    #[track_caller]
    pub(crate) fn greeted(&self) {
        let has_heard = |node| {
            let page = self.bench.run(node, "conntrackd -s link").stdout;
            let counts = page
                .lines()
                .filter_map(|line| line.trim().strip_suffix(" Pckts recv"));
            let received = counts
                .filter_map(|count| count.split_whitespace().next_back()?.parse::<u64>().ok());
            received.sum::<u64>() >= 2
        };
        assert!(
            netlab::process::wait_until(LIMIT, || has_heard(Node::Fw1) && has_heard(Node::Fw2)),
            "{}: no greetings",
            self.name
        );
    }

    /// Waits until each node knows that its peer has everything, as far as the mode tells.
    #[track_caller]
    pub(crate) fn acknowledged(&self) {
        let is_empty = |node| {
            let page = self.bench.run(node, "conntrackd -s rsqueue").stdout;
            !page.contains("object -> seq")
        };
        assert!(
            netlab::process::wait_until(LIMIT, || is_empty(Node::Fw1) && is_empty(Node::Fw2)),
            "{}: nothing is acknowledged",
            self.name
        );
    }

    /// Waits until a node that polls has just read its table: until the next time is as long as can be.
    #[track_caller]
    pub(crate) fn polled(&self, node: Node) {
        let updates = || {
            let page = self.bench.run(node, "conntrackd -s cache").stdout;
            let line = page.lines().find(|line| line.contains("update OK"));
            line.map(str::to_owned)
        };
        let before = updates();
        assert!(
            netlab::process::wait_until(LIMIT, || updates() != before),
            "{}: {node:?} does not poll",
            self.name
        );
    }

    #[track_caller]
    fn replay(&self, step: &Step) {
        let deadline = Instant::now() + LIMIT;
        loop {
            let finished = self.bench.run(step.node, &step.command);
            let difference = self.difference(step, &finished);
            if difference.is_empty() {
                return;
            }
            // What only looks may look again: what it shows is on its way.
            assert!(
                only_looks(&step.command) && Instant::now() < deadline,
                "{}.txt:{}: {}\nrecorded -, replayed +\n{difference}\nfw1:\n{}fw2:\n{}",
                self.name,
                step.line,
                step.prompt(),
                self.bench.log(Node::Fw1),
                self.bench.log(Node::Fw2),
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn difference(&self, step: &Step, finished: &Finished) -> String {
        let mut out = String::new();
        for (recorded, replayed) in [
            (&step.stdout, &finished.stdout),
            (&step.stderr, &finished.stderr),
        ] {
            let mut recorded = expected(step, recorded, &self.exceptions);
            for (theirs, ours) in &self.replaced {
                recorded = recorded.replace(theirs, ours);
            }
            let lines = |text: &str| normal(step, text, &self.exceptions);
            out.push_str(&line_by_line(&lines(&recorded), &lines(replayed)));
        }
        if finished.status.code() != Some(step.exit) {
            out.push_str(&format!("- exit {}\n+ {}\n", step.exit, finished.status));
        }
        out
    }
}

fn only_looks(command: &str) -> bool {
    let mut words = command.split_whitespace();
    match words.next() {
        Some("conntrackd") => matches!(words.next(), Some("-s" | "-i" | "-e")),
        Some("conntrack") => words.next() == Some("-L"),
        _ => true,
    }
}

/// What differs, in order.
fn line_by_line(recorded: &[String], replayed: &[String]) -> String {
    let mut out = String::new();
    let mut replayed = replayed.iter().peekable();
    let mut recorded = recorded.iter().peekable();
    loop {
        match (recorded.next(), replayed.next()) {
            (None, None) => return out,
            (a, b) if a == b => {}
            (a, b) => {
                for (sign, line) in [('-', a), ('+', b)] {
                    if let Some(line) = line {
                        out.push_str(&format!("{sign} {line}\n"));
                    }
                }
            }
        }
    }
}
