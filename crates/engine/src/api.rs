//! The vocabulary between the core and whoever drives it.

use std::time::{Duration, Instant};

use flow::{Flow, FlowFilter};

use crate::notice::Notice;
use crate::role::{Role, RoleCause};

/// A dedicated link, by its position in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct LinkId(pub u8);

/// A peer of the native dialect, by its position in [`NativeSettings::peers`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct PeerId(pub u8);

/// Some of the peers of the native dialect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct PeerSet([u64; 4]);

impl PeerSet {
    /// Whether a peer is one of them.
    #[must_use]
    pub fn contains(&self, peer: PeerId) -> bool {
        let word = self.0.get(usize::from(peer.0 >> 6));
        word.is_some_and(|word| word & (1 << (peer.0 & 63)) != 0)
    }
}

impl FromIterator<PeerId> for PeerSet {
    fn from_iter<I: IntoIterator<Item = PeerId>>(peers: I) -> Self {
        let mut set = Self::default();
        for peer in peers {
            if let Some(word) = set.0.get_mut(usize::from(peer.0 >> 6)) {
                *word |= 1 << (peer.0 & 63);
            }
        }
        set
    }
}

/// Whoever gave a command and waits for its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct ClientId(pub u64);

/// Port ids of the sockets that write to the kernel; events that carry one are our own doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Origins {
    /// Commits.
    pub commit: u32,
    /// Direct injection (external cache disabled).
    pub inject: u32,
    /// Flushes.
    pub flush: u32,
}

/// The sockets for requests to the kernel. Requests on one are answered in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum KernelSocket {
    /// Dumps.
    Dump,
    /// Single lookups.
    Query,
    /// Commits.
    Commit,
    /// Direct injection.
    Inject,
    /// Flushes.
    Flush,
}

/// What the world looks like when the core starts.
#[derive(Clone, Copy, Debug)]
pub struct Start {
    /// Now.
    pub now: Instant,
    /// Seconds since 1970: the first sequence number.
    pub unix_time_s: u32,
    /// Seed of everything random.
    pub seed: u64,
    /// Port ids of the writing sockets.
    pub origins: Origins,
}

/// How changes are told to the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Mode {
    /// Reliable: acknowledged, repeated.
    Ftfw {
        /// Messages kept for repeating. `ResendQueueSize`, default 131072.
        resend_queue_len: usize,
        /// Acknowledge after this many messages. `ACKWindowSize`, default 300.
        ack_window: u32,
    },
    /// Best effort: sent once.
    Notrack,
    /// Best effort: repeated from time to time.
    Alarm {
        /// Longest time between two messages about an entry. `RefreshTime`, default 60 s.
        refresh: Duration,
        /// Entries of the peer not refreshed for so long are removed. `CacheTimeout`, default 180 s.
        cache_timeout: Duration,
    },
    /// No synchronisation: count and log flows.
    Statistics,
    /// Neither: touch no connection.
    Idle,
}

/// Where changes of the own kernel are kept before they are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum InternalMode {
    /// In the internal cache.
    Cache,
    /// Nowhere (`DisableInternalCache`).
    Bypass,
}

/// Where changes of the peer go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum ExternalMode {
    /// Into the external cache, until a commit.
    Cache,
    /// Into the kernel at once (`DisableExternalCache`).
    Inject,
}

/// Which expectations are replicated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum ExpectationSync {
    /// None.
    #[default]
    Off,
    /// Those of all helpers.
    All,
    /// Those of helpers whose name begins with one of these, in any case.
    Helpers(Vec<String>),
}

/// A dedicated link as the core needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct LinkSettings {
    /// Bytes that one datagram may hold: MTU less headers (28 for UDP, 40 for TCP).
    pub payload_len: usize,
    /// Whether it is used first.
    pub default: bool,
}

/// What a peer may make this node keep and create. What goes beyond it is refused and counted.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Policy {
    /// Which connections.
    pub entries: flow::Policy,
    /// Bits that may be set in its marks. Default: all.
    pub mark_mask: u32,
    /// Most connections. Default: the limit of a cache.
    pub entries_max: Option<usize>,
    /// Most new connections in a second. Default: any number.
    pub rate_max: Option<u32>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            entries: flow::Policy::default(),
            mark_mask: u32::MAX,
            entries_max: None,
            rate_max: None,
        }
    }
}

/// A peer of the native dialect.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct PeerSettings {
    /// Its name, as in its own configuration.
    pub name: String,
    /// What it may make this node create.
    pub policy: Policy,
}

/// The native dialect. Without peers it is not spoken.
///
/// It needs both caches: [`InternalMode::Cache`] and [`ExternalMode::Cache`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct NativeSettings {
    /// Name of this node; different on every node.
    pub name: String,
    /// The other nodes, 255 at most. Names are different from each other.
    pub peers: Vec<PeerSettings>,
    /// Whether what the own kernel has lost is asked back from the peers at the start. Default: no.
    pub recover: bool,
}

/// What a node that waits for its turn does with the entries of its peers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct StandbySettings {
    /// Put them into the kernel as they come, besides keeping them, so that nothing is left to do on
    /// promotion. Not together with [`ExternalMode::Inject`].
    pub inject: bool,
}

