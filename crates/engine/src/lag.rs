//! How long it takes the peer to acknowledge what it is told.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Moments of sending are noted no closer than this.
const SPACING: Duration = Duration::from_millis(2);

/// Moments noted; a peer that acknowledges nothing for longer makes the newer ones coarser.
const MARKS_MAX: usize = 4096;

/// Time that one of the two histograms covers.
const PERIOD: Duration = Duration::from_secs(30);

/// Each bucket is a quarter of a power of two, from 1 µs on.
const BUCKETS: usize = 4 * 32;

/// The ages of acknowledged changes, in buckets.
type Histogram = [u32; BUCKETS];

/// Percentiles of the time from sending to acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Percentiles {
    /// Half were acknowledged within this.
    pub p50: Duration,
    /// 99 of 100 were.
    pub p99: Duration,
}

#[derive(Debug)]
pub(crate) struct Lag {
    /// Numbers sent and when, oldest first.
    marks: VecDeque<(u32, Instant)>,
    recent: Histogram,
    older: Histogram,
    turns_at: Option<Instant>,
}

impl Lag {
    pub(crate) fn new() -> Self {
        Self {
            marks: VecDeque::new(),
            recent: [0; BUCKETS],
            older: [0; BUCKETS],
            turns_at: None,
        }
    }

    /// A change was sent with this number.
    pub(crate) fn sent(&mut self, seq: u32, now: Instant) {
        let close = self
            .marks
            .back()
            .is_some_and(|&(_, at)| now.saturating_duration_since(at) < SPACING);
        if !close && self.marks.len() < MARKS_MAX {
            self.marks.push_back((seq, now));
        }
    }

    /// Everything up to this number has been acknowledged.
    pub(crate) fn acknowledged(&mut self, to: u32, now: Instant) {
        while let Some(&(seq, at)) = self.marks.front()
            && (to.wrapping_sub(seq) as i32) >= 0
        {
            self.marks.pop_front();
            self.turn(now);
            let age = now.saturating_duration_since(at);
            if let Some(count) = self.recent.get_mut(bucket(age)) {
                *count = count.saturating_add(1);
            }
        }
    }

    /// Numbers start anew.
    pub(crate) fn forget(&mut self) {
        self.marks.clear();
    }

    /// Age of the oldest change that is not acknowledged.
    pub(crate) fn oldest(&self, now: Instant) -> Duration {
        self.marks
            .front()
            .map_or(Duration::ZERO, |&(_, at)| now.saturating_duration_since(at))
    }

    /// Of the last half minute to minute. `None`: nothing was acknowledged then.
    pub(crate) fn percentiles(&self, now: Instant) -> Option<Percentiles> {
        let counts = match self.turns_at {
            Some(at) if now < at => [&self.recent, &self.older],
            Some(at) if now < at + PERIOD => [&self.recent; 2],
            _ => return None,
        };
        let count = |index: usize| {
            counts
                .iter()
                .filter_map(|histogram| histogram.get(index))
                .map(|&count| u64::from(count))
                .sum::<u64>()
        };
        let total: u64 = (0..BUCKETS).map(count).sum();
        let below = |part: u64| {
            let mut passed = 0;
            (0..BUCKETS)
                .find(|&index| {
                    passed += count(index);
                    passed * 100 >= total * part
                })
                .map(upper_end)
        };
        if total == 0 {
            return None;
        }
        Some(Percentiles {
            p50: below(50)?,
            p99: below(99)?,
        })
    }

    fn turn(&mut self, now: Instant) {
        match self.turns_at {
            Some(at) if now < at => {}
            Some(at) if now < at + PERIOD => {
                self.older = std::mem::replace(&mut self.recent, [0; BUCKETS]);
                self.turns_at = Some(at + PERIOD);
            }
            _ => {
                (self.recent, self.older) = ([0; BUCKETS], [0; BUCKETS]);
                self.turns_at = Some(now + PERIOD);
            }
        }
    }
}

fn bucket(age: Duration) -> usize {
    let micros = u32::try_from(age.as_micros()).unwrap_or(u32::MAX).max(1);
    let power = micros.ilog2();
    // The two bits below the highest one.
    let quarter = (u64::from(micros) << 2 >> power) & 3;
    (power as usize) * 4 + quarter as usize
}

fn upper_end(bucket: usize) -> Duration {
    let (power, quarter) = (bucket / 4, bucket as u64 % 4);
    Duration::from_micros((5 + quarter) << power >> 2)
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test may start anywhere")]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn the_age_is_that_of_the_oldest_change_without_acknowledgement() {
        let start = Instant::now();
        let mut lag = Lag::new();
        assert_eq!(lag.oldest(start), Duration::ZERO);
        lag.sent(u32::MAX, start);
        lag.sent(5, start + ms(10));
        assert_eq!(lag.oldest(start + ms(30)), ms(30));
        // Numbers wrap around.
        lag.acknowledged(2, start + ms(30));
        assert_eq!(lag.oldest(start + ms(30)), ms(20));
        lag.acknowledged(5, start + ms(30));
        assert_eq!(lag.oldest(start + ms(40)), Duration::ZERO);
    }

    #[test]
    fn percentiles_are_of_the_last_minute_and_a_quarter_too_large_at_most() {
        let start = Instant::now();
        let mut lag = Lag::new();
        assert_eq!(lag.percentiles(start), None);
        let mut now = start;
        for seq in 0..100 {
            lag.sent(seq, now);
            let age = if seq < 98 { ms(3) } else { ms(900) };
            lag.acknowledged(seq, now + age);
            now += ms(10);
        }
        let found = lag.percentiles(now).unwrap();
        assert!(found.p50 >= ms(3) && found.p50 <= ms(4), "{found:?}");
        assert!(found.p99 >= ms(900) && found.p99 <= ms(1150), "{found:?}");
        assert_eq!(lag.percentiles(now + 3 * PERIOD), None);
    }

    #[test]
    fn a_peer_that_acknowledges_nothing_costs_no_memory() {
        let start = Instant::now();
        let mut lag = Lag::new();
        for seq in 0..100_000 {
            lag.sent(seq, start + SPACING * seq);
        }
        assert_eq!(lag.marks.len(), MARKS_MAX);
        lag.forget();
        assert_eq!(lag.oldest(start), Duration::ZERO);
    }

    #[test]
    fn every_age_lies_in_its_bucket() {
        for micros in (1..5000).chain([1_000_000, u64::from(u32::MAX)]) {
            let end = upper_end(bucket(Duration::from_micros(micros))).as_micros() as u64;
            assert!(
                end >= micros && end <= micros + micros / 4 + 2,
                "{micros}: {end}"
            );
        }
    }
}
