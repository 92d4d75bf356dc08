//! The statistics for Prometheus: names and units by its conventions.

use crate::peers::{PeerLine, PortReport};
use crate::report::{CacheReport, LinkReport, QueueReport, Report};

/// The two texts that scrapers understand; they differ in the names of counters and in the last line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exposition {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// Prometheus's older text format, 0.0.4.
    Text,
}

impl Exposition {
    /// By the `Accept` line of a request.
    #[must_use]
    pub fn accepted(accept: &str) -> Self {
        if accept.contains("application/openmetrics-text") {
            Self::OpenMetrics
        } else {
            Self::Text
        }
    }

    /// The `Content-Type` of the answer.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// All metrics.
#[must_use]
pub fn page(report: &Report, exposition: Exposition) -> Vec<u8> {
    let mut page = Page {
        out: Vec::with_capacity(8 * 1024),
        exposition,
    };
    page.node(report);
    page.operations(report);
    page.caches(report);
    page.kernel(report);
    page.peer(report);
    page.links(&report.links);
    page.native(&report.peers);
    page.native_port(report.native_port.as_ref());
    if exposition == Exposition::OpenMetrics {
        page.out.extend_from_slice(b"# EOF\n");
    }
    page.out
}

impl Page {
    /// The peers of the native dialect.
    fn native(&mut self, peers: &[PeerLine]) {
        if peers.is_empty() {
            return;
        }
        self.gauge(
            "native_peer_state",
            "How far a peer and this node agree: 1 for the state, 0 for the others.",
        );
        for peer in peers {
            for state in ["connecting", "syncing", "in_sync", "repairing"] {
                let labels = [("peer", peer.name.as_str()), ("state", state)];
                self.sample("native_peer_state", &labels, u64::from(peer.state == state));
            }
        }
        type Gauge = (&'static str, &'static str, fn(&PeerLine) -> Option<f64>);
        let gauges: [Gauge; 4] = [
            (
                "native_proved_seconds",
                "Time since it was proved that a peer and this node hold the same.",
                |peer| peer.proved_s,
            ),
            (
                "native_flows_at_risk",
                "Entries whose last change the peer may not have.",
                |peer| Some(peer.replication.at_risk as f64),
            ),
            (
                "native_replication_lag_seconds",
                "Age of the oldest change that the peer has not acknowledged.",
                |peer| peer.replication.lag_s,
            ),
            (
                "native_round_trip_seconds",
                "Round-trip time of the connection to the peer.",
                |peer| peer.round_trip_s,
            ),
        ];
        for (name, help, value) in gauges {
            self.gauge(name, help);
            for peer in peers {
                if let Some(value) = value(peer) {
                    self.sample(name, &[("peer", peer.name.as_str())], value);
                }
            }
        }
        self.counter(
            "native_repairs",
            "Entries that were different at both ends, and have been repaired.",
        );
        for peer in peers {
            for (place, repairs) in [("here", peer.repaired_here), ("there", peer.repaired_there)] {
                for (cause, count) in [
                    ("missing", repairs.missing),
                    ("extra", repairs.extra),
                    ("different", repairs.different),
                ] {
                    let labels = [
                        ("peer", peer.name.as_str()),
                        ("place", place),
                        ("cause", cause),
                    ];
                    self.total("native_repairs", &labels, count);
                }
            }
        }
        self.counter(
            "native_bytes",
            "Bytes of datagrams exchanged with a peer, encryption included.",
        );
        for peer in peers {
            for (direction, bytes) in [("sent", peer.sent_bytes), ("received", peer.received_bytes)]
            {
                let labels = [("peer", peer.name.as_str()), ("direction", direction)];
                self.total("native_bytes", &labels, bytes);
            }
        }
        self.counter("native_lost_packets", "Packets that had to be sent again.");
        for peer in peers {
            let labels = [("peer", peer.name.as_str())];
            self.total("native_lost_packets", &labels, peer.lost_packets);
        }
        self.counter(
            "native_failed_handshakes",
            "Connections with a peer that did not come about.",
        );
        for peer in peers {
            let labels = [("peer", peer.name.as_str())];
            self.total("native_failed_handshakes", &labels, peer.failures);
        }
    }

