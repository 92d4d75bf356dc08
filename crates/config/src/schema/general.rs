//! Section `General`: the daemon itself, whatever it is there for.

use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use flow::FlowFilter;

use super::{EVENT_ITERATION_LIMIT, HASH_LIMIT, HASH_SIZE, LOCK_FILE, OVERRUN_RESYNC};

/// Section `General`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct General {
    /// Buckets of a cache's table. `HashSize`, default 65536.
    pub hash_size: NonZeroU32,
    /// Most entries of a cache. `HashLimit`, default 262144.
    pub hash_limit: NonZeroU32,
    /// Log file. `LogFile`, default none; `on` is `/var/log/conntrackd.log`. At most 256 bytes.
    pub log_file: Option<PathBuf>,
    /// Log to this facility. `Syslog`, default none; `on` is `daemon`.
    pub syslog: Option<Facility>,
    /// What is not worth a line in the log is left out. TOML only: `log_level`, default all.
    pub log_level: LogLevel,
    /// File that tells keepalived (`track_file`) whether this node may take over. TOML only: `ready_file`,
    /// default none.
    pub ready_file: Option<PathBuf>,
    /// FIFO to which keepalived writes what this node becomes (`vrrp_notify_fifo`), and which the daemon reads. TOML only:
    /// `keepalived_fifo`, default none.
    pub keepalived_fifo: Option<PathBuf>,
    /// Where Prometheus is answered. TOML only: `metrics`, default nowhere.
    pub metrics: Option<MetricsAddress>,
    /// Mode of the control socket. TOML only: `unix_mode`, default 0600, with a group 0660.
    pub unix_mode: Option<u32>,
    /// Group of the control socket; who is not root nor the daemon's user may only ask. TOML only: `unix_group`,
    /// default the daemon's.
    pub unix_group: Option<String>,
    /// Restrict files and system calls once started. TOML only: `sandbox`, default on.
    pub sandbox: bool,
    /// File that exists while the daemon runs. `LockFile`, default `/var/lock/conntrackd.lock`.
    /// At most 256 bytes.
    pub lock_file: PathBuf,
    /// Control socket. `UNIX { Path }`, default none: no client can connect. At most 107 bytes.
    pub unix_path: Option<PathBuf>,
    /// Receive buffer for kernel events in bytes. `NetlinkBufferSize`, default (and 0) the system's.
    pub netlink_buffer_len: Option<NonZeroU32>,
    /// Largest receive buffer in bytes up to which it is doubled after an overrun.
    /// `NetlinkBufferSizeMaxGrowth`, default 0.
    pub netlink_buffer_max_len: u32,
    /// Read the kernel's table so long after an overrun. `NetlinkOverrunResync`, unit: seconds,
    /// default (also `on` and 0) 30; `None` (`off`): never.
    pub overrun_resync: Option<Duration>,
    /// Have the kernel repeat events that did not fit the buffer. `NetlinkEventsReliable`, default off.
    pub reliable_events: bool,
    /// Read the kernel's table this often instead of listening to events. `PollSecs`, unit: seconds,
    /// at least 1, default: listen.
    pub poll: Option<Duration>,
    /// Most events handled before anything else gets its turn. `EventIterationLimit`, default 100.
    pub event_iteration_limit: NonZeroU32,
    /// How the process is scheduled. `Scheduler`, default round-robin with priority 99.
    pub scheduler: Scheduler,
    /// Tell systemd about start and end where it asks for that. `Systemd`, default on.
    pub systemd: bool,
    /// Which entries of the own kernel take part. `Filter`, default all.
    pub filter: FlowFilter,
    /// Where entries are filtered. `Filter From`, default userspace.
    pub filter_from: FilterFrom,
}

