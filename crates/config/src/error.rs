//! Why a file is refused.

use std::fmt;

use crate::{MAX_LINKS, Place};

/// The first thing wrong in a file.
///
/// `Display` is what the original says, on one line; [`ParseError::explanation`] is the rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    /// Where.
    pub place: Place,
    /// What.
    pub kind: ErrorKind,
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// A token that does not fit there.
    Syntax {
        /// Its exact text; empty at the end of the file.
        found: String,
        /// What would fit.
        expected: String,
        /// What to write instead, where that is known.
        instead: Option<String>,
    },
    /// TOML that is none, or that has a key or value of the wrong kind.
    Toml {
        /// What is wrong, in the words of the TOML reader.
        reason: String,
        /// What to write instead, where that is known.
        instead: Option<String>,
    },
    /// A TOML key that means nothing in the chosen mode.
    NotInMode {
        /// Key.
        key: &'static str,
        /// Mode.
        mode: &'static str,
        /// Modes that have it.
        modes: &'static str,
    },
    /// A TOML key that means nothing for the chosen transport.
    NotInTransport {
        /// Key.
        key: &'static str,
        /// Transport.
        transport: &'static str,
    },
    /// A TOML value that is not one of those the key may have.
    Value {
        /// Key.
        key: &'static str,
        /// The value.
        found: String,
        /// What it may be.
        expected: &'static str,
    },
    /// A fifth link.
    TooManyLinks,
    /// A link of another transport than the ones before it.
    MixedTransports {
        /// The later one.
        transport: &'static str,
        /// The earlier one.
        before: &'static str,
    },
    /// `Stats` and `Sync` in one file.
    StatsAndSync,
    /// A path too long for its use.
    PathTooLong {
        /// `Path`, `LogFile`, `LockFile` or `stats LogFile path` as the original names it.
        clause: &'static str,
        /// Most bytes.
        max: usize,
        /// Bytes found.
        got: usize,
    },
    /// `PollSecs 0`.
    PollZero,
    /// A scheduler that is neither `RR` nor `FIFO`.
    Scheduler(String),
    /// A scheduler's priority above 99.
    SchedulerPriority(u32),
    /// A helper's layer 3 that is neither `inet` nor `inet6`.
    HelperFamily(String),
    /// A helper's layer 4 that is neither `tcp` nor `udp`.
    HelperTransport(String),
    /// No such helper for that transport.
    UnknownHelper(String),
    /// A policy the helper does not have.
    UnknownPolicy {
        /// Its name.
        name: String,
        /// The one it has.
        known: String,
    },
    /// A policy without content.
    EmptyPolicy(String),
    /// A policy's name that is too long.
    PolicyNameTooLong(String),
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            ErrorKind::Syntax { found, .. } => write!(
                f,
                "parsing config file in line ({}), symbol '{found}': syntax error",
                self.place.line
            ),
            ErrorKind::Toml { .. }
            | ErrorKind::NotInMode { .. }
            | ErrorKind::NotInTransport { .. }
            | ErrorKind::Value { .. } => {
                write!(
                    f,
                    "parsing config file in line ({}): syntax error",
                    self.place.line
                )
            }
            ErrorKind::TooManyLinks => write!(
                f,
                "too many dedicated links in the configuration file (Maximum: {MAX_LINKS})"
            ),
            ErrorKind::MixedTransports { transport, .. } => {
                write!(
                    f,
                    "cannot use `{transport}' with other dedicated link protocols!"
                )
            }
            ErrorKind::StatsAndSync => {
                f.write_str("cannot use both `Stats' and `Sync' clauses in conntrackd.conf")
            }
            ErrorKind::PathTooLong { clause, max, .. } => {
                write!(f, "{clause} is longer than {max} characters")
            }
            ErrorKind::PollZero => f.write_str("`PollSecs' clause must be > 0"),
            ErrorKind::Scheduler(name) => write!(f, "unknown scheduler `{name}'"),
            ErrorKind::SchedulerPriority(_) => f.write_str("`Priority' must be [0, 99]"),
            ErrorKind::HelperFamily(_) => f.write_str("unknown layer 3 protocol"),
            ErrorKind::HelperTransport(_) => f.write_str("unknown layer 4 protocol"),
            ErrorKind::UnknownHelper(name) => write!(f, "Unknown `{name}' helper"),
            ErrorKind::UnknownPolicy { name, .. } => {
                write!(f, "Unknown policy `{name}' in helper configuration")
            }
            ErrorKind::EmptyPolicy(_) => f.write_str(
                "Helper policy configuration empty, fix your configuration file, please",
            ),
            ErrorKind::PolicyNameTooLong(_) => {
                f.write_str("Helper Policy is longer than 16 characters")
            }
        }
    }
}

impl std::error::Error for ParseError {}

impl ParseError {
    /// What was found, what was expected and what to write instead, on one line, without the place.
    #[must_use]
    pub fn explanation(&self) -> String {
        match &self.kind {
            ErrorKind::Syntax {
                found,
                expected,
                instead,
            } => {
                let found = match found.as_str() {
                    "" => "the end of the file".to_owned(),
                    text => format!("`{text}'"),
                };
                with_advice(
                    format!("found {found}, expected {expected}"),
                    instead.as_deref(),
                )
            }
            ErrorKind::Toml { reason, instead } => with_advice(reason.clone(), instead.as_deref()),
            ErrorKind::NotInMode { key, mode, modes } => {
                format!("found `{key}', which mode {mode} does not have; only {modes}")
            }
            ErrorKind::NotInTransport { key, transport } => {
                format!("found `{key}', which a {transport} link does not have")
            }
            ErrorKind::Value {
                key,
                found,
                expected,
            } => {
                format!("found `{found}' for `{key}', expected {expected}")
            }
            ErrorKind::TooManyLinks => format!("found one link more, expected at most {MAX_LINKS}"),
            ErrorKind::MixedTransports { transport, before } => {
                format!("found a {transport} link, expected {before} like the link before it")
            }
            ErrorKind::StatsAndSync => {
                "found both sections, expected one of them: a node replicates or counts".to_owned()
            }
            ErrorKind::PathTooLong { max, got, .. } => {
                format!("found {got} bytes, expected at most {max}")
            }
            ErrorKind::PollZero => {
                "found 0, expected seconds above 0; remove the clause to listen to events"
                    .to_owned()
            }
            ErrorKind::Scheduler(name) => format!("found `{name}', expected `RR' or `FIFO'"),
            ErrorKind::SchedulerPriority(priority) => {
                format!("found {priority}, expected a priority of 1 to 99")
            }
            ErrorKind::HelperFamily(name) => format!("found `{name}', expected `inet' or `inet6'"),
            ErrorKind::HelperTransport(name) => format!("found `{name}', expected `tcp' or `udp'"),
            ErrorKind::UnknownHelper(name) => format!(
                "found `{name}', expected amanda, dhcpv6, mdns, slp, tftp (udp), ftp, sane, tns (tcp), \
                 rpc or ssdp (both)"
            ),
            ErrorKind::UnknownPolicy { name, known } => {
                format!("found `{name}', expected `{known}'")
            }
            ErrorKind::EmptyPolicy(name) => format!(
                "found nothing in policy `{name}', expected `ExpectMax' or `ExpectTimeout'; \
                 remove the policy to have the helper's own"
            ),
            ErrorKind::PolicyNameTooLong(name) => {
                format!("found {} bytes, expected at most 16", name.len())
            }
        }
    }
}

fn with_advice(mut text: String, instead: Option<&str>) -> String {
    if let Some(instead) = instead {
        text.push_str("; ");
        text.push_str(instead);
    }
    text
}
