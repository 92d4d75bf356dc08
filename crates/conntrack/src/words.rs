//! Comma lists of words: status bits, output flags, event kinds.
//!
//! Words may be in any case and abbreviated to any prefix; the first that fits is meant.

use flow::Status;

use crate::error::UsageError;

/// Status bits asked for and excluded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StatusWords {
    /// Bits named.
    pub plain: Status,
    /// Bits named behind `!`.
    pub negated: Status,
}

/// What to print.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct OutputWords {
    pub xml: bool,
    pub extended: bool,
    pub timestamp: bool,
    pub id: bool,
    pub ktimestamp: bool,
    pub labels: bool,
    pub userspace: bool,
    pub save: bool,
    /// One JSON object a line.
    pub json: bool,
}

/// Kinds of events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct EventWords {
    pub new: bool,
    pub update: bool,
    pub destroy: bool,
}

impl EventWords {
    /// Everything.
    pub const ALL: Self = Self {
        new: true,
        update: true,
        destroy: true,
    };
}

#[derive(Clone, Copy)]
enum StatusWord {
    Bits(Status),
    /// Bits that are asked for in another way.
    Ignored(&'static str, &'static str),
}

const STATUS: [(&str, StatusWord); 9] = [
    ("ASSURED", StatusWord::Bits(Status::ASSURED)),
    ("SEEN_REPLY", StatusWord::Bits(Status::SEEN_REPLY)),
    ("UNSET", StatusWord::Bits(Status(0))),
    ("FIXED_TIMEOUT", StatusWord::Bits(Status::FIXED_TIMEOUT)),
    ("EXPECTED", StatusWord::Bits(Status::EXPECTED)),
    ("OFFLOAD", StatusWord::Bits(Status::OFFLOAD)),
    ("HW_OFFLOAD", StatusWord::Bits(Status::HW_OFFLOAD)),
    ("SRC_NAT", StatusWord::Ignored("SRC_NAT", "src-nat")),
    ("DST_NAT", StatusWord::Ignored("DST_NAT", "dst-nat")),
];

fn split(rest: &str) -> (&str, Option<&str>) {
    match rest.split_once(',') {
        Some((word, rest)) => (word, Some(rest)),
        None => (rest, None),
    }
}

fn find<T: Copy>(names: &[(&str, T)], word: &str) -> Option<T> {
    let begins = |name: &str| {
        let start = name.as_bytes().get(..word.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(word.as_bytes()))
    };
    let mut names = names.iter();
    let found = names.find(|(name, _)| !word.is_empty() && begins(name))?;
    Some(found.1)
}

fn each<T: Copy>(
    text: &str,
    names: &[(&str, T)],
    mut take: impl FnMut(T),
) -> Result<(), UsageError> {
    let mut next = Some(text);
    while let Some(rest) = next {
        let (word, more) = split(rest);
        take(find(names, word).ok_or_else(|| UsageError::Word(rest.to_owned()))?);
        next = more;
    }
    Ok(())
}

impl StatusWords {
    /// Adds the bits of a list. What is ignored is told to `warn`.
    ///
    /// # Errors
    /// A word that is none.
    pub fn add(&mut self, text: &str, mut warn: impl FnMut(String)) -> Result<(), UsageError> {
        let mut next = Some(text);
        while let Some(rest) = next {
            let (word, more) = split(rest);
            next = more;
            if word == "UNREPLIED" {
                self.negated |= Status::SEEN_REPLY;
                continue;
            }
            let (bits, rest) = match word.strip_prefix('!') {
                Some(_) => (&mut self.negated, rest.get(1..).unwrap_or_default()),
                None => (&mut self.plain, rest),
            };
            let word = word.strip_prefix('!').unwrap_or(word);
            match find(&STATUS, word) {
                Some(StatusWord::Bits(status)) => *bits |= status,
                Some(StatusWord::Ignored(name, option)) => {
                    warn(format!("WARNING: ignoring {name}, use --{option} instead"));
                }
                None => return Err(UsageError::Word(rest.to_owned())),
            }
        }
        Ok(())
    }
}

