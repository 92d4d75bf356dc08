//! What both readers produce: clauses in the order of the file, each with its place.

use std::path::PathBuf;

use flow::{Action, Family, TcpState};

use crate::{FilterFrom, LogLevel, MetricsAddress, Native, Peer, Place, Policy};

/// A clause and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Statement {
    pub(crate) place: Place,
    pub(crate) clause: Clause,
}

/// Beginning of a section, or anything that is one clause in the old grammar.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Clause {
    Open(Section),
    Close(Section),
    /// Something the reader found odd.
    Odd(String),

    ResendQueueSize(u32),
    AckWindowSize(u32),
    CommitTimeout(u32),
    PurgeTimeout(u32),
    RefreshTime(u32),
    CacheTimeout(u32),
    DisableExternalCache(bool),
    DisableInternalCache(bool),
    StartupResync(bool),
    TcpWindowTracking(bool),
    ExpectationSync(bool),
    ExpectationHelper(String),

    LinkAddress(Family, String),
    LinkDestination(Family, String),
    LinkSource(String),
    LinkSourceV6,
    LinkInterface(String),
    LinkPort(u16),
    SendBuffer(u32),
    ReceiveBuffer(u32),
    Checksum(bool),
    ErrorQueueLength(u32),

    HashSize(u32),
    HashLimit(u32),
    LogFile(Target<PathBuf>),
    Syslog(Target<String>),
    LockFile(PathBuf),
    UnixPath(PathBuf),
    UnixBacklog,
    NetlinkBufferSize(u32),
    NetlinkBufferSizeMaxGrowth(u32),
    OverrunResync(Target<u32>),
    EventsReliable(bool),
    PollSecs(u32),
    EventIterationLimit(u32),
    Nice,
    SchedulerSystem,
    SchedulerType(String),
    SchedulerPriority(u32),
    Systemd(bool),
    LogLevel(LogLevel),
    ReadyFile(PathBuf),
    KeepalivedFifo(PathBuf),
    Metrics(MetricsAddress),
    UnixMode(u32),
    UnixGroup(String),
    Sandbox(bool),
    Policy(Box<Policy>),

    FilterProtocol(String),
    FilterProtocolNumber(u8),
    FilterAddress(Family, String),
    FilterState(TcpState),

    /// The native dialect as a whole, without peers.
    Native(Native),
    Peer(Peer),
    StandbyInject(bool),

    StatsLogFile(Target<PathBuf>),
    StatsSyslog(Target<String>),

    HelperSetup(bool),
    HelperQueueNum(u32),
    HelperQueueLen(u32),
    PolicyExpectMax(u32),
    PolicyExpectTimeout(u32),
}

/// Off, on, or on with a value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Target<T> {
    Off,
    On,
    To(T),
}

/// A section with what stands in front of its brace.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Section {
    Sync,
    Mode {
        mode: ModeName,
        old: Option<&'static str>,
    },
    Link {
        kind: LinkKind,
        default: bool,
    },
    Options,
    Expectations,
    General,
    Unix,
    Scheduler,
    Filter(Option<FilterFrom>),
    FilterProtocol(Action),
    FilterAddress(Action),
    FilterState(Action),
    Stats,
    Helper,
    HelperType {
        name: String,
        family: String,
        transport: String,
    },
    HelperPolicy(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ModeName {
    // In the order of precedence.
    Ftfw,
    Alarm,
    Notrack,
}

impl ModeName {
    /// The name in the file, in lower case.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ftfw => "ftfw",
            Self::Alarm => "alarm",
            Self::Notrack => "notrack",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LinkKind {
    Multicast,
    Udp,
    Tcp,
}

impl LinkKind {
    /// Name of the section.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Multicast => "Multicast",
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
        }
    }
}
