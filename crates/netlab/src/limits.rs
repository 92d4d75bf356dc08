//! Room in the kernel's table for large tests. The limits belong to the whole machine.

use std::fs;

use anyhow::{Context, Result};

const MAX: &str = "/proc/sys/net/netfilter/nf_conntrack_max";
const BUCKETS: &str = "/proc/sys/net/netfilter/nf_conntrack_buckets";

/// Raised limits; dropping it restores them.
#[derive(Debug)]
pub struct TableLimits {
    before: Vec<(&'static str, u64)>,
}

impl TableLimits {
    /// Makes room for a number of entries in all namespaces together, and buckets enough that each is found at once. Limits
    /// that are larger already stay.
    ///
    /// # Errors
    /// No root, or not in the initial namespace.
    pub fn raise(entries: u64) -> Result<Self> {
        // The number of buckets first: changing it may reset the other.
        Self::at_least(&[(BUCKETS, entries / 4), (MAX, entries)])
    }

    /// Allows a number of entries in all namespaces together, with few buckets: whoever reads the table of a namespace, or
    /// ends one, walks through all of them. For many small tables, and few that are large.
    ///
    /// # Errors
    /// As [`raise`](Self::raise).
    pub fn allow(entries: u64) -> Result<Self> {
        Self::at_least(&[(BUCKETS, entries / 16), (MAX, entries)])
    }

    fn at_least(wanted: &[(&'static str, u64)]) -> Result<Self> {
        let mut limits = Self { before: Vec::new() };
        for &(path, wanted) in wanted {
            let now = read(path)?;
            if now < wanted {
                limits.before.push((path, now));
                fs::write(path, wanted.to_string()).with_context(|| path.to_owned())?;
            }
        }
        Ok(limits)
    }

    /// Allows no more than this number of entries in any namespace, whatever was allowed before. For a moment, and where
    /// nothing else is going on.
    ///
    /// # Errors
    /// As [`raise`](Self::raise).
    pub fn set(entries: u64) -> Result<Self> {
        let before = vec![(MAX, read(MAX)?)];
        fs::write(MAX, entries.to_string()).context(MAX)?;
        Ok(Self { before })
    }
}

impl Drop for TableLimits {
    fn drop(&mut self) {
        for (path, value) in &self.before {
            if let Err(error) = fs::write(path, value.to_string()) {
                eprintln!("netlab: {path}: {error}");
            }
        }
    }
}

fn read(path: &str) -> Result<u64> {
    let text = fs::read_to_string(path).with_context(|| path.to_owned())?;
    text.trim().parse().with_context(|| path.to_owned())
}
