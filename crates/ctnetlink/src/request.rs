//! Requests to the kernel. Each appends one message to `buf`, so that a buffer holds a batch.
//!
//! Number the messages by `seq`: answers carry it, errors come whether asked for or not. Requests
//! that have no [`Ack`] argument are answered in any case: dumps end in [`crate::Reply::Done`], the others
//! in [`crate::Reply::Verdict`].

mod filter;

use std::net::IpAddr;

use flow::{Expectation, Family, Flow, Key, Labels, Status, Synproxy, Tuple, Zone};

use self::filter::Untrusted;
use crate::{Header, attr::Emitter, uapi::*, write};

/// Whether success is told too; errors always are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ack {
    /// Only errors.
    Silent,
    /// Success and errors.
    Wanted,
}

impl Ack {
    const fn flags(self) -> u16 {
        match self {
            Self::Silent => 0,
            Self::Wanted => NLM_F_ACK,
        }
    }
}

/// What to do with an entry that exists, or that does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write {
    /// Create; fail with EEXIST.
    Create,
    /// Create or change.
    CreateOrUpdate,
    /// Change; fail with ENOENT.
    Update,
}

impl Write {
    const fn flags(self) -> u16 {
        match self {
            Self::Create => NLM_F_CREATE | NLM_F_EXCL,
            Self::CreateOrUpdate => NLM_F_CREATE,
            Self::Update => 0,
        }
    }
}

/// Which entries a dump or a flush is about; all conditions must hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DumpFilter {
    /// Only this family.
    pub family: Option<Family>,
    /// Value and mask of the mark.
    pub mark: Option<(u32, u32)>,
    /// Value and mask of the status. The kernel refuses value 0 with mask 0 (EINVAL).
    pub status: Option<(Status, Status)>,
    /// Only this zone; 0 means entries without one.
    pub zone: Option<u16>,
    /// Only these tuples.
    pub tuple: Option<TupleFilter>,
}

/// Fields that the tuples of an entry must have, exactly (no prefixes).
///
/// The kernel needs a family for it: that of [`DumpFilter::family`], else that of the addresses here;
/// without either it answers EOPNOTSUPP.
///
/// IPv6 addresses are left out of dumps, since kernels compare them wrongly: test the answers. A flush
/// that names one is refused (EINVAL).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TupleFilter {
    /// Of the original direction.
    pub orig: TupleMatch,
    /// Of the reply direction.
    pub reply: TupleMatch,
}

/// Fields that one tuple must have; `None` matches everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TupleMatch {
    /// Source address.
    pub src: Option<IpAddr>,
    /// Destination address.
    pub dst: Option<IpAddr>,
    /// Protocol number. The kernel refuses ports and ICMP fields without it (EINVAL).
    pub proto: Option<u8>,
    /// Source port.
    pub sport: Option<u16>,
    /// Destination port.
    pub dport: Option<u16>,
    /// ICMP or ICMPv6 type.
    pub icmp_type: Option<u8>,
    /// ICMP or ICMPv6 code.
    pub icmp_code: Option<u8>,
    /// ICMP or ICMPv6 identifier.
    pub icmp_id: Option<u16>,
}

/// Which bits of an entry's mark and labels an update touches; `None` replaces all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UpdateMask {
    /// New mark = (old & !mask) ^ [`Flow::mark`].
    pub mark: Option<u32>,
    /// New labels = (old & !mask) ^ [`Flow::labels`].
    pub labels: Option<Labels>,
}

fn begin(buf: &mut Vec<u8>, kind: u16, flags: u16, seq: u32, family: u8) -> Emitter<'_> {
    let header = Header {
        len: 0,
        kind,
        flags: NLM_F_REQUEST | flags,
        seq,
        port_id: 0,
    };
    Emitter::new(buf, header, family, 0)
}

fn family_number(family: Option<Family>) -> u8 {
    family.map_or(0, |family| family as u8)
}

/// Writes an entry, every attribute that it holds (kernel-owned ones such as id and counters left out).
///
/// Without [`Flow::reply`] the reply tuple is the mirrored original: the kernel applies [`Flow::nat`].
/// The kernel's rules are the caller's business: a timeout must be there to create; a status, if any,
/// must have CONFIRMED. Labels are written in full length, a SYN proxy state of zeros is left out.
pub fn write_flow(buf: &mut Vec<u8>, seq: u32, ack: Ack, write: Write, flow: &Flow) {
    update(
        buf,
        seq,
        ack.flags() | write.flags(),
        flow,
        &UpdateMask::default(),
    );
}

/// Changes the entry as [`Write::Update`] does, but of mark and labels only the bits in `mask`.
pub fn update_flow_masked(buf: &mut Vec<u8>, seq: u32, ack: Ack, flow: &Flow, mask: &UpdateMask) {
    update(buf, seq, ack.flags(), flow, mask);
}

