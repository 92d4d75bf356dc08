//! Whether two places hold the same.

use std::collections::BTreeMap;
use std::fmt::Debug;

use flow::{Expectation, Flow, Key, Tuple};

use crate::image;

/// Where two places differ.
#[derive(Debug)]
pub struct Difference<K> {
    /// Only in the first.
    pub missing: Vec<K>,
    /// Only in the second.
    pub stale: Vec<K>,
    /// In both, but not the same.
    pub changed: Vec<String>,
}

impl<K: Debug> Difference<K> {
    /// Forgets about those of which something else is known.
    pub fn forgive_stale(&mut self, known: impl Fn(&K) -> bool) {
        self.stale.retain(|key| !known(key));
    }

    /// What of it is not excused, in words.
    #[must_use]
    pub fn words(&self, missing: bool, stale: bool) -> Option<String> {
        let mut words = String::new();
        let mut tell = |what: &str, list: &[String]| {
            if let Some(first) = list.first() {
                words += &format!("{} {what}, the first: {first}; ", list.len());
            }
        };
        let words_of =
            |keys: &[K]| -> Vec<String> { keys.iter().map(|key| format!("{key:?}")).collect() };
        let (lacking, gone) = (words_of(&self.missing), words_of(&self.stale));
        if missing {
            tell("missing", &lacking);
            tell("different", &self.changed);
        }
        if stale {
            tell("stale", &gone);
        }
        (!words.is_empty()).then_some(words)
    }
}

/// Entries by key, as something comparable.
pub type Images<K, V> = BTreeMap<K, V>;

/// What identifies an expectation here.
pub type ExpectationKey = (Tuple, Tuple, Tuple);

/// Connections as they arrive at a peer.
#[must_use]
pub fn flows(all: impl IntoIterator<Item = Flow>) -> Images<Key, Flow> {
    all.into_iter()
        .map(|flow| (flow.key(), image::of_flow(&flow)))
        .collect()
}

/// Connections as they arrive in another kernel.
#[must_use]
pub fn committed(all: impl IntoIterator<Item = Flow>) -> Images<Key, Flow> {
    all.into_iter()
        .map(|flow| (flow.key(), image::committed(&flow)))
        .collect()
}

/// Expectations as they arrive at a peer.
#[must_use]
pub fn expectations(
    all: impl IntoIterator<Item = Expectation>,
) -> Images<ExpectationKey, Expectation> {
    all.into_iter()
        .map(|e| ((e.master, e.tuple, e.mask), image::of_expectation(&e)))
        .collect()
}

/// Compares what should be with what is.
#[must_use]
pub fn compare<K: Clone + Ord + Debug, V: PartialEq + Debug>(
    expected: &Images<K, V>,
    found: &Images<K, V>,
) -> Difference<K> {
    let mut difference = Difference {
        missing: Vec::new(),
        stale: Vec::new(),
        changed: Vec::new(),
    };
    for (key, value) in expected {
        match found.get(key) {
            None => difference.missing.push(key.clone()),
            Some(other) if other != value => {
                difference
                    .changed
                    .push(format!("{key:?}: {}", apart(value, other)));
            }
            Some(_) => {}
        }
    }
    let stale = found.iter().filter(|(key, _)| !expected.contains_key(key));
    difference.stale = stale.map(|(key, _)| key.clone()).collect();
    difference
}

/// Only the fields that differ.
fn apart<V: Debug>(expected: &V, found: &V) -> String {
    let (expected, found) = (format!("{expected:?}"), format!("{found:?}"));
    let fields = expected.split(", ").zip(found.split(", "));
    let different: Vec<String> = fields
        .filter(|(a, b)| a != b)
        .map(|(a, b)| format!("expected {a}, found {b}"))
        .collect();
    different.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_difference_is_found_and_can_be_excused() {
        let expected = Images::from([(1, 'a'), (2, 'b')]);
        let found = Images::from([(2, 'c'), (3, 'd')]);
        let difference = compare(&expected, &found);
        assert_eq!(difference.missing, [1]);
        assert_eq!(difference.stale, [3]);
        assert_eq!(difference.changed, ["2: expected 'b', found 'c'"]);
        assert_eq!(difference.words(false, false), None);
        assert!(difference.words(true, false).is_some());
        assert!(difference.words(false, true).is_some());
        assert_eq!(compare(&found, &found).words(true, true), None);
    }
}
