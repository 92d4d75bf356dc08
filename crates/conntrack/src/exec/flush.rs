//! Emptying a table.

use ctnetlink::request::{self as netlink, DumpFilter};

use super::{SUCCESS, Session, delete::pretend, failed};
use crate::{
    command::Table,
    error::Failure,
    request::{Mode, Request},
};

pub(super) fn flush(session: &mut Session<'_, '_>, request: &Request) -> Result<u8, Failure> {
    let is_expect = request.table == Table::Expect;
    if request.mode == Mode::DryRun {
        return if is_expect {
            super::expect::pretend(session, request)
        } else {
            pretend(session, request, "flow entries would be deleted").map(|_| SUCCESS)
        };
    }
    // compat: said before it is tried, and also when it fails.
    session.console.say(if is_expect {
        "expectation table has been emptied."
    } else {
        "connection tracking table has been emptied."
    })?;
    let filter = DumpFilter {
        family: request.family,
        ..DumpFilter::default()
    };
    let asker = session.asker(request)?;
    asker
        .ask(
            |buf, seq| {
                if is_expect {
                    netlink::flush_expectations(buf, seq);
                } else {
                    netlink::flush_flows(buf, seq, &filter);
                }
            },
            |_| Ok(()),
        )
        .map_err(|trouble| failed(request, trouble))?;
    Ok(SUCCESS)
}
