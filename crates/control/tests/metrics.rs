//! Statistics for programs: JSON and what Prometheus is answered.

use control::metrics::{Exposition, page};
use control::report::Report;

/// A node of a pair, as `conntrackd stats --json` tells it.
const REPORT: &str = r#"{
  "role": {"role": "primary", "for_s": 12, "since_s": 1700000000, "cause": "role", "generation": 3, "settled": true},
  "ready": {"ready": true, "reason": "this node forwards"},
  "replication": {"at_risk": 5, "lag_s": 0.25, "p50_s": 0.002, "p99_s": 0.5},
  "peer": {"state": "alive", "heard_s": 0.5},
  "bulks": {"sent": {"entries": 100, "took_s": 0.25, "ago_s": 9.0}},
  "commits": {"count": 2, "last": {"committed": 90, "refused": 3, "interrupted": false, "took_s": 0.125, "ago_s": 3.5},
    "refused": [{"errno": 28, "reason": "No space left on device", "count": 3, "samples": ["tcp 6 src=10.0.0.1 dst=10.0.0.2"]}]},
  "work": {"bulk": {"done": 1, "total": 2, "running_s": 0.5}},
  "internal": {"kind": "cache", "active": 100, "total": 101, "created": 200, "create_failed": 1, "no_space": 1,
    "updated": 300, "update_failed": 0, "destroyed": 100, "destroy_failed": 0},
  "external": {"kind": "inject", "created": 7, "create_failed": 2, "updated": 8, "update_failed": 0,
    "destroyed": 9, "destroy_failed": 0},
  "kernel": {"events": 600, "filtered": 6, "malformed": 0, "overruns": 1, "flushes": 2, "resyncs": 3,
    "ended_flows_bytes": 4096, "ended_flows_packets": 40, "event_buffer_bytes": 8388608},
  "receive": {"wrong_version": 1, "malformed_header": 2, "malformed_payload": 3, "bad_type": 4, "truncated": 5,
    "bad_size": 6, "lost": 7, "before": 8},
  "queues": {"send": {"len": 1, "max": 2147483647, "overflows": 0},
    "resend": {"len": 4, "max": 131072, "overflows": 0}, "error": {"len": 0, "max": 128, "overflows": 0}},
  "links": [{"transport": "udp", "interface": "et\"h2", "active": true, "up": true, "running": true,
    "sent_bytes": 1000, "sent_packets": 10, "send_errors": 0, "received_bytes": 2000, "received_packets": 20,
    "receive_errors": 0}],
  "process": {"uptime_s": 99, "clients_failed": 1},
  "peers": [{"name": "fw2", "state": "in_sync", "proved_s": 0.5, "role": "backup", "entries": 0,
    "replication": {"at_risk": 4, "lag_s": 0.125, "p50_s": 0.002, "p99_s": 0.5},
    "repaired_here": {"checks": 9, "doubts": 1, "missing": 2, "extra": 1, "different": 0},
    "repaired_there": {"checks": 8, "doubts": 0, "missing": 0, "extra": 0, "different": 0},
    "refused": 0, "malformed": 0, "resumed": 1, "address": "192.0.2.2:3780", "public_key": "AAAA", "cipher": "TLS13_AES_128_GCM_SHA256",
    "round_trip_s": 0.001, "messages_sent": 100, "messages_received": 50, "sent_bytes": 7000, "received_bytes": 3000,
    "sent_packets": 70, "lost_packets": 3, "connections": 2, "failures": 4}],
  "native_port": {"strangers": 1, "foreign": 2, "floods": 3, "retries": 5, "crowded": 6, "send_errors": 7, "receive_errors": 8}
}"#;

fn report() -> Report {
    serde_json::from_str(REPORT).unwrap()
}

fn text(exposition: Exposition) -> String {
    String::from_utf8(page(&report(), exposition)).unwrap()
}

