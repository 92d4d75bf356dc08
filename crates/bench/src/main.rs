//! `cargo xtask bench`: the daemon beside the original and beside what the kernel allows, in one run.
//!
//! Every number is taken alternately of both programs and of the floor; what counts is the ratio. In reading order:
//! `options`, `pair` (two nodes), `native` (two of the native dialect), `node` (what a running one is asked), `load` (real kernel entries at a rate), `feed`
//! (what an active node says of them, for a standby alone), `wire`
//! (what arrives when), `equal` (whether tables are), `floor` (the least that must be done), `measures`, `book` (numbers
//! and their spread), `targets` (what is to hold), `rows`, `report`, `plots`, `record` (events for the measures of single steps).

#![forbid(unsafe_code)]

mod book;
mod cpu;
mod equal;
mod feed;
mod floor;
mod load;
mod measures;
mod native;
mod node;
mod options;
mod pair;
mod plots;
mod record;
mod report;
mod rows;
mod targets;
mod wire;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use netlab::limits::TableLimits;

use book::{Book, Record};
use measures::{Measure, Scale, Together};
use options::Options;

/// Room for twice the largest table on two nodes.
const TABLE_ENTRIES: u64 = 5_000_000;

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Returns whether everything could be measured and tables were equal after every measure.
fn run() -> Result<bool> {
    let options = Options::parse(std::env::args().skip(1))?;
    let mut book = match &options.json {
        Some(path) => Book::load(path)?,
        None => Book::default(),
    };
    let mut whole = true;
    if !options.only_report {
        if let Some(reason) = netlab::skip::obstacle(&["conntrackd"]) {
            bail!("cannot measure: {reason}");
        }
        if let Some(path) = &options.record {
            record::events(path)?;
            return Ok(true);
        }
        let _limits = TableLimits::raise(TABLE_ENTRIES)?;
        whole = measure(&options, &mut book)?;
    }
    let text = report::markdown(&book);
    print!("{text}");
    if let Some(path) = &options.markdown {
        report::write_between_marks(path, &text)?;
    }
    if let Some(folder) = &options.plots {
        plots::draw(&book, folder)?;
    }
    Ok(whole)
}

/// Takes all measures.
fn measure(options: &Options, book: &mut Book) -> Result<bool> {
    let mut plan = together(&options.wanted(book));
    let mut whole = true;
    while !plan.is_empty() {
        let left: u64 = plan
            .iter()
            .flatten()
            .map(|one| options.estimate_s(one))
            .sum();
        let group = plan.remove(0);
        let names: Vec<_> = group.iter().map(|measure| measure.name).collect();
        eprintln!(
            "== {} (about {} min for all that is left)",
            names.join(", "),
            left.div_ceil(60)
        );
        take(options, book, &group)?;
        whole &= !book.problems().any(|(name, _)| names.contains(&name));
    }
    Ok(whole)
}

/// Measures that share what is prepared for them, side by side.
fn together(wanted: &[&'static Measure]) -> Vec<Vec<&'static Measure>> {
    let mut groups: Vec<Vec<&'static Measure>> = Vec::new();
    for &measure in wanted {
        let fitting = groups.iter_mut().find(|group| {
            measure.together != Together::Alone
                && group.iter().any(|other| other.together == measure.together)
        });
        match fitting {
            Some(group) => group.push(measure),
            None => groups.push(vec![measure]),
        }
    }
    groups
}

/// Takes a group's rounds, those that an earlier run has not taken; each is kept as soon as it is over.
fn take(options: &Options, book: &mut Book, group: &[&'static Measure]) -> Result<()> {
    let Some(first) = group.first() else {
        return Ok(());
    };
    let names: Vec<_> = group.iter().map(|measure| measure.name).collect();
    let rounds = options.rounds.min(first.rounds);
    let done = group.iter().map(|one| options.rounds_done(book, one)).min();
    let done = done.unwrap_or(0);
    if done == 0 {
        for name in &names {
            let record = Record {
                machine: report::machine(),
                entries: options.entries,
                seconds: options.seconds,
                ..Record::default()
            };
            book.begin(name, record);
        }
    }
    let scale = Scale {
        entries: options.entries,
        seconds: options.seconds,
    };
    for round in done + 1..=rounds {
        eprintln!("   round {round} of {rounds}");
        book.round = round;
        let begun = Instant::now();
        (first.run)(book, scale, &names);
        let took = begun.elapsed() / u32::try_from(names.len()).unwrap_or(1);
        for name in &names {
            let record = book.record_mut(name);
            record.rounds = round;
            record.took_s += rounded(took).max(1);
        }
        if let Some(path) = &options.json {
            book.save(path)?;
        }
    }
    Ok(())
}

fn rounded(time: Duration) -> u64 {
    time.as_secs_f64().round() as u64
}
