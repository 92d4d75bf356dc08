//! `conntrackd-top`: what `conntrackd top` runs.

#![forbid(unsafe_code)]

use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail, ensure};
use control::Side;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{self, Event};
use top::app::{App, News, Page};
use top::draw::{Surroundings, draw};
use top::source::Source;

const HELP: &str = "\
conntrackd top [-C FILE] [--once] [--interval SECONDS] [--peer COMMAND]
  --once               print each page once, as plain text
  --interval SECONDS   how often the daemon is asked (default 1)
  --peer COMMAND       prints the other node's statistics, such as 'ssh fw2 conntrackd stats --json'
Keys: 1-6 or Tab: page, /: filter, p: pause, q: quit
";

/// How often keys are looked at.
const TICK: Duration = Duration::from_millis(100);

/// Counting talkers may take this part of the time at most.
const TALKERS_PART: u32 = 5;

struct Options {
    own: Source,
    peer: Option<Source>,
    interval: Duration,
    once: bool,
}

fn main() -> ExitCode {
    match options(std::env::args().skip(1)).and_then(|options| match options {
        None => io::stdout().write_all(HELP.as_bytes()).map_err(Into::into),
        Some(options) if options.once => once(&options),
        Some(options) => live(&options),
    }) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ERROR: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// `None`: help is wanted.
fn options(mut words: impl Iterator<Item = String>) -> Result<Option<Options>> {
    let (mut socket, mut peer, mut once) = (None, None, false);
    let mut interval = Duration::from_secs(1);
    while let Some(word) = words.next() {
        let mut value = || {
            words
                .next()
                .with_context(|| format!("{word} needs a value"))
        };
        match word.as_str() {
            "--socket" => socket = Some(value()?),
            "--peer" => peer = Some(Source::Command(value()?)),
            "--interval" => {
                let seconds: f64 = value()?.parse().context("--interval needs seconds")?;
                ensure!(
                    (0.1..=3600.0).contains(&seconds),
                    "--interval needs 0.1 to 3600 seconds"
                );
                interval = Duration::from_secs_f64(seconds);
            }
            "--once" => once = true,
            "-h" | "--help" => return Ok(None),
            _ => bail!("Unknown option: {word}"),
        }
    }
    let socket = socket.context("no control socket: start this with `conntrackd top'")?;
    Ok(Some(Options {
        own: Source::Socket(socket.into()),
        peer,
        interval,
        once,
    }))
}

/// All pages as text.
fn once(options: &Options) -> Result<()> {
    let mut app = App {
        has_peer: options.peer.is_some(),
        ..App::default()
    };
    // Rates need two.
    for number in 0..2 {
        if number > 0 {
            thread::sleep(options.interval);
        }
        let report = options.own.report()?;
        app.take(Instant::now(), News::Own(Ok(Box::new(report))));
        if let Some(peer) = &options.peer {
            app.take(
                Instant::now(),
                News::Peer(told(peer.report().map(Box::new))),
            );
        }
    }
    for side in [Side::Internal, Side::External] {
        let talkers = told(options.own.talkers(side));
        app.take(Instant::now(), News::Talkers(side, talkers));
    }
    let mut out = io::stdout().lock();
    for page in Page::ALL {
        app.page = page;
        let mut terminal = Terminal::new(TestBackend::new(80, 24))?;
        terminal.draw(|frame| draw(frame, &app, Instant::now(), &surroundings()))?;
        let buffer = terminal.backend().buffer();
        let width = usize::from(buffer.area.width).max(1);
        for row in buffer.content.chunks(width) {
            let line: String = row.iter().map(|cell| cell.symbol()).collect();
            match writeln!(out, "{}", line.trim_end()) {
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
                written => written?,
            }
        }
    }
    Ok(())
}

/// The screen, until the end is asked for.
fn live(options: &Options) -> Result<()> {
    ensure!(
        io::stdout().is_terminal(),
        "this is no terminal; --once prints plain text"
    );
    let (sender, news) = channel();
    let talks = Arc::new(AtomicBool::new(false));
    ask_own(options, sender.clone(), Arc::clone(&talks));
    if let Some(peer) = options.peer.clone() {
        let interval = options.interval;
        thread::spawn(move || {
            while sender
                .send(News::Peer(told(peer.report().map(Box::new))))
                .is_ok()
            {
                thread::sleep(interval);
            }
        });
    }
    let mut app = App {
        has_peer: options.peer.is_some(),
        ..App::default()
    };
    let mut terminal = ratatui::try_init().context("the terminal cannot be used")?;
    let outcome = show(&mut terminal, &mut app, &news, &talks);
    ratatui::restore();
    outcome
}

fn show(
    terminal: &mut ratatui::DefaultTerminal,
    app: &mut App,
    news: &Receiver<News>,
    talks: &AtomicBool,
) -> Result<()> {
    while !app.is_done {
        talks.store(
            app.page == Page::Talkers && !app.is_paused,
            Ordering::Relaxed,
        );
        while let Ok(news) = news.try_recv() {
            app.take(Instant::now(), news);
        }
        terminal.draw(|frame| draw(frame, app, Instant::now(), &surroundings()))?;
        if event::poll(TICK)?
            && let Event::Key(key) = event::read()?
        {
            app.key(key);
        }
    }
    Ok(())
}

/// Asks this node's daemon for ever: the statistics always, who has the most entries while somebody looks.
fn ask_own(options: &Options, sender: Sender<News>, talks: Arc<AtomicBool>) {
    let (own, interval) = (options.own.clone(), options.interval);
    thread::spawn(move || {
        let mut talkers_at = Instant::now();
        while sender
            .send(News::Own(told(own.report().map(Box::new))))
            .is_ok()
        {
            if talks.load(Ordering::Relaxed) && talkers_at <= Instant::now() {
                let begun = Instant::now();
                for side in [Side::Internal, Side::External] {
                    if sender
                        .send(News::Talkers(side, told(own.talkers(side))))
                        .is_err()
                    {
                        return;
                    }
                }
                talkers_at = Instant::now() + begun.elapsed() * TALKERS_PART;
            }
            thread::sleep(interval);
        }
    });
}

fn told<T>(outcome: Result<T>) -> Result<T, String> {
    outcome.map_err(|error| format!("{error:#}"))
}

fn surroundings() -> Surroundings {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let since_1970 = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let of_day = since_1970.as_secs() % 86400;
    Surroundings {
        host: host.trim().to_owned(),
        clock: format!(
            "{:02}:{:02}:{:02} UTC",
            of_day / 3600,
            of_day / 60 % 60,
            of_day % 60
        ),
    }
}
