//! The words of a session: everything but entries.

use crate::digest::{Digest, DigestKey};

use super::wire::{MessageError, Reader, impossible, put_var};

mod number {
    pub(super) const HELLO: u32 = 0;
    pub(super) const CHECK: u32 = 1;
    pub(super) const DOUBT: u32 = 2;
    pub(super) const WANT: u32 = 4;
    pub(super) const COMPLETE: u32 = 5;
    pub(super) const ROLE: u32 = 6;
    pub(super) const TAKEOVER: u32 = 7;
    pub(super) const REQUEST: u32 = 8;
    pub(super) const RETURNING: u32 = 9;
    // 3 is free.
    // 10 and 11 are statements, 13 and 14 are returned: entries, read where entries are.
    pub(super) const FLOW_STATEMENT: u32 = 10;
    pub(super) const EXPECTATION_STATEMENT: u32 = 11;
    pub(super) const RETURNED: u32 = 12;
    pub(super) const RETURNED_FLOW: u32 = 13;
    pub(super) const RETURNED_EXPECTATION: u32 = 14;
}

/// Numbers of the words that hold entries.
pub(super) const STATEMENTS: [u32; 2] = [number::FLOW_STATEMENT, number::EXPECTATION_STATEMENT];

/// Numbers of the words that hold entries given back.
pub(super) const RETURNED: [u32; 2] = [number::RETURNED_FLOW, number::RETURNED_EXPECTATION];

/// Longest name of a node, bytes.
const NAME_LEN_MAX: usize = 64;

/// A table; handles of the two have nothing to do with each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Table {
    /// Connections.
    Flows,
    /// Expectations.
    Expectations,
}

/// Neighbouring handles of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// Table.
    pub table: Table,
    /// First handle.
    pub first: u32,
    /// How many handles, vacant ones included.
    pub count: u32,
}

/// What a node knows beyond version 1 of the dialect. Bits that the other does not know, it ignores; a node
/// uses only what both know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities(pub u64);

impl Capabilities {
    /// What both have.
    #[must_use]
    pub const fn common(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

/// Where a former session stood, for going on from there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resume {
    /// Epoch of the peer that was heard.
    pub epoch: u64,
    /// Messages of it that have been applied.
    pub position: u64,
}

/// The first word on every stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello<'a> {
    /// Version of the dialect that the sender prefers; [`super::VERSION`].
    pub version: u8,
    /// Name of the node; at most 64 bytes of it travel.
    pub name: &'a str,
    /// Random at every start of the daemon.
    pub epoch: u64,
    /// What the sender knows.
    pub capabilities: Capabilities,
    /// Key of the digests in this stream.
    pub digest_key: DigestKey,
    /// Own connections at this moment.
    pub flows: u32,
    /// Own expectations at this moment.
    pub expectations: u32,
    /// What the sender still has of the receiver.
    pub resume: Option<Resume>,
}

/// Hashes of neighbouring handles, 0 for vacant ones; at most [`Hashes::MAX`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Hashes {
    of: [u64; Self::MAX],
    len: u8,
}

impl Hashes {
    /// Most hashes in one word.
    pub const MAX: usize = 64;

    /// Takes the first [`Hashes::MAX`].
    #[must_use]
    pub fn new(hashes: impl IntoIterator<Item = u64>) -> Self {
        let mut these = Self {
            of: [0; Self::MAX],
            len: 0,
        };
        for (slot, hash) in these.of.iter_mut().zip(hashes) {
            *slot = hash;
            these.len = these.len.saturating_add(1);
        }
        these
    }

    /// The hashes.
    #[must_use]
    pub fn as_slice(&self) -> &[u64] {
        self.of.get(..usize::from(self.len)).unwrap_or_default()
    }
}

impl std::fmt::Debug for Hashes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.as_slice()).finish()
    }
}

/// What a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoleWord {
    /// Nobody has told it.
    Unset,
    /// Takes traffic.
    Primary,
    /// Stands by.
    Backup,
    /// Neither.
    Faulty,
}

/// Connections of another node are the sender's from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Takeover<'a> {
    /// Order of claims: the later one counts.
    pub term: u64,
    /// Name of the node whose connections they were; at most 64 bytes of it travel.
    pub from: &'a str,
}

