//! A target under libFuzzer: the one that `FUZZ_TARGET` names, its seeds put into the folder `FUZZ_SEEDS`.
//!
//! Memory and time are bounded here. Memory, as libFuzzer's own bound wants a sanitizer: a run that holds more than
//! [`LIVE_LEN_MAX`] ends as a crash. Time, as libFuzzer's own bound counts what other processes took of the machine:
//! an input that keeps the processor for longer than [`TIME_MAX`] ends as a crash. One that never ends is left to
//! libFuzzer.

#![no_main]
#![allow(unsafe_code, reason = "an allocator cannot be written without")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fuzz::Target;
use libfuzzer_sys::fuzz_target;
use nix::time::{ClockId, clock_gettime};

/// Inputs are some KiB; nothing they make may be much larger.
const LIVE_LEN_MAX: usize = 64 * 1024 * 1024;

/// Of the processor's time; inputs take some microseconds.
const TIME_MAX: Duration = Duration::from_secs(1);

static LIVE_LEN: AtomicUsize = AtomicUsize::new(0);

struct Bounded;

impl Bounded {
    fn take(len: usize) -> bool {
        LIVE_LEN
            .fetch_add(len, Ordering::Relaxed)
            .saturating_add(len)
            <= LIVE_LEN_MAX
    }
}

// SAFETY: every call is handed on to the system's allocator unchanged, or refused.
unsafe impl GlobalAlloc for Bounded {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !Self::take(layout.size()) {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller's promise is the one needed here.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE_LEN.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise is the one needed here.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Bounded = Bounded;

static TARGET: OnceLock<Target> = OnceLock::new();

fn begin() {
    let name = std::env::var("FUZZ_TARGET").expect("FUZZ_TARGET names a target");
    let target = fuzz::target(&name).expect("FUZZ_TARGET names a known target");
    if let Some(folder) = std::env::var_os("FUZZ_SEEDS") {
        for (number, seed) in (target.seeds)().iter().enumerate() {
            let file = std::path::Path::new(&folder).join(format!("seed-{number:04}"));
            std::fs::write(file, seed).expect("FUZZ_SEEDS is a folder");
        }
    }
    TARGET.set(target).expect("this is called once");
}

/// Time that this thread has had the processor.
fn used() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}

fuzz_target!(init: begin(), |data: &[u8]| {
    if let Some(target) = TARGET.get() {
        let before = used();
        (target.run)(data);
        let took = used().saturating_sub(before);
        assert!(took <= TIME_MAX, "an input of {} bytes took {took:?}", data.len());
    }
});
