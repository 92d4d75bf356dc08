//! Expectations.

use ctnetlink::{Reply, parse, request as netlink};
use flow::{Expectation, Family};
use nix::errno::Errno;

use super::{NOTHING, SUCCESS, Session, failed, refused};
use crate::{command::Command, error::Failure, print::Printer, request::Request, tuples};

pub(super) fn list(session: &mut Session<'_, '_>, request: &Request) -> Result<u8, Failure> {
    // compat: one family only.
    let family = Some(request.family.unwrap_or(Family::Ipv4));
    let count = show(session, request, family)?;
    session.summarize(count, "expectations have been shown")?;
    Ok(SUCCESS)
}

/// Shows what a flush would delete.
pub(super) fn pretend(session: &mut Session<'_, '_>, request: &Request) -> Result<u8, Failure> {
    let count = show(session, request, None)?;
    session.summarize(count, "expectations would be deleted")?;
    Ok(SUCCESS)
}

fn show(
    session: &mut Session<'_, '_>,
    request: &Request,
    family: Option<Family>,
) -> Result<u64, Failure> {
    let printer = Printer::new(request);
    let mut count = 0;
    session.asker(request)?;
    let Session { console, asker, .. } = &mut *session;
    if let Some(asker) = asker {
        let asked = asker.ask(
            |buf, seq| netlink::dump_expectations(buf, seq, family),
            |message| {
                if let Ok(Reply::Expectation(expectation)) = parse::reply(message) {
                    if count == 0 {
                        console.buffer().extend_from_slice(printer.head());
                    }
                    count += 1;
                    printer.expectation(console.buffer(), &expectation);
                }
                console.written()
            },
        );
        asked.map_err(|trouble| failed(request, trouble))?;
    }
    if count > 0 {
        console.buffer().extend_from_slice(printer.tail());
    }
    console.flush()?;
    Ok(count)
}

/// Looks up, creates or deletes one.
pub(super) fn one(session: &mut Session<'_, '_>, request: &Request) -> Result<u8, Failure> {
    let Some(expectation) = tuples::expectation(request) else {
        return Err(refused(request)(Errno::EINVAL.into()));
    };
    if request.command == Command::Delete && request.mode == crate::request::Mode::DryRun {
        return look_up(session, request, &expectation);
    }
    match request.command {
        Command::Create => {
            write(session, request, |buf, seq| {
                let write = netlink::Write::Create;
                netlink::write_expectation(buf, seq, netlink::Ack::Wanted, write, &expectation);
            })?;
            Ok(SUCCESS)
        }
        Command::Delete => {
            write(session, request, |buf, seq| {
                netlink::delete_expectation(buf, seq, netlink::Ack::Wanted, &expectation);
            })?;
            // compat: the deleted one is not counted, and the status says that nothing was done.
            session.summarize(0, "expectations have been shown")?;
            Ok(NOTHING)
        }
        _ => look_up(session, request, &expectation),
    }
}

fn write(
    session: &mut Session<'_, '_>,
    request: &Request,
    build: impl FnOnce(&mut Vec<u8>, u32),
) -> Result<(), Failure> {
    let asked = session.asker(request)?.ask(build, |_| Ok(()));
    asked.map_err(|trouble| failed(request, trouble))
}

fn look_up(
    session: &mut Session<'_, '_>,
    request: &Request,
    wanted: &Expectation,
) -> Result<u8, Failure> {
    let printer = Printer::new(request);
    let mut lines = Vec::new();
    let asked = session.asker(request)?.ask(
        |buf, seq| netlink::get_expectation(buf, seq, netlink::Ack::Wanted, wanted),
        |message| {
            if let Ok(Reply::Expectation(expectation)) = parse::reply(message) {
                printer.expectation(&mut lines, &expectation);
            }
            Ok(())
        },
    );
    asked.map_err(|trouble| failed(request, trouble))?;
    session.console.buffer().extend_from_slice(&lines);
    Ok(SUCCESS)
}
