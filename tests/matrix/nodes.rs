//! Two nodes, their daemons, and what must be equal on them.

use std::time::Duration;

use flow::Flow;
use netlab::process::wait_until;
use netlab::{Daemon, Lab, Namespace, NodeConfig, Peer, Table, listing, sample};

use crate::expectations;
use crate::links::{self, Transport};

/// How long the peer may take to hold what it should hold.
const SYNC_LIMIT: Duration = Duration::from_secs(25);

/// How long listings of the kernels may differ although the numbers of entries are equal.
const LISTING_LIMIT: Duration = Duration::from_secs(15);

/// Entry that shows whether the link works.
const PROBE: u32 = 4_000_000;

/// How the nodes synchronise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Without acknowledgements.
    Notrack,
    /// Everything is repeated.
    Alarm,
    /// With acknowledgements.
    Ftfw,
}

/// Where what the peer tells goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum External {
    /// Into the external cache, until it is committed.
    Cached,
    /// Into the kernel at once.
    Direct,
}

/// What a pair is configured with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    /// The mode.
    pub(crate) mode: Mode,
    /// The links' protocol.
    pub(crate) transport: Transport,
    /// Whether the links are IPv6.
    pub(crate) v6: bool,
    /// With or without external cache.
    pub(crate) external: External,
    /// How many links.
    pub(crate) links: u8,
}

/// A pair, and the kernel tables of both.
pub(crate) struct Nodes {
    /// Has the traffic.
    pub(crate) active: Daemon,
    /// Hears of it.
    pub(crate) standby: Daemon,
    /// The active node's table.
    pub(crate) active_table: Table,
    /// The standby's table.
    pub(crate) standby_table: Table,
    setup: Setup,
    active_is: Peer,
    standby_is: Peer,
    // Last, so that everything inside ends before the namespaces go.
    _lab: Lab,
}

impl Nodes {
    /// Starts the pair, and returns when the link works.
    pub(crate) fn start(setup: Setup, active_is: Peer, standby_is: Peer) -> Self {
        let mut lab = Lab::new().unwrap();
        let a = lab.namespace("active").unwrap();
        let b = lab.namespace("standby").unwrap();
        links::lay(&lab, &a, &b, setup.links);
        // The standby first: what is sent before it is there is lost.
        let (standby, standby_table) = node(&lab, &b, standby_is, setup, 2);
        let (active, active_table) = node(&lab, &a, active_is, setup, 1);
        let mut nodes = Self {
            active,
            standby,
            active_table,
            standby_table,
            setup,
            active_is,
            standby_is,
            _lab: lab,
        };
        nodes.reach_each_other();
        nodes
    }

    /// Makes an entry and changes it until the standby has heard of it, and takes it away again.
    fn reach_each_other(&mut self) {
        let probe = sample::nth(PROBE);
        self.create(&[probe]);
        let mut mark = 0;
        let heard = wait_until(SYNC_LIMIT, || {
            mark += 1;
            let mut update = Flow::new(probe.orig);
            update.reply = probe.reply;
            update.mark = Some(mark);
            self.active_table.update([update]).unwrap();
            std::thread::sleep(Duration::from_millis(50));
            match self.setup.external {
                External::Cached => !self.standby.external().unwrap().is_empty(),
                External::Direct => !self.standby_table.is_empty().unwrap(),
            }
        });
        assert!(heard, "the link does not work\n{}", self.messages());
        self.delete(&[probe]);
        self.in_step("after the probe");
    }

    /// Waits until the standby holds what the active node's kernel holds.
    #[track_caller]
    pub(crate) fn in_step(&self, when: &str) {
        let mut problem = String::new();
        let equal = wait_until(SYNC_LIMIT, || {
            problem = self.difference();
            problem.is_empty()
        });
        assert!(
            equal,
            "{when}: {:?}\n{problem}{}",
            self.setup,
            self.messages()
        );
    }

    fn difference(&self) -> String {
        let entries = self.active_table.len().unwrap();
        let internal = self.active.internal().unwrap();
        if internal.len() != entries {
            return format!("{entries} in the kernel, {} internal\n", internal.len());
        }
        let external = self.standby.external().unwrap();
        match self.setup.external {
            External::Cached => {
                listing::difference(&internal, &external)
                    + &listing::difference(
                        &expectations::cached(&self.active, "-i"),
                        &expectations::cached(&self.standby, "-e"),
                    )
            }
            External::Direct => listing::difference(&[], &external) + &self.kernels(),
        }
    }

    /// How the kernels differ.
    fn kernels(&self) -> String {
        listing::difference(
            &self.active_table.lines().unwrap(),
            &self.standby_table.lines().unwrap(),
        ) + &listing::difference(&masters(&self.active_table), &masters(&self.standby_table))
            + &listing::difference(
                &expectations::in_kernel(self.active.namespace()),
                &expectations::in_kernel(self.standby.namespace()),
            )
    }

