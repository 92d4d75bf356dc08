//! A configuration as lines of TOML.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use flow::filter::Network;
use flow::{Action, Family, TcpState};

use crate::native::{NATIVE_LISTEN, PeerPolicy};
use crate::protocols::usual_name;
use crate::schema::{
    ACK_WINDOW, CACHE_TIMEOUT, ERROR_QUEUE_LEN, LOG_FILE, PURGE_TIMEOUT, REFRESH_TIME,
    RESEND_QUEUE_LEN, STATS_LOG_FILE,
};
use crate::{
    CacheUse, Config, ExpectationSync, FilterFrom, General, Helper, HelperTransport, Link, Mode,
    Native, Policy, Role, Scheduler, Sync, Transport,
};

/// A line and the comments around it.
#[derive(Debug, Default)]
pub(crate) struct Line {
    /// Key of the value, as in [`crate::Origin::places`].
    pub(crate) key: String,
    /// The line itself. Only the last one is empty.
    pub(crate) text: String,
    pub(crate) indent: usize,
    pub(crate) is_header: bool,
    pub(crate) before: Vec<String>,
    pub(crate) behind: Vec<String>,
    pub(crate) after: Vec<String>,
}

/// All lines; the last is empty, so that there is one to hold on to.
pub(crate) fn lines(config: &Config) -> Vec<Line> {
    let mut page = Page {
        config,
        lines: Vec::new(),
    };
    if let Role::Sync(sync) = &config.role {
        page.sync(sync);
    }
    page.general(&config.general);
    page.policy(&config.policy);
    if let Role::Statistics(stats) = &config.role {
        page.header("stats", "[stats]");
        page.log("stats.log_file", stats.log_file.as_deref(), STATS_LOG_FILE);
        page.unless("stats.syslog", facility(stats.syslog), "false");
    }
    page.helpers();
    page.lines.push(Line::default());
    page.lines
}

struct Page<'a> {
    config: &'a Config,
    lines: Vec<Line>,
}

