//! Flows at a rate: processor time of both nodes, and how many a small node can follow without losing any.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};

use super::Scale;
use crate::book::{Book, Whose};
use crate::pair::Pair;
use crate::{cpu, floor, load};

const RATES: [u32; 2] = [10_000, 40_000];

/// Bandwidth group of one node.
const GROUPS: &str = "/sys/fs/cgroup/cpu";
const PERIOD_US: u32 = 10_000;

/// Processor time of both nodes, per flow.
pub(crate) fn cpu(book: &mut Book, scale: Scale) -> Result<()> {
    for rate in RATES {
        let thousands = rate / 1000;
        let least = floor::receiver(rate, scale.seconds)?;
        book.note(
            &format!("cpu_active_{thousands}k"),
            Whose::Floor,
            micros(least),
        );
        for whose in [Whose::Original, Whose::Ours, Whose::Mixed] {
            let [active, standby] = one_load(book, whose, rate, scale.seconds)?;
            book.note(&format!("cpu_active_{thousands}k"), whose, micros(active));
            if whose != Whose::Mixed {
                book.note(&format!("cpu_standby_{thousands}k"), whose, micros(standby));
            }
        }
    }
    book.note("cpu_datagram", Whose::Floor, micros(floor::datagram()?));
    Ok(())
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

fn one_load(book: &mut Book, whose: Whose, rate: u32, seconds: u32) -> Result<[Duration; 2]> {
    let pair = Pair::start(whose)?;
    let pids = [&pair.a, &pair.b].map(|daemon| daemon.pid().unwrap_or_default());
    let before = [cpu::of_process(pids[0])?, cpu::of_process(pids[1])?];
    let done = load::run(pair.a.namespace(), rate, seconds)?;
    pair.until_b_has(done.left as usize)?;
    let spent = [
        cpu::of_process(pids[0])? - before[0],
        cpu::of_process(pids[1])? - before[1],
    ];
    let name = format!("{rate} flows/s");
    if done.achieved < 0.97 {
        book.problem(format!(
            "{name}: only {:.2} of the rate was reached",
            done.achieved
        ));
    }
    check(book, whose, &name, &pair)?;
    Ok(spent.map(|time| time / done.flows))
}

fn check(book: &mut Book, whose: Whose, name: &str, pair: &Pair) -> Result<()> {
    if let Some(difference) = pair.difference()? {
        book.problem(format!("{whose:?}, {name}: {difference}"));
    }
    Ok(())
}

/// Highest rate that loses nothing, with a quarter of a core for the active node and a tenth for the standby.
pub(crate) fn quarter(book: &mut Book, scale: Scale) -> Result<()> {
    for (name, node, share) in [
        ("rate_active_quarter", 0, 25),
        ("rate_standby_tenth", 1, 10),
    ] {
        for whose in [Whose::Original, Whose::Ours] {
            let mut low = 1000;
            let mut high = 2000;
            while high <= 96_000 && is_lossless(whose, high, scale.seconds, node, share)? {
                (low, high) = (high, high * 2);
            }
            while high - low > low / 10 {
                let middle = low.midpoint(high);
                match is_lossless(whose, middle, scale.seconds, node, share)? {
                    true => low = middle,
                    false => high = middle,
                }
            }
            book.note(name, whose, f64::from(low));
        }
    }
    Ok(())
}

fn is_lossless(whose: Whose, rate: u32, seconds: u32, node: usize, share: u32) -> Result<bool> {
    let pair = Pair::start(whose)?;
    let limited = [&pair.a, &pair.b][node];
    let group = Group::of(limited.pid().unwrap_or_default(), share)?;
    let done = load::run(pair.a.namespace(), rate, seconds)?;
    let in_time = netlab::process::wait_until(Duration::from_secs(2), || {
        pair.b
            .counter("cache external", "current active connections")
            .is_ok_and(|held| held == u64::from(done.left))
    });
    drop(group);
    Ok(in_time && Pair::lost_events(&pair.a)? == 0 && pair.difference()?.is_none())
}

/// A share of a core for one process.
struct Group(PathBuf);

impl Group {
    fn of(pid: u32, percent: u32) -> Result<Self> {
        let path = PathBuf::from(format!("{GROUPS}/conntrackd-bench-{pid}"));
        fs::create_dir(&path).with_context(|| format!("no bandwidth groups in {GROUPS}"))?;
        let group = Self(path);
        group.write("cpu.cfs_period_us", PERIOD_US)?;
        group.write("cpu.cfs_quota_us", PERIOD_US * percent / 100)?;
        group.write("cgroup.procs", pid)?;
        Ok(group)
    }

    fn write(&self, file: &str, value: u32) -> Result<()> {
        let path = self.0.join(file);
        fs::write(&path, value.to_string()).with_context(|| path.display().to_string())
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Its process goes back to the group above, so that the empty group can be removed.
        if let Ok(pids) = fs::read_to_string(self.0.join("cgroup.procs")) {
            for pid in pids.lines() {
                let _ = fs::write(format!("{GROUPS}/cgroup.procs"), pid);
            }
        }
        let _ = fs::remove_dir(&self.0);
    }
}
