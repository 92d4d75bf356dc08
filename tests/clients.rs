//! The old client with our daemon, and our client with the old daemon.
//!
//! The old client with the old daemon is the measure: what fails there too is the test's fault.

use std::path::PathBuf;
use std::time::Duration;

use netlab::process::wait_until;
use netlab::{Daemon, Feature, Lab, NodeConfig, Peer, Table, listing, sample};
use netlab::{require_feature_or_skip, require_root_or_skip};

const LIMIT: Duration = Duration::from_secs(10);

/// Pages and listings, each of which must be the same whoever asks.
const QUESTIONS: [&[&str]; 14] = [
    &["-s"],
    &["-s", "ct"],
    &["-s", "network"],
    &["-s", "cache"],
    &["-s", "runtime"],
    &["-s", "link"],
    &["-s", "multicast"],
    &["-s", "rsqueue"],
    &["-s", "queue"],
    &["-s", "expect"],
    &["-i"],
    &["-e"],
    &["-i", "-x"],
    &["-e", "ct", "-x"],
];

/// Two daemons of one kind, and a client of another.
struct Setup {
    near: Daemon,
    far: Daemon,
    near_table: Table,
    far_table: Table,
    client: PathBuf,
    _lab: Lab,
}

impl Setup {
    fn start(daemon: Peer, client: Peer) -> Self {
        let mut lab = Lab::new().unwrap();
        let a = lab.namespace("near").unwrap();
        let b = lab.namespace("far").unwrap();
        lab.cable((&a, "sync"), (&b, "sync")).unwrap();
        let node = |namespace: &netlab::Namespace, addr: &str| {
            namespace.add_addr("sync", &format!("{addr}/24")).unwrap();
            sample::prepare(namespace).unwrap();
            namespace.untrack("sync").unwrap();
            let config = NodeConfig::ftfw_multicast("sync", addr);
            let daemon = Daemon::start(daemon, &lab, namespace, &config).unwrap();
            (daemon, Table::open(namespace).unwrap())
        };
        let (near, mut near_table) = node(&a, "192.168.100.1");
        let (far, far_table) = node(&b, "192.168.100.2");
        near_table.create(sample::every_kind()).unwrap();
        let setup = Self {
            near,
            far,
            near_table,
            far_table,
            client: client.program().expect("no client program"),
            _lab: lab,
        };
        setup.until("copied", || {
            setup.far.external().unwrap().len() == sample::every_kind().len()
        });
        setup
    }

    /// Sends a command with the foreign client, which must succeed in silence on standard error.
    #[track_caller]
    fn ask(&self, daemon: &Daemon, words: &[&str]) -> String {
        let finished = daemon.client_of(&self.client, words).unwrap();
        assert!(
            finished.status.success(),
            "{words:?}: {} {}",
            finished.status,
            finished.stderr
        );
        finished.stdout
    }

    #[track_caller]
    fn until(&self, what: &str, done: impl FnMut() -> bool) {
        assert!(
            wait_until(LIMIT, done),
            "never {what}\n{}{}",
            self.near.messages(),
            self.far.messages()
        );
    }
}

/// What stays the same from one moment to the next: numbers are masked with the blanks before them, so that columns
/// show, but for the kernel's ids, which are of any length; lines are sorted, because listings have no order.
fn shape(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = text
        .lines()
        .map(without_id)
        .map(|line| {
            let mut out = String::new();
            let mut pending = 0;
            for c in line.chars() {
                match c {
                    ' ' => pending += 1,
                    '0'..='9' => {
                        out.extend(std::iter::repeat_n('#', pending + 1));
                        pending = 0;
                    }
                    other => {
                        out.extend(std::iter::repeat_n(' ', pending));
                        pending = 0;
                        out.push(other);
                    }
                }
            }
            out
        })
        .collect();
    lines.sort();
    lines
}

fn without_id(line: &str) -> String {
    let parts = line.split_once("<id>").and_then(|(before, rest)| {
        let (_, after) = rest.split_once("</id>")?;
        Some(format!("{before}<id/>{after}"))
    });
    parts.unwrap_or_else(|| line.to_owned())
}

