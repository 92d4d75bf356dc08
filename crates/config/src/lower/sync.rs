//! Section `Sync`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU32;
use std::time::Duration;

use flow::Family;

use super::{Notes, Taken};
use crate::error::{ErrorKind, ParseError};
use crate::schema::{
    ACK_WINDOW, CACHE_TIMEOUT, ERROR_QUEUE_LEN, PURGE_TIMEOUT, REFRESH_TIME, RESEND_QUEUE_LEN,
};
use crate::statement::{Clause, LinkKind, ModeName, Section};
use crate::{
    Alarm, CacheUse, ExpectationSync, Ftfw, Link, MAX_LINKS, Mode, Native, Notrack, Place, Sync,
    Transport,
};

/// What has been read of the section. Numbers are as written: 0 stands for the default.
#[derive(Debug, Default)]
pub(super) struct Draft {
    mode: Option<ModeName>,
    resend_queue: u32,
    ack_window: u32,
    commit_timeout: Option<(Place, u32)>,
    purge_timeout: u32,
    refresh: u32,
    cache_timeout: u32,
    disable_external: Option<(Place, bool)>,
    disable_internal: Option<(Place, bool)>,
    startup_resync: Option<(Place, bool)>,
    links: Vec<LinkDraft>,
    error_queue: u32,
    tcp_window_tracking: bool,
    expectations: ExpectationSync,
    native: Option<Native>,
    standby_inject: bool,
}

#[derive(Debug)]
struct LinkDraft {
    kind: LinkKind,
    default: bool,
    /// Group of a multicast link, own address of another.
    address: Option<IpAddr>,
    peer: Option<IpAddr>,
    source: Option<Ipv4Addr>,
    /// Family of a multicast link: that of the address read first.
    family: Option<Family>,
    interface: Option<String>,
    port: u16,
    send_buffer: u32,
    receive_buffer: u32,
    checksum: bool,
    /// Whether anything stands in the section. The original counts only such links.
    used: bool,
}

impl Draft {
    pub(super) fn take(
        &mut self,
        place: Place,
        clause: &Clause,
        notes: &mut Notes,
    ) -> Result<Taken, ParseError> {
        let key = match clause {
            Clause::Native(native) => {
                notes.mark("native", place);
                self.native = Some(native.clone());
                return Ok(Taken::Yes);
            }
            Clause::Peer(peer) => {
                if let Some(native) = &mut self.native {
                    notes.mark(format!("peer.{}", native.peers.len()), place);
                    native.peers.push(peer.clone());
                }
                return Ok(Taken::Yes);
            }
            Clause::StandbyInject(on) => {
                notes.mark("standby.inject", place);
                self.standby_inject = *on;
                return Ok(Taken::Yes);
            }
            Clause::Open(Section::Mode { mode, old }) => {
                if let Some(old) = old {
                    let now = mode.name();
                    let text = format!(
                        "Now `{old}' mode is called `{now}'. Please, update your conntrackd.conf file."
                    );
                    notes.warn(place, text);
                }
                // Of several modes the first in the order of precedence is taken.
                self.mode = Some(self.mode.map_or(*mode, |before| before.min(*mode)));
                "mode"
            }
            Clause::Open(Section::Link { kind, default }) => {
                return self
                    .open_link(place, *kind, *default, notes)
                    .map(|()| Taken::Yes);
            }
            Clause::Open(Section::Expectations) => {
                if !matches!(self.expectations, ExpectationSync::Helpers(_)) {
                    self.expectations = ExpectationSync::Helpers(Vec::new());
                }
                "expectation_sync"
            }
            Clause::ExpectationHelper(name) => {
                if let ExpectationSync::Helpers(names) = &mut self.expectations
                    && !names.contains(name)
                {
                    notes.mark(format!("sync.expectation_sync.{}", names.len()), place);
                    names.push(name.clone());
                }
                return Ok(Taken::Yes);
            }
            Clause::ExpectationSync(on) => {
                self.expectations = if *on {
                    ExpectationSync::All
                } else {
                    ExpectationSync::Off
                };
                "expectation_sync"
            }
            Clause::TcpWindowTracking(on) => {
                set(&mut self.tcp_window_tracking, *on, "tcp_window_tracking")
            }
            Clause::ResendQueueSize(n) => set(&mut self.resend_queue, *n, "resend_queue_size"),
            Clause::AckWindowSize(n) => set(&mut self.ack_window, *n, "ack_window_size"),
            Clause::CommitTimeout(s) => set(
                &mut self.commit_timeout,
                Some((place, *s)),
                "commit_timeout_s",
            ),
            Clause::PurgeTimeout(s) => set(&mut self.purge_timeout, *s, "purge_timeout_s"),
            Clause::RefreshTime(s) => set(&mut self.refresh, *s, "refresh_time_s"),
            Clause::CacheTimeout(s) => set(&mut self.cache_timeout, *s, "cache_timeout_s"),
            Clause::DisableExternalCache(on) => set(
                &mut self.disable_external,
                Some((place, *on)),
                "disable_external_cache",
            ),
            Clause::DisableInternalCache(on) => set(
                &mut self.disable_internal,
                Some((place, *on)),
                "disable_internal_cache",
            ),
            Clause::StartupResync(on) => set(
                &mut self.startup_resync,
                Some((place, *on)),
                "startup_resync",
            ),
            clause => return self.take_link(place, clause, notes),
        };
        notes.mark(format!("sync.{key}"), place);
        Ok(Taken::Yes)
    }

