//! Both ends of a stream of messages.

use flow::{Expectation, Flow};

use super::wire::{MessageError, Reader, impossible, put_var, unzigzag, zigzag};
use super::word::{self, Table, Word};
use super::{Changes, Fields, Message, entry, expectation};

/// Longest body, bytes. A longer one ends the stream: nothing that there is comes near.
pub const BODY_LEN_MAX: usize = 16 * 1024;

mod kind {
    pub(super) const WORD: u8 = 0;
    pub(super) const FLOW_NEW: u8 = 1;
    pub(super) const FLOW_UPDATE: u8 = 2;
    pub(super) const FLOW_GONE: u8 = 3;
    pub(super) const EXPECTATION_NEW: u8 = 4;
    pub(super) const EXPECTATION_GONE: u8 = 5;
    pub(super) const ACK: u8 = 6;
}

/// Length that says that the length follows.
const LONG: u8 = 31;

/// Why nothing more of a stream can be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// A body longer than any can be.
    #[error("message of {len} bytes, at most {BODY_LEN_MAX} expected")]
    TooLong {
        /// What it said.
        len: u64,
    },
    /// A message whose handle cannot be read: all handles behind it mean others.
    #[error("handle: {0}")]
    Handle(MessageError),
}

/// The handles told last.
#[derive(Clone, Copy, Debug, Default)]
struct Handles {
    flow: u32,
    expectation: u32,
}

impl Handles {
    fn of(&mut self, table: Table) -> &mut u32 {
        match table {
            Table::Flows => &mut self.flow,
            Table::Expectations => &mut self.expectation,
        }
    }

    fn put(&mut self, buf: &mut Vec<u8>, table: Table, handle: u32) {
        let last = self.of(table);
        put_var(buf, zigzag(handle.wrapping_sub(*last).cast_signed()));
        *last = handle;
    }

    fn read(&mut self, reader: &mut Reader<'_>, table: Table) -> Result<u32, StreamError> {
        let delta = reader.var32("handle").map_err(StreamError::Handle)?;
        let last = self.of(table);
        *last = last.wrapping_add_signed(unzigzag(delta));
        Ok(*last)
    }
}

/// Writes messages of one stream, in the order in which they will be read.
#[derive(Clone, Debug, Default)]
pub struct Encoder {
    handles: Handles,
}

impl Encoder {
    /// The beginning of a stream.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends [`Message::NewFlow`].
    pub fn new_flow(&mut self, buf: &mut Vec<u8>, handle: u32, flow: &Flow) {
        let start = begin(buf, kind::FLOW_NEW);
        self.handles.put(buf, Table::Flows, handle);
        entry::put_flow(buf, flow, Fields::ALL);
        finish(buf, start);
    }

    /// Appends [`Message::UpdateFlow`]: these fields of `flow` as they are now; those that it does not know
    /// are told as known no more.
    pub fn update_flow(&mut self, buf: &mut Vec<u8>, handle: u32, fields: Fields, flow: &Flow) {
        let start = begin(buf, kind::FLOW_UPDATE);
        self.handles.put(buf, Table::Flows, handle);
        entry::put_changes(buf, fields, flow);
        finish(buf, start);
    }

    /// Appends [`Message::GoneFlow`].
    pub fn gone_flow(&mut self, buf: &mut Vec<u8>, handle: u32) {
        let start = begin(buf, kind::FLOW_GONE);
        self.handles.put(buf, Table::Flows, handle);
        finish(buf, start);
    }

    /// Appends [`Message::NewExpectation`].
    pub fn new_expectation(&mut self, buf: &mut Vec<u8>, handle: u32, expected: &Expectation) {
        let start = begin(buf, kind::EXPECTATION_NEW);
        self.handles.put(buf, Table::Expectations, handle);
        expectation::put(buf, expected, true);
        finish(buf, start);
    }

    /// Appends [`Message::GoneExpectation`].
    pub fn gone_expectation(&mut self, buf: &mut Vec<u8>, handle: u32) {
        let start = begin(buf, kind::EXPECTATION_GONE);
        self.handles.put(buf, Table::Expectations, handle);
        finish(buf, start);
    }

    /// Appends [`Message::StatementFlow`].
    pub fn statement_flow(&mut self, buf: &mut Vec<u8>, handle: u32, flow: Option<&Flow>) {
        let start = self.statement(buf, Table::Flows, handle, flow.is_some());
        if let Some(flow) = flow {
            entry::put_flow(buf, flow, Fields::ALL);
        }
        finish(buf, start);
    }

    /// Appends [`Message::StatementExpectation`].
    pub fn statement_expectation(
        &mut self,
        buf: &mut Vec<u8>,
        handle: u32,
        expected: Option<&Expectation>,
    ) {
        let start = self.statement(buf, Table::Expectations, handle, expected.is_some());
        if let Some(expected) = expected {
            expectation::put(buf, expected, true);
        }
        finish(buf, start);
    }

