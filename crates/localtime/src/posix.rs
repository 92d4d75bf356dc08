//! The rules of POSIX `TZ`: `CET-1CEST,M3.5.0,M10.5.0/3`.

use super::{DAY_S, civil, day_number};

/// An offset, and perhaps another one for a part of each year.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    /// Seconds east of Greenwich.
    standard_s: i32,
    daylight: Option<Daylight>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Daylight {
    /// Seconds east of Greenwich.
    offset_s: i32,
    start: Change,
    end: Change,
}

/// A moment in each year, in the local time that holds before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Change {
    day: Day,
    /// Seconds after midnight; may be negative or beyond a day.
    time_s: i32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Day {
    /// 1 to 365; 29 February is not counted.
    Julian(i64),
    /// 0 to 365.
    OfYear(i64),
    /// Month 1 to 12, week 1 to 5 (5 is the last), weekday 0 to 6 (0 is Sunday).
    Weekday { month: i64, week: i64, weekday: i64 },
}

impl Rule {
    /// Reads a rule; `None` if it is none.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let rest = skip_name(text)?;
        let (west_s, rest) = seconds(rest)?;
        let standard_s = west_s.checked_neg()?;
        if rest.is_empty() {
            return Some(Self {
                standard_s,
                daylight: None,
            });
        }
        let rest = skip_name(rest)?;
        let (offset_s, rest) = if rest.is_empty() || rest.starts_with(',') {
            (standard_s.checked_add(3600)?, rest)
        } else {
            let (west_s, rest) = seconds(rest)?;
            (west_s.checked_neg()?, rest)
        };
        // Without dates, those of the United States are meant.
        let dates = if rest.is_empty() {
            ",M3.2.0,M11.1.0"
        } else {
            rest
        };
        let (start, end) = dates.strip_prefix(',')?.split_once(',')?;
        let daylight = Daylight {
            offset_s,
            start: Change::parse(start)?,
            end: Change::parse(end)?,
        };
        Some(Self {
            standard_s,
            daylight: Some(daylight),
        })
    }

    /// The offset at a moment, in seconds since 1970.
    pub(super) fn offset_s(&self, unix_time_s: i64) -> i32 {
        let Some(daylight) = &self.daylight else {
            return self.standard_s;
        };
        let local = unix_time_s.saturating_add(i64::from(self.standard_s));
        let (year, ..) = civil(local.div_euclid(DAY_S));
        let start = daylight
            .start
            .in_year(year)
            .saturating_sub(i64::from(self.standard_s));
        let end = daylight
            .end
            .in_year(year)
            .saturating_sub(i64::from(daylight.offset_s));
        // South of the equator the year begins in daylight time.
        let in_daylight = if start < end {
            (start..end).contains(&unix_time_s)
        } else {
            !(end..start).contains(&unix_time_s)
        };
        if in_daylight {
            daylight.offset_s
        } else {
            self.standard_s
        }
    }
}

impl Change {
    fn parse(text: &str) -> Option<Self> {
        let (day, time_s) = match text.split_once('/') {
            Some((day, time)) => {
                let (time_s, rest) = seconds(time)?;
                (day, rest.is_empty().then_some(time_s)?)
            }
            None => (text, 2 * 3600),
        };
        Some(Self {
            day: Day::parse(day)?,
            time_s,
        })
    }

    /// Seconds since 1970 if local time were UTC.
    fn in_year(&self, year: i64) -> i64 {
        let january = day_number(year, 0, 1);
        let day = match self.day {
            Day::OfYear(day) => january + day,
            Day::Julian(day) => {
                let leap = day_number(year + 1, 0, 1) - january == 366;
                january + day - 1 + i64::from(leap && day >= 60)
            }
            Day::Weekday {
                month,
                week,
                weekday,
            } => {
                let first = day_number(year, month - 1, 1);
                let next_month = match month {
                    12 => day_number(year + 1, 0, 1),
                    _ => day_number(year, month, 1),
                };
                // 1 January 1970 was a Thursday.
                let first_match = first + (weekday - (first + 4)).rem_euclid(7);
                let day = first_match + 7 * (week - 1);
                if day < next_month { day } else { day - 7 }
            }
        };
        day.saturating_mul(DAY_S)
            .saturating_add(i64::from(self.time_s))
    }
}

