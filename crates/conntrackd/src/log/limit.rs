//! Holding back lines that repeat too fast.

use std::collections::HashMap;
use std::fmt;
use std::time::{Duration, Instant};

use super::Level;

/// Kinds of lines watched at once.
const KINDS_MAX: usize = 64;

/// Admits so many like lines in a period. Lines are alike when they differ in their numbers only.
#[derive(Debug)]
pub(super) struct RateLimit {
    max: u32,
    period: Duration,
    kinds: HashMap<(Level, String), Kind>,
    /// What was held back of kinds that had to make room.
    displaced: Vec<Suppressed>,
}

#[derive(Debug)]
struct Kind {
    since: Instant,
    count: u32,
    /// The first line that was held back, and how many there were.
    suppressed: Option<(String, u64)>,
}

/// Lines that were held back. `Display` is the line that tells of them.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Suppressed {
    pub(super) level: Level,
    first: String,
    count: u64,
    period: Duration,
}

impl fmt::Display for Suppressed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            first,
            count,
            period,
            ..
        } = self;
        write!(
            f,
            "{count} more lines like this one in {} s: {first}",
            period.as_secs()
        )
    }
}

impl RateLimit {
    pub(super) fn new(max: u32, period: Duration) -> Self {
        Self {
            max,
            period,
            kinds: HashMap::new(),
            displaced: Vec::new(),
        }
    }

    /// Whether this line is to be written.
    pub(super) fn admit(&mut self, now: Instant, level: Level, text: &str) -> bool {
        let key = (level, without_numbers(text));
        if !self.kinds.contains_key(&key) {
            self.make_room();
        }
        let kind = self.kinds.entry(key).or_insert(Kind {
            since: now,
            count: 0,
            suppressed: None,
        });
        if now.saturating_duration_since(kind.since) >= self.period && kind.suppressed.is_none() {
            (kind.since, kind.count) = (now, 0);
        }
        if kind.count < self.max {
            kind.count += 1;
            return true;
        }
        kind.suppressed
            .get_or_insert_with(|| (text.to_owned(), 0))
            .1 += 1;
        false
    }

    /// What was held back in periods that are over.
    pub(super) fn expired(&mut self, now: Instant) -> Vec<Suppressed> {
        let mut expired = std::mem::take(&mut self.displaced);
        let period = self.period;
        self.kinds.retain(|(level, _), kind| {
            let over = now.saturating_duration_since(kind.since) >= period;
            if over && let Some((first, count)) = kind.suppressed.take() {
                expired.push(Suppressed {
                    level: *level,
                    first,
                    count,
                    period,
                });
            }
            !over
        });
        expired
    }

    fn make_room(&mut self) {
        if self.kinds.len() < KINDS_MAX {
            return;
        }
        let oldest = self
            .kinds
            .iter()
            .min_by_key(|(_, kind)| kind.since)
            .map(|(key, _)| key);
        let Some(key) = oldest.cloned() else { return };
        if let Some(Kind {
            suppressed: Some((first, count)),
            ..
        }) = self.kinds.remove(&key)
        {
            self.displaced.push(Suppressed {
                level: key.0,
                first,
                count,
                period: self.period,
            });
        }
    }
}

fn without_numbers(text: &str) -> String {
    text.chars().filter(|c| !c.is_ascii_digit()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: Duration = Duration::from_secs(5);

    #[test]
    fn lines_that_differ_in_more_than_numbers_or_in_level_do_not_share_a_limit() {
        let mut limit = RateLimit::new(1, PERIOD);
        let now = Instant::now();
        assert!(limit.admit(now, Level::Error, "entry 1"));
        assert!(!limit.admit(now, Level::Error, "entry 22"));
        assert!(limit.admit(now, Level::Warning, "entry 1"));
        assert!(limit.admit(now, Level::Error, "other 1"));
    }

    #[test]
    fn a_new_period_begins_only_after_the_old_one_was_told() {
        let mut limit = RateLimit::new(1, PERIOD);
        let start = Instant::now();
        assert!(limit.admit(start, Level::Error, "x"));
        assert!(!limit.admit(start, Level::Error, "x"));
        assert_eq!(limit.expired(start + PERIOD / 2), []);
        assert!(!limit.admit(start + PERIOD, Level::Error, "x"));
        let told = limit.expired(start + PERIOD);
        assert_eq!(told.len(), 1);
        assert_eq!(told[0].count, 2);
        assert!(limit.admit(start + PERIOD, Level::Error, "x"));
        assert_eq!(
            limit.expired(start + 10 * PERIOD),
            [],
            "nothing was held back"
        );
    }

    #[test]
    fn a_slow_repetition_is_never_held_back() {
        let mut limit = RateLimit::new(1, PERIOD);
        let start = Instant::now();
        for step in 0..100 {
            assert!(limit.admit(start + step * PERIOD, Level::Notice, "x"));
        }
    }

    #[test]
    fn many_kinds_of_lines_do_not_grow_the_limit_and_lose_no_count() {
        let mut limit = RateLimit::new(1, PERIOD);
        let start = Instant::now();
        let mut suppressed = 0;
        for kind in 0..1000 {
            let text = "x".repeat(kind);
            assert!(limit.admit(start, Level::Error, &text));
            assert!(!limit.admit(start, Level::Error, &text));
            suppressed += limit.expired(start).iter().map(|s| s.count).sum::<u64>();
            assert!(limit.kinds.len() <= KINDS_MAX && limit.displaced.len() <= 1);
        }
        suppressed += limit
            .expired(start + PERIOD)
            .iter()
            .map(|s| s.count)
            .sum::<u64>();
        assert_eq!(suppressed, 1000);
    }
}
