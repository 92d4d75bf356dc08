//! Answers to statistics and dump requests, from what the driver holds.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use control::dump::{self, Lifetime};
use control::json::{self, ReadyReport, RoleReport};
use control::peers::PeerLine;
use control::report::Report;
use control::request::{Dump, Format, Page, Side, Table};
use control::stats::{self, LinkStats, RuntimeStats, Shell, Transport};
use control::talkers::Talkers;
use control::{jsonl, xml};
use ctnetlink::request::DumpFilter;
use ctnetlink::{Reply, parse};
use engine::snapshot::{InternalStats, QueueStats};
use engine::{Outcome, Snapshot};
use syncwire::{Change, EncodeOptions, Flags, encode};

use crate::driver::{Driver, Link, Open};
use crate::link::Kind;
use crate::native::Native;

/// Bytes of a listing that are written before everything else gets a turn.
pub(crate) const DUMP_PIECE_LEN: usize = 64 * 1024;

/// Entries looked at in one turn.
const DUMP_ENTRIES: usize = 256;

/// A page of statistics.
pub(crate) fn page(driver: &Driver, page: Page) -> Vec<u8> {
    let mut out = Vec::new();
    with_stats(driver, |snapshot, shell| {
        let mut resend = driver.engine.resend_queue();
        stats::page(&mut out, page, snapshot, &mut resend, shell);
    });
    out
}

/// All statistics.
pub(crate) fn report(driver: &Driver) -> Report {
    let now = Instant::now();
    let engine = &driver.engine;
    with_stats(driver, |snapshot, shell| {
        let role = role_report(driver, now, None);
        let replication = engine.replication(now);
        let operations = engine.operations(now);
        let readiness = engine.readiness(now);
        let peers = peers(driver);
        let native_port = driver.native.as_ref().map(Native::port);
        Report {
            peers,
            native_port,
            ..Report::new(role, readiness, replication, &operations, snapshot, shell)
        }
    })
}

/// The peers of the native dialect.
pub(crate) fn peers(driver: &Driver) -> Vec<PeerLine> {
    let connections = driver.native.iter().flat_map(Native::connections);
    let peers = driver.engine.peers(Instant::now());
    peers
        .into_iter()
        .zip(connections)
        .map(|(peer, connection)| PeerLine::new(peer, connection))
        .collect()
}