impl OutputWords {
    /// Adds the words of a list.
    ///
    /// # Errors
    /// A word that is none; formats that exclude each other.
    pub fn add(&mut self, text: &str) -> Result<(), UsageError> {
        type Flag = fn(&mut OutputWords) -> &mut bool;
        const NAMES: [(&str, Flag); 9] = [
            ("xml", |w| &mut w.xml),
            ("extended", |w| &mut w.extended),
            ("timestamp", |w| &mut w.timestamp),
            ("id", |w| &mut w.id),
            ("ktimestamp", |w| &mut w.ktimestamp),
            ("labels", |w| &mut w.labels),
            ("userspace", |w| &mut w.userspace),
            ("save", |w| &mut w.save),
            ("json", |w| &mut w.json),
        ];
        each(text, &NAMES, |flag| *flag(self) = true)?;
        let only_save = Self {
            save: true,
            ..Self::default()
        };
        if self.save && *self != only_save {
            Err(UsageError::SaveAlone)
        } else if self.json && self.xml {
            Err(UsageError::JsonAlone)
        } else {
            Ok(())
        }
    }
}

impl EventWords {
    /// Adds the kinds of a list.
    ///
    /// # Errors
    /// A word that is none.
    pub fn add(&mut self, text: &str) -> Result<(), UsageError> {
        const NAMES: [(&str, EventWords); 4] = {
            const NONE: EventWords = EventWords {
                new: false,
                update: false,
                destroy: false,
            };
            [
                ("ALL", EventWords::ALL),
                ("NEW", EventWords { new: true, ..NONE }),
                (
                    "UPDATES",
                    EventWords {
                        update: true,
                        ..NONE
                    },
                ),
                (
                    "DESTROY",
                    EventWords {
                        destroy: true,
                        ..NONE
                    },
                ),
            ]
        };
        each(text, &NAMES, |words| {
            self.new |= words.new;
            self.update |= words.update;
            self.destroy |= words.destroy;
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(text: &str) -> Result<(u32, u32), UsageError> {
        let mut words = StatusWords::default();
        words.add(text, |_| {})?;
        Ok((words.plain.0, words.negated.0))
    }

    fn bad<T>(rest: &str) -> Result<T, UsageError> {
        Err(UsageError::Word(rest.to_owned()))
    }

    #[test]
    fn words_may_be_short_and_in_any_case() {
        assert_eq!(status("a"), Ok((4, 0)));
        assert_eq!(status("s,Fixed"), Ok((2 | 1 << 10, 0)));
        assert_eq!(status("!assured,SEEN"), Ok((2, 4)));
        assert_eq!(status("UNREPLIED"), Ok((0, 2)));
        assert_eq!(status("unset"), Ok((0, 0)));
    }

    #[test]
    fn the_rest_of_the_list_is_blamed() {
        assert_eq!(status(""), bad(""));
        assert_eq!(status("a,"), bad(""));
        assert_eq!(status("a,,b"), bad(",b"));
        assert_eq!(status("assured,foo,bar"), bad("foo,bar"));
        assert_eq!(status("unreplied"), bad("unreplied"));
        assert_eq!(status("!UNREPLIED"), bad("UNREPLIED"));
        assert_eq!(status("!"), bad(""));
        assert_eq!(status("assuredx"), bad("assuredx"));
    }

    #[test]
    fn nat_bits_are_ignored_with_a_warning() {
        let (mut words, mut warnings) = (StatusWords::default(), Vec::new());
        words
            .add("src,DST_NAT", |warning| warnings.push(warning))
            .unwrap();
        assert_eq!(words, StatusWords::default());
        assert_eq!(
            warnings,
            [
                "WARNING: ignoring SRC_NAT, use --src-nat instead",
                "WARNING: ignoring DST_NAT, use --dst-nat instead"
            ]
        );
    }

    #[test]
    fn save_excludes_everything_else() {
        let add = |texts: &[&str]| {
            let mut words = OutputWords::default();
            texts.iter().try_for_each(|text| words.add(text))
        };
        assert_eq!(add(&["save,save", "save"]), Ok(()));
        assert_eq!(add(&["xml", "save"]), Err(UsageError::SaveAlone));
        assert_eq!(add(&["save", "id"]), Err(UsageError::SaveAlone));
        assert_eq!(add(&["X,e,t,i,k,l,u"]), Ok(()));
        assert_eq!(add(&["json,xml"]), Err(UsageError::JsonAlone));
        assert_eq!(add(&["yaml"]), bad("yaml"));
    }

    #[test]
    fn events_add_up() {
        let mut words = EventWords::default();
        words.add("new,d").unwrap();
        assert!(words.new && words.destroy && !words.update);
        words.add("UPD").unwrap();
        assert_eq!(words, EventWords::ALL);
        assert_eq!(EventWords::default().add("CREATE"), bad("CREATE"));
    }
}
