//! The flow log of statistics mode: a line for each connection that has ended.

use flow::Flow;

use crate::dump::{Parts, entry};

/// Appends the line of the log file. `date` is the local time in the form of `ctime`.
///
/// Packets and bytes are there if the kernel counts them.
pub fn line(out: &mut Vec<u8>, date: &str, flow: &Flow) {
    out.extend_from_slice(date.as_bytes());
    out.push(b'\t');
    text(out, flow);
    out.push(b'\n');
}

/// Appends what goes to syslog, which adds its own date.
pub fn text(out: &mut Vec<u8>, flow: &Flow) {
    entry(
        out,
        flow,
        Parts {
            reply: true,
            counters: true,
            ..Parts::default()
        },
    );
}
