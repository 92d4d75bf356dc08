//! The usual line of an entry, and that of an expectation.

use std::io::Write as _;

use flow::{Counters, Expectation, Family, Flow, L4, ProtoInfo, Status, Tuple, Zone, protocol};

use super::{Entry, EventKind, Printer, text};
use crate::protocol as proto;

/// Appends the line without its end.
pub(super) fn flow(printer: &Printer, out: &mut Vec<u8>, entry: &Entry<'_>) {
    let flow = entry.flow;
    let style = &printer.style;
    if let Some(kind) = entry.event {
        out.extend_from_slice(match kind {
            EventKind::New => b"    [NEW] ",
            EventKind::Update => b" [UPDATE] ",
            EventKind::Destroy => b"[DESTROY] ",
        });
    }
    if style.extended {
        out.extend_from_slice(match flow.orig.family() {
            Family::Ipv4 => b"ipv4     2 ",
            Family::Ipv6 => b"ipv6     10 ",
        });
    }
    protocol_name(out, flow.orig.proto);
    if let Some(timeout_s) = flow.timeout_s {
        text::decimal(out, timeout_s);
        out.push(b' ');
    }
    if let Some(state) = state(&flow.proto) {
        out.extend_from_slice(state.as_bytes());
        out.push(b' ');
    }
    let zone = ZoneFields::new(flow.zone);
    tuple(out, "", &flow.orig);
    field(out, "zone-orig=", zone.orig);
    counters(out, flow.counters_orig.as_ref());
    let status = flow.status_bits();
    if flow.status.is_some() && !status.contains(Status::SEEN_REPLY) {
        out.extend_from_slice(b"[UNREPLIED] ");
    }
    tuple(out, "", &flow.reply_direction());
    field(out, "zone-reply=", zone.reply);
    counters(out, flow.counters_reply.as_ref());
    offload_and_assured(out, status);
    field(out, "mark=", flow.mark);
    if let Some(secctx) = entry.secctx {
        out.extend_from_slice(b"secctx=");
        out.extend_from_slice(secctx);
        out.push(b' ');
    }
    field(out, "zone=", zone.both);
    timestamps(printer, out, flow);
    if let Some(helper) = &flow.helper {
        out.extend_from_slice(b"helper=");
        out.extend_from_slice(helper.as_bytes());
        out.push(b' ');
    }
    field(out, "use=", flow.use_count);
    if style.id {
        field(out, "id=", flow.id);
    }
    labels(printer, out, flow);
    // Every field brought a blank with it.
    if out.last() == Some(&b' ') {
        out.pop();
    }
}

/// Appends `name=number` and a blank, when there is a number.
fn field(out: &mut Vec<u8>, name: &str, number: Option<impl Into<u64>>) {
    if let Some(number) = number {
        out.extend_from_slice(name.as_bytes());
        text::decimal(out, number);
        out.push(b' ');
    }
}

fn protocol_name(out: &mut Vec<u8>, number: u8) {
    text::word(out, proto::name(number).unwrap_or("unknown"), 8);
    out.push(b' ');
    text::decimal(out, number);
    out.push(b' ');
}

/// The name of the state, for protocols that have one and told it.
pub(super) fn state(proto: &ProtoInfo) -> Option<&'static str> {
    match proto {
        ProtoInfo::None => None,
        ProtoInfo::Tcp(tcp) => tcp.state.map(flow::TcpState::name),
        ProtoInfo::Sctp(sctp) => sctp.state.map(proto::sctp_state),
        ProtoInfo::Dccp(dccp) => dccp.state.map(proto::dccp_state),
    }
}

/// Zones in the places where they are shown.
pub(super) struct ZoneFields {
    pub(super) orig: Option<u16>,
    pub(super) reply: Option<u16>,
    pub(super) both: Option<u16>,
}

impl ZoneFields {
    pub(super) fn new(zone: Zone) -> Self {
        let told = |zone: u16| (zone != 0).then_some(zone);
        if zone.orig == zone.reply {
            Self {
                orig: None,
                reply: None,
                both: told(zone.orig),
            }
        } else {
            Self {
                orig: told(zone.orig),
                reply: told(zone.reply),
                both: None,
            }
        }
    }
}

fn tuple(out: &mut Vec<u8>, prefix: &str, tuple: &Tuple) {
    for (name, addr) in [("src=", tuple.src()), ("dst=", tuple.dst())] {
        out.extend_from_slice(prefix.as_bytes());
        out.extend_from_slice(name.as_bytes());
        text::address(out, addr);
        out.push(b' ');
    }
    l4(out, tuple);
}

