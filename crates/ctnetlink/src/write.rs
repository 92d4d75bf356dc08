//! Attributes that events and requests share.

use std::net::IpAddr;

use flow::{
    Addrs, Counters, Dccp, Expectation, Family, Flow, L4, Labels, Nat, ProtoInfo, Sctp, SeqAdj,
    Synproxy, Tcp, Timestamp, Tuple, Zone, protocol,
};

use crate::{attr::Emitter, uapi::*};

pub(crate) fn tuple(out: &mut Emitter<'_>, kind: u16, tuple: &Tuple, zone: u16) {
    let outer = out.nest(kind);
    let ip = out.nest(CTA_TUPLE_IP);
    match tuple.addrs {
        Addrs::V4 { src, dst } => {
            out.quad(CTA_IP_V4_SRC, src.octets());
            out.quad(CTA_IP_V4_DST, dst.octets());
        }
        Addrs::V6 { src, dst } => {
            out.bytes(CTA_IP_V6_SRC, &src.octets());
            out.bytes(CTA_IP_V6_DST, &dst.octets());
        }
    }
    out.close(ip);
    let proto = out.nest(CTA_TUPLE_PROTO);
    out.u8(CTA_PROTO_NUM, tuple.proto);
    l4(out, tuple);
    out.close(proto);
    if zone != 0 {
        out.u16(CTA_TUPLE_ZONE, zone);
    }
    out.close(outer);
}

fn l4(out: &mut Emitter<'_>, tuple: &Tuple) {
    match tuple.l4 {
        L4::None => {}
        L4::Ports { src, dst } => {
            out.u16(CTA_PROTO_SRC_PORT, src);
            out.u16(CTA_PROTO_DST_PORT, dst);
        }
        L4::Icmp {
            id,
            icmp_type,
            code,
        } => {
            let v6 = match tuple.proto {
                protocol::ICMP => false,
                protocol::ICMPV6 => true,
                _ => tuple.family() == Family::Ipv6,
            };
            let [id_attr, type_attr, code_attr] = icmp_attrs(v6);
            out.u16(id_attr, id);
            out.u8(type_attr, icmp_type);
            out.u8(code_attr, code);
        }
    }
}

/// Attribute numbers of identifier, type and code.
pub(crate) fn icmp_attrs(v6: bool) -> [u16; 3] {
    if v6 {
        [
            CTA_PROTO_ICMPV6_ID,
            CTA_PROTO_ICMPV6_TYPE,
            CTA_PROTO_ICMPV6_CODE,
        ]
    } else {
        [CTA_PROTO_ICMP_ID, CTA_PROTO_ICMP_TYPE, CTA_PROTO_ICMP_CODE]
    }
}

/// Both tuples with the zone where the kernel wants it: in one tuple, or for both directions.
pub(crate) fn tuples_and_zone(out: &mut Emitter<'_>, flow: &Flow, reply: Option<&Tuple>) {
    let inside = if flow.zone.orig == flow.zone.reply {
        Zone::default()
    } else {
        flow.zone
    };
    tuple(out, CTA_TUPLE_ORIG, &flow.orig, inside.orig);
    if let Some(reply) = reply {
        tuple(out, CTA_TUPLE_REPLY, reply, inside.reply);
    }
    if inside == Zone::default() {
        zone(out, CTA_ZONE, flow.zone.orig);
    }
}

/// A zone; the default zone is no attribute.
pub(crate) fn zone(out: &mut Emitter<'_>, kind: u16, zone: u16) {
    if zone != 0 {
        out.u16(kind, zone);
    }
}

pub(crate) fn protoinfo(out: &mut Emitter<'_>, proto: &ProtoInfo) {
    if matches!(proto, ProtoInfo::None) {
        return;
    }
    let outer = out.nest(CTA_PROTOINFO);
    match proto {
        ProtoInfo::None => {}
        ProtoInfo::Tcp(info) => tcp(out, info),
        ProtoInfo::Sctp(info) => sctp(out, info),
        ProtoInfo::Dccp(info) => dccp(out, info),
    }
    out.close(outer);
}

