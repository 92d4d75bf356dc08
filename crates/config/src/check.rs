//! Contradictions and traps, and what does not fit the host.

use std::fmt;
use std::net::IpAddr;
use std::path::Path;

use flow::Action;
use flow::protocol;

use crate::{
    CacheUse, Config, FilterFrom, General, Link, Mode, Place, Role, Source, Sync, Transport,
};

/// What a configuration is compared with. The daemon asks the kernel; tests make one up.
pub trait Host {
    /// All interfaces.
    fn interfaces(&self) -> Vec<HostInterface>;

    /// Whether the daemon could create this file, or open it to append.
    fn can_write(&self, file: &Path) -> bool;

    /// Most entries of the kernel's table (`net.netfilter.nf_conntrack_max`), if known.
    fn conntrack_max(&self) -> Option<u32>;
}

/// An interface of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostInterface {
    /// Name.
    pub name: String,
    /// Its addresses of both families.
    pub addresses: Vec<IpAddr>,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The daemon does not start.
    Error,
    /// The original does not start; this daemon starts and waits until it changes.
    Waiting,
    /// The daemon starts, but probably not with what was meant.
    Warning,
}

impl Severity {
    /// Whether a check has failed.
    #[must_use]
    pub fn fails(self) -> bool {
        self != Self::Warning
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error | Self::Waiting => "ERROR",
            Self::Warning => "warning",
        })
    }
}

/// Something found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// Where the clause stands, if it stands anywhere.
    pub place: Option<Place>,
    /// One line: what is so, and what to do.
    pub text: String,
}

/// Compares the configuration with itself and with the host, in the order of its sections.
#[must_use]
pub fn check(config: &Config, host: &dyn Host) -> Vec<Finding> {
    let mut check = Check {
        config,
        host,
        findings: Vec::new(),
    };
    match &config.role {
        Role::Sync(sync) => check.sync(sync),
        Role::Statistics(stats) => {
            check.writable("stats.log_file", "LogFile", stats.log_file.as_deref());
        }
        Role::Idle => check.warn(
            "",
            "there is neither a section `Sync' nor a section `Stats': the daemon touches no connection",
        ),
    }
    check.general(&config.general);
    check.filter(&config.general);
    check.findings
}

struct Check<'a> {
    config: &'a Config,
    host: &'a dyn Host,
    findings: Vec<Finding>,
}

