//! Values into messages: exactly what an entry holds, every attribute.
//!
//! This is the kernel's side of the conversation: simulated kernels and tests speak it. Whoever wants
//! something of the kernel uses [`crate::request`].

use flow::{Expectation, Flow};

use crate::{Header, attr::Emitter, parse::EventKind, uapi::*, write};

impl Header {
    /// Header of a conntrack event.
    #[must_use]
    pub const fn flow_event(kind: EventKind, port_id: u32) -> Self {
        Self::event(kind, port_id, IPCTNL_MSG_CT_NEW, IPCTNL_MSG_CT_DELETE)
    }

    /// Header of an expectation event.
    #[must_use]
    pub const fn expectation_event(kind: EventKind, port_id: u32) -> Self {
        Self::event(kind, port_id, IPCTNL_MSG_EXP_NEW, IPCTNL_MSG_EXP_DELETE)
    }

    /// Header of a part of a conntrack dump.
    #[must_use]
    pub const fn flow_dump(seq: u32, port_id: u32) -> Self {
        Self {
            len: 0,
            kind: IPCTNL_MSG_CT_NEW,
            flags: NLM_F_MULTI,
            seq,
            port_id,
        }
    }

    /// Header of a part of an expectation dump.
    #[must_use]
    pub const fn expectation_dump(seq: u32, port_id: u32) -> Self {
        Self {
            kind: IPCTNL_MSG_EXP_NEW,
            ..Self::flow_dump(seq, port_id)
        }
    }

    const fn event(kind: EventKind, port_id: u32, new: u16, delete: u16) -> Self {
        let (kind, flags) = match kind {
            EventKind::New => (new, NLM_F_CREATE | NLM_F_EXCL),
            EventKind::Update => (new, 0),
            EventKind::Destroy => (delete, 0),
        };
        Self {
            len: 0,
            kind,
            flags,
            seq: 0,
            port_id,
        }
    }
}

/// Appends a conntrack message (header, family, attributes) to `buf`; the length is filled in.
///
/// Whether it is an event of some kind, a part of a dump or anything else, `header` tells.
pub fn flow(buf: &mut Vec<u8>, header: Header, flow: &Flow) {
    let mut out = Emitter::new(buf, header, flow.orig.family() as u8, 0);
    write::tuples_and_zone(&mut out, flow, flow.reply.as_ref());
    if let Some(status) = flow.status {
        out.u32(CTA_STATUS, status.0);
    }
    if let Some(timeout_s) = flow.timeout_s {
        out.u32(CTA_TIMEOUT, timeout_s);
    }
    if let Some(mark) = flow.mark {
        out.u32(CTA_MARK, mark);
    }
    if let Some(id) = flow.id {
        out.u32(CTA_ID, id);
    }
    if let Some(use_count) = flow.use_count {
        out.u32(CTA_USE, use_count);
    }
    write::protoinfo(&mut out, &flow.proto);
    if let Some(helper) = &flow.helper {
        write::helper(&mut out, helper.as_bytes());
    }
    if let Some(master) = &flow.master {
        write::tuple(&mut out, CTA_TUPLE_MASTER, master, 0);
    }
    write::nat(&mut out, &flow.nat);
    extensions(&mut out, flow);
    out.finish();
}

fn extensions(out: &mut Emitter<'_>, flow: &Flow) {
    if let Some(seq_adj) = &flow.seq_adj_orig {
        write::seq_adj(out, CTA_SEQ_ADJ_ORIG, seq_adj);
    }
    if let Some(seq_adj) = &flow.seq_adj_reply {
        write::seq_adj(out, CTA_SEQ_ADJ_REPLY, seq_adj);
    }
    if let Some(labels) = &flow.labels {
        write::labels(out, labels);
    }
    if let Some(synproxy) = &flow.synproxy {
        write::synproxy(out, synproxy);
    }
    if let Some(counters) = &flow.counters_orig {
        write::counters(out, CTA_COUNTERS_ORIG, counters);
    }
    if let Some(counters) = &flow.counters_reply {
        write::counters(out, CTA_COUNTERS_REPLY, counters);
    }
    if let Some(timestamp) = &flow.timestamp {
        write::timestamp(out, timestamp);
    }
    if let Some(time_ns) = flow.event_time_ns {
        out.u64(CTA_TIMESTAMP_EVENT, time_ns);
    }
}

/// Appends an expectation message to `buf`; the length is filled in.
pub fn expectation(buf: &mut Vec<u8>, header: Header, expectation: &Expectation) {
    let family = expectation.tuple.family() as u8;
    let mut out = Emitter::new(buf, header, family, 0);
    write::expectation(&mut out, expectation);
    if let Some(id) = expectation.id {
        out.u32(CTA_EXPECT_ID, id);
    }
    if let Some(nat) = &expectation.nat {
        write::expect_nat(&mut out, nat);
    }
    out.finish();
}

/// Appends a verdict on the request `seq`, as a socket with capped acknowledgements sees it.
///
/// `errno` is positive, 0 for success.
pub fn verdict(buf: &mut Vec<u8>, seq: u32, port_id: u32, errno: i32) {
    control(buf, NLMSG_ERROR, 0, seq, port_id, errno, 20);
}

/// Appends the end of a dump.
pub fn done(buf: &mut Vec<u8>, seq: u32, port_id: u32, errno: i32) {
    control(buf, NLMSG_DONE, NLM_F_MULTI, seq, port_id, errno, 4);
}

fn control(
    buf: &mut Vec<u8>,
    kind: u16,
    flags: u16,
    seq: u32,
    port_id: u32,
    errno: i32,
    payload_len: u32,
) {
    buf.extend_from_slice(&payload_len.saturating_add(16).to_ne_bytes());
    buf.extend_from_slice(&kind.to_ne_bytes());
    buf.extend_from_slice(&flags.to_ne_bytes());
    buf.extend_from_slice(&seq.to_ne_bytes());
    buf.extend_from_slice(&port_id.to_ne_bytes());
    buf.extend_from_slice(&errno.saturating_neg().to_ne_bytes());
    if payload_len > 4 {
        // Stands for the header of the request.
        let mut header = [0; 16];
        if let Some(slot) = header.get_mut(8..12) {
            slot.copy_from_slice(&seq.to_ne_bytes());
        }
        buf.extend_from_slice(&header);
    }
}
