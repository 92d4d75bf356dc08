//! Where log lines go: file, syslog, terminal.
//!
//! Everything is told through `tracing`; its levels stand for the original's: `ERROR` for `ERROR`, `WARN` for
//! `warning`, `INFO` for `notice`, and `INFO` with the target [`PLAIN`] for `info`. Lower levels go nowhere.
//! Lines that repeat too fast are held back and counted.

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::io::{self, Write as _};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use engine::notice;
use jiff::Zoned;
use jiff::fmt::strtime::Display as Date;
use tracing::field::{Field, Visit};
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

mod file;
mod flows;
mod limit;
mod syslog;

pub(crate) use file::{LogFile, OpenError};
pub(crate) use flows::FlowLog;
pub(crate) use syslog::{Facility, Syslog};

use limit::RateLimit;

/// Target of events that are `info` and not `notice`.
pub(crate) const PLAIN: &str = "info";

/// Like lines written in [`LIKE_LINES_PERIOD`]; more are counted only.
const LIKE_LINES_MAX: u32 = 10;

/// See [`LIKE_LINES_MAX`].
const LIKE_LINES_PERIOD: Duration = Duration::from_secs(5);

/// How much a line matters. `Display` is the word in the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Level {
    Info,
    Notice,
    Warning,
    Error,
}

impl Level {
    fn of(metadata: &Metadata<'_>) -> Option<Self> {
        match *metadata.level() {
            tracing::Level::ERROR => Some(Self::Error),
            tracing::Level::WARN => Some(Self::Warning),
            tracing::Level::INFO if metadata.target() == PLAIN => Some(Self::Info),
            tracing::Level::INFO => Some(Self::Notice),
            _ => None,
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Info => "info",
            Self::Notice => "notice",
            Self::Warning => "warning",
            Self::Error => "ERROR",
        })
    }
}

/// Logs what the core has to tell.
///
/// [`notice::Notice::LinkActive`] knows its link by number only: who knows the interface's name logs it.
pub(crate) fn notice(notice: &notice::Notice) {
    match notice.level() {
        notice::Level::Error => tracing::error!("{notice}"),
        notice::Level::Warning => tracing::warn!("{notice}"),
        notice::Level::Notice => tracing::info!("{notice}"),
    }
}

/// Writes a line to standard error: for whatever has to be said before the log is open, and for clients.
pub(crate) fn complain(level: Level, text: &str) {
    // There is nowhere else to complain.
    let _ = io::stderr().write_all(&lines(level, text, &Zoned::now()));
}

/// Whether lines go to the terminal too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Console {
    /// Warnings and errors to standard error, all else to standard output.
    On,
    /// The daemon has none.
    Off,
}

/// The log. Clones share the files.
#[derive(Clone, Debug)]
pub(crate) struct Log(Arc<Sinks>);

#[derive(Debug)]
struct Sinks {
    console: Console,
    file: Option<LogFile>,
    syslog: Option<Syslog>,
    limit: Mutex<RateLimit>,
    /// Lines that the file did not take, and why not.
    missing: Mutex<Option<(u64, io::Error)>>,
    /// What is below it is left out.
    level: AtomicU8,
}

impl Log {
    /// A log that nobody writes to yet.
    pub(crate) fn new(console: Console, file: Option<LogFile>, syslog: Option<Syslog>) -> Self {
        let limit = Mutex::new(RateLimit::new(LIKE_LINES_MAX, LIKE_LINES_PERIOD));
        Self(Arc::new(Sinks {
            console,
            file,
            syslog,
            limit,
            missing: Mutex::new(None),
            level: AtomicU8::new(Level::Info as u8),
        }))
    }

    /// Sends all events of the process here. Only the first log of a process can be installed.
    pub(crate) fn install(&self) {
        let subscriber = tracing_subscriber::registry().with(self.clone());
        // Refused only when there is one already, which then stays.
        let _ = tracing::subscriber::set_global_default(subscriber);
    }

    /// Leaves out what is below this level from now on.
    pub(crate) fn set_level(&self, level: config::LogLevel) {
        let level = match level {
            config::LogLevel::Notice => Level::Info,
            config::LogLevel::Warning => Level::Warning,
            config::LogLevel::Error => Level::Error,
        };
        self.0.level.store(level as u8, Ordering::Relaxed);
    }

