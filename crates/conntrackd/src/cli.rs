//! The command line, by the rules of the original.
//!
//! [`parse`] is a pure function: what is to be printed on the way comes out as [`Say`]s.
//!
//! Only the second character of an argument counts: `-s`, `-sfoo` and `xs` are one option. No bundling,
//! no long options but our `--record`, `--record-limit` and `--recover`, no `--`. Options that take a word take it only if it does not begin with `-`; any
//! beginning of the word will do, the empty one too. The last of several requests is sent.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::iter::Peekable;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use control::Request;

use crate::log::{Level, complain};
use crate::recording::Wish;

mod verb;

pub(crate) use verb::{Call, Verb};

/// The file read unless `-C` names another one.
pub(crate) const DEFAULT_CONFIG: &str = "/etc/conntrackd/conntrackd.conf";

/// Longest recording unless `--record-limit` says otherwise, in bytes.
const RECORD_LIMIT: u64 = 1 << 30;

/// Longest path that the system takes.
const PATH_MAX: usize = 4096;

const USAGE: &str = include_str!("cli/usage.txt");

// compat: scripts look for the version in the first line, behind these words; the rest says who answers.
const VERSION: &str = concat!(
    "Connection tracking userspace daemon v1.4.7. Compatible replacement, version ",
    env!("CARGO_PKG_VERSION"),
    ". Licensed under ",
    env!("CARGO_PKG_LICENSE"),
    ".\nA separate implementation, not conntrack-tools; speaks version 1 of its protocol.\n"
);

/// What the command line asks for, and what is to be printed before it is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CommandLine {
    /// In this order.
    pub(crate) says: Vec<Say>,
    /// What to do.
    pub(crate) invocation: Invocation,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Invocation {
    /// Be the daemon.
    Daemon {
        /// Go to the background after the start.
        detach: bool,
        /// Configuration.
        config: PathBuf,
        /// What to record, and where.
        record: Option<Wish>,
        /// Ask the peers for what the kernel has lost, whatever the configuration says.
        recover: bool,
    },
    /// Ask the daemon.
    Client {
        /// Number of the request.
        request: u32,
        /// Configuration, which names the socket.
        config: PathBuf,
    },
    /// What the original does not have.
    Verb(Call),
    /// End with this status.
    Exit(u8),
}

/// Something to print.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Say {
    /// How to use the program, on standard output.
    Usage,
    /// Which program this is, on standard output.
    Version,
    /// A line on standard error.
    Message(Level, String),
}

/// Reads the arguments behind the program's name.
pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> CommandLine {
    let args: Vec<_> = args.into_iter().collect();
    // compat: each verb was an option or an unknown one; nothing deployed says any of them.
    if let Some(outcome) = verb::parse(&args) {
        return match outcome {
            Ok(call) => CommandLine {
                says: Vec::new(),
                invocation: Invocation::Verb(call),
            },
            Err(text) => CommandLine {
                says: vec![Say::Message(Level::Error, text)],
                invocation: Invocation::Exit(1),
            },
        };
    }
    let mut parser = Parser {
        args: args.into_iter().peekable(),
        says: Vec::new(),
        detach: false,
        request: None,
        config: DEFAULT_CONFIG.into(),
        record: None,
        record_limit: RECORD_LIMIT,
        recover: false,
    };
    let invocation = parser.run().unwrap_or_else(Invocation::Exit);
    CommandLine {
        says: parser.says,
        invocation,
    }
}

/// Prints what is to be printed. `program` is the name by which it was called.
///
/// # Errors
/// Standard output takes nothing.
pub(crate) fn tell(says: &[Say], program: &OsStr, out: &mut impl Write) -> io::Result<()> {
    for say in says {
        match say {
            Say::Usage => {
                let text = USAGE.replace("{program}", &program.to_string_lossy());
                out.write_all(text.as_bytes())?;
            }
            Say::Version => out.write_all(VERSION.as_bytes())?,
            Say::Message(level, text) => complain(*level, text),
        }
    }
    out.flush()
}

