//! Log files.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use nix::errno::Errno;

use super::lock;

/// A file that lines are appended to. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct LogFile(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    file: Mutex<File>,
}

/// A log file cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("can't open logfile `{}'.Reason: {}", path.display(), reason(source))]
pub(crate) struct OpenError {
    path: PathBuf,
    source: io::Error,
}

/// The system's words alone, without the number.
fn reason(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(number) => Errno::from_raw(number).desc().to_owned(),
        None => error.to_string(),
    }
}

impl LogFile {
    /// Opens or creates a file that only its owner can read.
    ///
    /// # Errors
    /// The system refuses.
    pub(crate) fn open(path: &Path) -> Result<Self, OpenError> {
        let file = Mutex::new(append_to(path)?);
        Ok(Self(Arc::new(Inner {
            path: path.to_owned(),
            file,
        })))
    }

    /// Opens the file of the same name, which may be a new one.
    ///
    /// # Errors
    /// The system refuses; the old file stays in use.
    pub(crate) fn reopen(&self) -> Result<(), OpenError> {
        let file = append_to(&self.0.path)?;
        *lock(&self.0.file) = file;
        Ok(())
    }

    /// Appends whole lines in one piece.
    ///
    /// # Errors
    /// The disk is full, most likely, which must not stop the daemon. A part may have been written.
    pub(super) fn write(&self, lines: &[u8]) -> io::Result<()> {
        lock(&self.0.file).write_all(lines)
    }
}

fn append_to(path: &Path) -> Result<File, OpenError> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)
        .map_err(|source| OpenError {
            path: path.to_owned(),
            source,
        })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_rotated_file_is_left_behind_on_reopening() {
        let path = std::env::temp_dir().join(format!("logfile-rotated-{}", std::process::id()));
        let old = path.with_extension("1");
        let file = LogFile::open(&path).unwrap();
        file.write(b"one\n").unwrap();
        fs::rename(&path, &old).unwrap();
        file.write(b"two\n").unwrap();
        file.clone().reopen().unwrap();
        file.write(b"three\n").unwrap();
        assert_eq!(fs::read(&old).unwrap(), b"one\ntwo\n");
        assert_eq!(fs::read(&path).unwrap(), b"three\n");
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        fs::remove_file(old).unwrap();
        fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_told_in_the_words_of_the_original() {
        let error = LogFile::open(Path::new("/no/such/directory/log")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "can't open logfile `/no/such/directory/log'.Reason: No such file or directory"
        );
    }
}
