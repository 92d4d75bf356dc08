//! Entries as JSON, one object on a line: `conntrackd dump --json`.
//!
//! The schema is `docs/json-schema/dump.schema.json`; members have the names that `conntrack -o json` gives them. What is
//! not known is left out.

use flow::{Counters, Expectation, Flow, L4, ProtoInfo, Tuple, protocol};

use crate::dump::{Lifetime, Zones};
use crate::names::{family_name, protocol_name, state_name};

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

/// Names of an expectation's flags, by position.
const FLAG_NAMES: [&str; 3] = ["PERMANENT", "INACTIVE", "USERSPACE"];

/// Appends a connection. `lifetime`: in its cache; `None` for one of the kernel's table.
pub fn flow(out: &mut Vec<u8>, flow: &Flow, lifetime: Option<Lifetime>) {
    let mut object = Object::open(out);
    head(&mut object, "flow", &flow.orig);
    object.number("timeout", flow.timeout_s);
    object.word("state", state_name(&flow.proto));
    let zones = Zones::of(flow);
    object.object("original", |side| {
        tuple(side, &flow.orig);
        side.number("zone", zones.orig);
        counters(side, flow.counters_orig);
    });
    object.object("reply", |side| {
        tuple(side, &flow.reply_direction());
        side.number("zone", zones.reply);
        counters(side, flow.counters_reply);
    });
    if let Some(status) = flow.status {
        object.bits("status", status.0, &STATUS_NAMES);
    }
    object.number("mark", flow.mark);
    object.number("zone", zones.both);
    if let ProtoInfo::Sctp(sctp) = &flow.proto {
        object.number("orig_vtag", sctp.vtag_orig);
        object.number("reply_vtag", sctp.vtag_reply);
    }
    if let Some(master) = &flow.master {
        object.object("master", |side| {
            side.number("protonum", Some(master.proto));
            tuple(side, master);
        });
    }
    object.name_of("helper", flow.helper.as_ref().map(|name| name.as_bytes()));
    end(object, lifetime);
}

/// Appends an expectation. `lifetime` as for [`flow()`].
pub fn expectation(out: &mut Vec<u8>, expectation: &Expectation, lifetime: Option<Lifetime>) {
    let mut object = Object::open(out);
    head(&mut object, "expectation", &expectation.tuple);
    object.number("timeout", expectation.timeout_s);
    for (name, part) in [
        ("expected", &expectation.tuple),
        ("mask", &expectation.mask),
        ("master", &expectation.master),
    ] {
        object.object(name, |side| tuple(side, part));
    }
    object.number("zone", Some(expectation.zone).filter(|&zone| zone != 0));
    object.bits("flags", expectation.flags.unwrap_or(0), &FLAG_NAMES);
    object.number("class", expectation.class);
    let helper = expectation.helper.as_ref();
    object.name_of("helper", helper.map(|name| name.as_bytes()));
    end(object, lifetime);
}

fn head(object: &mut Object<'_>, kind: &str, tuple: &Tuple) {
    object.word("kind", Some(kind));
    object.word("family", Some(family_name(tuple.family())));
    object.word("protocol", Some(protocol_name(tuple.proto)));
    object.number("protonum", Some(tuple.proto));
}

fn end(mut object: Object<'_>, lifetime: Option<Lifetime>) {
    object.number("active_s", lifetime.map(|lifetime| lifetime.active_s));
    object.number(
        "expires_s",
        lifetime.and_then(|lifetime| lifetime.expires_s),
    );
    object.out.extend_from_slice(b"}\n");
}

fn tuple(object: &mut Object<'_>, tuple: &Tuple) {
    object.name("src");
    put!(object.out, "\"{}\"", tuple.src());
    object.name("dst");
    put!(object.out, "\"{}\"", tuple.dst());
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

/// Writes the members of one object.
struct Object<'a> {
    out: &'a mut Vec<u8>,
    is_begun: bool,
}

impl<'a> Object<'a> {
    fn open(out: &'a mut Vec<u8>) -> Self {
        out.push(b'{');
        Self {
            out,
            is_begun: false,
        }
    }

    /// A member's name; all are plain words.
    fn name(&mut self, name: &str) {
        let separator = if self.is_begun { "," } else { "" };
        self.is_begun = true;
        put!(self.out, "{separator}\"{name}\":");
    }

    fn number(&mut self, name: &str, number: Option<impl Into<u64>>) {
        if let Some(number) = number {
            self.name(name);
            put!(self.out, "{}", number.into());
        }
    }

    /// A word of ours.
    fn word(&mut self, name: &str, word: Option<&str>) {
        if let Some(word) = word {
            self.name(name);
            put!(self.out, "\"{word}\"");
        }
    }

    /// A name from outside.
    fn name_of(&mut self, name: &str, content: Option<&[u8]>) {
        if let Some(content) = content {
            self.name(name);
            let text = String::from_utf8_lossy(content);
            // Writing text to a vector cannot fail.
            let _ = serde_json::to_writer(&mut *self.out, &text);
        }
    }

    fn bits(&mut self, name: &str, bits: u32, names: &[&str]) {
        self.name(name);
        self.out.push(b'[');
        let set = names
            .iter()
            .enumerate()
            .filter(|(bit, _)| bits >> bit & 1 == 1);
        for (position, (_, word)) in set.enumerate() {
            let separator = if position == 0 { "" } else { "," };
            put!(self.out, "{separator}\"{word}\"");
        }
        self.out.push(b']');
    }

    fn object(&mut self, name: &str, fill: impl FnOnce(&mut Object<'_>)) {
        self.name(name);
        let mut object = Object::open(self.out);
        fill(&mut object);
        object.out.push(b'}');
    }
}
