//! Tokens to statements: recursive descent, one token of look-ahead.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use flow::{Action, Family, TcpState};

use super::hint;
use super::lex::{Kind, Token};
use super::words::{
    ADDRESSES, ALARM, FILTER, FTFW, GENERAL, HELPER, HELPER_TYPE, MODES, MULTICAST, NOTRACK, OLD,
    ON_OFF, OPTIONS, POLICY, SCHEDULER, STATES, STATS, SYNC, TCP, TOP, UDP, UNIX,
};
use crate::error::{ErrorKind, ParseError};
use crate::statement::{Clause, LinkKind, ModeName, Section, Statement, Target};
use crate::{FilterFrom, Place};

/// Reads tokens as far as they make sense: the statements, and the error that ended them, if any.
pub(crate) fn parse<'a>(tokens: &'a [Token<'a>]) -> (Vec<Statement>, Option<ParseError>) {
    let mut parser = Parser {
        tokens,
        position: 0,
        statements: Vec::new(),
    };
    let error = parser.file().err();
    (parser.statements, error)
}

type Parsed<T> = Result<T, ParseError>;

struct Parser<'a> {
    tokens: &'a [Token<'a>],
    position: usize,
    statements: Vec<Statement>,
}

impl<'a> Parser<'a> {
    fn file(&mut self) -> Parsed<()> {
        loop {
            let token = self.next();
            match (token.kind, token.text) {
                (Kind::End, _) => return Ok(()),
                (_, b"Sync") => self.block(token.place, Section::Sync, SYNC, Self::sync)?,
                (_, b"Stats") => self.block(token.place, Section::Stats, STATS, Self::stats)?,
                (_, b"General") => {
                    self.block(token.place, Section::General, GENERAL, Self::general)?;
                }
                (_, b"Helper") => self.block(token.place, Section::Helper, HELPER, Self::helper)?,
                _ => return Err(self.unexpected(token, TOP, "")),
            }
        }
    }

    fn sync(&mut self, token: Token<'a>) -> Parsed<()> {
        match token.text {
            b"Mode" => self.mode(token.place),
            b"Multicast" => self.link(token.place, LinkKind::Multicast, MULTICAST),
            b"UDP" => self.link(token.place, LinkKind::Udp, UDP),
            b"TCP" => self.link(token.place, LinkKind::Tcp, TCP),
            b"Options" => self.block(token.place, Section::Options, OPTIONS, Self::options),
            _ => self.mode_option(token),
        }
    }

    fn mode(&mut self, place: Place) -> Parsed<()> {
        let token = self.next();
        let lower = token.text.to_ascii_lowercase();
        let (mode, old, words) = match lower.as_slice() {
            b"ftfw" => (ModeName::Ftfw, None, FTFW),
            b"nack" => (ModeName::Ftfw, Some("nack"), FTFW),
            b"alarm" => (ModeName::Alarm, None, ALARM),
            b"persistent" => (ModeName::Alarm, Some("persistent"), ALARM),
            b"notrack" => (ModeName::Notrack, None, NOTRACK),
            _ => return Err(self.unexpected(token, MODES, "")),
        };
        self.block(place, Section::Mode { mode, old }, words, Self::mode_option)
    }

    fn mode_option(&mut self, token: Token<'a>) -> Parsed<()> {
        let clause = match token.text {
            b"ResendQueueSize" => Clause::ResendQueueSize(self.number()?),
            b"ACKWindowSize" => Clause::AckWindowSize(self.number()?),
            b"CommitTimeout" => Clause::CommitTimeout(self.number()?),
            b"PurgeTimeout" => Clause::PurgeTimeout(self.number()?),
            b"RefreshTime" => Clause::RefreshTime(self.number()?),
            b"CacheTimeout" => Clause::CacheTimeout(self.number()?),
            b"DisableExternalCache" => Clause::DisableExternalCache(self.switch()?),
            b"DisableInternalCache" => Clause::DisableInternalCache(self.switch()?),
            b"StartupResync" => Clause::StartupResync(self.switch()?),
            _ => return Err(self.unexpected(token, &[], "a clause")),
        };
        self.push(token.place, clause);
        Ok(())
    }