fn every_question_is_answered(daemon: Peer, client: Peer) {
    let setup = Setup::start(daemon, client);
    for node in [&setup.near, &setup.far] {
        for &words in &QUESTIONS {
            let mut own = Vec::new();
            let mut foreign = Vec::new();
            // A counter may get one digit longer, and the queues fill and drain, between the two.
            let same = wait_until(LIMIT, || {
                own = shape(&node.client(words).unwrap());
                foreign = shape(&setup.ask(node, words));
                own == foreign
            });
            let difference = listing::difference(&own, &foreign);
            assert!(same, "{words:?}: own client -, foreign +\n{difference}");
        }
    }
    let entries = sample::every_kind().len();
    assert_eq!(setup.ask(&setup.near, &["-i"]).lines().count(), entries);
    assert_eq!(setup.ask(&setup.far, &["-e"]).lines().count(), entries);
}

fn every_order_is_carried_out(daemon: Peer, client: Peer) {
    let mut setup = Setup::start(daemon, client);
    let entries = sample::every_kind().len();

    setup.ask(&setup.far, &["-c"]);
    assert_eq!(
        setup.far_table.lines().unwrap(),
        setup.near_table.lines().unwrap(),
        "-c returns when the kernel has the entries"
    );

    setup.ask(&setup.far, &["-f", "external"]);
    assert!(setup.far.external().unwrap().is_empty(), "-f external");
    setup.ask(&setup.far, &["-n"]);
    setup.until("copied on -n", || {
        setup.far.external().unwrap().len() == entries
    });
    setup.ask(&setup.far, &["-f", "external"]);
    setup.ask(&setup.near, &["-B"]);
    setup.until("copied on -B", || {
        setup.far.external().unwrap().len() == entries
    });

    setup.ask(&setup.near, &["-f", "internal"]);
    assert!(setup.near.internal().unwrap().is_empty(), "-f internal");
    setup.ask(&setup.near, &["-R"]);
    setup.until("read on -R", || {
        setup.near.internal().unwrap().len() == entries
    });

    setup.ask(&setup.near, &["-F"]);
    setup.until("emptied on -F", || setup.near_table.is_empty().unwrap());

    setup.ask(&setup.near, &["-t"]);
    setup.ask(&setup.near, &["-k"]);
    setup.near.ends().unwrap();
    for file in ["ctl", "lock"] {
        assert!(!setup.near.path(file).exists(), "{file} is left after -k");
    }
    let refused = setup.near.client_of(&setup.client, ["-s"]).unwrap();
    assert_eq!(refused.status.code(), Some(1), "nobody is there any more");
}

/// Our pages have the original's form, column for column.
fn the_pages_of_both_daemons_have_one_form() {
    let ours = Setup::start(Peer::Ours, Peer::Original);
    let original = Setup::start(Peer::Original, Peer::Original);
    // The queue of what is not acknowledged yet has as many lines as it happens to hold.
    for &words in QUESTIONS
        .iter()
        .filter(|words| words != &&["-s", "rsqueue"])
    {
        for (mine, theirs) in [(&ours.near, &original.near), (&ours.far, &original.far)] {
            let (mut a, mut b) = (Vec::new(), Vec::new());
            let same = wait_until(LIMIT, || {
                a = shape(&ours.ask(mine, words));
                b = shape(&original.ask(theirs, words));
                a == b
            });
            let difference = listing::difference(&a, &b);
            assert!(same, "{words:?}: ours -, the original +\n{difference}");
        }
    }
}

macro_rules! cases {
    ($($case:ident),* $(,)?) => {
        mod old_client_new_daemon {
            $(#[test] fn $case() { super::guarded(|| super::$case(super::Peer::Ours, super::Peer::Original)); })*
        }
        mod new_client_old_daemon {
            $(#[test] fn $case() { super::guarded(|| super::$case(super::Peer::Original, super::Peer::Ours)); })*
        }
        mod old_client_old_daemon {
            $(#[test] fn $case() { super::guarded(|| super::$case(super::Peer::Original, super::Peer::Original)); })*
        }
    };
}

cases!(every_question_is_answered, every_order_is_carried_out);

#[test]
fn pages_have_the_form_of_the_original() {
    guarded(the_pages_of_both_daemons_have_one_form);
}

fn guarded(case: impl FnOnce()) {
    require_root_or_skip!("conntrackd");
    require_feature_or_skip!(Feature::Conntrack, Feature::Labels, Feature::Zones);
    case();
}
