//! A node at a glance.

use control::operations::ProgressReport;
use control::report::{CacheReport, Report};
use ratatui::text::{Line, Span};

use super::{Mood, duration};
use crate::app::App;
use crate::history::History;

/// What a node tells of itself, in a frame of this width.
pub(super) fn lines(history: &History, width: u16) -> Vec<Line<'static>> {
    let Some(report) = history.report() else {
        return Vec::new();
    };
    let role = &report.role;
    let doing = if role.settled { "" } else { ", not settled" };
    let mut lines = vec![
        field(
            "Role",
            [Span::raw(format!(
                "{} {} ({}){doing}",
                role.role,
                duration(role.for_s as f64),
                role.cause
            ))],
        ),
        field("Ready", [ready(report)]),
        reason(report, width),
        field("Peer", [peer(report)]),
        field("Internal", [Span::raw(cache(report.internal))]),
        field("External", [Span::raw(cache(report.external))]),
    ];
    lines.extend(replication(report));
    lines.push(field("Queues", [Span::raw(queues(report))]));
    lines.push(field("Link", [link(report)]));
    lines.push(work(report));
    lines.push(field(
        "Uptime",
        [Span::raw(duration(report.process.uptime_s as f64))],
    ));
    lines
}

/// What this node knows of one that is not asked.
pub(super) fn of_peer_from_here(app: &App) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    if app.has_peer {
        lines.push(Line::from("asking it ..."));
    }
    if let Some(report) = app.own.report() {
        lines.push(field("Seen", [peer(report)]));
        lines.push(field("Told us", [Span::raw(cache(report.external))]));
    }
    if !app.has_peer {
        lines.extend([
            Line::default(),
            Line::from("For its own view: --peer COMMAND, such as"),
            Line::from("'ssh fw2 conntrackd stats --json'"),
        ]);
    }
    lines
}

fn field<const N: usize>(name: &str, spans: [Span<'static>; N]) -> Line<'static> {
    let name = Span::raw(format!("{name:<9}"));
    Line::from_iter([name].into_iter().chain(spans))
}

fn ready(report: &Report) -> Span<'static> {
    if report.ready.ready {
        Mood::Good.span("yes")
    } else {
        Mood::Doubtful.span("no")
    }
}

/// Why, as far as there is room between two borders.
fn reason(report: &Report, width: u16) -> Line<'static> {
    let room = usize::from(width).saturating_sub(2);
    let text = format!(" {}", report.ready.reason);
    Line::from(text.chars().take(room).collect::<String>())
}

fn peer(report: &Report) -> Span<'static> {
    let Some(peer) = &report.peer else {
        return Span::raw("none in this mode");
    };
    let heard = peer
        .heard_s
        .map_or(String::new(), |s| format!(", heard {} ago", duration(s)));
    Mood::of(peer.state == "alive").span(&format!("{}{heard}", peer.state))
}

fn cache(cache: Option<CacheReport>) -> String {
    match cache {
        Some(CacheReport::Cache { active, .. }) => format!("{active} entries"),
        Some(CacheReport::Bypass { .. }) => "no cache, changes are sent at once".to_owned(),
        Some(CacheReport::Inject {
            created, destroyed, ..
        }) => format!("{} in the kernel", created.saturating_sub(destroyed)),
        None => "none in this mode".to_owned(),
    }
}

fn replication(report: &Report) -> Vec<Line<'static>> {
    let Some(replication) = report.replication else {
        return Vec::new();
    };
    let lag = match (replication.lag_s, replication.p50_s, replication.p99_s) {
        (None, ..) => "not known in this mode".to_owned(),
        (Some(lag), Some(p50), Some(p99)) => format!(
            "{}  p50 {}  p99 {}",
            duration(lag),
            duration(p50),
            duration(p99)
        ),
        (Some(lag), ..) => duration(lag),
    };
    vec![
        field(
            "At risk",
            [Span::raw(format!("{} entries", replication.at_risk))],
        ),
        field("Lag", [Span::raw(lag)]),
    ]
}

fn queues(report: &Report) -> String {
    let queues = &report.queues;
    let resend = queues
        .resend
        .map_or(String::new(), |queue| format!("  resend {}", queue.len));
    format!("send {}{resend}", queues.send.len)
}

fn link(report: &Report) -> Span<'static> {
    match report.links.iter().find(|link| link.active) {
        None => Span::raw("none in this mode"),
        Some(link) => {
            let up = link.up && link.running;
            let words = if up { "up" } else { "down" };
            Mood::of(up).span(&format!("{} {words}, {}", link.interface, link.transport))
        }
    }
}

fn work(report: &Report) -> Line<'static> {
    let under_way = [("Commit", report.work.commit), ("Bulk", report.work.bulk)];
    for (name, work) in under_way {
        if let Some(work) = work {
            return field(name, [Span::raw(progress(&work))]);
        }
    }
    let text = match report.commits.last {
        None => "none yet".to_owned(),
        Some(last) => format!(
            "{} in {}, {} ago",
            last.committed,
            duration(last.took_s),
            duration(last.ago_s)
        ),
    };
    field("Commit", [Span::raw(text)])
}

fn progress(work: &ProgressReport) -> String {
    let left = work.total.saturating_sub(work.done);
    let rate = work.done as f64 / work.running_s.max(0.001);
    let time = if work.done == 0 {
        String::new()
    } else {
        format!(", {} left", duration(left as f64 / rate.max(1.0)))
    };
    format!("{} of {}{time}", work.done, work.total)
}
