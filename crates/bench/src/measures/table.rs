//! One large table on both nodes: memory, listings, readings, a full copy, a start, a commit.

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use netlab::{Daemon, Peer, sample};

use super::{BOTH, Scale, pause};
use crate::book::{Book, Whose};
use crate::pair::{Pair, Setup, config, programs, time_of_listing, until_held};
use crate::{equal, floor, node};

/// How long a start may take.
const START_LIMIT: Duration = Duration::from_secs(60);

fn seconds(time: Duration) -> f64 {
    time.as_secs_f64()
}

/// A step: does its part, with the number of entries.
type Step = fn(&mut Book, Whose, &mut Pair, u32) -> Result<()>;

/// In this order: the ones that change the least come first.
const STEPS: [(&str, Step); 6] = [
    ("list", listings),
    ("reading", reading),
    ("pause", pause::of_active),
    ("bulk", bulk),
    ("start", start),
    ("commit", commit),
];

/// What of all this is wanted.
pub(crate) fn table(book: &mut Book, scale: Scale, names: &[&str]) {
    let entries = scale.part(1);
    if names.contains(&"commit") {
        book.each("commit", &[Whose::Floor], |book, whose| {
            let create = floor::create((0..entries).map(sample::nth))?;
            book.note(("commit", "create"), whose, seconds(create));
            Ok(())
        });
    }
    for whose in BOTH {
        let mut pair = match filled(book, whose, scale, names.contains(&"memory")) {
            Ok(pair) => pair,
            Err(error) => {
                for name in names {
                    book.problem(name, whose, format!("{error:#}"));
                }
                continue;
            }
        };
        for (name, step) in STEPS.into_iter().filter(|(name, _)| names.contains(name)) {
            book.each(name, &[whose], |book, whose| {
                step(book, whose, &mut pair, entries)
            });
        }
        // After the commit, which needs an empty kernel as this does.
        if names.contains(&"pause") {
            book.each("pause", &[whose], |book, whose| {
                pause::of_commit(book, whose, &mut pair, entries)
            });
        }
    }
}

/// A pair with the whole table, equal on both sides; its memory at several sizes.
fn filled(book: &mut Book, whose: Whose, scale: Scale, memory: bool) -> Result<Pair> {
    let mut pair = Pair::start(whose)?;
    let kib = |daemon: &Daemon| -> Result<f64> { Ok(daemon.memory_kib()? as f64) };
    let empty = [kib(&pair.a)?, kib(&pair.b)?];
    let sizes = match memory {
        true => vec![scale.part(10), scale.part(2), scale.part(1)],
        false => vec![scale.part(1)],
    };
    let mut from = 0;
    for size in sizes {
        pair.fill((from..size).map(sample::nth), size)?;
        from = size;
        if !memory {
            continue;
        }
        let both = [
            ("internal", &pair.a, empty[0]),
            ("external", &pair.b, empty[1]),
        ];
        for (name, daemon, empty) in both {
            let bytes = (kib(daemon)? - empty) * 1024.0 / f64::from(size);
            book.point(("memory", name), whose, f64::from(size), bytes);
            if size == scale.part(1) {
                book.note(("memory", name), whose, bytes);
            }
        }
    }
    pair.must_be_equal()?;
    Ok(pair)
}

fn listings(book: &mut Book, whose: Whose, pair: &mut Pair, entries: u32) -> Result<()> {
    let dump = floor::dump(pair.a.namespace())?;
    book.note(("list", "dump"), Whose::Floor, seconds(dump));
    let programs = programs(whose).map(Peer::program);
    let lists = [
        ("internal", &pair.a, "-i", &programs[0]),
        ("external", &pair.b, "-e", &programs[1]),
    ];
    for (name, daemon, words, program) in lists {
        let program = program.as_deref().context("no program")?;
        node::forget_peak(daemon)?;
        let before = daemon.memory_kib()?;
        let took = time_of_listing(daemon, program, words, entries)?;
        let extra = node::peak_kib(daemon)?.saturating_sub(before);
        book.note(("list", name), whose, seconds(took));
        book.note(
            ("list", &format!("{name}_extra_mib")),
            whose,
            extra as f64 / 1024.0,
        );
    }
    Ok(())
}

