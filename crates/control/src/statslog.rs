//! The flow log of statistics mode: a line for each connection that has ended.

use flow::Flow;

use crate::dump::{Parts, entry};

/// Appends the line of the log file. `date` is the local time in the form of `ctime`, `now_s` the same
/// moment in seconds since 1970.
///
/// Packets and bytes are there if the kernel counts them, the age if it keeps the start.
pub fn line(out: &mut Vec<u8>, date: &str, flow: &Flow, now_s: u64) {
    out.extend_from_slice(date.as_bytes());
    out.push(b'\t');
    text(out, flow, now_s);
    out.push(b'\n');
}

/// Appends what goes to syslog, which adds its own date.
pub fn text(out: &mut Vec<u8>, flow: &Flow, now_s: u64) {
    let parts = Parts {
        counters: true,
        timeout: false,
    };
    entry(out, flow, flow.reply.as_ref(), parts, now_s);
}
