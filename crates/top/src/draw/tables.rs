//! The pages that list.

use control::report::{CacheReport, Report};
use control::talkers::{Talker, TalkersReport};
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};

use super::{Mood, bytes, duration};

fn heading(text: String) -> Line<'static> {
    Line::styled(text, Style::new().add_modifier(Modifier::BOLD))
}

pub(super) fn caches(report: &Report) -> Vec<Line<'static>> {
    let mut lines = vec![heading(format!(
        "{:<22}{:>10}{:>11}{:>11}{:>11}{:>9}",
        "cache", "entries", "created", "updated", "destroyed", "failed"
    ))];
    for (name, cache) in [
        ("internal", report.internal),
        ("external", report.external),
        ("internal expectations", report.internal_expectations),
        ("external expectations", report.external_expectations),
    ] {
        lines.extend(cache.map(|cache| self::cache(name, cache)));
    }
    lines.push(Line::default());
    for (name, bulk) in [
        ("bulk sent", report.bulks.sent),
        ("bulk received", report.bulks.received),
    ] {
        let text = bulk.map_or("none yet".to_owned(), |bulk| {
            format!(
                "{} entries in {}, {} ago",
                bulk.entries,
                duration(bulk.took_s),
                duration(bulk.ago_s)
            )
        });
        lines.push(Line::from(format!("{name:<15}{text}")));
    }
    let commits = &report.commits;
    let text = commits.last.map_or("none yet".to_owned(), |last| {
        format!(
            "{} taken, {} refused, in {}, {} ago{}",
            last.committed,
            last.refused,
            duration(last.took_s),
            duration(last.ago_s),
            if last.interrupted {
                ", interrupted"
            } else {
                ""
            }
        )
    });
    lines.push(Line::from(format!("{:<15}{text}", "commit")));
    for refused in &commits.refused {
        let text = format!("refused {}: {}", refused.count, refused.reason);
        lines.push(Line::from(Mood::Bad.span(&text)));
        let samples = refused.samples.iter();
        lines.extend(samples.map(|sample| Line::from(format!("  {sample}"))));
    }
    lines
}

fn cache(name: &str, cache: CacheReport) -> Line<'static> {
    let (entries, [created, updated, destroyed], failed) = match cache {
        CacheReport::Cache {
            active,
            created,
            create_failed,
            updated,
            update_failed,
            destroyed,
            destroy_failed,
            ..
        } => (
            active.to_string(),
            [created, updated, destroyed],
            create_failed + update_failed + destroy_failed,
        ),
        CacheReport::Bypass {
            created,
            updated,
            destroyed,
        } => ("none".to_owned(), [created, updated, destroyed], 0),
        CacheReport::Inject {
            created,
            create_failed,
            updated,
            update_failed,
            destroyed,
            destroy_failed,
        } => (
            "kernel".to_owned(),
            [created, updated, destroyed],
            create_failed + update_failed + destroy_failed,
        ),
    };
    Line::from(format!(
        "{name:<22}{entries:>10}{created:>11}{updated:>11}{destroyed:>11}{failed:>9}"
    ))
}

pub(super) fn links(report: &Report) -> Vec<Line<'static>> {
    let mut lines = vec![heading(format!(
        "{:<16}{:<10}{:<9}{:>12}{:>12}{:>8}",
        "link", "transport", "state", "sent", "received", "errors"
    ))];
    for link in &report.links {
        let up = link.up && link.running;
        let (mood, words) = match (up, link.active) {
            (false, _) => (Mood::Bad, "down"),
            (true, true) => (Mood::Good, "sends"),
            (true, false) => (Mood::Doubtful, "spare"),
        };
        let start = Span::raw(format!("{:<16}{:<10}", link.interface, link.transport));
        let end = Span::raw(format!(
            "{:>12}{:>12}{:>8}",
            bytes(link.sent_bytes),
            bytes(link.received_bytes),
            link.send_errors + link.receive_errors
        ));
        lines.push(Line::from_iter([
            start,
            mood.span(&format!("{words:<7}")),
            end,
        ]));
        if let (Some(server), Some(client)) = (link.server_connected, link.client_connected) {
            let word = |is| if is { "connected" } else { "not connected" };
            lines.push(Line::from(format!(
                "  peer to us: {}; we to the peer: {}",
                word(server),
                word(client)
            )));
        }
    }
    lines.push(Line::default());
    lines.push(heading(format!(
        "{:<16}{:>12}{:>12}{:>12}",
        "queue", "waiting", "most", "dropped"
    )));
    for (name, queue) in [
        ("send", Some(report.queues.send)),
        ("resend", report.queues.resend),
        ("error", Some(report.queues.error)),
    ] {
        if let Some(queue) = queue {
            lines.push(Line::from(format!(
                "{name:<16}{:>12}{:>12}{:>12}",
                queue.len, queue.max, queue.overflows
            )));
        }
    }
    lines
}

