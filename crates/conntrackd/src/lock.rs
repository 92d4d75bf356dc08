//! One daemon at a time, and no debris in the way of the next.
//!
//! The lock file exists while a daemon runs, as scripts expect; what counts is the kernel's lock on it,
//! which no crash can leave behind. The original holds no such lock, so the control socket is asked
//! too: whoever answers a connection there is alive.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use nix::fcntl::{Flock, FlockArg, OFlag};

use crate::load;
use crate::log::{Level, complain};

/// A number that is no request: every daemon closes the connection without a word and counts nothing.
const NO_REQUEST: u32 = 27;

/// How often it is tried again while others make and remove the file. A link to nowhere is never to be had.
const ATTEMPTS: u32 = 100;

/// The lock file, held. Removed when dropped.
#[derive(Debug)]
pub(crate) struct LockFile {
    path: PathBuf,
    _held: Flock<File>,
}

/// Why no lock could be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LockError {
    /// Somebody holds it, or answers on the control socket.
    #[error("lockfile `{}' exists, perhaps conntrackd already running?", .0.display())]
    Held(PathBuf),
    /// The file cannot be made.
    #[error("can't create lockfile `{}': {source}", path.display())]
    Create {
        /// Path.
        path: PathBuf,
        /// Reason.
        source: io::Error,
    },
}

impl LockFile {
    /// Takes the lock, over a file that a dead daemon left if need be.
    pub(crate) fn acquire(path: &Path, control_socket: Option<&Path>) -> Result<Self, LockError> {
        let create = |source| LockError::Create {
            path: path.to_owned(),
            source,
        };
        if control_socket.is_some_and(answers) {
            return Err(LockError::Held(path.to_owned()));
        }
        for _ in 0..ATTEMPTS {
            let Some(file) = open(path).map_err(create)? else {
                continue;
            };
            let held = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(held) => held,
                Err((_, nix::Error::EWOULDBLOCK)) => {
                    return Err(LockError::Held(path.to_owned()));
                }
                Err((_, errno)) => return Err(create(errno.into())),
            };
            // A daemon that was ending may have removed the file between open and lock.
            let mine = held.metadata().map_err(create)?;
            match std::fs::metadata(path) {
                Ok(there) if (there.dev(), there.ino()) == (mine.dev(), mine.ino()) => {
                    return Ok(Self {
                        path: path.to_owned(),
                        _held: held,
                    });
                }
                _ => {}
            }
        }
        Err(LockError::Held(path.to_owned()))
    }
}

/// Opens the file, or makes it; `None` if somebody else does or undoes the same at this moment.
///
/// Not in one call: where everybody may write (`/var/lock`), the kernel lets nobody, root included, open with `O_CREAT` what
/// another user owns (`fs.protected_regular`).
fn open(path: &Path) -> io::Result<Option<File>> {
    let mut options = OpenOptions::new();
    // Nobody must be able to stop us by a pipe of that name.
    options.write(true).custom_flags(OFlag::O_NONBLOCK.bits());
    match options.open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        opened => return opened.map(Some),
    }
    match options.create_new(true).mode(0o600).open(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(None),
        made => made.map(Some),
    }
}

impl Drop for LockFile {
    fn drop(&mut self) {
        // Nothing can be done about a failure, and nothing depends on it: the lock dies with us.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Removes the control socket and the lock file that a daemon left in folders where its own user may not
/// remove them. A daemon that runs keeps both.
pub(crate) fn sweep(config: &Path) -> ExitCode {
    let general = match load::load(config) {
        Ok((config, _)) => config.general,
        Err(error) => {
            complain(Level::Error, &error.to_string());
            return ExitCode::FAILURE;
        }
    };
    let socket = general.unix_path.as_deref();
    match LockFile::acquire(&general.lock_file, socket) {
        Ok(lock) => {
            if let Some(socket) = socket {
                // It may never have been there.
                let _ = std::fs::remove_file(socket);
            }
            drop(lock);
            ExitCode::SUCCESS
        }
        Err(error) => {
            complain(Level::Error, &error.to_string());
            ExitCode::FAILURE
        }
    }
}

/// Whether somebody accepts connections on this socket.
pub(crate) fn answers(socket: &Path) -> bool {
    let Ok(mut stream) = UnixStream::connect(socket) else {
        return false;
    };
    // A client that says nothing would be counted as a failure. It may be leaving at this moment.
    let _ = stream.write_all(&NO_REQUEST.to_ne_bytes());
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    fn directory(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("lock-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        path
    }

    #[test]
    fn a_stale_file_is_taken_over_and_removed_at_the_end() {
        let dir = directory("stale");
        let path = dir.join("conntrackd.lock");
        std::fs::write(&path, "").unwrap();
        let lock = LockFile::acquire(&path, Some(&dir.join("nobody.ctl"))).unwrap();
        drop(lock);
        assert!(!path.exists());
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_held_lock_and_a_live_socket_both_refuse() {
        let dir = directory("held");
        let path = dir.join("conntrackd.lock");
        let lock = LockFile::acquire(&path, None).unwrap();
        assert!(matches!(
            LockFile::acquire(&path, None),
            Err(LockError::Held(_))
        ));
        drop(lock);

        let socket = dir.join("conntrackd.ctl");
        let listener = UnixListener::bind(&socket).unwrap();
        assert!(matches!(
            LockFile::acquire(&path, Some(&socket)),
            Err(LockError::Held(_))
        ));
        drop(listener);
        LockFile::acquire(&path, Some(&socket)).unwrap();
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn what_is_no_file_is_refused_at_once() {
        let dir = directory("odd");
        let link = dir.join("link");
        std::os::unix::fs::symlink(dir.join("nowhere"), &link).unwrap();
        assert!(matches!(
            LockFile::acquire(&link, None),
            Err(LockError::Held(_))
        ));
        let pipe = dir.join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(matches!(
            LockFile::acquire(&pipe, None),
            Err(LockError::Create { .. })
        ));
        std::fs::remove_dir_all(dir).unwrap();
    }
}
