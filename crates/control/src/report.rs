//! All statistics as one JSON object; the schema is `docs/json-schema/stats.schema.json`.
//!
//! Keys end in their unit. What a mode does not have is absent.

use std::time::Duration;

use engine::snapshot::{
    BypassStats, CacheStats, ExternalStats, InjectStats, InternalStats, KernelStats, PolicyStats,
    QueueStats, ReceiveStats, Replication,
};
use engine::{Operations, Readiness, Snapshot};
use serde::{Deserialize, Serialize};

use crate::json::{ReadyReport, RoleReport};
use crate::operations::{BulksReport, CommitsReport, PeerReport, WorkReport};
use crate::peers::{PeerLine, PortReport};
use crate::stats::{LinkStats, Shell, Transport};

/// Everything countable, at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// What the node is.
    pub role: RoleReport,
    /// Whether it could take over.
    pub ready: ReadyReport,
    /// How far the peer is behind; only where there is one to replicate to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replication: Option<ReplicationReport>,
    /// Whether the peer is there; only where there is one to replicate to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<PeerReport>,
    /// Bulks that have ended.
    #[serde(default)]
    pub bulks: BulksReport,
    /// Commits.
    #[serde(default)]
    pub commits: CommitsReport,
    /// What is under way.
    #[serde(default)]
    pub work: WorkReport,
    /// The own kernel's connections.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub internal: Option<CacheReport>,
    /// The peer's connections.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external: Option<CacheReport>,
    /// The own kernel's expectations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub internal_expectations: Option<CacheReport>,
    /// The peer's expectations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_expectations: Option<CacheReport>,
    /// What arrived from the kernel.
    pub kernel: KernelReport,
    /// What arrived from the peer and could not be used.
    pub receive: ReceiveReport,
    /// What the peer told and the policy forbids.
    #[serde(default)]
    pub policy: PolicyReport,
    /// What waits.
    pub queues: QueuesReport,
    /// The dedicated links, in the order of the configuration.
    pub links: Vec<LinkReport>,
    /// The peers of the native dialect, in the order of the configuration.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub peers: Vec<PeerLine>,
    /// The port of the native dialect; only where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub native_port: Option<PortReport>,
    /// The process.
    pub process: ProcessReport,
}

/// How far the peer is behind.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReplicationReport {
    /// Entries whose last change the peer may not have: lost if this node died now.
    pub at_risk: u64,
    /// Age of the oldest change without acknowledgement.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag_s: Option<f64>,
    /// Half of the changes of the last minute were acknowledged within this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p50_s: Option<f64>,
    /// 99 of 100 were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p99_s: Option<f64>,
}

/// A cache, or what passes where there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
#[expect(missing_docs, reason = "the schema tells what each means")]
pub enum CacheReport {
    /// Entries are kept.
    Cache {
        active: u64,
        total: u64,
        created: u64,
        create_failed: u64,
        no_space: u64,
        updated: u64,
        update_failed: u64,
        destroyed: u64,
        destroy_failed: u64,
    },
    /// Changes are sent at once.
    Bypass {
        created: u64,
        updated: u64,
        destroyed: u64,
    },
    /// Changes go into the kernel at once.
    Inject {
        created: u64,
        create_failed: u64,
        updated: u64,
        update_failed: u64,
        destroyed: u64,
        destroy_failed: u64,
    },
}

/// What arrived from the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the schema tells what each means")]
pub struct KernelReport {
    pub events: u64,
    pub filtered: u64,
    pub malformed: u64,
    pub overruns: u64,
    pub flushes: u64,
    pub resyncs: u64,
    #[serde(default)]
    pub missed_changed: u64,
    #[serde(default)]
    pub missed_gone: u64,
    #[serde(default)]
    pub unheard_changed: u64,
    #[serde(default)]
    pub unheard_gone: u64,
    pub ended_flows_bytes: u64,
    pub ended_flows_packets: u64,
    pub event_buffer_bytes: u64,
}

/// What the peer told and the policy forbids.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the schema tells what each means")]
pub struct PolicyReport {
    pub address: u64,
    pub protocol: u64,
    pub state: u64,
    pub zone: u64,
    pub resyncs_put_off: u64,
}

/// What arrived from the peer and could not be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the schema tells what each means")]
pub struct ReceiveReport {
    pub wrong_version: u64,
    pub malformed_header: u64,
    pub malformed_payload: u64,
    pub bad_type: u64,
    pub truncated: u64,
    pub bad_size: u64,
    pub lost: u64,
    pub before: u64,
}

/// What waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueuesReport {
    /// To be sent.
    pub send: QueueReport,
    /// To be acknowledged; FT-FW only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resend: Option<QueueReport>,
    /// To be taken by a TCP connection.
    pub error: QueueReport,
}

/// A queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueReport {
    /// Elements.
    pub len: u64,
    /// Most elements.
    pub max: u64,
    /// Elements dropped because it was full.
    pub overflows: u64,
}

/// A dedicated link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the schema tells what each means")]
pub struct LinkReport {
    /// `multicast`, `udp` or `tcp`.
    pub transport: String,
    pub interface: String,
    /// It is the one that sends.
    pub active: bool,
    pub up: bool,
    pub running: bool,
    /// TCP: the peer is connected to us.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_connected: Option<bool>,
    /// TCP: we are connected to the peer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_connected: Option<bool>,
    pub sent_bytes: u64,
    pub sent_packets: u64,
    pub send_errors: u64,
    pub received_bytes: u64,
    pub received_packets: u64,
    pub receive_errors: u64,
}

/// The process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessReport {
    /// Time since the start.
    pub uptime_s: u64,
    /// Clients that sent no request.
    pub clients_failed: u64,
    /// Requests of clients that may only look.
    #[serde(default)]
    pub clients_refused: u64,
}

