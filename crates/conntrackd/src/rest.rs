//! Rests of a real-time daemon during long work.
//!
//! A process of a real-time class that computes for a second is stopped by the kernel for what is left of it: 50 ms, unless
//! told otherwise (`kernel.sched_rt_runtime_us`). Replication stands still meanwhile. Resting now and then for a moment keeps
//! below that, and takes no longer.

use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};

/// Time over which it is counted how much was computed: the kernel's limit is one of a whole second.
const WINDOW: Duration = Duration::from_millis(20);

/// Part of the time, in hundredths, that may be computed: less than the kernel's 95, which others have a part of.
const SHARE: u32 = 93;

/// When this thread has to rest.
#[derive(Debug)]
pub(crate) struct Rest {
    since: Instant,
    /// Processor time of this thread at the beginning of the window.
    computed: Duration,
}

impl Rest {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            since: now,
            computed: processor_time(),
        }
    }

    /// Rests if that is due: one or two milliseconds after twenty of work without a wait.
    pub(crate) fn take(&mut self) {
        let passed = self.since.elapsed();
        if passed < WINDOW {
            return;
        }
        let computed = processor_time();
        let rest = due(passed, computed.saturating_sub(self.computed));
        if !rest.is_zero() {
            std::thread::sleep(rest);
        }
        (self.since, self.computed) = (Instant::now(), computed);
    }
}

/// How long to rest after some time, of which so much was computed.
fn due(passed: Duration, computed: Duration) -> Duration {
    (computed * 100 / SHARE).saturating_sub(passed)
}

/// Processor time of this thread. A kernel that cannot tell sees no rest.
fn processor_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn whoever_computes_all_the_time_rests_so_that_the_share_is_kept() {
        let rest = due(20 * MS, 20 * MS);
        assert!(rest > MS && rest < 2 * MS, "{rest:?}");
        // A long step is made up for as a whole.
        assert_eq!(due(930 * MS, 930 * MS), 70 * MS);
    }

    #[test]
    fn whoever_waits_now_and_then_need_not_rest() {
        assert_eq!(due(20 * MS, 18 * MS), Duration::ZERO);
        assert_eq!(due(1000 * MS, MS), Duration::ZERO);
    }
}
