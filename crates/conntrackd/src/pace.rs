//! How often the daemon wakes up.
//!
//! A wake-up costs more than what is done in it for one event. What comes after a rest is done at once; while something
//! comes all the time, what comes within a moment is done together.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long a busy daemon lets things come together.
const PAUSE: Duration = Duration::from_millis(1);

/// It is busy when it has nothing left to do again so soon after the last time.
const BUSY_US: u64 = 2_000;

/// What the runtime does each time before it waits with nothing left to do.
pub(crate) fn before_waiting() -> impl Fn() + Send + Sync + 'static {
    let start = Instant::now();
    let last_us = AtomicU64::new(0);
    move || {
        let now_us = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
        let since_us = now_us.saturating_sub(last_us.swap(now_us, Ordering::Relaxed));
        if since_us < BUSY_US {
            std::thread::sleep(PAUSE);
        }
    }
}