/// As many as fit into a frame of this height, and only names that are wanted.
pub(super) fn talkers(
    report: &TalkersReport,
    height: u16,
    is_wanted: &dyn Fn(&str) -> bool,
) -> Vec<Line<'static>> {
    // Borders, the line of the sum, three headings.
    let room = usize::from(height).saturating_sub(2 + 1 + 3);
    let services = (room / 4).max(1);
    let hosts = (room.saturating_sub(services) / 2).max(1);
    let mut lines = vec![Line::from(format!("{} entries", report.entries))];
    for (name, talkers, count) in [
        ("opened by", &report.sources, hosts),
        ("opened to", &report.destinations, hosts),
        ("service", &report.services, services),
    ] {
        lines.push(heading(format!("{name:<26}{:>10}", "entries")));
        let wanted = talkers.iter().filter(|talker| is_wanted(&talker.name));
        lines.extend(wanted.take(count).map(talker));
    }
    lines
}

fn talker(talker: &Talker) -> Line<'static> {
    Line::from(format!("{:<26}{:>10}", talker.name, talker.entries))
}

pub(super) fn errors(report: &Report) -> Vec<Line<'static>> {
    let receive = &report.receive;
    let kernel = &report.kernel;
    let link_errors = |count: fn(&control::report::LinkReport) -> u64| {
        report.links.iter().map(count).sum::<u64>()
    };
    let queues = &report.queues;
    let failed = |cache: Option<CacheReport>| match cache {
        Some(
            CacheReport::Cache {
                create_failed,
                update_failed,
                destroy_failed,
                ..
            }
            | CacheReport::Inject {
                create_failed,
                update_failed,
                destroy_failed,
                ..
            },
        ) => create_failed + update_failed + destroy_failed,
        _ => 0,
    };
    let refused: u64 = report.commits.refused.iter().map(|r| r.count).sum();
    let counts = [
        ("events lost: buffer overruns", kernel.overruns),
        ("events malformed", kernel.malformed),
        ("messages lost", receive.lost),
        ("messages late", receive.before),
        ("messages of another version", receive.wrong_version),
        ("messages with a bad header", receive.malformed_header),
        ("messages with bad attributes", receive.malformed_payload),
        ("messages of unknown type", receive.bad_type),
        ("messages with a bad length", receive.bad_size),
        ("datagrams cut short", receive.truncated),
        ("sends failed", link_errors(|link| link.send_errors)),
        ("receives failed", link_errors(|link| link.receive_errors)),
        (
            "changes of the internal cache refused",
            failed(report.internal),
        ),
        (
            "changes of the external cache refused",
            failed(report.external),
        ),
        ("entries that no commit could place", refused),
        (
            "messages dropped: queue full",
            queues.send.overflows + queues.error.overflows,
        ),
        (
            "messages no longer kept for repeating",
            queues.resend.map_or(0, |queue| queue.overflows),
        ),
        ("clients without a request", report.process.clients_failed),
    ];
    counts
        .into_iter()
        .map(|(name, count)| {
            let text = format!("{name:<44}{count:>12}");
            let mood = if count == 0 {
                Mood::Good
            } else {
                Mood::Doubtful
            };
            Line::from(mood.span(&text))
        })
        .collect()
}
