//! Local time: the compiled time zone files of the system and the rules of POSIX `TZ`.
//!
//! The C library offers this only through calls that are not safe. What is read: `$TZ`, else
//! `/etc/localtime`; a zone that cannot be read is UTC. Leap seconds are not counted.

#![forbid(unsafe_code)]

use std::env;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

mod posix;
mod tzfile;

use posix::Rule;

/// Days in 400 years, after which the calendar repeats.
const DAYS_PER_ERA: i64 = 146_097;

/// Seconds in a day.
const DAY_S: i64 = 86_400;

/// Offsets from UTC, over all time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Zone {
    /// Moments in seconds since 1970, ascending, and the offset in seconds that begins there.
    transitions: Vec<(i64, i32)>,
    /// Offset before the first transition, seconds east of Greenwich.
    initial_s: i32,
    /// What holds after the last transition.
    rule: Option<Rule>,
}

/// A moment in local time. `Display` is the form of `ctime`: `Mon Nov 23 15:36:47 2026`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalTime {
    year: i64,
    /// 0 is January.
    month: usize,
    day: i64,
    /// 0 is Sunday.
    weekday: usize,
    /// Seconds since midnight.
    second_of_day: i64,
}

impl Zone {
    /// The zone of this process: `$TZ`, else `/etc/localtime`.
    #[must_use]
    pub fn of_process() -> Self {
        match env::var("TZ") {
            Ok(tz) => Self::named(tz.strip_prefix(':').unwrap_or(&tz)),
            Err(_) => Self::from_file(Path::new("/etc/localtime")),
        }
        .unwrap_or_default()
    }

    /// A file of the zone database, or a POSIX rule. An empty name is UTC.
    fn named(name: &str) -> Option<Self> {
        if name.is_empty() {
            return Some(Self::default());
        }
        let directory = env::var_os("TZDIR").unwrap_or_else(|| "/usr/share/zoneinfo".into());
        // An absolute name replaces the directory.
        Self::from_file(&PathBuf::from(directory).join(name))
            .or_else(|| Some(Self::from_rule(Rule::parse(name)?)))
    }

    fn from_file(path: &Path) -> Option<Self> {
        tzfile::parse(&fs::read(path).ok()?)
    }

    fn from_rule(rule: Rule) -> Self {
        Self {
            transitions: Vec::new(),
            initial_s: 0,
            rule: Some(rule),
        }
    }

    /// Local time at a moment, in nanoseconds since 1970.
    #[must_use]
    pub fn at_ns(&self, unix_time_ns: u64) -> LocalTime {
        let unix_time_s = unix_time_ns / 1_000_000_000;
        self.at(i64::try_from(unix_time_s).unwrap_or(i64::MAX))
    }

    /// Local time at a moment, in seconds since 1970.
    #[must_use]
    pub fn at(&self, unix_time_s: i64) -> LocalTime {
        LocalTime::of_utc(unix_time_s.saturating_add(i64::from(self.offset_s(unix_time_s))))
    }

    fn offset_s(&self, unix_time_s: i64) -> i32 {
        let passed = self
            .transitions
            .partition_point(|&(at, _)| at <= unix_time_s);
        if let (Some(rule), true) = (&self.rule, passed == self.transitions.len()) {
            return rule.offset_s(unix_time_s);
        }
        let last = passed
            .checked_sub(1)
            .and_then(|index| self.transitions.get(index));
        last.map_or(self.initial_s, |&(_, offset_s)| offset_s)
    }
}

impl LocalTime {
    /// Takes seconds since 1970 apart, without any offset.
    fn of_utc(unix_time_s: i64) -> Self {
        let days = unix_time_s.div_euclid(DAY_S);
        let (year, month, day) = civil(days);
        Self {
            year,
            month,
            day,
            // 1 January 1970 was a Thursday.
            weekday: usize::try_from((days + 4).rem_euclid(7)).unwrap_or_default(),
            second_of_day: unix_time_s.rem_euclid(DAY_S),
        }
    }

    /// The form of syslog: `Nov 23 15:36:47`.
    #[must_use]
    pub fn short(self) -> Short {
        Short(self)
    }

    /// Year.
    #[must_use]
    pub fn year(&self) -> i64 {
        self.year
    }

    /// Month; 0 is January.
    #[must_use]
    pub fn month(&self) -> usize {
        self.month
    }

