//! Requests to the kernel. Each appends one message to `buf`, so that a buffer holds a batch.

use flow::{Expectation, Family, Flow, Key, Status, Tuple, Zone};

/// Whether success is told too; errors always are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ack {
    /// Only errors.
    Silent,
    /// Success and errors.
    Wanted,
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

/// Which entries a dump or a flush is about; all conditions must hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DumpFilter {
    /// Only this family.
    pub family: Option<Family>,
    /// Value and mask of the mark.
    pub mark: Option<(u32, u32)>,
    /// Value and mask of the status.
    pub status: Option<(Status, Status)>,
    /// Only this zone.
    pub zone: Option<u16>,
    // The ctnetlink owner adds tuple-field filters (CTA_FILTER) here.
}

/// Writes an entry, every attribute that it holds (kernel-owned ones such as id and counters left out).
///
/// Without [`Flow::reply`] the reply tuple is the mirrored original: the kernel applies [`Flow::nat`].
pub fn write_flow(_buf: &mut Vec<u8>, _seq: u32, _ack: Ack, _write: Write, _flow: &Flow) {
    todo!()
}

/// Deletes the entry with this key; with an id, only that very entry.
pub fn delete_flow(_buf: &mut Vec<u8>, _seq: u32, _ack: Ack, _key: &Key, _id: Option<u32>) {
    todo!()
}

/// Deletes the entry that has this tuple in its reply direction.
pub fn delete_flow_by_reply(_buf: &mut Vec<u8>, _seq: u32, _ack: Ack, _reply: &Tuple, _zone: Zone) {
    todo!()
}

/// Asks for one entry. It arrives as [`crate::Reply::Flow`], a missing one as a verdict of ENOENT.
pub fn get_flow(_buf: &mut Vec<u8>, _seq: u32, _ack: Ack, _key: &Key) {
    todo!()
}

/// Asks for all entries.
pub fn dump_flows(_buf: &mut Vec<u8>, _seq: u32, _filter: &DumpFilter) {
    todo!()
}

/// Deletes all entries that match.
pub fn flush_flows(_buf: &mut Vec<u8>, _seq: u32, _filter: &DumpFilter) {
    todo!()
}

/// Writes an expectation.
pub fn write_expectation(
    _buf: &mut Vec<u8>,
    _seq: u32,
    _ack: Ack,
    _write: Write,
    _expectation: &Expectation,
) {
    todo!()
}

/// Deletes an expectation.
pub fn delete_expectation(_buf: &mut Vec<u8>, _seq: u32, _ack: Ack, _expectation: &Expectation) {
    todo!()
}

/// Asks for all expectations.
pub fn dump_expectations(_buf: &mut Vec<u8>, _seq: u32, _family: Option<Family>) {
    todo!()
}

/// Deletes all expectations.
pub fn flush_expectations(_buf: &mut Vec<u8>, _seq: u32) {
    todo!()
}