#[test]
fn a_report_reads_back_as_it_was_written() {
    let line = control::json::line(&report());
    assert_eq!(line.iter().filter(|&&byte| byte == b'\n').count(), 1);
    assert_eq!(serde_json::from_slice::<Report>(&line).unwrap(), report());
}

#[test]
fn every_number_has_help_type_and_one_name() {
    for exposition in [Exposition::OpenMetrics, Exposition::Text] {
        let text = text(exposition);
        let mut family = "";
        let mut families = Vec::new();
        for line in text.lines().filter(|&line| line != "# EOF") {
            if let Some(help) = line.strip_prefix("# HELP ") {
                family = help.split(' ').next().unwrap();
                assert!(!families.contains(&family), "{family} twice");
                families.push(family);
            } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').unwrap();
                assert_eq!(name, family);
                assert!(["gauge", "counter"].contains(&kind), "{line}");
            } else {
                let (name, value) = line.rsplit_once(' ').unwrap();
                let name = name.split('{').next().unwrap();
                let suffix = name
                    .strip_prefix(family)
                    .unwrap_or_else(|| panic!("{line}"));
                assert!(suffix.is_empty() || suffix == "_total", "{line}");
                assert!(value.parse::<f64>().is_ok(), "{line}");
            }
        }
        assert!(families.len() > 25, "{families:?}");
    }
}

#[test]
fn the_formats_differ_in_counters_and_the_end() {
    let (new, old) = (text(Exposition::OpenMetrics), text(Exposition::Text));
    assert!(new.ends_with("# EOF\n") && !old.contains("EOF"));
    assert!(
        new.contains(
            "# TYPE conntrackd_kernel_events counter\nconntrackd_kernel_events_total 600\n"
        )
    );
    assert!(old.contains(
        "# TYPE conntrackd_kernel_events_total counter\nconntrackd_kernel_events_total 600\n"
    ));
    assert_eq!(
        Exposition::accepted("application/openmetrics-text;version=1.0.0,text/plain;q=0.5"),
        Exposition::OpenMetrics
    );
    assert_eq!(Exposition::accepted("*/*"), Exposition::Text);
}

#[test]
fn labels_tell_what_is_meant_and_are_escaped() {
    let text = text(Exposition::Text);
    for line in [
        "conntrackd_role{role=\"primary\"} 1",
        "conntrackd_role{role=\"backup\"} 0",
        "conntrackd_flows_at_risk 5",
        "conntrackd_replication_lag_seconds 0.25",
        "conntrackd_acknowledgement_seconds{quantile=\"0.99\"} 0.5",
        "conntrackd_cache_entries{cache=\"internal\",table=\"flows\"} 100",
        "conntrackd_cache_changes_total{cache=\"external\",table=\"flows\",change=\"update\"} 8",
        "conntrackd_cache_failures_total{cache=\"external\",table=\"flows\",change=\"create\"} 2",
        "conntrackd_malformed_messages_total{reason=\"size\"} 6",
        "conntrackd_peer_alive 1",
        "conntrackd_bulk_entries{direction=\"sent\"} 100",
        "conntrackd_native_peer_state{peer=\"fw2\",state=\"in_sync\"} 1",
        "conntrackd_native_peer_state{peer=\"fw2\",state=\"repairing\"} 0",
        "conntrackd_native_lost_packets_total{peer=\"fw2\"} 3",
        "conntrackd_native_failed_handshakes_total{peer=\"fw2\"} 4",
        "conntrackd_native_unanswered_datagrams_total{reason=\"retry\"} 5",
        "conntrackd_native_receive_errors_total 8",
        "conntrackd_commits_total 2",
        "conntrackd_commit_duration_seconds 0.125",
        "conntrackd_commit_refused_total{reason=\"No space left on device\"} 3",
        "conntrackd_queue_messages{queue=\"resend\"} 4",
        "conntrackd_link_sent_bytes_total{interface=\"et\\\"h2\",transport=\"udp\"} 1000",
    ] {
        assert!(text.lines().any(|l| l == line), "no {line} in\n{text}");
    }
}