    fn link(&mut self, place: Place, kind: LinkKind, words: &'static [&'static str]) -> Parsed<()> {
        let default = self.peek().text == b"Default";
        if default {
            self.next();
        } else if self.peek().kind == Kind::Word {
            let token = self.next();
            return Err(self.unexpected(token, &["Default"], "`{'"));
        }
        self.block(
            place,
            Section::Link { kind, default },
            words,
            Self::link_option,
        )
    }

    fn link_option(&mut self, token: Token<'a>) -> Parsed<()> {
        let clause = match token.text {
            b"IPv4_address" => Clause::LinkAddress(Family::Ipv4, self.address()?),
            b"IPv6_address" => Clause::LinkAddress(Family::Ipv6, self.address()?),
            b"IPv4_Destination_Address" => Clause::LinkDestination(Family::Ipv4, self.address()?),
            b"IPv6_Destination_Address" => Clause::LinkDestination(Family::Ipv6, self.address()?),
            b"IPv4_interface" => Clause::LinkSource(self.address()?),
            b"IPv6_interface" => {
                self.address()?;
                Clause::LinkSourceV6
            }
            b"Interface" => Clause::LinkInterface(self.word("an interface name")?),
            b"Group" | b"Port" => Clause::LinkPort(self.port()?),
            b"SndSocketBuffer" => Clause::SendBuffer(self.number()?),
            b"RcvSocketBuffer" => Clause::ReceiveBuffer(self.number()?),
            b"Checksum" => Clause::Checksum(self.switch()?),
            b"ErrorQueueLength" => Clause::ErrorQueueLength(self.number()?),
            _ => return Err(self.unexpected(token, &[], "a clause")),
        };
        self.push(token.place, clause);
        Ok(())
    }

    fn options(&mut self, token: Token<'a>) -> Parsed<()> {
        if token.text == b"TCPWindowTracking" {
            let on = self.switch()?;
            self.push(token.place, Clause::TcpWindowTracking(on));
            return Ok(());
        }
        if self.peek().kind != Kind::Open {
            let value = self.next();
            let on = as_switch(value.text)
                .ok_or_else(|| self.unexpected(value, ON_OFF, "`{' with names of helpers"))?;
            self.push(token.place, Clause::ExpectationSync(on));
            return Ok(());
        }
        self.list(
            token.place,
            Section::Expectations,
            |parser, item| match item.kind {
                Kind::Word => {
                    parser.push(item.place, Clause::ExpectationHelper(item.string()));
                    Ok(())
                }
                _ => Err(parser.unexpected(item, &[], "the name of a helper or `}'")),
            },
        )
    }

    fn general(&mut self, token: Token<'a>) -> Parsed<()> {
        let clause = match token.text {
            b"UNIX" => return self.block(token.place, Section::Unix, UNIX, Self::unix),
            b"Scheduler" => {
                return self.block(token.place, Section::Scheduler, SCHEDULER, Self::scheduler);
            }
            b"Filter" => return self.filter(token.place),
            b"HashSize" => Clause::HashSize(self.number()?),
            b"HashLimit" => Clause::HashLimit(self.number()?),
            b"LogFile" => Clause::LogFile(self.log_file()?),
            b"Syslog" => Clause::Syslog(self.syslog()?),
            b"LockFile" => Clause::LockFile(self.path()?),
            b"NetlinkBufferSize" | b"SocketBufferSize" => Clause::NetlinkBufferSize(self.number()?),
            b"NetlinkBufferSizeMaxGrowth"
            | b"SocketBufferSizeMaxGrowth"
            | b"SocketBufferSizeMaxGrown" => Clause::NetlinkBufferSizeMaxGrowth(self.number()?),
            b"NetlinkOverrunResync" => Clause::OverrunResync(self.switch_or_number()?),
            b"NetlinkEventsReliable" => Clause::EventsReliable(self.switch()?),
            b"PollSecs" => Clause::PollSecs(self.number()?),
            b"EventIterationLimit" => Clause::EventIterationLimit(self.number()?),
            b"Nice" => {
                let value = self.next();
                if value.kind != Kind::Signed {
                    return Err(self.unexpected(value, &[], "a signed number"));
                }
                Clause::Nice
            }
            b"Systemd" => Clause::Systemd(self.switch()?),
            _ => return Err(self.unexpected(token, &[], "a clause")),
        };
        self.push(token.place, clause);
        Ok(())
    }

    fn unix(&mut self, token: Token<'a>) -> Parsed<()> {
        let clause = if token.text == b"Path" {
            Clause::UnixPath(self.path()?)
        } else {
            self.number()?;
            Clause::UnixBacklog
        };
        self.push(token.place, clause);
        Ok(())
    }

    fn scheduler(&mut self, token: Token<'a>) -> Parsed<()> {
        let clause = if token.text == b"Type" {
            Clause::SchedulerType(self.word("`RR' or `FIFO'")?)
        } else {
            Clause::SchedulerPriority(self.number()?)
        };
        self.push(token.place, clause);
        Ok(())
    }

    fn filter(&mut self, place: Place) -> Parsed<()> {
        let mut from = None;
        if self.peek().kind == Kind::Word {
            let token = self.next();
            if token.text != b"From" {
                return Err(self.unexpected(token, &["From"], "`{'"));
            }
            let token = self.next();
            from = match token.text {
                b"Userspace" => Some(FilterFrom::Userspace),
                b"Kernelspace" => Some(FilterFrom::Kernelspace),
                _ => return Err(self.unexpected(token, &["Userspace", "Kernelspace"], "")),
            };
        }
        self.block(place, Section::Filter(from), FILTER, Self::filter_list)
    }

    fn filter_list(&mut self, token: Token<'a>) -> Parsed<()> {
        let word = self.next();
        let action = match word.text {
            b"Accept" => Action::Accept,
            b"Ignore" => Action::Ignore,
            _ => return Err(self.unexpected(word, &["Accept", "Ignore"], "")),
        };
        match token.text {
            b"Protocol" => self.list(token.place, Section::FilterProtocol(action), Self::protocol),
            b"Address" => {
                let section = Section::FilterAddress(action);
                self.block(token.place, section, ADDRESSES, Self::filter_address)
            }
            _ => self.list(token.place, Section::FilterState(action), Self::states),
        }
    }

    fn protocol(&mut self, token: Token<'a>) -> Parsed<()> {
        if token.kind != Kind::Word {
            return Err(self.unexpected(token, &[], "a protocol name"));
        }
        self.push(token.place, Clause::FilterProtocol(token.string()));
        Ok(())
    }

    fn filter_address(&mut self, token: Token<'a>) -> Parsed<()> {
        let family = if token.text == b"IPv4_address" {
            Family::Ipv4
        } else {
            Family::Ipv6
        };
        let address = self.address()?;
        self.push(token.place, Clause::FilterAddress(family, address));
        Ok(())
    }

    /// States up to and with `for TCP`; `token` is the first.
    fn states(&mut self, mut token: Token<'a>) -> Parsed<()> {
        loop {
            if token.text == b"for" {
                let tcp = self.next();
                return match tcp.text {
                    b"TCP" => Ok(()),
                    _ => Err(self.unexpected(tcp, &[], "`TCP'")),
                };
            }
            let Some(state) = as_state(token.text) else {
                let words = if token.kind == Kind::Close {
                    &["for"]
                } else {
                    STATES
                };
                return Err(self.unexpected(token, words, ""));
            };
            self.push(token.place, Clause::FilterState(state));
            token = self.next();
        }
    }

    fn stats(&mut self, token: Token<'a>) -> Parsed<()> {
        let clause = if token.text == b"LogFile" {
            Clause::StatsLogFile(self.log_file()?)
        } else {
            Clause::StatsSyslog(self.syslog()?)
        };
        self.push(token.place, clause);
        Ok(())
    }

    fn helper(&mut self, token: Token<'a>) -> Parsed<()> {
        if token.text == b"Setup" {
            let on = self.switch()?;
            self.push(token.place, Clause::HelperSetup(on));
            return Ok(());
        }
        let name = self.word("the name of a helper")?;
        let family = self.lower_word("`inet' or `inet6'")?;
        let transport = self.lower_word("`tcp' or `udp'")?;
        let section = Section::HelperType {
            name,
            family,
            transport,
        };
        self.block(token.place, section, HELPER_TYPE, Self::helper_type)
    }

    fn helper_type(&mut self, token: Token<'a>) -> Parsed<()> {
        let clause = match token.text {
            b"QueueNum" => Clause::HelperQueueNum(self.number()?),
            b"QueueLen" => Clause::HelperQueueLen(self.number()?),
            _ => {
                let section = Section::HelperPolicy(self.word("the name of a policy")?);
                return self.block(token.place, section, POLICY, Self::policy);
            }
        };
        self.push(token.place, clause);
        Ok(())
    }

    fn policy(&mut self, token: Token<'a>) -> Parsed<()> {
        let clause = if token.text == b"ExpectMax" {
            Clause::PolicyExpectMax(self.number()?)
        } else {
            Clause::PolicyExpectTimeout(self.number()?)
        };
        self.push(token.place, clause);
        Ok(())
    }
}