impl Page<'_> {
    fn sync(&mut self, sync: &Sync) {
        self.header("sync", "[sync]");
        self.always("sync.mode", quoted(&sync.mode.name().to_ascii_lowercase()));
        match &sync.mode {
            Mode::Ftfw(ftfw) => {
                self.unless(
                    "sync.resend_queue_size",
                    ftfw.resend_queue_len,
                    RESEND_QUEUE_LEN,
                );
                self.unless("sync.ack_window_size", ftfw.ack_window, ACK_WINDOW);
            }
            Mode::Alarm(alarm) => {
                self.seconds("sync.refresh_time_s", alarm.refresh, REFRESH_TIME);
                self.seconds("sync.cache_timeout_s", alarm.cache_timeout, CACHE_TIMEOUT);
            }
            Mode::Notrack(_) => {}
        }
        let commit_timeout = sync.commit_timeout.unwrap_or_default();
        self.seconds("sync.commit_timeout_s", commit_timeout, Duration::ZERO);
        self.seconds("sync.purge_timeout_s", sync.purge_timeout, PURGE_TIMEOUT);
        // Only where the mode has them: elsewhere they are refused.
        let disabled = |cache: CacheUse| cache == CacheUse::Disabled;
        if matches!(sync.mode, Mode::Notrack(_)) {
            let disabled = disabled(sync.internal_cache());
            self.unless("sync.disable_internal_cache", disabled, false);
        }
        if !matches!(sync.mode, Mode::Alarm(_)) {
            let disabled = disabled(sync.external_cache());
            self.unless("sync.disable_external_cache", disabled, false);
            self.unless("sync.startup_resync", sync.startup_resync(), false);
        }
        self.unless("sync.tcp_window_tracking", sync.tcp_window_tracking, false);
        match &sync.expectation_sync {
            ExpectationSync::Off => self.unless("sync.expectation_sync", false, false),
            ExpectationSync::All => self.always("sync.expectation_sync", true),
            ExpectationSync::Helpers(names) => {
                let names = names.iter().map(|name| quoted(name)).collect();
                self.list("sync.expectation_sync", "expectation_sync", names);
            }
        }
        for (at, link) in sync.links.iter().enumerate() {
            self.link(&format!("sync.link.{at}"), link);
        }
        if let Some(native) = &sync.native {
            self.native(native);
        }
        if sync.standby_inject || self.marked("standby.inject") {
            self.header("standby", "[standby]");
            self.always("standby.inject", sync.standby_inject);
        }
    }

    fn native(&mut self, native: &Native) {
        self.header("native", "[native]");
        self.always("native.name", quoted(&native.name));
        self.unless("native.listen", quoted(&native.listen.to_string()), {
            quoted(&NATIVE_LISTEN.to_string())
        });
        self.always("native.private_key_file", path(&native.private_key_file));
        self.unless("native.version_1", native.version_1, false);
        self.unless("native.recover", native.recover, false);
        for (at, peer) in native.peers.iter().enumerate() {
            let at = format!("peer.{at}");
            self.header(&at, "[[peer]]");
            self.always(&format!("{at}.name"), quoted(&peer.name));
            let addresses = peer.addresses.iter().map(|a| quoted(&a.to_string()));
            self.list(&format!("{at}.addresses"), "addresses", addresses.collect());
            let keys = peer.public_keys.iter().map(|key| quoted(&key.to_string()));
            self.list(&format!("{at}.public_keys"), "public_keys", keys.collect());
            self.peer_policy(&at, &peer.policy);
        }
    }

    fn peer_policy(&mut self, peer: &str, policy: &PeerPolicy) {
        if *policy == PeerPolicy::default() {
            return;
        }
        let at = format!("{peer}.policy");
        self.header(&at, "[peer.policy]");
        self.entries(&at, &policy.entries);
        if let Some(mask) = policy.mark_mask {
            self.always(&format!("{at}.mark_mask"), format!("{mask:#x}"));
        }
        let numbers = [
            ("max_entries", policy.max_entries),
            ("max_new_per_s", policy.max_new_per_s),
        ];
        for (key, number) in numbers {
            if let Some(number) = number {
                self.always(&format!("{at}.{key}"), number);
            }
        }
    }

    fn link(&mut self, at: &str, link: &Link) {
        self.header(at, "[[sync.link]]");
        let key = |key: &str| format!("{at}.{key}");
        self.always(
            &key("transport"),
            quoted(&link.transport.name().to_ascii_lowercase()),
        );
        if link.default {
            self.always(&key("default"), true);
        }
        match &link.transport {
            Transport::Multicast { group, source } => {
                self.address(&key("group"), *group);
                self.address(&key("local_address"), source.map(IpAddr::V4));
            }
            Transport::Udp { local, peer } | Transport::Tcp { local, peer, .. } => {
                self.address(&key("local_address"), *local);
                self.address(&key("peer_address"), *peer);
            }
        }
        self.unless(&key("port"), link.port, 0);
        if let Some(interface) = &link.interface {
            self.always(&key("interface"), quoted(interface));
        }
        let send_buffer = link.send_buffer_len.map_or(0, Into::into);
        self.unless(&key("send_buffer_bytes"), send_buffer, 0);
        let receive_buffer = link.receive_buffer_len.map_or(0, Into::into);
        self.unless(&key("receive_buffer_bytes"), receive_buffer, 0);
        self.unless(&key("checksum"), link.checksum, true);
        if let Transport::Tcp {
            error_queue_len, ..
        } = link.transport
        {
            self.unless(&key("error_queue_length"), error_queue_len, ERROR_QUEUE_LEN);
        }
    }

    fn general(&mut self, general: &General) {
        let usual = General::default();
        self.header("general", "[general]");
        self.unless("general.hash_size", general.hash_size, usual.hash_size);
        self.unless("general.hash_limit", general.hash_limit, usual.hash_limit);
        self.log("general.log_file", general.log_file.as_deref(), LOG_FILE);
        self.unless("general.syslog", facility(general.syslog), "false");
        self.unless(
            "general.log_level",
            quoted(general.log_level.name()),
            quoted(usual.log_level.name()),
        );
        if let Some(file) = &general.ready_file {
            self.always("general.ready_file", path(file));
        }
        if let Some(fifo) = &general.keepalived_fifo {
            self.always("general.keepalived_fifo", path(fifo));
        }
        if let Some(address) = &general.metrics {
            self.always("general.metrics", quoted(&address.to_string()));
        }
        self.unless(
            "general.lock_file",
            path(&general.lock_file),
            path(&usual.lock_file).as_str(),
        );
        if let Some(unix_path) = &general.unix_path {
            self.always("general.unix_path", path(unix_path));
        }
        if let Some(mode) = general.unix_mode {
            self.always("general.unix_mode", quoted(&format!("{mode:04o}")));
        }
        if let Some(group) = &general.unix_group {
            self.always("general.unix_group", quoted(group));
        }
        self.unless("general.sandbox", general.sandbox, true);
        let buffer = general.netlink_buffer_len.map_or(0, Into::into);
        self.unless("general.netlink_buffer_bytes", buffer, 0);
        let growth = general.netlink_buffer_max_len;
        self.unless("general.netlink_buffer_max_growth_bytes", growth, 0);
        let overrun = match general.overrun_resync {
            None => "false".to_owned(),
            Some(after) => after.as_secs().to_string(),
        };
        self.unless("general.netlink_overrun_resync_s", overrun, "30");
        self.unless(
            "general.netlink_events_reliable",
            general.reliable_events,
            false,
        );
        if let Some(poll) = general.poll {
            self.always("general.poll_s", poll.as_secs());
        }
        let limit = (general.event_iteration_limit, usual.event_iteration_limit);
        self.unless("general.event_iteration_limit", limit.0, limit.1);
        self.unless("general.systemd", general.systemd, true);
        self.scheduler(general.scheduler);
        self.filter(general);
    }

    fn policy(&mut self, policy: &Policy) {
        let usual = Policy::default();
        if *policy == usual && !self.marked("policy") {
            return;
        }
        self.header("policy", "[policy]");
        self.entries("policy", &policy.entries);
        if let Some(max) = policy.max_entries {
            self.always("policy.max_entries", max);
        }
        let intervals = (policy.resync_interval, usual.resync_interval);
        self.seconds("policy.resync_interval_s", intervals.0, intervals.1);
    }

    fn entries(&mut self, at: &str, entries: &flow::Policy) {
        self.allowed(at, "addresses", entries.addresses.as_ref(), network);
        self.allowed(at, "protocols", entries.protocols.as_ref(), protocol);
        self.allowed(at, "tcp_states", entries.tcp_states.as_ref(), tcp_state);
        self.allowed(at, "zones", entries.zones.as_ref(), u16::to_string);
    }

    fn allowed<T>(
        &mut self,
        at: &str,
        name: &str,
        items: Option<&Vec<T>>,
        show: impl Fn(&T) -> String,
    ) {
        if let Some(items) = items {
            let items = items.iter().map(show).collect();
            self.list(&format!("{at}.{name}"), name, items);
        }
    }

    fn scheduler(&mut self, scheduler: Scheduler) {
        let marked = self.marked("general.scheduler.type");
        if scheduler == Scheduler::default() && !marked {
            return;
        }
        self.header("general.scheduler", "[general.scheduler]");
        let (name, priority) = match scheduler {
            Scheduler::System => ("system", None),
            Scheduler::RoundRobin { priority } => ("rr", Some(priority)),
            Scheduler::Fifo { priority } => ("fifo", Some(priority)),
        };
        self.always("general.scheduler.type", quoted(name));
        if let Some(priority) = priority {
            self.always("general.scheduler.priority", priority);
        }
    }

    fn filter(&mut self, general: &General) {
        let filter = &general.filter;
        let from_kernel = general.filter_from == FilterFrom::Kernelspace;
        if filter.is_empty() && !from_kernel && !self.marked("general.filter") {
            return;
        }
        self.header("general.filter", "[general.filter]");
        let from = if from_kernel {
            "kernelspace"
        } else {
            "userspace"
        };
        self.always("general.filter.from", quoted(from));
        self.filter_list("protocol", filter.protocols.as_ref(), protocol);
        self.filter_list("address", filter.addresses.as_ref(), network);
        self.filter_list("state", filter.tcp_states.as_ref(), tcp_state);
    }

    fn filter_list<T>(
        &mut self,
        key: &str,
        list: Option<&(Action, Vec<T>)>,
        show: impl Fn(&T) -> String,
    ) {
        let Some((action, items)) = list else { return };
        let action = match action {
            Action::Accept => "accept",
            Action::Ignore => "ignore",
        };
        let items = items.iter().map(show).collect();
        self.list(
            &format!("general.filter.{key}"),
            &format!("{key}.{action}"),
            items,
        );
    }

    fn helpers(&mut self) {
        let helpers = &self.config.helpers;
        if helpers.setup || self.marked("helper.setup") {
            self.header("helper", "[helper]");
            self.always("helper.setup", helpers.setup);
        }
        for (at, helper) in helpers.helpers.iter().enumerate() {
            self.helper(&format!("helper.type.{at}"), helper);
        }
    }

    fn helper(&mut self, at: &str, helper: &Helper) {
        self.header(at, "[[helper.type]]");
        let key = |key: &str| format!("{at}.{key}");
        self.always(&key("name"), quoted(&helper.name));
        let family = match helper.family {
            Family::Ipv4 => "inet",
            Family::Ipv6 => "inet6",
        };
        self.always(&key("family"), quoted(family));
        let transport = match helper.transport {
            HelperTransport::Tcp => "tcp",
            HelperTransport::Udp => "udp",
        };
        self.always(&key("transport"), quoted(transport));
        self.unless(&key("queue_num"), helper.queue_num, 0);
        self.unless(&key("queue_len"), helper.queue_len, 0);
        for (number, policy) in helper.policies.iter().enumerate() {
            let at = format!("{at}.policy.{number}");
            self.header(&at, "[[helper.type.policy]]");
            self.always(&format!("{at}.name"), quoted(&policy.name));
            if let Some(max) = policy.expect_max {
                self.always(&format!("{at}.expect_max"), max);
            }
            if let Some(timeout) = policy.expect_timeout {
                self.always(&format!("{at}.expect_timeout_s"), timeout.as_secs());
            }
        }
    }
}

