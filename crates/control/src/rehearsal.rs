//! What `conntrackd rehearse` tells; the schema is `docs/json-schema/rehearse.schema.json`.

use std::fmt;

use engine::Operations;
use serde::{Deserialize, Serialize};

use crate::json::ReadyReport;
use crate::operations::{CommitReport, CommitsReport, RefusedReport};
use crate::report::Report;

/// A takeover that was tried where it touches nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RehearsalReport {
    /// Entries that the peer has told.
    pub entries: u64,
    /// Entries that the kernel took.
    pub committed: u64,
    /// Entries that it refused, by reason.
    pub refused: Vec<RefusedReport>,
    /// How long the commit took.
    pub took_s: f64,
    /// Whether the node is in step with its peer.
    pub ready: ReadyReport,
    /// Room in the table of the namespace where the daemon is asked; absent where it cannot be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub room: Option<Room>,
    /// A takeover now would keep everything.
    pub would_succeed: bool,
}

/// The kernel's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Room {
    /// Entries in it now.
    pub entries: u64,
    /// Most entries.
    pub max: u64,
}

impl RehearsalReport {
    /// From the core that rehearsed, and what the daemon tells of itself.
    #[must_use]
    pub fn new(operations: &Operations, daemon: &Report, room: Option<Room>) -> Self {
        let commits = CommitsReport::from(operations);
        let (committed, refused, took_s) = match commits.last {
            Some(CommitReport {
                committed,
                refused,
                took_s,
                ..
            }) => (committed, refused, took_s),
            None => (0, 0, 0.0),
        };
        let fits = room.is_none_or(|room| room.entries + committed <= room.max);
        Self {
            entries: committed + refused,
            committed,
            refused: commits.refused,
            took_s,
            ready: daemon.ready.clone(),
            room,
            would_succeed: refused == 0 && fits && daemon.ready.ready,
        }
    }
}

impl fmt::Display for RehearsalReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rate = self.committed as f64 / self.took_s.max(0.000_001);
        writeln!(
            f,
            "the peer has told {} entries; {} of them are in a kernel's table after {:.3} s ({rate:.0}/s)",
            self.entries, self.committed, self.took_s
        )?;
        for refused in &self.refused {
            writeln!(f, "refused {}: {}", refused.count, refused.reason)?;
            for sample in &refused.samples {
                writeln!(f, "    {sample}")?;
            }
        }
        if let Some(room) = self.room {
            writeln!(
                f,
                "room: {} entries are in this node's table, which takes {}",
                room.entries, room.max
            )?;
        }
        let words = if self.ready.ready { "" } else { "not " };
        writeln!(f, "{words}in step: {}", self.ready.reason)?;
        if self.would_succeed {
            writeln!(
                f,
                "a takeover now would take about {:.3} s and keep every connection",
                self.took_s
            )
        } else {
            writeln!(f, "a takeover now would not keep every connection")
        }
    }
}
