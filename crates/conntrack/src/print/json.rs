//! An entry, an expectation or statistics as one JSON object on one line.
//!
//! The schema is `docs/json-schema/conntrack.schema.json`. Members that the kernel did not tell are left
//! out; no option but the request for labels changes what is there.

use flow::{Counters, Expectation, Family, Flow, L4, ProtoInfo, Tuple, protocol};

use super::{Entry, EventKind, Printer, plain, text};
use crate::{origin::Origin, protocol as proto};

/// Names of the status bits, by position.
const STATUS_NAMES: [&str; 16] = [
    "EXPECTED",
    "SEEN_REPLY",
    "ASSURED",
    "CONFIRMED",
    "SRC_NAT",
    "DST_NAT",
    "SEQ_ADJUST",
    "SRC_NAT_DONE",
    "DST_NAT_DONE",
    "DYING",
    "FIXED_TIMEOUT",
    "TEMPLATE",
    "NAT_CLASH",
    "HELPER",
    "OFFLOAD",
    "HW_OFFLOAD",
];

/// Writes the members of one object.
pub(crate) struct Object<'a> {
    out: &'a mut Vec<u8>,
    is_begun: bool,
}

impl<'a> Object<'a> {
    pub(crate) fn open(out: &'a mut Vec<u8>) -> Self {
        out.push(b'{');
        Self {
            out,
            is_begun: false,
        }
    }

    pub(crate) fn close(self) {
        self.out.push(b'}');
    }

    fn name(&mut self, name: &str) {
        if self.is_begun {
            self.out.push(b',');
        }
        self.is_begun = true;
        string(self.out, name.as_bytes());
        self.out.push(b':');
    }

    pub(crate) fn number(&mut self, name: &str, number: Option<impl Into<u64>>) {
        if let Some(number) = number {
            self.name(name);
            text::decimal(self.out, number);
        }
    }

    fn text(&mut self, name: &str, content: Option<&[u8]>) {
        if let Some(content) = content {
            self.name(name);
            string(self.out, content);
        }
    }

    fn list<'b>(&mut self, name: &str, items: impl Iterator<Item = &'b str>) {
        self.name(name);
        self.out.push(b'[');
        for (number, item) in items.enumerate() {
            if number > 0 {
                self.out.push(b',');
            }
            string(self.out, item.as_bytes());
        }
        self.out.push(b']');
    }

    fn object(&mut self, name: &str, fill: impl FnOnce(&mut Object<'_>)) {
        self.name(name);
        let mut object = Object::open(self.out);
        fill(&mut object);
        object.close();
    }
}

