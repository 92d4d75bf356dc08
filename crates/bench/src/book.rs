//! Numbers and their spread, by measure, kept in a file that several runs fill.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// Whose number it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Whose {
    /// What the kernel allows.
    Floor,
    /// The original's.
    Original,
    /// Ours.
    Ours,
    /// Ours with the original as its peer.
    Mixed,
    /// Ours, speaking the native dialect.
    Native,
}

/// The number of each round in which it could be taken.
pub(crate) type Rounds = BTreeMap<usize, f64>;

/// A point of a curve.
pub(crate) type Point = [f64; 2];

/// What one measure has given.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Record {
    /// On what it was measured.
    pub(crate) machine: String,
    pub(crate) rounds: usize,
    /// Largest table.
    pub(crate) entries: u32,
    /// Length of a load.
    pub(crate) seconds: u32,
    /// How long it took.
    pub(crate) took_s: u64,
    pub(crate) numbers: BTreeMap<String, BTreeMap<Whose, Rounds>>,
    pub(crate) curves: BTreeMap<String, BTreeMap<Whose, Vec<Point>>>,
    pub(crate) problems: Vec<Problem>,
}

/// Something was lost, tables differ, or a number could not be taken.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Problem {
    pub(crate) whose: Whose,
    pub(crate) round: usize,
    pub(crate) text: String,
}

/// All numbers, of this run and of earlier ones.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Book {
    measures: BTreeMap<String, Record>,
    /// The round that is being measured.
    #[serde(skip)]
    pub(crate) round: usize,
}

/// A number taken several times.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

impl Spread {
    fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        Some(Self {
            median: *values.get(values.len() / 2)?,
            least: *values.first()?,
            most: *values.last()?,
        })
    }
}

/// A number's name: its measure, and what it is called there.
pub(crate) type Name<'a> = (&'a str, &'a str);

impl Book {
    /// What a file holds; nothing if there is none.
    pub(crate) fn load(path: &Path) -> Result<Self> {
        match fs::read(path) {
            Ok(bytes) => serde_json::from_slice(&bytes).with_context(|| path.display().to_string()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error).with_context(|| path.display().to_string()),
        }
    }

