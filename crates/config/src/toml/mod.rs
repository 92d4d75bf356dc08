//! The TOML syntax: the same clauses with names in lower case and units in the names.
//!
//! What a value may be is decided where the old grammar decides it, so that both syntaxes accept,
//! warn of and refuse the same; only what that grammar refuses as a syntax error is checked here.

mod native;
mod policy;
mod schema;

use std::net::IpAddr;

use flow::{Action, Family, TcpState};
use toml::Spanned;

use self::schema::{Expectations, File, Protocol, Seconds, Switch};
use crate::error::{ErrorKind, ParseError};
use crate::legacy::hint;
use crate::statement::{Clause, LinkKind, ModeName, Section, Statement, Target};
use crate::{FilterFrom, LogLevel, MetricsAddress, Place};

/// Reads a file: the statements it amounts to, and the error that ended them, if any.
pub(crate) fn parse(bytes: &[u8]) -> (Vec<Statement>, Option<ParseError>) {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let reason = "found bytes that are no UTF-8".to_owned();
            let kind = ErrorKind::Toml {
                reason,
                instead: None,
            };
            let place = place(bytes, error.valid_up_to());
            return (Vec::new(), Some(ParseError { place, kind }));
        }
    };
    let file = match toml::from_str::<File>(text) {
        Ok(file) => file,
        Err(error) => return (Vec::new(), Some(refused(bytes, &error))),
    };
    let mut reader = Reader {
        bytes,
        statements: Vec::new(),
    };
    let error = reader.file(&file).err();
    (reader.statements, error)
}

fn refused(bytes: &[u8], error: &toml::de::Error) -> ParseError {
    let reason = error
        .message()
        .replace('\n', ", ")
        .replace("expected u32", "expected a whole number of 0 to 4294967295")
        .replace("expected u16", "expected a whole number of 0 to 65535");
    let place = place(bytes, error.span().map_or(0, |span| span.start));
    ParseError {
        place,
        kind: ErrorKind::Toml {
            instead: advice(&reason),
            reason,
        },
    }
}

/// For an unknown key, the known one that looks like it. The reader names both only in its message:
/// "unknown field `x`, expected one of `a`, `b`".
fn advice(reason: &str) -> Option<String> {
    let rest = reason.strip_prefix("unknown field ")?;
    let mut names = rest.split('`').skip(1).step_by(2);
    let found = names.next()?;
    hint::nearest(found, names).map(|near| format!("write `{near}'"))
}

/// The place of a byte.
fn place(bytes: &[u8], offset: usize) -> Place {
    let before = bytes.get(..offset).unwrap_or(bytes);
    let lines = before.iter().filter(|&&b| b == b'\n').count();
    let column = before.iter().rev().take_while(|&&b| b != b'\n').count();
    let from_one = |count: usize| u32::try_from(count).unwrap_or(u32::MAX).saturating_add(1);
    Place {
        line: from_one(lines),
        column: from_one(column),
    }
}

type Read<T> = Result<T, ParseError>;

struct Reader<'a> {
    bytes: &'a [u8],
    statements: Vec<Statement>,
}