    fn statement(&mut self, buf: &mut Vec<u8>, table: Table, handle: u32, is_there: bool) -> usize {
        let [flow, expectation] = word::STATEMENTS;
        let start = begin(buf, kind::WORD);
        put_var(
            buf,
            match table {
                Table::Flows => flow,
                Table::Expectations => expectation,
            },
        );
        self.handles.put(buf, table, handle);
        buf.push(u8::from(is_there));
        start
    }

    /// Appends [`Message::Ack`].
    pub fn ack(&mut self, buf: &mut Vec<u8>, position: u64) {
        let start = begin(buf, kind::ACK);
        put_var(buf, position);
        finish(buf, start);
    }

    /// Appends [`Message::ReturnedFlow`].
    pub fn returned_flow(&mut self, buf: &mut Vec<u8>, flow: &Flow) {
        let start = begin(buf, kind::WORD);
        put_var(buf, word::RETURNED[0]);
        entry::put_flow(buf, flow, Fields::ALL);
        finish(buf, start);
    }

    /// Appends [`Message::ReturnedExpectation`].
    pub fn returned_expectation(&mut self, buf: &mut Vec<u8>, expected: &Expectation) {
        let start = begin(buf, kind::WORD);
        put_var(buf, word::RETURNED[1]);
        expectation::put(buf, expected, true);
        finish(buf, start);
    }

    /// Appends [`Message::Word`].
    pub fn word(&mut self, buf: &mut Vec<u8>, word: &Word<'_>) {
        let start = begin(buf, kind::WORD);
        word::put(buf, word);
        finish(buf, start);
    }
}

/// Room for the first byte of a message of this kind.
fn begin(buf: &mut Vec<u8>, kind: u8) -> usize {
    let start = buf.len();
    buf.push(kind << 5);
    start
}

/// Fills in the length.
fn finish(buf: &mut Vec<u8>, start: usize) {
    let body_start = start.saturating_add(1);
    let len = buf.len().saturating_sub(body_start);
    let is_short = len < usize::from(LONG);
    if let Some(first) = buf.get_mut(start) {
        *first |= if is_short { len as u8 } else { LONG };
    }
    if is_short {
        return;
    }
    if len < 0x80 {
        buf.insert(body_start, len as u8);
    } else {
        // No body needs more than two bytes of length.
        buf.insert(body_start, (len >> 7) as u8);
        buf.insert(body_start, (len & 0x7f) as u8 | 0x80);
    }
}

/// Reads messages of one stream out of its pieces.
///
/// Holds no more than one unfinished message beside what was pushed last.
#[derive(Clone, Debug, Default)]
pub struct Decoder {
    handles: Handles,
    buffer: Vec<u8>,
    start: usize,
}

impl Decoder {
    /// The beginning of a stream.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes of the stream. Call [`Decoder::next`] until `None` before pushing more.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.start);
        self.start = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// The handles of connections that the whole messages at hand change or end (`true`), as far as can be seen
    /// without reading them; nothing is taken.
    pub fn flows_ahead(&self) -> impl Iterator<Item = (u32, bool)> + '_ {
        FlowsAhead {
            rest: self.buffer.get(self.start..).unwrap_or_default(),
            handles: self.handles,
        }
    }

    /// The next whole message; `None` until more is pushed.
    ///
    /// The inner error costs one message; the stream goes on behind it.
    ///
    /// # Errors
    /// When nothing behind this can be understood any more.
    #[allow(clippy::should_implement_trait, clippy::type_complexity)]
    pub fn next(&mut self) -> Result<Option<Result<Message<'_>, MessageError>>, StreamError> {
        let rest = self.buffer.get(self.start..).unwrap_or_default();
        let Some((kind, body_start, len)) = envelope(rest)? else {
            return Ok(None);
        };
        let end = body_start.saturating_add(len);
        let Some(body) = rest.get(body_start..end) else {
            return Ok(None);
        };
        self.start = self.start.saturating_add(end);
        read(kind, Reader::new(body), &mut self.handles)
    }
}

/// Handles of connections that the messages to come change or end.
#[derive(Clone, Debug)]
struct FlowsAhead<'a> {
    rest: &'a [u8],
    handles: Handles,
}

