//! Which configuration counts.

use std::path::Path;

use config::{Config, LoadError, Warning};

use crate::cli::DEFAULT_CONFIG;
use crate::log::{Level, complain};

/// Read where the original's file is absent.
pub(crate) const TOML_CONFIG: &str = "/etc/conntrackd/conntrackd.toml";

/// Reads the configuration. Only where none was named, the TOML file and then the built-in defaults stand
/// in for an absent one.
pub(crate) fn load(path: &Path) -> Result<(Config, Vec<Warning>), LoadError> {
    if path == Path::new(DEFAULT_CONFIG) && !path.exists() {
        let toml = Path::new(TOML_CONFIG);
        if !toml.exists() {
            return Ok((Config::builtin(), Vec::new()));
        }
        return config::load(toml);
    }
    config::load(path)
}

/// Prints warnings where the original prints them.
pub(crate) fn tell_warnings(warnings: &[Warning]) {
    for warning in warnings {
        complain(Level::Warning, &warning.text);
    }
}