impl Reader<'_> {
    fn file(&mut self, file: &File) -> Read<()> {
        if let Some(sync) = &file.sync {
            self.open(sync, Section::Sync);
            self.sync(sync.get_ref())?;
            self.close(sync, Section::Sync);
        } else if let Some(native) = &file.native {
            // Its defaults are those of the section `sync`.
            self.open(native, Section::Sync);
            self.close(native, Section::Sync);
        }
        self.native(file)?;
        if let Some(general) = &file.general {
            self.open(general, Section::General);
            self.general(general.get_ref())?;
        }
        if let Some(policy) = &file.policy {
            self.policy(policy)?;
        }
        if let Some(stats) = &file.stats {
            self.open(stats, Section::Stats);
            let at = stats.get_ref();
            self.absolute(&at.log_file)?;
            self.each(&at.log_file, |v| {
                Clause::StatsLogFile(target(v, |path| path.into()))
            });
            self.each(&at.syslog, |v| Clause::StatsSyslog(target(v, Clone::clone)));
            self.close(stats, Section::Stats);
        }
        if let Some(helper) = &file.helper {
            self.open(helper, Section::Helper);
            self.each(&helper.get_ref().setup, |&on| Clause::HelperSetup(on));
            for helper in &helper.get_ref().types {
                self.helper(helper);
            }
        }
        Ok(())
    }

    fn sync(&mut self, sync: &schema::Sync) -> Read<()> {
        let mut mode = ModeName::Ftfw;
        if let Some(name) = &sync.mode {
            mode = match name.get_ref().to_ascii_lowercase().as_str() {
                "ftfw" => ModeName::Ftfw,
                "alarm" => ModeName::Alarm,
                "notrack" => ModeName::Notrack,
                _ => return Err(self.value("mode", name, "\"ftfw\", \"alarm\" or \"notrack\"")),
            };
            self.open(name, Section::Mode { mode, old: None });
        }
        self.only_in(mode, sync)?;
        self.each(&sync.resend_queue_size, |&n| Clause::ResendQueueSize(n));
        self.each(&sync.ack_window_size, |&n| Clause::AckWindowSize(n));
        self.each(&sync.commit_timeout_s, |&s| Clause::CommitTimeout(s));
        self.each(&sync.purge_timeout_s, |&s| Clause::PurgeTimeout(s));
        self.each(&sync.refresh_time_s, |&s| Clause::RefreshTime(s));
        self.each(&sync.cache_timeout_s, |&s| Clause::CacheTimeout(s));
        self.each(&sync.disable_external_cache, |&on| {
            Clause::DisableExternalCache(on)
        });
        self.each(&sync.disable_internal_cache, |&on| {
            Clause::DisableInternalCache(on)
        });
        self.each(&sync.startup_resync, |&on| Clause::StartupResync(on));
        self.each(&sync.tcp_window_tracking, |&on| {
            Clause::TcpWindowTracking(on)
        });
        if let Some(expectations) = &sync.expectation_sync {
            match expectations.get_ref() {
                Expectations::Bool(on) => self.push(expectations, Clause::ExpectationSync(*on)),
                Expectations::Helpers(names) => {
                    self.open(expectations, Section::Expectations);
                    for name in names {
                        self.push(name, Clause::ExpectationHelper(name.get_ref().clone()));
                    }
                }
            }
        }
        sync.link.iter().try_for_each(|link| self.link(link))
    }

    /// Refuses keys that the mode does not have, as the old grammar does.
    fn only_in(&self, mode: ModeName, sync: &schema::Sync) -> Read<()> {
        use ModeName::{Alarm, Ftfw, Notrack};
        let start = |span: Option<std::ops::Range<usize>>| span.map(|span| span.start);
        let keys: [(&'static str, Option<usize>, &[ModeName], &'static str); 7] = [
            (
                "resend_queue_size",
                start(span(&sync.resend_queue_size)),
                &[Ftfw],
                "ftfw",
            ),
            (
                "ack_window_size",
                start(span(&sync.ack_window_size)),
                &[Ftfw],
                "ftfw",
            ),
            (
                "refresh_time_s",
                start(span(&sync.refresh_time_s)),
                &[Alarm],
                "alarm",
            ),
            (
                "cache_timeout_s",
                start(span(&sync.cache_timeout_s)),
                &[Alarm],
                "alarm",
            ),
            (
                "disable_external_cache",
                start(span(&sync.disable_external_cache)),
                &[Ftfw, Notrack],
                "ftfw and notrack",
            ),
            (
                "disable_internal_cache",
                start(span(&sync.disable_internal_cache)),
                &[Notrack],
                "notrack",
            ),
            (
                "startup_resync",
                start(span(&sync.startup_resync)),
                &[Ftfw, Notrack],
                "ftfw and notrack",
            ),
        ];
        let foreign = keys
            .into_iter()
            .filter(|(_, _, modes, _)| !modes.contains(&mode));
        match foreign
            .filter_map(|(key, at, _, modes)| Some((at?, key, modes)))
            .min()
        {
            None => Ok(()),
            Some((at, key, modes)) => Err(ParseError {
                place: place(self.bytes, at),
                kind: ErrorKind::NotInMode {
                    key,
                    mode: mode.name(),
                    modes,
                },
            }),
        }
    }

    fn link(&mut self, spanned: &Spanned<schema::Link>) -> Read<()> {
        let link = spanned.get_ref();
        let (kind, name) = match link.transport.get_ref().to_ascii_lowercase().as_str() {
            "multicast" => (LinkKind::Multicast, "multicast"),
            "udp" => (LinkKind::Udp, "udp"),
            "tcp" => (LinkKind::Tcp, "tcp"),
            _ => {
                let expected = "\"multicast\", \"udp\" or \"tcp\"";
                return Err(self.value("transport", &link.transport, expected));
            }
        };
        let multicast = kind == LinkKind::Multicast;
        let foreign = [
            ("group", span(&link.group), multicast),
            ("peer_address", span(&link.peer_address), !multicast),
            (
                "error_queue_length",
                span(&link.error_queue_length),
                kind == LinkKind::Tcp,
            ),
        ];
        for (key, span, allowed) in foreign {
            if let (Some(span), false) = (span, allowed) {
                let kind = ErrorKind::NotInTransport {
                    key,
                    transport: name,
                };
                return Err(ParseError {
                    place: place(self.bytes, span.start),
                    kind,
                });
            }
        }
        self.open(
            spanned,
            Section::Link {
                kind,
                default: link.default,
            },
        );
        // The group decides on the family of a multicast link.
        self.address(&link.group, "group", Clause::LinkAddress)?;
        self.address(
            &link.local_address,
            "local_address",
            |family, text| match (multicast, family) {
                (false, _) => Clause::LinkAddress(family, text),
                (true, Family::Ipv4) => Clause::LinkSource(text),
                (true, Family::Ipv6) => Clause::LinkSourceV6,
            },
        )?;
        self.address(&link.peer_address, "peer_address", Clause::LinkDestination)?;
        self.each(&link.interface, |name| Clause::LinkInterface(name.clone()));
        self.each(&link.port, |&port| Clause::LinkPort(port));
        self.each(&link.send_buffer_bytes, |&n| Clause::SendBuffer(n));
        self.each(&link.receive_buffer_bytes, |&n| Clause::ReceiveBuffer(n));
        self.each(&link.checksum, |&on| Clause::Checksum(on));
        self.each(&link.error_queue_length, |&n| Clause::ErrorQueueLength(n));
        Ok(())
    }

    fn general(&mut self, general: &schema::General) -> Read<()> {
        self.each(&general.hash_size, |&n| Clause::HashSize(n));
        self.each(&general.hash_limit, |&n| Clause::HashLimit(n));
        self.each(&general.log_file, |v| {
            Clause::LogFile(target(v, |path| path.into()))
        });
        self.each(&general.syslog, |v| Clause::Syslog(target(v, Clone::clone)));
        for (key, path) in [
            ("lock_file", &general.lock_file),
            ("unix_path", &general.unix_path),
            ("ready_file", &general.ready_file),
            ("keepalived_fifo", &general.keepalived_fifo),
        ] {
            if let Some(path) = path
                && !path.get_ref().starts_with('/')
            {
                return Err(self.value(key, path, "an absolute path"));
            }
        }
        self.absolute(&general.log_file)?;
        if let Some(name) = &general.log_level {
            let level = LogLevel::from_name(name.get_ref()).ok_or_else(|| {
                self.value("log_level", name, "\"notice\", \"warning\" or \"error\"")
            })?;
            self.push(name, Clause::LogLevel(level));
        }
        if let Some(text) = &general.metrics {
            let address = MetricsAddress::from_text(text.get_ref()).ok_or_else(|| {
                let expected = "a loopback address with a port, or an absolute path";
                self.value("metrics", text, expected)
            })?;
            self.push(text, Clause::Metrics(address));
        }
        self.each(&general.ready_file, |path| Clause::ReadyFile(path.into()));
        self.each(&general.keepalived_fifo, |path| {
            Clause::KeepalivedFifo(path.into())
        });
        self.each(&general.lock_file, |path| Clause::LockFile(path.into()));
        self.each(&general.unix_path, |path| Clause::UnixPath(path.into()));
        if let Some(text) = &general.unix_mode {
            let mode = socket_mode(text.get_ref())
                .ok_or_else(|| self.value("unix_mode", text, "an octal mode of up to \"0777\""))?;
            self.push(text, Clause::UnixMode(mode));
        }
        self.each(&general.unix_group, |name| Clause::UnixGroup(name.clone()));
        self.each(&general.sandbox, |&on| Clause::Sandbox(on));
        self.each(&general.netlink_buffer_bytes, |&n| {
            Clause::NetlinkBufferSize(n)
        });
        self.each(&general.netlink_buffer_max_growth_bytes, |&n| {
            Clause::NetlinkBufferSizeMaxGrowth(n)
        });
        self.each(&general.netlink_overrun_resync_s, |seconds| {
            Clause::OverrunResync(match seconds {
                Seconds::Bool(true) => Target::On,
                Seconds::Bool(false) => Target::Off,
                Seconds::Number(seconds) => Target::To(*seconds),
            })
        });
        self.each(&general.netlink_events_reliable, |&on| {
            Clause::EventsReliable(on)
        });
        self.each(&general.poll_s, |&s| Clause::PollSecs(s));
        self.each(&general.event_iteration_limit, |&n| {
            Clause::EventIterationLimit(n)
        });
        self.each(&general.systemd, |&on| Clause::Systemd(on));
        if let Some(scheduler) = &general.scheduler {
            self.each(&scheduler.get_ref().kind, |name| match name.as_str() {
                "system" => Clause::SchedulerSystem,
                name => Clause::SchedulerType(name.to_owned()),
            });
            self.each(&scheduler.get_ref().priority, |&n| {
                Clause::SchedulerPriority(n)
            });
        }
        general
            .filter
            .as_ref()
            .map_or(Ok(()), |filter| self.filter(filter))
    }

    fn filter(&mut self, filter: &Spanned<schema::Filter>) -> Read<()> {
        let lists = filter.get_ref();
        let from = match &lists.from {
            None => FilterFrom::Userspace,
            Some(from) => match from.get_ref().to_ascii_lowercase().as_str() {
                "userspace" => FilterFrom::Userspace,
                "kernelspace" => FilterFrom::Kernelspace,
                _ => return Err(self.value("from", from, "\"userspace\" or \"kernelspace\"")),
            },
        };
        self.open(filter, Section::Filter(Some(from)));
        self.list(
            &lists.protocol,
            "protocol",
            Section::FilterProtocol,
            |reader, item| {
                reader.push(
                    item,
                    match item.get_ref() {
                        Protocol::Name(name) => Clause::FilterProtocol(name.clone()),
                        Protocol::Number(number) => Clause::FilterProtocolNumber(*number),
                    },
                );
                Ok(())
            },
        )?;
        self.list(
            &lists.address,
            "address",
            Section::FilterAddress,
            |reader, item| {
                let family = if item.get_ref().contains(':') {
                    Family::Ipv6
                } else {
                    Family::Ipv4
                };
                reader.push(item, Clause::FilterAddress(family, item.get_ref().clone()));
                Ok(())
            },
        )?;
        self.list(
            &lists.state,
            "state",
            Section::FilterState,
            |reader, item| {
                let state = state(item.get_ref()).ok_or_else(|| {
                    reader.value("state", item, "a TCP state such as \"ESTABLISHED\"")
                })?;
                reader.push(item, Clause::FilterState(state));
                Ok(())
            },
        )
    }

    fn list<T>(
        &mut self,
        list: &Option<Spanned<schema::List<T>>>,
        key: &'static str,
        section: fn(Action) -> Section,
        item: fn(&mut Self, &Spanned<T>) -> Read<()>,
    ) -> Read<()> {
        let Some(list) = list else { return Ok(()) };
        let (action, items) = match (&list.get_ref().accept, &list.get_ref().ignore) {
            (Some(items), None) => (Action::Accept, items),
            (None, Some(items)) => (Action::Ignore, items),
            _ => {
                let kind = ErrorKind::Value {
                    key,
                    found: "both or none".to_owned(),
                    expected: "either `accept' or `ignore'",
                };
                return Err(ParseError {
                    place: place(self.bytes, list.span().start),
                    kind,
                });
            }
        };
        self.open(items, section(action));
        items.get_ref().iter().try_for_each(|one| item(self, one))
    }

    fn helper(&mut self, helper: &Spanned<schema::HelperType>) {
        let at = helper.get_ref();
        let section = Section::HelperType {
            name: at.name.clone(),
            family: at.family.clone(),
            transport: at.transport.clone(),
        };
        self.open(helper, section.clone());
        self.each(&at.queue_num, |&n| Clause::HelperQueueNum(n));
        self.each(&at.queue_len, |&n| Clause::HelperQueueLen(n));
        for policy in &at.policy {
            let section = Section::HelperPolicy(policy.get_ref().name.clone());
            self.open(policy, section.clone());
            self.each(&policy.get_ref().expect_max, |&n| {
                Clause::PolicyExpectMax(n)
            });
            self.each(&policy.get_ref().expect_timeout_s, |&n| {
                Clause::PolicyExpectTimeout(n)
            });
            self.close(policy, section);
        }
        self.close(helper, section);
    }

    fn address(
        &mut self,
        value: &Option<Spanned<String>>,
        key: &'static str,
        clause: impl Fn(Family, String) -> Clause,
    ) -> Read<()> {
        let Some(value) = value else { return Ok(()) };
        let family = match value.get_ref().parse() {
            Ok(IpAddr::V4(_)) => Family::Ipv4,
            Ok(IpAddr::V6(_)) => Family::Ipv6,
            Err(_) => return Err(self.value(key, value, "an IPv4 or IPv6 address")),
        };
        self.push(value, clause(family, value.get_ref().clone()));
        Ok(())
    }

    fn absolute(&self, value: &Option<Spanned<Switch>>) -> Read<()> {
        let Some(value) = value else { return Ok(()) };
        match value.get_ref() {
            Switch::Text(path) if !path.starts_with('/') => {
                let found = path.clone();
                let expected = "true, false or an absolute path";
                let kind = ErrorKind::Value {
                    key: "log_file",
                    found,
                    expected,
                };
                Err(ParseError {
                    place: place(self.bytes, value.span().start),
                    kind,
                })
            }
            _ => Ok(()),
        }
    }

    fn each<T>(&mut self, value: &Option<Spanned<T>>, clause: impl Fn(&T) -> Clause) {
        if let Some(value) = value {
            self.push(value, clause(value.get_ref()));
        }
    }

    fn open<T>(&mut self, at: &Spanned<T>, section: Section) {
        self.push(at, Clause::Open(section));
    }

    fn close<T>(&mut self, at: &Spanned<T>, section: Section) {
        self.push(at, Clause::Close(section));
    }

    fn push<T>(&mut self, at: &Spanned<T>, clause: Clause) {
        let place = place(self.bytes, at.span().start);
        self.statements.push(Statement { place, clause });
    }

    fn value(&self, key: &'static str, at: &Spanned<String>, expected: &'static str) -> ParseError {
        let found = at.get_ref().clone();
        let place = place(self.bytes, at.span().start);
        ParseError {
            place,
            kind: ErrorKind::Value {
                key,
                found,
                expected,
            },
        }
    }
}

fn socket_mode(text: &str) -> Option<u32> {
    let mode = u32::from_str_radix(text, 8).ok()?;
    (mode <= 0o777).then_some(mode)
}

fn span<T>(value: &Option<Spanned<T>>) -> Option<std::ops::Range<usize>> {
    value.as_ref().map(Spanned::span)
}

fn target<T>(value: &Switch, to: impl Fn(&String) -> T) -> Target<T> {
    match value {
        Switch::Bool(true) => Target::On,
        Switch::Bool(false) => Target::Off,
        Switch::Text(text) => Target::To(to(text)),
    }
}

/// States by the names of the old grammar and of the kernel.
fn state(name: &str) -> Option<TcpState> {
    let name = name.to_ascii_uppercase();
    match name.as_str() {
        "CLOSED" => Some(TcpState::Close),
        "LISTEN" => Some(TcpState::SynSent2),
        "NONE" => None,
        name => TcpState::ALL.into_iter().find(|state| state.name() == name),
    }
}
