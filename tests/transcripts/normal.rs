//! What two runs of one scenario have in common: values that differ from run to run are masked with `#`.

use crate::script::Step;

/// A number that is not as recorded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Exception {
    /// Beginning of the command, with or without the node in front of it.
    pub(crate) command: &'static str,
    /// Beginning of the block's first line.
    pub(crate) block: &'static str,
    /// Words in the line, before the number.
    pub(crate) words: &'static str,
    /// What it is instead; without it any number will do.
    pub(crate) ours: Option<u64>,
}

impl Exception {
    fn concerns(&self, step: &Step, block: &str, line: &str) -> bool {
        (step.command.starts_with(self.command) || step.prompt().starts_with(self.command))
            && block.starts_with(self.block)
            && line.trim_start().starts_with(self.words)
    }
}

/// Blocks of links: how much is sent in how many datagrams depends on the moment.
const LINKS: [&str; 3] = ["UDP traffic", "TCP traffic", "multicast traffic"];

/// Words followed by a number that differs.
const PREFIXES: [&str; 8] = [
    "(pid=",
    "active since ",
    "expires in ",
    "seq:",
    "commit has taken ",
    " id=",
    "<id>",
    "PID=",
];

/// The output of a command, masked.
pub(crate) fn normal(step: &Step, text: &str, exceptions: &[Exception]) -> Vec<String> {
    let mut lines = Vec::new();
    for (block, line) in in_blocks(text) {
        if is_queued(line) {
            continue;
        }
        let mut line = without_date(line);
        for prefix in PREFIXES {
            line = mask_after(&line, prefix);
        }
        if is_listing(&step.command) {
            line = without_timeout(&line);
        }
        let excepted = exceptions
            .iter()
            .any(|exception| exception.ours.is_none() && exception.concerns(step, block, &line));
        if excepted || is_link_count(block, &line) || is_queue_count(block, &line) {
            line = mask_numbers(&line);
        }
        lines.push(line);
    }
    if is_listing(&step.command) {
        lines.sort();
    }
    lines
}

/// What was recorded, with the numbers that are ours.
pub(crate) fn expected(step: &Step, text: &str, exceptions: &[Exception]) -> String {
    let mut out = String::new();
    for (block, line) in in_blocks(text) {
        let ours = exceptions
            .iter()
            .rfind(|exception| exception.concerns(step, block, line))
            .and_then(|exception| exception.ours);
        match ours {
            Some(number) => out.push_str(&with_number(line, number)),
            None => out.push_str(line),
        }
        out.push('\n');
    }
    out
}

/// Each line with the first line of its block.
fn in_blocks(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut block = "";
    text.lines().map(move |line| {
        if is_head(line) {
            block = line;
        }
        (block, line)
    })
}

/// Puts another number in the column of the first one.
fn with_number(line: &str, number: u64) -> String {
    let Some(start) = line.find(|c: char| c.is_ascii_digit()) else {
        return line.to_owned();
    };
    let (before, rest) = line.split_at(start);
    let after = rest.trim_start_matches(|c: char| c.is_ascii_digit());
    let words = before.trim_end_matches(' ');
    let width = line.len() - words.len() - after.len();
    format!("{words}{number:>width$}{after}")
}

/// Whether a line begins a block of a page.
fn is_head(line: &str) -> bool {
    !line.starts_with(char::is_whitespace)
        && (line.ends_with(':') || line.starts_with("cache:") || line.starts_with("allocated "))
}

/// Whether a command prints entries, in any order.
fn is_listing(command: &str) -> bool {
    let mut words = command.split_whitespace();
    let program = words.next();
    match words.next() {
        Some("-i" | "-e") if program == Some("conntrackd") => !command.contains("-s"),
        Some(_) if program == Some("conntrack") => true,
        Some(path) => path.ends_with("-stats.log"),
        None => false,
    }
}

fn is_link_count(block: &str, line: &str) -> bool {
    // How often a stream could not be sent on depends on when the peer came.
    block.starts_with("TCP traffic") && line.contains("Error send")
        || LINKS.iter().any(|link| block.starts_with(link))
            && (line.contains("Bytes sent") || line.contains("Pckts sent"))
}

/// What waits for an acknowledgement, or to be sent, at this very moment.
fn is_queue_count(block: &str, line: &str) -> bool {
    line.starts_with("resent queue (len=")
        || line.starts_with("allocated queue nodes:")
        || block == "queue rsqueue:" && line.starts_with("current elements:")
}

