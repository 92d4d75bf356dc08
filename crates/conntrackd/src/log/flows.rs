//! The flow log of statistics mode.

use control::statslog;
use flow::Flow;
use jiff::Zoned;

use super::{Level, LogFile, OpenError, Syslog, date};

/// Where ended connections are written.
#[derive(Debug)]
pub(crate) struct FlowLog {
    file: Option<LogFile>,
    syslog: Option<Syslog>,
    buffer: Vec<u8>,
}

impl FlowLog {
    /// A log that goes to each of these.
    pub(crate) fn new(file: Option<LogFile>, syslog: Option<Syslog>) -> Self {
        Self {
            file,
            syslog,
            buffer: Vec::new(),
        }
    }

    /// Opens the file anew, after it has been rotated away.
    ///
    /// # Errors
    /// It cannot be opened; the old one stays in use.
    pub(crate) fn reopen(&self) -> Result<(), OpenError> {
        self.file.as_ref().map_or(Ok(()), LogFile::reopen)
    }

    /// Writes an ended connection. Never held back, however many end.
    pub(crate) fn write(&mut self, flow: &Flow) {
        let now = Zoned::now();
        let now_s = now.timestamp().as_second().try_into().unwrap_or_default();
        if let Some(file) = &self.file {
            self.buffer.clear();
            statslog::line(&mut self.buffer, &date(&now).to_string(), flow, now_s);
            // There is nowhere to tell of a full disk.
            let _ = file.write(&self.buffer);
        }
        if let Some(syslog) = &self.syslog {
            self.buffer.clear();
            statslog::text(&mut self.buffer, flow, now_s);
            syslog.send(Level::Info, &now, &self.buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flow::{Addrs, L4, Tuple};

    #[test]
    fn a_line_is_the_date_a_tab_and_the_entry() {
        let path = std::env::temp_dir().join(format!("flow-log-{}", std::process::id()));
        let mut log = FlowLog::new(Some(LogFile::open(&path).unwrap()), None);
        let addrs = Addrs::new([10, 0, 0, 1].into(), [10, 0, 0, 2].into()).unwrap();
        log.write(&Flow::new(Tuple {
            addrs,
            proto: 17,
            l4: L4::Ports { src: 1, dst: 2 },
        }));
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(path).unwrap();
        let (date, entry) = text.split_once('\t').unwrap();
        assert_eq!(date.len(), 24);
        assert_eq!(
            entry,
            "udp      17 src=10.0.0.1 dst=10.0.0.2 sport=1 dport=2\n"
        );
    }
}
