//! The requests of the control socket.
//!
//! A client sends four bytes, a number in host byte order, and reads text until the end.

use engine::api::{Caches, Scope};
use engine::{Command, Role};

/// Everything a client can ask for. The values are those on the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u32)]
pub enum Request {
    /// `-F ct`.
    FlushKernel = 0,
    /// `-R ct`.
    ResyncFromKernel = 1,
    /// `-i`.
    DumpInternal = 16,
    /// `-e`.
    DumpExternal = 17,
    /// `-c ct`.
    Commit = 18,
    /// Empty both caches; no client sends it.
    FlushBothCaches = 19,
    /// `-k`.
    Kill = 20,
    /// `-s`.
    Statistics = 21,
    /// `-B`.
    SendBulk = 22,
    /// `-n`.
    RequestResync = 23,
    /// `-i -x`.
    DumpInternalXml = 24,
    /// `-e -x`.
    DumpExternalXml = 25,
    /// `-t`.
    SchedulePurge = 26,
    /// `-s network`.
    StatisticsNetwork = 28,
    /// `-s cache`.
    StatisticsCache = 29,
    /// `-s runtime`.
    StatisticsRuntime = 30,
    /// `-s link`.
    StatisticsLink = 31,
    /// `-s rsqueue`.
    StatisticsResendQueue = 32,
    /// `-f internal`.
    FlushInternal = 33,
    /// `-f external`.
    FlushExternal = 34,
    /// `-s process`.
    StatisticsProcess = 35,
    /// `-s queue`.
    StatisticsQueue = 36,
    /// `-s expect`.
    StatisticsExpectations = 37,
    /// `-F expect`.
    FlushKernelExpectations = 38,
    /// `-R expect`.
    ResyncExpectationsFromKernel = 39,
    /// `-i expect`.
    DumpInternalExpectations = 40,
    /// `-e expect`.
    DumpExternalExpectations = 41,
    /// `-c expect`.
    CommitExpectations = 42,
    /// `-F`.
    FlushKernelAll = 43,
    /// `-R`.
    ResyncAllFromKernel = 44,
    /// `-f`.
    FlushCaches = 45,
    /// `-c`.
    CommitAll = 46,
    /// `-i expect -x`.
    DumpInternalExpectationsXml = 47,
    /// `-e expect -x`.
    DumpExternalExpectationsXml = 48,
    // The original's numbers end below 64; these are far above.
    /// `role`.
    Role = 4096,
    /// `role primary`.
    BecomePrimary = 4097,
    /// `role backup`.
    BecomeBackup = 4098,
    /// `role fault`.
    BecomeFault = 4099,
    /// `ready`.
    Ready = 4100,
    /// `stats --json`.
    Report = 4101,
    /// `peers --json`.
    Peers = 4102,
    /// `role primary --from`. The names follow: see [`crate::takeover`].
    TakeOver = 4103,
    /// `dump internal --json`.
    DumpInternalJson = 4112,
    /// `dump external --json`.
    DumpExternalJson = 4113,
    /// `dump internal expect --json`.
    DumpInternalExpectationsJson = 4114,
    /// `dump external expect --json`.
    DumpExternalExpectationsJson = 4115,
    /// Who has the most entries in the internal cache.
    TalkersInternal = 4116,
    /// Who has the most entries in the external cache.
    TalkersExternal = 4117,
    /// The external cache in the format of the link, for a rehearsal.
    Export = 4118,
}

/// A page of statistics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Page {
    /// `-s`.
    General,
    /// `-s network`.
    Network,
    /// `-s cache`.
    Cache,
    /// `-s runtime`.
    Runtime,
    /// `-s link`.
    Link,
    /// `-s rsqueue`.
    ResendQueue,
    /// `-s process`.
    Process,
    /// `-s queue`.
    Queue,
    /// `-s expect`.
    Expectations,
}

/// Whose entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The own kernel's.
    Internal,
    /// The peer's.
    External,
}

/// Which entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Table {
    /// Connections.
    Flows,
    /// Expectations.
    Expectations,
}

/// How entries are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// A line of words.
    Plain,
    /// An element on a line.
    Xml,
    /// An object on a line.
    Json,
}

/// A listing of a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Dump {
    /// Whose entries.
    pub side: Side,
    /// Which entries.
    pub table: Table,
    /// How they are written.
    pub format: Format,
}

/// What a request needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The core carries out a command; the connection ends when it does.
    Command(Command),
    /// A page of statistics.
    Statistics(Page),
    /// A listing.
    Dump(Dump),
    /// A role is taken; the answer tells how that has ended.
    Become(Role),
    /// The role primary is taken, and that of the peers whose names follow; the answer as of [`Answer::Become`].
    TakeOver,
    /// The role.
    Role,
    /// Whether the node could take over.
    Ready,
    /// All statistics, for programs.
    Report,
    /// The peers of the native dialect, for programs.
    Peers,
    /// Who has the most entries.
    Talkers(Side),
    /// The external cache, as a peer tells it.
    Export,
    /// The daemon ends.
    Kill,
    /// Nothing.
    None,
}

