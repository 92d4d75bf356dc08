//! The standby takes over: into its kernel, and back to its peer.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use netlab::sample;

use super::Scale;
use crate::book::{Book, Whose};
use crate::pair::Pair;
use crate::{equal, floor, node};

/// The order of the standard script.
const STOCK: [&[&str]; 4] = [&["-c"], &["-f"], &["-R"], &["-B"]];
/// All of it in one command.
const ROLE: [&[&str]; 1] = [&["role", "primary"]];

/// Without an entry more for so long, the peer is told nothing more.
const SILENCE: Duration = Duration::from_secs(5);

/// The stock four commands and the one, until the peer has everything.
pub(crate) fn takeover(book: &mut Book, scale: Scale, _: &[&str]) {
    book.each("takeover", &[Whose::Floor], |book, whose| {
        let create = floor::create((0..scale.part(1)).map(sample::nth))?;
        book.note(("takeover", "create"), whose, create.as_secs_f64());
        Ok(())
    });
    // Smaller tables are for the plot, where one round is enough.
    let parts: &[u32] = if book.round == 1 {
        &[100, 10, 3, 1]
    } else {
        &[1]
    };
    for &part in parts {
        let entries = scale.part(part);
        let ways: [(&str, Whose, &[&[&str]]); 3] = [
            ("stock", Whose::Original, &STOCK),
            ("stock", Whose::Ours, &STOCK),
            ("role", Whose::Ours, &ROLE),
        ];
        for (name, whose, commands) in ways {
            book.each("takeover", &[whose], |book, whose| {
                let (took, missing) = one(book, name, whose, commands, entries, part == 1)?;
                book.point(("takeover", name), whose, f64::from(entries), took);
                if part == 1 {
                    book.note(("takeover", name), whose, took);
                    book.note(
                        ("takeover", &format!("{name}_missing")),
                        whose,
                        missing as f64,
                    );
                }
                Ok(())
            });
        }
    }
}

/// Seconds until the peer was told the last entry, and how many are not as in the kernel then.
fn one(
    book: &mut Book,
    name: &str,
    whose: Whose,
    commands: &[&[&str]],
    entries: u32,
    note: bool,
) -> Result<(f64, usize)> {
    let mut pair = Pair::start(whose)?;
    pair.fill((0..entries).map(sample::nth), entries)?;
    let begun = Instant::now();
    for words in commands {
        let took = Pair::time_of(&pair.b, words)?;
        if note {
            let command = words.join("_").replace('-', "");
            let number = format!("{name}_command_{command}");
            book.note(("takeover", &number), whose, took.as_secs_f64());
        }
    }
    let took = until_told(&pair, begun, entries)?;
    let there = pair.b_table.dump()?;
    ensure!(
        there.len() == entries as usize,
        "{} of {entries} entries in the kernel",
        there.len()
    );
    let difference = equal::difference(&there, &pair.a.client(["-e"])?);
    if let Some(difference) = &difference {
        eprintln!("        the peer is not complete: {difference}");
    }
    Ok((
        took.as_secs_f64(),
        difference.map_or(0, |difference| difference.count()),
    ))
}

/// When the peer's external cache grew last.
fn until_told(pair: &Pair, begun: Instant, entries: u32) -> Result<Duration> {
    let (mut held, mut grown) = (0, begun.elapsed());
    while held < u64::from(entries) && begun.elapsed() - grown < SILENCE {
        let now = node::held(&pair.a, "external")?;
        if now != held {
            (held, grown) = (now, begun.elapsed());
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    ensure!(held > 0, "the peer was told nothing");
    Ok(grown)
}
