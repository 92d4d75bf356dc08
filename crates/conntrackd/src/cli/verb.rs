//! The verbs that the original does not have: a word, then options in any order.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::time::Duration;

use control::{Dump, Format, Page, Side, Table};
use engine::Role;

use super::DEFAULT_CONFIG;

/// Which verb, with what it takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    /// Read the configuration and say what is wrong with it.
    Check,
    /// Print the configuration in the new form.
    Convert,
    /// Tell the role.
    Role,
    /// Take a role.
    Become {
        role: Role,
        /// Names of the nodes that a primary takes over; none: those that it takes over unasked.
        from: Vec<String>,
        /// Stop waiting after this; the daemon goes on.
        timeout: Option<Duration>,
    },
    /// Tell whether this node could take over.
    Ready,
    /// Remove what a daemon that has gone could not remove itself.
    Sweep,
    /// Tell how far the peers of the native dialect agree with this node.
    Peers,
    /// Make a private key: into a new file, or to standard output.
    Keygen(Option<PathBuf>),
    /// Show statistics.
    Stats(Option<Page>),
    /// List a cache. `None`: which one has not been said.
    Dump(Option<Dump>),
    /// Try a takeover where it touches nothing.
    Rehearse,
    /// Show the live screen, with these arguments.
    Top(Vec<OsString>),
}

/// A verb with the options that all of them take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) verb: Verb,
    /// Configuration, which names the socket.
    pub(crate) config: PathBuf,
    /// The answer is for a program.
    pub(crate) json: bool,
}

fn find(word: &OsStr) -> Option<Verb> {
    Some(match word.as_bytes() {
        b"check" => Verb::Check,
        b"convert" => Verb::Convert,
        b"role" => Verb::Role,
        b"ready" => Verb::Ready,
        b"peers" => Verb::Peers,
        b"keygen" => Verb::Keygen(None),
        b"sweep" => Verb::Sweep,
        b"stats" => Verb::Stats(None),
        b"dump" => Verb::Dump(None),
        b"rehearse" => Verb::Rehearse,
        b"top" => Verb::Top(Vec::new()),
        _ => return None,
    })
}

/// Reads a verb and what follows it. `None`: the line begins with none. Only `-C` may stand before it.
///
/// # Errors
/// What is wrong with the words, as a line for the user.
pub(super) fn parse(args: &[OsString]) -> Option<Result<Call, String>> {
    let mut config = DEFAULT_CONFIG.into();
    let mut rest = args;
    while let [option, path, others @ ..] = rest
        && option == "-C"
    {
        config = path.into();
        rest = others;
    }
    let (word, rest) = rest.split_first()?;
    let call = Call {
        verb: find(word)?,
        config,
        json: false,
    };
    Some(options(call, rest.iter()))
}

fn options<'a>(
    mut call: Call,
    mut args: impl Iterator<Item = &'a OsString>,
) -> Result<Call, String> {
    let (mut timeout, mut format, mut named) = (None, Format::Plain, Vec::new());
    while let Some(arg) = args.next() {
        match (arg.as_bytes(), &mut call.verb) {
            (b"-C", _) => {
                call.config = args.next().ok_or("Missing config filename")?.into();
            }
            (_, Verb::Top(words)) => words.push(arg.clone()),
            (
                b"--json",
                Verb::Role
                | Verb::Become { .. }
                | Verb::Ready
                | Verb::Peers
                | Verb::Stats(_)
                | Verb::Rehearse,
            ) => {
                call.json = true;
            }
            (word, Verb::Keygen(None)) if !word.starts_with(b"-") => {
                call.verb = Verb::Keygen(Some(arg.into()));
            }
            (b"--json", Verb::Dump(_)) => format = Format::Json,
            (b"--xml", Verb::Dump(_)) => format = Format::Xml,
            (word, Verb::Dump(None)) if side(word).is_some() => {
                call.verb = Verb::Dump(side(word).map(|side| Dump {
                    side,
                    table: Table::Flows,
                    format: Format::Plain,
                }));
            }
            (b"ct", Verb::Dump(Some(_))) => {}
            (b"expect", Verb::Dump(Some(dump))) => {
                call.verb = Verb::Dump(Some(Dump {
                    table: Table::Expectations,
                    ..*dump
                }));
            }
            (b"--timeout", Verb::Role | Verb::Become { .. }) => {
                timeout = Some(seconds(args.next())?);
            }
            (b"--from", Verb::Role | Verb::Become { .. }) => {
                let name = args.next().and_then(|name| name.to_str());
                let name = name.filter(|name| !name.is_empty());
                named.push(name.ok_or("--from needs the name of a node")?.to_owned());
            }
            (word, Verb::Role) if role(word).is_some() => {
                let role = role(word).unwrap_or_default();
                call.verb = Verb::Become {
                    role,
                    from: Vec::new(),
                    timeout: None,
                };
            }
            (word, Verb::Stats(None)) if page(word).is_some() => {
                call.verb = Verb::Stats(page(word));
            }
            _ => return Err(format!("Unknown option: {}", arg.to_string_lossy())),
        }
    }
    match (&mut call.verb, timeout) {
        (Verb::Become { role, .. }, _) if *role != Role::Primary && !named.is_empty() => {
            return Err("--from is for a node that becomes primary".to_owned());
        }
        (Verb::Become { timeout, from, .. }, given) => (*timeout, *from) = (given, named),
        (Verb::Role, _) if !named.is_empty() => {
            return Err("--from is for a node that becomes primary".to_owned());
        }
        (Verb::Dump(None), _) => return Err("dump needs `internal' or `external'".to_owned()),
        (Verb::Dump(Some(dump)), _) => dump.format = format,
        (_, Some(_)) => return Err("--timeout needs a role to wait for".to_owned()),
        (_, None) => {}
    }
    Ok(call)
}

