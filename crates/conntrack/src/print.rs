//! Entries as text.
//!
//! Everything is appended to a buffer that the caller reuses; nothing is allocated per entry.

pub mod text;

mod json;
mod plain;
mod save;
mod xml;

use std::time::{SystemTime, UNIX_EPOCH};

pub use ctnetlink::EventKind;
use flow::{Expectation, Flow, Timestamp};
use jiff::Zoned;
use jiff::tz::TimeZone;
pub(crate) use json::Object;

use crate::{
    command::Table, labels::LabelMap, origin::Origin, request::Request, words::OutputWords,
};

/// The shape of the output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// The usual lines.
    #[default]
    Plain,
    /// One element a line.
    Xml,
    /// Lines that can be loaded again.
    Save,
    /// One object a line.
    Json,
}

/// An entry to print.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// The entry.
    pub flow: &'a Flow,
    /// Its security context.
    pub secctx: Option<&'a [u8]>,
    /// What happened, when it is an event.
    pub event: Option<EventKind>,
}

/// Turns entries into text.
#[derive(Debug)]
pub struct Printer {
    format: Format,
    table: Table,
    style: OutputWords,
    /// Set when labels are shown.
    labels: Option<LabelMap>,
    /// That of dates.
    zone: TimeZone,
}

impl Printer {
    /// The printer that a request asks for.
    #[must_use]
    pub fn new(request: &Request) -> Self {
        let style = request.output;
        let format = if style.save {
            Format::Save
        } else if style.json {
            Format::Json
        } else if style.xml {
            Format::Xml
        } else {
            Format::Plain
        };
        let needs_zone = style.ktimestamp || style.timestamp;
        Self {
            format,
            table: request.table,
            style,
            labels: request.label_map.clone(),
            zone: if needs_zone {
                TimeZone::system()
            } else {
                TimeZone::UTC
            },
        }
    }

    /// Local time at a moment, in nanoseconds since 1970.
    fn local_time(&self, unix_time_ns: u64) -> Zoned {
        jiff::Timestamp::from_nanosecond(unix_time_ns.into())
            .unwrap_or_default()
            .to_zoned(self.zone.clone())
    }

    /// The printer that a request asks for, but labels are never shown.
    #[must_use]
    pub fn without_labels(request: &Request) -> Self {
        Self {
            labels: None,
            ..Self::of_changes(request)
        }
    }

    /// A printer of entries that are changed or deleted.
    ///
    /// compat: since when they have been there is not shown.
    #[must_use]
    pub fn of_changes(request: &Request) -> Self {
        let mut printer = Self::new(request);
        printer.style.ktimestamp = false;
        printer
    }

    /// The shape of the output.
    #[must_use]
    pub fn format(&self) -> Format {
        self.format
    }

    /// What precedes the first entry of a document.
    #[must_use]
    pub fn head(&self) -> &'static [u8] {
        if self.format == Format::Xml {
            match self.table {
                Table::Expect => xml::EXPECT_HEAD,
                _ => xml::HEAD,
            }
        } else {
            b""
        }
    }

    /// What follows the last entry of a document.
    #[must_use]
    pub fn tail(&self) -> &'static [u8] {
        if self.format == Format::Xml {
            match self.table {
                Table::Expect => xml::EXPECT_TAIL,
                _ => xml::TAIL,
            }
        } else {
            b""
        }
    }

    /// Appends an entry that was read, and a line end.
    pub fn listed(&self, out: &mut Vec<u8>, flow: &Flow, secctx: Option<&[u8]>) {
        let entry = Entry {
            flow,
            secctx,
            event: None,
        };
        self.entry(out, &entry, EventKind::New);
        out.push(b'\n');
    }

    /// Appends an entry that was deleted, and a line end.
    pub fn deleted(&self, out: &mut Vec<u8>, flow: &Flow, secctx: Option<&[u8]>) {
        let entry = Entry {
            flow,
            secctx,
            event: None,
        };
        self.entry(out, &entry, EventKind::Destroy);
        out.push(b'\n');
    }

    /// Appends an event, who caused it, and a line end.
    pub fn event(&self, out: &mut Vec<u8>, entry: &Entry<'_>, origin: Option<&Origin>) {
        if self.format == Format::Json {
            return json::flow(self, out, entry, origin);
        }
        if self.style.timestamp && self.format == Format::Plain {
            stamp(out, b'0');
        }
        self.entry(out, entry, entry.event.unwrap_or(EventKind::New));
        append_origin(out, origin);
        out.push(b'\n');
    }

    fn entry(&self, out: &mut Vec<u8>, entry: &Entry<'_>, saved_as: EventKind) {
        match self.format {
            Format::Plain => plain::flow(self, out, entry),
            Format::Xml => xml::flow(self, out, entry),
            Format::Save => save::flow(out, entry.flow, saved_as),
            Format::Json => {
                json::flow(self, out, entry, None);
                out.pop();
            }
        }
    }

    /// Appends an expectation that was read, and a line end.
    pub fn expectation(&self, out: &mut Vec<u8>, expectation: &Expectation) {
        self.expectation_event(out, expectation, None, None);
    }

    /// Appends what happened to an expectation, and a line end; in JSON who caused it too.
    pub fn expectation_event(
        &self,
        out: &mut Vec<u8>,
        expectation: &Expectation,
        event: Option<EventKind>,
        origin: Option<&Origin>,
    ) {
        match self.format {
            Format::Json => return json::expectation(self, out, expectation, event, origin),
            Format::Xml => xml::expectation(self, out, expectation, event),
            Format::Plain | Format::Save => {
                if self.style.timestamp {
                    // compat: blanks before the microseconds, other than for entries.
                    stamp(out, b' ');
                }
                out.extend_from_slice(match event {
                    None => b"",
                    Some(EventKind::New) => b"    [NEW] ",
                    Some(EventKind::Update) => b" [UPDATE] ",
                    Some(EventKind::Destroy) => b"[DESTROY] ",
                });
                plain::expectation(out, expectation);
            }
        }
        // compat: who caused it is told of entries only.
        out.push(b'\n');
    }
}

fn append_origin(out: &mut Vec<u8>, origin: Option<&Origin>) {
    if let Some(origin) = origin {
        out.extend_from_slice(b" [USERSPACE] portid=");
        text::decimal(out, origin.port_id);
        if let Some(program) = &origin.program {
            out.extend_from_slice(b" progname=");
            out.extend_from_slice(program.as_bytes());
        }
    }
}

/// Appends the present moment as `[seconds.microseconds]` and a tab.
fn stamp(out: &mut Vec<u8>, fill: u8) {
    let now_ns = now_ns();
    out.push(b'[');
    text::decimal(out, now_ns / 1_000_000_000);
    out.push(b'.');
    text::padded(out, now_ns / 1000 % 1_000_000, 6, fill);
    out.extend_from_slice(b"]\t");
}

fn now_ns() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// Seconds from the start of an entry to its end or to now.
fn age_s(timestamp: &Timestamp) -> u64 {
    let end_ns = timestamp.stop_ns.unwrap_or_else(now_ns);
    end_ns.saturating_sub(timestamp.start_ns) / 1_000_000_000
}

/// Names of the flags of an expectation.
fn expectation_flags(flags: u32) -> impl Iterator<Item = &'static str> {
    [(1, "PERMANENT"), (2, "INACTIVE"), (4, "USERSPACE")]
        .into_iter()
        .filter(move |(bit, _)| flags & bit != 0)
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests;
