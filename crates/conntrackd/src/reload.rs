//! A configuration that is read again.

use std::path::PathBuf;
use std::time::Instant;

use config::{Config, Warning};
use tokio::signal::unix::{SignalKind, signal};

use crate::driver::{Driver, Shared};
use crate::log::{FlowLog, Log};
use crate::{load, settings};

/// On SIGHUP: opens the logs anew and takes over what may change live.
pub(crate) async fn reload(shared: Shared, running: Config, path: PathBuf, log: Log) {
    let Ok(mut hangup) = signal(SignalKind::hangup()) else {
        return;
    };
    while hangup.recv().await.is_some() {
        let flows = shared.borrow().flow_log.as_ref().map(FlowLog::reopen);
        for error in [log.reopen().err(), flows.and_then(Result::err)]
            .into_iter()
            .flatten()
        {
            tracing::error!("{error}");
        }
        let read = match load::load(&path) {
            Ok((read, warnings)) => {
                warnings.iter().for_each(log_warning);
                read
            }
            Err(error) => {
                tracing::error!("{error}; the configuration stays as it is");
                continue;
            }
        };
        let live = settings::live_settings(&read);
        shared.borrow_mut().engine.reconfigure(Instant::now(), live);
        log.set_level(read.general.log_level);
        tracing::info!("configuration read again: filter, timeouts and log level are in force");
        set_keys(&mut shared.borrow_mut(), &running, &read);
        let rest = config::needing_restart(&running, &read);
        if !rest.is_empty() {
            tracing::warn!(
                "changed, but in force after a restart only: {}",
                rest.join(", ")
            );
        }
    }
}

/// Takes over the keys of the native dialect, unless the peers are other ones.
fn set_keys(driver: &mut Driver, running: &Config, read: &Config) {
    let (Some(running), Some(read)) = (running.native(), read.native()) else {
        return;
    };
    if !running.has_peers_of(read) {
        return;
    }
    let Some(native) = &mut driver.native else {
        return;
    };
    match native.set_keys(Instant::now(), read) {
        Ok(key) => tracing::info!("native dialect: the keys are in force, public key {key}"),
        Err(error) => tracing::error!("{error}; the keys stay as they are"),
    }
    driver.flush();
}

fn log_warning(warning: &Warning) {
    tracing::warn!("{}", warning.text);
}