impl Iterator for FlowsAhead<'_> {
    type Item = (u32, bool);

    fn next(&mut self) -> Option<(u32, bool)> {
        loop {
            let (kind, body_start, len) = envelope(self.rest).ok()??;
            let end = body_start.checked_add(len)?;
            let mut reader = Reader::new(self.rest.get(body_start..end)?);
            self.rest = self.rest.get(end..)?;
            match kind {
                kind::FLOW_NEW => {
                    self.handles.read(&mut reader, Table::Flows).ok()?;
                }
                kind::FLOW_UPDATE | kind::FLOW_GONE => {
                    let handle = self.handles.read(&mut reader, Table::Flows).ok()?;
                    return Some((handle, kind == kind::FLOW_GONE));
                }
                // Of words some have handles, others mean that nothing can be foreseen.
                kind::WORD => return None,
                _ => {}
            }
        }
    }
}

/// Kind, where the body begins, how long it is; `None` when that has not arrived.
fn envelope(bytes: &[u8]) -> Result<Option<(u8, usize, usize)>, StreamError> {
    let Some((&first, rest)) = bytes.split_first() else {
        return Ok(None);
    };
    let (kind, len) = (first >> 5, first & 0x1f);
    if len != LONG {
        return Ok(Some((kind, 1, usize::from(len))));
    }
    let mut reader = Reader::new(rest);
    let len = match reader.var64("length") {
        Ok(len) => len,
        Err(MessageError::Truncated { .. }) => return Ok(None),
        Err(MessageError::Value { value, .. }) => return Err(StreamError::TooLong { len: value }),
    };
    match usize::try_from(len) {
        Ok(body_len) if body_len <= BODY_LEN_MAX => {
            let taken = bytes.len().saturating_sub(reader.rest().len());
            Ok(Some((kind, taken, body_len)))
        }
        _ => Err(StreamError::TooLong { len }),
    }
}

/// Messages are large, and most of them say little: what is returned is built where it is to be, and not moved.
#[inline]
fn read<'a>(
    kind: u8,
    mut reader: Reader<'a>,
    handles: &mut Handles,
) -> Result<Option<Result<Message<'a>, MessageError>>, StreamError> {
    let reader = &mut reader;
    match kind {
        kind::FLOW_UPDATE => {
            let handle = handles.read(reader, Table::Flows)?;
            let changes = Changes::new(*reader);
            Ok(Some(Ok(Message::UpdateFlow { handle, changes })))
        }
        kind::FLOW_GONE => {
            let handle = handles.read(reader, Table::Flows)?;
            Ok(Some(Ok(Message::GoneFlow { handle })))
        }
        _ => read_large(kind, reader, handles).map(Some),
    }
}

fn read_large<'a>(
    kind: u8,
    reader: &mut Reader<'a>,
    handles: &mut Handles,
) -> Result<Result<Message<'a>, MessageError>, StreamError> {
    Ok(match kind {
        kind::WORD => return read_word(reader, handles),
        kind::FLOW_NEW => {
            let handle = handles.read(reader, Table::Flows)?;
            entry::read_flow(reader).map(|flow| Message::NewFlow { handle, flow })
        }
        kind::EXPECTATION_NEW => {
            let handle = handles.read(reader, Table::Expectations)?;
            expectation::read(reader).map(|expectation| Message::NewExpectation {
                handle,
                expectation,
            })
        }
        kind::EXPECTATION_GONE => {
            let handle = handles.read(reader, Table::Expectations)?;
            Ok(Message::GoneExpectation { handle })
        }
        kind::ACK => reader
            .var64("position")
            .map(|position| Message::Ack { position }),
        _ => Ok(Message::Unknown),
    })
}

fn read_word<'a>(
    reader: &mut Reader<'a>,
    handles: &mut Handles,
) -> Result<Result<Message<'a>, MessageError>, StreamError> {
    let [flow, expectation] = word::STATEMENTS;
    let [returned_flow, returned_expectation] = word::RETURNED;
    let number = match reader.var32("word") {
        Ok(number) => number,
        Err(error) => return Ok(Err(error)),
    };
    Ok(if number == flow {
        let handle = handles.read(reader, Table::Flows)?;
        stated(reader, entry::read_flow).map(|flow| Message::StatementFlow { handle, flow })
    } else if number == expectation {
        let handle = handles.read(reader, Table::Expectations)?;
        stated(reader, expectation::read).map(|expectation| Message::StatementExpectation {
            handle,
            expectation,
        })
    } else if number == returned_flow {
        entry::read_flow(reader).map(|flow| Message::ReturnedFlow { flow })
    } else if number == returned_expectation {
        expectation::read(reader).map(|expectation| Message::ReturnedExpectation { expectation })
    } else {
        word::read(number, reader).map(|word| word.map_or(Message::Unknown, Message::Word))
    })
}

fn stated<'a, T>(
    reader: &mut Reader<'a>,
    read: impl FnOnce(&mut Reader<'a>) -> Result<T, MessageError>,
) -> Result<Option<T>, MessageError> {
    match reader.u8("statement")? {
        0 => Ok(None),
        1 => read(reader).map(Some),
        other => Err(impossible("statement", other)),
    }
}
