//! Sections `General` and `Stats`.

use std::ffi::OsStr;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use flow::filter::Network;
use flow::{Action, Family};

use super::{Notes, Taken};
use crate::error::{ErrorKind, ParseError};
use crate::protocols::Protocols;
use crate::schema::{
    EVENT_ITERATION_LIMIT, HASH_LIMIT, HASH_SIZE, LOG_FILE, OVERRUN_RESYNC, STATS_LOG_FILE,
};
use crate::statement::{Clause, Section, Target};
use crate::{Facility, FilterFrom, General, Place, Scheduler, Statistics};

const MAX_LOG_PATH_LEN: usize = 256;
const MAX_SOCKET_PATH_LEN: usize = 107;

/// What has been read of both sections.
#[derive(Debug, Default)]
pub(super) struct Draft {
    general: General,
    stats: Statistics,
    scheduler: SchedulerDraft,
}

#[derive(Debug, Default)]
struct SchedulerDraft {
    kind: Option<SchedulerKind>,
    priority: Option<(Place, u32)>,
}

#[derive(Clone, Copy, Debug)]
enum SchedulerKind {
    System,
    RoundRobin,
    Fifo,
}

impl Draft {
    pub(super) fn take(
        &mut self,
        place: Place,
        clause: &Clause,
        notes: &mut Notes,
        protocols: &Protocols,
    ) -> Result<Taken, ParseError> {
        let general = &mut self.general;
        let refuse = |kind| Err(ParseError { place, kind });
        let key = match clause {
            Clause::HashSize(n) => {
                general.hash_size = NonZeroU32::new(*n).unwrap_or(HASH_SIZE);
                "hash_size"
            }
            Clause::HashLimit(n) => {
                general.hash_limit = NonZeroU32::new(*n).unwrap_or(HASH_LIMIT);
                "hash_limit"
            }
            Clause::LogFile(target) => {
                general.log_file = log_file(place, target, LOG_FILE, "LogFile path")?;
                "log_file"
            }
            Clause::Syslog(target) => {
                general.syslog = facility(place, target, general.syslog, "ignoring", notes);
                "syslog"
            }
            Clause::LockFile(path) => {
                general.lock_file = checked_path(place, path, "LockFile path", MAX_LOG_PATH_LEN)?;
                "lock_file"
            }
            Clause::UnixPath(path) => {
                general.unix_path = Some(checked_path(place, path, "Path", MAX_SOCKET_PATH_LEN)?);
                "unix_path"
            }
            Clause::UnixBacklog => {
                notes.warn(place, "deprecated unix backlog configuration, ignoring.");
                return Ok(Taken::Yes);
            }
            Clause::NetlinkBufferSize(n) => {
                general.netlink_buffer_len = NonZeroU32::new(*n);
                "netlink_buffer_bytes"
            }
            Clause::NetlinkBufferSizeMaxGrowth(n) => {
                general.netlink_buffer_max_len = *n;
                "netlink_buffer_max_growth_bytes"
            }
            Clause::OverrunResync(target) => {
                general.overrun_resync = match target {
                    Target::Off => None,
                    Target::On | Target::To(0) => Some(OVERRUN_RESYNC),
                    Target::To(seconds) => Some(Duration::from_secs((*seconds).into())),
                };
                "netlink_overrun_resync_s"
            }
            Clause::EventsReliable(on) => {
                general.reliable_events = *on;
                "netlink_events_reliable"
            }
            Clause::PollSecs(0) => return refuse(ErrorKind::PollZero),
            Clause::PollSecs(seconds) => {
                general.poll = Some(Duration::from_secs((*seconds).into()));
                "poll_s"
            }
            Clause::EventIterationLimit(n) => {
                general.event_iteration_limit =
                    NonZeroU32::new(*n).unwrap_or(EVENT_ITERATION_LIMIT);
                "event_iteration_limit"
            }
            Clause::Nice => {
                let text = "deprecated nice configuration, ignoring. The nice value can be set \
                            externally with nice(1) and renice(1).";
                notes.warn(place, text);
                return Ok(Taken::Yes);
            }
            Clause::SchedulerSystem => {
                self.scheduler.kind = Some(SchedulerKind::System);
                "scheduler.type"
            }
            Clause::SchedulerType(name) => {
                self.scheduler.kind = Some(match name.to_ascii_uppercase().as_str() {
                    "RR" => SchedulerKind::RoundRobin,
                    "FIFO" => SchedulerKind::Fifo,
                    _ => return refuse(ErrorKind::Scheduler(name.clone())),
                });
                "scheduler.type"
            }
            Clause::SchedulerPriority(priority @ 100..) => {
                return refuse(ErrorKind::SchedulerPriority(*priority));
            }
            Clause::SchedulerPriority(priority) => {
                self.scheduler.priority = Some((place, *priority));
                "scheduler.priority"
            }
            Clause::Systemd(on) => {
                general.systemd = *on;
                "systemd"
            }
            Clause::LogLevel(level) => {
                general.log_level = *level;
                "log_level"
            }
            Clause::ReadyFile(path) => {
                general.ready_file = Some(path.clone());
                "ready_file"
            }
            Clause::KeepalivedFifo(path) => {
                general.keepalived_fifo = Some(path.clone());
                "keepalived_fifo"
            }
            Clause::Metrics(address) => {
                general.metrics = Some(address.clone());
                "metrics"
            }
            Clause::UnixMode(mode) => {
                general.unix_mode = Some(*mode);
                "unix_mode"
            }
            Clause::UnixGroup(name) => {
                general.unix_group = Some(name.clone());
                "unix_group"
            }
            Clause::Sandbox(on) => {
                general.sandbox = *on;
                "sandbox"
            }
            clause => {
                return match self.take_filter(place, clause, notes, protocols) {
                    Taken::Yes => Ok(Taken::Yes),
                    Taken::No => self.take_stats(place, clause, notes),
                };
            }
        };
        notes.mark(format!("general.{key}"), place);
        Ok(Taken::Yes)
    }