impl Default for General {
    fn default() -> Self {
        Self {
            hash_size: HASH_SIZE,
            hash_limit: HASH_LIMIT,
            log_file: None,
            syslog: None,
            log_level: LogLevel::default(),
            ready_file: None,
            keepalived_fifo: None,
            metrics: None,
            unix_mode: None,
            unix_group: None,
            sandbox: true,
            lock_file: LOCK_FILE.into(),
            unix_path: None,
            netlink_buffer_len: None,
            netlink_buffer_max_len: 0,
            overrun_resync: Some(OVERRUN_RESYNC),
            reliable_events: false,
            poll: None,
            event_iteration_limit: EVENT_ITERATION_LIMIT,
            scheduler: Scheduler::default(),
            systemd: true,
            filter: FlowFilter::default(),
            filter_from: FilterFrom::default(),
        }
    }
}

/// Where Prometheus is answered: on this host only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MetricsAddress {
    /// TCP, on a loopback address.
    Loopback(SocketAddr),
    /// A UNIX socket.
    Unix(PathBuf),
}

impl MetricsAddress {
    /// An absolute path, or a loopback address with a port.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        if text.starts_with('/') {
            return Some(Self::Unix(text.into()));
        }
        let address: SocketAddr = text.parse().ok()?;
        address
            .ip()
            .is_loopback()
            .then_some(Self::Loopback(address))
    }
}

impl fmt::Display for MetricsAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Loopback(address) => address.fmt(f),
            Self::Unix(path) => path.display().fmt(f),
        }
    }
}

/// Which lines the log has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// All.
    #[default]
    Notice,
    /// Warnings and errors.
    Warning,
    /// Errors.
    Error,
}

impl LogLevel {
    const NAMES: [(&'static str, Self); 3] = [
        ("notice", Self::Notice),
        ("warning", Self::Warning),
        ("error", Self::Error),
    ];

    /// The level of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::NAMES
            .iter()
            .find(|(n, _)| *n == name)
            .map(|&(_, level)| level)
    }

    /// Its name in a file.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::NAMES
            .iter()
            .find(|&&(_, level)| level == self)
            .map_or("notice", |&(name, _)| name)
    }
}

/// Facility of syslog(3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Facility {
    /// `LOG_DAEMON`.
    Daemon,
    /// `LOG_LOCAL0` to `LOG_LOCAL7`; the number is 0–7.
    Local(u8),
}

impl Facility {
    const NAMES: [(&'static str, Self); 9] = [
        ("daemon", Self::Daemon),
        ("local0", Self::Local(0)),
        ("local1", Self::Local(1)),
        ("local2", Self::Local(2)),
        ("local3", Self::Local(3)),
        ("local4", Self::Local(4)),
        ("local5", Self::Local(5)),
        ("local6", Self::Local(6)),
        ("local7", Self::Local(7)),
    ];

    /// The facility of this name; lower case only.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::NAMES
            .iter()
            .find(|(n, _)| *n == name)
            .map(|&(_, facility)| facility)
    }

    /// Its name in a file.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::NAMES
            .iter()
            .find(|&&(_, f)| f == self)
            .map_or("daemon", |&(name, _)| name)
    }

    /// Its number in syslog(3), before it is shifted: 3 for `daemon`, 16–23 for `local0`–`local7`.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Daemon => 3,
            Self::Local(number) => number.min(7).saturating_add(16),
        }
    }
}

/// How the process is scheduled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheduler {
    /// As the system does by default. Not a word of the old grammar, which gets here only through a
    /// priority the kernel refuses.
    System,
    /// `RR`: `SCHED_RR`.
    RoundRobin {
        /// 1–99.
        priority: u8,
    },
    /// `FIFO`: `SCHED_FIFO`.
    Fifo {
        /// 1–99.
        priority: u8,
    },
}

impl Default for Scheduler {
    fn default() -> Self {
        Self::RoundRobin { priority: 99 }
    }
}

/// Where entries are filtered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FilterFrom {
    /// After they have been received.
    #[default]
    Userspace,
    /// Before they are sent to us. Dumps are still filtered after.
    Kernelspace,
}