    /// What came to the port of the native dialect and was not worth a connection.
    fn native_port(&mut self, port: Option<&PortReport>) {
        let Some(port) = port else {
            return;
        };
        self.counter(
            "native_unanswered_datagrams",
            "Datagrams that were dropped, or answered by a demand for proof of address (retry).",
        );
        for (reason, count) in [
            ("stranger", port.strangers),
            ("foreign", port.foreign),
            ("flood", port.floods),
            ("retry", port.retries),
            ("crowded", port.crowded),
        ] {
            self.total("native_unanswered_datagrams", &[("reason", reason)], count);
        }
        self.counter("native_send_errors", "Failed sends.");
        self.total("native_send_errors", &[], port.send_errors);
        self.counter("native_receive_errors", "Failed receives.");
        self.total("native_receive_errors", &[], port.receive_errors);
    }
}

struct Page {
    out: Vec<u8>,
    exposition: Exposition,
}

impl Page {
    fn node(&mut self, report: &Report) {
        self.gauge(
            "role",
            "What this node is: 1 for its role, 0 for the others.",
        );
        for role in ["unknown", "primary", "backup", "fault"] {
            let is = u64::from(report.role.role == role);
            self.sample("role", &[("role", role)], is);
        }
        self.gauge("ready", "Whether this node could take over now.");
        self.sample("ready", &[], u64::from(report.ready.ready));
        self.gauge("uptime_seconds", "Time since the daemon has started.");
        self.sample("uptime_seconds", &[], report.process.uptime_s);
        self.counter(
            "control_failed",
            "Clients of the control socket that sent no request.",
        );
        self.total("control_failed", &[], report.process.clients_failed);
        self.counter(
            "control_refused",
            "Requests of clients of the control socket that may only look.",
        );
        self.total("control_refused", &[], report.process.clients_refused);
        let Some(replication) = &report.replication else {
            return;
        };
        self.gauge(
            "flows_at_risk",
            "Entries whose last change the peer may not have.",
        );
        self.sample("flows_at_risk", &[], replication.at_risk);
        if let Some(lag) = replication.lag_s {
            self.gauge(
                "replication_lag_seconds",
                "Age of the oldest change that the peer has not acknowledged.",
            );
            self.sample("replication_lag_seconds", &[], lag);
        }
        if let (Some(p50), Some(p99)) = (replication.p50_s, replication.p99_s) {
            self.gauge(
                "acknowledgement_seconds",
                "Time from sending to acknowledgement, over the last minute.",
            );
            self.sample("acknowledgement_seconds", &[("quantile", "0.5")], p50);
            self.sample("acknowledgement_seconds", &[("quantile", "0.99")], p99);
        }
    }

    /// Commits, bulks, and whether the peer is there.
    fn operations(&mut self, report: &Report) {
        let Some(peer) = &report.peer else {
            return;
        };
        self.gauge("peer_alive", "Whether the peer is to be heard.");
        self.sample("peer_alive", &[], u64::from(peer.state == "alive"));
        if let Some(heard) = peer.heard_s {
            self.gauge("peer_heard_seconds", "Time since the peer was heard last.");
            self.sample("peer_heard_seconds", &[], heard);
        }
        let bulks = [
            ("sent", report.bulks.sent),
            ("received", report.bulks.received),
        ];
        let bulks: Vec<_> = bulks
            .into_iter()
            .filter_map(|(direction, bulk)| Some(([("direction", direction)], bulk?)))
            .collect();
        self.gauge("bulk_entries", "Entries of the last bulk.");
        for (labels, bulk) in &bulks {
            self.sample("bulk_entries", labels, bulk.entries);
        }
        self.gauge("bulk_age_seconds", "Time since the last bulk has ended.");
        for (labels, bulk) in &bulks {
            self.sample("bulk_age_seconds", labels, bulk.ago_s);
        }
        self.counter("commits", "Commits that have ended.");
        self.total("commits", &[], report.commits.count);
        self.counter(
            "committed_entries",
            "Entries that the kernel took in commits.",
        );
        self.total("committed_entries", &[], report.commits.entries);
        if let Some(last) = report.commits.last {
            self.gauge("commit_duration_seconds", "How long the last commit took.");
            self.sample("commit_duration_seconds", &[], last.took_s);
        }
        self.counter(
            "commit_refused",
            "Entries that the kernel has refused in commits, by reason.",
        );
        for refused in &report.commits.refused {
            self.total(
                "commit_refused",
                &[("reason", refused.reason.as_str())],
                refused.count,
            );
        }
    }

