//! The gate between what peers tell and what is kept of it.

use std::time::{Duration, Instant};

use flow::policy::{Policy, Violation};
use flow::{Expectation, Flow};

use crate::snapshot::PolicyStats;

/// Bulks that a peer gets for the asking, one after the other; then it has to wait for each.
const BULKS_AT_ONCE: u32 = 4;

/// Lets pass what the policy allows, and counts the rest.
#[derive(Debug)]
pub(crate) struct Gate {
    policy: Option<Policy>,
    pub(crate) stats: PolicyStats,
}

impl Gate {
    pub(crate) fn new(policy: &Policy) -> Self {
        Self {
            policy: (!policy.is_open()).then(|| policy.clone()),
            stats: PolicyStats::default(),
        }
    }

    pub(crate) fn admits(&mut self, flow: &Flow) -> bool {
        match &self.policy {
            None => true,
            Some(policy) => count(&mut self.stats, policy.judge(flow)),
        }
    }

    pub(crate) fn admits_expectation(&mut self, expectation: &Expectation) -> bool {
        match &self.policy {
            None => true,
            Some(policy) => count(&mut self.stats, policy.judge_expectation(expectation)),
        }
    }
}

fn count(stats: &mut PolicyStats, judged: Result<(), Violation>) -> bool {
    let Err(violation) = judged else {
        return true;
    };
    *match violation {
        Violation::Address => &mut stats.address,
        Violation::Protocol => &mut stats.protocol,
        Violation::State => &mut stats.state,
        Violation::Zone => &mut stats.zone,
    } += 1;
    false
}

/// How often a peer that asks for everything is given it.
#[derive(Debug)]
pub(crate) struct Asked {
    /// Zero: as often as it asks.
    interval: Duration,
    left: u32,
    /// When there is one more, unless there are all.
    next_at: Option<Instant>,
    /// Asked for, and not given yet.
    waits: bool,
    /// Requests that had to wait.
    pub(crate) put_off: u64,
}

/// What to do about a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asking {
    /// Give everything now.
    Give,
    /// Later.
    PutOff,
    /// Nothing: it was put off already.
    Waits,
}

impl Asked {
    pub(crate) fn new(interval: Duration) -> Self {
        Self {
            interval,
            left: BULKS_AT_ONCE,
            next_at: None,
            waits: false,
            put_off: 0,
        }
    }

    /// The peer asks for everything.
    pub(crate) fn ask(&mut self, now: Instant) -> Asking {
        if self.interval.is_zero() {
            return Asking::Give;
        }
        self.refill(now);
        if self.left > 0 {
            self.left -= 1;
            self.next_at.get_or_insert(now + self.interval);
            return Asking::Give;
        }
        self.put_off += 1;
        if std::mem::replace(&mut self.waits, true) {
            Asking::Waits
        } else {
            Asking::PutOff
        }
    }

    /// Whether what was put off is to be given now.
    pub(crate) fn is_due(&mut self, now: Instant) -> bool {
        if !self.waits {
            return false;
        }
        self.refill(now);
        if self.left == 0 {
            return false;
        }
        self.left -= 1;
        self.next_at.get_or_insert(now + self.interval);
        self.waits = false;
        true
    }

    /// When what was put off is due.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.next_at.filter(|_| self.waits)
    }

    fn refill(&mut self, now: Instant) {
        while let Some(at) = self.next_at
            && at <= now
        {
            self.left += 1;
            // After a long rest all are there; the steps in between need not be taken.
            self.next_at = (self.left < BULKS_AT_ONCE).then_some(at + self.interval);
        }
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test may start anywhere")]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(10);

    #[test]
    fn a_few_are_given_at_once_and_then_one_in_each_interval() {
        let start = Instant::now();
        let mut asked = Asked::new(INTERVAL);
        for _ in 0..BULKS_AT_ONCE {
            assert_eq!(asked.ask(start), Asking::Give);
        }
        assert_eq!(asked.ask(start), Asking::PutOff);
        let mut given = 0;
        // Somebody asks a thousand times a second for a hundred seconds.
        for tick in 0..100_000 {
            let now = start + Duration::from_millis(tick);
            given += u64::from(asked.is_due(now));
            given += u64::from(asked.ask(now) == Asking::Give);
        }
        assert_eq!(given, 9);
        assert_eq!(asked.put_off, 100_001);
        let due = asked.poll_timeout().unwrap();
        assert_eq!(due, start + 10 * INTERVAL);
        assert!(asked.is_due(due));
        assert_eq!(asked.poll_timeout(), None);
    }

    #[test]
    fn after_a_rest_the_few_are_there_again() {
        let start = Instant::now();
        let mut asked = Asked::new(INTERVAL);
        for _ in 0..=BULKS_AT_ONCE {
            asked.ask(start);
        }
        let later = start + 1000 * INTERVAL;
        assert!(asked.is_due(later));
        for _ in 1..BULKS_AT_ONCE {
            assert_eq!(asked.ask(later), Asking::Give);
        }
        assert_eq!(asked.ask(later), Asking::PutOff);
    }

    #[test]
    fn without_an_interval_nothing_is_put_off() {
        let start = Instant::now();
        let mut asked = Asked::new(Duration::ZERO);
        assert!((0..1000).all(|_| asked.ask(start) == Asking::Give));
        assert_eq!(asked.poll_timeout(), None);
    }
}
