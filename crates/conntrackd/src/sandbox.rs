//! What the daemon gives up once everything is open and before the first byte of a peer is read.
//!
//! Three walls, each of which may be missing on an old kernel: capabilities ([`rights`]), where files may be
//! written and TCP ports bound (Landlock, [`places`]), and which system calls there are (seccomp, [`calls`]).
//! Reading files is not restricted: the configuration is read again on SIGHUP.

mod calls;
mod places;
mod rights;

use std::ffi::OsStr;

use config::Config;

/// Set to `off` it leaves only the capabilities limited; for configurations that have no option for it.
const SWITCH: &str = "CONNTRACKD_SANDBOX";

/// Confines this thread for good, and all that it starts from now on. What cannot be had is told and gone without: an old
/// kernel is no reason not to replicate.
pub(crate) fn confine(config: &Config) {
    if let Err(error) = rights::limit(config) {
        tracing::warn!("capabilities cannot be given up: {error}");
    }
    if is_off(config) {
        tracing::warn!("sandbox is off: files and system calls are not restricted");
        return;
    }
    match places::restrict(config) {
        Ok(true) => {}
        Ok(false) => tracing::warn!("this kernel has no Landlock: writing files is not restricted"),
        Err(error) => tracing::warn!("writing files cannot be restricted: {error}"),
    }
}

/// Filters the system calls of all threads for good; no more can be started then.
pub(crate) fn filter_calls(config: &Config) {
    if is_off(config) {
        return;
    }
    if let Err(error) = calls::filter() {
        tracing::warn!("system calls cannot be filtered: {error}");
    }
}

fn is_off(config: &Config) -> bool {
    let off = std::env::var_os(SWITCH).is_some_and(|value| value == OsStr::new("off"));
    off || !config.general.sandbox
}
