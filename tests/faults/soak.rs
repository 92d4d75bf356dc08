//! Churn for a long time: memory stays flat, descriptors stay the same, the tables are equal at the end.

use std::thread;
use std::time::{Duration, Instant};

use netlab::{Feature, require_feature_or_skip, require_root_or_skip};

use crate::rig::{Churn, Rig, report};

/// Environment variable: minutes that the soak takes, in place of a few seconds.
const MINUTES: &str = "FAULTS_SOAK_MINUTES";

/// Entries that come in a second, and that live at a time.
const RATE: u32 = 40_000;
const LIVING: u32 = 20_000;

/// How much memory may grow after the beginning: the noise of pages, and no growth with the number of entries.
const GROWTH_KIB: u64 = 4 * 1024;

#[test]
fn soak_memory_is_flat_and_the_tables_are_equal() {
    require_root_or_skip!();
    require_feature_or_skip!(Feature::Conntrack);
    let minutes = std::env::var(MINUTES)
        .ok()
        .map(|text| text.parse::<f64>().unwrap());
    let time = minutes.map_or(Duration::from_secs(8), |minutes| {
        Duration::from_secs_f64(minutes * 60.0)
    });
    let mut rig = Rig::new(|_| {});
    let churn = Churn::start(&rig.a, RATE, LIVING);
    // A quarter of a short run and a minute of a long one pass before anything is expected to be constant.
    let warm_up = (time / 4).min(Duration::from_secs(60));
    thread::sleep(warm_up);
    let descriptors = [rig.a.descriptors(), rig.b.descriptors()];
    let memory = |rig: &Rig| [&rig.a, &rig.b].map(|node| node.daemon.memory_kib().unwrap());
    let (first, mut most) = (memory(&rig), memory(&rig));
    let begun = Instant::now();
    while begun.elapsed() < time - warm_up {
        thread::sleep(Duration::from_millis(500));
        for (most, now) in most.iter_mut().zip(memory(&rig)) {
            *most = now.max(*most);
        }
    }
    let (made, last) = (churn.finish(), memory(&rig));
    let begun = Instant::now();
    rig.heals(Duration::from_secs(60));
    report(
        &format!("soak of {} s", time.as_secs()),
        begun.elapsed(),
        &format!(
            "{made} entries; KiB of A and B after warm-up {first:?}, most {most:?}, last {last:?}"
        ),
    );
    for (first, most) in first.iter().zip(most) {
        assert!(
            most <= first + first / 10 + GROWTH_KIB,
            "memory grew from {first} KiB to {most} KiB"
        );
    }
    assert_eq!([rig.a.descriptors(), rig.b.descriptors()], descriptors);
    rig.ends_well(Duration::from_secs(20));
}
