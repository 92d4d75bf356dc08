//! Lines for the log, in the original's words.

use std::fmt;
use std::time::Duration;

use crate::role::Role;
use crate::snapshot::RepairStats;

/// How much a notice matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Something was done.
    Notice,
    /// Something is not as it should be.
    Warning,
    /// Something could not be done.
    Error,
}

/// Something worth a line in the log. `Display` gives the original's wording where it has one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Notice {
    /// A commit of everything begins.
    CommittingAll,
    /// A commit of connections begins.
    CommittingFlows,
    /// A commit of expectations begins.
    CommittingExpectations,
    /// Connections that the kernel took.
    CommittedFlows(u64),
    /// Connections that the kernel refused.
    FlowsNotCommitted(u64),
    /// Expectations that the kernel took.
    CommittedExpectations(u64),
    /// Expectations that the kernel refused.
    ExpectationsNotCommitted(u64),
    /// A commit has ended.
    CommitTook(Duration),
    /// A commit has ended early because the node is to be something else.
    CommitInterrupted,
    /// The node is told to become this.
    Becoming(Role),
    /// The node forwards from now on; everything before that took this long.
    Takeover(Duration),
    /// A commit was asked for while one runs.
    CommitInProgress,
    /// The kernel refused an entry; how often each reason came up is told at the end.
    CommitRefused {
        /// What was tried.
        operation: &'static str,
        /// The kernel's errno.
        errno: i32,
        /// The entry.
        entry: String,
    },
    /// Both caches are emptied.
    FlushingCaches,
    /// The internal cache is emptied.
    FlushingInternal,
    /// The external cache is emptied.
    FlushingExternal,
    /// A flush was asked for while a commit runs.
    FlushRefused,
    /// The kernel's connections are flushed.
    FlushingKernelFlows,
    /// The kernel's expectations are flushed.
    FlushingKernelExpectations,
    /// The scheduled purge begins.
    PurgingKernel,
    /// A purge has been scheduled.
    PurgeScheduled(Duration),
    /// The kernel's connections are read again.
    ResyncFlows,
    /// The kernel's expectations are read again.
    ResyncExpectations,
    /// A reading was asked for where there is no cache to read into.
    ResyncUnsupported,
    /// Everything is sent to the peer.
    SendingBulk,
    /// The peer was asked for everything.
    ResyncRequested,
    /// The peer asks for everything.
    ResyncRequestedByPeer,
    /// ... too often: it gets everything later.
    ResyncPutOff,
    /// Another link is used from now on; its position in the configuration.
    LinkActive(usize),
    /// No link is usable.
    NoLink,
    /// After an overrun the caches agree with the kernel again.
    Reconciled {
        /// Entries that were missing or different.
        changed: u64,
        /// Entries that had gone.
        gone: u64,
    },
    /// Entries that changed or went without an event.
    Rechecked {
        /// Entries that had changed.
        changed: u64,
        /// Entries that had gone.
        gone: u64,
    },
    /// A dump of the kernel failed.
    DumpFailed {
        /// The kernel's errno.
        errno: i32,
    },
    /// The peer counts from somewhere else than it did; it is asked for everything.
    PeerRenumbered,
    /// The peer missed messages that are no longer kept; it gets everything.
    ResendImpossible,
    /// After a takeover without a commit, the kernel's timeouts are as they should be.
    Settled,
    /// A native peer has greeted.
    PeerGreeted(String),
    /// So many of this node's own connections, which its kernel lacks, came back from a peer and go into the kernel.
    Recovering(u64),
    /// The stream of a native peer is gone.
    PeerLost(String),
    /// A native peer that forwarded as this node was promoted turns out not to: this node takes it over as well.
    TakenOverLate(String),
    /// Nothing more of a native peer's stream can be understood; it is opened again.
    PeerBroken(String),
    /// A round of comparisons with a native peer has shown differences, which were repaired.
    Repaired {
        /// Its name.
        peer: String,
        /// What was wrong.
        stats: RepairStats,
    },
}