    fn open_link(
        &mut self,
        place: Place,
        kind: LinkKind,
        default: bool,
        notes: &mut Notes,
    ) -> Result<(), ParseError> {
        if let Some(other) = self.links.iter().find(|link| link.kind != kind) {
            let (transport, before) = (kind.name(), other.kind.name());
            return Err(ParseError {
                place,
                kind: ErrorKind::MixedTransports { transport, before },
            });
        }
        // An empty section is no link; the next takes its place.
        self.links.retain(|link| link.used);
        notes.mark(format!("sync.link.{}", self.links.len()), place);
        self.links.push(LinkDraft {
            kind,
            default,
            address: None,
            peer: None,
            source: None,
            family: None,
            interface: None,
            port: 0,
            send_buffer: 0,
            receive_buffer: 0,
            checksum: true,
            used: false,
        });
        Ok(())
    }

    fn take_link(
        &mut self,
        place: Place,
        clause: &Clause,
        notes: &mut Notes,
    ) -> Result<Taken, ParseError> {
        let position = self.links.len().saturating_sub(1);
        let Some(link) = self.links.last_mut() else {
            return Ok(Taken::No);
        };
        let key = match clause {
            Clause::LinkAddress(family, text) => {
                if let Some(address) = address(place, *family, text, notes)
                    && link.fits(place, *family, "address", notes)
                {
                    link.address = Some(address);
                }
                if link.kind == LinkKind::Multicast {
                    "group"
                } else {
                    "local_address"
                }
            }
            Clause::LinkDestination(family, text) => {
                if let Some(address) = address(place, *family, text, notes) {
                    link.peer = Some(address);
                }
                "peer_address"
            }
            Clause::LinkSource(text) => {
                if let Some(IpAddr::V4(source)) = address(place, Family::Ipv4, text, notes)
                    && link.fits(place, Family::Ipv4, "interface", notes)
                {
                    link.source = Some(source);
                }
                "local_address"
            }
            Clause::LinkSourceV6 => {
                notes.warn(place, "`IPv6_interface' not required, ignoring");
                link.used = true;
                return Ok(Taken::Yes);
            }
            Clause::LinkInterface(name) => {
                set(&mut link.interface, Some(name.clone()), "interface")
            }
            Clause::LinkPort(port) => set(&mut link.port, *port, "port"),
            Clause::SendBuffer(n) => set(&mut link.send_buffer, *n, "send_buffer_bytes"),
            Clause::ReceiveBuffer(n) => set(&mut link.receive_buffer, *n, "receive_buffer_bytes"),
            Clause::Checksum(on) => set(&mut link.checksum, *on, "checksum"),
            Clause::ErrorQueueLength(n) => set(&mut self.error_queue, *n, "error_queue_length"),
            _ => return Ok(Taken::No),
        };
        link.used = true;
        notes.mark(format!("sync.link.{position}.{key}"), place);
        if position >= MAX_LINKS {
            return Err(ParseError {
                place,
                kind: ErrorKind::TooManyLinks,
            });
        }
        Ok(Taken::Yes)
    }

    pub(super) fn finish(mut self, notes: &mut Notes) -> Sync {
        let place = notes.places.get("sync").copied().unwrap_or_default();
        if self.mode.is_none() {
            let text = "No synchronization mode specified. Defaulting to FT-FW mode.";
            notes.warn(place, text);
        }
        let mode = self.mode(notes);
        let commit_timeout = self.commit_timeout.filter(|&(_, seconds)| seconds > 0);
        let error_queue_len = NonZeroU32::new(self.error_queue).unwrap_or(ERROR_QUEUE_LEN);
        self.links.retain(|link| link.used);
        let mut sync = Sync {
            mode,
            links: self
                .links
                .into_iter()
                .map(|link| link.finish(error_queue_len))
                .collect(),
            commit_timeout: commit_timeout.map(|(_, seconds)| Duration::from_secs(seconds.into())),
            purge_timeout: seconds(self.purge_timeout, PURGE_TIMEOUT),
            tcp_window_tracking: self.tcp_window_tracking,
            expectation_sync: self.expectations,
            native: self.native,
            standby_inject: self.standby_inject,
        };
        if let (Some((place, _)), CacheUse::Disabled) = (commit_timeout, sync.external_cache()) {
            let text = "`CommitTimeout' can't be combined with `DisableExternalCache', ignoring this \
                        option. Fix your configuration file.";
            notes.warn(place, text);
            notes.places.remove("sync.commit_timeout_s");
            sync.commit_timeout = None;
        }
        sync
    }

