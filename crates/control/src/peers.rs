//! The peers of the native dialect, for people and for programs.

use std::time::Duration;

use engine::snapshot::{PeerSnapshot, PeerState, RepairStats};
use serde::{Deserialize, Serialize};

use crate::report::ReplicationReport;

/// What the driver knows of a peer's connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Connection {
    /// Address in use, or tried.
    pub address: Option<String>,
    /// Its public key, once it has shown it.
    pub key: Option<String>,
    /// Whether it stands.
    pub is_connected: bool,
    /// What it is encrypted with.
    pub cipher: &'static str,
    /// Round-trip time.
    pub round_trip: Duration,
    /// Bytes of datagrams sent.
    pub sent_bytes: u64,
    /// Bytes of datagrams received.
    pub received_bytes: u64,
    /// Packets sent.
    pub sent_packets: u64,
    /// Packets that had to be sent again.
    pub lost_packets: u64,
    /// Connections that came about.
    pub connections: u64,
    /// Handshakes that failed.
    pub failures: u64,
}

/// What came to the port of the native dialect and was not worth a connection, and what failed there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the schema tells what each means")]
pub struct PortReport {
    pub strangers: u64,
    pub foreign: u64,
    pub floods: u64,
    pub retries: u64,
    pub crowded: u64,
    pub send_errors: u64,
    pub receive_errors: u64,
}

/// A peer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the schema tells what each means")]
pub struct PeerLine {
    pub name: String,
    /// `connecting`, `syncing`, `in_sync` or `repairing`.
    pub state: String,
    /// Of `syncing`: how much has come, in percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent: Option<u8>,
    /// Of `in_sync`: time since a round of comparisons has shown that both hold the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proved_s: Option<f64>,
    pub role: String,
    pub entries: u64,
    pub replication: ReplicationReport,
    pub repaired_here: RepairsReport,
    pub repaired_there: RepairsReport,
    pub refused: u64,
    pub malformed: u64,
    pub resumed: u64,
    #[serde(default)]
    pub asked_again: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cipher: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub round_trip_s: Option<f64>,
    pub messages_sent: u64,
    pub messages_received: u64,
    pub sent_bytes: u64,
    pub received_bytes: u64,
    pub sent_packets: u64,
    pub lost_packets: u64,
    pub connections: u64,
    pub failures: u64,
}

/// Repairs of one direction, by what was wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the schema tells what each means")]
pub struct RepairsReport {
    pub checks: u64,
    pub doubts: u64,
    pub missing: u64,
    pub extra: u64,
    pub different: u64,
}

impl From<RepairStats> for RepairsReport {
    fn from(stats: RepairStats) -> Self {
        Self {
            checks: stats.checks,
            doubts: stats.doubts,
            missing: stats.missing,
            extra: stats.extra,
            different: stats.different,
        }
    }
}

impl RepairsReport {
    /// All that was repaired.
    #[must_use]
    pub fn repaired(&self) -> u64 {
        self.missing
            .saturating_add(self.extra)
            .saturating_add(self.different)
    }
}

impl PeerLine {
    /// A peer as the core and the driver see it.
    #[must_use]
    pub fn new(peer: PeerSnapshot, connection: Connection) -> Self {
        let (state, percent, proved) = match peer.state {
            PeerState::Connecting => ("connecting", None, None),
            PeerState::Syncing { percent } => ("syncing", Some(percent), None),
            PeerState::InSync { proved } => ("in_sync", None, proved),
            PeerState::Repairing => ("repairing", None, None),
        };
        let connected = connection.is_connected;
        Self {
            name: peer.name,
            state: state.to_owned(),
            percent,
            proved_s: proved.map(|ago| ago.as_secs_f64()),
            role: peer.role.to_string(),
            entries: peer.entries,
            replication: peer.replication.into(),
            repaired_here: peer.received.into(),
            repaired_there: peer.sent.into(),
            refused: peer.refused,
            malformed: peer.malformed,
            resumed: peer.resumed,
            asked_again: peer.asked_again,
            address: connection.address,
            public_key: connection.key,
            cipher: connected.then(|| connection.cipher.to_owned()),
            round_trip_s: connected.then_some(connection.round_trip.as_secs_f64()),
            messages_sent: peer.messages_sent,
            messages_received: peer.messages_received,
            sent_bytes: connection.sent_bytes,
            received_bytes: connection.received_bytes,
            sent_packets: connection.sent_packets,
            lost_packets: connection.lost_packets,
            connections: connection.connections,
            failures: connection.failures,
        }
    }

