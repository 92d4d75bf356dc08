//! Where files may still be written, and which TCP ports bound: Landlock.

use std::path::Path;

use config::{Config, MetricsAddress, Role};
use landlock::{
    ABI, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, NetPort, PathBeneath, PathFd,
    Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope, make_bitflags,
};

use super::rights::tcp_ports;

/// The newest rules asked for; what the kernel does not know of them is left out.
const NEWEST: ABI = ABI::V6;

/// What is done to a file that stays where it is.
const WRITE: BitFlags<AccessFs> = make_bitflags!(AccessFs::{WriteFile | Truncate});

/// What is done in a folder where a file is made anew.
const CREATE: BitFlags<AccessFs> = make_bitflags!(AccessFs::{WriteFile | Truncate | MakeReg});

/// What is done in a folder whose socket is bound, and removed at the end.
const SOCKET: BitFlags<AccessFs> = make_bitflags!(AccessFs::{MakeSock | RemoveFile});

/// What is done in a folder whose file is removed at the end.
const REMOVE: BitFlags<AccessFs> = make_bitflags!(AccessFs::{RemoveFile});

/// Restricts this process. Returns whether the kernel can, at least in part.
///
/// # Errors
/// The kernel refused.
pub(super) fn restrict(config: &Config) -> Result<bool, RulesetError> {
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_write(NEWEST))?
        .handle_access(AccessNet::BindTcp)?
        .scope(Scope::Signal)?
        .create()?;
    for (path, access) in writable(config) {
        // A file that is not there cannot be written either; its folder has a rule of its own where it may come.
        if let Ok(place) = PathFd::new(path) {
            rules = rules.add_rule(PathBeneath::new(place, access))?;
        }
    }
    for port in tcp_ports(config) {
        rules = rules.add_rule(NetPort::new(port, AccessNet::BindTcp))?;
    }
    let status = rules.restrict_self()?;
    Ok(status.ruleset != RulesetStatus::NotEnforced)
}

/// Every place written after the start, and what is done there.
fn writable(config: &Config) -> Vec<(&Path, BitFlags<AccessFs>)> {
    let general = &config.general;
    // A detached daemon turns its output there.
    let mut places = vec![(Path::new("/dev/null"), WRITE)];
    let statistics = match &config.role {
        Role::Statistics(statistics) => statistics.log_file.as_deref(),
        _ => None,
    };
    let folders = [
        (general.unix_path.as_deref(), REMOVE),
        (Some(general.lock_file.as_path()), REMOVE),
        // Opened anew on SIGHUP, when logrotate has moved the old one.
        (general.log_file.as_deref(), CREATE),
        (statistics, CREATE),
        (general.ready_file.as_deref(), CREATE),
        // A reader that is its own writer too meets no end when keepalived goes.
        (general.keepalived_fifo.as_deref(), WRITE),
        (metrics_socket(config), SOCKET),
    ];
    for (file, access) in folders {
        places.extend(file.and_then(Path::parent).map(|folder| (folder, access)));
    }
    places
}

fn metrics_socket(config: &Config) -> Option<&Path> {
    match &config.general.metrics {
        Some(MetricsAddress::Unix(path)) => Some(path),
        _ => None,
    }
}