    fn caches(&mut self, report: &Report) {
        let caches: Vec<_> = [
            ("internal", "flows", report.internal),
            ("external", "flows", report.external),
            ("internal", "expectations", report.internal_expectations),
            ("external", "expectations", report.external_expectations),
        ]
        .into_iter()
        .filter_map(|(cache, table, stats)| Some(([("cache", cache), ("table", table)], stats?)))
        .collect();
        self.gauge("cache_entries", "Entries alive.");
        for (labels, stats) in &caches {
            if let CacheReport::Cache { active, .. } = stats {
                self.sample("cache_entries", labels, *active);
            }
        }
        self.counter("cache_changes", "Changes of entries, by kind.");
        for (labels, stats) in &caches {
            for (change, count) in changes(stats) {
                let labels = [labels.as_slice(), &[("change", change)]].concat();
                self.total("cache_changes", &labels, count);
            }
        }
        self.counter("cache_failures", "Changes that were refused, by kind.");
        for (labels, stats) in &caches {
            for (change, count) in failures(stats) {
                let labels = [labels.as_slice(), &[("change", change)]].concat();
                self.total("cache_failures", &labels, count);
            }
        }
    }

    fn kernel(&mut self, report: &Report) {
        let kernel = &report.kernel;
        for (name, help, count) in [
            ("kernel_events", "Events read.", kernel.events),
            (
                "kernel_events_filtered",
                "Events that the filter dropped.",
                kernel.filtered,
            ),
            (
                "kernel_events_malformed",
                "Events that could not be read.",
                kernel.malformed,
            ),
            (
                "kernel_overruns",
                "Times that events were lost.",
                kernel.overruns,
            ),
            (
                "kernel_flushes",
                "Flushes of the kernel's table.",
                kernel.flushes,
            ),
            (
                "kernel_resyncs",
                "Readings of the kernel's table.",
                kernel.resyncs,
            ),
            (
                "ended_flows_bytes",
                "Bytes of ended flows.",
                kernel.ended_flows_bytes,
            ),
            (
                "ended_flows_packets",
                "Packets of ended flows.",
                kernel.ended_flows_packets,
            ),
        ] {
            self.counter(name, help);
            self.total(name, &[], count);
        }
        self.counter(
            "kernel_differences",
            "Entries of the kernel's table that were not as events had told, by what found them and how they differed.",
        );
        for (found, change, count) in [
            ("reading", "changed", kernel.missed_changed),
            ("reading", "gone", kernel.missed_gone),
            ("lookup", "changed", kernel.unheard_changed),
            ("lookup", "gone", kernel.unheard_gone),
        ] {
            let labels = [("found", found), ("change", change)];
            self.total("kernel_differences", &labels, count);
        }
        self.gauge("event_buffer_bytes", "Receive buffer of the event socket.");
        self.sample("event_buffer_bytes", &[], kernel.event_buffer_bytes);
    }

    fn peer(&mut self, report: &Report) {
        let receive = &report.receive;
        self.counter(
            "malformed_messages",
            "Messages of the peer that could not be used, by reason.",
        );
        for (reason, count) in [
            ("version", receive.wrong_version),
            ("header", receive.malformed_header),
            ("payload", receive.malformed_payload),
            ("type", receive.bad_type),
            ("truncated", receive.truncated),
            ("size", receive.bad_size),
        ] {
            self.total("malformed_messages", &[("reason", reason)], count);
        }
        let policy = &report.policy;
        self.counter(
            "policy_violations",
            "Entries of the peer that the policy forbids, by reason.",
        );
        for (reason, count) in [
            ("address", policy.address),
            ("protocol", policy.protocol),
            ("state", policy.state),
            ("zone", policy.zone),
        ] {
            self.total("policy_violations", &[("reason", reason)], count);
        }
        for (name, help, count) in [
            (
                "resyncs_put_off",
                "Requests of the peer for everything that came too soon.",
                policy.resyncs_put_off,
            ),
            (
                "lost_messages",
                "Messages of the peer that never arrived.",
                receive.lost,
            ),
            (
                "late_messages",
                "Messages of the peer older than expected.",
                receive.before,
            ),
        ] {
            self.counter(name, help);
            self.total(name, &[], count);
        }
        let queues = [
            ("send", Some(report.queues.send)),
            ("resend", report.queues.resend),
            ("error", Some(report.queues.error)),
        ];
        let queues = queues
            .into_iter()
            .filter_map(|(name, queue)| Some((name, queue?)));
        let queues: Vec<(&str, QueueReport)> = queues.collect();
        self.gauge("queue_messages", "Messages that wait.");
        for (name, queue) in &queues {
            self.sample("queue_messages", &[("queue", name)], queue.len);
        }
        self.counter(
            "queue_overflows",
            "Messages dropped because a queue was full.",
        );
        for (name, queue) in &queues {
            self.total("queue_overflows", &[("queue", name)], queue.overflows);
        }
    }

