//! What the service manager and keepalived are told: that the daemon runs, what it is, whether it may take over.

use std::fmt::Write as _;
use std::io;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use config::Config;
use engine::Readiness;
use engine::snapshot::{ExternalStats, InternalStats};
use sd_notify::NotifyState;

use crate::detach;
use crate::driver::{Driver, Shared};

/// How often readiness is looked at for the file.
const READY_PERIOD: Duration = Duration::from_millis(200);

/// How often the numbers of the status line may change.
const STATUS_PERIOD: Duration = Duration::from_secs(5);

/// Lets the parent go and tells the service manager.
pub(crate) fn started(config: &Config, detached: bool) -> io::Result<()> {
    if detached {
        tracing::info!("-- starting in daemon mode --");
        detach::started()?;
    } else {
        tracing::info!("-- starting in console mode --");
    }
    if config.general.systemd {
        if detached {
            tell(NotifyState::MainPid(std::process::id()));
        }
        tell(NotifyState::Ready);
    }
    Ok(())
}

/// Tells the service manager that the end has begun.
pub(crate) fn stopping(config: &Config) {
    if config.general.systemd {
        tell(NotifyState::Stopping);
    }
}

fn tell(state: NotifyState<'_>) {
    // Without a service manager there is nobody to tell.
    let _ = sd_notify::notify(&[state]);
}

/// Tells the service manager that the loop turns, twice in each of its periods.
pub(crate) async fn watchdog(enabled: bool) {
    let Some(period) = sd_notify::watchdog_enabled().filter(|_| enabled) else {
        return;
    };
    loop {
        tell(NotifyState::Watchdog);
        tokio::time::sleep(period / 2).await;
    }
}

/// Keeps the status line of the service manager up to date.
pub(crate) async fn status(shared: Shared, enabled: bool) {
    if !enabled || std::env::var_os("NOTIFY_SOCKET").is_none() {
        return;
    }
    let signals = Rc::clone(&shared.borrow().signals);
    let mut told = String::new();
    loop {
        let line = status_line(&shared.borrow());
        if line != told {
            tell(NotifyState::Status(&line));
            told = line;
        }
        // A new role is told at once.
        let _ = tokio::time::timeout(STATUS_PERIOD, signals.role.notified()).await;
    }
}

fn status_line(driver: &Driver) -> String {
    let (engine, snapshot) = (&driver.engine, driver.engine.snapshot());
    let mut line = String::new();
    if snapshot.external.is_some() {
        line = engine.role().role.to_string();
        let readiness = engine.readiness(Instant::now());
        if !readiness.is_ready() {
            // Writing to a string cannot fail.
            let _ = write!(line, " ({readiness})");
        }
        line.push_str("; ");
    }
    match snapshot.internal {
        Some(InternalStats::Cache(cache)) => {
            let _ = write!(line, "{} internal entries", cache.active);
        }
        Some(InternalStats::Bypass(_)) => line.push_str("no internal cache"),
        None => line.push_str("neither replicates nor counts"),
    }
    match snapshot.external {
        Some(ExternalStats::Cache(cache)) => {
            let _ = write!(line, ", {} external", cache.active);
        }
        Some(ExternalStats::Inject(_)) => line.push_str(", no external cache"),
        None => {}
    }
    line
}

/// Keeps the file of keepalived's `track_file` up to date; it is gone when the daemon is.
pub(crate) async fn ready_file(shared: Shared, config: Config) {
    let Some(path) = config.general.ready_file else {
        return;
    };
    let file = ReadyFile(&path);
    let signals = Rc::clone(&shared.borrow().signals);
    let mut told = None;
    loop {
        let readiness = shared.borrow().engine.readiness(Instant::now());
        let weight = weight(readiness);
        if told != Some(weight) {
            match std::fs::write(file.0, format!("{weight}\n")) {
                Ok(()) => {
                    tracing::info!("{}: {readiness}", word(readiness));
                    told = Some(weight);
                }
                Err(error) => {
                    tracing::error!("can't write `{}': {error}", path.display());
                    tokio::time::sleep(STATUS_PERIOD).await;
                }
            }
        }
        // A new role is told at once: keepalived may decide on it within milliseconds.
        let _ = tokio::time::timeout(READY_PERIOD, signals.ready.notified()).await;
    }
}

/// The number that keepalived multiplies with the weight of the file. A node that commits has been elected already: if its
/// priority fell now, the other node would take the addresses back in the middle of it, and again and again.
fn weight(readiness: Readiness) -> i8 {
    if readiness.is_ready() || readiness == Readiness::Committing {
        0
    } else {
        -1
    }
}

fn word(readiness: Readiness) -> &'static str {
    match readiness {
        Readiness::Committing => "in charge",
        ready if ready.is_ready() => "ready",
        _ => "not ready",
    }
}

struct ReadyFile<'a>(&'a Path);

impl Drop for ReadyFile<'_> {
    fn drop(&mut self) {
        // Without a daemon nothing is in step; where the file cannot be written nothing can be told.
        let _ = std::fs::write(self.0, "-1\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_loses_its_priority_when_it_is_not_in_step_and_not_while_it_commits() {
        assert_eq!(weight(Readiness::Synchronised), 0);
        assert_eq!(weight(Readiness::Awaiting), -1);
        assert_eq!(weight(Readiness::Committing), 0);
        assert_eq!(weight(Readiness::Primary), 0);
    }
}
