//! What a configuration is once it is valid.
//!
//! Zeros that mean "default" in a file have been replaced by the default. Source of all options and
//! defaults: conntrackd.conf(5) and measurements of conntrackd 1.4.7.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::Policy;
use crate::native::Native;

mod general;
mod helpers;

pub use general::{Facility, FilterFrom, General, LogLevel, MetricsAddress, Scheduler};
pub use helpers::{Helper, HelperPolicy, HelperTransport, Helpers};

/// Most dedicated links of one node.
pub const MAX_LINKS: usize = 4;

/// Default of `ResendQueueSize`, in messages.
pub(crate) const RESEND_QUEUE_LEN: NonZeroU32 = nonzero(131_072);
/// Default of `ACKWindowSize`, in messages.
pub(crate) const ACK_WINDOW: NonZeroU32 = nonzero(300);
/// Default of `PurgeTimeout`.
pub(crate) const PURGE_TIMEOUT: Duration = Duration::from_secs(60);
/// Default of `RefreshTime`.
pub(crate) const REFRESH_TIME: Duration = Duration::from_secs(60);
/// Default of `CacheTimeout`.
pub(crate) const CACHE_TIMEOUT: Duration = Duration::from_secs(180);
/// Default of `HashSize`, in buckets.
pub(crate) const HASH_SIZE: NonZeroU32 = nonzero(65_536);
/// Default of `HashLimit`, in entries.
pub(crate) const HASH_LIMIT: NonZeroU32 = nonzero(262_144);
/// Default of `EventIterationLimit`, in events.
pub(crate) const EVENT_ITERATION_LIMIT: NonZeroU32 = nonzero(100);
/// Default of `ErrorQueueLength`, in packets.
pub(crate) const ERROR_QUEUE_LEN: NonZeroU32 = nonzero(128);
/// Default of `NetlinkOverrunResync`.
pub(crate) const OVERRUN_RESYNC: Duration = Duration::from_secs(30);
/// Default of `LockFile`.
pub(crate) const LOCK_FILE: &str = "/var/lock/conntrackd.lock";
/// What `LogFile on` means in `General`.
pub(crate) const LOG_FILE: &str = "/var/log/conntrackd.log";
/// What `LogFile on` means in `Stats`.
pub(crate) const STATS_LOG_FILE: &str = "/var/log/conntrackd-stats.log";

const fn nonzero(value: u32) -> NonZeroU32 {
    match NonZeroU32::new(value) {
        Some(value) => value,
        None => NonZeroU32::MIN,
    }
}

/// Everything a file can say, valid and complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// What the daemon is there for.
    pub role: Role,
    /// Section `General`.
    pub general: General,
    /// Section `policy`: what a peer may make this node keep and do. TOML only.
    pub policy: Policy,
    /// Section `Helper`. May stand beside any role.
    pub helpers: Helpers,
    /// Where all this was read.
    pub origin: Origin,
}

/// What the daemon is there for. A file has either of the sections, or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// Section `Sync`: replicate.
    Sync(Sync),
    /// Section `Stats`: count and log.
    Statistics(Statistics),
    /// Neither: touch no connection, only answer requests.
    Idle,
}

/// Section `Sync`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sync {
    /// How changes are told to the peer (`Mode`).
    pub mode: Mode,
    /// Dedicated links in file order: at most [`MAX_LINKS`], all of one transport.
    ///
    /// May be empty: a client does not need any, and a daemon refuses to start ([`crate::check()`]).
    pub links: Vec<Link>,
    /// Timeout given to every committed entry. `CommitTimeout`, unit: seconds.
    ///
    /// `None` (unset, 0, or together with `DisableExternalCache on`): the timeout received, less the
    /// entry's age.
    pub commit_timeout: Option<Duration>,
    /// Delay of a scheduled purge. `PurgeTimeout`, unit: seconds, default 60.
    pub purge_timeout: Duration,
    /// Send and restore TCP window scales instead of being liberal about windows.
    /// `TCPWindowTracking`, default off.
    pub tcp_window_tracking: bool,
    /// Which expectations are replicated. `ExpectationSync`, default off.
    pub expectation_sync: ExpectationSync,
    /// The native dialect. TOML only: `[native]` and `[[peer]]`; default none.
    pub native: Option<Native>,
    /// Put the entries of peers into the kernel as they come, besides keeping them. TOML only:
    /// `[standby] inject`, default off.
    pub standby_inject: bool,
}

impl Sync {
    /// The links of version 1 that are in use: none where the native dialect is configured and does not
    /// allow version 1 beside it.
    #[must_use]
    pub fn active_links(&self) -> &[Link] {
        match &self.native {
            Some(Native {
                version_1: false, ..
            }) => &[],
            _ => &self.links,
        }
    }