/// Sections and values.
impl<'a> Parser<'a> {
    /// `{`, any number of clauses that begin with one of `words`, `}`.
    fn block(
        &mut self,
        place: Place,
        section: Section,
        words: &'static [&'static str],
        clause: fn(&mut Self, Token<'a>) -> Parsed<()>,
    ) -> Parsed<()> {
        self.list(place, section, |parser, token| {
            if !words.iter().any(|word| word.as_bytes() == token.text) {
                return Err(parser.unexpected(token, words, "`}'"));
            }
            clause(parser, token)
        })
    }

    /// `{`, any number of items, `}`.
    fn list(
        &mut self,
        place: Place,
        section: Section,
        item: impl Fn(&mut Self, Token<'a>) -> Parsed<()>,
    ) -> Parsed<()> {
        let open = self.next();
        if open.kind != Kind::Open {
            return Err(self.unexpected(open, &[], "`{'"));
        }
        self.push(place, Clause::Open(section.clone()));
        loop {
            let token = self.next();
            if token.kind == Kind::Close {
                self.push(token.place, Clause::Close(section));
                return Ok(());
            }
            item(self, token)?;
        }
    }

    fn number(&mut self) -> Parsed<u32> {
        let token = self.next();
        if token.kind != Kind::Number {
            return Err(self.unexpected(token, &[], "a number"));
        }
        let text = token.string();
        Ok(text.parse().unwrap_or_else(|_| {
            let odd = format!("{text} is too large a number, taking {}", u32::MAX);
            self.push(token.place, Clause::Odd(odd));
            u32::MAX
        }))
    }

    fn port(&mut self) -> Parsed<u16> {
        let place = self.peek().place;
        let [high, low] = split(self.number()?);
        if high != 0 {
            let odd = format!("ports go up to {}, taking {low}", u16::MAX);
            self.push(place, Clause::Odd(odd));
        }
        Ok(low)
    }

    fn switch(&mut self) -> Parsed<bool> {
        let token = self.next();
        as_switch(token.text).ok_or_else(|| self.unexpected(token, ON_OFF, ""))
    }

    fn switch_or_number(&mut self) -> Parsed<Target<u32>> {
        if self.peek().kind == Kind::Number {
            return self.number().map(Target::To);
        }
        let token = self.next();
        let on = as_switch(token.text)
            .ok_or_else(|| self.unexpected(token, ON_OFF, "a number of seconds"))?;
        Ok(if on { Target::On } else { Target::Off })
    }

    fn log_file(&mut self) -> Parsed<Target<PathBuf>> {
        let token = self.next();
        match (token.kind, as_switch(token.text)) {
            (Kind::Path, _) => Ok(Target::To(as_path(token))),
            (_, Some(true)) => Ok(Target::On),
            (_, Some(false)) => Ok(Target::Off),
            _ => Err(self.unexpected(token, ON_OFF, "a path")),
        }
    }

    fn syslog(&mut self) -> Parsed<Target<String>> {
        let token = self.next();
        match (token.kind, as_switch(token.text)) {
            (_, Some(true)) => Ok(Target::On),
            (_, Some(false)) => Ok(Target::Off),
            (Kind::Word, _) => Ok(Target::To(token.string())),
            _ => Err(self.unexpected(token, ON_OFF, "a facility")),
        }
    }

    fn path(&mut self) -> Parsed<PathBuf> {
        let token = self.next();
        match token.kind {
            Kind::Path => Ok(as_path(token)),
            _ => Err(self.unexpected(token, &[], "a path")),
        }
    }

    /// An address of either family with or without a length; which one it should be is not the
    /// grammar's business.
    fn address(&mut self) -> Parsed<String> {
        let token = self.next();
        match token.kind {
            Kind::Ipv4 | Kind::Ipv6 => Ok(token.string()),
            // A few hexadecimal digits are an IPv6 address for the original, and no valid one.
            _ => Err(self.unexpected(token, &[], "an address")),
        }
    }

    fn word(&mut self, what: &'static str) -> Parsed<String> {
        let token = self.next();
        match token.kind {
            Kind::Word => Ok(token.string()),
            _ => Err(self.unexpected(token, &[], what)),
        }
    }

    /// A word that does not begin with a capital, which would make it a keyword.
    fn lower_word(&mut self, what: &'static str) -> Parsed<String> {
        let token = self.next();
        match token.text.first() {
            Some(b'a'..=b'z') => Ok(token.string()),
            _ => Err(self.unexpected(token, &[], what)),
        }
    }

    fn next(&mut self) -> Token<'a> {
        let token = self.peek();
        self.position = self.position.saturating_add(1);
        token
    }

