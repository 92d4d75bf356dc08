//! Words of a command line into options, by the rules of GNU `getopt_long`.
//!
//! Options may follow other words, short ones may be glued, long ones may be abbreviated as far as they
//! stay unique and may carry their argument behind `=`. The list of long options is asked for anew with
//! each step, since some exist only after another option was seen.

use std::ops::Range;

/// Whether an option has an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arity {
    /// Never.
    None,
    /// Glued, behind `=`, or the next word.
    Required,
    /// Glued or behind `=` only; see [`Getopt::optional_word`] for what the next word may be.
    Optional,
}

/// A short option.
#[derive(Clone, Copy, Debug)]
pub struct Short<T> {
    /// Its letter.
    pub letter: char,
    /// Whether it has an argument.
    pub arity: Arity,
    /// What it stands for.
    pub id: T,
}

/// A long option. One name may stand for the same as another.
#[derive(Clone, Copy, Debug)]
pub struct Long<T> {
    /// Its name without dashes.
    pub name: &'static str,
    /// Whether it has an argument.
    pub arity: Arity,
    /// What it stands for.
    pub id: T,
    /// Abbreviations of it count only when no other option is meant.
    pub is_extension: bool,
}

/// One step through the words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step<T> {
    /// An option and its argument.
    Option(T, Option<String>),
    /// An option lacks its argument. Holds the word to blame.
    MissingArgument(String),
    /// No such option. Holds the word to blame.
    Unknown(String),
    /// No option is left.
    End,
}

/// Where in the words the parser is. Words that are no options are moved behind the options.
#[derive(Debug)]
pub struct Getopt {
    words: Vec<String>,
    /// Next word to look at.
    index: usize,
    /// Words passed over so far.
    passed: Range<usize>,
    /// Offset of the next letter in the word at `index`, inside a group of short options.
    letter: Option<usize>,
}

impl Getopt {
    /// Starts behind the first word, which is the program's name.
    #[must_use]
    pub fn new(words: Vec<String>) -> Self {
        Self {
            words,
            index: 1,
            passed: 1..1,
            letter: None,
        }
    }

    /// The next option.
    pub fn next<T: Copy + PartialEq>(&mut self, shorts: &[Short<T>], longs: &[Long<T>]) -> Step<T> {
        if let Some(offset) = self.letter {
            return self.short(offset, shorts);
        }
        self.pass_over_words();
        let Some(word) = self.words.get(self.index) else {
            return Step::End;
        };
        match word.strip_prefix("--") {
            Some(text) => {
                let text = text.to_owned();
                self.long(&text, longs)
            }
            None => self.short(1, shorts),
        }
    }

    /// Takes the word behind the option just returned, unless it looks like an option or a negation.
    pub fn optional_word(&mut self) -> Option<String> {
        if self.letter.is_some() {
            return None;
        }
        let word = self.words.get(self.index)?;
        if word.starts_with(['-', '!']) {
            return None;
        }
        self.index += 1;
        self.words.get(self.index - 1).cloned()
    }

    /// The word to blame for an error: the one before the next, in the order the words have now.
    fn blamed(&self) -> String {
        let index = self.index.saturating_sub(1);
        self.words.get(index).cloned().unwrap_or_default()
    }

    fn is_option(&self, index: usize) -> bool {
        let word = self.words.get(index);
        word.is_some_and(|word| word.starts_with('-') && word.len() > 1)
    }

    fn pass_over_words(&mut self) {
        self.settle();
        while self.index < self.words.len() && !self.is_option(self.index) {
            self.index += 1;
        }
        self.passed.end = self.index;
        if self.words.get(self.index).is_some_and(|word| word == "--") {
            self.index += 1;
            self.settle();
            self.index = self.words.len();
        }
    }

    /// Moves the words passed over behind the options seen since.
    fn settle(&mut self) {
        if self.passed.end != self.index {
            if let Some(both) = self.words.get_mut(self.passed.start..self.index) {
                both.rotate_left(self.passed.len());
            }
            let moved = self.index - self.passed.end;
            self.passed = self.passed.start + moved..self.index;
        }
    }

    fn long<T: Copy + PartialEq>(&mut self, text: &str, longs: &[Long<T>]) -> Step<T> {
        self.index += 1;
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (text, None),
        };
        let Some(long) = find_long(name, longs) else {
            return Step::Unknown(self.blamed());
        };
        match (long.arity, value) {
            (Arity::None, Some(_)) => Step::Unknown(self.blamed()),
            (Arity::Required, None) => self.argument(long.id),
            (_, value) => Step::Option(long.id, value),
        }
    }

    fn argument<T>(&mut self, id: T) -> Step<T> {
        match self.words.get(self.index) {
            Some(word) => {
                self.index += 1;
                Step::Option(id, Some(word.clone()))
            }
            None => Step::MissingArgument(self.blamed()),
        }
    }

    fn short<T: Copy>(&mut self, offset: usize, shorts: &[Short<T>]) -> Step<T> {
        let word = self.words.get(self.index).map_or("", String::as_str);
        let mut rest = word.get(offset..).unwrap_or_default().chars();
        let letter = rest.next();
        let rest = rest.as_str().to_owned();
        if rest.is_empty() {
            self.letter = None;
            self.index += 1;
        } else {
            self.letter = Some(offset + letter.map_or(1, char::len_utf8));
        }
        let Some(short) = shorts.iter().find(|short| Some(short.letter) == letter) else {
            return Step::Unknown(self.blamed());
        };
        if short.arity == Arity::None {
            return Step::Option(short.id, None);
        }
        if !rest.is_empty() {
            self.letter = None;
            self.index += 1;
            return Step::Option(short.id, Some(rest));
        }
        match short.arity {
            Arity::Required => self.argument(short.id),
            _ => Step::Option(short.id, None),
        }
    }
}

fn find_long<'a, T: PartialEq>(name: &str, longs: &'a [Long<T>]) -> Option<&'a Long<T>> {
    if let Some(exact) = longs.iter().find(|long| long.name == name) {
        return Some(exact);
    }
    let unique = |extensions: bool| {
        let mut found = longs
            .iter()
            .filter(|long| long.name.starts_with(name) && long.is_extension == extensions);
        let first = found.next()?;
        let same = |other: &Long<T>| other.id == first.id && other.arity == first.arity;
        Some(found.all(same).then_some(first))
    };
    // What the original would have called ambiguous stays so.
    match unique(false) {
        Some(original) => original,
        None => unique(true).flatten(),
    }
}

#[cfg(test)]
mod tests;