    /// Whether changes of the own kernel are kept (`DisableInternalCache`, default: they are).
    #[must_use]
    pub fn internal_cache(&self) -> CacheUse {
        match &self.mode {
            Mode::Notrack(notrack) => notrack.internal_cache,
            Mode::Ftfw(_) | Mode::Alarm(_) => CacheUse::Enabled,
        }
    }

    /// Whether changes of the peer are kept until a commit (`DisableExternalCache`, default: they are).
    #[must_use]
    pub fn external_cache(&self) -> CacheUse {
        match &self.mode {
            Mode::Ftfw(ftfw) => ftfw.external_cache,
            Mode::Notrack(notrack) => notrack.external_cache,
            Mode::Alarm(_) => CacheUse::Enabled,
        }
    }

    /// Whether the peer is asked for everything once at start (`StartupResync`, default off).
    #[must_use]
    pub fn startup_resync(&self) -> bool {
        match &self.mode {
            Mode::Ftfw(ftfw) => ftfw.startup_resync,
            Mode::Notrack(notrack) => notrack.startup_resync,
            Mode::Alarm(_) => false,
        }
    }

    /// Position of the link used first: the last one marked `Default`, else the first.
    #[must_use]
    pub fn first_active_link(&self) -> usize {
        self.links
            .iter()
            .rposition(|link| link.default)
            .unwrap_or(0)
    }
}

/// How changes are told to the peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Reliable: acknowledged and repeated.
    Ftfw(Ftfw),
    /// Best effort: repeated from time to time.
    Alarm(Alarm),
    /// Best effort: sent once.
    Notrack(Notrack),
}

impl Mode {
    /// The name as the original prints it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Ftfw(_) => "FTFW",
            Self::Alarm(_) => "ALARM",
            Self::Notrack(_) => "NOTRACK",
        }
    }
}

/// Options of `Mode FTFW`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ftfw {
    /// Most messages kept for repeating. `ResendQueueSize`, default 131072.
    pub resend_queue_len: NonZeroU32,
    /// Acknowledge after this many messages. `ACKWindowSize`, default 300.
    pub ack_window: NonZeroU32,
    /// `DisableExternalCache`, default enabled.
    pub external_cache: CacheUse,
    /// `StartupResync`, default off.
    pub startup_resync: bool,
}

/// Options of `Mode ALARM`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alarm {
    /// Longest time between two messages about an entry. `RefreshTime`, unit: seconds, default 60.
    pub refresh: Duration,
    /// Entries of the peer not refreshed for so long are removed. `CacheTimeout`, unit: seconds,
    /// default 180.
    pub cache_timeout: Duration,
}

/// Options of `Mode NOTRACK`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notrack {
    /// `DisableInternalCache`, default enabled.
    pub internal_cache: CacheUse,
    /// `DisableExternalCache`, default enabled.
    pub external_cache: CacheUse,
    /// `StartupResync`, default off.
    pub startup_resync: bool,
}

/// Whether a cache is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CacheUse {
    /// Entries are kept.
    #[default]
    Enabled,
    /// Entries pass through.
    Disabled,
}

/// Which expectations are replicated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ExpectationSync {
    /// None.
    #[default]
    Off,
    /// Those of all helpers.
    All,
    /// Those of the named helpers. May be empty.
    Helpers(Vec<String>),
}

/// A dedicated link: section `Multicast`, `UDP` or `TCP`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// How the peer is reached.
    pub transport: Transport,
    /// Marked `Default`.
    pub default: bool,
    /// Interface that is watched, gives the MTU and the IPv6 scope. `Interface`.
    ///
    /// Needed by a daemon: [`crate::check()`] reports `None` as an error.
    pub interface: Option<String>,
    /// Port of both ends. `Port`, for multicast `Group`; default 0, which is of no use.
    pub port: u16,
    /// Forced size of the send buffer in bytes. `SndSocketBuffer`, default (and 0) the system's.
    pub send_buffer_len: Option<NonZeroU32>,
    /// Forced size of the receive buffer in bytes. `RcvSocketBuffer`, default (and 0) the system's.
    pub receive_buffer_len: Option<NonZeroU32>,
    /// Whether datagrams are sent with a checksum. `Checksum`, default on.
    pub checksum: bool,
}

