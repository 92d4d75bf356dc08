//! What is to hold, and whether it does.

use crate::book::{Book, Name, Spread, Whose};

/// A row of the table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    pub(crate) what: &'static str,
    pub(crate) number: Name<'static>,
    pub(crate) unit: &'static str,
    pub(crate) bound: Bound,
}

/// What a number is held against.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bound {
    /// At most this part of the original's.
    OfOriginal(f64),
    /// At least this multiple of the original's.
    TimesOriginal(f64),
    /// At most this multiple of a number of the floor, of the same measure.
    OfFloor(&'static str, f64),
    /// At most this multiple of another number of ours, of the same measure.
    OfOurs(&'static str, f64),
    /// At most this.
    AtMost(f64),
    /// With the original as the peer, at most this multiple of ours with ours.
    Mixed(f64),
    /// The native dialect's at most this multiple of version 1's.
    OfVersion1(f64),
    /// The native dialect's at most this.
    NativeAtMost(f64),
    /// The native dialect's, shown beside version 1's.
    ShownNative,
    /// Nothing: shown beside the original's for information.
    Shown,
}

/// What became of a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Verdict {
    Holds,
    DoesNotHold,
    /// It may be no better than said, but something was wrong while it was taken.
    Spoilt,
    NotMeasured,
    Shown,
}

impl Target {
    /// What was reached, and whether it is enough.
    pub(crate) fn judge(&self, book: &Book) -> (Option<Spread>, Verdict) {
        let number = self.number;
        let reached = match self.bound {
            Bound::OfOriginal(_) | Bound::TimesOriginal(_) | Bound::Shown => {
                book.ratio(number, Whose::Ours, (number, Whose::Original))
            }
            Bound::OfFloor(floor, _) => {
                book.ratio(number, Whose::Ours, ((number.0, floor), Whose::Floor))
            }
            Bound::OfOurs(other, _) => {
                book.ratio(number, Whose::Ours, ((number.0, other), Whose::Ours))
            }
            Bound::AtMost(_) => book.spread(number, Whose::Ours),
            Bound::Mixed(_) => book.ratio(number, Whose::Mixed, (number, Whose::Ours)),
            Bound::OfVersion1(_) => book.ratio(number, Whose::Native, (number, Whose::Ours)),
            Bound::ShownNative => book
                .ratio(number, Whose::Native, (number, Whose::Ours))
                .or_else(|| book.spread(number, Whose::Native)),
            Bound::NativeAtMost(_) => book.spread(number, Whose::Native),
        };
        let Some(spread) = reached else {
            return (None, Verdict::NotMeasured);
        };
        let is_enough = match self.bound {
            Bound::OfOriginal(most)
            | Bound::OfFloor(_, most)
            | Bound::OfOurs(_, most)
            | Bound::OfVersion1(most)
            | Bound::NativeAtMost(most)
            | Bound::Mixed(most) => spread.median <= most,
            Bound::TimesOriginal(least) => spread.median >= least,
            // What is counted may not happen even once.
            Bound::AtMost(0.0) => spread.most <= 0.0,
            Bound::AtMost(most) => spread.median <= most,
            Bound::Shown | Bound::ShownNative => return (reached, Verdict::Shown),
        };
        let verdict = match is_enough {
            false => Verdict::DoesNotHold,
            true if self.is_spoilt(book) => Verdict::Spoilt,
            true => Verdict::Holds,
        };
        (reached, verdict)
    }

    /// Whether something went wrong with ours in the same measure: no row is met by giving up correctness.
    fn is_spoilt(&self, book: &Book) -> bool {
        book.problems().any(|(measure, problem)| {
            measure == self.number.0
                && matches!(problem.whose, Whose::Ours | Whose::Mixed | Whose::Native)
        })
    }
}

impl Bound {
    pub(crate) fn words(self) -> String {
        match self {
            Self::OfOriginal(most) => format!("≤ {most:.2} × original"),
            Self::TimesOriginal(least) => format!("≥ {least:.1} × original"),
            Self::OfFloor(floor, most) => format!("≤ {most:.2} × {floor}"),
            Self::OfOurs(other, most) => format!("≤ {most:.2} × {other} table"),
            Self::AtMost(most) => format!("≤ {most}"),
            Self::Mixed(most) => format!("≤ {most:.2} × ours with ours"),
            Self::OfVersion1(most) => format!("≤ {most:.2} × version 1"),
            Self::NativeAtMost(most) => format!("≤ {most}"),
            Self::Shown | Self::ShownNative => String::new(),
        }
    }

    /// Name of the floor's number that stands beside the row.
    pub(crate) fn floor(self) -> Option<&'static str> {
        match self {
            Self::OfFloor(floor, _) => Some(floor),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::{NATIVE, OTHERS, TARGETS};
    use Bound::{AtMost, Mixed, OfOriginal, Shown, TimesOriginal};

    fn target(bound: Bound) -> Target {
        Target {
            what: "",
            number: ("m", "n"),
            unit: "",
            bound,
        }
    }

    #[test]
    fn a_row_without_numbers_does_not_hold() {
        let book = Book::default();
        for bound in [
            OfOriginal(1.0),
            TimesOriginal(1.0),
            AtMost(0.0),
            Mixed(1.0),
            Shown,
        ] {
            assert_eq!(target(bound).judge(&book).1, Verdict::NotMeasured);
        }
    }

    #[test]
    fn what_may_not_happen_may_not_happen_once() {
        let mut book = Book::default();
        for (round, lost) in [0.0, 0.0, 1.0].into_iter().enumerate() {
            book.round = round;
            book.note(("m", "n"), Whose::Ours, lost);
        }
        assert_eq!(target(AtMost(0.0)).judge(&book).1, Verdict::DoesNotHold);
        assert_eq!(target(AtMost(0.5)).judge(&book).1, Verdict::Holds);
    }

    #[test]
    fn a_problem_of_ours_spoils_a_row_and_one_of_the_original_does_not() {
        let mut book = Book::default();
        book.note(("m", "n"), Whose::Ours, 1.0);
        book.note(("m", "n"), Whose::Original, 4.0);
        let row = target(OfOriginal(0.5));
        book.problem("m", Whose::Original, "lost".to_owned());
        assert_eq!(row.judge(&book).1, Verdict::Holds);
        book.problem("m", Whose::Ours, "lost".to_owned());
        assert_eq!(row.judge(&book).1, Verdict::Spoilt);
    }

    #[test]
    fn every_row_belongs_to_a_measure() {
        for row in TARGETS.iter().chain(OTHERS).chain(NATIVE) {
            let known = crate::measures::MEASURES
                .iter()
                .any(|measure| measure.name == row.number.0);
            assert!(known, "{row:?}");
        }
    }
}
