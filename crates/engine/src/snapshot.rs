//! Counters and sizes at one moment, for the texts of `conntrackd -s`.

use std::time::Duration;

use crate::lag::Percentiles;
use crate::role::Role;

/// A cache's counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheStats {
    /// Entries alive.
    pub active: u64,
    /// Entries in the table, those waiting for the acknowledgement of their end included.
    pub total: u64,
    /// Entries allocated.
    pub objects: u64,
    /// Entries added.
    pub created: u64,
    /// Additions refused.
    pub create_failed: u64,
    /// ... because the cache was full.
    pub no_space: u64,
    /// Entries updated.
    pub updated: u64,
    /// Updates refused.
    pub update_failed: u64,
    /// Entries removed.
    pub destroyed: u64,
    /// Removals refused.
    pub destroy_failed: u64,
}

impl std::iter::Sum for CacheStats {
    fn sum<I: Iterator<Item = Self>>(stats: I) -> Self {
        stats.fold(Self::default(), |a, b| Self {
            active: a.active + b.active,
            total: a.total + b.total,
            objects: a.objects + b.objects,
            created: a.created + b.created,
            create_failed: a.create_failed + b.create_failed,
            no_space: a.no_space + b.no_space,
            updated: a.updated + b.updated,
            update_failed: a.update_failed + b.update_failed,
            destroyed: a.destroyed + b.destroyed,
            destroy_failed: a.destroy_failed + b.destroy_failed,
        })
    }
}

/// Counters of a disabled internal cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BypassStats {
    /// New entries sent.
    pub new: u64,
    /// Updates sent.
    pub updated: u64,
    /// Ends sent.
    pub destroyed: u64,
}

/// Counters of a disabled external cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InjectStats {
    /// Put into the kernel.
    pub created: u64,
    /// Refused by the kernel.
    pub create_failed: u64,
    /// Changed in the kernel.
    pub updated: u64,
    /// Changes refused.
    pub update_failed: u64,
    /// Removed from the kernel.
    pub destroyed: u64,
    /// Removals refused.
    pub destroy_failed: u64,
}

/// The internal side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InternalStats {
    /// A cache.
    Cache(CacheStats),
    /// No cache.
    Bypass(BypassStats),
}

/// The external side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExternalStats {
    /// A cache.
    Cache(CacheStats),
    /// No cache.
    Inject(InjectStats),
}

/// What arrived from peers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReceiveStats {
    /// Messages of another protocol version.
    pub wrong_version: u64,
    /// Messages with a type or flags the mode does not know.
    pub malformed_header: u64,
    /// Messages whose attributes could not be read.
    pub malformed_payload: u64,
    /// Messages of a type the mode does not know.
    pub bad_type: u64,
    /// Datagrams cut short.
    pub truncated: u64,
    /// Messages whose length cannot be.
    pub bad_size: u64,
    /// Messages that never arrived.
    pub lost: u64,
    /// Messages older than expected.
    pub before: u64,
}

impl ReceiveStats {
    /// All that could not be used: the sum of everything but `lost` and `before`.
    #[must_use]
    pub fn malformed(&self) -> u64 {
        self.wrong_version
            + self.malformed_header
            + self.malformed_payload
            + self.bad_type
            + self.truncated
            + self.bad_size
    }
}

/// How the kernel's table was different from the internal cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Differences {
    /// Entries that were missing or outdated.
    pub changed: u64,
    /// Entries that had gone.
    pub gone: u64,
}

/// What peers told and the policy forbids, by the reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PolicyStats {
    /// Entries with an address in no allowed network.
    pub address: u64,
    /// Entries of a protocol that is not allowed.
    pub protocol: u64,
    /// TCP entries in a state that is not allowed.
    pub state: u64,
    /// Entries in a zone that is not allowed.
    pub zone: u64,
    /// Requests for everything that came too soon, and had to wait.
    pub resyncs_put_off: u64,
}