/// Nothing has changed since the last event, so that nothing need be sent.
fn reading(book: &mut Book, whose: Whose, pair: &mut Pair, entries: u32) -> Result<()> {
    let dump = floor::dump(pair.a.namespace())?;
    book.note(("reading", "dump"), Whose::Floor, seconds(dump));
    let before = node::sent_bytes(pair.a.namespace())?;
    let took = Pair::time_of(&pair.a, &["-R"])?;
    std::thread::sleep(Duration::from_millis(500));
    let sent = node::sent_bytes(pair.a.namespace())? - before;
    book.note(("reading", "seconds"), whose, seconds(took));
    book.note(
        ("reading", "sent_mib"),
        whose,
        sent as f64 / f64::from(1 << 20),
    );
    until_held(&pair.a, "internal", entries)?;
    pair.must_be_equal()
}

fn bulk(book: &mut Book, whose: Whose, pair: &mut Pair, entries: u32) -> Result<()> {
    let (took, bytes) = copy(pair, entries)?;
    book.note(("bulk", "seconds"), whose, seconds(took));
    book.note(("bulk", "bytes"), whose, bytes as f64 / f64::from(entries));
    pair.must_be_equal()
}

/// B starts with an empty kernel, empty, and asks for everything. Returns the time, and the bytes that A sent.
pub(super) fn copy(pair: &mut Pair, entries: u32) -> Result<(Duration, u64)> {
    pair.b.stop()?;
    pair.b_table.flush()?;
    pair.b.launch()?;
    std::thread::sleep(Duration::from_millis(1500));
    let held = node::held(&pair.b, "external")?;
    // What was not acknowledged before B ended may be repeated to it.
    let few = (entries / 50).into();
    ensure!(held <= few, "{held} entries before they were asked for");
    let before = node::sent_bytes(pair.a.namespace())?;
    let begun = Instant::now();
    pair.b.client(["-n"])?;
    pair.until_b_has(entries)?;
    let took = begun.elapsed();
    Ok((took, node::sent_bytes(pair.a.namespace())? - before))
}

/// A starts beside a full kernel table, and is ready when it says so and has all of it.
fn start(book: &mut Book, whose: Whose, pair: &mut Pair, entries: u32) -> Result<()> {
    let dump = floor::dump(pair.a.namespace())?;
    book.note(("start", "dump"), Whose::Floor, seconds(dump));
    pair.a.stop()?;
    let path = pair.a.path("notify");
    let socket = UnixDatagram::bind(&path)?;
    let mut with = config(1, Setup::Ftfw);
    with.general.push("Systemd on".to_owned());
    pair.a.configure(&with)?;
    pair.a.set_env("NOTIFY_SOCKET", &path.display().to_string());
    let begun = Instant::now();
    pair.a.spawn()?;
    until_ready(&socket, begun)?;
    let ready = begun.elapsed();
    let held = node::held(&pair.a, "internal")?;
    book.note(("start", "seconds"), whose, seconds(ready));
    // Later starts need no socket there.
    pair.a.configure(&config(1, Setup::Ftfw))?;
    remove(&path);
    if held != u64::from(entries) {
        bail!("ready with {held} of {entries} entries");
    }
    Ok(())
}

fn until_ready(socket: &UnixDatagram, begun: Instant) -> Result<()> {
    let mut buffer = [0; 4096];
    while let Some(left) = START_LIMIT.checked_sub(begun.elapsed()) {
        socket.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
        let len = socket
            .recv(&mut buffer)
            .context("it never said that it is ready")?;
        let text = String::from_utf8_lossy(buffer.get(..len).unwrap_or_default());
        if text.lines().any(|line| line == "READY=1") {
            return Ok(());
        }
    }
    bail!("it never said that it is ready")
}

fn remove(path: &Path) {
    // The folder goes with the namespaces anyway.
    let _ = std::fs::remove_file(path);
}

fn commit(book: &mut Book, whose: Whose, pair: &mut Pair, entries: u32) -> Result<()> {
    // A start of A may have told B everything once more; the commit is of what both agree on.
    pair.until_b_has(entries)?;
    let before = node::lost_events(pair.b.namespace())?;
    let overruns = node::overruns(&pair.b)?;
    let took = Pair::time_of(&pair.b, &["-c"])?;
    book.note(("commit", "seconds"), whose, seconds(took));
    std::thread::sleep(Duration::from_millis(500));
    let lost = node::lost_events(pair.b.namespace())? - before;
    book.note(("commit", "lost"), whose, lost as f64);
    let overruns = node::overruns(&pair.b)? - overruns;
    book.note(("commit", "overruns"), whose, overruns as f64);
    let committed = pair.b_table.dump()?;
    match equal::difference(&committed, &pair.a.client(["-i"])?) {
        None => Ok(()),
        Some(difference) => bail!("committed is not what the peer has: {difference}"),
    }
}