/// Whether a line is an element of `-s rsqueue`.
fn is_queued(line: &str) -> bool {
    let number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match line.split_once(" -> seq:") {
        Some(("object", seq)) => number(seq),
        Some(("control", rest)) => rest
            .split_once(" flags:")
            .is_some_and(|(seq, flags)| number(seq) && number(flags)),
        _ => false,
    }
}

/// Masks the date in front of a line of a log or of a list of files.
fn without_date(line: &str) -> String {
    if let Some((date, rest)) = line.split_once("] (pid=")
        && date.starts_with('[')
    {
        return format!("[#] (pid={rest}");
    }
    if let Some((date, rest)) = line.split_once('\t')
        && date.len() == 24
        && date.ends_with(|c: char| c.is_ascii_digit())
    {
        return format!("#\t{rest}");
    }
    let words: Vec<_> = line.split_whitespace().collect();
    match words[..] {
        [
            mode @ ("-rw-------" | "srw-------"),
            links,
            user,
            group,
            len,
            _,
            _,
            _,
            path,
        ] => {
            let len = if path.ends_with(".log") { "#" } else { len };
            format!("{mode} {links} {user} {group} {len} # {path}")
        }
        _ => line.to_owned(),
    }
}

/// Masks the time left in a line of the kernel's tables: first for expectations, else behind protocol and number.
fn without_timeout(line: &str) -> String {
    if let Some((timeout, rest)) = line.split_once(' ')
        && timeout.parse::<u32>().is_ok()
    {
        return format!("# {rest}");
    }
    let mut words = line.split_whitespace();
    let timeout = words.nth(2).filter(|word| word.parse::<u32>().is_ok());
    match timeout {
        Some(timeout) => line.replacen(&format!(" {timeout} "), " # ", 1),
        None => line.to_owned(),
    }
}

fn mask_after(line: &str, prefix: &str) -> String {
    let mut parts = line.split(prefix);
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        out.push_str(prefix);
        let rest = part.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
        if rest.len() < part.len() {
            out.push('#');
        }
        out.push_str(rest);
    }
    out
}

/// Masks every number with the blanks in front of it.
fn mask_numbers(line: &str) -> String {
    let mut out = String::new();
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        if !c.is_ascii_digit() {
            out.push(c);
            continue;
        }
        while chars.next_if(char::is_ascii_digit).is_some() {}
        out.truncate(out.trim_end_matches(' ').len());
        out.push('#');
    }
    out
}

#[test]
fn only_what_differs_from_run_to_run_is_masked() {
    let page_step = Step::of("fw1# conntrackd -s");
    let page = "cache internal:\ncurrent active connections:\t          15\n\n\
                UDP traffic (active device=eth2):\n 1 Bytes sent       2 Bytes recv\n\
                3 Error send       4 Error recv\n";
    let masked = normal(&page_step, page, &[]);
    assert_eq!(masked[1], "current active connections:\t          15");
    assert_eq!(masked[4], "# Bytes sent# Bytes recv");
    assert_eq!(masked[5], "3 Error send       4 Error recv");
    let mut exception = Exception {
        command: "conntrackd -s",
        block: "cache internal",
        words: "current active",
        ours: None,
    };
    assert_eq!(
        normal(&page_step, page, &[exception])[1],
        "current active connections:\t#"
    );
    exception.ours = Some(7);
    let other = expected(&page_step, page, &[exception]);
    assert_eq!(
        normal(&page_step, &other, &[exception])[1],
        "current active connections:\t           7"
    );

    let log = "[Mon Nov 23 15:41:27 2026] (pid=30983) [notice] Committed 15 new entries\n";
    assert_eq!(
        normal(&Step::of("fw1# cat log"), log, &[]),
        ["[#] (pid=#) [notice] Committed 15 new entries"]
    );
    let entries = "udp      17 28 src=1.1.1.1 dst=2.2.2.2 sport=40003 dport=53 use=1\n\
                   icmp     1 src=1.1.1.1 dst=2.2.2.2 type=8 code=0 id=8930 [active since 2s]\n";
    assert_eq!(
        normal(&Step::of("fw1# conntrackd -i"), entries, &[]),
        [
            "icmp     1 src=1.1.1.1 dst=2.2.2.2 type=8 code=0 id=# [active since #s]",
            "udp      17 # src=1.1.1.1 dst=2.2.2.2 sport=40003 dport=53 use=1",
        ]
    );
}
