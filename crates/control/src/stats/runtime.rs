//! The page of `-s runtime`; every mode has it.

use std::time::Duration;

use engine::snapshot::KernelStats;

use super::RuntimeStats;

pub(super) fn runtime(out: &mut Vec<u8>, kernel: &KernelStats, process: &RuntimeStats) {
    put!(out, "daemon uptime: ");
    uptime(out, process.uptime);
    put!(
        out,
        "\n\n\
         netlink stats:\n\
         \tevents received:\t{:20}\n\
         \tevents filtered:\t{:20}\n\
         \tevents unknown type:\t\t{:12}\n\
         \tcatch event failed:\t\t{:12}\n\
         \tdump unknown type:\t\t{:12}\n\
         \tnetlink overrun:\t\t{:12}\n\
         \tflush kernel table:\t\t{:12}\n\
         \tresync with kernel table:\t{:12}\n\
         \tcurrent buffer size (in bytes):\t{:12}\n\n",
        kernel.events,
        kernel.filtered,
        kernel.malformed,
        // compat: the original counts each overrun in both places.
        kernel.overruns,
        0,
        kernel.overruns,
        kernel.flushes,
        kernel.resyncs,
        process.event_buffer_len
    );
    put!(
        out,
        "runtime stats:\n\
         \tchild process failed:\t\t{:12}\n\
         \t\tchild process segfault:\t{:12}\n\
         \t\tchild process termsig:\t{:12}\n\
         \tselect failed:\t\t\t{:12}\n\
         \twait failed:\t\t\t{:12}\n\
         \tlocal read failed:\t\t{:12}\n\
         \tlocal unknown request:\t\t{:12}\n\n",
        process.child_failed,
        process.child_segfault,
        process.child_terminated,
        process.select_failed,
        process.wait_failed,
        process.local_read_failed,
        process.local_unknown_request
    );
}

fn uptime(out: &mut Vec<u8>, uptime: Duration) {
    let minutes = uptime.as_secs() / 60;
    let (days, hours, minutes) = (minutes / (24 * 60), minutes / 60 % 24, minutes % 60);
    match days {
        0 => {}
        1 => put!(out, "1 day "),
        _ => put!(out, "{days} days "),
    }
    if hours > 0 {
        put!(out, "{hours} h ");
    }
    put!(out, "{minutes} min");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uptime_leaves_out_hours_of_zero_but_never_minutes() {
        for (minutes, text) in [
            (0, "0 min"),
            (59, "59 min"),
            (61, "1 h 1 min"),
            (23 * 60 + 59, "23 h 59 min"),
            (24 * 60, "1 day 0 min"),
            (25 * 60 + 1, "1 day 1 h 1 min"),
            (48 * 60 + 1, "2 days 1 min"),
            (50 * 60 + 1, "2 days 2 h 1 min"),
            (240 * 60, "10 days 0 min"),
        ] {
            let mut out = Vec::new();
            uptime(&mut out, Duration::from_secs(minutes * 60 + 59));
            assert_eq!(String::from_utf8(out).unwrap(), text);
        }
    }
}
