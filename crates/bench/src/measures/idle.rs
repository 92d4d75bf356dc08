//! What a node costs that has nothing to do.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::{BOTH, Scale};
use crate::book::{Book, Whose};
use crate::cpu;
use crate::pair::Pair;

/// Long enough for a thousandth of a core to be ten milliseconds.
const LONG: Duration = Duration::from_secs(8);

/// A pair without traffic: memory, and the part of a core that it takes.
pub(crate) fn idle(book: &mut Book, _: Scale, _: &[&str]) {
    book.each("idle", &BOTH, |book, whose| -> Result<()> {
        let pair = Pair::start(whose)?;
        let mib = pair.a.memory_kib()? as f64 / 1024.0;
        book.note(("idle", "memory_mib"), whose, mib);
        let pid = pair.a.pid().context("not running")?;
        let before = cpu::of_process(pid)?;
        let begun = Instant::now();
        std::thread::sleep(LONG);
        let spent = cpu::of_process(pid)? - before;
        let part = spent.as_secs_f64() / begun.elapsed().as_secs_f64();
        book.note(("idle", "percent"), whose, part * 100.0);
        // Whoever does nothing at all costs nothing either.
        prove_alive(pair, whose)
    });
}

fn prove_alive(mut pair: Pair, whose: Whose) -> Result<()> {
    pair.fill((0..100).map(netlab::sample::nth), 100)
        .with_context(|| format!("{whose:?} after a rest"))?;
    pair.must_be_equal()
}
