//! How many flows a second a node can follow without losing any, with a part of a core.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use netlab::{Daemon, Lab};

use super::{BOTH, Scale};
use crate::book::{Book, Whose};
use crate::feed::{Source, Speech};
use crate::pair::{self, Pair, Setup};
use crate::{equal, load, node};

/// Bandwidth groups, of the first and of the second kind.
const GROUPS: [&str; 2] = ["/sys/fs/cgroup/cpu", "/sys/fs/cgroup"];
const PERIOD_US: u32 = 10_000;

/// Where a ladder begins and ends, and how fine its steps are.
struct Ladder {
    begin: u32,
    /// More the load cannot do.
    highest: u32,
    /// The result is right to one part of so many.
    parts: u32,
}

/// Less is not tried.
const LOWEST: u32 = 250;

/// Real kernel entries.
const KERNEL: Ladder = Ladder {
    begin: 16_000,
    highest: 96_000,
    parts: 10,
};

/// What was encoded before.
const SOURCE: Ladder = Ladder {
    begin: 32_000,
    highest: 512_000,
    parts: 20,
};

/// So much longer than others a load of a standby lasts: its buffer of 16 MiB holds what comes within half a second, and
/// a rate that only fills it is not one that it can follow.
const LASTING_S: u32 = 5;

/// The active node on a quarter of a core.
pub(crate) fn quarter(book: &mut Book, scale: Scale, _: &[&str]) {
    each(book, "quarter", &KERNEL, |whose, rate| {
        pair_is_lossless(whose, rate, scale.seconds, Some(25))
    });
}

/// The standby on a tenth.
pub(crate) fn tenth(book: &mut Book, scale: Scale, _: &[&str]) {
    each(book, "tenth", &SOURCE, |whose, rate| {
        standby_is_lossless(whose, rate, scale.seconds + LASTING_S, 10)
    });
}

/// Generator and both nodes share the machine.
pub(crate) fn free(book: &mut Book, scale: Scale, _: &[&str]) {
    each(book, "free", &KERNEL, |whose, rate| {
        pair_is_lossless(whose, rate, scale.seconds, None)
    });
}

fn each(
    book: &mut Book,
    measure: &str,
    ladder: &Ladder,
    is_lossless: impl Fn(Whose, u32) -> Result<bool>,
) {
    let name = (measure, "rate");
    book.each(measure, &BOTH, |book, whose| {
        let lossless = |rate| {
            let verdict = is_lossless(whose, rate)?;
            let word = if verdict { "lossless" } else { "too many" };
            eprintln!("        {rate} flows/s: {word}");
            Ok(verdict)
        };
        let highest = match book.last(name, whose) {
            // A step up or down from what an earlier round has found.
            Some(known) => ladder.nearby(known as u32, lossless)?,
            None => ladder.climb(lossless)?,
        };
        book.note(name, whose, f64::from(highest));
        Ok(())
    });
}

impl Ladder {
    /// Doubling (or halving), then bisection.
    fn climb(&self, mut lossless: impl FnMut(u32) -> Result<bool>) -> Result<u32> {
        let mut low = self.begin;
        while !lossless(low)? {
            low /= 2;
            ensure!(
                low >= LOWEST,
                "something is lost even at {} flows/s",
                low * 2
            );
        }
        let mut high = (low * 2).min(self.highest);
        // After halving the next higher rate is known to be too much.
        if low == self.begin {
            while lossless(high)? {
                low = high;
                if low == self.highest {
                    return Ok(low);
                }
                high = (high * 2).min(self.highest);
            }
        }
        while high - low > low / self.parts {
            let middle = low.midpoint(high);
            match lossless(middle)? {
                true => low = middle,
                false => high = middle,
            }
        }
        Ok(low)
    }

    fn nearby(&self, known: u32, mut lossless: impl FnMut(u32) -> Result<bool>) -> Result<u32> {
        let mut rate = known;
        if lossless(rate)? {
            loop {
                let next = (rate + rate / self.parts).min(self.highest);
                if next == rate || !lossless(next)? {
                    return Ok(rate);
                }
                rate = next;
            }
        }
        loop {
            rate -= rate / self.parts;
            ensure!(rate >= LOWEST, "something is lost even at {rate} flows/s");
            if lossless(rate)? {
                return Ok(rate);
            }
        }
    }
}

/// How long the standby may take to have all of a load when it is over.
const BACKLOG: Duration = Duration::from_secs(2);

/// The least part of a rate that has to be reached for it to count.
const ACHIEVED: f64 = 0.97;

/// Both nodes with real kernel entries; the active one with so many hundredths of a core.
fn pair_is_lossless(whose: Whose, rate: u32, seconds: u32, percent: Option<u32>) -> Result<bool> {
    let pair = Pair::start(whose)?;
    let pids = pair.pids()?;
    let group = percent
        .map(|percent| Group::of(pids[0], percent))
        .transpose()?;
    let done = load::run(pair.a.namespace(), rate, seconds)?;
    let in_time = holds(&pair.b, done.left);
    drop(group);
    let lost = node::lost_events(pair.a.namespace())? + node::lost_datagrams(pair.b.namespace())?;
    Ok(in_time
        && done.achieved >= ACHIEVED
        && lost == 0
        && pair.difference(Duration::ZERO)?.is_none())
}

/// A standby alone, with so many hundredths of a core, which is told what an active node would tell.
fn standby_is_lossless(whose: Whose, rate: u32, seconds: u32, percent: u32) -> Result<bool> {
    let mut speech = Speech::of_load(rate, seconds);
    let mut lab = Lab::new()?;
    let [a, b] = pair::nodes(&mut lab)?;
    let [_, program] = pair::programs(whose);
    let standby = Daemon::start(program, &lab, &b, &pair::config(2, Setup::Ftfw))?;
    let mut source = Source::open(&a)?;
    source.greet()?;
    let group = Group::of(standby.pid().context("the standby does not run")?, percent)?;
    let done = source.feed(&mut speech)?;
    let in_time = holds(&standby, done.left);
    drop(group);
    ensure!(
        done.achieved >= ACHIEVED,
        "{rate} flows/s: the source reached only {:.2} of it",
        done.achieved
    );
    Ok(in_time
        && node::lost_datagrams(&b)? == 0
        && !source.was_asked_again()?
        && equal::difference(&speech.left(), &standby.client(["-e"])?).is_none())
}

fn holds(standby: &Daemon, count: u32) -> bool {
    netlab::process::wait_until(BACKLOG, || {
        node::held(standby, "external").is_ok_and(|held| held == u64::from(count))
    })
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
    fn the_highest_rate_is_found_to_a_step() {
        for (ladder, limits) in [
            (&KERNEL, [300, 3000, 15_999, 16_000, 25_700, 90_000]),
            (&SOURCE, [300, 30_000, 32_000, 99_000, 256_001, 510_000]),
        ] {
            for limit in limits {
                let near_enough =
                    |found: u32| found <= limit && found + found / (ladder.parts - 2) >= limit;
                let found = ladder.climb(|rate| Ok(rate <= limit)).unwrap();
                assert!(near_enough(found), "{found} of {limit}");
                for known in [limit / 2, limit - limit / 20, limit + limit / 4] {
                    let found = ladder.nearby(known, |rate| Ok(rate <= limit)).unwrap();
                    assert!(near_enough(found), "{found} of {limit} from {known}");
                }
            }
            assert_eq!(ladder.climb(|_| Ok(true)).unwrap(), ladder.highest);
            assert!(ladder.climb(|_| Ok(false)).is_err());
            assert!(ladder.nearby(1000, |_| Ok(false)).is_err());
        }
    }
}