    /// Opens the file anew, after it has been rotated away.
    ///
    /// # Errors
    /// It cannot be opened; the old one stays in use.
    pub(crate) fn reopen(&self) -> Result<(), OpenError> {
        self.0.file.as_ref().map_or(Ok(()), LogFile::reopen)
    }

    /// Tells what has been held back, as far as its time is over. To be called from time to time.
    pub(crate) fn tell_suppressed(&self, now: Instant) {
        let expired = lock(&self.0.limit).expired(now);
        for suppressed in expired {
            self.write(suppressed.level, &suppressed.to_string());
        }
    }

    /// Tells what the file did not take, if it takes lines again. To be called from time to time: it may be long until
    /// there is something else to tell.
    pub(crate) fn tell_missing(&self) {
        if let Some(file) = &self.0.file {
            Self::write_missing(file, &mut lock(&self.0.missing), &Zoned::now());
        }
    }

    fn take(&self, at: Instant, level: Level, text: &str) {
        self.tell_suppressed(at);
        if (level as u8) < self.0.level.load(Ordering::Relaxed) {
            return;
        }
        if lock(&self.0.limit).admit(at, level, text) {
            self.write(level, text);
        }
    }

    fn write(&self, level: Level, text: &str) {
        let now = Zoned::now();
        if let Some(syslog) = &self.0.syslog {
            for line in clean(text).lines() {
                syslog.send(level, &now, line.as_bytes());
            }
        }
        let lines = lines(level, text, &now);
        if let Some(file) = &self.0.file {
            self.write_to_file(file, &lines, &now);
        }
        if self.0.console == Console::On {
            // The terminal may have gone; the log goes on.
            let _ = match level {
                Level::Info | Level::Notice => {
                    let mut stdout = io::stdout().lock();
                    stdout.write_all(&lines).and_then(|()| stdout.flush())
                }
                Level::Warning | Level::Error => io::stderr().write_all(&lines),
            };
        }
    }
}

impl Log {
    /// Writes to the file; once it takes lines again, how many it did not take before.
    fn write_to_file(&self, file: &LogFile, text: &[u8], now: &Zoned) {
        let mut missing = lock(&self.0.missing);
        Self::write_missing(file, &mut missing, now);
        let outcome = match &*missing {
            None => file.write(text),
            Some((_, error)) => Err(error.kind().into()),
        };
        if let Err(error) = outcome {
            let count = text.iter().filter(|&&byte| byte == b'\n').count() as u64;
            missing.get_or_insert((0, error)).0 += count;
        }
    }
}

impl Log {
    fn write_missing(file: &LogFile, missing: &mut Option<(u64, io::Error)>, now: &Zoned) {
        let Some((count, error)) = missing.as_ref() else {
            return;
        };
        let note = format!("{count} lines could not be written to this file: {error}");
        // The last of them may have been written in part.
        let note = [b"\n".as_slice(), &lines(Level::Warning, &note, now)].concat();
        if file.write(&note).is_ok() {
            *missing = None;
        }
    }
}

impl<S: Subscriber> Layer<S> for Log {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        Level::of(metadata).is_some()
    }

    fn max_level_hint(&self) -> Option<tracing::level_filters::LevelFilter> {
        Some(tracing::level_filters::LevelFilter::INFO)
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let Some(level) = Level::of(event.metadata()) else {
            return;
        };
        let mut text = Text::default();
        event.record(&mut text);
        self.take(Instant::now(), level, &text.finish());
    }
}

/// The message of an event, and its fields in brackets behind it.
#[derive(Debug, Default)]
struct Text {
    message: String,
    fields: String,
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a string cannot fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => {
                let separator = if self.fields.is_empty() { "" } else { ", " };
                write!(self.fields, "{separator}{name}={value:?}")
            }
        };
    }
}

impl Text {
    fn finish(self) -> String {
        match (self.message.is_empty(), self.fields.is_empty()) {
            (_, true) => self.message,
            (true, false) => self.fields,
            (false, false) => format!("{} ({})", self.message, self.fields),
        }
    }
}

