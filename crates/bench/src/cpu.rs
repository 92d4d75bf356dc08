//! Processor time.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::time::{ClockId, clock_gettime};

/// Run time of all threads of a process, user and system.
pub(crate) fn of_process(pid: u32) -> Result<Duration> {
    let mut total_ns = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let path = task?.path().join("schedstat");
        let text = fs::read_to_string(&path)?;
        let run_ns = text
            .split(' ')
            .next()
            .and_then(|word| word.parse::<u64>().ok());
        total_ns += run_ns.with_context(|| format!("{}: {text}", path.display()))?;
    }
    Ok(Duration::from_nanos(total_ns))
}

/// Run time of this thread.
pub(crate) fn of_this_thread() -> Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?.into())
}
