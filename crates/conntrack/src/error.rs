//! What can go wrong, in the words that scripts know.

use std::io;

use crate::command::{Command, Table};

/// A fault in the command line or in a line of a load file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UsageError {
    /// No such option, or an abbreviation that is not unique.
    #[error("unknown option `{0}'")]
    UnknownOption(String),
    /// An option at the end that needs an argument.
    #[error("option `{0}' requires an argument")]
    MissingArgument(String),
    /// Two commands.
    #[error("Invalid commands combination")]
    Commands,
    /// No such table.
    #[error("unknown type `{0}'")]
    Table(String),
    /// Tables that can only be listed.
    #[error("Can't do that command with tables `dying' and `unconfirmed'")]
    ListOnly,
    /// Commands that expectations do not know.
    #[error("Can't do --{0} on expectations")]
    NotOnExpectations(&'static str),
    /// A required option is missing.
    #[error("You need to supply the `--{0}' option for this command")]
    Required(&'static str),
    /// An option that this command does not take.
    #[error("Illegal option `--{0}' with this command")]
    Illegal(&'static str),
    /// Half of a pair, or nothing of either pair.
    #[error("you have to specify `--{0}' and `--{1}'")]
    Pair(&'static str, &'static str),
    /// No such protocol or family.
    #[error("`{0}' unsupported protocol")]
    Protocol(String),
    /// No such state.
    #[error("unknown {0} state `{1}'")]
    State(&'static str, String),
    /// No such state, in the words of DCCP.
    #[error("Unknown DCCP state `{0}'")]
    DccpState(String),
    /// No such role.
    #[error("Unknown DCCP role `{0}'")]
    DccpRole(String),
    /// No address.
    #[error("Invalid IP address `{0}'")]
    Address(String),
    /// No length of a prefix.
    #[error("Invalid netmask")]
    Netmask,
    /// Addresses of two families, or not of the one asked for.
    #[error("mismatched address family")]
    Family,
    /// An address that cannot have a length.
    #[error("CIDR notation unavailable for `--{0}'")]
    NoCidr(&'static str),
    /// A colon without a port.
    #[error("No port specified after `:'")]
    NoPort,
    /// No port.
    #[error("Invalid port `{0}'")]
    Port(String),
    /// A bracket that is never closed.
    #[error("No closing ']' around IPv6 address")]
    OpenBracket,
    /// Brackets around nothing.
    #[error("No IPv6 address specified")]
    NoAddress,
    /// A word in a list that means nothing. Holds the rest of the list.
    #[error("Bad parameter `{0}'")]
    Word(String),
    /// No such label.
    #[error("unknown label '{0}'")]
    Label(String),
    /// One NAT option excludes the others.
    #[error("cannot specify `--src-nat' or `--dst-nat' with `--any-nat'")]
    NatOptions,
    /// Counters cannot be zeroed for a part of the table.
    #[error("Can't use -z with filtering parameters")]
    ZeroAndFilter,
    /// A mask without what it masks.
    #[error("Can't use --mask-{0} without --{0}")]
    MaskAlone(&'static str),
    /// A load file that cannot be read.
    #[error("Failed to open file {0} for reading")]
    LoadFile(String),
    /// A command that load files cannot hold.
    #[error("Cannot use command `{0}' with --load-file")]
    NotInLoadFile(String),
    /// Labels are added or removed.
    #[error("cannot use --label-add and --label-del at the same time")]
    LabelOptions,
    /// One format at a time.
    #[error("cannot combine save output with any other output type, use -o save only")]
    SaveAlone,
    /// One format at a time.
    #[error("cannot combine json output with xml or save")]
    JsonAlone,
    /// A network namespace that cannot be entered.
    #[error("Cannot enter network namespace `{name}': {reason}")]
    Namespace {
        /// As given.
        name: String,
        /// Why not.
        reason: String,
    },
    /// A label map that cannot be read.
    #[error("Cannot read label map `{name}': {reason}")]
    LabelMap {
        /// As given.
        name: String,
        /// Why not.
        reason: String,
    },
}

impl UsageError {
    /// Whether the exit status is 2 and the help text is pointed at.
    #[must_use]
    pub fn is_parameter_problem(&self) -> bool {
        !matches!(
            self,
            Self::LabelOptions
                | Self::SaveAlone
                | Self::JsonAlone
                | Self::Namespace { .. }
                | Self::LabelMap { .. }
        )
    }
}

/// Why a command ended early.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The command line is wrong.
    #[error(transparent)]
    Usage(#[from] UsageError),
    /// The kernel refused.
    #[error("Operation failed: {}", operation_text(*command, *table, error))]
    Operation {
        /// What was asked.
        command: Command,
        /// Of which table.
        table: Table,
        /// The kernel's answer.
        #[source]
        error: io::Error,
    },
    /// Events cannot be listened to.
    #[error("Can't open netlink socket")]
    EventSocket(#[source] io::Error),
    /// Events of expectations cannot be listened to.
    #[error("Can't open handler")]
    ExpectationSocket(#[source] io::Error),
    /// No more events come.
    #[error("cannot receive events: {}", system_text(.0))]
    Events(#[source] io::Error),
    /// Standard output is gone or full.
    #[error("cannot write: {}", system_text(.0))]
    Output(#[source] io::Error),
}

/// What the C library says of an error.
#[must_use]
pub fn system_text(error: &io::Error) -> String {
    let text = error.to_string();
    match text.rfind(" (os error ") {
        Some(end) => text.get(..end).unwrap_or_default().to_owned(),
        None => text,
    }
}

/// What to say when the kernel refuses a command.
#[must_use]
pub fn operation_text(command: Command, table: Table, error: &io::Error) -> String {
    use nix::errno::Errno;
    let errno = Errno::from_raw(error.raw_os_error().unwrap_or(0));
    let creates = matches!(command, Command::Create | Command::Add);
    let text = match errno {
        Errno::EPERM => "sorry, you must be root or get CAP_NET_ADMIN capability to do this",
        Errno::ENOENT if table == Table::Expect && command == Command::Create => {
            "master conntrack not found"
        }
        _ if table == Table::Expect => return system_text(error),
        Errno::EINVAL => "invalid parameters",
        Errno::EEXIST if command == Command::Create => "Such conntrack exists, try -U to update",
        Errno::ENOENT if creates || matches!(command, Command::Get | Command::Delete) => {
            "such conntrack doesn't exist"
        }
        Errno::ENOMEM if creates || command == Command::Get => "not enough memory",
        Errno::ETIME if creates => "conntrack has expired",
        Errno::EAFNOSUPPORT if command == Command::Get => "protocol not supported",
        _ => return system_text(error),
    };
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::errno::Errno;

    #[test]
    fn kernel_errors_are_told_in_words_of_the_command() {
        for (command, table, errno, text) in [
            (
                Command::Create,
                Table::Conntrack,
                Errno::EEXIST,
                "Such conntrack exists, try -U to update",
            ),
            (Command::Create, Table::Expect, Errno::EEXIST, "File exists"),
            (
                Command::Create,
                Table::Expect,
                Errno::ENOENT,
                "master conntrack not found",
            ),
            (
                Command::Delete,
                Table::Expect,
                Errno::ENOENT,
                "No such file or directory",
            ),
            (
                Command::Get,
                Table::Conntrack,
                Errno::ENOENT,
                "such conntrack doesn't exist",
            ),
            (
                Command::Add,
                Table::Conntrack,
                Errno::ENOMEM,
                "not enough memory",
            ),
            (
                Command::Add,
                Table::Conntrack,
                Errno::ETIME,
                "conntrack has expired",
            ),
            (
                Command::Get,
                Table::Conntrack,
                Errno::EAFNOSUPPORT,
                "protocol not supported",
            ),
            (
                Command::List,
                Table::Conntrack,
                Errno::EINVAL,
                "invalid parameters",
            ),
            (
                Command::Update,
                Table::Conntrack,
                Errno::EOPNOTSUPP,
                "Operation not supported",
            ),
            (
                Command::Create,
                Table::Conntrack,
                Errno::EBUSY,
                "Device or resource busy",
            ),
            (
                Command::Create,
                Table::Conntrack,
                Errno::ERANGE,
                "Numerical result out of range",
            ),
        ] {
            assert_eq!(operation_text(command, table, &errno.into()), text);
        }
    }
}
