//! Entries as XML, one element on a line: `-i -x`, `-e -x`. There is no document around them.

use flow::{Expectation, Flow, L4, Status, Tuple, protocol};

use crate::bytes::put_xml_name;
use crate::names::{family_name, protocol_name, state_name};
use crate::request::Side;

/// Appends the element of a cached connection.
///
/// Of the peer's entries the reply is a stub: it is not transmitted.
pub fn flow(out: &mut Vec<u8>, flow: &Flow, side: Side) {
    put!(out, "<flow>");
    direction(out, "original", Some(&flow.orig));
    let reply = match side {
        Side::Internal => flow.reply.as_ref(),
        Side::External => None,
    };
    direction(out, "reply", reply);
    independent(out, flow);
    if let Some(helper) = &flow.helper {
        put!(out, "<helper>");
        put_xml_name(out, helper.as_bytes());
        put!(out, "</helper>");
    }
    put!(out, "</flow>\n");
}

fn direction(out: &mut Vec<u8>, name: &str, tuple: Option<&Tuple>) {
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
    match tuple.l4 {
        // compat: ICMP has no layer 4 in XML.
        L4::None | L4::Icmp { .. } => {}
        L4::Ports { src, dst } if tuple.proto == protocol::GRE => {
            put!(out, "<srckey>0x{src:x}</srckey><dstkey>0x{dst:x}</dstkey>");
        }
        L4::Ports { src, dst } => put!(out, "<sport>{src}</sport><dport>{dst}</dport>"),
    }
}

fn independent(out: &mut Vec<u8>, flow: &Flow) {
    put!(out, "<meta direction=\"independent\">");
    if let Some(state) = state_name(&flow.proto) {
        put!(out, "<state>{state}</state>");
    }
    if let Some(mark) = flow.mark {
        put!(out, "<mark>{mark}</mark>");
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
