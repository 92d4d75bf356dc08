//! Working in another network namespace.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

use nix::sched::{CloneFlags, setns};

use crate::error::{UsageError, system_text};

/// Where named namespaces are.
const NAMED: &str = "/run/netns";

/// The file of a namespace: a name without a slash is one of `ip netns`.
fn file(name: &Path) -> PathBuf {
    if name.to_string_lossy().contains('/') {
        name.to_owned()
    } else {
        Path::new(NAMED).join(name)
    }
}

/// Moves this thread into a namespace. Sockets opened from now on belong to it.
///
/// # Errors
/// There is none, or it may not be entered.
pub fn enter(name: &Path) -> Result<(), UsageError> {
    let entered = File::open(file(name))
        .and_then(|file| setns(file, CloneFlags::CLONE_NEWNET).map_err(io::Error::from));
    entered.map_err(|error| UsageError::Namespace {
        name: name.display().to_string(),
        reason: system_text(&error),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_of_ip_netns_and_a_path_is_a_path() {
        assert_eq!(file(Path::new("blue")), Path::new("/run/netns/blue"));
        assert_eq!(
            file(Path::new("/proc/1/ns/net")),
            Path::new("/proc/1/ns/net")
        );
        assert_eq!(file(Path::new("./ns")), Path::new("./ns"));
    }

    #[test]
    fn a_namespace_that_is_none_is_an_error() {
        let error = enter(Path::new("/nonexistent/ns")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "Cannot enter network namespace `/nonexistent/ns': No such file or directory"
        );
    }
}
