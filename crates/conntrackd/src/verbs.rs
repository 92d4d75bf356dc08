//! The verbs that ask the daemon: `role`, `ready`, `stats`, `peers`; and `keygen`, which asks nobody.

use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use control::json::{self, ReadyReport, RoleReport};
use control::peers::PeerLine;
use control::{Page, Request, takeover};
use engine::Role;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::client::{self, ClientError};
use crate::log::{Level, complain};
use crate::progress;

/// A newer role took the place of the one asked for.
const SUPERSEDED: u8 = 3;

/// The role was not settled in time; the daemon goes on with it.
const TIMED_OUT: u8 = 4;

/// `conntrackd role`.
pub(crate) fn role(socket: &Path, json: bool) -> ExitCode {
    match ask::<RoleReport>(socket, Request::Role, None, json) {
        Ok(Some(report)) => {
            let doing = if report.settled { "" } else { ", not settled" };
            let since = jiff::Timestamp::from_second(report.since_s.try_into().unwrap_or_default())
                .unwrap_or_default()
                .to_zoned(jiff::tz::TimeZone::system());
            say(&format!(
                "{} for {} s, since {}, by {}{doing}",
                report.role,
                report.for_s,
                since.strftime("%F %T"),
                report.cause,
            ))
        }
        Ok(None) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

/// `conntrackd role primary|backup|fault`. `from`: nodes that a new primary takes over; none: those that are its to take.
pub(crate) fn become_role(
    socket: &Path,
    role: Role,
    from: &[String],
    timeout: Option<Duration>,
    json: bool,
) -> ExitCode {
    let request = match role {
        Role::Primary if !from.is_empty() => Request::TakeOver,
        Role::Primary => Request::BecomePrimary,
        Role::Fault => Request::BecomeFault,
        Role::Backup | Role::Unknown => Request::BecomeBackup,
    };
    let more = match request {
        Request::TakeOver => takeover::encode(from),
        _ => Some(Vec::new()),
    };
    let Some(more) = more else {
        complain(Level::Error, "these are too many names");
        return ExitCode::FAILURE;
    };
    let asked = progress::during(socket, request, || {
        fetch_with::<RoleReport>(socket, request, &more, timeout)
    });
    match asked {
        Ok((report, line)) => {
            if json {
                // Whoever reads has seen enough if it goes away.
                let _ = io::stdout().write_all(&line);
            }
            if let Some(error) = &report.error {
                complain(Level::Error, error);
                return ExitCode::FAILURE;
            }
            if report.outcome.as_deref() == Some("superseded") {
                let text = format!("a newer command has made this node {}", report.role);
                complain(Level::Warning, &text);
                return ExitCode::from(SUPERSEDED);
            }
            ExitCode::SUCCESS
        }
        Err(ClientError::TimedOut) => {
            complain(
                Level::Error,
                &format!("not {role} yet; the daemon goes on with it"),
            );
            ExitCode::from(TIMED_OUT)
        }
        Err(error) => fail(&error),
    }
}

/// `conntrackd ready`: success if this node could take over now.
pub(crate) fn ready(socket: &Path, json: bool) -> ExitCode {
    let report = match fetch::<ReadyReport>(socket, Request::Ready, None) {
        Ok((report, line)) => {
            let text = format!(
                "{}: {}\n",
                if report.ready { "ready" } else { "not ready" },
                report.reason
            );
            let _ = io::stdout().write_all(if json { &line } else { text.as_bytes() });
            report
        }
        Err(error) => return fail(&error),
    };
    if report.ready {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// `conntrackd stats`: the pages of `-s`, or the same for programs.
pub(crate) fn stats(socket: &Path, page: Option<Page>, json: bool) -> ExitCode {
    let outcome = if json {
        fetch(socket, Request::Report, None).and_then(|(report, _)| {
            let line = json::line(&part(report, page));
            io::stdout().write_all(&line).map_err(ClientError::Output)
        })
    } else {
        let request = Request::page(page.unwrap_or(Page::General));
        client::run(socket, request.number(), &mut io::stdout())
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

/// `conntrackd peers`: the peers of the native dialect.
pub(crate) fn peers(socket: &Path, json: bool) -> ExitCode {
    match ask::<Vec<PeerLine>>(socket, Request::Peers, None, json) {
        Ok(Some(peers)) => match io::stdout().write_all(&control::peers::text(&peers)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        },
        Ok(None) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

/// `conntrackd keygen`: a private key into a new file that nobody else may read, or, where no file is named, to
/// standard output; the public key of a file that is there.
pub(crate) fn keygen(file: Option<&Path>) -> ExitCode {
    let outcome = match file {
        None => crate::keys::print(),
        Some(file) => crate::keys::keep(file),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(Level::Error, &error.to_string());
            ExitCode::FAILURE
        }
    }
}

/// What of all statistics belongs to a page.
fn part(mut report: Map<String, Value>, page: Option<Page>) -> Map<String, Value> {
    let keys: &[&str] = match page {
        None | Some(Page::General) => return report,
        Some(Page::Network) => &["receive", "links", "peer", "peers"],
        Some(Page::Cache) => &["internal", "external", "commits"],
        Some(Page::Runtime) => &["process", "kernel"],
        Some(Page::Link) => &["links"],
        Some(Page::ResendQueue) => &["queues", "replication", "bulks", "work"],
        Some(Page::Queue) => &["queues"],
        Some(Page::Process) => &["process"],
        Some(Page::Expectations) => &["internal_expectations", "external_expectations"],
    };
    report.retain(|key, _| keys.contains(&key.as_str()));
    report
}

/// Asks; the answer is either copied or returned.
fn ask<T: DeserializeOwned>(
    socket: &Path,
    request: Request,
    timeout: Option<Duration>,
    json: bool,
) -> Result<Option<T>, ClientError> {
    let (report, line) = fetch(socket, request, timeout)?;
    if !json {
        return Ok(Some(report));
    }
    io::stdout().write_all(&line).map_err(ClientError::Output)?;
    Ok(None)
}

fn fetch<T: DeserializeOwned>(
    socket: &Path,
    request: Request,
    timeout: Option<Duration>,
) -> Result<(T, Vec<u8>), ClientError> {
    fetch_with(socket, request, &[], timeout)
}

fn fetch_with<T: DeserializeOwned>(
    socket: &Path,
    request: Request,
    more: &[u8],
    timeout: Option<Duration>,
) -> Result<(T, Vec<u8>), ClientError> {
    let mut line = Vec::new();
    client::run_with(socket, request.number(), more, timeout, &mut line)?;
    let report = serde_json::from_slice(&line).map_err(|_| ClientError::NotUnderstood)?;
    Ok((report, line))
}

fn say(text: &str) -> ExitCode {
    match writeln!(io::stdout(), "{text}") {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn fail(error: &ClientError) -> ExitCode {
    complain(Level::Error, &error.to_string());
    ExitCode::FAILURE
}