impl Day {
    fn parse(text: &str) -> Option<Self> {
        let in_range = |text: &str, range: std::ops::RangeInclusive<i64>| {
            let number = text.parse().ok()?;
            range.contains(&number).then_some(number)
        };
        if let Some(day) = text.strip_prefix('J') {
            return Some(Self::Julian(in_range(day, 1..=365)?));
        }
        let Some(dotted) = text.strip_prefix('M') else {
            return Some(Self::OfYear(in_range(text, 0..=365)?));
        };
        let mut parts = dotted.split('.');
        let month = in_range(parts.next()?, 1..=12)?;
        let week = in_range(parts.next()?, 1..=5)?;
        let weekday = in_range(parts.next()?, 0..=6)?;
        parts.next().is_none().then_some(Self::Weekday {
            month,
            week,
            weekday,
        })
    }
}

/// Skips the abbreviation: three letters or more, or anything in angle brackets.
fn skip_name(text: &str) -> Option<&str> {
    if let Some(quoted) = text.strip_prefix('<') {
        return Some(quoted.split_once('>')?.1);
    }
    let rest = text.trim_start_matches(|c: char| c.is_ascii_alphabetic());
    (text.len() - rest.len() >= 3).then_some(rest)
}

/// Reads `[+-]hh[:mm[:ss]]` as seconds; returns what follows.
fn seconds(text: &str) -> Option<(i32, &str)> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let end = digits
        .find(|c: char| !c.is_ascii_digit() && c != ':')
        .unwrap_or(digits.len());
    let (clock, rest) = digits.split_at_checked(end)?;
    let mut total = 0;
    let mut unit = 3600;
    for part in clock.split(':') {
        let number: u8 = part.parse().ok()?;
        total += i32::from(number) * unit;
        unit /= 60;
    }
    // At most hours, minutes and seconds.
    (clock.split(':').count() <= 3).then_some((sign * total, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offset_h(rule: &str, unix_time_s: i64) -> f32 {
        let seconds = Rule::parse(rule).unwrap().offset_s(unix_time_s);
        f32::from(i16::try_from(seconds / 60).unwrap()) / 60.0
    }

    #[test]
    fn daylight_time_begins_and_ends_at_its_hour() {
        let rule = "CET-1CEST,M3.5.0,M10.5.0/3";
        // 29 March and 25 October 2026, 01:00 UTC.
        assert_eq!(offset_h(rule, 1_774_745_999), 1.0);
        assert_eq!(offset_h(rule, 1_774_746_000), 2.0);
        assert_eq!(offset_h(rule, 1_792_889_999), 2.0);
        assert_eq!(offset_h(rule, 1_792_890_000), 1.0);
    }

    #[test]
    fn the_southern_summer_spans_the_new_year() {
        let rule = "AEST-10AEDT,M10.1.0,M4.1.0/3";
        // 1 January and 1 July 2026.
        assert_eq!(offset_h(rule, 1_767_225_600), 11.0);
        assert_eq!(offset_h(rule, 1_782_864_000), 10.0);
    }

    #[test]
    fn names_in_brackets_and_offsets_with_minutes_are_read() {
        assert_eq!(offset_h("<+0545>-5:45", 0), 5.75);
        assert_eq!(offset_h("<-03>3", 0), -3.0);
        assert_eq!(offset_h("UTC0", 0), 0.0);
        assert_eq!(offset_h("EST5EDT", 1_782_864_000), -4.0);
    }

    #[test]
    fn julian_days_do_not_count_the_leap_day() {
        let first_of_march =
            |year| Change::parse("J60/0").unwrap().in_year(year) == day_number(year, 2, 1) * DAY_S;
        assert!(first_of_march(2026) && first_of_march(2028));
        let day_59 = Change::parse("59/0").unwrap();
        assert_eq!(day_59.in_year(2028), day_number(2028, 1, 29) * DAY_S);
    }

    #[test]
    fn what_is_no_rule_is_refused() {
        for text in [
            "",
            "C",
            "CET",
            "CET-1CEST,M3.5.0",
            "CET-1CEST,M13.5.0,M1.1.0",
            "A-1",
            "<X",
        ] {
            assert_eq!(Rule::parse(text), None, "{text}");
        }
        for text in ["CET-1:2:3:4", "CET999", "CET-1CEST,M3.5.0/x,M10.5.0"] {
            assert_eq!(Rule::parse(text), None, "{text}");
        }
    }
}