impl Notice {
    /// How much it matters.
    #[must_use]
    pub fn level(&self) -> Level {
        match self {
            Self::CommitRefused { .. } | Self::FlushRefused | Self::NoLink => Level::Error,
            Self::DumpFailed { .. } => Level::Error,
            Self::ResendImpossible | Self::PeerRenumbered | Self::ResyncPutOff => Level::Warning,
            Self::PeerLost(_) | Self::PeerBroken(_) | Self::Repaired { .. } => Level::Warning,
            _ => Level::Notice,
        }
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CommittingAll => f.write_str("committing all external caches"),
            Self::CommittingFlows => f.write_str("committing conntrack cache"),
            Self::CommittingExpectations => f.write_str("committing expectation cache"),
            Self::CommittedFlows(count) => write!(f, "Committed {count} new entries"),
            Self::FlowsNotCommitted(count) => write!(f, "{count} entries can't be committed"),
            Self::CommittedExpectations(count) => write!(f, "Committed {count} new expectations"),
            Self::ExpectationsNotCommitted(count) => {
                write!(f, "{count} expectations can't be committed")
            }
            Self::CommitTook(took) => {
                let (seconds, micros) = (took.as_secs(), took.subsec_micros());
                write!(f, "commit has taken {seconds}.{micros:06} seconds")
            }
            Self::CommitInterrupted => f.write_str("commit interrupted by a change of roles"),
            Self::Becoming(role) => write!(f, "becoming {role}"),
            Self::Takeover(took) => {
                write!(f, "ready to take traffic after {} ms", took.as_millis())
            }
            Self::CommitInProgress => f.write_str("commit already in progress, skipping"),
            Self::CommitRefused {
                operation,
                errno,
                entry,
            } => {
                let reason = std::io::Error::from_raw_os_error(*errno);
                write!(f, "{operation}: {reason}\n{entry}")
            }
            Self::FlushingCaches => f.write_str("flushing caches"),
            Self::FlushingInternal => f.write_str("flushing internal cache"),
            Self::FlushingExternal => f.write_str("flushing external cache"),
            Self::FlushRefused => f.write_str("ignoring flush command, commit still in progress"),
            Self::FlushingKernelFlows => f.write_str("flushing kernel conntrack table"),
            Self::FlushingKernelExpectations => f.write_str("flushing kernel expect table"),
            Self::PurgingKernel => f.write_str("flushing kernel conntrack table (scheduled)"),
            Self::PurgeScheduled(after) => {
                write!(f, "flushing conntrack table in {} secs", after.as_secs())
            }
            Self::ResyncFlows => f.write_str("resync with master conntrack table"),
            Self::ResyncExpectations => f.write_str("resync with master expect table"),
            Self::ResyncUnsupported => f.write_str("resync is unsupported in this mode"),
            Self::SendingBulk => f.write_str("sending bulk update"),
            Self::ResyncRequested => f.write_str("resync requested"),
            Self::ResyncRequestedByPeer => f.write_str("resync requested by other node"),
            Self::ResyncPutOff => {
                f.write_str("other node asks for a resync too often, it gets the next one later")
            }
            Self::LinkActive(link) => write!(f, "link {link} becomes dedicated link"),
            Self::NoLink => f.write_str("no dedicated links available!"),
            Self::Reconciled { changed, gone } => write!(
                f,
                "resync with the kernel done: {changed} entries were missing or outdated, {gone} had gone"
            ),
            Self::Rechecked { changed, gone } => write!(
                f,
                "{changed} entries had changed and {gone} had gone without an event (nf_conntrack_events=2?)"
            ),
            Self::DumpFailed { errno } => {
                let reason = std::io::Error::from_raw_os_error(*errno);
                write!(f, "reading the kernel's table failed: {reason}")
            }
            Self::PeerRenumbered => f.write_str(
                "peer's numbers are behind all it sent before, taking them and requesting resync",
            ),
            Self::ResendImpossible => f.write_str(
                "peer misses messages that are no longer kept, sending bulk update instead",
            ),
            Self::Settled => f.write_str("timeouts of the entries taken over are set"),
            Self::PeerGreeted(name) => write!(f, "peer {name} is connected"),
            Self::Recovering(count) => write!(
                f,
                "{count} own connections that the kernel lacks were given back by a peer"
            ),
            Self::PeerLost(name) => write!(f, "peer {name} is no longer connected"),
            Self::TakenOverLate(name) => write!(
                f,
                "peer {name} does not forward any more, taking over its connections as well"
            ),
            Self::PeerBroken(name) => {
                write!(f, "what peer {name} says makes no sense, connecting anew")
            }
            Self::Repaired { peer, stats } => write!(
                f,
                "entries of peer {peer} repaired: {} were missing, {} too many, {} different",
                stats.missing, stats.extra, stats.different
            ),
        }
    }
}