fn with_stats<T>(driver: &Driver, take: impl FnOnce(&Snapshot, &Shell<'_>) -> T) -> T {
    let links: Vec<_> = driver.links.iter().map(link_stats).collect();
    let snapshot = driver.engine.snapshot();
    let error_queue = error_queue(driver);
    let shell = Shell {
        links: &links,
        runtime: runtime_stats(driver),
        processes: &[],
        queue_nodes: snapshot.queued_controls + error_queue.len,
        error_queue,
    };
    take(&snapshot, &shell)
}

/// The role. `outcome`: how a change that was asked for has ended.
pub(crate) fn role(driver: &Driver, outcome: Option<Outcome>) -> Vec<u8> {
    json::line(&role_report(driver, Instant::now(), outcome))
}

/// The role that stays where another one was asked for in vain.
pub(crate) fn role_refused(driver: &Driver, error: String) -> Vec<u8> {
    json::line(&role_report(driver, Instant::now(), None).refused(error))
}

fn role_report(driver: &Driver, now: Instant, outcome: Option<Outcome>) -> RoleReport {
    let state = driver.engine.role();
    let passed = now.saturating_duration_since(state.since);
    RoleReport::new(&state, passed, outcome, now_s())
}

/// Whether this node could take over now.
pub(crate) fn ready(driver: &Driver) -> Vec<u8> {
    json::line(&ReadyReport::new(driver.engine.readiness(Instant::now())))
}

/// Appends entries from `cursor` on. Returns where to go on.
pub(crate) fn dump(driver: &Driver, dump: Dump, cursor: u64, out: &mut Vec<u8>) -> Option<u64> {
    let side = match dump.side {
        Side::Internal => engine::Side::Internal,
        Side::External => engine::Side::External,
    };
    let now_s = now_s();
    match dump.table {
        Table::Flows => {
            driver.engine.flows(
                side,
                cursor,
                DUMP_ENTRIES,
                &mut |dumped| match dump.format {
                    Format::Plain => {
                        dump::flow(out, &dumped.entry, dump.side, lifetime(dumped), now_s);
                    }
                    Format::Xml => xml::flow(out, &dumped.entry, dump.side, now_s),
                    Format::Json => jsonl::flow(out, &dumped.entry, Some(lifetime(dumped))),
                },
            )
        }
        Table::Expectations => driver.engine.expectations(
            side,
            cursor,
            DUMP_ENTRIES,
            &mut |dumped| match dump.format {
                Format::Plain => dump::expectation(out, &dumped.entry, lifetime(dumped)),
                Format::Xml => xml::expectation(out, &dumped.entry),
                Format::Json => {
                    jsonl::expectation(out, &dumped.entry, Some(lifetime(dumped)));
                }
            },
        ),
    }
}

/// Appends entries of the external cache, as a peer tells them. Returns where to go on.
pub(crate) fn export(driver: &Driver, table: Table, cursor: u64, out: &mut Vec<u8>) -> Option<u64> {
    const WHOLE: EncodeOptions = EncodeOptions {
        timeout: true,
        window_scale: true,
    };
    let engine = &driver.engine;
    // Numbers that follow each other over all pieces would take a state; a peer that loses nothing needs none.
    match table {
        Table::Flows => engine.flows(
            engine::Side::External,
            cursor,
            DUMP_ENTRIES,
            &mut |dumped| {
                encode::flow(out, Change::New, Flags(0), 1, &dumped.entry, WHOLE);
            },
        ),
        Table::Expectations => engine.expectations(
            engine::Side::External,
            cursor,
            DUMP_ENTRIES,
            &mut |dumped| {
                encode::expectation(out, Change::New, Flags(0), 1, &dumped.entry, WHOLE);
            },
        ),
    }
}

/// Counts entries from `cursor` on. Returns where to go on.
pub(crate) fn talkers(
    driver: &Driver,
    side: Side,
    cursor: u64,
    talkers: &mut Talkers,
) -> Option<u64> {
    let side = match side {
        Side::Internal => engine::Side::Internal,
        Side::External => engine::Side::External,
    };
    let engine = &driver.engine;
    engine.flows(side, cursor, DUMP_ENTRIES, &mut |dumped| {
        talkers.add(&dumped.entry);
    })
}

/// Whether this listing is one of the kernel's table: there is no internal cache to list.
pub(crate) fn is_of_kernel(driver: &Driver, dump: Dump) -> bool {
    let bypass = matches!(
        driver.engine.snapshot().internal,
        Some(InternalStats::Bypass(_))
    );
    bypass && dump.side == Side::Internal
}

/// The request for a listing of the kernel's table.
pub(crate) fn kernel_request(table: Table) -> Vec<u8> {
    let mut bytes = Vec::new();
    match table {
        Table::Flows => ctnetlink::request::dump_flows(&mut bytes, 1, &DumpFilter::default()),
        Table::Expectations => ctnetlink::request::dump_expectations(&mut bytes, 1, None),
    }
    bytes
}

/// Appends the entries of a datagram of the kernel. Returns whether more will come.
pub(crate) fn kernel_entries(datagram: &[u8], format: Format, out: &mut Vec<u8>) -> bool {
    let now_s = now_s();
    for message in ctnetlink::messages(datagram) {
        let Ok(message) = message else { return false };
        match parse::reply(&message) {
            Ok(Reply::Flow(flow)) if format == Format::Json => jsonl::flow(out, &flow, None),
            Ok(Reply::Flow(flow)) => dump::kernel_flow(out, &flow, now_s),
            Ok(Reply::Expectation(expectation)) if format == Format::Json => {
                jsonl::expectation(out, &expectation, None);
            }
            Ok(Reply::Expectation(expectation)) => dump::kernel_expectation(out, &expectation),
            Ok(Reply::Done { .. } | Reply::Verdict { .. }) => return false,
            Ok(Reply::Other) | Err(_) => {}
        }
    }
    true
}

/// Seconds since 1970.
fn now_s() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}

fn lifetime<T>(dumped: &engine::Dumped<T>) -> Lifetime {
    Lifetime {
        active_s: dumped.active_since.as_secs(),
        expires_s: dumped.expires_in.map(|time| time.as_secs()),
    }
}

fn link_stats(link: &Link) -> LinkStats<'_> {
    let transport = match (&link.endpoint.kind, &link.open) {
        (Kind::Multicast { .. }, _) => Transport::Multicast,
        (Kind::Udp { .. }, _) => Transport::Udp,
        (Kind::Tcp { .. }, open) => Transport::Tcp {
            server_connected: link.incoming.is_some(),
            client_connected: matches!(open, Open::Stream(stream) if stream.is_connected()),
        },
    };
    LinkStats {
        transport,
        interface: &link.endpoint.interface,
        state: link.state,
        sent_bytes: link.traffic.sent_bytes,
        received_bytes: link.traffic.received_bytes,
        sent_packets: link.traffic.sent_packets,
        received_packets: link.traffic.received_packets,
        send_errors: link.traffic.send_errors,
        receive_errors: link.traffic.receive_errors,
    }
}

fn error_queue(driver: &Driver) -> QueueStats {
    let mut stats = QueueStats {
        max: 128,
        ..QueueStats::default()
    };
    for link in &driver.links {
        if let Kind::Tcp { queue_max, .. } = link.endpoint.kind {
            stats.max = queue_max as u64;
        }
        if let Open::Stream(stream) = &link.open {
            let (len, dropped) = stream.queue();
            stats.len += len as u64;
            stats.overflows += dropped;
        }
    }
    stats
}

fn runtime_stats(driver: &Driver) -> RuntimeStats {
    RuntimeStats {
        uptime: driver.started.elapsed(),
        event_buffer_len: driver
            .events
            .as_ref()
            .map_or(driver.configured_buffer_len, |events| {
                events.buffer_len() as u64
            }),
        local_read_failed: driver.local_read_failed,
        local_refused: driver.local_refused,
        ..RuntimeStats::default()
    }
}
