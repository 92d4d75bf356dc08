//! How far the daemon is with what was asked of it, for whoever looks at a terminal; nothing anywhere else.

use std::io::{self, IsTerminal as _, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use control::operations::ProgressReport;
use control::report::{CacheReport, Report};
use control::{Answer, Request, Side, Table};
use engine::Command;

use crate::client;

/// How often it is looked; what takes less is not worth a word.
const PERIOD: Duration = Duration::from_millis(100);

/// The daemon is asked for its numbers in this time or not at all.
const PATIENCE: Duration = Duration::from_secs(2);

/// What is under way.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Commit,
    Bulk,
    Dump(Side, Table),
}

impl Kind {
    /// Of a request that may take long.
    fn of(request: Request) -> Option<Self> {
        match request.answer() {
            Answer::Command(Command::Commit(_))
            | Answer::Become(engine::Role::Primary)
            | Answer::TakeOver => Some(Self::Commit),
            Answer::Command(Command::SendBulk) => Some(Self::Bulk),
            Answer::Dump(dump) => Some(Self::Dump(dump.side, dump.table)),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Commit => "commit",
            Self::Bulk => "bulk",
            Self::Dump(..) => "list",
        }
    }
}

/// Lines that have passed.
static LINES: AtomicU64 = AtomicU64::new(0);

/// Does what was asked, and tells meanwhile how far it is.
pub(crate) fn during<T>(socket: &Path, request: Request, ask: impl FnOnce() -> T) -> T {
    let kind = Kind::of(request).filter(|kind| {
        // A listing on the terminal itself shows how far it is.
        let shows_itself = matches!(kind, Kind::Dump(..)) && io::stdout().is_terminal();
        io::stderr().is_terminal() && !shows_itself
    });
    let Some(kind) = kind else {
        return ask();
    };
    thread::scope(|scope| {
        let (ended, end) = channel::<()>();
        scope.spawn(move || {
            let started = Instant::now();
            let mut shown = false;
            let mut idle = false;
            loop {
                let ended = end.recv_timeout(PERIOD) != Err(RecvTimeoutError::Timeout);
                // A bulk goes on after the daemon has answered.
                if ended && (!matches!(kind, Kind::Bulk) || idle) {
                    break;
                }
                let work = look(socket, kind, started);
                idle = work.is_none();
                if let Some(work) = work {
                    shown = true;
                    eprint!("\r\x1b[K{}: {}", kind.name(), line(&work));
                }
                if ended && !idle {
                    thread::sleep(PERIOD);
                }
            }
            if shown {
                eprint!("\r\x1b[K");
            }
        });
        let outcome = ask();
        drop::<Sender<()>>(ended);
        outcome
    })
}

/// How far it is; `None` if it is not under way.
fn look(socket: &Path, kind: Kind, started: Instant) -> Option<ProgressReport> {
    let mut answer = Vec::new();
    client::run_for(
        socket,
        Request::Report.number(),
        Some(PATIENCE),
        &mut answer,
    )
    .ok()?;
    let report: Report = serde_json::from_slice(&answer).ok()?;
    match kind {
        Kind::Commit => report.work.commit,
        Kind::Bulk => report.work.bulk,
        Kind::Dump(side, table) => {
            let cache = match (side, table) {
                (Side::Internal, Table::Flows) => report.internal,
                (Side::External, Table::Flows) => report.external,
                (Side::Internal, Table::Expectations) => report.internal_expectations,
                (Side::External, Table::Expectations) => report.external_expectations,
            };
            let Some(CacheReport::Cache { active, .. }) = cache else {
                return None;
            };
            Some(ProgressReport {
                done: LINES.load(Ordering::Relaxed),
                total: active,
                running_s: started.elapsed().as_secs_f64(),
            })
        }
    }
}

fn line(work: &ProgressReport) -> String {
    let rate = work.done as f64 / work.running_s.max(0.001);
    let left = work.total.saturating_sub(work.done) as f64;
    let time = if work.done == 0 {
        String::new()
    } else {
        format!(", {rate:.0}/s, {:.0} s left", (left / rate).ceil())
    };
    format!("{} of {} entries{time}", work.done, work.total)
}

/// Counts the lines of a listing that passes.
pub(crate) struct Counting<W>(pub(crate) W);

impl<W: Write> Write for Counting<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.0.write(bytes)?;
        let passed = bytes.get(..written).unwrap_or_default();
        let lines = passed.iter().filter(|&&byte| byte == b'\n').count();
        LINES.fetch_add(lines as u64, Ordering::Relaxed);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_rate_and_time_left_are_told() {
        let work = ProgressReport {
            done: 50_000,
            total: 200_000,
            running_s: 0.5,
        };
        assert_eq!(line(&work), "50000 of 200000 entries, 100000/s, 2 s left");
        let begun = ProgressReport {
            done: 0,
            total: 7,
            running_s: 0.0,
        };
        assert_eq!(line(&begun), "0 of 7 entries");
    }
}