/// Ports, keys or ICMP fields by the protocol: what was not told is 0.
fn l4(out: &mut Vec<u8>, tuple: &Tuple) {
    let (sport, dport) = (tuple.sport().unwrap_or(0), tuple.dport().unwrap_or(0));
    match tuple.proto {
        protocol::TCP | protocol::UDP | protocol::UDPLITE | protocol::SCTP | protocol::DCCP => {
            field(out, "sport=", Some(sport));
            field(out, "dport=", Some(dport));
        }
        protocol::GRE => {
            out.extend_from_slice(b"srckey=0x");
            text::hexadecimal(out, sport);
            out.extend_from_slice(b" dstkey=0x");
            text::hexadecimal(out, dport);
            out.push(b' ');
        }
        protocol::ICMP | protocol::ICMPV6 => {
            let (icmp_type, code, id) = icmp(tuple);
            field(out, "type=", Some(icmp_type));
            field(out, "code=", Some(code));
            field(out, "id=", Some(id));
        }
        _ => {}
    }
}

/// Type, code and identifier; 0 when there are none.
pub(super) fn icmp(tuple: &Tuple) -> (u8, u8, u16) {
    match tuple.l4 {
        L4::Icmp {
            id,
            icmp_type,
            code,
        } => (icmp_type, code, id),
        _ => (0, 0, 0),
    }
}

fn counters(out: &mut Vec<u8>, counters: Option<&Counters>) {
    if let Some(counters) = counters {
        field(out, "packets=", Some(counters.packets));
        field(out, "bytes=", Some(counters.bytes));
    }
}

fn offload_and_assured(out: &mut Vec<u8>, status: Status) {
    if status.contains(Status::HW_OFFLOAD) {
        out.extend_from_slice(b"[HW_OFFLOAD] ");
    } else if status.contains(Status::OFFLOAD) {
        out.extend_from_slice(b"[OFFLOAD] ");
    } else if status.contains(Status::ASSURED) {
        out.extend_from_slice(b"[ASSURED] ");
    }
}

fn timestamps(printer: &Printer, out: &mut Vec<u8>, flow: &Flow) {
    let Some(timestamp) = flow.timestamp else {
        return;
    };
    field(out, "delta-time=", Some(super::age_s(&timestamp)));
    if !printer.style.ktimestamp {
        return;
    }
    for (name, time_ns) in [
        ("[start=", Some(timestamp.start_ns)),
        ("[stop=", timestamp.stop_ns),
    ] {
        if let Some(time_ns) = time_ns {
            out.extend_from_slice(name.as_bytes());
            let time = printer.local_time(time_ns);
            // Writing to a vector cannot fail.
            let _ = write!(out, "{}", time.strftime("%a %b %e %H:%M:%S %Y"));
            out.extend_from_slice(b"] ");
        }
    }
}

fn labels(printer: &Printer, out: &mut Vec<u8>, flow: &Flow) {
    let (Some(map), Some(labels)) = (&printer.labels, &flow.labels) else {
        return;
    };
    if labels.is_empty() {
        return;
    }
    out.extend_from_slice(b"labels");
    for (number, name) in map.names_of(labels).enumerate() {
        out.push(if number == 0 { b'=' } else { b',' });
        out.extend_from_slice(name.as_bytes());
    }
    out.push(b' ');
}

/// Appends the line of an expectation without its end.
pub(super) fn expectation(out: &mut Vec<u8>, expectation: &Expectation) {
    if let Some(timeout_s) = expectation.timeout_s {
        text::decimal(out, timeout_s);
        out.push(b' ');
    }
    field(out, "proto=", Some(expectation.tuple.proto));
    tuple(out, "", &expectation.tuple);
    tuple(out, "mask-", &expectation.mask);
    tuple(out, "master-", &expectation.master);
    field(
        out,
        "zone=",
        Some(expectation.zone).filter(|&zone| zone != 0),
    );
    let flags = expectation.flags.unwrap_or(0);
    let names = super::expectation_flags(flags);
    for (number, name) in names.enumerate() {
        if number > 0 {
            out.push(b',');
        }
        out.extend_from_slice(name.as_bytes());
    }
    if super::expectation_flags(flags).next().is_some() {
        out.push(b' ');
    }
    field(out, "class=", expectation.class);
    if let Some(helper) = &expectation.helper {
        out.extend_from_slice(b"helper=");
        out.extend_from_slice(helper.as_bytes());
        out.push(b' ');
    }
    if out.last() == Some(&b' ') {
        out.pop();
    }
}
