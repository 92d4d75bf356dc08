//! From the configuration to what core and links need.

use std::num::NonZeroU32;
use std::time::Duration;

use config::{CacheUse, Config, ExpectationSync, Link, Mode, Role, Transport};
use engine::LiveSettings;
use engine::api::{self, ExternalMode, InternalMode, LinkSettings, Settings};

use crate::interfaces::Interface;
use crate::link::{Endpoint, Kind};

/// MTU of an interface that is not there yet.
const USUAL_MTU: u32 = 1500;

/// Smallest payload that the largest message fits.
const PAYLOAD_MIN: usize = 360;

/// The links as the driver needs them.
pub(crate) fn endpoints(config: &Config) -> Vec<Endpoint> {
    config.sync().map_or_else(Vec::new, |sync| {
        sync.active_links().iter().filter_map(endpoint).collect()
    })
}

fn endpoint(link: &Link) -> Option<Endpoint> {
    let kind = match link.transport {
        Transport::Multicast { group, source } => Kind::Multicast {
            group: group?,
            source: source.map(Into::into),
        },
        Transport::Udp { local, peer } => Kind::Udp { local, peer },
        Transport::Tcp {
            local,
            peer,
            error_queue_len,
        } => Kind::Tcp {
            local,
            peer,
            queue_max: error_queue_len.get() as usize,
        },
    };
    let len = |len: Option<NonZeroU32>| len.map(|len| len.get() as usize);
    Some(Endpoint {
        kind,
        interface: link.interface.clone().unwrap_or_default(),
        port: link.port,
        default: link.default,
        send_buffer: len(link.send_buffer_len),
        receive_buffer: len(link.receive_buffer_len),
        checksum: link.checksum,
    })
}

/// The configuration as the core needs it.
pub(crate) fn settings(
    config: &Config,
    endpoints: &[Endpoint],
    interfaces: &[Interface],
) -> Settings {
    let links = endpoints
        .iter()
        .map(|endpoint| LinkSettings {
            payload_len: payload_len(endpoint, interfaces),
            default: endpoint.default,
        })
        .collect();
    let live = live_settings(config);
    let general = &config.general;
    let mut settings = Settings {
        mode: api::Mode::Idle,
        internal: InternalMode::Cache,
        external: ExternalMode::Cache,
        links,
        native: api::NativeSettings::default(),
        standby: api::StandbySettings::default(),
        commit_timeout_s: live.commit_timeout_s,
        purge_timeout: live.purge_timeout,
        startup_resync: false,
        tcp_window_tracking: false,
        expectation_sync: api::ExpectationSync::Off,
        cache_limit: general.hash_limit.get() as usize,
        policy: api::PolicySettings {
            entries: config.policy.entries.clone(),
            max_entries: config.policy.max_entries.map(|max| max.get() as usize),
            resync_interval: config.policy.resync_interval,
        },
        filter: live.filter,
        overrun_resync: live.overrun_resync,
        poll: general.poll,
    };
    match &config.role {
        Role::Idle => {}
        Role::Statistics(_) => settings.mode = api::Mode::Statistics,
        Role::Sync(sync) => {
            settings.mode = mode(&sync.mode);
            if sync.internal_cache() == CacheUse::Disabled {
                settings.internal = InternalMode::Bypass;
            }
            if sync.external_cache() == CacheUse::Disabled {
                settings.external = ExternalMode::Inject;
            }
            settings.standby.inject = sync.standby_inject;
            if let Some(native) = &sync.native {
                settings.native = native_settings(native, &config.policy);
            }
            settings.startup_resync = sync.startup_resync();
            settings.tcp_window_tracking = sync.tcp_window_tracking;
            settings.expectation_sync = match &sync.expectation_sync {
                ExpectationSync::Off => api::ExpectationSync::Off,
                ExpectationSync::All => api::ExpectationSync::All,
                ExpectationSync::Helpers(names) => api::ExpectationSync::Helpers(names.clone()),
            };
        }
    }
    settings
}