    fn links(&mut self, links: &[LinkReport]) {
        /// A number of a link.
        type Number = fn(&LinkReport) -> u64;
        let gauges: [(&str, &str, Number); 2] = [
            (
                "link_active",
                "Whether the link is the one that sends.",
                |link| link.active.into(),
            ),
            (
                "link_up",
                "Whether the interface is up and has a carrier.",
                |link| (link.up && link.running).into(),
            ),
        ];
        let counters: [(&str, &str, Number); 6] = [
            ("link_sent_bytes", "Payload sent.", |link| link.sent_bytes),
            ("link_sent_packets", "Datagrams sent.", |link| {
                link.sent_packets
            }),
            ("link_send_errors", "Failed sends.", |link| link.send_errors),
            ("link_received_bytes", "Payload received.", |link| {
                link.received_bytes
            }),
            ("link_received_packets", "Datagrams received.", |link| {
                link.received_packets
            }),
            ("link_receive_errors", "Failed receives.", |link| {
                link.receive_errors
            }),
        ];
        for (name, help, number) in gauges {
            self.gauge(name, help);
            for link in links {
                self.sample(name, &labels(link), number(link));
            }
        }
        for (name, help, number) in counters {
            self.counter(name, help);
            for link in links {
                self.total(name, &labels(link), number(link));
            }
        }
    }

    fn gauge(&mut self, name: &str, help: &str) {
        put!(self.out, "# HELP conntrackd_{name} {help}\n");
        put!(self.out, "# TYPE conntrackd_{name} gauge\n");
    }

    fn counter(&mut self, name: &str, help: &str) {
        // Only the newer format knows that the suffix belongs to the sample.
        let suffix = match self.exposition {
            Exposition::OpenMetrics => "",
            Exposition::Text => "_total",
        };
        put!(self.out, "# HELP conntrackd_{name}{suffix} {help}\n");
        put!(self.out, "# TYPE conntrackd_{name}{suffix} counter\n");
    }

    fn total(&mut self, name: &str, labels: &[(&str, &str)], count: u64) {
        self.sample(&format!("{name}_total"), labels, count);
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        put!(self.out, "conntrackd_{name}");
        for (number, (label, text)) in labels.iter().enumerate() {
            put!(
                self.out,
                "{}{label}=\"",
                if number == 0 { '{' } else { ',' }
            );
            for character in text.chars() {
                match character {
                    '\\' => put!(self.out, "\\\\"),
                    '"' => put!(self.out, "\\\""),
                    '\n' => put!(self.out, "\\n"),
                    other => put!(self.out, "{other}"),
                }
            }
            put!(self.out, "\"");
        }
        put!(
            self.out,
            "{} {value}\n",
            if labels.is_empty() { "" } else { "}" }
        );
    }
}

fn labels(link: &LinkReport) -> [(&str, &str); 2] {
    [
        ("interface", link.interface.as_str()),
        ("transport", link.transport.as_str()),
    ]
}

fn changes(stats: &CacheReport) -> [(&'static str, u64); 3] {
    let (CacheReport::Cache {
        created,
        updated,
        destroyed,
        ..
    }
    | CacheReport::Bypass {
        created,
        updated,
        destroyed,
    }
    | CacheReport::Inject {
        created,
        updated,
        destroyed,
        ..
    }) = *stats;
    [
        ("create", created),
        ("update", updated),
        ("destroy", destroyed),
    ]
}

fn failures(stats: &CacheReport) -> Vec<(&'static str, u64)> {
    match *stats {
        CacheReport::Bypass { .. } => Vec::new(),
        CacheReport::Cache {
            create_failed,
            update_failed,
            destroy_failed,
            ..
        }
        | CacheReport::Inject {
            create_failed,
            update_failed,
            destroy_failed,
            ..
        } => vec![
            ("create", create_failed),
            ("update", update_failed),
            ("destroy", destroy_failed),
        ],
    }
}
