//! Entries as lines of words: `-i`, `-e`, and the kernel's table where there is no internal cache.

use flow::{Counters, Expectation, Flow, L4, Status, Tuple};

use crate::bytes::put_name;
use crate::names::{Layer4, protocol_layer4, protocol_name, state_name};
use crate::request::Side;

/// How long an entry has been in its cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lifetime {
    /// Seconds since it was put there.
    pub active_s: u64,
    /// Seconds until it is removed unless the peer repeats it; only in ALARM mode and only of the peer's
    /// entries.
    pub expires_s: Option<u64>,
}

/// Appends the line of a cached connection. `now_s` is the time in seconds since 1970.
///
/// Of the peer's entries the original direction alone: the reply is not transmitted.
pub fn flow(out: &mut Vec<u8>, flow: &Flow, side: Side, lifetime: Lifetime, now_s: u64) {
    let reply = match side {
        Side::Internal => flow.reply.as_ref(),
        Side::External => None,
    };
    entry(out, flow, reply, Parts::default(), now_s);
    end(out, lifetime);
}

/// Appends the line of a cached expectation.
pub fn expectation(out: &mut Vec<u8>, expectation: &Expectation, lifetime: Lifetime) {
    expectation_body(out, expectation);
    end(out, lifetime);
}

/// Appends the line of an entry of the kernel, for `-i` without internal cache. `now_s` is the time in
/// seconds since 1970.
pub fn kernel_flow(out: &mut Vec<u8>, flow: &Flow, now_s: u64) {
    let parts = Parts {
        timeout: true,
        counters: true,
    };
    entry(out, flow, flow.reply.as_ref(), parts, now_s);
    if let Some(use_count) = flow.use_count {
        put!(out, " use={use_count}");
    }
    out.push(b'\n');
}

/// Appends the line of an expectation of the kernel, for `-i expect` without internal cache.
pub fn kernel_expectation(out: &mut Vec<u8>, expectation: &Expectation) {
    if let Some(timeout_s) = expectation.timeout_s {
        put!(out, "{timeout_s} ");
    }
    expectation_body(out, expectation);
    out.push(b'\n');
}

/// The parts of an entry that only some listings show.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Parts {
    pub(crate) timeout: bool,
    pub(crate) counters: bool,
}

/// Appends an entry without what follows it on its line.
pub(crate) fn entry(
    out: &mut Vec<u8>,
    flow: &Flow,
    reply: Option<&Tuple>,
    parts: Parts,
    now_s: u64,
) {
    put!(
        out,
        "{:<8} {}",
        protocol_name(flow.orig.proto),
        flow.orig.proto
    );
    if let (true, Some(timeout_s)) = (parts.timeout, flow.timeout_s) {
        put!(out, " {timeout_s}");
    }
    if let Some(state) = state_name(&flow.proto) {
        put!(out, " {state}");
    }
    let zones = Zones::of(flow);
    direction(out, &flow.orig);
    if let Some(zone) = zones.orig {
        put!(out, " zone-orig={zone}");
    }
    counters(out, flow.counters_orig, parts);
    if flow
        .status
        .is_some_and(|status| !status.contains(Status::SEEN_REPLY))
    {
        put!(out, " [UNREPLIED]");
    }
    if let Some(reply) = reply {
        direction(out, reply);
        if let Some(zone) = zones.reply {
            put!(out, " zone-reply={zone}");
        }
        counters(out, flow.counters_reply, parts);
    }
    if let Some(word) = fate(flow.status_bits()) {
        put!(out, " [{word}]");
    }
    if let Some(mark) = flow.mark {
        put!(out, " mark={mark}");
    }
    if let Some(zone) = zones.both {
        put!(out, " zone={zone}");
    }
    if let Some(age_s) = age_s(flow, now_s) {
        put!(out, " delta-time={age_s}");
    }
    if let Some(helper) = &flow.helper {
        put!(out, " helper=");
        put_name(out, helper.as_bytes());
    }
}

/// Zones as they are shown: one for both directions, or one for a direction; never the default zone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Zones {
    pub(crate) both: Option<u16>,
    pub(crate) orig: Option<u16>,
    pub(crate) reply: Option<u16>,
}

