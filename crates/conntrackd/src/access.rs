//! Who may use the control socket, and for what.
//!
//! The file's mode says who may connect. Of those, root and the user that the daemon runs as may do everything;
//! the others may only look.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use config::General;
use control::request::{Answer, Request};
use nix::unistd::{Group, geteuid};
use tokio::net::unix::UCred;

/// What somebody reads who may not do what was asked. Our client takes it for an error.
pub(crate) const REFUSED: &str = "refused: only root and the daemon's user may do that\n";

/// Mode of the socket where a group is named.
const GROUP_MODE: u32 = 0o660;

/// Group and mode of the control socket's file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Access<'a> {
    mode: Option<u32>,
    group: Option<&'a str>,
}

impl<'a> Access<'a> {
    pub(crate) fn new(general: &'a General) -> Self {
        let group = general.unix_group.as_deref();
        Self {
            mode: general.unix_mode.or(group.map(|_| GROUP_MODE)),
            group,
        }
    }

    /// Gives the file its group first, so that the old one never has the new mode.
    ///
    /// # Errors
    /// There is no such group, or the kernel refused.
    pub(crate) fn apply(&self, path: &Path) -> io::Result<()> {
        if let Some(name) = self.group {
            let group = Group::from_name(name)?
                .ok_or_else(|| io::Error::other(format!("there is no group `{name}'")))?;
            std::os::unix::fs::chown(path, None, Some(group.gid.as_raw()))?;
        }
        match self.mode {
            Some(mode) => std::fs::set_permissions(path, Permissions::from_mode(mode)),
            None => Ok(()),
        }
    }
}

/// Whether this client may have this answered.
pub(crate) fn may(client: &UCred, request: Request) -> bool {
    let trusted = client.uid() == 0 || client.uid() == geteuid().as_raw();
    trusted || only_looks(request)
}

fn only_looks(request: Request) -> bool {
    match request.answer() {
        Answer::Statistics(_)
        | Answer::Dump(_)
        | Answer::Role
        | Answer::Ready
        | Answer::Report
        | Answer::Peers
        | Answer::Talkers(_)
        | Answer::None => true,
        Answer::Export => true,
        Answer::Command(_) | Answer::Become(_) | Answer::TakeOver | Answer::Kill => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looking_changes_nothing_and_everything_else_is_a_command() {
        let looks: Vec<_> = Request::ALL
            .into_iter()
            .filter(|&request| only_looks(request))
            .collect();
        assert!(looks.contains(&Request::Statistics));
        assert!(looks.contains(&Request::DumpExternalXml));
        assert!(looks.contains(&Request::Ready));
        for command in [
            Request::FlushKernel,
            Request::Commit,
            Request::Kill,
            Request::BecomePrimary,
            Request::TakeOver,
            Request::RequestResync,
            Request::SchedulePurge,
        ] {
            assert!(!looks.contains(&command), "{command:?}");
        }
    }

    #[test]
    fn a_group_that_does_not_exist_is_named() {
        let general = General {
            unix_group: Some("no-such-group".to_owned()),
            ..General::default()
        };
        let error = Access::new(&general)
            .apply(Path::new("/nonexistent"))
            .unwrap_err();
        assert!(error.to_string().contains("no-such-group"), "{error}");
    }
}
