//! Two nodes on one cable, with the configuration that both programs get.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use flow::Flow;
use netlab::{Daemon, Lab, Namespace, NodeConfig, Peer, Table};

use crate::book::Whose;
use crate::{equal, native, node};

/// How long a copy, a commit or a listing may take.
const LIMIT: Duration = Duration::from_secs(180);

/// The greeting of two nodes costs messages of its own.
const GREETING: Duration = Duration::from_millis(1200);

/// How the two talk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Setup {
    /// FT-FW over UDP.
    Ftfw,
    /// FT-FW over multicast.
    Multicast,
    /// NOTRACK over UDP.
    Notrack,
    /// ALARM over UDP, with its usual times.
    Alarm,
}

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
        Whose::Ours | Whose::Native => [Peer::Ours; 2],
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

/// Configuration of a node, the same text for both programs.
pub(crate) fn config(node: u8, setup: Setup) -> NodeConfig {
    let mut config = NodeConfig::ftfw_multicast("sync", &format!("192.168.100.{node}"));
    let buffers = "SndSocketBuffer 16777216\nRcvSocketBuffer 16777216\nChecksum on";
    let (mode, lines) = match setup {
        Setup::Ftfw | Setup::Multicast => ("FTFW", "ResendQueueSize 131072\nACKWindowSize 300"),
        Setup::Notrack => ("NOTRACK", ""),
        Setup::Alarm => ("ALARM", "RefreshTime 15\nCacheTimeout 180"),
    };
    config.mode = mode.to_owned();
    config.mode_lines = vec![lines.to_owned()];
    config.links = vec![match setup {
        Setup::Multicast => format!(
            "Multicast {{\nIPv4_address 225.0.0.50\nGroup 3780\nIPv4_interface 192.168.100.{node}\nInterface sync\n{buffers}\n}}"
        ),
        _ => format!(
            "UDP {{\nIPv4_address 192.168.100.{node}\nIPv4_Destination_Address 192.168.100.{}\nPort 3780\n\
             Interface sync\n{buffers}\n}}",
            3 - node
        ),
    }];
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
    /// Starts both, in FT-FW.
    pub(crate) fn start(whose: Whose) -> Result<Self> {
        Self::start_as(whose, Setup::Ftfw)
    }

    /// Starts both.
    pub(crate) fn start_as(whose: Whose, setup: Setup) -> Result<Self> {
        let mut lab = Lab::new()?;
        let nodes = nodes(&mut lab)?;
        Self::start_in(lab, nodes, whose, setup)
    }

    /// Starts both in namespaces that are there.
    pub(crate) fn start_in(
        lab: Lab,
        [a, b]: [Namespace; 2],
        whose: Whose,
        setup: Setup,
    ) -> Result<Self> {
        let [a_daemon, b_daemon] = match whose {
            Whose::Native => native::start(&lab, [&a, &b])?,
            _ => {
                let [near, far] = programs(whose);
                let far = Daemon::start(far, &lab, &b, &config(2, setup))?;
                [Daemon::start(near, &lab, &a, &config(1, setup))?, far]
            }
        };
        let pair = Self {
            a_table: Table::open(&a)?,
            b_table: Table::open(&b)?,
            a: a_daemon,
            b: b_daemon,
            _lab: lab,
        };
        match whose {
            Whose::Native => pair.until_proved()?,
            _ => std::thread::sleep(GREETING),
        }
        Ok(pair)
    }

    /// Fills A's kernel, and waits until B has all of it, `count` in all.
    pub(crate) fn fill(&mut self, flows: impl IntoIterator<Item = Flow>, count: u32) -> Result<()> {
        let written = self.a_table.create(flows)?;
        if written.refused > 0 {
            bail!(
                "{} entries refused: errno {}",
                written.refused,
                written.errno
            );
        }
        self.until_b_has(count)?;
        Ok(())
    }

    /// Waits until B's external cache holds so many entries. Returns the time it took.
    pub(crate) fn until_b_has(&self, count: u32) -> Result<Duration> {
        until_held(&self.b, "external", count)
    }

    /// Waits until both nodes of the native dialect have proved that they hold the same.
    pub(crate) fn until_proved(&self) -> Result<()> {
        native::until_proved([&self.a, &self.b], LIMIT)
    }

    /// Waits until B's external cache is A's kernel table, for so long; how it differs otherwise.
    pub(crate) fn difference(&self, patience: Duration) -> Result<Option<equal::Difference>> {
        let deadline = Instant::now() + patience;
        loop {
            let kernel = self.a_table.dump()?;
            let difference = equal::difference(&kernel, &self.b.client(["-e"])?);
            // A listing of the kernel misses entries while somebody changes the size of its hash.
            if difference.is_none() && kernel.len() != self.a_table.len()? {
                continue;
            }
            if difference.is_none() || Instant::now() > deadline {
                return Ok(difference);
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// As [`difference`](Self::difference), as an error.
    pub(crate) fn must_be_equal(&self) -> Result<()> {
        match self.difference(Duration::from_secs(10))? {
            None => Ok(()),
            Some(difference) => bail!("tables differ: {difference}"),
        }
    }

    /// Process ids.
    pub(crate) fn pids(&self) -> Result<[u32; 2]> {
        Ok([
            self.a.pid().context("the active node does not run")?,
            self.b.pid().context("the standby does not run")?,
        ])
    }

    /// Time of a command of a daemon's own client.
    pub(crate) fn time_of(daemon: &Daemon, words: &[&str]) -> Result<Duration> {
        let begun = Instant::now();
        daemon.client(words)?;
        Ok(begun.elapsed())
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        // Without listeners, and before the next measure: a namespace with entries is cleared in the background.
        let _ = self.a.kill();
        let _ = self.b.kill();
        let _ = self.a_table.flush();
        let _ = self.b_table.flush();
    }
}

/// Time of a listing, counted and thrown away; it must have so many lines.
pub(crate) fn time_of_listing(
    daemon: &Daemon,
    program: &Path,
    words: &str,
    entries: u32,
) -> Result<Duration> {
    let mut command = daemon.namespace().command("sh");
    let conf = daemon.path("conf");
    let line = format!(
        "{} -C {} {words} | wc -l",
        program.display(),
        conf.display()
    );
    command.args(["-c", &line]);
    let begun = Instant::now();
    let lines = netlab::process::run_within(command, "", LIMIT)?.success()?;
    let took = begun.elapsed();
    ensure!(
        lines.trim() == entries.to_string(),
        "{} of {entries} lines of {words}",
        lines.trim()
    );
    Ok(took)
}

/// Waits until a cache holds so many entries. Returns the time it took.
pub(crate) fn until_held(daemon: &Daemon, cache: &str, count: u32) -> Result<Duration> {
    let begun = Instant::now();
    loop {
        let held = node::held(daemon, cache).unwrap_or(0);
        if held == u64::from(count) {
            return Ok(begun.elapsed());
        }
        if begun.elapsed() > LIMIT {
            bail!(
                "{held} of {count} entries in the {cache} cache\n{}",
                daemon.messages()
            );
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}