    pub(crate) fn save(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self)? + "\n";
        fs::write(path, text).with_context(|| path.display().to_string())
    }

    /// Begins a measure anew.
    pub(crate) fn begin(&mut self, measure: &str, record: Record) {
        self.measures.insert(measure.to_owned(), record);
    }

    pub(crate) fn record(&self, measure: &str) -> Option<&Record> {
        self.measures.get(measure)
    }

    pub(crate) fn record_mut(&mut self, measure: &str) -> &mut Record {
        self.measures.entry(measure.to_owned()).or_default()
    }

    /// Notes a number of this round.
    pub(crate) fn note(&mut self, (measure, number): Name<'_>, whose: Whose, value: f64) {
        eprintln!("    {measure:<9} {number:<24} {whose:<9?} {value:.4}");
        let round = self.round;
        self.record_mut(measure)
            .numbers
            .entry(number.to_owned())
            .or_default()
            .entry(whose)
            .or_default()
            .insert(round, value);
    }

    /// Notes a point of a curve.
    pub(crate) fn point(&mut self, (measure, curve): Name<'_>, whose: Whose, x: f64, y: f64) {
        self.record_mut(measure)
            .curves
            .entry(curve.to_owned())
            .or_default()
            .entry(whose)
            .or_default()
            .push([x, y]);
    }

    /// Notes that something was lost, that tables differ, or that a number could not be taken.
    pub(crate) fn problem(&mut self, measure: &str, whose: Whose, text: String) {
        eprintln!("    {measure}: {whose:?}: {text}");
        let round = self.round;
        let problem = Problem { whose, round, text };
        self.record_mut(measure).problems.push(problem);
    }

    /// Takes numbers of each; what fails is noted and keeps nobody else from being measured.
    pub(crate) fn each(
        &mut self,
        measure: &str,
        who: &[Whose],
        mut take: impl FnMut(&mut Self, Whose) -> Result<()>,
    ) {
        for &whose in who {
            if let Err(error) = take(self, whose) {
                self.problem(measure, whose, format!("{error:#}"));
            }
        }
    }

    /// All problems, with their measures.
    pub(crate) fn problems(&self) -> impl Iterator<Item = (&str, &Problem)> {
        self.measures.iter().flat_map(|(name, record)| {
            let problems = record.problems.iter();
            problems.map(move |problem| (name.as_str(), problem))
        })
    }

    fn rounds(&self, (measure, number): Name<'_>, whose: Whose) -> Option<&Rounds> {
        self.measures
            .get(measure)?
            .numbers
            .get(number)?
            .get(&whose)
            .filter(|rounds| !rounds.is_empty())
    }

    /// The newest value of a number.
    pub(crate) fn last(&self, name: Name<'_>, whose: Whose) -> Option<f64> {
        self.rounds(name, whose)?
            .last_key_value()
            .map(|(_, value)| *value)
    }

    pub(crate) fn spread(&self, name: Name<'_>, whose: Whose) -> Option<Spread> {
        Spread::of(self.rounds(name, whose)?.values().copied().collect())
    }

    /// The spread of the ratios of numbers that were taken in the same round.
    pub(crate) fn ratio(
        &self,
        name: Name<'_>,
        whose: Whose,
        to: (Name<'_>, Whose),
    ) -> Option<Spread> {
        let ours = self.rounds(name, whose)?;
        let other = self.rounds(to.0, to.1)?;
        let pairs = ours
            .iter()
            .filter_map(|(round, a)| Some(a / other.get(round)?));
        Spread::of(pairs.filter(|ratio| ratio.is_finite()).collect())
    }

    /// A curve: the median of each x, in order.
    pub(crate) fn curve(&self, (measure, curve): Name<'_>, whose: Whose) -> Vec<(f64, f64)> {
        let record = self.measures.get(measure);
        let points = record.and_then(|record| record.curves.get(curve)?.get(&whose));
        let mut by_x: Vec<(f64, Vec<f64>)> = Vec::new();
        for &[x, y] in points.into_iter().flatten() {
            match by_x.iter_mut().find(|(at, _)| *at == x) {
                Some((_, values)) => values.push(y),
                None => by_x.push((x, vec![y])),
            }
        }
        by_x.sort_by(|a, b| a.0.total_cmp(&b.0));
        by_x.into_iter()
            .filter_map(|(x, values)| Some((x, Spread::of(values)?.median)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_of_numbers_of_the_same_round() {
        let mut book = Book::default();
        let name = ("m", "n");
        for (round, ours, original) in [
            (1, Some(1.0), Some(2.0)),
            (2, None, Some(9.0)),
            (3, Some(30.0), Some(40.0)),
        ] {
            book.round = round;
            for (whose, value) in [(Whose::Ours, ours), (Whose::Original, original)] {
                if let Some(value) = value {
                    book.note(name, whose, value);
                }
            }
        }
        let ratio = book
            .ratio(name, Whose::Ours, (name, Whose::Original))
            .unwrap();
        assert_eq!((ratio.least, ratio.most), (0.5, 0.75));
    }

    #[test]
    fn what_was_measured_before_stays_until_it_is_measured_anew() {
        let mut book = Book::default();
        book.note(("a", "x"), Whose::Ours, 1.0);
        book.note(("b", "x"), Whose::Ours, 2.0);
        let text = serde_json::to_string(&book).unwrap();
        let mut book: Book = serde_json::from_str(&text).unwrap();
        book.begin("a", Record::default());
        assert!(book.spread(("a", "x"), Whose::Ours).is_none());
        assert_eq!(book.spread(("b", "x"), Whose::Ours).unwrap().median, 2.0);
    }

    #[test]
    fn a_curve_is_the_median_of_each_x() {
        let mut book = Book::default();
        for (x, y) in [(2.0, 5.0), (1.0, 1.0), (1.0, 3.0), (1.0, 2.0)] {
            book.point(("m", "c"), Whose::Ours, x, y);
        }
        assert_eq!(
            book.curve(("m", "c"), Whose::Ours),
            [(1.0, 2.0), (2.0, 5.0)]
        );
    }
}