/// Everything that is said beside entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::large_enum_variant)]
pub enum Word<'a> {
    /// The first word.
    Hello(Hello<'a>),
    /// The sender's entries under these handles have this digest, at this place of the stream.
    Check(Range, Digest),
    /// The receiver's entries under these handles have another digest. With hashes, one per handle, where the
    /// range is short enough ([`Hashes::MAX`]) to be stated.
    Doubt(Range, Option<Hashes>),
    /// What stood under these handles has run out at the receiver, and it wants it again: bit `n` is the handle
    /// `first + n`.
    Want {
        /// Table.
        table: Table,
        /// Handle of bit 0.
        first: u32,
        /// Which.
        handles: u64,
    },
    /// Every entry has been told since the sender's start. What was not, is no more.
    Complete,
    /// The sender's role, and the term in which it took it.
    Role(RoleWord, u64),
    /// A change of owner.
    Takeover(Takeover<'a>),
    /// The sender has started anew and wants back what the other end has of it since before.
    Request,
    /// What the sender has of the receiver since before the receiver started anew comes next.
    Returning {
        /// So long ago the sender had last heard of the receiver's former life, milliseconds.
        quiet_ms: u64,
        /// It had been told everything by it.
        is_complete: bool,
    },
    /// All that the sender had of the receiver's has been given back.
    Returned {
        /// Connections that it had; of those, the ones were given back that had not been told again.
        had: u64,
    },
}

pub(super) fn put(buf: &mut Vec<u8>, word: &Word<'_>) {
    match word {
        Word::Hello(hello) => put_hello(buf, hello),
        Word::Check(range, digest) => {
            put_var(buf, number::CHECK);
            put_range(buf, range);
            buf.extend_from_slice(&digest.0);
        }
        Word::Doubt(range, hashes) => {
            put_var(buf, number::DOUBT);
            put_range(buf, range);
            buf.push(u8::from(hashes.is_some()));
            if let Some(hashes) = hashes {
                put_hashes(buf, hashes);
            }
        }
        Word::Want {
            table,
            first,
            handles,
        } => {
            put_var(buf, number::WANT);
            put_table(buf, *table);
            put_var(buf, *first);
            buf.extend_from_slice(&handles.to_be_bytes());
        }
        Word::Complete => put_var(buf, number::COMPLETE),
        Word::Role(role, term) => {
            put_var(buf, number::ROLE);
            buf.push(*role as u8);
            put_var(buf, *term);
        }
        Word::Takeover(takeover) => {
            put_var(buf, number::TAKEOVER);
            put_var(buf, takeover.term);
            put_name(buf, takeover.from);
        }
        Word::Request => put_var(buf, number::REQUEST),
        Word::Returning {
            quiet_ms,
            is_complete,
        } => {
            put_var(buf, number::RETURNING);
            put_var(buf, *quiet_ms);
            buf.push(u8::from(*is_complete));
        }
        Word::Returned { had } => {
            put_var(buf, number::RETURNED);
            put_var(buf, *had);
        }
    }
}

/// Reads the word with this number; `None` for numbers of later versions.
pub(super) fn read<'a>(
    word: u32,
    reader: &mut Reader<'a>,
) -> Result<Option<Word<'a>>, MessageError> {
    Ok(Some(match word {
        number::HELLO => Word::Hello(read_hello(reader)?),
        number::CHECK => Word::Check(read_range(reader)?, Digest(reader.bytes("digest")?)),
        number::DOUBT => {
            let range = read_range(reader)?;
            let hashes = match reader.u8("doubt")? {
                0 => None,
                _ => Some(read_hashes(reader)?),
            };
            Word::Doubt(range, hashes)
        }
        number::WANT => Word::Want {
            table: read_table(reader)?,
            first: reader.var32("handle")?,
            handles: reader.u64("handles")?,
        },
        number::COMPLETE => Word::Complete,
        number::ROLE => Word::Role(read_role(reader)?, reader.var64("term")?),
        number::TAKEOVER => Word::Takeover(Takeover {
            term: reader.var64("term")?,
            from: read_name(reader)?,
        }),
        number::REQUEST => Word::Request,
        number::RETURNING => Word::Returning {
            quiet_ms: reader.var64("quiet")?,
            is_complete: reader.u8("complete")? != 0,
        },
        number::RETURNED => Word::Returned {
            had: reader.var64("count")?,
        },
        _ => return Ok(None),
    }))
}

