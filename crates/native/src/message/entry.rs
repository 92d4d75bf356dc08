//! Connections to and from bytes.
//!
//! A connection is its original tuple with two more bits in the shape, zones if there are any, the set of
//! fields that follow, and the fields in the order of their bits.

use flow::{
    Expectation, Flow, HelperName, Labels, ProtoInfo, SeqAdj, Status, Synproxy, Tcp, TcpState, Zone,
};

use super::fields::Fields;
use super::proto::{
    put_dccp, put_sctp, put_tcp_options, put_tcp_state, read_dccp, read_sctp, read_tcp_options,
    read_tcp_state,
};
use super::tuple::{
    put_nat, put_reply, put_tuple, put_tuple_body, read_nat, read_reply, read_tuple,
    read_tuple_body, shape, shape_of,
};
use super::wire::{MessageError, Reader, impossible, put_var, put_words};

/// What an update tells. Nothing of it has been checked but its handle.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Changes<'a> {
    reader: Reader<'a>,
}

/// What most updates tell, and nothing else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usual {
    /// The new status, if it is told.
    pub status: Option<Status>,
    /// The new timeout in seconds, if it is told.
    pub timeout_s: Option<u32>,
    /// The new TCP state, if it is told.
    pub tcp_state: Option<TcpState>,
}

impl<'a> Changes<'a> {
    pub(super) fn new(reader: Reader<'a>) -> Self {
        Self { reader }
    }

    /// What is told, if it is nothing but the usual; for the rest, and for what cannot be read, there is
    /// [`Changes::apply`].
    #[must_use]
    pub fn usual(&self) -> Option<Usual> {
        let mut reader = self.reader;
        let told = Fields::from_bits(reader.var32("fields").ok()?);
        let usual = Fields::STATUS | Fields::TIMEOUT | Fields::TCP_STATE;
        if !told.without(usual).is_empty() {
            return None;
        }
        let mut changes = Usual::default();
        if told.contains(Fields::STATUS) {
            changes.status = Some(unpack_status(reader.var32("status").ok()?));
        }
        if told.contains(Fields::TIMEOUT) {
            changes.timeout_s = Some(reader.var32("timeout").ok()?);
        }
        if told.contains(Fields::TCP_STATE) {
            changes.tcp_state = Some(read_tcp_state(&mut reader).ok()??);
        }
        Some(changes)
    }

    /// Puts what is told into `flow`.
    ///
    /// # Errors
    /// When the bytes are no changes; `flow` may then hold some of them and is not to be used.
    pub fn apply(&self, flow: &mut Flow) -> Result<Fields, MessageError> {
        let mut reader = self.reader;
        let told = Fields::from_bits(reader.var32("fields")?);
        let mut cleared = Fields::NONE;
        if told.contains(Fields::CLEARED) {
            cleared = Fields::from_bits(reader.var32("cleared fields")?);
            cleared.clear(flow);
        }
        read_fields(&mut reader, told, flow)?;
        Ok((told | cleared).common(Fields::ALL))
    }
}

/// Appends what an update of `flow` in these fields tells.
pub(super) fn put_changes(buf: &mut Vec<u8>, fields: Fields, flow: &Flow) {
    let fields = fields.common(Fields::ALL);
    let cleared = fields.cleared(flow);
    let told = fields.told(flow);
    if cleared.is_empty() {
        put_var(buf, told.bits());
    } else {
        put_var(buf, (told | Fields::CLEARED).bits());
        put_var(buf, cleared.bits());
    }
    put_fields(buf, told, flow);
}

/// Appends a whole connection.
pub(super) fn put_flow(buf: &mut Vec<u8>, flow: &Flow, fields: Fields) {
    let mirrored = flow.reply == Some(flow.orig.mirrored());
    let mut told = Fields::known(flow).common(fields);
    let mut shape = shape_of(&flow.orig);
    if mirrored && told.contains(Fields::REPLY) {
        shape |= shape::MIRRORED;
        told = told.without(Fields::REPLY);
    }
    shape |= match flow.zone {
        Zone { orig: 0, reply: 0 } => 0,
        Zone { orig, reply } if orig == reply => shape::ZONE,
        _ => shape::ZONES,
    };
    buf.push(shape);
    put_tuple_body(buf, &flow.orig);
    match shape & shape::ANY_ZONE {
        shape::ZONE => put_var(buf, flow.zone.orig),
        shape::ZONES => {
            put_var(buf, flow.zone.orig);
            put_var(buf, flow.zone.reply);
        }
        _ => {}
    }
    put_var(buf, told.bits());
    put_fields(buf, told, flow);
}