/// What peers may make this node keep and do.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct PolicySettings {
    /// Which entries.
    pub entries: flow::Policy,
    /// Most entries of one peer; the caches' limit if that is lower.
    pub max_entries: Option<usize>,
    /// A peer gets everything for the asking only so often, after a few times at once. Zero: always. Default 10 s.
    pub resync_interval: Duration,
}

impl Default for PolicySettings {
    fn default() -> Self {
        Self {
            entries: flow::Policy::default(),
            max_entries: None,
            resync_interval: Duration::from_secs(10),
        }
    }
}

/// Everything the core must be told once. Zero values have been replaced by their defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Settings {
    /// Mode.
    pub mode: Mode,
    /// Internal cache or not.
    pub internal: InternalMode,
    /// External cache or not.
    pub external: ExternalMode,
    /// Dedicated links of version 1. Without any, and with native peers, version 1 is not spoken.
    pub links: Vec<LinkSettings>,
    /// The native dialect.
    pub native: NativeSettings,
    /// What a standby does.
    pub standby: StandbySettings,
    /// Timeout given to every committed entry.
    pub commit_timeout_s: Option<u32>,
    /// Delay of a scheduled purge. Default 60 s.
    pub purge_timeout: Duration,
    /// Ask the peer for everything once at start.
    pub startup_resync: bool,
    /// Send and restore TCP window scales instead of being liberal about windows.
    pub tcp_window_tracking: bool,
    /// Which expectations are replicated.
    pub expectation_sync: ExpectationSync,
    /// Most entries a cache may hold (`HashLimit`). Default 262144.
    pub cache_limit: usize,
    /// What peers may make this node keep and do.
    pub policy: PolicySettings,
    /// Which own entries take part.
    pub filter: FlowFilter,
    /// After an overrun, read the kernel's table no later than this. `None`: never. Default 30 s. It is read after a
    /// second, or after ten times as long as the last reading took, if that is sooner.
    pub overrun_resync: Option<Duration>,
    /// Read the kernel's table this often instead of listening to events.
    pub poll: Option<Duration>,
}

/// Which tables a command is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Scope {
    /// Connections.
    Flows,
    /// Expectations.
    Expectations,
    /// Both (expectations only where they are replicated).
    All,
}

/// Which caches a flush is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Caches {
    /// Internal.
    Internal,
    /// External.
    External,
    /// Both.
    Both,
}

/// What can be asked of the core. The end of each is told by [`Output::Done`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Command {
    /// Put the external cache into the kernel (`-c`). Done when the kernel has it.
    Commit(Scope),
    /// Empty caches (`-f`).
    FlushCaches(Caches),
    /// Empty the kernel's tables (`-F`).
    FlushKernel(Scope),
    /// Read the kernel's tables into the internal cache (`-R`).
    ResyncFromKernel(Scope),
    /// Send the internal cache to the peer (`-B`).
    SendBulk,
    /// Ask the peer for its internal cache (`-n`).
    RequestResync,
    /// Empty the kernel's table after the purge timeout (`-t`).
    SchedulePurge,
    /// Become this, with all that it takes: a primary commits, empties the external caches and sends everything;
    /// a backup or faulty node schedules a purge, a backup also asks for everything. The newest counts: it ends a
    /// commit that an older one began. Done when the node may take traffic, or at once for the others.
    Become(Role, RoleCause),
    /// Become a primary that takes over the connections of these native peers, whether they forward or not, and of no
    /// others. One that is told so once more keeps what it has taken before.
    TakeOver(PeerSet, RoleCause),
}

/// How a command has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All was done, or there was nothing to do.
    Done,
    /// A newer one took its place.
    Superseded,
}

/// Condition of a link's interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct LinkState {
    /// Administratively up.
    pub up: bool,
    /// Has a carrier.
    pub running: bool,
}

/// What may change while running.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct LiveSettings {
    /// Which own entries take part.
    pub filter: FlowFilter,
    /// Timeout given to every committed entry.
    pub commit_timeout_s: Option<u32>,
    /// Delay of a scheduled purge.
    pub purge_timeout: Duration,
    /// After an overrun, read the kernel's table no later than this.
    pub overrun_resync: Option<Duration>,
}

/// What the core wants done.
#[derive(Debug)]
pub enum Output<'a> {
    /// Send these bytes on this link: whole messages, at most one datagram.
    Transmit {
        /// Link.
        link: LinkId,
        /// Datagram.
        bytes: &'a [u8],
    },
    /// Append these bytes to the stream to a peer; no more than [`crate::Engine::set_peer_room`] allowed.
    Stream {
        /// Peer.
        peer: PeerId,
        /// Bytes.
        bytes: &'a [u8],
    },
    /// What a peer says cannot be understood any more: close its streams and open new ones. Told by
    /// `handle_peer_closed` as any other end.
    ClosePeer(PeerId),
    /// Write this batch of requests to the kernel; hand what is answered to `handle_kernel_reply`.
    Kernel {
        /// Socket.
        socket: KernelSocket,
        /// Batch.
        bytes: &'a [u8],
    },
    /// The client's command has ended.
    Done {
        /// Client.
        client: ClientId,
        /// How.
        outcome: Outcome,
    },
    /// Log this.
    Notice(Notice),
    /// A connection has ended (statistics mode).
    FlowEnded(Box<Flow>),
}
