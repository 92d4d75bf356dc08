//! Configuration texts in the original's language, which both daemons read.

use std::fmt::Write;
use std::path::Path;

/// What a node is configured with; the parts are lines of the file and may be changed before use.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// `FTFW`, `ALARM` or `NOTRACK`.
    pub mode: String,
    /// Lines of the `Mode` section.
    pub mode_lines: Vec<String>,
    /// Whole link sections.
    pub links: Vec<String>,
    /// Lines of the `Options` section.
    pub options: Vec<String>,
    /// Lines of the `General` section, beside paths and log.
    pub general: Vec<String>,
    /// Addresses (or networks) that take no part, beside the loopback ones.
    pub ignore: Vec<String>,
    /// The filter, in place of one that ignores those addresses.
    pub filter: Option<String>,
}

impl NodeConfig {
    /// FT-FW over multicast: group 225.0.0.50, port 3780, on one interface with the given address.
    #[must_use]
    pub fn ftfw_multicast(interface: &str, addr: &str) -> Self {
        Self {
            mode: "FTFW".to_owned(),
            mode_lines: vec!["PurgeTimeout 60".to_owned()],
            links: vec![format!(
                "Multicast {{\n    IPv4_address 225.0.0.50\n    Group 3780\n    IPv4_interface {addr}\n    \
                 Interface {interface}\n    SndSocketBuffer 4194304\n    RcvSocketBuffer 4194304\n    Checksum on\n}}"
            )],
            options: Vec::new(),
            general: [
                "HashSize 32768",
                "HashLimit 131072",
                "NetlinkBufferSize 33554432",
                "NetlinkBufferSizeMaxGrowth 268435456",
            ]
            .map(str::to_owned)
            .to_vec(),
            ignore: vec![addr.to_owned(), "225.0.0.50".to_owned()],
            filter: None,
        }
    }

    /// Room for a number of entries, in caches and queues.
    #[must_use]
    pub fn sized_for(mut self, entries: usize) -> Self {
        self.general.retain(|line| !line.starts_with("Hash"));
        self.general
            .push(format!("HashSize {}", (entries / 2).max(32768)));
        self.general
            .push(format!("HashLimit {}", entries.max(65536) * 2));
        self
    }

    /// The file's text; socket, lock and log lie in `dir`.
    #[must_use]
    pub fn render(&self, dir: &Path) -> String {
        let mut text = String::new();
        let mut section = |head: &str, lines: &[String]| {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{head} {{\n{}\n}}", lines.join("\n"));
        };
        let mut sync = vec![format!(
            "Mode {} {{\n{}\n}}",
            self.mode,
            self.mode_lines.join("\n")
        )];
        sync.extend(self.links.iter().cloned());
        if !self.options.is_empty() {
            sync.push(format!("Options {{\n{}\n}}", self.options.join("\n")));
        }
        section("Sync", &sync);

        let dir = dir.display();
        let mut general = self.general.clone();
        general.push(format!("LogFile {dir}/log"));
        general.push("Syslog off".to_owned());
        general.push(format!("LockFile {dir}/lock"));
        general.push(format!("UNIX {{\n    Path {dir}/ctl\n}}"));
        let filter = self.filter.clone();
        general.push(filter.unwrap_or_else(|| self.ignoring()));
        section("General", &general);
        text
    }

    /// The filter that ignores addresses.
    fn ignoring(&self) -> String {
        let mut ignore = vec![
            "IPv4_address 127.0.0.1".to_owned(),
            "IPv6_address ::1".to_owned(),
        ];
        ignore.extend(self.ignore.iter().map(|addr| {
            let family = if addr.contains(':') { 6 } else { 4 };
            format!("IPv{family}_address {addr}")
        }));
        format!(
            "Filter From Userspace {{\n    Address Ignore {{\n        {}\n    }}\n}}",
            ignore.join("\n        ")
        )
    }
}