fn update(buf: &mut Vec<u8>, seq: u32, flags: u16, flow: &Flow, mask: &UpdateMask) {
    let family = flow.orig.family() as u8;
    let mut out = begin(buf, IPCTNL_MSG_CT_NEW, flags, seq, family);
    let reply = flow.reply.unwrap_or_else(|| flow.orig.mirrored());
    write::tuples_and_zone(&mut out, flow, Some(&reply));
    if let Some(status) = flow.status {
        out.u32(CTA_STATUS, status.0);
    }
    if let Some(timeout_s) = flow.timeout_s {
        out.u32(CTA_TIMEOUT, timeout_s);
    }
    if let Some(mark) = flow.mark {
        out.u32(CTA_MARK, mark);
        if let Some(mask) = mask.mark {
            out.u32(CTA_MARK_MASK, mask);
        }
    }
    write::protoinfo(&mut out, &flow.proto);
    if let Some(helper) = &flow.helper {
        write::helper(&mut out, helper.as_bytes());
    }
    if let Some(master) = &flow.master {
        write::tuple(&mut out, CTA_TUPLE_MASTER, master, 0);
    }
    write::nat(&mut out, &flow.nat);
    if let Some(seq_adj) = &flow.seq_adj_orig {
        write::seq_adj(&mut out, CTA_SEQ_ADJ_ORIG, seq_adj);
    }
    if let Some(seq_adj) = &flow.seq_adj_reply {
        write::seq_adj(&mut out, CTA_SEQ_ADJ_REPLY, seq_adj);
    }
    if let Some(labels) = &flow.labels {
        write::all_labels(&mut out, CTA_LABELS, labels);
        if let Some(mask) = &mask.labels {
            write::all_labels(&mut out, CTA_LABELS_MASK, mask);
        }
    }
    if let Some(synproxy) = &flow.synproxy
        && *synproxy != Synproxy::default()
    {
        write::synproxy(&mut out, synproxy);
    }
    out.finish();
}

fn by_original(buf: &mut Vec<u8>, kind: u16, seq: u32, ack: Ack, key: &Key, id: Option<u32>) {
    let family = key.tuple.family() as u8;
    let mut out = begin(buf, kind, ack.flags(), seq, family);
    write::tuple(&mut out, CTA_TUPLE_ORIG, &key.tuple, 0);
    write::zone(&mut out, CTA_ZONE, key.zone);
    if let Some(id) = id {
        out.u32(CTA_ID, id);
    }
    out.finish();
}

/// Deletes the entry with this key; with an id, only that very entry.
pub fn delete_flow(buf: &mut Vec<u8>, seq: u32, ack: Ack, key: &Key, id: Option<u32>) {
    by_original(buf, IPCTNL_MSG_CT_DELETE, seq, ack, key, id);
}

/// Deletes the entry that has this tuple in its reply direction.
pub fn delete_flow_by_reply(buf: &mut Vec<u8>, seq: u32, ack: Ack, reply: &Tuple, zone: Zone) {
    let family = reply.family() as u8;
    let mut out = begin(buf, IPCTNL_MSG_CT_DELETE, ack.flags(), seq, family);
    write::tuple(&mut out, CTA_TUPLE_REPLY, reply, 0);
    write::zone(&mut out, CTA_ZONE, zone.reply);
    out.finish();
}

/// Asks for one entry. It arrives as [`crate::Reply::Flow`], a missing one as a verdict of ENOENT.
pub fn get_flow(buf: &mut Vec<u8>, seq: u32, ack: Ack, key: &Key) {
    by_original(buf, IPCTNL_MSG_CT_GET, seq, ack, key, None);
}

/// Asks for the entry that has this tuple in its reply direction.
pub fn get_flow_by_reply(buf: &mut Vec<u8>, seq: u32, ack: Ack, reply: &Tuple, zone: Zone) {
    let family = reply.family() as u8;
    let mut out = begin(buf, IPCTNL_MSG_CT_GET, ack.flags(), seq, family);
    write::tuple(&mut out, CTA_TUPLE_REPLY, reply, 0);
    write::zone(&mut out, CTA_ZONE, zone.reply);
    out.finish();
}

/// Asks for all entries.
pub fn dump_flows(buf: &mut Vec<u8>, seq: u32, filter: &DumpFilter) {
    dump(buf, IPCTNL_MSG_CT_GET, seq, filter);
}

/// Asks for all entries and zeroes the counters of each that is told.
pub fn dump_flows_and_zero_counters(buf: &mut Vec<u8>, seq: u32, filter: &DumpFilter) {
    dump(buf, IPCTNL_MSG_CT_GET_CTRZERO, seq, filter);
}

