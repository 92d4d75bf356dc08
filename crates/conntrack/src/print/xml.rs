//! An entry or an expectation as one line of XML.

use std::fmt::Write as _;

use flow::{Expectation, Family, Flow, Status, Tuple, protocol};

use super::{Entry, EventKind, Printer, plain, text};
use crate::protocol as proto;

/// What precedes the first element.
pub(super) const HEAD: &[u8] = b"<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<conntrack>\n";
/// What follows the last element.
pub(super) const TAIL: &[u8] = b"</conntrack>\n";

/// The same of a document of expectations.
pub(super) const EXPECT_HEAD: &[u8] = b"<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<expect>\n";

/// The same of a document of expectations.
pub(super) const EXPECT_TAIL: &[u8] = b"</expect>\n";

/// Appends the element of an entry.
pub(super) fn flow(printer: &Printer, out: &mut Vec<u8>, entry: &Entry<'_>) {
    let flow = entry.flow;
    out.extend_from_slice(match entry.event {
        None => b"<flow>",
        Some(EventKind::New) => b"<flow type=\"new\">",
        Some(EventKind::Update) => b"<flow type=\"update\">",
        Some(EventKind::Destroy) => b"<flow type=\"destroy\">",
    });
    let zone = plain::ZoneFields::new(flow.zone);
    for (direction, tuple, zone, counters) in [
        ("original", flow.orig, zone.orig, flow.counters_orig),
        (
            "reply",
            flow.reply_direction(),
            zone.reply,
            flow.counters_reply,
        ),
    ] {
        out.extend_from_slice(b"<meta direction=\"");
        out.extend_from_slice(direction.as_bytes());
        out.extend_from_slice(b"\">");
        layers(out, &tuple);
        element(out, "zone", zone);
        if let Some(counters) = counters {
            out.extend_from_slice(b"<counters>");
            element(out, "packets", Some(counters.packets));
            element(out, "bytes", Some(counters.bytes));
            out.extend_from_slice(b"</counters>");
        }
        out.extend_from_slice(b"</meta>");
    }
    independent(printer, out, entry, zone.both);
    if entry.event.is_some() && printer.style.timestamp {
        when(printer, out);
    }
    if let Some(helper) = &flow.helper {
        text_element(out, "helper", helper.as_bytes());
    }
    out.extend_from_slice(b"</flow>");
}

fn open(out: &mut Vec<u8>, name: &str) {
    out.push(b'<');
    out.extend_from_slice(name.as_bytes());
    out.push(b'>');
}

fn close(out: &mut Vec<u8>, name: &str) {
    out.extend_from_slice(b"</");
    out.extend_from_slice(name.as_bytes());
    out.push(b'>');
}

fn element(out: &mut Vec<u8>, name: &str, number: Option<impl Into<u64>>) {
    if let Some(number) = number {
        open(out, name);
        text::decimal(out, number);
        close(out, name);
    }
}

fn text_element(out: &mut Vec<u8>, name: &str, content: &[u8]) {
    open(out, name);
    for &byte in content {
        match byte {
            b'&' => out.extend_from_slice(b"&amp;"),
            b'<' => out.extend_from_slice(b"&lt;"),
            b'>' => out.extend_from_slice(b"&gt;"),
            byte => out.push(byte),
        }
    }
    close(out, name);
}

fn layer3(out: &mut Vec<u8>, tuple: &Tuple) {
    out.extend_from_slice(match tuple.family() {
        Family::Ipv4 => b"<layer3 protonum=\"2\" protoname=\"ipv4\">",
        Family::Ipv6 => b"<layer3 protonum=\"10\" protoname=\"ipv6\">",
    });
}

fn layer4(out: &mut Vec<u8>, tuple: &Tuple) {
    out.extend_from_slice(b"<layer4 protonum=\"");
    text::decimal(out, tuple.proto);
    out.extend_from_slice(b"\" protoname=\"");
    out.extend_from_slice(proto::name(tuple.proto).unwrap_or("unknown").as_bytes());
    out.extend_from_slice(b"\">");
}

fn addresses(out: &mut Vec<u8>, tuple: &Tuple) {
    for (name, addr) in [("src", tuple.src()), ("dst", tuple.dst())] {
        open(out, name);
        text::address(out, addr);
        close(out, name);
    }
}

fn ports(out: &mut Vec<u8>, tuple: &Tuple) {
    let (sport, dport) = (tuple.sport().unwrap_or(0), tuple.dport().unwrap_or(0));
    match tuple.proto {
        protocol::TCP | protocol::UDP | protocol::UDPLITE | protocol::SCTP | protocol::DCCP => {
            element(out, "sport", Some(sport));
            element(out, "dport", Some(dport));
        }
        protocol::GRE => {
            for (name, key) in [("srckey", sport), ("dstkey", dport)] {
                open(out, name);
                out.extend_from_slice(b"0x");
                text::hexadecimal(out, key);
                close(out, name);
            }
        }
        _ => {}
    }
}

