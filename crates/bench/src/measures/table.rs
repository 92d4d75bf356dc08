//! Large tables: memory, listings, copies, commits, takeovers.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use netlab::{Daemon, Peer, sample};

use super::Scale;
use crate::book::{Book, Whose};
use crate::floor;
use crate::pair::{Pair, programs, until_held};

fn seconds(time: Duration) -> f64 {
    time.as_secs_f64()
}

fn kib(daemon: &Daemon) -> Result<f64> {
    Ok(daemon.memory_kib()? as f64)
}

/// Memory, listings, readings, a full copy, a commit.
pub(crate) fn table(book: &mut Book, scale: Scale) -> Result<()> {
    let entries = scale.entries;
    let flows = || (0..entries).map(sample::nth);
    let create = floor::create(flows())?;
    book.note("create", Whose::Floor, seconds(create));
    for whose in [Whose::Original, Whose::Ours] {
        let mut pair = Pair::start(whose)?;
        let empty = [kib(&pair.a)?, kib(&pair.b)?];
        let count = pair.fill(flows())?;
        for (name, daemon, empty) in [
            ("memory_internal", &pair.a, empty[0]),
            ("memory_external", &pair.b, empty[1]),
        ] {
            let bytes = (kib(daemon)? - empty) * 1024.0;
            book.note(name, whose, bytes / f64::from(entries));
        }
        let dump = floor::dump(pair.a.namespace())?;
        book.note("dump", Whose::Floor, seconds(dump));
        listings(book, whose, &pair)?;
        book.note("resync", whose, seconds(Pair::time_of(&pair.a, &["-R"])?));
        copy(book, whose, &mut pair, count)?;
        start(book, whose, &mut pair, count)?;
        if let Some(difference) = pair.difference()? {
            book.problem(format!("{whose:?}, table: {difference}"));
        }
        let before = Pair::lost_events(&pair.b)?;
        book.note("commit", whose, seconds(Pair::time_of(&pair.b, &["-c"])?));
        let lost = Pair::lost_events(&pair.b)? - before;
        book.note("commit_overruns", whose, lost as f64);
        let committed = pair.b_table.len()?;
        if committed != count {
            book.problem(format!(
                "{whose:?}: {committed} of {count} entries committed"
            ));
        }
        pair.a_table.flush()?;
        pair.b_table.flush()?;
    }
    Ok(())
}

fn listings(book: &mut Book, whose: Whose, pair: &Pair) -> Result<()> {
    let [near, far] = programs(whose).map(Peer::program);
    let (near, far) = (near.context("no program")?, far.context("no program")?);
    let internal = Pair::time_of_listing(&pair.a, &near, &["-i"])?;
    book.note("list_internal", whose, seconds(internal));
    let external = Pair::time_of_listing(&pair.b, &far, &["-e"])?;
    book.note("list_external", whose, seconds(external));
    Ok(())
}

/// B starts empty and asks for everything.
fn copy(book: &mut Book, whose: Whose, pair: &mut Pair, count: usize) -> Result<()> {
    pair.b.stop()?;
    pair.b.launch()?;
    std::thread::sleep(Duration::from_millis(2500));
    let begun = Instant::now();
    pair.b.client(["-n"])?;
    pair.until_b_has(count)?;
    book.note("bulk", whose, seconds(begun.elapsed()));
    Ok(())
}

/// A starts beside a full kernel table.
fn start(book: &mut Book, whose: Whose, pair: &mut Pair, count: usize) -> Result<()> {
    pair.a.stop()?;
    let begun = Instant::now();
    pair.a.launch()?;
    until_held(&pair.a, "internal", count)?;
    book.note("start", whose, seconds(begun.elapsed()));
    Ok(())
}

/// The stock four commands, until the peer has everything; ours also with the one command for all of it.
pub(crate) fn takeover(book: &mut Book, scale: Scale) -> Result<()> {
    let entries = scale.entries;
    let flows = || (0..entries).map(sample::nth);
    let stock: &[&[&str]] = &[&["-c"], &["-f"], &["-R"], &["-B"]];
    let role: &[&[&str]] = &[&["role", "primary"]];
    for (name, whose, commands) in [
        ("takeover", Whose::Original, stock),
        ("takeover", Whose::Ours, stock),
        ("takeover_role", Whose::Ours, role),
    ] {
        let mut pair = Pair::start(whose)?;
        let count = pair.fill(flows())?;
        // The old active node has lost everything, and hears of it anew.
        pair.a_table.flush()?;
        pair.a.client(["-f"])?;
        until_held(&pair.a, "internal", 0)?;
        if until_held(&pair.b, "external", count).is_err() {
            pair.b.client(["-n"])?;
        }
        let begun = Instant::now();
        for command in commands {
            pair.b.client(command.iter().copied())?;
        }
        if commands.len() == 1 {
            book.note(name, whose, seconds(begun.elapsed()));
        }
        let complete = until_held(&pair.a, "external", count);
        if commands.len() > 1 {
            book.note(name, whose, seconds(begun.elapsed()));
        }
        if complete.is_err() {
            let held = pair
                .a
                .counter("cache external", "current active connections")?;
            book.problem(format!(
                "{whose:?}, {name}: {held} of {count} entries on the peer"
            ));
        }
        pair.b_table.flush()?;
    }
    let create = floor::create(flows())?;
    book.note("takeover_role", Whose::Floor, seconds(create));
    Ok(())
}