/// Asks for the entries that were deleted but whose destroy events are not yet delivered.
pub fn dump_dying(buf: &mut Vec<u8>, seq: u32, filter: &DumpFilter) {
    dump(buf, IPCTNL_MSG_CT_GET_DYING, seq, filter);
}

/// Asks for the entries that are not yet in the table.
pub fn dump_unconfirmed(buf: &mut Vec<u8>, seq: u32, filter: &DumpFilter) {
    dump(buf, IPCTNL_MSG_CT_GET_UNCONFIRMED, seq, filter);
}

fn dump(buf: &mut Vec<u8>, kind: u16, seq: u32, filter: &DumpFilter) {
    let family = family_number(filter.effective_family());
    let mut out = begin(buf, kind, NLM_F_DUMP, seq, family);
    filter.write(&mut out, Untrusted::Omit);
    out.finish();
}

/// Deletes all entries that match. Always answered by a verdict.
pub fn flush_flows(buf: &mut Vec<u8>, seq: u32, filter: &DumpFilter) {
    let family = filter.effective_family();
    let header = Header {
        kind: IPCTNL_MSG_CT_DELETE,
        flags: NLM_F_REQUEST | NLM_F_ACK,
        seq,
        ..Header::default()
    };
    // Version 0 of this message means all families, whatever its family field says.
    let version = u8::from(family.is_some());
    let mut out = Emitter::new(buf, header, family_number(family), version);
    filter.write(&mut out, Untrusted::Refuse);
    out.finish();
}

/// Writes an expectation. A translation without a tuple is left out: the kernel would refuse it.
pub fn write_expectation(
    buf: &mut Vec<u8>,
    seq: u32,
    ack: Ack,
    write: Write,
    expectation: &Expectation,
) {
    let family = expectation.tuple.family() as u8;
    let flags = ack.flags() | write.flags();
    let mut out = begin(buf, IPCTNL_MSG_EXP_NEW, flags, seq, family);
    write::expectation(&mut out, expectation);
    if let Some(nat) = &expectation.nat
        && nat.tuple.is_some()
    {
        write::expect_nat(&mut out, nat);
    }
    out.finish();
}

/// Deletes an expectation.
pub fn delete_expectation(buf: &mut Vec<u8>, seq: u32, ack: Ack, expectation: &Expectation) {
    by_expected(buf, IPCTNL_MSG_EXP_DELETE, seq, ack, expectation);
}

/// Asks for one expectation.
pub fn get_expectation(buf: &mut Vec<u8>, seq: u32, ack: Ack, expectation: &Expectation) {
    by_expected(buf, IPCTNL_MSG_EXP_GET, seq, ack, expectation);
}

fn by_expected(buf: &mut Vec<u8>, kind: u16, seq: u32, ack: Ack, expectation: &Expectation) {
    let family = expectation.tuple.family() as u8;
    let mut out = begin(buf, kind, ack.flags(), seq, family);
    write::tuple(&mut out, CTA_EXPECT_TUPLE, &expectation.tuple, 0);
    write::zone(&mut out, CTA_EXPECT_ZONE, expectation.zone);
    out.finish();
}

/// Asks for all expectations.
pub fn dump_expectations(buf: &mut Vec<u8>, seq: u32, family: Option<Family>) {
    let family = family_number(family);
    begin(buf, IPCTNL_MSG_EXP_GET, NLM_F_DUMP, seq, family).finish();
}

/// Deletes all expectations. Always answered by a verdict.
pub fn flush_expectations(buf: &mut Vec<u8>, seq: u32) {
    begin(buf, IPCTNL_MSG_EXP_DELETE, NLM_F_ACK, seq, 0).finish();
}

/// Asks how many entries there are; see [`crate::stats::global`]. A verdict follows the answer.
pub fn global_stats(buf: &mut Vec<u8>, seq: u32) {
    begin(buf, IPCTNL_MSG_CT_GET_STATS, NLM_F_ACK, seq, 0).finish();
}

/// Asks for the statistics of each CPU; see [`crate::stats::cpu`].
pub fn cpu_stats(buf: &mut Vec<u8>, seq: u32) {
    begin(buf, IPCTNL_MSG_CT_GET_STATS_CPU, NLM_F_DUMP, seq, 0).finish();
}

/// Asks for the expectation statistics of each CPU; see [`crate::stats::expectation_cpu`].
pub fn expectation_cpu_stats(buf: &mut Vec<u8>, seq: u32) {
    begin(buf, IPCTNL_MSG_EXP_GET_STATS_CPU, NLM_F_DUMP, seq, 0).finish();
}