fn put_hello(buf: &mut Vec<u8>, hello: &Hello<'_>) {
    put_var(buf, number::HELLO);
    buf.push(hello.version);
    put_name(buf, hello.name);
    buf.extend_from_slice(&hello.epoch.to_be_bytes());
    put_var(buf, hello.capabilities.0);
    buf.extend_from_slice(&hello.digest_key.0);
    put_var(buf, hello.flows);
    put_var(buf, hello.expectations);
    buf.push(u8::from(hello.resume.is_some()));
    if let Some(resume) = hello.resume {
        buf.extend_from_slice(&resume.epoch.to_be_bytes());
        put_var(buf, resume.position);
    }
}

fn read_hello<'a>(reader: &mut Reader<'a>) -> Result<Hello<'a>, MessageError> {
    Ok(Hello {
        version: reader.u8("version")?,
        name: read_name(reader)?,
        epoch: reader.u64("epoch")?,
        capabilities: Capabilities(reader.var64("capabilities")?),
        digest_key: DigestKey(reader.bytes("digest key")?),
        flows: reader.var32("flows")?,
        expectations: reader.var32("expectations")?,
        resume: match reader.u8("resume")? {
            0 => None,
            _ => Some(Resume {
                epoch: reader.u64("epoch")?,
                position: reader.var64("position")?,
            }),
        },
    })
}

fn put_table(buf: &mut Vec<u8>, table: Table) {
    buf.push(match table {
        Table::Flows => 0,
        Table::Expectations => 1,
    });
}

fn read_table(reader: &mut Reader<'_>) -> Result<Table, MessageError> {
    match reader.u8("table")? {
        0 => Ok(Table::Flows),
        1 => Ok(Table::Expectations),
        other => Err(impossible("table", other)),
    }
}

fn put_range(buf: &mut Vec<u8>, range: &Range) {
    put_table(buf, range.table);
    put_var(buf, range.first);
    put_var(buf, range.count);
}

/// A range never reaches beyond the highest handle that there can be.
fn read_range(reader: &mut Reader<'_>) -> Result<Range, MessageError> {
    let range = Range {
        table: read_table(reader)?,
        first: reader.var32("handle")?,
        count: reader.var32("handles")?,
    };
    match range.first.checked_add(range.count) {
        Some(_) => Ok(range),
        None => Err(impossible("handles", range.count)),
    }
}

fn put_hashes(buf: &mut Vec<u8>, hashes: &Hashes) {
    buf.push(hashes.len);
    for hash in hashes.as_slice() {
        buf.extend_from_slice(&hash.to_be_bytes());
    }
}

fn read_hashes(reader: &mut Reader<'_>) -> Result<Hashes, MessageError> {
    let len = reader.u8("hashes")?;
    if usize::from(len) > Hashes::MAX {
        return Err(impossible("hashes", len));
    }
    let mut hashes = Hashes {
        of: [0; Hashes::MAX],
        len,
    };
    for hash in hashes.of.iter_mut().take(usize::from(len)) {
        *hash = reader.u64("hash")?;
    }
    Ok(hashes)
}

/// Appends a name, as much of it as may travel.
fn put_name(buf: &mut Vec<u8>, name: &str) {
    let mut len = name.len().min(NAME_LEN_MAX);
    while !name.is_char_boundary(len) {
        len = len.saturating_sub(1);
    }
    let name = name.get(..len).unwrap_or_default();
    buf.push(name.len() as u8);
    buf.extend_from_slice(name.as_bytes());
}

fn read_name<'a>(reader: &mut Reader<'a>) -> Result<&'a str, MessageError> {
    let len = reader.u8("name")?;
    if usize::from(len) > NAME_LEN_MAX {
        return Err(impossible("name length", len));
    }
    let name = reader.slice(usize::from(len), "name")?;
    str::from_utf8(name).map_err(|error| impossible("name at byte", error.valid_up_to() as u64))
}

fn read_role(reader: &mut Reader<'_>) -> Result<RoleWord, MessageError> {
    Ok(match reader.u8("role")? {
        0 => RoleWord::Unset,
        1 => RoleWord::Primary,
        2 => RoleWord::Backup,
        3 => RoleWord::Faulty,
        other => return Err(impossible("role", other)),
    })
}