    /// Day of the month; the first is 1.
    #[must_use]
    pub fn day(&self) -> i64 {
        self.day
    }

    /// Day of the week; 0 is Sunday.
    #[must_use]
    pub fn weekday(&self) -> usize {
        self.weekday
    }

    /// Hour, 0–23.
    #[must_use]
    pub fn hour(&self) -> i64 {
        self.clock().0
    }

    /// Minute, 0–59.
    #[must_use]
    pub fn minute(&self) -> i64 {
        self.clock().1
    }

    /// Second, 0–59.
    #[must_use]
    pub fn second(&self) -> i64 {
        self.clock().2
    }

    fn clock(&self) -> (i64, i64, i64) {
        (
            self.second_of_day / 3600,
            self.second_of_day / 60 % 60,
            self.second_of_day % 60,
        )
    }
}

/// A [`LocalTime`] that is written without weekday and year.
#[derive(Clone, Copy, Debug)]
pub struct Short(LocalTime);

impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (hour, minute, second) = self.0.clock();
        let month = MONTHS.get(self.0.month).copied().unwrap_or_default();
        write!(
            f,
            "{month} {:2} {hour:02}:{minute:02}:{second:02}",
            self.0.day
        )
    }
}

impl fmt::Display for LocalTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let weekday = WEEKDAYS.get(self.weekday).copied().unwrap_or_default();
        write!(f, "{weekday} {} {}", self.short(), self.year)
    }
}

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

const WEEKDAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];

/// Year, month (0 is January) and day of the month of a day counted from 1 January 1970.
fn civil(days: i64) -> (i64, usize, i64) {
    // Years begin in March here, so that the leap day is their last.
    let days = days + 719_468;
    let era = days.div_euclid(DAYS_PER_ERA);
    let day_of_era = days.rem_euclid(DAYS_PER_ERA);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = (march_month + 2) % 12;
    let year = era * 400 + year_of_era + i64::from(month < 2);
    (year, usize::try_from(month).unwrap_or_default(), day)
}

/// Day counted from 1 January 1970 of a date; month 0 is January.
fn day_number(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month < 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 10) % 12) + 2) / 5 + day - 1;
    era * DAYS_PER_ERA + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year
        - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_reads_as_ctime_writes_it() {
        let utc = Zone::default();
        assert_eq!(
            utc.at(1_795_448_207).to_string(),
            "Mon Nov 23 15:36:47 2026"
        );
        assert_eq!(utc.at(0).to_string(), "Thu Jan  1 00:00:00 1970");
        assert_eq!(utc.at(951_782_400).to_string(), "Tue Feb 29 00:00:00 2000");
        assert_eq!(utc.at(-1).to_string(), "Wed Dec 31 23:59:59 1969");
        assert_eq!(utc.at(1_795_448_207).short().to_string(), "Nov 23 15:36:47");
    }

    #[test]
    fn dates_and_day_numbers_are_each_others_inverse() {
        for days in (-200_000..200_000).step_by(17) {
            let (year, month, day) = civil(days);
            assert_eq!(day_number(year, i64::try_from(month).unwrap(), day), days);
        }
    }

    #[test]
    fn no_moment_is_out_of_range() {
        for moment in [i64::MIN, i64::MIN / 2, i64::MAX / 2, i64::MAX] {
            let zone = Zone::named("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
            assert!(!zone.at(moment).to_string().is_empty());
        }
    }

    #[test]
    fn a_zone_file_agrees_with_its_rule() {
        let file = Path::new("/usr/share/zoneinfo/Europe/Berlin");
        let Some(zone) = Zone::from_file(file) else {
            eprintln!("skipped: no zone database");
            return;
        };
        let rule = Zone::from_rule(Rule::parse("CET-1CEST,M3.5.0,M10.5.0/3").unwrap());
        for hour in 0..24 * 365 * 20 {
            let moment = 1_000_000_000 + 3600 * hour;
            assert_eq!(zone.at(moment), rule.at(moment), "{moment}");
        }
        assert_eq!(zone.at(0).to_string(), "Thu Jan  1 01:00:00 1970");
    }

    #[test]
    fn an_unreadable_zone_is_none() {
        assert_eq!(Zone::named("No/Such/Zone"), None);
        assert_eq!(Zone::named(""), Some(Zone::default()));
    }
}