    /// Commits on the standby, and compares the kernels.
    #[track_caller]
    pub(crate) fn commit(&mut self, when: &str) {
        if self.setup.external == External::Cached {
            self.standby_table.flush().unwrap();
        }
        self.standby.client(["-c"]).unwrap();
        assert_eq!(
            self.standby_table.len().unwrap(),
            self.active_table.len().unwrap(),
            "{when}: the commit said too early that it was done, or failed\n{}",
            self.messages()
        );
        let mut problem = String::new();
        // A listing misses entries while somebody changes the size of the hash, which is the whole machine's.
        let equal = wait_until(LISTING_LIMIT, || {
            problem = self.kernels();
            problem.is_empty()
        });
        assert!(
            equal,
            "{when}: {:?}: the kernels differ\n{problem}{}",
            self.setup,
            self.messages()
        );
    }

    /// Creates entries on the active node.
    #[track_caller]
    pub(crate) fn create(&mut self, flows: &[Flow]) {
        let written = self.active_table.create(flows.iter().copied()).unwrap();
        assert_eq!(written.refused, 0, "errno {}", written.errno);
    }

    /// Deletes entries on the active node.
    #[track_caller]
    pub(crate) fn delete(&mut self, flows: &[Flow]) {
        let keys = flows.iter().map(Flow::key);
        let written = self.active_table.delete(keys).unwrap();
        assert_eq!(written.refused, 0, "errno {}", written.errno);
    }

    /// Changes entries on the active node.
    #[track_caller]
    pub(crate) fn update(&mut self, flows: impl Iterator<Item = Flow>) {
        let written = self.active_table.update(flows).unwrap();
        assert_eq!(written.refused, 0, "errno {}", written.errno);
    }

    /// Kills the standby and starts it again with the work of `meanwhile` in between.
    pub(crate) fn crash_standby(&mut self, meanwhile: impl FnOnce(&mut Self)) {
        self.standby.kill().unwrap();
        meanwhile(self);
        forget_crash(self.standby_is, &self.standby);
        self.standby.launch().unwrap();
    }

    /// Kills the active daemon and starts it again with the work of `meanwhile` in between.
    pub(crate) fn crash_active(&mut self, meanwhile: impl FnOnce(&mut Self)) {
        self.active.kill().unwrap();
        meanwhile(self);
        forget_crash(self.active_is, &self.active);
        self.active.launch().unwrap();
    }

    /// Waits until both daemons have heard that the other one knows of their start.
    ///
    /// What is lost before that is over, the original never sends again.
    pub(crate) fn greeted(&self) {
        let greeted = wait_until(SYNC_LIMIT, || {
            [&self.active, &self.standby]
                .iter()
                .all(|daemon| links::heard_without_hello(daemon.namespace()))
        });
        assert!(greeted, "no end of the greeting\n{}", self.messages());
    }

    fn messages(&self) -> String {
        format!(
            "active {:?}:\n{}standby {:?}:\n{}",
            self.active_is,
            self.active.messages(),
            self.standby_is,
            self.standby.messages()
        )
    }
}

/// Connections that were expected, and who expected them.
pub(crate) fn masters(table: &Table) -> Vec<String> {
    let flows = table.dump().unwrap();
    let mut lines: Vec<_> = flows
        .iter()
        .filter_map(|flow| Some(format!("{:?} of {:?}", flow.orig, flow.master?)))
        .collect();
    lines.sort();
    lines
}

fn node(lab: &Lab, namespace: &Namespace, peer: Peer, setup: Setup, number: u8) -> (Daemon, Table) {
    sample::prepare(namespace).unwrap();
    expectations::prepare(namespace).unwrap();
    links::watch_greeting(namespace);
    let table = Table::open(namespace).unwrap();
    let daemon = Daemon::start(peer, lab, namespace, &config(setup, number)).unwrap();
    (daemon, table)
}

fn config(setup: Setup, number: u8) -> NodeConfig {
    let mut config = NodeConfig::ftfw_multicast("", "");
    config.ignore = Vec::new();
    config.links = (0..setup.links)
        .map(|link| links::section(setup.transport, setup.v6, link, number))
        .collect();
    config.mode = match setup.mode {
        Mode::Notrack => "NOTRACK",
        Mode::Alarm => "ALARM",
        Mode::Ftfw => "FTFW",
    }
    .to_owned();
    if setup.mode == Mode::Alarm {
        config.mode_lines = vec!["RefreshTime 1".to_owned(), "CacheTimeout 6".to_owned()];
    }
    if setup.external == External::Direct {
        config.mode_lines.push("DisableExternalCache On".to_owned());
    }
    config.options.push("ExpectationSync On".to_owned());
    config
}

/// The original takes a lock file for a living daemon, which ours does not.
fn forget_crash(peer: Peer, daemon: &Daemon) {
    if peer == Peer::Original {
        std::fs::remove_file(daemon.path("lock")).unwrap();
    }
}