    fn mode(&self, notes: &mut Notes) -> Mode {
        let cache = |disabled: Option<(Place, bool)>| match disabled {
            Some((_, true)) => CacheUse::Disabled,
            _ => CacheUse::Enabled,
        };
        let startup_resync = self.startup_resync.is_some_and(|(_, on)| on);
        let name = self.mode.unwrap_or(ModeName::Ftfw);
        // Only by several modes in one file.
        let mut drop_foreign = |clause: &str, option: Option<(Place, bool)>| {
            if let Some((place, true)) = option {
                let text = format!(
                    "`{clause}' has no effect in mode `{}', ignoring",
                    name.name()
                );
                notes.warn(place, text);
            }
        };
        if name != ModeName::Notrack {
            drop_foreign("DisableInternalCache", self.disable_internal);
        }
        if name == ModeName::Alarm {
            drop_foreign("DisableExternalCache", self.disable_external);
            drop_foreign("StartupResync", self.startup_resync);
        }
        match name {
            ModeName::Ftfw => Mode::Ftfw(Ftfw {
                resend_queue_len: NonZeroU32::new(self.resend_queue).unwrap_or(RESEND_QUEUE_LEN),
                ack_window: NonZeroU32::new(self.ack_window).unwrap_or(ACK_WINDOW),
                external_cache: cache(self.disable_external),
                startup_resync,
            }),
            ModeName::Alarm => Mode::Alarm(Alarm {
                refresh: seconds(self.refresh, REFRESH_TIME),
                cache_timeout: seconds(self.cache_timeout, CACHE_TIMEOUT),
            }),
            ModeName::Notrack => Mode::Notrack(Notrack {
                internal_cache: cache(self.disable_internal),
                external_cache: cache(self.disable_external),
                startup_resync,
            }),
        }
    }
}

impl LinkDraft {
    /// Whether an address of this family may be set; a multicast link has only one family.
    fn fits(&mut self, place: Place, family: Family, what: &str, notes: &mut Notes) -> bool {
        if self.kind != LinkKind::Multicast || *self.family.get_or_insert(family) == family {
            return true;
        }
        let text = match family {
            Family::Ipv4 => format!(
                "your multicast {what} is IPv4 but is binded to an IPv6 interface? Surely, this is not \
                 what you want"
            ),
            Family::Ipv6 => format!(
                "your multicast {what} is IPv6 but is binded to an IPv4 interface? Surely this is not \
                 what you want"
            ),
        };
        notes.warn(place, text);
        false
    }

    fn finish(self, error_queue_len: NonZeroU32) -> Link {
        let (local, peer) = (self.address, self.peer);
        Link {
            transport: match self.kind {
                LinkKind::Multicast => Transport::Multicast {
                    group: self.address,
                    source: self.source,
                },
                LinkKind::Udp => Transport::Udp { local, peer },
                LinkKind::Tcp => Transport::Tcp {
                    local,
                    peer,
                    error_queue_len,
                },
            },
            default: self.default,
            interface: self.interface,
            port: self.port,
            send_buffer_len: NonZeroU32::new(self.send_buffer),
            receive_buffer_len: NonZeroU32::new(self.receive_buffer),
            checksum: self.checksum,
        }
    }
}

/// Sets a value and names its key.
fn set<T>(slot: &mut T, value: T, key: &'static str) -> &'static str {
    *slot = value;
    key
}

fn seconds(number: u32, default: Duration) -> Duration {
    if number == 0 {
        default
    } else {
        Duration::from_secs(number.into())
    }
}

fn address(place: Place, family: Family, text: &str, notes: &mut Notes) -> Option<IpAddr> {
    let (address, name) = match family {
        Family::Ipv4 => (text.parse::<Ipv4Addr>().map(IpAddr::V4), "IPv4"),
        Family::Ipv6 => (text.parse::<Ipv6Addr>().map(IpAddr::V6), "IPv6"),
    };
    if address.is_err() {
        notes.warn(place, format!("{text} is not a valid {name} address"));
    }
    address.ok()
}