    /// The state in words, such as "in sync, proved 0.4 s ago".
    #[must_use]
    pub fn state_text(&self) -> String {
        match (self.state.as_str(), self.percent, self.proved_s) {
            ("syncing", Some(percent), _) => format!("syncing {percent} %"),
            ("in_sync", _, Some(ago)) => format!("in sync, proved {ago:.1} s ago"),
            ("in_sync", _, None) => "in sync, not proved yet".to_owned(),
            ("repairing", ..) => "diverged and repairing".to_owned(),
            (state, ..) => state.to_owned(),
        }
    }
}

/// For people: a paragraph for each.
#[must_use]
pub fn text(peers: &[PeerLine]) -> Vec<u8> {
    let mut out = Vec::new();
    if peers.is_empty() {
        put!(out, "no peers of the native dialect are configured\n");
    }
    for peer in peers {
        put!(out, "{}: {}\n", peer.name, peer.state_text());
        put!(
            out,
            "\trole {}, {} connections of its own here\n",
            peer.role,
            peer.entries
        );
        lag(&mut out, &peer.replication);
        for (place, repairs) in [
            ("here", &peer.repaired_here),
            ("there", &peer.repaired_there),
        ] {
            put!(
                out,
                "\trepaired {place}: {} ({} missing, {} left over, {} different) in {} comparisons\n",
                repairs.repaired(),
                repairs.missing,
                repairs.extra,
                repairs.different,
                repairs.checks
            );
        }
        if peer.refused > 0 || peer.malformed > 0 {
            put!(
                out,
                "\t{} refused by policy or limit, {} messages not understood\n",
                peer.refused,
                peer.malformed
            );
        }
        put!(out, "\t{}", peer.address.as_deref().unwrap_or("no address"));
        if let Some(cipher) = &peer.cipher {
            put!(out, ", {cipher}");
        }
        if let Some(round_trip) = peer.round_trip_s {
            put!(out, ", round trip {:.3} ms", round_trip * 1000.0);
        }
        put!(
            out,
            "\n\tsent {} bytes in {} packets ({} lost), received {} bytes; {} connections, {} failed\n",
            peer.sent_bytes,
            peer.sent_packets,
            peer.lost_packets,
            peer.received_bytes,
            peer.connections,
            peer.failures
        );
    }
    out
}

fn lag(out: &mut Vec<u8>, replication: &ReplicationReport) {
    put!(out, "\tat risk now: {}", replication.at_risk);
    if let Some(lag) = replication.lag_s {
        put!(out, ", lag {:.3} ms", lag * 1000.0);
    }
    if let (Some(p50), Some(p99)) = (replication.p50_s, replication.p99_s) {
        put!(
            out,
            ", acknowledged within {:.3} ms (half), {:.3} ms (99 of 100)",
            p50 * 1000.0,
            p99 * 1000.0
        );
    }
    put!(out, "\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(state: PeerState) -> PeerLine {
        let snapshot = PeerSnapshot {
            name: "fw2".into(),
            state,
            ..PeerSnapshot::default()
        };
        let connection = Connection {
            is_connected: true,
            cipher: "some cipher",
            round_trip: Duration::from_micros(250),
            ..Connection::default()
        };
        PeerLine::new(snapshot, connection)
    }

    #[test]
    fn each_state_has_its_words() {
        for (state, words) in [
            (PeerState::Connecting, "fw2: connecting\n"),
            (PeerState::Syncing { percent: 43 }, "fw2: syncing 43 %\n"),
            (
                PeerState::InSync {
                    proved: Some(Duration::from_millis(400)),
                },
                "fw2: in sync, proved 0.4 s ago\n",
            ),
            (
                PeerState::InSync { proved: None },
                "fw2: in sync, not proved yet\n",
            ),
            (PeerState::Repairing, "fw2: diverged and repairing\n"),
        ] {
            let text = String::from_utf8(text(&[peer(state)])).unwrap();
            assert!(text.starts_with(words), "{text}");
            assert!(text.contains("some cipher, round trip 0.250 ms"), "{text}");
        }
    }

    #[test]
    fn a_program_reads_what_was_written() {
        let line = peer(PeerState::Syncing { percent: 7 });
        let json = serde_json::to_string(&line).unwrap();
        assert_eq!(serde_json::from_str::<PeerLine>(&json).unwrap(), line);
    }
}