fn role(word: &[u8]) -> Option<Role> {
    Some(match word {
        // Some scripts say master.
        b"primary" | b"master" => Role::Primary,
        b"backup" => Role::Backup,
        b"fault" => Role::Fault,
        _ => return None,
    })
}

fn side(word: &[u8]) -> Option<Side> {
    Some(match word {
        b"internal" => Side::Internal,
        b"external" => Side::External,
        _ => return None,
    })
}

fn page(word: &[u8]) -> Option<Page> {
    Some(match word {
        b"network" => Page::Network,
        b"cache" => Page::Cache,
        b"runtime" => Page::Runtime,
        b"link" => Page::Link,
        b"rsqueue" => Page::ResendQueue,
        b"queue" => Page::Queue,
        b"process" => Page::Process,
        b"expect" => Page::Expectations,
        _ => return None,
    })
}

fn seconds(word: Option<&OsString>) -> Result<Duration, String> {
    word.and_then(|word| word.to_str()?.parse().ok())
        .filter(|&s| s > 0)
        .map(Duration::from_secs)
        .ok_or_else(|| "--timeout needs a number of seconds above 0".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Call, String> {
        let words: Vec<_> = line.split(' ').map(OsString::from).collect();
        parse(&words).unwrap()
    }

    #[test]
    fn a_role_takes_a_timeout_and_options_stand_anywhere() {
        let call = parsed("role --json primary -C /x --timeout 5").unwrap();
        let verb = Verb::Become {
            role: Role::Primary,
            from: Vec::new(),
            timeout: Some(Duration::from_secs(5)),
        };
        assert_eq!(
            (call.verb, call.json, call.config),
            (verb, true, "/x".into())
        );
        let call = parsed("role --from fw1 primary --from fw2").unwrap();
        let verb = Verb::Become {
            role: Role::Primary,
            from: vec!["fw1".to_owned(), "fw2".to_owned()],
            timeout: None,
        };
        assert_eq!(call.verb, verb);
        assert_eq!(parsed("role").unwrap().verb, Verb::Role);
        assert_eq!(parsed("ready").unwrap().verb, Verb::Ready);
        assert!(parsed("peers --json").unwrap().json);
        assert_eq!(parsed("keygen").unwrap().verb, Verb::Keygen(None));
        let to_file = Verb::Keygen(Some("/k".into()));
        assert_eq!(parsed("keygen /k").unwrap().verb, to_file);
        assert_eq!(parsed("-C /x ready").unwrap().config, PathBuf::from("/x"));
        assert_eq!(parse(&["-s".into(), "ready".into()]), None);
        let dump = Dump {
            side: Side::External,
            table: Table::Expectations,
            format: Format::Json,
        };
        let call = parsed("dump --json external expect").unwrap();
        assert_eq!(call.verb, Verb::Dump(Some(dump)));
    }

    #[test]
    fn what_is_not_understood_is_named() {
        for (line, error) in [
            ("role nothing", "Unknown option: nothing"),
            ("role primary backup", "Unknown option: backup"),
            ("ready --timeout 1", "Unknown option: --timeout"),
            ("role --timeout 1", "--timeout needs a role to wait for"),
            (
                "role primary --timeout x",
                "--timeout needs a number of seconds above 0",
            ),
            ("role primary --from", "--from needs the name of a node"),
            (
                "role --from fw1",
                "--from is for a node that becomes primary",
            ),
            (
                "role backup --from fw1",
                "--from is for a node that becomes primary",
            ),
            ("ready -C", "Missing config filename"),
            ("check --json", "Unknown option: --json"),
            ("dump --xml", "dump needs `internal' or `external'"),
            ("dump internal external", "Unknown option: external"),
            ("stats link cache", "Unknown option: cache"),
        ] {
            assert_eq!(parsed(line), Err(error.to_owned()), "{line}");
        }
    }
}