impl Report {
    /// All of it.
    #[must_use]
    pub fn new(
        role: RoleReport,
        readiness: Readiness,
        replication: Replication,
        operations: &Operations,
        snapshot: &Snapshot,
        shell: &Shell<'_>,
    ) -> Self {
        let replicates = snapshot.external.is_some();
        Self {
            role,
            ready: ReadyReport::new(readiness),
            replication: replicates.then(|| replication.into()),
            peer: replicates.then(|| operations.into()),
            bulks: operations.into(),
            commits: operations.into(),
            work: operations.into(),
            internal: snapshot.internal.map(Into::into),
            external: snapshot.external.map(Into::into),
            internal_expectations: snapshot.internal_expectations.map(Into::into),
            external_expectations: snapshot.external_expectations.map(Into::into),
            kernel: KernelReport::new(&snapshot.kernel, shell.runtime.event_buffer_len),
            receive: snapshot.receive.into(),
            policy: snapshot.policy.into(),
            queues: QueuesReport {
                send: snapshot.tx_queue.into(),
                resend: snapshot.resend_queue.map(Into::into),
                error: shell.error_queue.into(),
            },
            links: shell
                .links
                .iter()
                .enumerate()
                .map(|(position, link)| LinkReport::new(link, position == snapshot.active_link))
                .collect(),
            peers: Vec::new(),
            native_port: None,
            process: ProcessReport {
                uptime_s: shell.runtime.uptime.as_secs(),
                clients_failed: shell.runtime.local_read_failed,
                clients_refused: shell.runtime.local_refused,
            },
        }
    }
}

impl From<Replication> for ReplicationReport {
    fn from(replication: Replication) -> Self {
        Self {
            at_risk: replication.at_risk,
            lag_s: replication.lag.as_ref().map(Duration::as_secs_f64),
            p50_s: replication.percentiles.map(|p| p.p50.as_secs_f64()),
            p99_s: replication.percentiles.map(|p| p.p99.as_secs_f64()),
        }
    }
}

impl From<InternalStats> for CacheReport {
    fn from(stats: InternalStats) -> Self {
        match stats {
            InternalStats::Cache(cache) => cache.into(),
            InternalStats::Bypass(BypassStats {
                new,
                updated,
                destroyed,
            }) => Self::Bypass {
                created: new,
                updated,
                destroyed,
            },
        }
    }
}

impl From<ExternalStats> for CacheReport {
    fn from(stats: ExternalStats) -> Self {
        match stats {
            ExternalStats::Cache(cache) => cache.into(),
            ExternalStats::Inject(InjectStats {
                created,
                create_failed,
                updated,
                update_failed,
                destroyed,
                destroy_failed,
            }) => Self::Inject {
                created,
                create_failed,
                updated,
                update_failed,
                destroyed,
                destroy_failed,
            },
        }
    }
}

impl From<CacheStats> for CacheReport {
    fn from(stats: CacheStats) -> Self {
        Self::Cache {
            active: stats.active,
            total: stats.total,
            created: stats.created,
            create_failed: stats.create_failed,
            no_space: stats.no_space,
            updated: stats.updated,
            update_failed: stats.update_failed,
            destroyed: stats.destroyed,
            destroy_failed: stats.destroy_failed,
        }
    }
}

impl KernelReport {
    fn new(stats: &KernelStats, event_buffer_bytes: u64) -> Self {
        Self {
            events: stats.events,
            filtered: stats.filtered,
            malformed: stats.malformed,
            overruns: stats.overruns,
            flushes: stats.flushes,
            resyncs: stats.resyncs,
            missed_changed: stats.missed.changed,
            missed_gone: stats.missed.gone,
            unheard_changed: stats.unheard.changed,
            unheard_gone: stats.unheard.gone,
            ended_flows_bytes: stats.traffic_bytes,
            ended_flows_packets: stats.traffic_packets,
            event_buffer_bytes,
        }
    }
}

impl From<ReceiveStats> for ReceiveReport {
    fn from(stats: ReceiveStats) -> Self {
        Self {
            wrong_version: stats.wrong_version,
            malformed_header: stats.malformed_header,
            malformed_payload: stats.malformed_payload,
            bad_type: stats.bad_type,
            truncated: stats.truncated,
            bad_size: stats.bad_size,
            lost: stats.lost,
            before: stats.before,
        }
    }
}

impl From<PolicyStats> for PolicyReport {
    fn from(stats: PolicyStats) -> Self {
        Self {
            address: stats.address,
            protocol: stats.protocol,
            state: stats.state,
            zone: stats.zone,
            resyncs_put_off: stats.resyncs_put_off,
        }
    }
}

impl From<QueueStats> for QueueReport {
    fn from(stats: QueueStats) -> Self {
        Self {
            len: stats.len,
            max: stats.max,
            overflows: stats.overflows,
        }
    }
}

impl LinkReport {
    fn new(link: &LinkStats<'_>, active: bool) -> Self {
        let (transport, connected) = match link.transport {
            Transport::Multicast => ("multicast", None),
            Transport::Udp => ("udp", None),
            Transport::Tcp {
                server_connected,
                client_connected,
            } => ("tcp", Some((server_connected, client_connected))),
        };
        Self {
            transport: transport.to_owned(),
            interface: link.interface.to_owned(),
            active,
            up: link.state.up,
            running: link.state.running,
            server_connected: connected.map(|(server, _)| server),
            client_connected: connected.map(|(_, client)| client),
            sent_bytes: link.sent_bytes,
            sent_packets: link.sent_packets,
            send_errors: link.send_errors,
            received_bytes: link.received_bytes,
            received_packets: link.received_packets,
            receive_errors: link.receive_errors,
        }
    }
}
