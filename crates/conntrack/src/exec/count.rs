//! How many entries there are.

use std::fs;

use ctnetlink::{Reply, parse, request as netlink, stats};
use flow::Family;

use super::{SUCCESS, Session, failed};
use crate::{command::Table, error::Failure, print::text, request::Request};

/// The kernel's count for those who may not ask over netlink.
const COUNT_FILE: &str = "/proc/sys/net/netfilter/nf_conntrack_count";

pub(super) fn count(session: &mut Session<'_, '_>, request: &Request) -> Result<u8, Failure> {
    let mut count = 0_u64;
    let asker = session.asker(request)?;
    let asked = if request.table == Table::Expect {
        asker.ask(
            |buf, seq| netlink::dump_expectations(buf, seq, Some(Family::Ipv4)),
            |message| {
                count += u64::from(matches!(parse::reply(message), Ok(Reply::Expectation(_))));
                Ok(())
            },
        )
    } else {
        asker.ask(netlink::global_stats, |message| {
            if let Ok(Some(global)) = stats::global(message) {
                count = global.entries.unwrap_or(0).into();
            }
            Ok(())
        })
    };
    if let Err(trouble) = asked {
        if let Some(told) = fs::read_to_string(COUNT_FILE)
            .ok()
            .and_then(|text| text.trim().parse().ok())
        {
            line(session, told);
        }
        return Err(failed(request, trouble));
    }
    line(session, count);
    Ok(SUCCESS)
}

fn line(session: &mut Session<'_, '_>, count: u64) {
    let out = session.console.buffer();
    text::decimal(out, count);
    out.push(b'\n');
}
