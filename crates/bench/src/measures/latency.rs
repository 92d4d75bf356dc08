//! From just before an entry is made to the datagram that tells of it, by the kernel's timestamp on the standby's side,
//! and to the standby's first answer that counts it.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use netlab::{Lab, Table, sample};

use super::{BOTH, Scale, micros};
use crate::book::{Book, Whose};
use crate::load::{self, Pace, Probe, Probes, Updates};
use crate::pair::{Pair, nodes};
use crate::wire::{Capture, FIRST_PROBE};
use crate::{floor, node};

const PROBES: u32 = 1000;
const POLLS: u32 = 400;

/// The busy table, and how often something in it changes.
const BUSY_ENTRIES: u32 = 20_000;
const UPDATES: u32 = 20_000;
const FLOWS: u32 = 5000;

/// Points of the plotted distribution, in percent.
const QUANTILES: [f64; 16] = [
    1.0, 5.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0, 95.0, 98.0, 99.0, 99.5, 99.9,
];

/// Idle, with changes, with flows.
pub(crate) fn latency(book: &mut Book, _: Scale, _: &[&str]) {
    book.each("latency", &[Whose::Floor], |book, whose| {
        let mut lab = Lab::new()?;
        let nodes = nodes(&mut lab)?;
        let times = floor::while_relaying(&nodes, || relayed(&nodes))?;
        note(book, "idle", whose, times);
        Table::open(&nodes[0])?.flush()
    });
    book.each("latency", &BOTH, |book, whose| {
        let mut pair = Pair::start(whose)?;
        let times = told(&pair, FIRST_PROBE)?;
        note(book, "idle", whose, times);
        let times = polled(&mut pair, FIRST_PROBE + PROBES)?;
        note(book, "poll", whose, times);

        let before = PROBES + POLLS;
        pair.fill((0..BUSY_ENTRIES).map(sample::nth), BUSY_ENTRIES + before)?;
        let updates = Updates::start(pair.a.namespace(), UPDATES, BUSY_ENTRIES)?;
        let times = told(&pair, FIRST_PROBE + before);
        ensure!(updates.finish()? > 0, "nothing was changed");
        note(book, "updates", whose, times?);

        let namespace = pair.a.namespace().clone();
        // Numbers of flows would meet those of the busy table.
        pair.a_table
            .delete((0..BUSY_ENTRIES).map(|number| sample::nth(number).key()))?;
        let flows = std::thread::spawn(move || load::run(&namespace, FLOWS, 4));
        let times = told(&pair, FIRST_PROBE + 2 * PROBES + POLLS);
        flows
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        note(book, "flows", whose, times?);
        pair.must_be_equal()
    });
}

fn note(book: &mut Book, load: &str, whose: Whose, times: Vec<Duration>) {
    note_as(book, "latency", load, whose, times);
}

/// Notes quantiles and the distribution.
pub(super) fn note_as(
    book: &mut Book,
    measure: &str,
    load: &str,
    whose: Whose,
    mut times: Vec<Duration>,
) {
    times.sort();
    let at = |percent: f64| {
        let place = (times.len() as f64 * percent / 100.0) as usize;
        times.get(place.min(times.len().saturating_sub(1))).copied()
    };
    for (name, percent) in [("p50", 50.0), ("p99", 99.0), ("p999", 99.9)] {
        if let Some(time) = at(percent) {
            book.note((measure, &format!("{load}_{name}")), whose, micros(time));
        }
    }
    for percent in QUANTILES {
        if let Some(time) = at(percent) {
            book.point((measure, load), whose, percent, micros(time));
        }
    }
}

/// Times of probes that a pair's datagrams tell of.
fn told(pair: &Pair, first: u32) -> Result<Vec<Duration>> {
    let capture = Capture::start(pair.b.namespace(), false)?;
    let probes = Probes::start(pair.a.namespace(), first, Pace::Random, PROBES)?.wait()?;
    std::thread::sleep(Duration::from_millis(300));
    let arrivals = capture.finish()?;
    let took = |probe: &Probe| {
        Some(
            arrivals
                .probes
                .get(&probe.number)?
                .saturating_sub(probe.before),
        )
    };
    let times: Vec<_> = probes.iter().filter_map(took).collect();
    ensure!(
        times.len() == probes.len(),
        "only {} of {} probes were told of",
        times.len(),
        probes.len()
    );
    Ok(times)
}

/// Times of probes that the relay tells of: its next datagram.
fn relayed(nodes: &[netlab::Namespace; 2]) -> Result<Vec<Duration>> {
    let capture = Capture::start(&nodes[1], true)?;
    let probes = Probes::start(&nodes[0], FIRST_PROBE, Pace::Random, PROBES)?.wait()?;
    let datagrams = capture.finish()?.datagrams;
    let mut times = Vec::new();
    for probe in &probes {
        let next = datagrams.partition_point(|at| *at < probe.before);
        let at = datagrams.get(next).context("nothing was relayed")?;
        times.push(at.saturating_sub(probe.before));
    }
    Ok(times)
}

/// Times of probes until the standby's `-s` counts them; one question is part of it.
pub(super) fn polled(pair: &mut Pair, first: u32) -> Result<Vec<Duration>> {
    let mut times = Vec::new();
    for number in first..first + POLLS {
        let held = node::held(&pair.b, "external")?;
        let begun = Instant::now();
        pair.a_table.create([sample::nth(number)])?;
        while node::held(&pair.b, "external")? <= held {
            ensure!(
                begun.elapsed() < Duration::from_secs(2),
                "an entry was not told of"
            );
        }
        times.push(begun.elapsed());
        std::thread::sleep(Duration::from_micros(1500 + u64::from(number % 17) * 130));
    }
    Ok(times)
}
