//! Numbers and their spread.

use std::collections::BTreeMap;

use serde::Serialize;

/// Whose number it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
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
}

/// All numbers of a run.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Book {
    values: BTreeMap<String, BTreeMap<Whose, Vec<f64>>>,
    problems: Vec<String>,
}

/// A number taken several times.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

impl Book {
    /// Notes a number.
    pub(crate) fn note(&mut self, name: &str, whose: Whose, value: f64) {
        eprintln!("    {name:<28} {whose:<9?} {value:.4}");
        self.values
            .entry(name.to_owned())
            .or_default()
            .entry(whose)
            .or_default()
            .push(value);
    }

    /// Notes that something was lost, or that tables differ.
    pub(crate) fn problem(&mut self, text: String) {
        eprintln!("    {text}");
        self.problems.push(text);
    }

    pub(crate) fn problems(&self) -> &[String] {
        &self.problems
    }

    pub(crate) fn spread(&self, name: &str, whose: Whose) -> Option<Spread> {
        let mut values = self.values.get(name)?.get(&whose)?.clone();
        values.sort_by(f64::total_cmp);
        Some(Spread {
            median: *values.get(values.len() / 2)?,
            least: *values.first()?,
            most: *values.last()?,
        })
    }

    /// The median of the ratios that were taken in the same round.
    pub(crate) fn ratio(&self, name: &str, whose: Whose, to: (&str, Whose)) -> Option<f64> {
        let ours = self.values.get(name)?.get(&whose)?;
        let other = self.values.get(to.0)?.get(&to.1)?;
        let mut ratios: Vec<_> = ours.iter().zip(other).map(|(a, b)| a / b).collect();
        ratios.sort_by(f64::total_cmp);
        ratios.get(ratios.len() / 2).copied()
    }
}
