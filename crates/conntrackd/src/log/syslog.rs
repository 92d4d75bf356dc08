//! The local syslog daemon, reached through its datagram socket.

use std::io::{self, Write as _};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::{Level, lock};
use jiff::Zoned;

/// The name under which lines appear.
const IDENT: &str = "conntrack-tools";

/// Where the daemon listens.
const SOCKET: &str = "/dev/log";

/// Kind of program, by which the daemon sorts lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Facility(u8);

impl Facility {
    /// A system daemon.
    pub(crate) const DAEMON: Self = Self(3);

    /// The facility of a name: `daemon`, `local0` to `local7`, in lower case.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        if name == "daemon" {
            return Some(Self::DAEMON);
        }
        match name.strip_prefix("local")?.as_bytes() {
            [digit @ b'0'..=b'7'] => Some(Self(16 + (digit - b'0'))),
            _ => None,
        }
    }

    /// The number in front of a line (RFC 3164).
    fn priority(self, level: Level) -> u8 {
        let severity = match level {
            Level::Error => 3,
            Level::Warning => 4,
            Level::Notice => 5,
            Level::Info => 6,
        };
        8 * self.0 + severity
    }
}

/// A way to the syslog daemon. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Syslog(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    facility: Facility,
    path: PathBuf,
    socket: Mutex<Option<UnixDatagram>>,
}

impl Syslog {
    /// Opens nothing yet: the daemon may come later, and may go and come back.
    pub(crate) fn new(facility: Facility) -> Self {
        Self::at(Path::new(SOCKET), facility)
    }

    fn at(path: &Path, facility: Facility) -> Self {
        Self(Arc::new(Inner {
            facility,
            path: path.to_owned(),
            socket: Mutex::new(None),
        }))
    }

    /// Sends one line; without a daemon, or if it does not keep up, the line is lost.
    pub(super) fn send(&self, level: Level, now: &Zoned, line: &[u8]) {
        let mut datagram = Vec::with_capacity(line.len() + 64);
        let priority = self.0.facility.priority(level);
        let pid = std::process::id();
        // Writing to a vector cannot fail.
        let date = now.strftime("%b %e %H:%M:%S");
        let _ = write!(datagram, "<{priority}>{date} {IDENT}[{pid}]: ");
        datagram.extend_from_slice(line);

        let mut socket = lock(&self.0.socket);
        let sent = socket.as_ref().map(|socket| socket.send(&datagram));
        let again = match sent {
            None => true,
            // Waiting would stop the daemon.
            Some(Ok(_)) => false,
            Some(Err(error)) => error.kind() != io::ErrorKind::WouldBlock,
        };
        if again {
            *socket = connect(&self.0.path).ok();
            if let Some(socket) = socket.as_ref() {
                let _ = socket.send(&datagram);
            }
        }
    }
}

fn connect(path: &Path) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.connect(path)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;
    use jiff::tz::TimeZone;

    fn utc(unix_time_s: i64) -> Zoned {
        Timestamp::from_second(unix_time_s)
            .unwrap()
            .to_zoned(TimeZone::UTC)
    }

    fn received(socket: &UnixDatagram) -> String {
        socket.set_nonblocking(true).unwrap();
        let mut buffer = [0; 1024];
        let len = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..len].to_vec()).unwrap()
    }

    #[test]
    fn a_line_has_priority_date_name_and_pid() {
        let path = std::env::temp_dir().join(format!("syslog-line-{}", std::process::id()));
        let daemon = UnixDatagram::bind(&path).unwrap();
        let syslog = Syslog::at(&path, Facility::from_name("local3").unwrap());
        let now = utc(1_795_448_207);
        syslog.send(Level::Notice, &now, b"flushing caches");
        let pid = std::process::id();
        assert_eq!(
            received(&daemon),
            format!("<157>Nov 23 15:36:47 conntrack-tools[{pid}]: flushing caches")
        );
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_daemon_that_comes_late_or_comes_back_gets_the_next_line() {
        let path = std::env::temp_dir().join(format!("syslog-back-{}", std::process::id()));
        let syslog = Syslog::at(&path, Facility::DAEMON);
        let now = utc(0);
        syslog.send(Level::Error, &now, b"lost");
        for round in 0..2 {
            let daemon = UnixDatagram::bind(&path).unwrap();
            syslog.send(Level::Error, &now, format!("round {round}").as_bytes());
            let line = received(&daemon);
            assert!(line.starts_with("<27>Jan  1 00:00:00 "), "{line}");
            assert!(line.ends_with(&format!(": round {round}")), "{line}");
            std::fs::remove_file(&path).unwrap();
        }
    }

    #[test]
    fn a_daemon_that_does_not_read_stops_nobody() {
        let path = std::env::temp_dir().join(format!("syslog-full-{}", std::process::id()));
        let _daemon = UnixDatagram::bind(&path).unwrap();
        let syslog = Syslog::at(&path, Facility::DAEMON);
        for _ in 0..10_000 {
            syslog.send(Level::Info, &utc(0), b"line");
        }
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn facilities_are_those_of_the_configuration() {
        assert_eq!(Facility::from_name("daemon"), Some(Facility::DAEMON));
        assert_eq!(Facility::from_name("local0"), Some(Facility(16)));
        assert_eq!(Facility::from_name("local7"), Some(Facility(23)));
        for name in ["", "local", "local8", "local10", "Daemon", "kern"] {
            assert_eq!(Facility::from_name(name), None, "{name}");
        }
    }
}
