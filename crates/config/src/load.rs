//! From a file or its text to a configuration.

use std::io;
use std::path::{Path, PathBuf};

use crate::error::ParseError;
use crate::legacy::{lex::lex, parse::parse};
use crate::lower::lower;
use crate::protocols::Protocols;
use crate::{Config, Source, Warning};

/// Why there is no configuration.
///
/// `Display` is the original's line; for a refused file a second one with the place and what to do.
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
    /// The file is refused.
    #[error(
        "{error}\n{}:{}:{}: {}",
        path.display(),
        error.place.line,
        error.place.column,
        error.explanation()
    )]
    Refused {
        /// Path as given.
        path: PathBuf,
        /// First thing wrong in it.
        error: Box<ParseError>,
        /// Warnings about what stands before.
        warnings: Vec<Warning>,
    },
}

impl LoadError {
    /// What the original would have warned of before it gave up.
    #[must_use]
    pub fn warnings(&self) -> &[Warning] {
        match self {
            Self::Open { .. } => &[],
            Self::Refused { warnings, .. } => warnings,
        }
    }
}

/// Reads the file: TOML if its name ends in `.toml`, else the original's grammar.
///
/// Names of protocols are those of `/etc/protocols`, as far as there is one, and the usual ones.
///
/// # Errors
/// The file cannot be read, or is refused.
pub fn load(path: &Path) -> Result<(Config, Vec<Warning>), LoadError> {
    let bytes = std::fs::read(path).map_err(|source| LoadError::Open {
        path: path.to_owned(),
        source,
    })?;
    let protocols = match std::fs::read("/etc/protocols") {
        Ok(text) => Protocols::with_file(&String::from_utf8_lossy(&text)),
        Err(_) => Protocols::usual(),
    };
    read(path, &bytes, &protocols)
}

/// As [`load`], of a text that has been read already. `path` decides on the syntax and is named in
/// errors; names of protocols are the usual ones.
///
/// # Errors
/// The text is refused.
pub fn parse_text(path: &Path, text: &[u8]) -> Result<(Config, Vec<Warning>), LoadError> {
    read(path, text, &Protocols::usual())
}

fn read(
    path: &Path,
    bytes: &[u8],
    protocols: &Protocols,
) -> Result<(Config, Vec<Warning>), LoadError> {
    let path = path.to_owned();
    let (statements, error, source) = if is_toml(&path) {
        let (statements, error) = crate::toml::parse(bytes);
        (statements, error, Source::Toml(path.clone()))
    } else {
        let lexed = lex(bytes);
        let (statements, error) = parse(&lexed.tokens);
        (statements, error, Source::Legacy(path.clone()))
    };
    match lower(&statements, error, source, protocols) {
        (Ok(config), warnings) => Ok((config, warnings)),
        (Err(error), warnings) => Err(LoadError::Refused {
            path,
            error: Box::new(error),
            warnings,
        }),
    }
}

/// Whether a file of this name is read as TOML.
fn is_toml(path: &Path) -> bool {
    path.extension()
        .is_some_and(|extension| extension == "toml")
}
