//! Answers for programs: one JSON object on one line.

use std::time::Duration;

use engine::role::RoleState;
use engine::{Outcome, Readiness};
use serde::{Deserialize, Serialize};

/// What `conntrackd role` tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleReport {
    /// `unknown`, `primary`, `backup` or `fault`.
    pub role: String,
    /// Seconds since it became that.
    pub for_s: u64,
    /// When it became that, in seconds since 1970.
    pub since_s: u64,
    /// What made it that: `start`, `role`, or one of the old commands.
    pub cause: String,
    /// Grows with each change; the larger of two answers is the newer.
    pub generation: u64,
    /// Everything that the role asks for has been done.
    pub settled: bool,
    /// How a change of roles has ended: `done`, `superseded` by a newer one, or `refused`, which changed nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// Why it was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl RoleReport {
    /// The role after `passed`, the time since it was taken. `outcome`: of a change that was asked for. `now_s`: the time in
    /// seconds since 1970.
    #[must_use]
    pub fn new(state: &RoleState, passed: Duration, outcome: Option<Outcome>, now_s: u64) -> Self {
        let outcome = outcome.map(|outcome| match outcome {
            Outcome::Done => "done",
            Outcome::Superseded => "superseded",
        });
        Self {
            role: state.role.to_string(),
            for_s: passed.as_secs(),
            since_s: now_s.saturating_sub(passed.as_secs()),
            cause: state.cause.to_string(),
            generation: state.generation,
            settled: state.is_settled,
            outcome: outcome.map(str::to_owned),
            error: None,
        }
    }

    /// The role that stays, as the one asked for cannot be taken.
    #[must_use]
    pub fn refused(self, error: String) -> Self {
        Self {
            outcome: Some("refused".to_owned()),
            error: Some(error),
            ..self
        }
    }
}

/// What `conntrackd ready` tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadyReport {
    /// Whether this node could take over now.
    pub ready: bool,
    /// Why, or why not.
    pub reason: String,
}

impl ReadyReport {
    /// Readiness in words.
    #[must_use]
    pub fn new(readiness: Readiness) -> Self {
        Self {
            ready: readiness.is_ready(),
            reason: readiness.to_string(),
        }
    }
}

/// A report as one line.
#[must_use]
pub fn line(report: &impl Serialize) -> Vec<u8> {
    // Reports have names for keys and no foreign types: nothing can fail.
    let mut line = serde_json::to_vec(report).unwrap_or_default();
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_one_line_that_reads_back() {
        let report = ReadyReport::new(Readiness::Receiving { entries: 7 });
        let line = line(&report);
        assert_eq!(
            String::from_utf8(line.clone()).unwrap(),
            "{\"ready\":false,\"reason\":\"receiving the peer's entries, 7 so far\"}\n"
        );
        assert_eq!(
            serde_json::from_slice::<ReadyReport>(&line).unwrap(),
            report
        );
    }
}
