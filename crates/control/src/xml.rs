//! Entries as XML, one element on a line: `-i -x`, `-e -x`. There is no document around them.

use flow::{Expectation, Flow, L4, Status, Tuple};

use crate::bytes::put_xml_name;
use crate::dump::{Zones, age_s};
use crate::names::{Layer4, family_name, protocol_layer4, protocol_name, state_name};
use crate::request::Side;

/// Appends the element of a cached connection. `now_s` is the time in seconds since 1970.
///
/// Of the peer's entries the reply is a stub: it is not transmitted.
pub fn flow(out: &mut Vec<u8>, flow: &Flow, side: Side, now_s: u64) {
    let zones = Zones::of(flow);
    put!(out, "<flow>");
    direction(out, "original", Some(&flow.orig), zones.orig);
    match side {
        Side::Internal => direction(out, "reply", flow.reply.as_ref(), zones.reply),
        Side::External => direction(out, "reply", None, None),
    }
    independent(out, flow, zones.both, now_s);
    if let Some(helper) = &flow.helper {
        put!(out, "<helper>");
        put_xml_name(out, helper.as_bytes());
        put!(out, "</helper>");
    }
    put!(out, "</flow>\n");
}

fn direction(out: &mut Vec<u8>, name: &str, tuple: Option<&Tuple>, zone: Option<u16>) {
    put!(out, "<meta direction=\"{name}\">");
    match tuple {
        Some(tuple) => {
            open_layer3(out, tuple);
            addresses(out, tuple);
            put!(out, "</layer3>");
            open_layer4(out, tuple);
            ports(out, tuple);
            put!(out, "</layer4>");
        }
        None => put!(
            out,
            "<layer3 protonum=\"0\" protoname=\"unknown\"><src></src><dst></dst></layer3>\
             <layer4 protonum=\"0\" protoname=\"unknown\"></layer4>"
        ),
    }
    if let Some(zone) = zone {
        put!(out, "<zone>{zone}</zone>");
    }
    put!(out, "</meta>");
}

fn open_layer3(out: &mut Vec<u8>, tuple: &Tuple) {
    let family = tuple.family();
    put!(
        out,
        "<layer3 protonum=\"{}\" protoname=\"{}\">",
        family as u8,
        family_name(family)
    );
}

fn open_layer4(out: &mut Vec<u8>, tuple: &Tuple) {
    let proto = tuple.proto;
    put!(
        out,
        "<layer4 protonum=\"{proto}\" protoname=\"{}\">",
        protocol_name(proto)
    );
}

fn addresses(out: &mut Vec<u8>, tuple: &Tuple) {
    put!(out, "<src>{}</src><dst>{}</dst>", tuple.src(), tuple.dst());
}

fn ports(out: &mut Vec<u8>, tuple: &Tuple) {
    match (tuple.l4, protocol_layer4(tuple.proto)) {
        // compat: ICMP has no layer 4 in XML.
        (L4::None, Layer4::None | Layer4::Icmp) | (L4::Icmp { .. }, _) => {}
        // compat: what is not known reads as zero.
        (L4::None, Layer4::Keys) => put!(out, "<srckey>0x0</srckey><dstkey>0x0</dstkey>"),
        (L4::None, Layer4::Ports) => put!(out, "<sport>0</sport><dport>0</dport>"),
        (L4::Ports { src, dst }, Layer4::Keys) => {
            put!(out, "<srckey>0x{src:x}</srckey><dstkey>0x{dst:x}</dstkey>");
        }
        (L4::Ports { src, dst }, _) => put!(out, "<sport>{src}</sport><dport>{dst}</dport>"),
    }
}

fn independent(out: &mut Vec<u8>, flow: &Flow, zone: Option<u16>, now_s: u64) {
    let state = state_name(&flow.proto);
    let age_s = age_s(flow, now_s);
    if (state, flow.mark, zone, flow.id, flow.status, age_s) == (None, None, None, None, None, None)
    {
        return;
    }
    put!(out, "<meta direction=\"independent\">");
    // The original names the states of SCTP and DCCP as if they were those of TCP; that misleads and is not
    // kept.
    if let Some(state) = state {
        put!(out, "<state>{state}</state>");
    }
    if let Some(mark) = flow.mark {
        put!(out, "<mark>{mark}</mark>");
    }
    if let Some(zone) = zone {
        put!(out, "<zone>{zone}</zone>");
    }
    if let Some(id) = flow.id {
        put!(out, "<id>{id}</id>");
    }
    if let Some(status) = flow.status {
        if status.contains(Status::ASSURED) {
            put!(out, "<assured/>");
        }
        if !status.contains(Status::SEEN_REPLY) {
            put!(out, "<unreplied/>");
        }
    }
    if let Some(age_s) = age_s {
        put!(out, "<deltatime>{age_s}</deltatime>");
    }
    put!(out, "</meta>");
}

/// Appends the element of a cached expectation.
pub fn expectation(out: &mut Vec<u8>, expectation: &Expectation) {
    let parts = [
        ("expected", &expectation.tuple),
        ("mask", &expectation.mask),
        ("master", &expectation.master),
    ];
    put!(out, "<flow>");
    open_layer3(out, &expectation.tuple);
    for (name, tuple) in parts {
        put!(out, "<{name}>");
        addresses(out, tuple);
        put!(out, "</{name}>");
    }
    put!(out, "</layer3>");
    open_layer4(out, &expectation.tuple);
    for (name, tuple) in parts {
        put!(out, "<{name}>");
        ports(out, tuple);
        put!(out, "</{name}>");
    }
    put!(out, "</layer4><meta>");
    if let Some(helper) = &expectation.helper {
        put!(out, "<helper-name>");
        put_xml_name(out, helper.as_bytes());
        put!(out, "</helper-name>");
    }
    if let Some(class) = expectation.class {
        put!(out, "<class>{class}</class>");
    }
    let flags = expectation.flags.unwrap_or_default();
    for (bit, name) in [(1, "permanent"), (2, "inactive"), (4, "userspace")] {
        if flags & bit != 0 {
            put!(out, "<{name}/>");
        }
    }
    put!(out, "</meta></flow>\n");
}
