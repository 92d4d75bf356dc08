//! Two nodes on one cable, with the configuration that both programs get.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use flow::Flow;
use netlab::process::wait_until;
use netlab::{Daemon, Lab, Namespace, NodeConfig, Peer, Table, listing};

use crate::book::Whose;

/// How long a copy, a commit or a listing may take.
const LIMIT: Duration = Duration::from_secs(180);

/// The active and the standby node.
pub(crate) struct Pair {
    pub(crate) a: Daemon,
    pub(crate) b: Daemon,
    pub(crate) a_table: Table,
    pub(crate) b_table: Table,
    // Last: what runs inside ends first.
    _lab: Lab,
}

/// Which programs a pair consists of.
pub(crate) fn programs(whose: Whose) -> [Peer; 2] {
    match whose {
        Whose::Ours => [Peer::Ours; 2],
        Whose::Mixed => [Peer::Ours, Peer::Original],
        Whose::Original | Whose::Floor => [Peer::Original; 2],
    }
}

/// Two namespaces on one cable, without any rule.
pub(crate) fn nodes(lab: &mut Lab) -> Result<[Namespace; 2]> {
    let nodes = [lab.namespace("a")?, lab.namespace("b")?];
    lab.cable((&nodes[0], "sync"), (&nodes[1], "sync"))?;
    for (number, namespace) in (1..).zip(&nodes) {
        namespace.add_addr("sync", &format!("192.168.100.{number}/24"))?;
        // Entries that raise no events could not be compared.
        namespace.sysctl("net.netfilter.nf_conntrack_events", "1")?;
    }
    Ok(nodes)
}

fn config(node: u8) -> NodeConfig {
    let mut config = NodeConfig::ftfw_multicast("sync", "");
    config.mode_lines = vec!["ResendQueueSize 131072\nACKWindowSize 300".to_owned()];
    config.links = vec![format!(
        "UDP {{\nIPv4_address 192.168.100.{node}\nIPv4_Destination_Address 192.168.100.{}\nPort 3780\nInterface sync\n\
         SndSocketBuffer 16777216\nRcvSocketBuffer 16777216\nChecksum on\n}}",
        3 - node
    )];
    config.general = [
        "HashSize 524288",
        "HashLimit 4194304",
        "NetlinkBufferSize 16777216",
        "NetlinkBufferSizeMaxGrowth 67108864",
    ]
    .map(str::to_owned)
    .to_vec();
    config.filter = Some(
        "Filter From Userspace {\nProtocol Accept { TCP UDP ICMP IPv6-ICMP }\n\
         Address Ignore { IPv4_address 192.168.100.1 IPv4_address 192.168.100.2 }\n}"
            .to_owned(),
    );
    config
}

impl Pair {
    /// Starts both.
    pub(crate) fn start(whose: Whose) -> Result<Self> {
        let mut lab = Lab::new()?;
        let [a, b] = nodes(&mut lab)?;
        let [near, far] = programs(whose);
        let b_daemon = Daemon::start(far, &lab, &b, &config(2))?;
        let a_daemon = Daemon::start(near, &lab, &a, &config(1))?;
        let pair = Self {
            a_table: Table::open(&a)?,
            b_table: Table::open(&b)?,
            a: a_daemon,
            b: b_daemon,
            _lab: lab,
        };
        // The greeting costs messages of its own.
        std::thread::sleep(Duration::from_millis(1500));
        Ok(pair)
    }

    /// Fills A's kernel, and waits until B has all of it.
    pub(crate) fn fill(&mut self, flows: impl IntoIterator<Item = Flow>) -> Result<usize> {
        let written = self.a_table.create(flows)?;
        if written.refused > 0 {
            bail!(
                "{} entries refused: errno {}",
                written.refused,
                written.errno
            );
        }
        let count = usize::try_from(written.accepted)?;
        self.until_b_has(count)?;
        Ok(count)
    }

    /// Waits until B's external cache holds so many entries. Returns the time it took.
    pub(crate) fn until_b_has(&self, count: usize) -> Result<Duration> {
        until_held(&self.b, "external", count)
    }

    /// Whether B's external cache is A's kernel table; how it differs otherwise.
    pub(crate) fn difference(&self) -> Result<Option<String>> {
        let mut problem = None;
        // A listing misses entries while somebody changes the size of the hash.
        wait_until(Duration::from_secs(20), || {
            problem = self
                .difference_now()
                .unwrap_or_else(|error| Some(format!("{error:#}")));
            problem.is_none()
        });
        Ok(problem)
    }

    fn difference_now(&self) -> Result<Option<String>> {
        let (entries, told) = (self.a_table.len()?, self.b.external()?);
        let known = self.a.internal()?;
        let difference = listing::difference(&known, &told);
        Ok(if known.len() != entries {
            Some(format!(
                "{entries} entries in the kernel, {} in the cache",
                known.len()
            ))
        } else if difference.is_empty() {
            None
        } else {
            let count = difference.lines().count();
            let first = difference.lines().next().unwrap_or_default();
            Some(format!("{count} lines differ, {first}"))
        })
    }

    /// Events that the daemon on A lost.
    pub(crate) fn lost_events(daemon: &Daemon) -> Result<u64> {
        let page = daemon.client(["-s", "runtime"])?;
        let line = page.lines().find(|line| line.contains("netlink overrun"));
        let number = line.and_then(|line| line.rsplit(':').next());
        Ok(number.unwrap_or_default().trim().parse()?)
    }

    /// Time of a command of a daemon's own client.
    pub(crate) fn time_of(daemon: &Daemon, words: &[&str]) -> Result<Duration> {
        let begun = Instant::now();
        daemon.client(words)?;
        Ok(begun.elapsed())
    }

    /// Time of a listing, thrown away.
    pub(crate) fn time_of_listing(
        daemon: &Daemon,
        program: &Path,
        words: &[&str],
    ) -> Result<Duration> {
        let mut command = daemon.namespace().command("sh");
        let line = format!(
            "{} -C {} {} > /dev/null",
            program.display(),
            daemon.path("conf").display(),
            words.join(" ")
        );
        command.args(["-c", &line]);
        let begun = Instant::now();
        let finished = netlab::process::run_within(command, "", LIMIT)?;
        finished.success()?;
        Ok(begun.elapsed())
    }
}

/// Waits until a cache holds so many entries. Returns the time it took.
pub(crate) fn until_held(daemon: &Daemon, cache: &str, count: usize) -> Result<Duration> {
    let begun = Instant::now();
    let mut held = 0;
    let reached = wait_until(LIMIT, || {
        held = daemon
            .counter(&format!("cache {cache}"), "current active connections")
            .unwrap_or(0);
        held == count as u64
    });
    if !reached {
        bail!(
            "{held} of {count} entries in the {cache} cache\n{}",
            daemon.messages()
        );
    }
    Ok(begun.elapsed())
}