impl Request {
    /// All requests, by number.
    pub const ALL: [Self; 49] = [
        Self::FlushKernel,
        Self::ResyncFromKernel,
        Self::DumpInternal,
        Self::DumpExternal,
        Self::Commit,
        Self::FlushBothCaches,
        Self::Kill,
        Self::Statistics,
        Self::SendBulk,
        Self::RequestResync,
        Self::DumpInternalXml,
        Self::DumpExternalXml,
        Self::SchedulePurge,
        Self::StatisticsNetwork,
        Self::StatisticsCache,
        Self::StatisticsRuntime,
        Self::StatisticsLink,
        Self::StatisticsResendQueue,
        Self::FlushInternal,
        Self::FlushExternal,
        Self::StatisticsProcess,
        Self::StatisticsQueue,
        Self::StatisticsExpectations,
        Self::FlushKernelExpectations,
        Self::ResyncExpectationsFromKernel,
        Self::DumpInternalExpectations,
        Self::DumpExternalExpectations,
        Self::CommitExpectations,
        Self::FlushKernelAll,
        Self::ResyncAllFromKernel,
        Self::FlushCaches,
        Self::CommitAll,
        Self::DumpInternalExpectationsXml,
        Self::DumpExternalExpectationsXml,
        Self::Role,
        Self::BecomePrimary,
        Self::BecomeBackup,
        Self::BecomeFault,
        Self::Ready,
        Self::Report,
        Self::Peers,
        Self::TakeOver,
        Self::DumpInternalJson,
        Self::DumpExternalJson,
        Self::DumpInternalExpectationsJson,
        Self::DumpExternalExpectationsJson,
        Self::TalkersInternal,
        Self::TalkersExternal,
        Self::Export,
    ];