impl Zones {
    pub(crate) fn of(flow: &Flow) -> Self {
        let shown = |zone: u16| (zone != 0).then_some(zone);
        if flow.zone.orig == flow.zone.reply {
            Self {
                both: shown(flow.zone.orig),
                orig: None,
                reply: None,
            }
        } else {
            Self {
                both: None,
                orig: shown(flow.zone.orig),
                reply: shown(flow.zone.reply),
            }
        }
    }
}

/// Seconds that a connection has lived, where the kernel keeps its start.
pub(crate) fn age_s(flow: &Flow, now_s: u64) -> Option<u64> {
    let timestamp = flow.timestamp?;
    let until_s = timestamp
        .stop_ns
        .map_or(now_s, |stop_ns| stop_ns / 1_000_000_000);
    Some(until_s.saturating_sub(timestamp.start_ns / 1_000_000_000))
}

/// What will keep the entry, or has taken it over.
fn fate(status: Status) -> Option<&'static str> {
    if status.contains(Status::HW_OFFLOAD) {
        Some("HW_OFFLOAD")
    } else if status.contains(Status::OFFLOAD) {
        Some("OFFLOAD")
    } else if status.contains(Status::ASSURED) {
        Some("ASSURED")
    } else {
        None
    }
}

fn direction(out: &mut Vec<u8>, tuple: &Tuple) {
    put!(out, " src={} dst={}", tuple.src(), tuple.dst());
    layer4(out, tuple);
}

fn counters(out: &mut Vec<u8>, counters: Option<Counters>, parts: Parts) {
    if let (true, Some(counters)) = (parts.counters, counters) {
        put!(
            out,
            " packets={} bytes={}",
            counters.packets,
            counters.bytes
        );
    }
}

fn layer4(out: &mut Vec<u8>, tuple: &Tuple) {
    match (tuple.l4, protocol_layer4(tuple.proto)) {
        (L4::None, Layer4::None) => {}
        // compat: what is not known reads as zero.
        (L4::None, Layer4::Icmp) => put!(out, " type=0 code=0 id=0"),
        (L4::None, Layer4::Keys) => put!(out, " srckey=0x0 dstkey=0x0"),
        (L4::None, Layer4::Ports) => put!(out, " sport=0 dport=0"),
        (L4::Ports { src, dst }, Layer4::Keys) => {
            put!(out, " srckey=0x{src:x} dstkey=0x{dst:x}");
        }
        (L4::Ports { src, dst }, _) => put!(out, " sport={src} dport={dst}"),
        (
            L4::Icmp {
                id,
                icmp_type,
                code,
            },
            _,
        ) => {
            put!(out, " type={icmp_type} code={code} id={id}");
        }
    }
}

pub(crate) fn expectation_body(out: &mut Vec<u8>, expectation: &Expectation) {
    put!(out, "proto={}", expectation.tuple.proto);
    for (prefix, tuple) in [
        ("", &expectation.tuple),
        ("mask-", &expectation.mask),
        ("master-", &expectation.master),
    ] {
        put!(
            out,
            " {prefix}src={} {prefix}dst={}",
            tuple.src(),
            tuple.dst()
        );
        layer4(out, tuple);
    }
    expectation_flags(out, expectation.flags.unwrap_or_default());
    if let Some(class) = expectation.class {
        put!(out, " class={class}");
    }
    if let Some(helper) = &expectation.helper {
        put!(out, " helper=");
        put_name(out, helper.as_bytes());
    }
}

fn expectation_flags(out: &mut Vec<u8>, flags: u32) {
    let mut separator = ' ';
    for (bit, name) in [(1, "PERMANENT"), (2, "INACTIVE"), (4, "USERSPACE")] {
        if flags & bit != 0 {
            put!(out, "{separator}{name}");
            separator = ',';
        }
    }
}

fn end(out: &mut Vec<u8>, lifetime: Lifetime) {
    if let Some(expires_s) = lifetime.expires_s {
        put!(out, " [expires in {expires_s}s]");
    }
    put!(out, " [active since {}s]\n", lifetime.active_s);
}
