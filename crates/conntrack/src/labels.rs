//! Names of connection labels.
//!
//! A label map has lines of `BIT NAME`; what cannot be one is skipped without a word, as it always was.

use std::{collections::HashSet, fs, io, path::Path};

use flow::Labels;

use crate::{error::UsageError, number::unsigned};

/// Where the system's label map is.
pub const LABEL_MAP: &str = "/etc/xtables/connlabel.conf";

/// Most labels a map can name.
const MAX_BITS: u64 = 1024;
/// Labels an entry can have.
const ENTRY_BITS: u16 = 128;

/// Names of labels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelMap {
    /// Ascending by bit.
    names: Vec<(u16, String)>,
}

/// A choice of labels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LabelSet {
    words: [u32; 4],
    /// Whether a label was chosen that no entry can have.
    pub is_beyond_entries: bool,
}

impl LabelMap {
    /// Reads a map.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn load(path: &Path) -> io::Result<Self> {
        let bytes = fs::read(path)?;
        Ok(Self::parse(&String::from_utf8_lossy(&bytes)))
    }

    /// Reads the text of a map.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut names = Vec::new();
        let (mut bits, mut known) = (HashSet::new(), HashSet::new());
        for (bit, name) in text.lines().filter_map(entry) {
            if !bits.contains(&bit) && !known.contains(name) {
                bits.insert(bit);
                known.insert(name);
                names.push((bit, name.to_owned()));
            }
        }
        names.sort_unstable();
        Self { names }
    }

    /// Adds the labels of a comma list to `set`.
    ///
    /// # Errors
    /// A name that the map does not have.
    pub fn choose(&self, list: &str, set: &mut LabelSet) -> Result<(), UsageError> {
        for name in list.split(',') {
            let mut names = self.names.iter();
            let Some((bit, _)) = names.find(|(_, known)| known == name) else {
                return Err(UsageError::Label(name.to_owned()));
            };
            set.insert(*bit);
        }
        Ok(())
    }

    /// The names of the labels that are set, in the order of the bits; labels without a name are left out.
    pub fn names_of(&self, labels: &Labels) -> impl Iterator<Item = &str> {
        let words = labels.all_words();
        let set = move |bit: &u16| {
            let word = words.get(usize::from(bit / 32)).copied().unwrap_or(0);
            word & 1 << (bit % 32) != 0
        };
        let named = self.names.iter().filter(move |(bit, _)| set(bit));
        named.map(|(_, name)| name.as_str())
    }
}

fn entry(line: &str) -> Option<(u16, &str)> {
    let line = line.trim();
    let end = line.find(|c: char| c.is_ascii_whitespace())?;
    let (bit, name) = line.split_at_checked(end)?;
    if !bit.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let bit = u16::try_from(unsigned(bit))
        .ok()
        .filter(|&bit| u64::from(bit) < MAX_BITS)?;
    let name = name.trim();
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, ' ' | '-');
    name.chars().all(allowed).then_some((bit, name))
}

impl LabelSet {
    fn insert(&mut self, bit: u16) {
        match self.words.get_mut(usize::from(bit / 32)) {
            Some(word) if bit < ENTRY_BITS => *word |= 1 << (bit % 32),
            _ => self.is_beyond_entries = true,
        }
    }

    /// The bits in words of 32.
    #[must_use]
    pub fn words(&self) -> [u32; 4] {
        self.words
    }

    /// Whether an entry with these labels has all of the set.
    #[must_use]
    pub fn is_part_of(&self, labels: &Labels) -> bool {
        let pairs = self.words.into_iter().zip(labels.all_words());
        !self.is_beyond_entries && pairs.fold(true, |all, (want, have)| all && have & want == want)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAP: &str = "# bit name\n0 zero\n1 one\n2\ttwo\n7 web traffic\n33 thirty-three\n\
        0x40 hexbit\n127 last\n128 toobig\n3 bad_name\n1 dup\n4 one\nnonsense\n1024 beyond\n5\n";

    fn names(words: [u32; 4]) -> Vec<String> {
        let map = LabelMap::parse(MAP);
        let labels = Labels::new(words).unwrap();
        map.names_of(&labels).map(str::to_owned).collect()
    }

    #[test]
    fn what_cannot_be_a_label_is_skipped() {
        assert_eq!(
            names([u32::MAX; 4]),
            [
                "zero",
                "one",
                "two",
                "web traffic",
                "thirty-three",
                "hexbit",
                "last"
            ]
        );
        assert_eq!(names([0b101, 2, 0, 0]), ["zero", "two", "thirty-three"]);
        assert_eq!(LabelMap::parse(MAP).names.len(), 8);
    }

    #[test]
    fn a_choice_needs_known_names() {
        let map = LabelMap::parse(MAP);
        let mut set = LabelSet::default();
        assert_eq!(map.choose("one,last", &mut set), Ok(()));
        assert_eq!(set.words(), [2, 0, 0, 1 << 31]);
        assert_eq!(
            map.choose("one,,two", &mut set),
            Err(UsageError::Label(String::new()))
        );
        assert_eq!(
            map.choose("absent", &mut set),
            Err(UsageError::Label("absent".into()))
        );
    }

    #[test]
    fn all_of_a_choice_must_be_set() {
        let map = LabelMap::parse(MAP);
        let mut set = LabelSet::default();
        map.choose("one,two", &mut set).unwrap();
        assert!(set.is_part_of(&Labels::new([0b111]).unwrap()));
        assert!(!set.is_part_of(&Labels::new([0b011]).unwrap()));
        map.choose("toobig", &mut set).unwrap();
        assert!(!set.is_part_of(&Labels::new([u32::MAX; 4]).unwrap()));
    }
}