fn native_settings(native: &config::Native, policy: &config::Policy) -> api::NativeSettings {
    let peers = native.peers.iter().map(|peer| api::PeerSettings {
        name: peer.name.clone(),
        policy: peer_policy(&peer.policy, policy),
    });
    api::NativeSettings {
        name: native.name.clone(),
        peers: peers.collect(),
        recover: native.recover,
    }
}

/// A peer's own policy; what that leaves out is as for all.
fn peer_policy(own: &config::PeerPolicy, for_all: &config::Policy) -> api::Policy {
    let (entries, common) = (own.entries.clone(), for_all.entries.clone());
    let max = own.max_entries.or(for_all.max_entries);
    api::Policy {
        entries: flow::Policy {
            addresses: entries.addresses.or(common.addresses),
            protocols: entries.protocols.or(common.protocols),
            tcp_states: entries.tcp_states.or(common.tcp_states),
            zones: entries.zones.or(common.zones),
        },
        mark_mask: own.mark_mask.unwrap_or(u32::MAX),
        entries_max: max.map(|max| max.get() as usize),
        rate_max: own.max_new_per_s.map(NonZeroU32::get),
    }
}

/// What may change while the daemon runs.
pub(crate) fn live_settings(config: &Config) -> LiveSettings {
    let sync = config.sync();
    let seconds = |time: Duration| u32::try_from(time.as_secs()).unwrap_or(u32::MAX);
    LiveSettings {
        filter: config.general.filter.clone(),
        commit_timeout_s: sync.and_then(|sync| sync.commit_timeout).map(seconds),
        purge_timeout: sync.map_or(Duration::from_secs(60), |sync| sync.purge_timeout),
        overrun_resync: config.general.overrun_resync,
    }
}

fn mode(mode: &Mode) -> api::Mode {
    match mode {
        Mode::Ftfw(ftfw) => api::Mode::Ftfw {
            resend_queue_len: ftfw.resend_queue_len.get() as usize,
            ack_window: ftfw.ack_window.get(),
        },
        Mode::Alarm(alarm) => api::Mode::Alarm {
            refresh: alarm.refresh,
            cache_timeout: alarm.cache_timeout,
        },
        Mode::Notrack(_) => api::Mode::Notrack,
    }
}

fn payload_len(endpoint: &Endpoint, interfaces: &[Interface]) -> usize {
    let interface = interfaces
        .iter()
        .find(|interface| interface.name == endpoint.interface);
    let mtu = interface.map_or(USUAL_MTU, |interface| interface.mtu);
    (mtu.saturating_sub(endpoint.header_len()) as usize).max(PAYLOAD_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_peers_policy_leaves_out_is_as_for_all() {
        let zones = |zone| flow::Policy {
            zones: Some(vec![zone]),
            ..flow::Policy::default()
        };
        let for_all = config::Policy {
            entries: flow::Policy {
                protocols: Some(vec![6]),
                ..zones(1)
            },
            max_entries: NonZeroU32::new(100),
            ..config::Policy::default()
        };
        let common = peer_policy(&config::PeerPolicy::default(), &for_all);
        assert_eq!(common.entries, for_all.entries);
        assert_eq!((common.mark_mask, common.rate_max), (u32::MAX, None));
        let own = config::PeerPolicy {
            entries: zones(4),
            mark_mask: Some(0xff),
            max_new_per_s: NonZeroU32::new(7),
            ..config::PeerPolicy::default()
        };
        let policy = peer_policy(&own, &for_all);
        assert_eq!(policy.entries.zones, Some(vec![4]));
        assert_eq!(policy.entries.protocols, Some(vec![6]));
        assert_eq!(policy.entries_max, Some(100));
        assert_eq!((policy.mark_mask, policy.rate_max), (0xff, Some(7)));
    }
}
