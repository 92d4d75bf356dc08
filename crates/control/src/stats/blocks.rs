//! The blocks that pages are made of. Each ends in an empty line.

use engine::snapshot::{
    CacheStats, ExternalStats, InternalStats, KernelStats, QueueStats, ReceiveStats,
};

use super::{LinkStats, Transport};

pub(super) fn internal_short(out: &mut Vec<u8>, name: &str, stats: &InternalStats) {
    match stats {
        InternalStats::Cache(cache) => cache_short(out, name, cache),
        InternalStats::Bypass(bypass) => put!(
            out,
            "internal bypass:\n\
             connections new:\t\t{:12}\n\
             connections updated:\t\t{:12}\n\
             connections destroyed:\t\t{:12}\n\n",
            bypass.new,
            bypass.updated,
            bypass.destroyed
        ),
    }
}

pub(super) fn external_short(out: &mut Vec<u8>, stats: &ExternalStats) {
    match stats {
        ExternalStats::Cache(cache) => cache_short(out, "external", cache),
        ExternalStats::Inject(inject) => {
            put!(out, "external inject:\n");
            outcomes(
                out,
                [inject.created, inject.updated, inject.destroyed],
                [
                    inject.create_failed,
                    inject.update_failed,
                    inject.destroy_failed,
                ],
            );
        }
    }
}

fn cache_short(out: &mut Vec<u8>, name: &str, cache: &CacheStats) {
    put!(
        out,
        "cache {name}:\ncurrent active connections:\t{:12}\n",
        cache.active
    );
    outcomes(
        out,
        [cache.created, cache.updated, cache.destroyed],
        [
            cache.create_failed,
            cache.update_failed,
            cache.destroy_failed,
        ],
    );
}

fn outcomes(out: &mut Vec<u8>, done: [u64; 3], failed: [u64; 3]) {
    for ((what, done), failed) in ["created", "updated", "destroyed"]
        .iter()
        .zip(done)
        .zip(failed)
    {
        put!(
            out,
            "connections {what}:\t\t{done:12}\tfailed:\t{failed:12}\n"
        );
    }
    put!(out, "\n");
}

pub(super) fn internal_extended(out: &mut Vec<u8>, name: &str, stats: &InternalStats) {
    match stats {
        InternalStats::Cache(cache) => cache_extended(out, name, cache),
        InternalStats::Bypass(_) => internal_short(out, name, stats),
    }
}

pub(super) fn external_extended(out: &mut Vec<u8>, stats: &ExternalStats) {
    match stats {
        ExternalStats::Cache(cache) => cache_extended(out, "external", cache),
        ExternalStats::Inject(_) => external_short(out, stats),
    }
}

fn cache_extended(out: &mut Vec<u8>, name: &str, cache: &CacheStats) {
    // What is refused for another reason than a full cache is refused for want of memory. Updates and
    // removals fail for one reason only.
    put!(
        out,
        "cache:{name}\tactive objects:\t\t{:12}\n\
         \tactive/total entries:\t\t{:12}/{:12}\n\
         \tcreation OK/failed:\t\t{:12}/{:12}\n\
         \t\tno memory available:\t{:12}\n\
         \t\tno space left in cache:\t{:12}\n\
         \tupdate OK/failed:\t\t{:12}/{:12}\n\
         \t\tentry not found:\t{:12}\n\
         \tdeletion created/failed:\t{:12}/{:12}\n\
         \t\tentry not found:\t{:12}\n\n",
        cache.objects,
        cache.active,
        cache.total,
        cache.created,
        cache.create_failed,
        cache.create_failed.saturating_sub(cache.no_space),
        cache.no_space,
        cache.updated,
        cache.update_failed,
        cache.update_failed,
        cache.destroyed,
        cache.destroy_failed,
        cache.destroy_failed
    );
}

pub(super) fn traffic(out: &mut Vec<u8>, kernel: &KernelStats) {
    put!(
        out,
        "traffic processed:\n{:20} Bytes      {:20} Pckts\n\n",
        kernel.traffic_bytes,
        kernel.traffic_packets
    );
}

pub(super) fn tracking(out: &mut Vec<u8>, receive: &ReceiveStats) {
    put!(
        out,
        "message tracking:\n{:20} Malformed msgs {:20} Lost msgs\n\n",
        receive.malformed(),
        receive.lost
    );
}

pub(super) fn network(out: &mut Vec<u8>, receive: &ReceiveStats) {
    put!(
        out,
        "network statistics:\n\
         \trecv:\n\
         \t\tMalformed messages:\t{:20}\n\
         \t\tWrong protocol version:\t{:20}\n\
         \t\tMalformed header:\t{:20}\n\
         \t\tMalformed payload:\t{:20}\n\
         \t\tBad message type:\t{:20}\n\
         \t\tTruncated message:\t{:20}\n\
         \t\tBad message size:\t{:20}\n\
         \tsend:\n\
         \t\tMalformed messages:\t{:20}\n\n\
         sequence tracking statistics:\n\
         \trecv:\n\
         \t\tPackets lost:\t\t{:20}\n\
         \t\tPackets before:\t\t{:20}\n\n",
        receive.malformed(),
        receive.wrong_version,
        receive.malformed_header,
        receive.malformed_payload,
        receive.bad_type,
        receive.truncated,
        receive.bad_size,
        0,
        receive.lost,
        receive.before
    );
}

pub(super) fn active_link(out: &mut Vec<u8>, link: &LinkStats<'_>) {
    let name = transport_name(link.transport);
    put!(out, "{name} traffic (active device={})", link.interface);
    if let Transport::Tcp {
        server_connected,
        client_connected,
    } = link.transport
    {
        let state = |connected| {
            if connected {
                "connected"
            } else {
                "disconnected"
            }
        };
        put!(
            out,
            " server={} client={}",
            state(server_connected),
            state(client_connected)
        );
    }
    put!(out, ":\n");
    link_counters(out, link);
}

pub(super) fn link(out: &mut Vec<u8>, link: &LinkStats<'_>, active: bool) {
    let name = transport_name(link.transport);
    let status = match (link.state.up, link.state.running) {
        (false, _) => "DOWN",
        (true, false) => "NO-CARRIER",
        (true, true) => "RUNNING",
    };
    let role = if active { "ACTIVE" } else { "BACKUP" };
    put!(
        out,
        "{name} traffic device={} status={status} role={role}:\n",
        link.interface
    );
    link_counters(out, link);
}

fn transport_name(transport: Transport) -> &'static str {
    match transport {
        Transport::Udp => "UDP",
        Transport::Multicast => "multicast",
        Transport::Tcp { .. } => "TCP",
    }
}

fn link_counters(out: &mut Vec<u8>, link: &LinkStats<'_>) {
    put!(
        out,
        "{:20} Bytes sent {:20} Bytes recv\n\
         {:20} Pckts sent {:20} Pckts recv\n\
         {:20} Error send {:20} Error recv\n\n",
        link.sent_bytes,
        link.received_bytes,
        link.sent_packets,
        link.received_packets,
        link.send_errors,
        link.receive_errors
    );
}

/// What the original shows as the size of a queue that has none.
const UNLIMITED: u64 = 2_147_483_647;

pub(super) fn queue(out: &mut Vec<u8>, name: &str, queue: &QueueStats) {
    let max = if queue.max == 0 { UNLIMITED } else { queue.max };
    put!(
        out,
        "queue {name}:\n\
         current elements:\t\t{:12}\n\
         maximum elements:\t\t{max:12}\n\
         not enough space errors:\t{:12}\n\n",
        queue.len,
        queue.overflows
    );
}