/// Lines.
impl Page<'_> {
    fn marked(&self, key: &str) -> bool {
        self.config.origin.places.contains_key(key)
    }

    fn header(&mut self, key: &str, text: &str) {
        let (key, text) = (key.to_owned(), text.to_owned());
        self.lines.push(Line {
            key,
            text,
            is_header: true,
            ..Line::default()
        });
    }

    fn always(&mut self, key: &str, value: impl ToString) {
        let name = key.rsplit('.').next().unwrap_or(key);
        let text = format!("{name} = {}", value.to_string());
        self.lines.push(Line {
            key: key.to_owned(),
            text,
            ..Line::default()
        });
    }

    /// The value, unless it is the default and has not been written down.
    fn unless<V: ToString + PartialEq<D>, D>(&mut self, key: &str, value: V, default: D) {
        if value != default || self.marked(key) {
            self.always(key, value);
        }
    }

    fn seconds(&mut self, key: &str, value: Duration, default: Duration) {
        self.unless(key, value.as_secs(), default.as_secs());
    }

    fn address(&mut self, key: &str, address: Option<IpAddr>) {
        if let Some(address) = address {
            self.always(key, quoted(&address.to_string()));
        }
    }

    fn log(&mut self, key: &str, file: Option<&Path>, usual: &str) {
        let value = match file {
            None => "false".to_owned(),
            Some(file) if file == Path::new(usual) => "true".to_owned(),
            Some(file) => path(file),
        };
        self.unless(key, value, "false");
    }

    fn list(&mut self, key: &str, name: &str, items: Vec<String>) {
        let key = key.to_owned();
        if items.is_empty() {
            self.lines.push(Line {
                key,
                text: format!("{name} = []"),
                ..Line::default()
            });
            return;
        }
        let open = Line {
            key: key.clone(),
            text: format!("{name} = ["),
            ..Line::default()
        };
        self.lines.push(open);
        for (at, item) in items.into_iter().enumerate() {
            let (key, text) = (format!("{key}.{at}"), format!("{item},"));
            self.lines.push(Line {
                key,
                text,
                indent: 4,
                ..Line::default()
            });
        }
        self.lines.push(Line {
            text: "]".to_owned(),
            ..Line::default()
        });
    }
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

fn path(path: &Path) -> String {
    quoted(&path.to_string_lossy())
}

fn facility(facility: Option<crate::Facility>) -> String {
    match facility {
        None => "false".to_owned(),
        Some(crate::Facility::Daemon) => "true".to_owned(),
        Some(facility) => quoted(facility.name()),
    }
}

fn protocol(number: &u8) -> String {
    match usual_name(*number) {
        Some(name) => quoted(name),
        None => number.to_string(),
    }
}

fn tcp_state(state: &TcpState) -> String {
    match state {
        TcpState::SynSent2 => quoted("LISTEN"),
        state => quoted(state.name()),
    }
}

/// With its length unless it is a single address; `32` and `128` are left out.
fn network(network: &Network) -> String {
    if *network == Network::host(network.addr) {
        quoted(&network.addr.to_string())
    } else {
        quoted(&format!("{}/{}", network.addr, network.prefix_len))
    }
}