/// What arrived from the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KernelStats {
    /// Events.
    pub events: u64,
    /// Events dropped by the filter.
    pub filtered: u64,
    /// Events that could not be read.
    pub malformed: u64,
    /// Times that the receive buffer overran.
    pub overruns: u64,
    /// Flushes of the kernel's table.
    pub flushes: u64,
    /// Readings of the kernel's table.
    pub resyncs: u64,
    /// What readings found to be different from what events had told.
    pub missed: Differences,
    /// What lookups found of entries that no event tells of.
    pub unheard: Differences,
    /// Bytes of ended flows.
    pub traffic_bytes: u64,
    /// Packets of ended flows.
    pub traffic_packets: u64,
}

/// How far the peer is behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replication {
    /// Entries whose last change the peer may not have: lost if this node died now.
    pub at_risk: u64,
    /// Age of the oldest change that is not acknowledged. `None`: this mode has no acknowledgements.
    pub lag: Option<Duration>,
    /// Time from sending to acknowledgement. `None`: nothing was acknowledged in the last minute.
    pub percentiles: Option<Percentiles>,
}

/// How far a peer of the native dialect and this node agree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PeerState {
    /// There is no stream.
    #[default]
    Connecting,
    /// Its entries, or ours to it, are on their way for the first time.
    Syncing {
        /// How much of both has come.
        percent: u8,
    },
    /// Its entries are here, as far as it has told.
    InSync {
        /// Since the last round of comparisons in which both agreed about everything.
        proved: Option<Duration>,
    },
    /// A comparison has shown a difference, which is being repaired.
    Repairing,
}

/// Repairs of one direction, by what was wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RepairStats {
    /// Ranges that were compared.
    pub checks: u64,
    /// ... and differed.
    pub doubts: u64,
    /// Entries that were missing.
    pub missing: u64,
    /// Entries that should not have been there.
    pub extra: u64,
    /// Entries that were different.
    pub different: u64,
}

impl RepairStats {
    /// All that was repaired.
    #[must_use]
    pub fn repaired(&self) -> u64 {
        self.missing + self.extra + self.different
    }
}

/// A peer of the native dialect at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerSnapshot {
    /// Its name.
    pub name: String,
    /// How far both agree.
    pub state: PeerState,
    /// What it says it is.
    pub role: Role,
    /// Entries of its own that it has told and that are kept here.
    pub entries: u64,
    /// How far it is behind.
    pub replication: Replication,
    /// Repairs here of what it told.
    pub received: RepairStats,
    /// Repairs there of what this node told.
    pub sent: RepairStats,
    /// Entries of its own that its policy or a limit refused.
    pub refused: u64,
    /// Messages of its that could not be understood.
    pub malformed: u64,
    /// Messages told to it.
    pub messages_sent: u64,
    /// Messages it told.
    pub messages_received: u64,
    /// Times that a session went on from its position.
    pub resumed: u64,
    /// Entries asked for again: they had run out here while it was away, and it may have refreshed them.
    pub asked_again: u64,
}

/// A queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueStats {
    /// Elements now.
    pub len: u64,
    /// Most elements.
    pub max: u64,
    /// Elements dropped because it was full.
    pub overflows: u64,
}

/// An element of the resend queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResendElement {
    /// An entry.
    Object {
        /// Sequence number.
        seq: u32,
    },
    /// A control message.
    Control {
        /// Sequence number.
        seq: u32,
        /// Flags.
        flags: u8,
    },
}

/// Everything countable at one moment. What a mode does not have is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Connections of the own kernel.
    pub internal: Option<InternalStats>,
    /// Connections of the peer.
    pub external: Option<ExternalStats>,
    /// Expectations of the own kernel; `None` unless they are replicated.
    pub internal_expectations: Option<InternalStats>,
    /// Expectations of the peer; `None` unless they are replicated.
    pub external_expectations: Option<ExternalStats>,
    /// From peers.
    pub receive: ReceiveStats,
    /// Kept out.
    pub policy: PolicyStats,
    /// From the kernel.
    pub kernel: KernelStats,
    /// Waiting to be sent.
    pub tx_queue: QueueStats,
    /// Waiting to be acknowledged; FT-FW only.
    pub resend_queue: Option<QueueStats>,
    /// Control messages in any queue.
    pub queued_controls: u64,
    /// Injected entries that are remembered as the peer's.
    pub injected: u64,
    /// Link that sends.
    pub active_link: usize,
}
