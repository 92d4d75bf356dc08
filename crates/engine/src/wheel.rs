//! Timers of many entries: a ring of buckets, a fifth of a second each.

use std::time::{Duration, Instant};

/// Width of a bucket.
const TICK: Duration = Duration::from_millis(200);

/// Not armed.
const NEVER: u64 = 0;

/// One timer for each position of a cache.
///
/// A timer that is moved later stays in its bucket until the bucket's turn comes, and is moved then; so
/// moving is cheap, which is what happens most.
#[derive(Debug)]
pub(crate) struct Wheel {
    start: Instant,
    buckets: Vec<Vec<u32>>,
    /// Tick at which each position is due.
    due: Vec<u64>,
    /// The next tick to be looked at.
    next: u64,
    armed: usize,
}

impl Wheel {
    /// Timers of at most `longest`.
    pub(crate) fn new(start: Instant, longest: Duration) -> Self {
        let count = longest.as_millis() / TICK.as_millis() + 3;
        let count = usize::try_from(count).unwrap_or(usize::MAX).min(1 << 20);
        Self {
            start,
            buckets: vec![Vec::new(); count],
            due: Vec::new(),
            next: 1,
            armed: 0,
        }
    }

    fn tick_of(&self, at: Instant) -> u64 {
        let passed = at.saturating_duration_since(self.start).as_millis() / TICK.as_millis();
        u64::try_from(passed).unwrap_or(u64::MAX)
    }

    /// Arms or moves the timer of a position.
    pub(crate) fn set(&mut self, position: u32, at: Instant) {
        let due = (self.tick_of(at) + 1).max(self.next);
        let index = position as usize;
        if self.due.len() <= index {
            self.due.resize(index + 1, NEVER);
        }
        let Some(slot) = self.due.get_mut(index) else {
            return;
        };
        let before = std::mem::replace(slot, due);
        if before == NEVER {
            self.armed += 1;
        }
        if before == NEVER || due < before {
            self.put(position, due);
        }
    }

    /// Disarms the timer of a position.
    pub(crate) fn clear(&mut self, position: u32) {
        if let Some(slot) = self.due.get_mut(position as usize)
            && std::mem::replace(slot, NEVER) != NEVER
        {
            self.armed -= 1;
        }
    }

    /// Disarms all.
    pub(crate) fn clear_all(&mut self) {
        self.buckets
            .iter_mut()
            .for_each(|bucket| *bucket = Vec::new());
        self.due = Vec::new();
        self.armed = 0;
    }

    /// Time until a position is due.
    pub(crate) fn remaining(&self, position: u32, now: Instant) -> Option<Duration> {
        let due = self
            .due
            .get(position as usize)
            .copied()
            .filter(|&due| due != NEVER)?;
        let at = self.start + TICK * u32::try_from(due).unwrap_or(u32::MAX);
        Some(at.saturating_duration_since(now))
    }

    /// Collects the positions that are due, and disarms them.
    pub(crate) fn fire(&mut self, now: Instant, fired: &mut Vec<u32>) {
        let now_tick = self.tick_of(now);
        let count = self.buckets.len() as u64;
        // After a long sleep every bucket is looked at once.
        let until = now_tick.min(self.next.saturating_add(count));
        while self.next <= until {
            let tick = self.next;
            self.next += 1;
            let index = (tick % count) as usize;
            let bucket = self
                .buckets
                .get_mut(index)
                .map(std::mem::take)
                .unwrap_or_default();
            for position in bucket {
                let Some(slot) = self.due.get_mut(position as usize) else {
                    continue;
                };
                match *slot {
                    NEVER => {}
                    due if due <= now_tick => {
                        *slot = NEVER;
                        self.armed -= 1;
                        fired.push(position);
                    }
                    due => self.put(position, due),
                }
            }
        }
        self.next = self.next.max(now_tick + 1);
    }

    /// When to call [`Wheel::fire`].
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        if self.armed == 0 {
            return None;
        }
        let count = self.buckets.len() as u64;
        let tick = (self.next..self.next + count).find(|tick| {
            self.buckets
                .get((tick % count) as usize)
                .is_some_and(|b| !b.is_empty())
        })?;
        Some(self.start + TICK * u32::try_from(tick).unwrap_or(u32::MAX))
    }

    fn put(&mut self, position: u32, due: u64) {
        let count = self.buckets.len() as u64;
        // Beyond the ring: the last bucket, from where it is moved on.
        let tick = due.min(self.next + count - 1);
        if let Some(bucket) = self.buckets.get_mut((tick % count) as usize) {
            bucket.push(position);
        }
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test may start anywhere")]
mod tests {
    use super::*;

    fn fired(wheel: &mut Wheel, at: Instant) -> Vec<u32> {
        let mut positions = Vec::new();
        wheel.fire(at, &mut positions);
        positions
    }

    #[test]
    fn a_timer_fires_once_and_not_before_its_time() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut wheel = Wheel::new(start, Duration::from_secs(60));
        wheel.set(3, at(1000));
        assert!(fired(&mut wheel, at(999)).is_empty());
        assert_eq!(fired(&mut wheel, at(1400)), [3]);
        assert!(fired(&mut wheel, at(100_000)).is_empty());
        assert_eq!(wheel.poll_timeout(), None);
    }

    #[test]
    fn a_timer_moves_both_ways() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut wheel = Wheel::new(start, Duration::from_secs(60));
        wheel.set(1, at(1000));
        wheel.set(1, at(5000));
        wheel.set(2, at(5000));
        wheel.set(2, at(1000));
        assert_eq!(fired(&mut wheel, at(2000)), [2]);
        assert_eq!(fired(&mut wheel, at(6000)), [1]);
        assert!(fired(&mut wheel, at(60_000)).is_empty());
    }

    #[test]
    fn a_long_sleep_fires_everything_that_is_due() {
        let start = Instant::now();
        let mut wheel = Wheel::new(start, Duration::from_secs(10));
        for position in 0..100 {
            wheel.set(
                position,
                start + Duration::from_millis(u64::from(position) * 90),
            );
        }
        assert_eq!(
            fired(&mut wheel, start + Duration::from_secs(3600)).len(),
            100
        );
        wheel.set(5, start + Duration::from_secs(3601));
        assert_eq!(fired(&mut wheel, start + Duration::from_secs(3602)), [5]);
    }
}