    fn take_filter(
        &mut self,
        place: Place,
        clause: &Clause,
        notes: &mut Notes,
        protocols: &Protocols,
    ) -> Taken {
        let General {
            filter,
            filter_from,
            ..
        } = &mut self.general;
        match clause {
            Clause::Open(Section::Filter(from)) => {
                *filter_from = from.unwrap_or(FilterFrom::Userspace);
                notes.mark("general.filter", place);
            }
            Clause::Open(Section::FilterProtocol(action)) => {
                open(&mut filter.protocols, *action);
                notes.mark("general.filter.protocol", place);
            }
            Clause::Open(Section::FilterAddress(action)) => {
                open(&mut filter.addresses, *action);
                notes.mark("general.filter.address", place);
            }
            Clause::Open(Section::FilterState(action)) => {
                open(&mut filter.tcp_states, *action);
                notes.mark("general.filter.state", place);
            }
            Clause::FilterProtocol(name) => match protocols.number(name) {
                Some(number) => add(&mut filter.protocols, number, "protocol", place, notes),
                None => {
                    let text =
                        format!("getprotobyname() cannot find protocol `{name}' in /etc/protocols");
                    notes.warn(place, text);
                }
            },
            Clause::FilterProtocolNumber(number) => {
                add(&mut filter.protocols, *number, "protocol", place, notes);
            }
            Clause::FilterAddress(family, text) => {
                let known = filter
                    .addresses
                    .as_ref()
                    .map_or(&[][..], |(_, known)| known);
                if let Some(network) = network(place, *family, text, known, notes) {
                    add(&mut filter.addresses, network, "address", place, notes);
                }
            }
            Clause::FilterState(state) => {
                add(&mut filter.tcp_states, *state, "state", place, notes);
            }
            _ => return Taken::No,
        }
        Taken::Yes
    }

    fn take_stats(
        &mut self,
        place: Place,
        clause: &Clause,
        notes: &mut Notes,
    ) -> Result<Taken, ParseError> {
        let key = match clause {
            Clause::StatsLogFile(target) => {
                self.stats.log_file =
                    log_file(place, target, STATS_LOG_FILE, "stats LogFile path")?;
                "log_file"
            }
            Clause::StatsSyslog(target) => {
                self.stats.syslog = facility(place, target, self.stats.syslog, "ignoring.", notes);
                "syslog"
            }
            _ => return Ok(Taken::No),
        };
        notes.mark(format!("stats.{key}"), place);
        Ok(Taken::Yes)
    }

    pub(super) fn finish(mut self, notes: &mut Notes) -> (General, Statistics) {
        if let (Some(general), Some(stats)) = (self.general.syslog, self.stats.syslog)
            && general != stats
        {
            let place = notes
                .places
                .get("stats.syslog")
                .copied()
                .unwrap_or_default();
            notes.warn(
                place,
                "conflicting Syslog facility values, defaulting to General",
            );
            self.stats.syslog = Some(general);
        }
        self.general.scheduler = self.scheduler.finish(notes);
        (self.general, self.stats)
    }
}