/// Reads a whole connection.
pub(super) fn read_flow(reader: &mut Reader<'_>) -> Result<Flow, MessageError> {
    let shape = reader.u8("shape")?;
    let mut flow = Flow::new(read_tuple_body(reader, shape)?);
    flow.zone = match shape & shape::ANY_ZONE {
        0 => Zone::default(),
        shape::ZONE => Zone::both(reader.var16("zone")?),
        shape::ZONES => Zone {
            orig: reader.var16("zone")?,
            reply: reader.var16("reply zone")?,
        },
        other => return Err(impossible("zones", other)),
    };
    if shape & shape::MIRRORED != 0 {
        flow.reply = Some(flow.orig.mirrored());
    }
    let told = Fields::from_bits(reader.var32("fields")?);
    read_fields(reader, told, &mut flow)?;
    Ok(flow)
}

/// Appends the bytes that a digest covers: everything that is replicated but the running timeout.
///
/// `fields`: what both ends know how to tell; [`Fields::ALL`] among equals.
pub fn canonical_flow(buf: &mut Vec<u8>, flow: &Flow, fields: Fields) {
    put_flow(buf, flow, fields.common(Fields::PROVED));
}

/// The same of an expectation.
pub fn canonical_expectation(buf: &mut Vec<u8>, expectation: &Expectation) {
    super::expectation::put(buf, expectation, false);
}

/// Status bits, those of most connections first.
const STATUS_ORDER: [u8; 16] = [1, 2, 3, 7, 8, 4, 5, 0, 6, 10, 13, 14, 15, 9, 11, 12];

fn pack_status(Status(bits): Status) -> u32 {
    let mut packed = bits & 0xffff_0000;
    for (to, from) in STATUS_ORDER.iter().enumerate() {
        packed |= (bits >> from & 1) << to;
    }
    packed
}

fn unpack_status(packed: u32) -> Status {
    /// The bits of a byte, each where it belongs: looked up, because every message has some.
    #[expect(
        clippy::arithmetic_side_effects,
        clippy::indexing_slicing,
        reason = "done when this is compiled, which would fail"
    )]
    const fn spread(first: usize) -> [u16; 256] {
        let mut all = [0; 256];
        let mut byte = 0;
        while byte < all.len() {
            let mut bit = 0;
            while bit < 8 {
                all[byte] |= ((byte >> bit & 1) as u16) << STATUS_ORDER[first + bit];
                bit += 1;
            }
            byte += 1;
        }
        all
    }
    const LOW: [u16; 256] = spread(0);
    const HIGH: [u16; 256] = spread(8);
    let [high, low, ..] = (packed << 16).to_be_bytes().map(usize::from);
    let (low, high) = (LOW.get(low), HIGH.get(high));
    let bits = low.copied().unwrap_or_default() | high.copied().unwrap_or_default();
    Status(packed & 0xffff_0000 | u32::from(bits))
}

/// Every field in the order of its bit. What is not known is not told: the caller sees to it.
fn put_fields(buf: &mut Vec<u8>, told: Fields, flow: &Flow) {
    let with = |field: Fields| told.contains(field);
    if let Some(status) = flow.status
        && with(Fields::STATUS)
    {
        put_var(buf, pack_status(status));
    }
    if let Some(timeout_s) = flow.timeout_s
        && with(Fields::TIMEOUT)
    {
        put_var(buf, timeout_s);
    }
    if let ProtoInfo::Tcp(tcp) = &flow.proto {
        if with(Fields::TCP_STATE) {
            put_tcp_state(buf, tcp.state);
        }
        if with(Fields::TCP_OPTIONS) {
            put_tcp_options(buf, tcp);
        }
    }
    if let Some(mark) = flow.mark
        && with(Fields::MARK)
    {
        put_var(buf, mark);
    }
    if let Some(reply) = &flow.reply
        && with(Fields::REPLY)
    {
        put_reply(buf, reply, &flow.orig.mirrored());
    }
    if let Some(labels) = &flow.labels
        && with(Fields::LABELS)
    {
        buf.push(labels.words().len() as u8);
        put_words(buf, labels.words());
    }
    put_rare_fields(buf, told, flow);
}

