//! What an event costs in a small and in a large table.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use netlab::sample;

use super::{BOTH, Scale, micros};
use crate::book::{Book, Whose};
use crate::cpu;
use crate::load::Updates;
use crate::pair::Pair;

/// The small table.
const SMALL: u32 = 10_000;

/// Changes in a second.
const RATE: u32 = 20_000;

/// From a small table to one of twice the largest size.
pub(crate) fn scale(book: &mut Book, scale: Scale, _: &[&str]) {
    // The original is there for the plot; a round is enough.
    let who = if book.round == 1 {
        &BOTH[..]
    } else {
        &[Whose::Ours]
    };
    book.each("scale", who, |book, whose| {
        let mut pair = Pair::start(whose)?;
        let mut sizes = match book.round {
            1 => vec![
                SMALL,
                scale.part(10),
                scale.part(2),
                scale.part(1),
                2 * scale.part(1),
            ],
            _ => vec![SMALL, 2 * scale.part(1)],
        };
        sizes.retain(|size| *size >= SMALL);
        sizes.dedup();
        let largest = sizes.last().copied().unwrap_or(SMALL).max(SMALL);
        let mut from = 0;
        for size in sizes {
            pair.fill((from..size).map(sample::nth), size)?;
            from = size;
            let cost = per_event(&pair, size, scale.seconds)?;
            book.point(("scale", "event"), whose, f64::from(size), cost);
            if size == SMALL {
                book.note(("scale", "small"), whose, cost);
            }
            if size == largest {
                book.note(("scale", "large"), whose, cost);
            }
        }
        pair.must_be_equal()
    });
}

/// Processor time of the active node per change, in microseconds.
fn per_event(pair: &Pair, entries: u32, seconds: u32) -> Result<f64> {
    let pid = pair.a.pid().context("not running")?;
    // What came before is done with.
    std::thread::sleep(Duration::from_millis(500));
    let before = cpu::of_process(pid)?;
    let updates = Updates::start(pair.a.namespace(), RATE, entries)?;
    std::thread::sleep(Duration::from_secs(u64::from(seconds)));
    let events = updates.finish()?;
    std::thread::sleep(Duration::from_millis(300));
    let spent = cpu::of_process(pid)? - before;
    ensure!(events > 0 && !spent.is_zero(), "nothing was measured");
    Ok(micros(spent) / events as f64)
}