fn tcp(out: &mut Emitter<'_>, tcp: &Tcp) {
    let nest = out.nest(CTA_PROTOINFO_TCP);
    if let Some(state) = tcp.state {
        out.u8(CTA_PROTOINFO_TCP_STATE, state as u8);
    }
    if let Some(wscale) = tcp.wscale_orig {
        out.u8(CTA_PROTOINFO_TCP_WSCALE_ORIGINAL, wscale);
    }
    if let Some(wscale) = tcp.wscale_reply {
        out.u8(CTA_PROTOINFO_TCP_WSCALE_REPLY, wscale);
    }
    if let Some(flags) = tcp.flags_orig {
        out.pair(CTA_PROTOINFO_TCP_FLAGS_ORIGINAL, [flags.flags, flags.mask]);
    }
    if let Some(flags) = tcp.flags_reply {
        out.pair(CTA_PROTOINFO_TCP_FLAGS_REPLY, [flags.flags, flags.mask]);
    }
    out.close(nest);
}

fn sctp(out: &mut Emitter<'_>, sctp: &Sctp) {
    let nest = out.nest(CTA_PROTOINFO_SCTP);
    if let Some(state) = sctp.state {
        out.u8(CTA_PROTOINFO_SCTP_STATE, state);
    }
    if let Some(vtag) = sctp.vtag_orig {
        out.u32(CTA_PROTOINFO_SCTP_VTAG_ORIGINAL, vtag);
    }
    if let Some(vtag) = sctp.vtag_reply {
        out.u32(CTA_PROTOINFO_SCTP_VTAG_REPLY, vtag);
    }
    out.close(nest);
}

fn dccp(out: &mut Emitter<'_>, dccp: &Dccp) {
    let nest = out.nest(CTA_PROTOINFO_DCCP);
    if let Some(state) = dccp.state {
        out.u8(CTA_PROTOINFO_DCCP_STATE, state);
    }
    if let Some(role) = dccp.role {
        out.u8(CTA_PROTOINFO_DCCP_ROLE, role);
    }
    if let Some(seq) = dccp.handshake_seq {
        out.u64(CTA_PROTOINFO_DCCP_HANDSHAKE_SEQ, seq);
    }
    out.close(nest);
}

/// What a helper is told by; an empty name is written too, it removes a helper.
pub(crate) fn helper(out: &mut Emitter<'_>, name: &[u8]) {
    let nest = out.nest(CTA_HELP);
    out.name(CTA_HELP_NAME, name);
    out.close(nest);
}

pub(crate) fn nat(out: &mut Emitter<'_>, nat: &Nat) {
    if nat.has_src() {
        nat_part(out, CTA_NAT_SRC, nat.src_addr, nat.src_port);
    }
    if nat.has_dst() {
        nat_part(out, CTA_NAT_DST, nat.dst_addr, nat.dst_port);
    }
}

fn nat_part(out: &mut Emitter<'_>, kind: u16, addr: Option<IpAddr>, port: Option<u16>) {
    let nest = out.nest(kind);
    match addr {
        Some(IpAddr::V4(addr)) => out.quad(CTA_NAT_V4_MINIP, addr.octets()),
        Some(IpAddr::V6(addr)) => out.bytes(CTA_NAT_V6_MINIP, &addr.octets()),
        None => {}
    }
    if let Some(port) = port {
        let proto = out.nest(CTA_NAT_PROTO);
        out.u16(CTA_PROTONAT_PORT_MIN, port);
        out.close(proto);
    }
    out.close(nest);
}

pub(crate) fn seq_adj(out: &mut Emitter<'_>, kind: u16, seq_adj: &SeqAdj) {
    let nest = out.nest(kind);
    out.u32(CTA_SEQADJ_CORRECTION_POS, seq_adj.correction_pos);
    out.u32(CTA_SEQADJ_OFFSET_BEFORE, seq_adj.offset_before);
    out.u32(CTA_SEQADJ_OFFSET_AFTER, seq_adj.offset_after);
    out.close(nest);
}

