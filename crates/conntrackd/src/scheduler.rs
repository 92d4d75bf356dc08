//! The scheduling class of the daemon.

use config::Scheduler;
use thread_priority::{
    NormalThreadSchedulePolicy, RealtimeThreadSchedulePolicy, ThreadPriority,
    ThreadPriorityOsValue, ThreadPriorityValue, ThreadSchedulePolicy,
    set_thread_priority_and_policy, thread_native_id,
};

/// Puts this thread, which does nearly all the work, into the class that the configuration names.
///
/// Without the right to do so the daemon goes on in the class it was started in. Returns whether it is a real-time
/// one now.
pub(crate) fn apply(scheduler: Scheduler) -> bool {
    let (policy, priority) = match scheduler {
        Scheduler::System => return false,
        Scheduler::RoundRobin { priority } => (RealtimeThreadSchedulePolicy::RoundRobin, priority),
        Scheduler::Fifo { priority } => (RealtimeThreadSchedulePolicy::Fifo, priority),
    };
    let outcome = ThreadPriorityValue::try_from(priority)
        .map_err(|reason| reason.to_owned())
        .and_then(|value| {
            set_thread_priority_and_policy(
                thread_native_id(),
                ThreadPriority::Crossplatform(value),
                ThreadSchedulePolicy::Realtime(policy),
            )
            .map_err(|error| format!("{error:?}"))
        });
    if let Err(reason) = &outcome {
        tracing::warn!(
            "scheduler configuration failed: {reason}. Continuing with system default scheduler."
        );
    }
    outcome.is_ok()
}

/// Puts this thread into the usual class: what it does can wait.
pub(crate) fn leave_realtime() {
    let usual = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Other);
    let priority = ThreadPriority::Os(ThreadPriorityOsValue::default());
    if let Err(error) = set_thread_priority_and_policy(thread_native_id(), priority, usual) {
        tracing::warn!("a thread cannot leave the real-time scheduling class: {error:?}");
    }
}
