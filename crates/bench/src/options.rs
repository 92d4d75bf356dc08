//! What is asked for.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};

use crate::book::{Book, Record};
use crate::measures::{MEASURES, Measure, named};

/// What is asked for.
#[derive(Debug)]
pub(crate) struct Options {
    measures: Vec<&'static Measure>,
    pub(crate) rounds: usize,
    /// Largest table.
    pub(crate) entries: u32,
    /// Length of a load.
    pub(crate) seconds: u32,
    /// Keep measures that the file has at this size.
    resume: bool,
    /// Numbers of earlier runs, which this one adds to.
    pub(crate) json: Option<PathBuf>,
    pub(crate) markdown: Option<PathBuf>,
    pub(crate) plots: Option<PathBuf>,
    /// Measure nothing.
    pub(crate) only_report: bool,
    /// Record events instead of measuring.
    pub(crate) record: Option<PathBuf>,
}

impl Options {
    pub(crate) fn parse(arguments: impl Iterator<Item = String>) -> Result<Self> {
        let mut options = Self {
            measures: Vec::new(),
            rounds: 3,
            entries: 200_000,
            seconds: 2,
            resume: false,
            json: None,
            markdown: None,
            plots: None,
            only_report: false,
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
                "--full" => (options.rounds, options.entries, options.seconds) = (5, 1_000_000, 3),
                "--quick" => (options.rounds, options.entries, options.seconds) = (1, 20_000, 1),
                "--rounds" => options.rounds = value()?.parse()?,
                "--entries" => options.entries = value()?.parse()?,
                "--seconds" => options.seconds = value()?.parse()?,
                "--resume" => options.resume = true,
                "--json" => options.json = Some(value()?.into()),
                "--markdown" => options.markdown = Some(value()?.into()),
                "--plots" => options.plots = Some(value()?.into()),
                "--report" => options.only_report = true,
                "--record-events" => options.record = Some(value()?.into()),
                name => match named(name) {
                    none if none.is_empty() => {
                        bail!("no measure `{name}`; there are native, {}", names());
                    }
                    some => options.measures.extend(some),
                },
            }
        }
        if options.rounds == 0 || options.seconds == 0 || options.entries < 4000 {
            bail!("at least 1 round, 1 second and 4000 entries");
        }
        if options.measures.is_empty() {
            options.measures = named("");
        }
        Ok(options)
    }

    /// What is to be measured: with `--resume` only what the book does not have whole, in this size.
    pub(crate) fn wanted(&self, book: &Book) -> Vec<&'static Measure> {
        let measures = self.measures.iter().copied();
        measures
            .filter(|measure| self.rounds_done(book, measure) < self.rounds.min(measure.rounds))
            .collect()
    }

    /// Rounds of a measure that need not be taken: with `--resume` those that the book has, whole and in this size.
    pub(crate) fn rounds_done(&self, book: &Book, measure: &Measure) -> usize {
        let whole = !book.problems().any(|(name, _)| name == measure.name);
        let same = |record: &&Record| {
            record.took_s > 0 && record.entries == self.entries && record.seconds == self.seconds
        };
        match book.record(measure.name).filter(same) {
            Some(record) if self.resume && whole => record.rounds,
            _ => 0,
        }
    }

    /// Seconds that a measure will take, about.
    pub(crate) fn estimate_s(&self, measure: &Measure) -> u64 {
        let rounds = self.rounds.min(measure.rounds) as u64;
        // What takes time with small tables too is a half, roughly.
        let size = f64::from(self.entries) / 1e6;
        (rounds as f64 * measure.seconds as f64 * (0.5 + size / 2.0)) as u64
    }
}

fn names() -> String {
    let names: Vec<_> = MEASURES.iter().map(|measure| measure.name).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options> {
        Options::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn a_run_that_is_resumed_goes_on_behind_the_rounds_that_are_there() {
        let mut book = Book::default();
        let record = Record {
            rounds: 2,
            entries: 1_000_000,
            seconds: 3,
            took_s: 9,
            ..Record::default()
        };
        book.begin("cpu", record);
        let done = |line: &str| {
            let options = parse(line).unwrap();
            let measure = options.measures[0];
            (
                options.rounds_done(&book, measure),
                options.wanted(&book).len(),
            )
        };
        assert_eq!(done("--full --resume cpu"), (2, 1));
        assert_eq!(done("--full --rounds 2 --resume cpu"), (2, 0));
        assert_eq!(done("--full --seconds 2 --resume cpu"), (0, 1));
        assert_eq!(done("--full cpu"), (0, 1));
        assert_eq!(done("--full --resume idle"), (0, 1));
    }

    #[test]
    fn a_run_that_is_resumed_leaves_out_what_is_there_and_whole() {
        let mut book = Book::default();
        let record = || Record {
            rounds: 5,
            entries: 1_000_000,
            seconds: 3,
            took_s: 9,
            ..Record::default()
        };
        book.begin("cpu", record());
        book.begin("idle", record());
        book.problem("idle", crate::book::Whose::Ours, "lost".to_owned());
        let names = |line| -> Vec<_> {
            let options = parse(line).unwrap();
            let wanted = options.wanted(&book);
            wanted.iter().map(|measure| measure.name).collect()
        };
        assert_eq!(names("--full --resume cpu idle bulk"), ["idle", "bulk"]);
        assert_eq!(names("--full cpu idle"), ["cpu", "idle"]);
        assert_eq!(names("--full --rounds 7 --resume cpu"), ["cpu"]);
        assert_eq!(names("--resume cpu"), ["cpu"]);
        assert_eq!(names("").len() + names("native").len(), MEASURES.len());
        assert!(names("native").len() >= 4);
    }

    #[test]
    fn what_is_not_known_is_refused() {
        for line in [
            "nothing",
            "--rounds",
            "--rounds x",
            "--rounds 0",
            "--entries 3",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn all_of_it_takes_less_than_an_hour_and_each_less_than_ten_minutes() {
        let options = parse("--full").unwrap();
        let all: Vec<_> = [named(""), named("native")].concat();
        let times = all.iter().map(|measure| options.estimate_s(measure));
        assert!(times.clone().all(|time| time < 600), "{all:?}");
        let times: Vec<_> = named("")
            .iter()
            .map(|measure| options.estimate_s(measure))
            .collect();
        assert!(
            times.iter().sum::<u64>() < 3600,
            "{}",
            times.iter().sum::<u64>()
        );
    }
}
