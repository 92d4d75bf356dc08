//! Private keys in files.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use native::keys::{KeyError, PrivateKey};

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyFileError {
    /// The file cannot be read.
    #[error("can't read private key `{}': {source}", path.display())]
    KeyFile {
        /// Path.
        path: PathBuf,
        /// Reason.
        source: io::Error,
    },
    /// There is something else in its file.
    #[error("no private key in `{}': {source}", path.display())]
    Key {
        /// Path.
        path: PathBuf,
        /// Reason.
        source: KeyError,
    },
    /// Others may read it.
    #[error("private key `{}' may be read by others: make it 0600", path.display())]
    OpenKey {
        /// Path.
        path: PathBuf,
    },
    /// There is no randomness.
    #[error("can't read random bytes: {0}")]
    Random(#[source] io::Error),
    /// The file cannot be made.
    #[error("can't write private key `{}': {source}", path.display())]
    Write {
        /// Path.
        path: PathBuf,
        /// Reason.
        source: io::Error,
    },
    /// Nobody reads the key.
    #[error("can't print the key: {0}")]
    Output(#[source] io::Error),
}

/// Prints a new private key, and the public key that belongs to it on standard error.
pub(crate) fn print() -> Result<(), KeyFileError> {
    let key = generate()?;
    writeln!(io::stdout(), "{}", key.to_text()).map_err(KeyFileError::Output)?;
    writeln!(io::stderr(), "public key: {}", key.public()).map_err(KeyFileError::Output)
}

/// Writes a new private key to a file that was not there, and prints the public key of the file.
pub(crate) fn keep(path: &Path) -> Result<(), KeyFileError> {
    let unwritten = |source| KeyFileError::Write {
        path: path.to_owned(),
        source,
    };
    let mut options = OpenOptions::new();
    let key = match options.write(true).create_new(true).mode(0o600).open(path) {
        Ok(mut file) => {
            let key = generate()?;
            writeln!(file, "{}", key.to_text()).map_err(unwritten)?;
            file.sync_all().map_err(unwritten)?;
            key
        }
        // Never over a key that is in use.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => read(path)?,
        Err(error) => return Err(unwritten(error)),
    };
    writeln!(io::stdout(), "{}", key.public()).map_err(KeyFileError::Output)
}

fn generate() -> Result<PrivateKey, KeyFileError> {
    let mut seed = [0; 32];
    random(&mut seed)?;
    Ok(PrivateKey::from_seed(seed))
}

/// The private key of a file that nobody else may read.
pub(crate) fn read(path: &Path) -> Result<PrivateKey, KeyFileError> {
    let unreadable = |source| KeyFileError::KeyFile {
        path: path.to_owned(),
        source,
    };
    let mut file = File::open(path).map_err(unreadable)?;
    let mode = file.metadata().map_err(unreadable)?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(KeyFileError::OpenKey {
            path: path.to_owned(),
        });
    }
    let mut text = String::new();
    (&mut file)
        .take(4096)
        .read_to_string(&mut text)
        .map_err(unreadable)?;
    text.parse().map_err(|source| KeyFileError::Key {
        path: path.to_owned(),
        source,
    })
}

/// Fills with random bytes of the system.
pub(crate) fn random(bytes: &mut [u8]) -> Result<(), KeyFileError> {
    let mut source = File::open("/dev/urandom").map_err(KeyFileError::Random)?;
    source.read_exact(bytes).map_err(KeyFileError::Random)
}
