//! Deleting entries.

use std::ops::Range;

use ctnetlink::{parse, request as netlink};
use nix::errno::Errno;

use super::{Session, errno, failed, list::each_match, refused, touched};
use crate::{
    error::Failure,
    kernel::{Answer, BATCH, Batcher},
    print::Printer,
    request::{Mode, Request},
};

/// Deletions that wait, each with the line that tells of it.
struct Deletions {
    batcher: Batcher,
    lines: Vec<u8>,
    ends: Vec<Range<usize>>,
    count: u64,
}

impl Deletions {
    /// Sends what waits and shows what is gone. An entry that went by itself meanwhile is not counted.
    fn send(&mut self, session: &mut Session<'_, '_>, request: &Request) -> Result<(), Failure> {
        let Self {
            batcher,
            lines,
            ends,
            count,
        } = self;
        let sent = batcher.send(|number, answer| match answer {
            Answer::Verdict(0) => {
                *count += 1;
                let line = ends.get(number).and_then(|line| lines.get(line.clone()));
                session
                    .console
                    .buffer()
                    .extend_from_slice(line.unwrap_or_default());
                session.console.written()
            }
            Answer::Verdict(code) if Errno::from_raw(code) != Errno::ENOENT => {
                Err(refused(request)(errno(code)))
            }
            Answer::Verdict(_) | Answer::Message(_) => Ok(()),
        });
        lines.clear();
        ends.clear();
        sent.map_err(|trouble| failed(request, trouble))
    }
}

pub(super) fn delete(session: &mut Session<'_, '_>, request: &Request) -> Result<u8, Failure> {
    if request.mode == Mode::DryRun {
        return pretend(session, request, "flow entries would be deleted");
    }
    // compat: labels are not shown.
    let printer = Printer::without_labels(request);
    let mut deletions = Deletions {
        batcher: session.take_batcher(request)?,
        lines: Vec::new(),
        ends: Vec::new(),
        count: 0,
    };
    each_match(session, request, |session, flow, message| {
        let start = deletions.lines.len();
        printer.deleted(&mut deletions.lines, flow, parse::secctx(message));
        deletions.ends.push(start..deletions.lines.len());
        deletions.batcher.add(|buf, seq| {
            netlink::delete_flow(buf, seq, netlink::Ack::Wanted, &flow.key(), flow.id);
        });
        if deletions.batcher.len() < BATCH {
            return Ok(());
        }
        deletions.send(session, request)
    })?;
    deletions.send(session, request)?;
    let count = deletions.count;
    session.keep(deletions.batcher);
    session.console.flush()?;
    session.summarize(count, "flow entries have been deleted")?;
    Ok(touched(count))
}

/// Shows what would be hit, and touches nothing.
pub(super) fn pretend(
    session: &mut Session<'_, '_>,
    request: &Request,
    what: &str,
) -> Result<u8, Failure> {
    let printer = Printer::new(request);
    let mut count = 0;
    each_match(session, request, |session, flow, message| {
        count += 1;
        printer.deleted(session.console.buffer(), flow, parse::secctx(message));
        session.console.written()
    })?;
    session.console.flush()?;
    session.summarize(count, what)?;
    Ok(touched(count))
}
