//! `cargo xtask bench`: the daemon beside the original and beside what the kernel allows, in one run.
//!
//! Every number is taken alternately of both programs and of the floor; what counts is the ratio. In reading order:
//! `pair` (two nodes), `load` (real kernel entries at a rate), `floor` (the least that must be done), `measures`,
//! `book` (numbers and their spread), `targets` (what is to hold), `report`.

#![forbid(unsafe_code)]

mod book;
mod cpu;
mod floor;
mod load;
mod measures;
mod pair;
mod record;
mod report;
mod targets;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use netlab::limits::TableLimits;

use book::Book;
use measures::{MEASURES, Measure};

/// What is asked for.
#[derive(Debug)]
struct Options {
    measures: Vec<&'static Measure>,
    rounds: usize,
    /// Largest table.
    entries: u32,
    /// Length of a load.
    seconds: u32,
    json: Option<PathBuf>,
    markdown: Option<PathBuf>,
    plots: Option<PathBuf>,
    /// Record events instead of measuring.
    record: Option<PathBuf>,
}

impl Options {
    fn parse(arguments: impl Iterator<Item = String>) -> Result<Self> {
        let mut options = Self {
            measures: Vec::new(),
            rounds: 3,
            entries: 200_000,
            seconds: 3,
            json: None,
            markdown: None,
            plots: None,
            record: None,
        };
        let mut arguments = arguments;
        while let Some(word) = arguments.next() {
            let mut value = || {
                arguments
                    .next()
                    .with_context(|| format!("{word} needs a value"))
            };
            match word.as_str() {
                "--full" => (options.rounds, options.entries, options.seconds) = (5, 1_000_000, 5),
                "--quick" => (options.rounds, options.entries, options.seconds) = (1, 20_000, 1),
                "--rounds" => options.rounds = value()?.parse()?,
                "--entries" => options.entries = value()?.parse()?,
                "--json" => options.json = Some(value()?.into()),
                "--record-events" => options.record = Some(value()?.into()),
                "--markdown" => options.markdown = Some(value()?.into()),
                "--plots" => options.plots = Some(value()?.into()),
                name => match MEASURES.iter().find(|measure| measure.name == name) {
                    Some(measure) => options.measures.push(measure),
                    None => bail!("no measure `{name}`; there are {}", names()),
                },
            }
        }
        if options.measures.is_empty() {
            options.measures = MEASURES.iter().collect();
        }
        Ok(options)
    }
}

fn names() -> String {
    MEASURES.map(|measure| measure.name).join(", ")
}

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

/// Returns whether after every measure the tables were equal.
fn run() -> Result<bool> {
    let options = Options::parse(std::env::args().skip(1))?;
    if let Some(reason) = netlab::skip::obstacle(&["conntrackd"]) {
        bail!("cannot measure: {reason}");
    }
    if let Some(path) = &options.record {
        record::events(path)?;
        return Ok(true);
    }
    let _limits = TableLimits::raise(4_000_000)?;
    let mut book = Book::default();
    for measure in &options.measures {
        for round in 1..=options.rounds {
            eprintln!("{} ({round} of {})", measure.name, options.rounds);
            let scale = measures::Scale {
                entries: options.entries,
                seconds: options.seconds,
            };
            (measure.run)(&mut book, scale).with_context(|| measure.name)?;
        }
    }
    let text = report::markdown(&book, &options);
    print!("{text}");
    if let Some(path) = &options.markdown {
        report::write_between_marks(path, &text)?;
    }
    if let Some(path) = &options.json {
        std::fs::write(path, serde_json::to_string_pretty(&book)?)?;
    }
    if let Some(folder) = &options.plots {
        report::plots(&book, folder)?;
    }
    for problem in book.problems() {
        eprintln!("NOT EQUAL: {problem}");
    }
    Ok(book.problems().is_empty())
}
