//! Listing entries and looking one up.

use ctnetlink::{Message, Reply, parse, request as netlink, request::DumpFilter};
use flow::{Flow, Key};
use nix::errno::Errno;

use super::{NOTHING, SUCCESS, Session, failed, refused, touched};
use crate::{
    command::Table, error::Failure, filter::Filter, kernel::Trouble, print::Printer,
    request::Request, tuples,
};

/// Shows every entry that a request means to `each`, one at a time, as the kernel tells them.
pub(super) fn each_match(
    session: &mut Session<'_, '_>,
    request: &Request,
    mut each: impl FnMut(&mut Session<'_, '_>, &Flow, &Message<'_>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let filter = Filter::new(request);
    let mut asker = match session.asker.take() {
        Some(asker) => asker,
        None => crate::kernel::Asker::open().map_err(refused(request))?,
    };
    let (mut told, mut unreadable) = (0_u64, 0_u64);
    let mut dump =
        |session: &mut Session<'_, '_>, asker: &mut crate::kernel::Asker, kernel: &DumpFilter| {
            asker
                .ask(
                    |buf, seq| match (request.table, request.zero) {
                        (Table::Dying, _) => netlink::dump_dying(buf, seq, kernel),
                        (Table::Unconfirmed, _) => netlink::dump_unconfirmed(buf, seq, kernel),
                        (_, true) => netlink::dump_flows_and_zero_counters(buf, seq, kernel),
                        (_, false) => netlink::dump_flows(buf, seq, kernel),
                    },
                    |message| match parse::reply(message) {
                        Ok(Reply::Flow(flow)) => {
                            told += 1;
                            if filter.accepts(&flow) {
                                each(session, &flow, message)
                            } else {
                                Ok(())
                            }
                        }
                        Ok(_) => Ok(()),
                        Err(_) => {
                            unreadable += 1;
                            Ok(())
                        }
                    },
                )
                .map_err(|trouble| (trouble, told))
        };
    let mut outcome = Ok(());
    for kernel in filter.kernel_filters() {
        outcome = dump(session, &mut asker, &kernel);
        if outcome.is_err() {
            break;
        }
    }
    if let Err((Trouble::Kernel(error), 0)) = &outcome
        && matches!(
            error.raw_os_error().map(Errno::from_raw),
            Some(Errno::EINVAL | Errno::EOPNOTSUPP)
        )
        && filter.kernel_filters() != [filter.plain_kernel_filter()]
    {
        // A kernel that knows the condition but not like this: it is tested here anyway.
        outcome = dump(session, &mut asker, &filter.plain_kernel_filter());
    }
    session.asker = Some(asker);
    outcome.map_err(|(trouble, _)| failed(request, trouble))?;
    if unreadable > 0 {
        session
            .console
            .say(&format!("{unreadable} entries could not be understood."))?;
    }
    Ok(())
}

pub(super) fn list(session: &mut Session<'_, '_>, request: &Request) -> Result<u8, Failure> {
    let printer = Printer::new(request);
    let mut count = 0;
    each_match(session, request, |session, flow, message| {
        let out = session.console.buffer();
        if count == 0 {
            out.extend_from_slice(printer.head());
        }
        count += 1;
        printer.listed(out, flow, parse::secctx(message));
        session.console.written()
    })?;
    if count > 0 {
        session.console.buffer().extend_from_slice(printer.tail());
    }
    session.console.flush()?;
    session.summarize(count, "flow entries have been shown")?;
    Ok(SUCCESS)
}

pub(super) fn get(session: &mut Session<'_, '_>, request: &Request) -> Result<u8, Failure> {
    let Some(tuple) = tuples::original(request) else {
        // compat: only the original direction is looked up.
        return Err(refused(request)(Errno::EINVAL.into()));
    };
    let printer = Printer::new(request);
    let filter = Filter::new(request);
    let mut lines = Vec::new();
    let mut count = 0;
    let asker = session.asker(request)?;
    asker
        .ask(
            |buf, seq| netlink::get_flow(buf, seq, netlink::Ack::Wanted, &Key { tuple, zone: 0 }),
            |message| {
                if let Ok(Reply::Flow(flow)) = parse::reply(message)
                    && filter.accepts(&flow)
                {
                    if count == 0 {
                        lines.extend_from_slice(printer.head());
                    }
                    count += 1;
                    printer.listed(&mut lines, &flow, parse::secctx(message));
                }
                Ok(())
            },
        )
        .map_err(|trouble| failed(request, trouble))?;
    session.console.buffer().extend_from_slice(&lines);
    session.summarize(count, "flow entries have been shown")?;
    Ok(if count == 0 { NOTHING } else { touched(count) })
}
