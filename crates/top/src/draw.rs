//! The pages, for 80 columns and 24 lines or more.
//!
//! Nothing is told by colour alone: good is `●` in blue, doubtful `▲` in yellow, bad `✖` reversed, and a word stands beside each.

mod node;
mod peers;
mod tables;

use std::time::Instant;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Paragraph, Sparkline};

use crate::app::{App, Page};
use crate::history::{Counter, History};

/// Names and numbers of the process that looks.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// This node's name.
    pub host: String,
    /// Time of day.
    pub clock: String,
}

/// Draws everything.
pub fn draw(frame: &mut Frame<'_>, app: &App, now: Instant, surroundings: &Surroundings) {
    let [title, tabs, body, keys] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Min(1),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    frame.render_widget(title_line(app, now, surroundings), title);
    frame.render_widget(tabs_line(app), tabs);
    match (app.own.report(), &app.own_error) {
        (None, error) => {
            let text = error.as_deref().unwrap_or("asking the daemon ...");
            frame.render_widget(Paragraph::new(text), body);
        }
        (Some(report), _) => match app.page {
            Page::Overview => overview(frame, app, body),
            Page::Caches => paragraph(frame, app, "Caches", tables::caches(report), body),
            Page::Links => paragraph(frame, app, "Links and queues", tables::links(report), body),
            Page::Talkers => talkers(frame, app, body),
            Page::Errors => paragraph(frame, app, "Errors", tables::errors(report), body),
            Page::Peers => paragraph(frame, app, "Peers", peers::lines(&report.peers), body),
        },
    }
    frame.render_widget(keys_line(app), keys);
}

/// How something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mood {
    Good,
    Doubtful,
    Bad,
}

impl Mood {
    fn style(self) -> Style {
        match self {
            Self::Good => Style::new().fg(Color::LightBlue),
            Self::Doubtful => Style::new().fg(Color::Yellow).add_modifier(Modifier::BOLD),
            Self::Bad => Style::new().add_modifier(Modifier::BOLD | Modifier::REVERSED),
        }
    }

    fn of(good: bool) -> Self {
        if good { Self::Good } else { Self::Bad }
    }

    fn span(self, text: &str) -> Span<'static> {
        let symbol = match self {
            Self::Good => '●',
            Self::Doubtful => '▲',
            Self::Bad => '✖',
        };
        Span::styled(format!("{symbol} {text}"), self.style())
    }
}

fn title_line(app: &App, now: Instant, surroundings: &Surroundings) -> Line<'static> {
    let mut line = vec![Span::styled(
        format!("conntrackd {} ", surroundings.host),
        Style::new().add_modifier(Modifier::BOLD),
    )];
    if let Some(report) = app.own.report() {
        line.push(Span::raw(format!("{} ", report.role.role.to_uppercase())));
        let words = if report.ready.ready {
            "ready"
        } else {
            "not ready"
        };
        line.push(Mood::of(report.ready.ready).span(words));
    }
    if app.is_paused {
        line.push(Span::raw("  "));
        line.push(Mood::Doubtful.span("paused"));
    }
    if let Some(error) = &app.own_error {
        let age = app.own.age(now).map_or(0, |age| age.as_secs());
        line.push(Span::raw("  "));
        line.push(Mood::Bad.span(&format!("no answer for {age} s: {error}")));
    }
    line.push(Span::raw(format!("  {}", surroundings.clock)));
    Line::from(line)
}

fn tabs_line(app: &App) -> Line<'static> {
    let mut line = Vec::new();
    for (number, page) in Page::ALL.into_iter().enumerate() {
        let text = format!(" {} {} ", number + 1, page.name());
        let style = if page == app.page {
            Style::new().add_modifier(Modifier::REVERSED)
        } else {
            Style::new()
        };
        line.push(Span::styled(text, style));
    }
    Line::from(line)
}

/// The filter, where there is one, and what keys do.
fn keys_line(app: &App) -> Line<'static> {
    let filter = &app.filter;
    Line::from(if app.is_typing {
        format!("only: {filter}_   Enter: keep the filter   Esc: drop it")
    } else if filter.is_empty() {
        "1-6 Tab: page   /: filter   p: pause   q: quit".to_owned()
    } else {
        format!("only: {filter}   Esc: no filter   1-6 Tab: page   p: pause   q: quit")
    })
}

