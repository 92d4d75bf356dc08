//! The peer, bulks and commits in the statistics for programs.

use std::time::Duration;

use engine::Operations;
use engine::work::{Finished, PeerState, Sample, Work};
use serde::{Deserialize, Serialize};

use crate::dump::{self, Parts};

/// Whether the peer is there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PeerReport {
    /// `unheard` since the start, `alive`, or `silent`.
    pub state: String,
    /// Time since it was heard last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heard_s: Option<f64>,
}

/// The last bulks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BulksReport {
    /// To the peer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent: Option<BulkReport>,
    /// From the peer, after it was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub received: Option<BulkReport>,
}

/// A bulk that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct BulkReport {
    /// Entries.
    pub entries: u64,
    /// How long it took.
    pub took_s: f64,
    /// Time since its end.
    pub ago_s: f64,
}

/// Commits that have ended.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CommitsReport {
    /// How many.
    pub count: u64,
    /// Entries that the kernel took in all of them.
    #[serde(default)]
    pub entries: u64,
    /// The last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<CommitReport>,
    /// Entries that the kernel has refused, by reason.
    #[serde(default)]
    pub refused: Vec<RefusedReport>,
}

/// A commit that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct CommitReport {
    /// Entries that the kernel took.
    pub committed: u64,
    /// Entries that it refused.
    pub refused: u64,
    /// Ended early by a change of roles.
    pub interrupted: bool,
    /// How long it took.
    pub took_s: f64,
    /// Time since its end.
    pub ago_s: f64,
}

/// Entries refused for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedReport {
    /// The kernel's errno.
    pub errno: i32,
    /// The same in words.
    pub reason: String,
    /// How many.
    pub count: u64,
    /// Some of them.
    pub samples: Vec<String>,
}

/// What is under way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WorkReport {
    /// A commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<ProgressReport>,
    /// A bulk to the peer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bulk: Option<ProgressReport>,
}

/// How far something is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProgressReport {
    /// Entries done with.
    pub done: u64,
    /// Entries in all.
    pub total: u64,
    /// Time since it was begun.
    pub running_s: f64,
}

impl From<&Operations> for PeerReport {
    fn from(operations: &Operations) -> Self {
        let state = match operations.peer {
            PeerState::Unheard => "unheard",
            PeerState::Alive => "alive",
            PeerState::Silent => "silent",
        };
        Self {
            state: state.to_owned(),
            heard_s: operations.heard.as_ref().map(Duration::as_secs_f64),
        }
    }
}

impl From<&Operations> for BulksReport {
    fn from(operations: &Operations) -> Self {
        Self {
            sent: operations.bulk_sent.map(Into::into),
            received: operations.bulk_received.map(Into::into),
        }
    }
}

impl From<Finished> for BulkReport {
    fn from(bulk: Finished) -> Self {
        Self {
            entries: bulk.entries,
            took_s: bulk.took.as_secs_f64(),
            ago_s: bulk.ago.as_secs_f64(),
        }
    }
}

impl From<&Operations> for CommitsReport {
    fn from(operations: &Operations) -> Self {
        Self {
            count: operations.commits,
            entries: operations.committed,
            last: operations.last_commit.map(|end| CommitReport {
                committed: end.committed,
                refused: end.refused,
                interrupted: end.interrupted,
                took_s: end.took.as_secs_f64(),
                ago_s: end.ago.as_secs_f64(),
            }),
            refused: operations
                .refusals
                .iter()
                .map(|(&errno, refused)| RefusedReport {
                    errno,
                    reason: reason(errno),
                    count: refused.count,
                    samples: refused.samples.iter().map(line).collect(),
                })
                .collect(),
        }
    }
}

impl From<&Operations> for WorkReport {
    fn from(operations: &Operations) -> Self {
        Self {
            commit: operations.commit.map(Into::into),
            bulk: operations.bulk.map(Into::into),
        }
    }
}

impl From<Work> for ProgressReport {
    fn from(work: Work) -> Self {
        Self {
            done: work.done,
            total: work.total,
            running_s: work.running.as_secs_f64(),
        }
    }
}

/// The words of an errno, without its number.
fn reason(errno: i32) -> String {
    let text = std::io::Error::from_raw_os_error(errno).to_string();
    match text.split_once(" (os error") {
        Some((words, _)) => words.to_owned(),
        None => text,
    }
}

/// An entry as `-e` lists it.
fn line(sample: &Sample) -> String {
    let mut out = Vec::new();
    match sample {
        Sample::Flow(flow) => {
            let reply = flow.reply_direction();
            dump::entry(&mut out, flow, Some(&reply), Parts::default(), 0);
        }
        Sample::Expectation(expectation) => dump::expectation_body(&mut out, expectation),
    }
    String::from_utf8_lossy(&out).into_owned()
}
