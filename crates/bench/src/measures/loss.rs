//! A link that loses datagrams at random, both ways.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::{BOTH, Scale};
use crate::book::{Book, Whose};
use crate::pair::{Pair, Setup};
use crate::{load, node};

const RATE: u32 = 2000;

/// How long the link may be used to heal what was lost.
const PATIENCE: Duration = Duration::from_secs(10);

/// FT-FW, from nothing lost to a fifth.
pub(crate) fn loss(book: &mut Book, scale: Scale, _: &[&str]) {
    for percent in [0, 1, 5, 20] {
        book.each("loss", &BOTH, |book, whose| {
            let (different, bytes) = one(whose, Setup::Ftfw, percent, scale.seconds)?;
            book.note(("loss", &format!("different_{percent}")), whose, different);
            book.note(("loss", &format!("bytes_{percent}")), whose, bytes);
            Ok(())
        });
    }
}

/// The modes that promise less.
pub(crate) fn modes(book: &mut Book, scale: Scale, _: &[&str]) {
    for (name, setup) in [("notrack", Setup::Notrack), ("alarm", Setup::Alarm)] {
        book.each("lossy", &BOTH, |book, whose| {
            let (different, bytes) = one(whose, setup, 5, scale.seconds)?;
            book.note(("lossy", &format!("{name}_different")), whose, different);
            book.note(("lossy", &format!("{name}_bytes")), whose, bytes);
            Ok(())
        });
    }
}

/// Entries that differ in the end, and bytes that the active node sent per flow.
fn one(whose: Whose, setup: Setup, percent: u8, seconds: u32) -> Result<(f64, f64)> {
    let pair = Pair::start_as(whose, setup)?;
    for daemon in [&pair.a, &pair.b] {
        daemon.namespace().lose("sync", percent)?;
    }
    let before = node::sent_bytes(pair.a.namespace())?;
    let done = load::run(pair.a.namespace(), RATE, seconds)?;
    let difference = pair.difference(PATIENCE)?;
    let bytes = node::sent_bytes(pair.a.namespace())? - before;
    let lost = percent > 0 && pair.b.namespace().lost()? == 0;
    ensure!(!lost, "the link lost nothing");
    let held = node::held(&pair.b, "external")?;
    ensure!(held > 0, "the standby was told nothing");
    if let Some(difference) = &difference {
        eprintln!("        {percent} % lost: {difference}");
    }
    let different = difference.map_or(0, |difference| difference.count());
    Ok((different as f64, bytes as f64 / f64::from(done.flows)))
}