/// How the peer is reached. Addresses may be of either family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transport {
    /// A group both nodes have joined.
    Multicast {
        /// Group. `IPv4_address`, `IPv6_address`; `None` cannot be started.
        group: Option<IpAddr>,
        /// Own address whose interface sends and joins. `IPv4_interface`; needed for an IPv4 group.
        source: Option<Ipv4Addr>,
    },
    /// Datagrams between two addresses.
    Udp {
        /// Own address. `IPv4_address`, `IPv6_address`; `None`: any.
        local: Option<IpAddr>,
        /// The peer's. `IPv4_Destination_Address`, `IPv6_Destination_Address`.
        peer: Option<IpAddr>,
    },
    /// A connection in each direction.
    Tcp {
        /// Own address. `IPv4_address`, `IPv6_address`; `None`: any.
        local: Option<IpAddr>,
        /// The peer's. `IPv4_Destination_Address`, `IPv6_Destination_Address`.
        peer: Option<IpAddr>,
        /// Most unsent packets kept. `ErrorQueueLength`, default 128; the same for all links.
        error_queue_len: NonZeroU32,
    },
}

impl Transport {
    /// Name of the section.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Multicast { .. } => "Multicast",
            Self::Udp { .. } => "UDP",
            Self::Tcp { .. } => "TCP",
        }
    }
}

/// Section `Stats`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// File that gets a line for every destroyed flow. `LogFile`, default none; `on` is
    /// `/var/log/conntrackd-stats.log`. At most 256 bytes.
    pub log_file: Option<PathBuf>,
    /// Facility that gets the same lines. `Syslog`, default none; `on` is `daemon`.
    pub syslog: Option<Facility>,
}

/// Where a configuration was read, so that findings can name the line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// Source.
    pub source: Source,
    /// Lines of the clauses by their TOML key (`sync.link.0.interface`, `general.poll_s`).
    pub places: BTreeMap<String, Place>,
}

/// Kind of source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Source {
    /// No file: [`Config::builtin`].
    #[default]
    Builtin,
    /// A file in the original's grammar.
    Legacy(PathBuf),
    /// A TOML file.
    Toml(PathBuf),
}

impl Source {
    /// The file, if it is one.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Builtin => None,
            Self::Legacy(path) | Self::Toml(path) => Some(path),
        }
    }
}

/// A place in a file; both count from 1. Columns count bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Line.
    pub line: u32,
    /// Column.
    pub column: u32,
}

/// Something odd that does not keep the daemon from starting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Line, from 1.
    pub line: u32,
    /// Column in bytes, from 1.
    pub column: u32,
    /// One line. In the original's wording where the original warns.
    pub text: String,
}

impl Config {
    /// What is used when there is no file at all: replication on loopback only, so that nothing leaves
    /// the host and nothing is taken from it until an interface is configured.
    ///
    /// FT-FW over multicast 225.0.0.50 port 3780 on `lo` (127.0.0.1), control socket
    /// `/var/run/conntrackd.ctl`, lock `/var/lock/conntrack.lock`; everything else as documented.
    #[must_use]
    pub fn builtin() -> Self {
        Self {
            role: Role::Sync(Sync {
                mode: Mode::Ftfw(Ftfw {
                    resend_queue_len: RESEND_QUEUE_LEN,
                    ack_window: ACK_WINDOW,
                    external_cache: CacheUse::Enabled,
                    startup_resync: false,
                }),
                links: vec![Link {
                    transport: Transport::Multicast {
                        group: Some(Ipv4Addr::new(225, 0, 0, 50).into()),
                        source: Some(Ipv4Addr::LOCALHOST),
                    },
                    default: true,
                    interface: Some("lo".to_owned()),
                    port: 3780,
                    send_buffer_len: None,
                    receive_buffer_len: None,
                    checksum: true,
                }],
                commit_timeout: None,
                purge_timeout: PURGE_TIMEOUT,
                tcp_window_tracking: false,
                expectation_sync: ExpectationSync::Off,
                native: None,
                standby_inject: false,
            }),
            general: General {
                lock_file: "/var/lock/conntrack.lock".into(),
                unix_path: Some("/var/run/conntrackd.ctl".into()),
                ..General::default()
            },
            policy: Policy::default(),
            helpers: Helpers::default(),
            origin: Origin::default(),
        }
    }

    /// The section `Sync`, if that is what the daemon is there for.
    #[must_use]
    pub fn sync(&self) -> Option<&Sync> {
        match &self.role {
            Role::Sync(sync) => Some(sync),
            Role::Statistics(_) | Role::Idle => None,
        }
    }

    /// The native dialect, if the daemon speaks it.
    #[must_use]
    pub fn native(&self) -> Option<&Native> {
        self.sync().and_then(|sync| sync.native.as_ref())
    }
}
