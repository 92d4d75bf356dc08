//! Capabilities: what writing to connection tracking takes, and no way to get more.

use caps::{CapSet, Capability, CapsHashSet};
use config::{Config, MetricsAddress, Transport};

/// Ports below this one are for whoever has `CAP_NET_BIND_SERVICE`.
const FIRST_FREE_PORT: u16 = 1024;

/// Gives up all capabilities but those needed from now on, in every set.
///
/// # Errors
/// The kernel refused.
pub(super) fn limit(config: &Config) -> Result<(), caps::errors::CapsError> {
    let had = caps::read(None, CapSet::Permitted)?;
    let kept: CapsHashSet = needed(config).intersection(&had).copied().collect();
    if had.contains(&Capability::CAP_SETPCAP) {
        for capability in caps::all() {
            // Those that this kernel does not know are in no set.
            if !kept.contains(&capability) && caps::has_cap(None, CapSet::Bounding, capability)? {
                caps::drop(None, CapSet::Bounding, capability)?;
            }
        }
    }
    caps::clear(None, CapSet::Ambient)?;
    caps::set(None, CapSet::Effective, &kept)?;
    caps::set(None, CapSet::Permitted, &kept)?;
    caps::clear(None, CapSet::Inheritable)
}

/// Connection tracking, forced buffer sizes and link options; links with a low port are opened again when their
/// interface comes back.
fn needed(config: &Config) -> CapsHashSet {
    let mut needed = CapsHashSet::from([Capability::CAP_NET_ADMIN]);
    if ports(config).any(|port| port < FIRST_FREE_PORT) {
        needed.insert(Capability::CAP_NET_BIND_SERVICE);
    }
    needed
}

fn ports(config: &Config) -> impl Iterator<Item = u16> {
    let links = config.sync().map_or(&[][..], |sync| &sync.links);
    links.iter().map(|link| link.port).chain(tcp_ports(config))
}

/// TCP ports that are listened on.
pub(super) fn tcp_ports(config: &Config) -> impl Iterator<Item = u16> {
    let links = config.sync().map_or(&[][..], |sync| &sync.links);
    let metrics = match &config.general.metrics {
        Some(MetricsAddress::Loopback(address)) => Some(address.port()),
        _ => None,
    };
    links
        .iter()
        .filter(|link| matches!(link.transport, Transport::Tcp { .. }))
        .map(|link| link.port)
        .chain(metrics)
}