impl SchedulerDraft {
    fn finish(self, notes: &mut Notes) -> Scheduler {
        let place = notes
            .places
            .get("general.scheduler.type")
            .copied()
            .unwrap_or_default();
        let priority = match (self.priority, self.kind) {
            (Some((place, _)), None) => {
                notes.warn(place, "`Priority' has no effect without `Type', ignoring");
                0
            }
            (Some((place, 0)), Some(SchedulerKind::RoundRobin | SchedulerKind::Fifo)) => {
                notes.warn(
                    place,
                    "`Priority' 0 leaves the system default scheduler, expected 1 to 99",
                );
                0
            }
            (Some((_, priority)), _) => u8::try_from(priority).unwrap_or(99),
            (None, Some(SchedulerKind::RoundRobin | SchedulerKind::Fifo)) => {
                let text =
                    "scheduler `Type' without `Priority' leaves the system default scheduler";
                notes.warn(place, text);
                0
            }
            (None, _) => 0,
        };
        match (self.kind, priority) {
            (None, _) => Scheduler::default(),
            (Some(SchedulerKind::System), _) | (_, 0) => Scheduler::System,
            (Some(SchedulerKind::RoundRobin), priority) => Scheduler::RoundRobin { priority },
            (Some(SchedulerKind::Fifo), priority) => Scheduler::Fifo { priority },
        }
    }
}

/// Begins or goes on with a list; the action named last is that of all.
fn open<T>(list: &mut Option<(Action, Vec<T>)>, action: Action) {
    match list {
        Some((before, _)) => *before = action,
        None => *list = Some((action, Vec::new())),
    }
}

/// Adds an entry that is not there yet.
fn add<T: PartialEq>(
    list: &mut Option<(Action, Vec<T>)>,
    item: T,
    key: &str,
    place: Place,
    notes: &mut Notes,
) {
    if let Some((_, items)) = list
        && !items.contains(&item)
    {
        notes.mark(format!("general.filter.{key}.{}", items.len()), place);
        items.push(item);
    }
}

fn network(
    place: Place,
    family: Family,
    text: &str,
    known: &[Network],
    notes: &mut Notes,
) -> Option<Network> {
    let (addr, prefix) = match text.split_once('/') {
        Some((addr, prefix)) => (addr, Some(prefix)),
        None => (text, None),
    };
    let (parsed, name, width) = match family {
        Family::Ipv4 => (addr.parse::<Ipv4Addr>().map(IpAddr::V4), "IPv4", 32),
        Family::Ipv6 => (addr.parse::<Ipv6Addr>().map(IpAddr::V6), "IPv6", 128),
    };
    let prefix_len = prefix.map(|prefix| prefix.parse::<u8>().ok().filter(|&len| len <= width));
    if prefix_len == Some(None) {
        notes.warn(place, format!("{text} is not a valid network, ignoring"));
        return None;
    }
    let Ok(addr) = parsed else {
        notes.warn(place, format!("{addr} is not a valid {name}, ignoring"));
        return None;
    };
    let Some(prefix_len) = prefix_len.flatten() else {
        return Some(Network::host(addr));
    };
    let network = Network { addr, prefix_len };
    if known.contains(&network) {
        notes.warn(
            place,
            format!("netmask {addr} is repeated in the ignore pool"),
        );
        return None;
    }
    Some(network)
}

fn log_file(
    place: Place,
    target: &Target<PathBuf>,
    usual: &str,
    clause: &'static str,
) -> Result<Option<PathBuf>, ParseError> {
    match target {
        Target::Off => Ok(None),
        Target::On => Ok(Some(usual.into())),
        Target::To(path) => checked_path(place, path, clause, MAX_LOG_PATH_LEN).map(Some),
    }
}

fn checked_path(
    place: Place,
    path: &Path,
    clause: &'static str,
    max: usize,
) -> Result<PathBuf, ParseError> {
    let got = AsRef::<OsStr>::as_ref(path).len();
    if got > max {
        return Err(ParseError {
            place,
            kind: ErrorKind::PathTooLong { clause, max, got },
        });
    }
    Ok(path.to_owned())
}

/// The facility meant, or the one before when its name is unknown.
fn facility(
    place: Place,
    target: &Target<String>,
    before: Option<Facility>,
    ending: &str,
    notes: &mut Notes,
) -> Option<Facility> {
    match target {
        Target::Off => None,
        Target::On => Some(Facility::Daemon),
        Target::To(name) => Facility::from_name(name).or_else(|| {
            notes.warn(
                place,
                format!("'{name}' is not a known syslog facility, {ending}"),
            );
            before
        }),
    }
}