fn layers(out: &mut Vec<u8>, tuple: &Tuple) {
    layer3(out, tuple);
    addresses(out, tuple);
    out.extend_from_slice(b"</layer3>");
    layer4(out, tuple);
    ports(out, tuple);
    out.extend_from_slice(b"</layer4>");
}

fn independent(printer: &Printer, out: &mut Vec<u8>, entry: &Entry<'_>, zone: Option<u16>) {
    let flow = entry.flow;
    out.extend_from_slice(b"<meta direction=\"independent\">");
    if let Some(state) = plain::state(&flow.proto) {
        text_element(out, "state", state.as_bytes());
    }
    element(out, "timeout", flow.timeout_s);
    element(out, "mark", flow.mark);
    labels(printer, out, flow);
    if let Some(secctx) = entry.secctx {
        text_element(out, "secctx", secctx);
    }
    element(out, "zone", zone);
    element(out, "use", flow.use_count);
    element(out, "id", flow.id);
    let status = flow.status_bits();
    if status.contains(Status::ASSURED) {
        out.extend_from_slice(b"<assured/>");
    }
    if flow.status.is_some() && !status.contains(Status::SEEN_REPLY) {
        out.extend_from_slice(b"<unreplied/>");
    }
    if let Some(timestamp) = &flow.timestamp {
        if printer.style.ktimestamp {
            out.extend_from_slice(b"<timestamp>");
            element(out, "start", Some(timestamp.start_ns));
            element(out, "stop", timestamp.stop_ns);
            out.extend_from_slice(b"</timestamp>");
        }
        element(out, "deltatime", Some(super::age_s(timestamp)));
    }
    out.extend_from_slice(b"</meta>");
}

fn labels(printer: &Printer, out: &mut Vec<u8>, flow: &Flow) {
    let (Some(map), Some(labels)) = (&printer.labels, &flow.labels) else {
        return;
    };
    if labels.is_empty() {
        return;
    }
    out.extend_from_slice(b"<labels>");
    for name in map.names_of(labels) {
        text_element(out, "label", name.as_bytes());
    }
    out.extend_from_slice(b"</labels>");
}

/// The present moment in local time.
fn when(printer: &Printer, out: &mut Vec<u8>) {
    let now = printer.local_time(super::now_ns());
    let mut told = String::new();
    // Writing to a string cannot fail.
    let _ = write!(
        told,
        "<when><hour>{}</hour><min>{:02}</min><sec>{:02}</sec><wday>{}</wday><day>{}</day>\
         <month>{}</month><year>{}</year></when>",
        now.hour(),
        now.minute(),
        now.second(),
        now.weekday().to_sunday_one_offset(),
        now.day(),
        now.month(),
        now.year()
    );
    out.extend_from_slice(told.as_bytes());
}

/// Appends the element of an expectation.
pub(super) fn expectation(
    printer: &Printer,
    out: &mut Vec<u8>,
    expectation: &Expectation,
    event: Option<EventKind>,
) {
    let parts = [
        ("expected", &expectation.tuple),
        ("mask", &expectation.mask),
        ("master", &expectation.master),
    ];
    out.extend_from_slice(match event {
        None => b"<flow>",
        Some(EventKind::New) => b"<flow type=\"new\">",
        Some(EventKind::Update) => b"<flow type=\"update\">",
        Some(EventKind::Destroy) => b"<flow type=\"destroy\">",
    });
    layer3(out, &expectation.tuple);
    for (name, tuple) in parts {
        open(out, name);
        addresses(out, tuple);
        close(out, name);
    }
    out.extend_from_slice(b"</layer3>");
    layer4(out, &expectation.tuple);
    for (name, tuple) in parts {
        open(out, name);
        ports(out, tuple);
        close(out, name);
    }
    out.extend_from_slice(b"</layer4><meta>");
    if let Some(helper) = &expectation.helper {
        text_element(out, "helper-name", helper.as_bytes());
    }
    element(out, "timeout", expectation.timeout_s);
    element(out, "class", expectation.class);
    element(
        out,
        "zone",
        Some(expectation.zone).filter(|&zone| zone != 0),
    );
    if printer.style.timestamp {
        when(printer, out);
    }
    for flag in super::expectation_flags(expectation.flags.unwrap_or(0)) {
        out.push(b'<');
        out.extend_from_slice(flag.to_ascii_lowercase().as_bytes());
        out.extend_from_slice(b"/>");
    }
    out.extend_from_slice(b"</meta></flow>");
}