pub(crate) fn synproxy(out: &mut Emitter<'_>, synproxy: &Synproxy) {
    let nest = out.nest(CTA_SYNPROXY);
    out.u32(CTA_SYNPROXY_ISN, synproxy.isn);
    out.u32(CTA_SYNPROXY_ITS, synproxy.its);
    out.u32(CTA_SYNPROXY_TSOFF, synproxy.tsoff);
    out.close(nest);
}

pub(crate) fn counters(out: &mut Emitter<'_>, kind: u16, counters: &Counters) {
    let nest = out.nest(kind);
    out.u64(CTA_COUNTERS_PACKETS, counters.packets);
    out.u64(CTA_COUNTERS_BYTES, counters.bytes);
    out.close(nest);
}

pub(crate) fn timestamp(out: &mut Emitter<'_>, timestamp: &Timestamp) {
    let nest = out.nest(CTA_TIMESTAMP);
    out.u64(CTA_TIMESTAMP_START, timestamp.start_ns);
    if let Some(stop) = timestamp.stop_ns {
        out.u64(CTA_TIMESTAMP_STOP, stop);
    }
    out.close(nest);
}

/// Exactly the words that were given.
pub(crate) fn labels(out: &mut Emitter<'_>, labels: &Labels) {
    let mut bytes = [0; 16];
    let (slots, _) = bytes.as_chunks_mut::<4>();
    for (slot, word) in slots.iter_mut().zip(labels.words()) {
        *slot = word.to_ne_bytes();
    }
    let len = labels.words().len().saturating_mul(4);
    out.bytes(CTA_LABELS, bytes.get(..len).unwrap_or_default());
}

/// All 16 bytes: outside the given length the kernel would clear every label.
pub(crate) fn all_labels(out: &mut Emitter<'_>, kind: u16, labels: &Labels) {
    let [a, b, c, d] = labels.all_words();
    let mut bytes = [0; 16];
    let (slots, _) = bytes.as_chunks_mut::<4>();
    for (slot, word) in slots.iter_mut().zip([a, b, c, d]) {
        *slot = word.to_ne_bytes();
    }
    out.bytes(kind, &bytes);
}

/// Everything of an expectation that may be asked for.
pub(crate) fn expectation(out: &mut Emitter<'_>, expectation: &Expectation) {
    tuple(out, CTA_EXPECT_MASTER, &expectation.master, 0);
    tuple(out, CTA_EXPECT_TUPLE, &expectation.tuple, 0);
    tuple(out, CTA_EXPECT_MASK, &expectation.mask, 0);
    zone(out, CTA_EXPECT_ZONE, expectation.zone);
    if let Some(timeout_s) = expectation.timeout_s {
        out.u32(CTA_EXPECT_TIMEOUT, timeout_s);
    }
    if let Some(flags) = expectation.flags {
        out.u32(CTA_EXPECT_FLAGS, flags);
    }
    if let Some(class) = expectation.class {
        out.u32(CTA_EXPECT_CLASS, class);
    }
    if let Some(helper) = &expectation.helper {
        out.name(CTA_EXPECT_HELP_NAME, helper.as_bytes());
    }
    if let Some(function) = &expectation.function {
        out.name(CTA_EXPECT_FN, function.as_bytes());
    }
}

pub(crate) fn expect_nat(out: &mut Emitter<'_>, nat: &flow::ExpectNat) {
    let nest = out.nest(CTA_EXPECT_NAT);
    out.u32(CTA_EXPECT_NAT_DIR, nat.direction);
    if let Some(translated) = &nat.tuple {
        tuple(out, CTA_EXPECT_NAT_TUPLE, translated, 0);
    }
    out.close(nest);
}