struct Parser<I: Iterator<Item = OsString>> {
    args: Peekable<I>,
    says: Vec<Say>,
    detach: bool,
    request: Option<Request>,
    config: PathBuf,
    record: Option<PathBuf>,
    /// Bytes.
    record_limit: u64,
    recover: bool,
}

/// The program ends with this status.
type Exit = u8;

/// Words that an option takes, and the request that each makes of it.
type Words = [(&'static str, Request)];

const COMMIT: &Words = &[
    ("ct", Request::Commit),
    ("expect", Request::CommitExpectations),
];

const FLUSH_KERNEL: &Words = &[
    ("ct", Request::FlushKernel),
    ("expect", Request::FlushKernelExpectations),
];

const RESYNC: &Words = &[
    ("ct", Request::ResyncFromKernel),
    ("expect", Request::ResyncExpectationsFromKernel),
];

const INTERNAL: &Words = &[
    ("ct", Request::DumpInternal),
    ("expect", Request::DumpInternalExpectations),
];

const EXTERNAL: &Words = &[
    ("ct", Request::DumpExternal),
    ("expect", Request::DumpExternalExpectations),
];

const FLUSH_CACHES: &Words = &[
    ("internal", Request::FlushInternal),
    ("external", Request::FlushExternal),
];

const STATISTICS: &Words = &[
    ("network", Request::StatisticsNetwork),
    ("cache", Request::StatisticsCache),
    ("runtime", Request::StatisticsRuntime),
    (MULTICAST, Request::StatisticsLink),
    ("link", Request::StatisticsLink),
    ("rsqueue", Request::StatisticsResendQueue),
    ("process", Request::StatisticsProcess),
    ("queue", Request::StatisticsQueue),
    ("ct", Request::Statistics),
    ("expect", Request::StatisticsExpectations),
];

/// The old name of `link`.
const MULTICAST: &str = "multicast";

impl<I: Iterator<Item = OsString>> Parser<I> {
    fn run(&mut self) -> Result<Invocation, Exit> {
        while let Some(arg) = self.args.next() {
            self.option(&arg)?;
        }
        let config = std::mem::take(&mut self.config);
        Ok(match self.request {
            Some(request) => Invocation::Client {
                request: request.number(),
                config,
            },
            None => Invocation::Daemon {
                detach: self.detach,
                config,
                record: self.record.take().map(|path| Wish {
                    path,
                    limit: self.record_limit,
                }),
                recover: self.recover,
            },
        })
    }

    fn option(&mut self, arg: &OsStr) -> Result<(), Exit> {
        // compat: unknown options in the original; nothing deployed says any of them.
        match arg.as_bytes() {
            b"--record" => return self.record(),
            b"--record-limit" => return self.record_limit(),
            b"--recover" => {
                self.recover = true;
                return Ok(());
            }
            _ => {}
        }
        match arg.as_bytes().get(1) {
            Some(b'd') => self.detach(),
            Some(b'C') => {
                self.config_path();
                Ok(())
            }
            Some(b'v') => {
                self.says.push(Say::Version);
                Err(0)
            }
            Some(b'h') => {
                self.says.push(Say::Usage);
                Err(0)
            }
            Some(b'c') => self.optional_word(Request::CommitAll, COMMIT),
            Some(b'F') => self.optional_word(Request::FlushKernelAll, FLUSH_KERNEL),
            Some(b'R') => self.optional_word(Request::ResyncAllFromKernel, RESYNC),
            Some(b'i') => self.optional_word(Request::DumpInternal, INTERNAL),
            Some(b'e') => self.optional_word(Request::DumpExternal, EXTERNAL),
            Some(b'f') => self.checked_word('f', Request::FlushCaches, FLUSH_CACHES),
            Some(b's') => self.checked_word('s', Request::Statistics, STATISTICS),
            Some(b'x') => self.xml(),
            Some(b'B') => self.client(Request::SendBulk),
            Some(b'n') => self.client(Request::RequestResync),
            Some(b't') => self.client(Request::SchedulePurge),
            Some(b'k') => self.client(Request::Kill),
            _ => {
                self.says.push(Say::Usage);
                self.error(format!("Unknown option: {}", arg.to_string_lossy()));
                // compat: not a failure.
                Err(0)
            }
        }
    }

    fn error(&mut self, text: String) {
        self.says.push(Say::Message(Level::Error, text));
    }

    fn invalid(&mut self) -> Exit {
        self.says.push(Say::Usage);
        self.error("Invalid parameters".to_owned());
        1
    }

    fn detach(&mut self) -> Result<(), Exit> {
        if self.request.is_some() {
            return Err(self.invalid());
        }
        self.detach = true;
        Ok(())
    }

    fn client(&mut self, request: Request) -> Result<(), Exit> {
        if self.detach {
            return Err(self.invalid());
        }
        self.request = Some(request);
        Ok(())
    }

    fn record(&mut self) -> Result<(), Exit> {
        match self.args.next() {
            Some(path) if !path.is_empty() => {
                self.record = Some(path.into());
                Ok(())
            }
            _ => {
                self.error("--record needs the name of a new file".to_owned());
                Err(1)
            }
        }
    }

    fn record_limit(&mut self) -> Result<(), Exit> {
        let word = self.args.next();
        let mib = word.and_then(|word| word.to_str()?.parse::<u32>().ok());
        match mib {
            Some(mib @ 1..) => {
                self.record_limit = u64::from(mib) << 20;
                Ok(())
            }
            _ => {
                self.error("--record-limit needs a number of MiB above 0".to_owned());
                Err(1)
            }
        }
    }

    fn config_path(&mut self) {
        let Some(path) = self.args.next() else {
            self.says.push(Say::Usage);
            self.error("Missing config filename".to_owned());
            // compat: goes on with the file it has.
            return;
        };
        let mut bytes = path.into_vec();
        if bytes.len() > PATH_MAX {
            let text = "Path to config file to long. Cutting it down to 4096 characters";
            self.says
                .push(Say::Message(Level::Warning, text.to_owned()));
            bytes.truncate(PATH_MAX);
        }
        // compat: an empty name is the default file.
        self.config = if bytes.is_empty() {
            DEFAULT_CONFIG.into()
        } else {
            Path::new(OsStr::from_bytes(&bytes)).to_owned()
        };
    }

    /// A word that is none of the known ones is left to be an option of its own.
    fn optional_word(&mut self, without: Request, words: &Words) -> Result<(), Exit> {
        let known = self
            .args
            .peek()
            .filter(|arg| is_word(arg))
            .and_then(|arg| find(arg, words));
        match known {
            Some((_, request)) => {
                self.client(request)?;
                self.args.next();
                Ok(())
            }
            None => self.client(without),
        }
    }

    /// A word that is none of the known ones ends the program.
    fn checked_word(&mut self, option: char, without: Request, words: &Words) -> Result<(), Exit> {
        self.client(without)?;
        let Some(arg) = self.args.next_if(|arg| is_word(arg)) else {
            return Ok(());
        };
        let Some((word, request)) = find(&arg, words) else {
            let arg = arg.to_string_lossy();
            self.error(format!("unknown parameter `{arg}' for option `-{option}'"));
            return Err(1);
        };
        if word == MULTICAST {
            let text = "use `link' instead of `multicast' as parameter.";
            self.says
                .push(Say::Message(Level::Warning, text.to_owned()));
        }
        self.client(request)
    }

    fn xml(&mut self) -> Result<(), Exit> {
        let request = match self.request {
            Some(Request::DumpInternal) => Request::DumpInternalXml,
            Some(Request::DumpExternal) => Request::DumpExternalXml,
            Some(Request::DumpInternalExpectations) => Request::DumpInternalExpectationsXml,
            Some(Request::DumpExternalExpectations) => Request::DumpExternalExpectationsXml,
            _ => return Err(self.invalid()),
        };
        self.client(request)
    }
}

fn is_word(arg: &OsStr) -> bool {
    !arg.as_bytes().starts_with(b"-")
}

/// The first word that begins with the argument.
fn find(arg: &OsStr, words: &Words) -> Option<(&'static str, Request)> {
    words
        .iter()
        .copied()
        .find(|(word, _)| word.as_bytes().starts_with(arg.as_bytes()))
}

#[cfg(test)]
mod tests;
