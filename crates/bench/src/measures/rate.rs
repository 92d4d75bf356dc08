//! How many flows a second a node can follow without losing any, with a part of a core.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::{BOTH, Scale};
use crate::book::{Book, Whose};
use crate::pair::Pair;
use crate::{load, node};

/// Bandwidth groups, of the first and of the second kind.
const GROUPS: [&str; 2] = ["/sys/fs/cgroup/cpu", "/sys/fs/cgroup"];
const PERIOD_US: u32 = 10_000;

/// Where the ladder begins, and where it ends: more the generator cannot do.
const LOWEST: u32 = 250;
const BEGIN: u32 = 16_000;
const HIGHEST: u32 = 96_000;

/// A node and its share of a core in percent.
type Share = Option<(usize, u32)>;

/// The active node on a quarter of a core.
pub(crate) fn quarter(book: &mut Book, scale: Scale, _: &[&str]) {
    each(book, "quarter", scale, Some((0, 25)));
}

/// The standby on a tenth.
pub(crate) fn tenth(book: &mut Book, scale: Scale, _: &[&str]) {
    each(book, "tenth", scale, Some((1, 10)));
}

/// Generator and both nodes share the machine.
pub(crate) fn free(book: &mut Book, scale: Scale, _: &[&str]) {
    each(book, "free", scale, None);
}

fn each(book: &mut Book, measure: &str, scale: Scale, share: Share) {
    let name = (measure, "rate");
    book.each(measure, &BOTH, |book, whose| {
        let lossless = |rate| is_lossless(whose, rate, scale.seconds, share);
        let highest = match book.last(name, whose) {
            // A tenth up or down from what an earlier round has found.
            Some(known) => nearby(known as u32, lossless)?,
            None => ladder(lossless)?,
        };
        book.note(name, whose, f64::from(highest));
        Ok(())
    });
}

/// Doubling (or halving), then bisection to a tenth.
fn ladder(mut lossless: impl FnMut(u32) -> Result<bool>) -> Result<u32> {
    let mut low = BEGIN;
    while !lossless(low)? {
        low /= 2;
        ensure!(
            low >= LOWEST,
            "something is lost even at {} flows/s",
            low * 2
        );
    }
    let mut high = (low * 2).min(HIGHEST);
    // After halving the next higher rate is known to be too much.
    if low == BEGIN {
        while lossless(high)? {
            low = high;
            if low == HIGHEST {
                return Ok(low);
            }
            high = (high * 2).min(HIGHEST);
        }
    }
    while high - low > low / 10 {
        let middle = low.midpoint(high);
        match lossless(middle)? {
            true => low = middle,
            false => high = middle,
        }
    }
    Ok(low)
}

fn nearby(known: u32, mut lossless: impl FnMut(u32) -> Result<bool>) -> Result<u32> {
    let mut rate = known;
    if lossless(rate)? {
        loop {
            let next = (rate + rate / 10).min(HIGHEST);
            if next == rate || !lossless(next)? {
                return Ok(rate);
            }
            rate = next;
        }
    }
    loop {
        rate -= rate / 10;
        ensure!(rate >= LOWEST, "something is lost even at {rate} flows/s");
        if lossless(rate)? {
            return Ok(rate);
        }
    }
}

fn is_lossless(whose: Whose, rate: u32, seconds: u32, share: Share) -> Result<bool> {
    let pair = Pair::start(whose)?;
    let pids = pair.pids()?;
    let group = share
        .map(|(place, percent)| Group::of(pids[place], percent))
        .transpose()?;
    let done = load::run(pair.a.namespace(), rate, seconds)?;
    let in_time = netlab::process::wait_until(Duration::from_secs(2), || {
        node::held(&pair.b, "external").is_ok_and(|held| held == u64::from(done.left))
    });
    drop(group);
    let lost = node::lost_events(pair.a.namespace())? + node::lost_datagrams(pair.b.namespace())?;
    let verdict =
        in_time && done.achieved >= 0.97 && lost == 0 && pair.difference(Duration::ZERO)?.is_none();
    eprintln!(
        "        {rate} flows/s: {}",
        if verdict { "lossless" } else { "too many" }
    );
    Ok(verdict)
}

/// A share of a core for one process.
struct Group {
    path: PathBuf,
    above: PathBuf,
}

impl Group {
    fn of(pid: u32, percent: u32) -> Result<Self> {
        // Both start in a real-time class, to which the bandwidth of a group does not apply.
        let mut chrt = Command::new("chrt");
        chrt.args(["--all-tasks", "--other", "--pid", "0", &pid.to_string()]);
        netlab::process::run_within(chrt, "", Duration::from_secs(5))?.success()?;
        let quota = PERIOD_US * percent / 100;
        let [first, second] = GROUPS.map(PathBuf::from);
        let is_first = first.join("cpu.cfs_quota_us").exists() || first.is_dir();
        let above = if is_first { first } else { second };
        let path = above.join(format!("conntrackd-bench-{pid}"));
        fs::create_dir(&path)
            .with_context(|| format!("no bandwidth groups in {}", above.display()))?;
        let group = Self { path, above };
        if is_first {
            group.write("cpu.cfs_period_us", &PERIOD_US.to_string())?;
            group.write("cpu.cfs_quota_us", &quota.to_string())?;
        } else {
            group.write("cpu.max", &format!("{quota} {PERIOD_US}"))?;
        }
        group.write("cgroup.procs", &pid.to_string())?;
        Ok(group)
    }

    fn write(&self, file: &str, value: &str) -> Result<()> {
        let path = self.path.join(file);
        fs::write(&path, value).with_context(|| path.display().to_string())
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Its process goes back to the group above, so that the empty group can be removed.
        if let Ok(pids) = fs::read_to_string(self.path.join("cgroup.procs")) {
            for pid in pids.lines() {
                let _ = fs::write(self.above.join("cgroup.procs"), pid);
            }
        }
        let _ = fs::remove_dir(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_rate_is_found_to_a_tenth() {
        for limit in [300, 3000, 15_999, 16_000, 25_700, 59_000, 90_000] {
            let found = ladder(|rate| Ok(rate <= limit)).unwrap();
            assert!(
                found <= limit && found + found / 9 >= limit,
                "{found} of {limit}"
            );
            for known in [limit / 2, limit - limit / 20, limit + limit / 4] {
                let found = nearby(known, |rate| Ok(rate <= limit)).unwrap();
                assert!(
                    found <= limit && found + found / 8 >= limit,
                    "{found} of {limit} from {known}"
                );
            }
        }
        assert_eq!(ladder(|_| Ok(true)).unwrap(), HIGHEST);
        assert!(ladder(|_| Ok(false)).is_err());
        assert!(nearby(1000, |_| Ok(false)).is_err());
    }
}
