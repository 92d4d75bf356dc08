//! keepalived's notify FIFO: what this node becomes, without scripts.
//!
//! A line is `GROUP "name" MASTER 150` or `INSTANCE "name" BACKUP 100`. Lines come in order, and none is lost while the daemon
//! is busy or down: the FIFO keeps them.

use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use engine::{Command, Role, RoleCause};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use tokio::net::unix::pipe::{OpenOptions, Receiver};
use tokio::time::sleep;

use crate::driver::Shared;

/// How often it is looked whether the FIFO is still the same: keepalived removes one that it has made.
const PERIOD: Duration = Duration::from_secs(1);

/// The instances of a group tell the same as their group, all within this time.
const SAME: Duration = Duration::from_millis(500);

/// No line of keepalived is longer.
const LINE_MAX: usize = 512;

/// Makes the FIFO, so that it is there whoever starts first.
pub(crate) fn prepare(path: &Path) {
    match mkfifo(path, Mode::S_IRUSR | Mode::S_IWUSR) {
        Ok(()) | Err(nix::errno::Errno::EEXIST) => {}
        Err(error) => tracing::error!("can't make the FIFO `{}': {error}", path.display()),
    }
}

/// Takes the roles that keepalived tells, for ever.
pub(crate) async fn follow(shared: Shared, path: PathBuf) {
    let mut complaint = None;
    loop {
        match open(&path) {
            Ok((fifo, inode)) => {
                complaint = None;
                tracing::info!("roles are read from `{}'", path.display());
                read(&shared, &fifo, &path, inode).await;
            }
            Err(error) => {
                let text = format!("can't read roles from `{}': {error}", path.display());
                if complaint.as_ref() != Some(&text) {
                    tracing::error!("{text}; trying again");
                    complaint = Some(text);
                }
            }
        }
        sleep(PERIOD).await;
    }
}

fn open(path: &Path) -> io::Result<(Receiver, u64)> {
    let found = std::fs::metadata(path)?;
    if !found.file_type().is_fifo() {
        return Err(io::Error::other("it is no FIFO"));
    }
    // A writer too, or else each end of keepalived would be the end of the FIFO.
    let fifo = OpenOptions::new().read_write(true).open_receiver(path)?;
    Ok((fifo, found.ino()))
}

/// Reads until the FIFO is another one, or gone.
async fn read(shared: &Shared, fifo: &Receiver, path: &Path, inode: u64) {
    let mut follower = Follower::default();
    let mut buffer = [0; 4096];
    loop {
        tokio::select! {
            readable = fifo.readable() => {
                if readable.is_err() {
                    return;
                }
                match fifo.try_read(&mut buffer) {
                    Ok(len) => {
                        for role in follower.take(buffer.get(..len).unwrap_or_default(), Instant::now()) {
                            // What the engine makes of it is in the log; nobody waits here.
                            drop(shared.borrow_mut().command(Command::Become(role, RoleCause::Keepalived)));
                        }
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(_) => return,
                }
            }
            () = sleep(PERIOD) => {
                if !std::fs::metadata(path).is_ok_and(|found| found.ino() == inode) {
                    return;
                }
            }
        }
    }
}

/// Makes roles of lines.
#[derive(Debug, Default)]
struct Follower {
    /// What came of a line so far.
    line: Vec<u8>,
    /// A line that is too long is left out to its end.
    is_too_long: bool,
    /// There are groups, whose instances need not be listened to.
    has_groups: bool,
    told: Option<(Role, Instant)>,
}

impl Follower {
    /// Takes what was read. Returns the roles that follow, in order.
    fn take(&mut self, bytes: &[u8], now: Instant) -> Vec<Role> {
        let mut roles = Vec::new();
        for &byte in bytes {
            if byte == b'\n' {
                let line = std::mem::take(&mut self.line);
                if !std::mem::take(&mut self.is_too_long) {
                    roles.extend(self.role(&String::from_utf8_lossy(&line), now));
                }
            } else if self.line.len() < LINE_MAX {
                self.line.push(byte);
            } else {
                self.is_too_long = true;
            }
        }
        roles
    }

    fn role(&mut self, line: &str, now: Instant) -> Option<Role> {
        let (kind, rest) = line.split_once(" \"")?;
        // A name may hold anything, quotes too.
        let (_, rest) = rest.rsplit_once("\" ")?;
        let state = rest.split(' ').next()?;
        self.has_groups |= kind == "GROUP";
        let role = match (kind, state) {
            // keepalived ends: whoever forwards from now on, it is not this node.
            ("INSTANCE", "STOP") => Role::Fault,
            ("INSTANCE", _) if self.has_groups => return None,
            ("GROUP" | "INSTANCE", "MASTER") => Role::Primary,
            ("GROUP" | "INSTANCE", "BACKUP") => Role::Backup,
            ("GROUP" | "INSTANCE", "FAULT") => Role::Fault,
            _ => return None,
        };
        let told = self.told.replace((role, now));
        let repeats =
            told.is_some_and(|(told, at)| told == role && now.saturating_duration_since(at) < SAME);
        (!repeats).then_some(role)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roles(follower: &mut Follower, text: &str) -> Vec<Role> {
        follower.take(text.as_bytes(), Instant::now())
    }

    #[test]
    fn each_change_of_a_group_or_of_its_instances_is_one_role() {
        let mut follower = Follower::default();
        let start =
            "INSTANCE \"in\" BACKUP 150\nINSTANCE \"out\" BACKUP 150\nGROUP \"fw\" BACKUP 150\n";
        assert_eq!(roles(&mut follower, start), [Role::Backup]);
        let takeover = "INSTANCE \"in\" MASTER 150\nGROUP \"fw\" MASTER 150\n";
        assert_eq!(roles(&mut follower, takeover), [Role::Primary]);
        let flap = "GROUP \"fw\" FAULT 150\nGROUP \"fw\" MASTER 150\nINSTANCE \"out\" STOP 0\n";
        assert_eq!(
            roles(&mut follower, flap),
            [Role::Fault, Role::Primary, Role::Fault]
        );
    }

    #[test]
    fn instances_without_a_group_are_followed() {
        let mut follower = Follower::default();
        let text = "INSTANCE \"a \\\"b\\\" c\" MASTER 1\nINSTANCE \"x\" MASTER_RX_LOWER_PRI 1\n";
        assert_eq!(roles(&mut follower, text), [Role::Primary]);
    }

    #[test]
    fn pieces_and_garbage_neither_confuse_nor_pile_up() {
        let mut follower = Follower::default();
        assert_eq!(roles(&mut follower, "GROUP \"f"), []);
        assert_eq!(
            roles(&mut follower, "w\" MASTER 9\n\n\"\n"),
            [Role::Primary]
        );
        let long = format!("GROUP \"{}\" BACKUP 1", "x".repeat(100_000));
        assert_eq!(roles(&mut follower, &long), []);
        assert!(follower.line.len() <= LINE_MAX);
        assert_eq!(
            roles(&mut follower, "\nGROUP \"fw\" FAULT 1\n"),
            [Role::Fault]
        );
    }
}