/// The lines of a text, each in the form `[date] (pid=N) [level] text`.
fn lines(level: Level, text: &str, now: &Zoned) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 64);
    let (date, pid) = (date(now), std::process::id());
    for line in clean(text).lines() {
        // Writing to a vector cannot fail.
        let _ = writeln!(out, "[{date}] (pid={pid}) [{level}] {line}");
    }
    out
}

/// Text without control characters other than line ends, which begin a line of their own.
fn clean(text: &str) -> Cow<'_, str> {
    let unclean = |c: char| c.is_control() && c != '\n';
    if text.contains(unclean) {
        text.replace(unclean, "?").into()
    } else {
        text.into()
    }
}

/// The moment in the form of `ctime`.
fn date(now: &Zoned) -> Date<'_> {
    now.strftime("%a %b %e %H:%M:%S %Y")
}

/// A panic while a lock was held leaves nothing half done here.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn with_file(name: &str, body: impl FnOnce(&Log)) -> Vec<String> {
        let path = std::env::temp_dir().join(format!("{name}-{}", std::process::id()));
        let log = Log::new(Console::Off, Some(LogFile::open(&path).unwrap()), None);
        body(&log);
        let text = fs::read_to_string(&path).unwrap();
        fs::remove_file(path).unwrap();
        text.lines().map(ToOwned::to_owned).collect()
    }

    /// The line without the date, which is checked for its form.
    fn undated(line: &str) -> &str {
        let (date, rest) = line.strip_prefix('[').unwrap().split_once("] ").unwrap();
        assert_eq!(date.len(), 24, "{date}");
        rest
    }

    fn subscribed(log: &Log, body: impl FnOnce()) {
        let subscriber = tracing_subscriber::registry().with(log.clone());
        tracing::subscriber::with_default(subscriber, body);
    }

    #[test]
    fn levels_have_the_names_of_the_original() {
        let lines = with_file("log-levels", |log| {
            subscribed(log, || {
                tracing::info!(target: PLAIN, "plain");
                tracing::info!("-- starting in {} mode --", "daemon");
                tracing::warn!("careful");
                tracing::error!("no dedicated links available!");
                tracing::debug!("not to be seen");
            });
        });
        let pid = std::process::id();
        assert_eq!(
            lines.iter().map(|line| undated(line)).collect::<Vec<_>>(),
            [
                format!("(pid={pid}) [info] plain"),
                format!("(pid={pid}) [notice] -- starting in daemon mode --"),
                format!("(pid={pid}) [warning] careful"),
                format!("(pid={pid}) [ERROR] no dedicated links available!"),
            ]
        );
    }

    #[test]
    fn fields_stand_in_brackets_behind_the_message() {
        let lines = with_file("log-fields", |log| {
            subscribed(log, || {
                tracing::error!(socket = 3, error = %"gone", "no answer");
            });
        });
        assert!(
            lines[0].ends_with("[ERROR] no answer (socket=3, error=gone)"),
            "{}",
            lines[0]
        );
    }

    #[test]
    fn no_text_can_forge_a_line() {
        let lines = with_file("log-forged", |log| {
            subscribed(log, || tracing::info!("one\ntwo\u{1b}[2J\r"));
        });
        let pid = std::process::id();
        assert_eq!(undated(&lines[0]), format!("(pid={pid}) [notice] one"));
        assert_eq!(undated(&lines[1]), format!("(pid={pid}) [notice] two?[2J?"));
    }

    #[test]
    fn a_flood_of_like_lines_is_counted_and_told_later() {
        let start = Instant::now();
        let lines = with_file("log-flood", |log| {
            for number in 0..1000 {
                log.take(start, Level::Error, &format!("entry {number} refused"));
            }
            log.take(start, Level::Error, "something else");
            log.tell_suppressed(start + LIKE_LINES_PERIOD);
        });
        assert_eq!(lines.len(), 12, "ten lines, another one, and the count");
        assert!(lines[9].ends_with("entry 9 refused"));
        assert!(lines[10].ends_with("something else"));
        assert!(
            lines[11].ends_with("[ERROR] 990 more lines like this one in 5 s: entry 10 refused"),
            "{}",
            lines[11]
        );
    }
}