    /// What a client sent; `None` for a number that means nothing.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 4]) -> Option<Self> {
        Self::from_number(u32::from_ne_bytes(bytes))
    }

    /// The request with this number; `None` for a number that means nothing.
    #[must_use]
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|request| request.number() == number)
    }

    /// The request for a page of statistics.
    #[must_use]
    pub const fn page(page: Page) -> Self {
        match page {
            Page::General => Self::Statistics,
            Page::Network => Self::StatisticsNetwork,
            Page::Cache => Self::StatisticsCache,
            Page::Runtime => Self::StatisticsRuntime,
            Page::Link => Self::StatisticsLink,
            Page::ResendQueue => Self::StatisticsResendQueue,
            Page::Process => Self::StatisticsProcess,
            Page::Queue => Self::StatisticsQueue,
            Page::Expectations => Self::StatisticsExpectations,
        }
    }

    /// The request for a listing.
    #[must_use]
    pub const fn dump(dump: Dump) -> Self {
        use Format::{Json, Plain, Xml};
        use Side::{External, Internal};
        match (dump.side, dump.table, dump.format) {
            (Internal, Table::Flows, Plain) => Self::DumpInternal,
            (Internal, Table::Flows, Xml) => Self::DumpInternalXml,
            (Internal, Table::Flows, Json) => Self::DumpInternalJson,
            (External, Table::Flows, Plain) => Self::DumpExternal,
            (External, Table::Flows, Xml) => Self::DumpExternalXml,
            (External, Table::Flows, Json) => Self::DumpExternalJson,
            (Internal, Table::Expectations, Plain) => Self::DumpInternalExpectations,
            (Internal, Table::Expectations, Xml) => Self::DumpInternalExpectationsXml,
            (Internal, Table::Expectations, Json) => Self::DumpInternalExpectationsJson,
            (External, Table::Expectations, Plain) => Self::DumpExternalExpectations,
            (External, Table::Expectations, Xml) => Self::DumpExternalExpectationsXml,
            (External, Table::Expectations, Json) => Self::DumpExternalExpectationsJson,
        }
    }

    /// The number on the socket.
    #[must_use]
    pub const fn number(self) -> u32 {
        self as u32
    }

    /// What it needs.
    #[must_use]
    pub fn answer(self) -> Answer {
        use Format::{Json, Plain, Xml};
        use Side::{External, Internal};
        let flows = |side, format| {
            Answer::Dump(Dump {
                side,
                table: Table::Flows,
                format,
            })
        };
        let expectations = |side, format| {
            Answer::Dump(Dump {
                side,
                table: Table::Expectations,
                format,
            })
        };
        match self {
            Self::FlushKernel => Answer::Command(Command::FlushKernel(Scope::Flows)),
            Self::FlushKernelExpectations => {
                Answer::Command(Command::FlushKernel(Scope::Expectations))
            }
            Self::FlushKernelAll => Answer::Command(Command::FlushKernel(Scope::All)),
            Self::ResyncFromKernel => Answer::Command(Command::ResyncFromKernel(Scope::Flows)),
            Self::ResyncExpectationsFromKernel => {
                Answer::Command(Command::ResyncFromKernel(Scope::Expectations))
            }
            Self::ResyncAllFromKernel => Answer::Command(Command::ResyncFromKernel(Scope::All)),
            Self::Commit => Answer::Command(Command::Commit(Scope::Flows)),
            Self::CommitExpectations => Answer::Command(Command::Commit(Scope::Expectations)),
            Self::CommitAll => Answer::Command(Command::Commit(Scope::All)),
            Self::FlushBothCaches | Self::FlushCaches => {
                Answer::Command(Command::FlushCaches(Caches::Both))
            }
            Self::FlushInternal => Answer::Command(Command::FlushCaches(Caches::Internal)),
            Self::FlushExternal => Answer::Command(Command::FlushCaches(Caches::External)),
            Self::SendBulk => Answer::Command(Command::SendBulk),
            Self::RequestResync => Answer::Command(Command::RequestResync),
            Self::SchedulePurge => Answer::Command(Command::SchedulePurge),
            Self::Role => Answer::Role,
            Self::BecomePrimary => Answer::Become(Role::Primary),
            Self::BecomeBackup => Answer::Become(Role::Backup),
            Self::BecomeFault => Answer::Become(Role::Fault),
            Self::Ready => Answer::Ready,
            Self::Report => Answer::Report,
            Self::Peers => Answer::Peers,
            Self::TakeOver => Answer::TakeOver,
            Self::Kill => Answer::Kill,
            Self::DumpInternal => flows(Internal, Plain),
            Self::DumpExternal => flows(External, Plain),
            Self::DumpInternalXml => flows(Internal, Xml),
            Self::DumpExternalXml => flows(External, Xml),
            Self::DumpInternalExpectations => expectations(Internal, Plain),
            Self::DumpExternalExpectations => expectations(External, Plain),
            Self::DumpInternalExpectationsXml => expectations(Internal, Xml),
            Self::DumpExternalExpectationsXml => expectations(External, Xml),
            Self::DumpInternalJson => flows(Internal, Json),
            Self::DumpExternalJson => flows(External, Json),
            Self::DumpInternalExpectationsJson => expectations(Internal, Json),
            Self::DumpExternalExpectationsJson => expectations(External, Json),
            Self::TalkersInternal => Answer::Talkers(Internal),
            Self::TalkersExternal => Answer::Talkers(External),
            Self::Export => Answer::Export,
            Self::Statistics => Answer::Statistics(Page::General),
            Self::StatisticsNetwork => Answer::Statistics(Page::Network),
            Self::StatisticsCache => Answer::Statistics(Page::Cache),
            Self::StatisticsRuntime => Answer::Statistics(Page::Runtime),
            Self::StatisticsLink => Answer::Statistics(Page::Link),
            Self::StatisticsResendQueue => Answer::Statistics(Page::ResendQueue),
            Self::StatisticsProcess => Answer::Statistics(Page::Process),
            Self::StatisticsQueue => Answer::Statistics(Page::Queue),
            Self::StatisticsExpectations => Answer::Statistics(Page::Expectations),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_is_the_request_of_that_number() {
        let known: Vec<u32> = (0..=10_000)
            .filter(|&n| Request::from_number(n).is_some())
            .collect();
        let mut expected = vec![0, 1];
        expected.extend(16..=26);
        expected.extend(28..=48);
        expected.extend(4096..=4103);
        expected.extend(4112..=4118);
        assert_eq!(known, expected);
        for number in known {
            assert_eq!(Request::from_number(number).unwrap().number(), number);
        }
        assert_eq!(Request::from_bytes([0xff; 4]), None);
        assert_eq!(
            Request::from_bytes(21u32.to_ne_bytes()),
            Some(Request::Statistics)
        );
    }

    #[test]
    fn the_flush_that_no_client_sends_empties_both_caches() {
        assert_eq!(
            Request::FlushBothCaches.answer(),
            Answer::Command(Command::FlushCaches(Caches::Both))
        );
    }

    #[test]
    fn each_listing_has_a_request_that_asks_for_it() {
        let mut dumps = 0;
        for request in Request::ALL {
            if let Answer::Dump(dump) = request.answer() {
                assert_eq!(Request::dump(dump), request);
                dumps += 1;
            }
        }
        assert_eq!(dumps, 12);
    }

    #[test]
    fn xml_differs_from_plain_in_the_format_only() {
        for (plain, xml) in [
            (Request::DumpInternal, Request::DumpInternalXml),
            (Request::DumpExternal, Request::DumpExternalXml),
            (
                Request::DumpInternalExpectations,
                Request::DumpInternalExpectationsXml,
            ),
            (
                Request::DumpExternalExpectations,
                Request::DumpExternalExpectationsXml,
            ),
        ] {
            let (Answer::Dump(plain), Answer::Dump(xml)) = (plain.answer(), xml.answer()) else {
                panic!("not a dump");
            };
            assert_eq!((plain.format, xml.format), (Format::Plain, Format::Xml));
            assert_eq!((plain.side, plain.table), (xml.side, xml.table));
        }
    }
}