/// Appends a string; what is no UTF-8 becomes the replacement character.
fn string(out: &mut Vec<u8>, content: &[u8]) {
    out.push(b'"');
    for character in String::from_utf8_lossy(content).chars() {
        match character {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            '\0'..='\x1f' => {
                const DIGITS: &[u8; 16] = b"0123456789abcdef";
                let code = character as usize;
                out.extend_from_slice(b"\\u00");
                out.extend(DIGITS.get(code >> 4));
                out.extend(DIGITS.get(code & 0xf));
            }
            _ => out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    out.push(b'"');
}

/// Appends an entry and a line end.
pub(super) fn flow(
    printer: &Printer,
    out: &mut Vec<u8>,
    entry: &Entry<'_>,
    origin: Option<&Origin>,
) {
    let flow = entry.flow;
    let mut object = Object::open(out);
    event(&mut object, entry.event);
    object.text("family", Some(family(&flow.orig)));
    object.text("protocol", proto::name(flow.orig.proto).map(str::as_bytes));
    object.number("protonum", Some(flow.orig.proto));
    object.number("timeout", flow.timeout_s);
    object.text("state", plain::state(&flow.proto).map(str::as_bytes));
    let zone = plain::ZoneFields::new(flow.zone);
    object.object("original", |side| {
        tuple(side, &flow.orig);
        side.number("zone", zone.orig);
        counters(side, flow.counters_orig);
    });
    object.object("reply", |side| {
        tuple(side, &flow.reply_direction());
        side.number("zone", zone.reply);
        counters(side, flow.counters_reply);
    });
    if let Some(status) = flow.status {
        let set = |bit: &usize| status.0 & 1 << bit != 0;
        let names = STATUS_NAMES.iter().enumerate().filter(|(bit, _)| set(bit));
        object.list("status", names.map(|(_, name)| *name));
    }
    object.number("mark", flow.mark);
    object.text("secctx", entry.secctx);
    object.number("zone", zone.both);
    tags(&mut object, &flow.proto);
    if let Some(master) = &flow.master {
        object.object("master", |side| {
            side.number("protonum", Some(master.proto));
            tuple(side, master);
        });
    }
    object.text(
        "helper",
        flow.helper.as_ref().map(|helper| helper.as_bytes()),
    );
    object.number("use", flow.use_count);
    object.number("id", flow.id);
    labels(printer, &mut object, flow);
    if let Some(timestamp) = &flow.timestamp {
        object.number("start_ns", Some(timestamp.start_ns));
        object.number("stop_ns", timestamp.stop_ns);
        object.number("age", Some(super::age_s(timestamp)));
    }
    cause(&mut object, entry.event, origin);
    object.close();
    out.push(b'\n');
}

fn event(object: &mut Object<'_>, event: Option<EventKind>) {
    let name = event.map(|event| match event {
        EventKind::New => "new",
        EventKind::Update => "update",
        EventKind::Destroy => "destroy",
    });
    object.text("event", name.map(str::as_bytes));
    if event.is_some() {
        object.number("time_ns", Some(super::now_ns()));
    }
}

fn cause(object: &mut Object<'_>, event: Option<EventKind>, origin: Option<&Origin>) {
    if let (Some(_), Some(origin)) = (event, origin) {
        object.object("origin", |object| {
            object.number("portid", Some(origin.port_id));
            object.text("program", origin.program.as_deref().map(str::as_bytes));
        });
    }
}

fn family(tuple: &Tuple) -> &'static [u8] {
    match tuple.family() {
        Family::Ipv4 => b"ipv4",
        Family::Ipv6 => b"ipv6",
    }
}

fn tuple(object: &mut Object<'_>, tuple: &Tuple) {
    for (name, addr) in [("src", tuple.src()), ("dst", tuple.dst())] {
        object.name(name);
        object.out.push(b'"');
        text::address(object.out, addr);
        object.out.push(b'"');
    }
    match tuple.l4 {
        L4::None => {}
        L4::Ports { src, dst } if tuple.proto == protocol::GRE => {
            object.number("srckey", Some(src));
            object.number("dstkey", Some(dst));
        }
        L4::Ports { src, dst } => {
            object.number("sport", Some(src));
            object.number("dport", Some(dst));
        }
        L4::Icmp {
            id,
            icmp_type,
            code,
        } => {
            object.number("type", Some(icmp_type));
            object.number("code", Some(code));
            object.number("id", Some(id));
        }
    }
}

fn counters(object: &mut Object<'_>, counters: Option<Counters>) {
    object.number("packets", counters.map(|counters| counters.packets));
    object.number("bytes", counters.map(|counters| counters.bytes));
}

fn tags(object: &mut Object<'_>, proto: &ProtoInfo) {
    if let ProtoInfo::Sctp(sctp) = proto {
        object.number("orig_vtag", sctp.vtag_orig.map(crate::sctp::vtag_number));
        object.number("reply_vtag", sctp.vtag_reply.map(crate::sctp::vtag_number));
    }
}

fn labels(printer: &Printer, object: &mut Object<'_>, flow: &Flow) {
    if let (Some(map), Some(labels)) = (&printer.labels, &flow.labels)
        && !labels.is_empty()
    {
        object.list("labels", map.names_of(labels));
    }
}

/// Appends an expectation and a line end.
pub(super) fn expectation(
    _printer: &Printer,
    out: &mut Vec<u8>,
    expectation: &Expectation,
    happened: Option<EventKind>,
    origin: Option<&Origin>,
) {
    let mut object = Object::open(out);
    event(&mut object, happened);
    object.text("family", Some(family(&expectation.tuple)));
    object.text(
        "protocol",
        proto::name(expectation.tuple.proto).map(str::as_bytes),
    );
    object.number("protonum", Some(expectation.tuple.proto));
    object.number("timeout", expectation.timeout_s);
    for (name, part) in [
        ("expected", &expectation.tuple),
        ("mask", &expectation.mask),
        ("master", &expectation.master),
    ] {
        object.object(name, |side| tuple(side, part));
    }
    object.number("zone", Some(expectation.zone).filter(|&zone| zone != 0));
    object.list(
        "flags",
        super::expectation_flags(expectation.flags.unwrap_or(0)),
    );
    object.number("class", expectation.class);
    object.text(
        "helper",
        expectation.helper.as_ref().map(|helper| helper.as_bytes()),
    );
    object.number("id", expectation.id);
    cause(&mut object, happened, origin);
    object.close();
    out.push(b'\n');
}