fn put_rare_fields(buf: &mut Vec<u8>, told: Fields, flow: &Flow) {
    if !told.intersects(Fields::from_bits(!(Fields::SCTP.bits().wrapping_sub(1)))) {
        return;
    }
    let with = |field: Fields| told.contains(field);
    match &flow.proto {
        ProtoInfo::Sctp(sctp) if with(Fields::SCTP) => put_sctp(buf, sctp),
        ProtoInfo::Dccp(dccp) if with(Fields::DCCP) => put_dccp(buf, dccp),
        _ => {}
    }
    if let Some(master) = &flow.master
        && with(Fields::MASTER)
    {
        put_tuple(buf, master);
    }
    if with(Fields::NAT) {
        put_nat(buf, &flow.nat);
    }
    for (field, shift) in [
        (Fields::SEQ_ADJ_ORIG, flow.seq_adj_orig),
        (Fields::SEQ_ADJ_REPLY, flow.seq_adj_reply),
    ] {
        if let Some(shift) = shift
            && with(field)
        {
            put_words(
                buf,
                &[
                    shift.correction_pos,
                    shift.offset_before,
                    shift.offset_after,
                ],
            );
        }
    }
    if let Some(helper) = &flow.helper
        && with(Fields::HELPER)
    {
        buf.push(helper.as_bytes().len() as u8);
        buf.extend_from_slice(helper.as_bytes());
    }
    if let Some(synproxy) = &flow.synproxy
        && with(Fields::SYNPROXY)
    {
        put_words(buf, &[synproxy.isn, synproxy.its, synproxy.tsoff]);
    }
}

/// Reads the fields in the order of their bits. Those of later versions come last and are left.
fn read_fields(reader: &mut Reader<'_>, told: Fields, flow: &mut Flow) -> Result<(), MessageError> {
    let with = |field: Fields| told.contains(field);
    if with(Fields::STATUS) {
        flow.status = Some(unpack_status(reader.var32("status")?));
    }
    if with(Fields::TIMEOUT) {
        flow.timeout_s = Some(reader.var32("timeout")?);
    }
    if told.intersects(Fields::TCP_STATE | Fields::TCP_OPTIONS) {
        let mut tcp = match flow.proto {
            ProtoInfo::Tcp(tcp) => tcp,
            _ => Tcp::default(),
        };
        if with(Fields::TCP_STATE) {
            tcp.state = read_tcp_state(reader)?;
        }
        if with(Fields::TCP_OPTIONS) {
            read_tcp_options(reader, &mut tcp)?;
        }
        flow.proto = ProtoInfo::Tcp(tcp);
    }
    if with(Fields::MARK) {
        flow.mark = Some(reader.var32("mark")?);
    }
    if with(Fields::REPLY) {
        flow.reply = Some(read_reply(reader, flow.orig.mirrored())?);
    }
    if with(Fields::LABELS) {
        flow.labels = Some(read_labels(reader)?);
    }
    read_rare_fields(reader, told, flow)
}

fn read_rare_fields(
    reader: &mut Reader<'_>,
    told: Fields,
    flow: &mut Flow,
) -> Result<(), MessageError> {
    let with = |field: Fields| told.contains(field);
    if with(Fields::SCTP) {
        flow.proto = ProtoInfo::Sctp(read_sctp(reader)?);
    }
    if with(Fields::DCCP) {
        flow.proto = ProtoInfo::Dccp(read_dccp(reader)?);
    }
    if with(Fields::MASTER) {
        flow.master = Some(read_tuple(reader)?);
    }
    if with(Fields::NAT) {
        flow.nat = read_nat(reader)?;
    }
    if with(Fields::SEQ_ADJ_ORIG) {
        flow.seq_adj_orig = Some(read_seq_adj(reader)?);
    }
    if with(Fields::SEQ_ADJ_REPLY) {
        flow.seq_adj_reply = Some(read_seq_adj(reader)?);
    }
    if with(Fields::HELPER) {
        let len = reader.u8("helper")?;
        let name = reader.slice(usize::from(len), "helper")?;
        flow.helper = Some(HelperName::new(name).ok_or(impossible("helper length", len))?);
    }
    if with(Fields::SYNPROXY) {
        flow.synproxy = Some(Synproxy {
            isn: reader.u32("SYN proxy")?,
            its: reader.u32("SYN proxy")?,
            tsoff: reader.u32("SYN proxy")?,
        });
    }
    Ok(())
}

fn read_labels(reader: &mut Reader<'_>) -> Result<Labels, MessageError> {
    let len = reader.u8("labels")?;
    if len > 4 {
        return Err(impossible("label words", len));
    }
    let mut words = [0; 4];
    for word in words.iter_mut().take(usize::from(len)) {
        *word = reader.u32("labels")?;
    }
    Ok(Labels::new(words.into_iter().take(usize::from(len))).unwrap_or_default())
}

fn read_seq_adj(reader: &mut Reader<'_>) -> Result<SeqAdj, MessageError> {
    Ok(SeqAdj {
        correction_pos: reader.u32("sequence shift")?,
        offset_before: reader.u32("sequence shift")?,
        offset_after: reader.u32("sequence shift")?,
    })
}