fn overview(frame: &mut Frame<'_>, app: &App, area: Rect) {
    let [nodes, graphs] =
        Layout::vertical([Constraint::Length(14), Constraint::Min(4)]).areas(area);
    let [own, peer] =
        Layout::horizontal([Constraint::Ratio(1, 2), Constraint::Ratio(1, 2)]).areas(nodes);
    paragraph(
        frame,
        app,
        "This node",
        node::lines(&app.own, own.width),
        own,
    );
    let lines = match (app.peer.report(), &app.peer_error) {
        (Some(_), None) => node::lines(&app.peer, peer.width),
        (_, Some(error)) => vec![Line::from(Mood::Bad.span(error))],
        (None, None) => node::of_peer_from_here(app),
    };
    paragraph(frame, app, "Other node", lines, peer);
    let thirds = [Constraint::Ratio(1, 3); 3];
    let areas: [Rect; 3] = Layout::horizontal(thirds).areas(graphs);
    for (area, (title, counter)) in areas.into_iter().zip([
        ("Events", Counter::Events),
        ("Sync datagrams", Counter::Datagrams),
        ("Committed", Counter::Committed),
    ]) {
        graph(frame, &app.own, title, counter, area);
    }
}

fn graph(frame: &mut Frame<'_>, history: &History, title: &str, counter: Counter, area: Rect) {
    let width = usize::from(area.width.saturating_sub(2));
    let rates = history.rates(counter, width);
    let most = rates.iter().copied().max().unwrap_or(0);
    let now = history
        .rate(counter)
        .map_or("-".to_owned(), |rate| rate.to_string());
    let block = Block::bordered()
        .title(format!(" {title} {now}/s "))
        .title_bottom(format!(" most {most}/s "));
    let graph = Sparkline::default()
        .block(block)
        .style(Style::new().fg(Color::LightBlue))
        .max(most.max(1))
        .data(&rates);
    frame.render_widget(graph, area);
}

fn talkers(frame: &mut Frame<'_>, app: &App, area: Rect) {
    let halves = [Constraint::Ratio(1, 2); 2];
    let areas: [Rect; 2] = Layout::horizontal(halves).areas(area);
    for ((area, report), title) in areas.into_iter().zip(&app.talkers).zip([
        "Internal: this node's connections",
        "External: the other node's",
    ]) {
        let lines = match report {
            Some(report) => tables::talkers(report, area.height, &|name| app.shows(name)),
            None => vec![Line::from("counting ...")],
        };
        let block = Block::bordered().title(format!(" {title} "));
        frame.render_widget(Paragraph::new(lines).block(block), area);
    }
}

/// Lines in a frame; those that the filter lets through.
fn paragraph(frame: &mut Frame<'_>, app: &App, title: &str, lines: Vec<Line<'_>>, area: Rect) {
    let lines: Vec<_> = lines
        .into_iter()
        .filter(|line| app.page == Page::Overview || app.shows(&line.to_string()))
        .collect();
    let block = Block::bordered().title(format!(" {title} "));
    frame.render_widget(Paragraph::new(lines).block(block), area);
}

/// A short time in words.
fn duration(seconds: f64) -> String {
    let whole = seconds as u64;
    match whole {
        0 if seconds < 0.0005 => "0 ms".to_owned(),
        0..=9 if seconds < 1.0 => format!("{:.0} ms", seconds * 1000.0),
        0..=9 => format!("{seconds:.1} s"),
        10..=119 => format!("{whole} s"),
        120..=7199 => format!("{} min", whole / 60),
        7200..=172_799 => format!("{} h", whole / 3600),
        _ => format!("{} days", whole / 86400),
    }
}

/// A large number of bytes in words.
fn bytes(count: u64) -> String {
    let mut number = count as f64;
    for unit in ["B", "kB", "MB", "GB"] {
        if number < 10_000.0 {
            return format!("{number:.0} {unit}");
        }
        number /= 1000.0;
    }
    format!("{number:.0} TB")
}
