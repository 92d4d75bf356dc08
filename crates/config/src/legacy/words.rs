//! The words of the grammar by the section they may stand in.

/// Sections.
pub(crate) const TOP: &[&str] = &["Sync", "Stats", "General", "Helper"];
pub(crate) const SYNC: &[&str] = &[
    "Mode",
    "Multicast",
    "UDP",
    "TCP",
    "Options",
    "RefreshTime",
    "CacheTimeout",
    "CommitTimeout",
    "PurgeTimeout",
];
pub(crate) const MODES: &[&str] = &["FTFW", "ALARM", "NOTRACK"];
pub(crate) const FTFW: &[&str] = &[
    "ResendQueueSize",
    "ACKWindowSize",
    "CommitTimeout",
    "PurgeTimeout",
    "DisableExternalCache",
    "StartupResync",
];
pub(crate) const ALARM: &[&str] = &[
    "RefreshTime",
    "CacheTimeout",
    "CommitTimeout",
    "PurgeTimeout",
];
pub(crate) const NOTRACK: &[&str] = &[
    "CommitTimeout",
    "PurgeTimeout",
    "DisableInternalCache",
    "DisableExternalCache",
    "StartupResync",
];
pub(crate) const MULTICAST: &[&str] = &[
    "IPv4_address",
    "IPv6_address",
    "IPv4_interface",
    "IPv6_interface",
    "Interface",
    "Group",
    "SndSocketBuffer",
    "RcvSocketBuffer",
    "Checksum",
];
pub(crate) const UDP: &[&str] = &[
    "IPv4_address",
    "IPv6_address",
    "IPv4_Destination_Address",
    "IPv6_Destination_Address",
    "Interface",
    "Port",
    "SndSocketBuffer",
    "RcvSocketBuffer",
    "Checksum",
];
pub(crate) const TCP: &[&str] = &[
    "IPv4_address",
    "IPv6_address",
    "IPv4_Destination_Address",
    "IPv6_Destination_Address",
    "Interface",
    "Port",
    "SndSocketBuffer",
    "RcvSocketBuffer",
    "Checksum",
    "ErrorQueueLength",
];
pub(crate) const OPTIONS: &[&str] = &["TCPWindowTracking", "ExpectationSync"];
/// Clauses of `General`.
pub(crate) const GENERAL: &[&str] = &[
    "HashSize",
    "HashLimit",
    "LogFile",
    "Syslog",
    "LockFile",
    "UNIX",
    "NetlinkBufferSize",
    "SocketBufferSize",
    "NetlinkBufferSizeMaxGrowth",
    "SocketBufferSizeMaxGrowth",
    "SocketBufferSizeMaxGrown",
    "NetlinkOverrunResync",
    "NetlinkEventsReliable",
    "PollSecs",
    "EventIterationLimit",
    "Nice",
    "Scheduler",
    "Systemd",
    "Filter",
];
pub(crate) const UNIX: &[&str] = &["Path", "Backlog"];
pub(crate) const SCHEDULER: &[&str] = &["Type", "Priority"];
pub(crate) const FILTER: &[&str] = &["Protocol", "Address", "State"];
pub(crate) const ADDRESSES: &[&str] = &["IPv4_address", "IPv6_address"];
pub(crate) const STATES: &[&str] = &[
    "SYN_SENT",
    "SYN_RECV",
    "ESTABLISHED",
    "FIN_WAIT",
    "CLOSE_WAIT",
    "LAST_ACK",
    "TIME_WAIT",
    "CLOSE",
    "CLOSED",
    "LISTEN",
    "for",
];
pub(crate) const STATS: &[&str] = &["LogFile", "Syslog"];
pub(crate) const HELPER: &[&str] = &["Setup", "Type"];
pub(crate) const HELPER_TYPE: &[&str] = &["QueueNum", "QueueLen", "Policy"];
pub(crate) const POLICY: &[&str] = &["ExpectMax", "ExpectTimeout"];
/// Words that are understood, but that nobody should be told to write.
pub(crate) const OLD: &[&str] = &[
    "SocketBufferSize",
    "SocketBufferSizeMaxGrowth",
    "SocketBufferSizeMaxGrown",
    "Nice",
    "Backlog",
    "IPv6_interface",
];
pub(crate) const ON_OFF: &[&str] = &["on", "off"];
