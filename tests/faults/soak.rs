//! Churn for a long time: memory stays flat, descriptors stay the same, the tables are equal at the end.

use std::thread;
use std::time::{Duration, Instant};

use netlab::{Feature, require_feature_or_skip, require_root_or_skip};

use crate::rig::{Churn, Rig, report};

/// Environment variables: minutes that the soak takes, in place of a few seconds, and entries that it makes at least,
/// however long that takes.
const MINUTES: &str = "FAULTS_SOAK_MINUTES";
const FLOWS: &str = "FAULTS_SOAK_FLOWS";

/// Entries that come in a second, and that live at a time.
const RATE: u32 = 40_000;
const LIVING: u32 = 20_000;

/// How much memory may grow after the beginning: the noise of pages. 20.5 million entries made it grow by 80 KiB.
const GROWTH_KIB: u64 = 1024;

/// Of a long soak, a line is printed each time so many entries have been made.
const LINE: u64 = 1_000_000;

/// When it ends: when both have been reached.
struct Length {
    time: Duration,
    flows: u64,
}

impl Length {
    fn asked() -> Self {
        let number = |name: &str| {
            let text = std::env::var(name).ok();
            text.map(|text| text.parse::<f64>().unwrap())
        };
        match (number(MINUTES), number(FLOWS)) {
            (None, None) => Self {
                time: Duration::from_secs(8),
                flows: 0,
            },
            (minutes, flows) => Self {
                time: Duration::from_secs_f64(minutes.unwrap_or(0.0) * 60.0),
                flows: flows.unwrap_or(0.0) as u64,
            },
        }
    }

    /// The part of it that has passed.
    fn passed(&self, time: Duration, flows: u64) -> f64 {
        let part = |now: f64, all: f64| if all > 0.0 { now / all } else { f64::INFINITY };
        part(time.as_secs_f64(), self.time.as_secs_f64()).min(part(flows as f64, self.flows as f64))
    }
}

/// What a soak has seen of the memory of A and B, in KiB.
struct Memory {
    /// After the beginning.
    first: [u64; 2],
    most: [u64; 2],
    last: [u64; 2],
}

impl Memory {
    fn now(rig: &Rig) -> [u64; 2] {
        [&rig.a, &rig.b].map(|node| node.daemon.memory_kib().unwrap())
    }

    fn look(&mut self, rig: &Rig) {
        self.last = Self::now(rig);
        for (most, now) in self.most.iter_mut().zip(self.last) {
            *most = now.max(*most);
        }
    }
}

/// Waits until this part of it has passed, and looks at the memory meanwhile.
fn wait(length: &Length, part: f64, begun: Instant, churn: &Churn, mut look: impl FnMut(u64)) {
    while length.passed(begun.elapsed(), churn.made()) < part {
        thread::sleep(Duration::from_millis(500));
        look(churn.made());
    }
}

#[test]
fn soak_memory_is_flat_and_the_tables_are_equal() {
    require_root_or_skip!();
    require_feature_or_skip!(Feature::Conntrack);
    let length = Length::asked();
    let mut rig = Rig::new(|_| {});
    let churn = Churn::start(&rig.a, RATE, LIVING);
    let begun = Instant::now();
    // A quarter passes before anything is expected to be constant; of a long one a minute does.
    let warm_up = (60.0
        / length
            .time
            .as_secs_f64()
            .max(length.flows as f64 / f64::from(RATE)))
    .min(0.25);
    wait(&length, warm_up, begun, &churn, |_| ());
    let descriptors = [rig.a.descriptors(), rig.b.descriptors()];
    let now = Memory::now(&rig);
    let mut memory = Memory {
        first: now,
        most: now,
        last: now,
    };
    let mut next_line = 0;
    wait(&length, 1.0, begun, &churn, |made| {
        memory.look(&rig);
        if made >= next_line {
            next_line = made - made % LINE + LINE;
            println!(
                "{} s, {made} entries, KiB {:?}",
                begun.elapsed().as_secs(),
                memory.last
            );
        }
    });
    let made = churn.finish();
    memory.look(&rig);
    let (time, begun) = (begun.elapsed(), Instant::now());
    rig.heals(Duration::from_secs(60));
    report(
        &format!("soak of {} s", time.as_secs()),
        begun.elapsed(),
        &format!(
            "{made} entries; KiB of A and B after warm-up {:?}, most {:?}, last {:?}",
            memory.first, memory.most, memory.last
        ),
    );
    for (first, most) in memory.first.iter().zip(memory.most) {
        assert!(
            most <= first + GROWTH_KIB,
            "memory grew from {first} KiB to {most} KiB"
        );
    }
    assert_eq!([rig.a.descriptors(), rig.b.descriptors()], descriptors);
    rig.ends_well(Duration::from_secs(20));
}