    fn peek(&self) -> Token<'a> {
        let end = Token {
            kind: Kind::End,
            text: b"",
            place: Place::default(),
        };
        self.tokens
            .get(self.position)
            .or(self.tokens.last())
            .copied()
            .unwrap_or(end)
    }

    fn push(&mut self, place: Place, clause: Clause) {
        self.statements.push(Statement { place, clause });
    }

    /// The error that `token`, just taken, fits neither `words` nor `other`.
    fn unexpected(&self, token: Token<'a>, words: &[&str], other: &str) -> ParseError {
        let before = self
            .position
            .checked_sub(2)
            .and_then(|at| self.tokens.get(at));
        let instead = hint::instead(&token, before, words, other);
        let words = words.iter().filter(|word| !OLD.contains(word));
        let mut expected: Vec<_> = words.map(|word| format!("`{word}'")).collect();
        expected.extend((!other.is_empty()).then(|| other.to_owned()));
        let expected = match expected.split_last() {
            Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
            _ => expected.concat(),
        };
        let kind = ErrorKind::Syntax {
            found: token.string(),
            expected,
            instead,
        };
        ParseError {
            place: token.place,
            kind,
        }
    }
}

/// Upper and lower half.
fn split(number: u32) -> [u16; 2] {
    let [a, b, c, d] = number.to_be_bytes();
    [u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])]
}

fn as_switch(text: &[u8]) -> Option<bool> {
    match text.to_ascii_lowercase().as_slice() {
        b"on" | b"yes" => Some(true),
        b"off" | b"no" => Some(false),
        _ => None,
    }
}

fn as_path(token: Token<'_>) -> PathBuf {
    OsString::from_vec(token.text.to_vec()).into()
}

fn as_state(text: &[u8]) -> Option<TcpState> {
    Some(match text {
        b"SYN_SENT" => TcpState::SynSent,
        b"SYN_RECV" => TcpState::SynRecv,
        b"ESTABLISHED" => TcpState::Established,
        b"FIN_WAIT" => TcpState::FinWait,
        b"CLOSE_WAIT" => TcpState::CloseWait,
        b"LAST_ACK" => TcpState::LastAck,
        b"TIME_WAIT" => TcpState::TimeWait,
        b"CLOSE" | b"CLOSED" => TcpState::Close,
        b"LISTEN" => TcpState::SynSent2,
        _ => return None,
    })
}
