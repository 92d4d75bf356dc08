//! What a peer may make this node keep.

use std::time::{Duration, Instant};

use flow::{Expectation, Flow};

use crate::api::Policy;

/// Guards the policy of a peer, and counts what it refuses.
#[derive(Debug)]
pub(crate) struct Guard {
    policy: Policy,
    /// Every connection may be kept.
    is_open: bool,
    second: Option<Instant>,
    in_second: u32,
    pub(super) refused: u64,
}

impl Guard {
    pub(super) fn new(policy: Policy) -> Self {
        Self {
            is_open: policy.entries.is_open() && policy.mark_mask == u32::MAX,
            policy,
            second: None,
            in_second: 0,
            refused: 0,
        }
    }

    /// Whether any entry may be kept.
    pub(super) fn allows_all(&self) -> bool {
        self.is_open
    }

    /// Whether an entry may be kept at all.
    pub(super) fn allows(&mut self, flow: &Flow) -> bool {
        if self.is_open {
            return true;
        }
        let policy = &self.policy;
        let allowed = policy.entries.judge(flow).is_ok()
            && flow.mark.unwrap_or_default() & !policy.mark_mask == 0;
        self.refused += u64::from(!allowed);
        allowed
    }

    /// Whether an expectation may be kept.
    pub(super) fn allows_expectation(&mut self, expectation: &Expectation) -> bool {
        let allowed = self.policy.entries.judge_expectation(expectation).is_ok();
        self.refused += u64::from(!allowed);
        allowed
    }

    /// Whether one more may be kept now.
    pub(super) fn has_room(&mut self, entries: u64, now: Instant) -> bool {
        let allowed = self
            .policy
            .entries_max
            .is_none_or(|max| entries < max as u64)
            && self.is_slow_enough(now);
        self.refused += u64::from(!allowed);
        allowed
    }

    fn is_slow_enough(&mut self, now: Instant) -> bool {
        let Some(max) = self.policy.rate_max else {
            return true;
        };
        let is_over = |at: Instant| now.saturating_duration_since(at) >= Duration::from_secs(1);
        if self.second.is_none_or(is_over) {
            (self.second, self.in_second) = (Some(now), 0);
        }
        self.in_second = self.in_second.saturating_add(1);
        self.in_second <= max
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test may start anywhere")]
mod tests {
    use flow::{Addrs, L4, Tuple, Zone};

    use super::*;

    fn flow() -> Flow {
        let addrs = Addrs::new([10, 0, 0, 1].into(), [10, 0, 0, 2].into()).unwrap();
        let l4 = L4::Ports { src: 1, dst: 80 };
        Flow::new(Tuple {
            addrs,
            proto: 6,
            l4,
        })
    }

    #[test]
    fn zones_and_marks_outside_the_policy_are_refused_and_counted() {
        let mut guard = Guard::new(Policy {
            entries: flow::Policy {
                zones: Some(vec![0, 4]),
                ..flow::Policy::default()
            },
            mark_mask: 0xff,
            ..Policy::default()
        });
        assert!(guard.allows(&flow()));
        let zone = Zone { orig: 4, reply: 5 };
        assert!(!guard.allows(&Flow { zone, ..flow() }));
        let mark = Some(0x100);
        assert!(!guard.allows(&Flow { mark, ..flow() }));
        assert_eq!(guard.refused, 2);
    }

    #[test]
    fn number_and_rate_are_bounded() {
        let start = Instant::now();
        let mut guard = Guard::new(Policy {
            entries_max: Some(10),
            rate_max: Some(2),
            ..Policy::default()
        });
        assert!(!guard.has_room(10, start));
        assert!(guard.has_room(9, start) && guard.has_room(9, start));
        assert!(!guard.has_room(9, start));
        assert!(guard.has_room(9, start + Duration::from_secs(1)));
    }
}