impl Check<'_> {
    fn sync(&mut self, sync: &Sync) {
        if let Mode::Alarm(alarm) = &sync.mode
            && alarm.cache_timeout <= alarm.refresh
        {
            let (cache, refresh) = (alarm.cache_timeout.as_secs(), alarm.refresh.as_secs());
            let text = format!(
                "`CacheTimeout' ({cache} s) is not above `RefreshTime' ({refresh} s): the peer's entries \
                 vanish before they are refreshed"
            );
            self.warn("sync.cache_timeout_s", text);
        }
        self.native(sync);
        if sync.links.is_empty() && sync.native.is_none() {
            let text = "there is no link: write a section `Multicast', `UDP' or `TCP'";
            self.error("sync", text);
        }
        let interfaces = self.host.interfaces();
        for (at, link) in sync.active_links().iter().enumerate() {
            let key = format!("sync.link.{at}");
            self.link(&key, link, &interfaces);
            if link.interface.as_deref() != Some("lo") {
                self.own_traffic(&key, link);
            }
            let before = sync.links.get(..at).unwrap_or_default();
            if before.iter().any(|other| collide(other, link)) {
                let text =
                    "another link has the same interface, port and addresses: both hear everything";
                self.warn(&key, text);
            }
        }
        if sync.links.iter().filter(|link| link.default).count() > 1 {
            let last = format!("sync.link.{}", sync.first_active_link());
            self.warn(
                &last,
                "several links are marked `Default': this last one counts",
            );
        }
    }

    fn native(&mut self, sync: &Sync) {
        let Some(native) = &sync.native else {
            return;
        };
        if native.peers.is_empty() {
            self.error("native", "there is no peer: write a section [[peer]]");
        }
        let both = [sync.internal_cache(), sync.external_cache()];
        if both.contains(&CacheUse::Disabled) {
            let text = "the native dialect needs both caches: set disable_internal_cache and \
                        disable_external_cache to false";
            self.error("native", text);
        }
        if native.version_1 && sync.links.is_empty() {
            let text = "version_1 is on, but there is no [[sync.link]] to speak it over";
            self.warn("native", text);
        }
        if !native.version_1 && !sync.links.is_empty() {
            let text = "with [native], version 1 of the protocol is off and the links are not used: set \
                        version_1 = true where an older node must be reached";
            self.warn("native", text);
        }
    }

    fn link(&mut self, key: &str, link: &Link, interfaces: &[HostInterface]) {
        let transport = link.transport.name();
        let interface = link.interface.as_deref();
        match interface {
            None => self.error(key, format!("this {transport} link names no `Interface'")),
            Some("lo") => self.warn(
                &format!("{key}.interface"),
                "this link is on loopback: it reaches no other node",
            ),
            Some(name) if !interfaces.iter().any(|i| i.name == name) => {
                let text =
                    format!("{name} is an invalid interface: there is none of this name now");
                self.wait(&format!("{key}.interface"), text);
            }
            Some(_) => {}
        }
        if link.port == 0 {
            let clause = if transport == "Multicast" {
                "Group"
            } else {
                "Port"
            };
            self.warn(
                key,
                format!("this {transport} link has no `{clause}': nothing can be received"),
            );
        }
        match &link.transport {
            Transport::Multicast { group: None, .. } => {
                self.error(
                    key,
                    "this Multicast link has no group: write `IPv4_address' or `IPv6_address'",
                );
            }
            Transport::Multicast {
                group: Some(group), ..
            } if !group.is_multicast() => {
                let text = format!("{group} is no multicast group");
                self.error(&format!("{key}.group"), text);
            }
            Transport::Multicast {
                group: Some(IpAddr::V4(_)),
                source: None,
            } => {
                let text = "this Multicast link has no `IPv4_interface': write the own address on its interface";
                self.error(key, text);
            }
            Transport::Multicast { source, .. } => {
                self.local(key, source.map(IpAddr::V4), interface, interfaces);
            }
            Transport::Udp { local, peer } | Transport::Tcp { local, peer, .. } => {
                self.local(key, *local, interface, interfaces);
                match (local, peer) {
                    (_, None) => {
                        let text = format!(
                            "this {transport} link has no address of the peer: nothing can be sent"
                        );
                        self.warn(key, text);
                    }
                    (Some(local), Some(peer)) if local.is_ipv4() != peer.is_ipv4() => {
                        let text = format!("{local} and {peer} are of different families");
                        self.error(&format!("{key}.peer_address"), text);
                    }
                    (Some(local), Some(peer)) if local == peer => {
                        let text = format!("{peer} is the address of both nodes");
                        self.warn(&format!("{key}.peer_address"), text);
                    }
                    _ => {}
                }
            }
        }
    }

    /// Compares an own address with those of the host.
    fn local(
        &mut self,
        key: &str,
        address: Option<IpAddr>,
        interface: Option<&str>,
        interfaces: &[HostInterface],
    ) {
        let Some(address) = address.filter(|address| !address.is_unspecified()) else {
            return;
        };
        let key = format!("{key}.local_address");
        let holders: Vec<_> = interfaces
            .iter()
            .filter(|i| i.addresses.contains(&address))
            .map(|i| i.name.as_str())
            .collect();
        let loopback = match address {
            IpAddr::V4(v4) => v4.is_loopback(),
            IpAddr::V6(v6) => v6.is_loopback(),
        };
        match interface {
            _ if holders.is_empty() && !loopback => {
                self.wait(&key, format!("{address} is no address of this host now"));
            }
            Some(name) if !holders.is_empty() && !holders.contains(&name) => {
                let on = holders.join(", ");
                self.warn(
                    &key,
                    format!("{address} is an address of {on}, but the link is on {name}"),
                );
            }
            _ => {}
        }
    }

    /// Warns of a link whose datagrams make entries that are sent over it.
    fn own_traffic(&mut self, key: &str, link: &Link) {
        let filter = &self.config.general.filter;
        let number = match link.transport {
            Transport::Tcp { .. } => protocol::TCP,
            Transport::Multicast { .. } | Transport::Udp { .. } => protocol::UDP,
        };
        if let Some((action, protocols)) = &filter.protocols
            && protocols.contains(&number) == (*action == Action::Ignore)
        {
            return;
        }
        let ends = match link.transport {
            Transport::Multicast { group, source } => [source.map(IpAddr::V4), group],
            Transport::Udp { local, peer } | Transport::Tcp { local, peer, .. } => [local, peer],
        };
        let listed = |end: IpAddr| {
            filter
                .addresses
                .iter()
                .any(|(_, nets)| nets.iter().any(|net| net.contains(end)))
        };
        let ends = || {
            ends.iter()
                .flatten()
                .copied()
                .filter(|end| !end.is_loopback())
        };
        let kept = match &filter.addresses {
            // Both ends are compared, and one in the list is enough.
            Some((Action::Ignore, _)) => !ends().any(listed),
            Some((Action::Accept, _)) => ends().any(listed),
            None => true,
        };
        let Some(end) = ends().next().filter(|_| kept) else {
            return;
        };
        let text = format!(
            "the traffic of this link is not filtered and may be replicated itself: list {end} under \
             `Address Ignore', or exempt the link from connection tracking"
        );
        self.warn(key, text);
    }

    fn general(&mut self, general: &General) {
        self.writable("general.log_file", "LogFile", general.log_file.as_deref());
        self.writable("general.lock_file", "LockFile", Some(&general.lock_file));
        self.writable("general.unix_path", "Path", general.unix_path.as_deref());
        if general.unix_path.is_none() {
            self.warn(
                "general",
                "there is no `UNIX { Path }': no client can reach the daemon",
            );
        }
        if general.hash_limit < general.hash_size {
            let text = format!(
                "`HashLimit' ({}) is below `HashSize' ({}): most buckets stay empty",
                general.hash_limit, general.hash_size
            );
            self.warn("general.hash_limit", text);
        }
        if let Some(most) = self.host.conntrack_max()
            && self.config.role != Role::Idle
            && general.hash_limit.get() < most
        {
            let text = format!(
                "`HashLimit' ({}) is below nf_conntrack_max ({most}): entries may be refused",
                general.hash_limit
            );
            self.warn("general.hash_limit", text);
        }
        self.events(general);
    }

    fn events(&mut self, general: &General) {
        let growth = general.netlink_buffer_max_len;
        match general.netlink_buffer_len {
            Some(size) if size.get() > growth => {
                let text = format!(
                    "`NetlinkBufferSize' ({size}) is greater than `NetlinkBufferSizeMaxGrowth' ({growth}): \
                     the system's size is used"
                );
                self.warn("general.netlink_buffer_bytes", text);
            }
            None if growth > 0 => {
                let text = "`NetlinkBufferSizeMaxGrowth' without `NetlinkBufferSize': the system's size is used";
                self.warn("general.netlink_buffer_max_growth_bytes", text);
            }
            _ => {}
        }
        if general.poll.is_none() {
            return;
        }
        if general.reliable_events {
            let text = "`NetlinkEventsReliable' has no effect with `PollSecs': there are no events";
            self.warn("general.netlink_events_reliable", text);
        }
        if general.filter_from == FilterFrom::Kernelspace {
            let text =
                "`Filter From Kernelspace' has no effect with `PollSecs': tables are filtered here";
            self.warn("general.filter", text);
        }
    }

    fn filter(&mut self, general: &General) {
        let filter = &general.filter;
        let drops_all = |list: Option<(Action, bool)>| list == Some((Action::Accept, true));
        let lists = [
            (
                "protocol",
                "Protocol",
                filter.protocols.as_ref().map(|(a, l)| (*a, l.is_empty())),
            ),
            (
                "address",
                "Address",
                filter.addresses.as_ref().map(|(a, l)| (*a, l.is_empty())),
            ),
            (
                "state",
                "State",
                filter.tcp_states.as_ref().map(|(a, l)| (*a, l.is_empty())),
            ),
        ];
        for (key, name, list) in lists {
            if drops_all(list) {
                let what = if key == "state" {
                    "TCP entries"
                } else {
                    "entries"
                };
                let text = format!("`{name} Accept' lists nothing: all {what} are dropped");
                self.warn(&format!("general.filter.{key}"), text);
            }
        }
    }

    fn writable(&mut self, key: &str, clause: &str, file: Option<&Path>) {
        if let Some(file) = file
            && !self.host.can_write(file)
        {
            self.error(
                key,
                format!("`{clause}' {} cannot be created", file.display()),
            );
        }
    }

    fn error(&mut self, key: &str, text: impl Into<String>) {
        self.find(Severity::Error, key, text.into());
    }

    fn wait(&mut self, key: &str, text: impl Into<String>) {
        self.find(Severity::Waiting, key, text.into());
    }

    fn warn(&mut self, key: &str, text: impl Into<String>) {
        self.find(Severity::Warning, key, text.into());
    }

    fn find(&mut self, severity: Severity, key: &str, text: String) {
        let place = match self.config.origin.source {
            Source::Builtin => None,
            // A clause that is missing is missing in the section around it.
            _ => self.config.origin.places.get(key).copied(),
        };
        self.findings.push(Finding {
            severity,
            place,
            text,
        });
    }
}

/// Whether two links cannot be told from each other.
fn collide(one: &Link, other: &Link) -> bool {
    one.interface.is_some()
        && one.interface == other.interface
        && one.port == other.port
        && one.transport == other.transport
}
