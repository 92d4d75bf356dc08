//! Many seeds on all processors, or one in words.

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use sim::plan::ModeName;
use sim::scenario::{self, Failure, Report, Scenario};
use sim::shrink;

/// So many failures are made smaller; of the rest the seed is told.
const SHRUNK_MAX: usize = 3;

/// What is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    first: u64,
    last: u64,
    limit: Option<Duration>,
    modes: Vec<ModeName>,
    jobs: usize,
    /// One run in words.
    single: bool,
    keep: Option<Vec<usize>>,
    quiet: bool,
    /// One failure is enough.
    only_one: bool,
}

impl Options {
    pub(crate) fn parse(words: &[String]) -> Result<Self, String> {
        let mut options = Self {
            first: 1,
            last: 1000,
            limit: None,
            modes: ModeName::ALL.to_vec(),
            jobs: thread::available_parallelism().map_or(1, usize::from),
            single: false,
            keep: None,
            quiet: false,
            only_one: false,
        };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match word.as_str() {
                "--quiet" => options.quiet = true,
                "--first" => options.only_one = true,
                _ => {
                    let value = words.next().ok_or(format!("what does `{word}' mean?"))?;
                    options
                        .take(word, value)
                        .ok_or(format!("`{word} {value}' cannot be"))?;
                }
            }
        }
        Ok(options)
    }

    fn take(&mut self, word: &str, value: &str) -> Option<()> {
        match word {
            "--seed" => {
                (self.first, self.last) = (value.parse().ok()?, value.parse().ok()?);
                self.single = true;
            }
            "--seeds" => {
                let (first, last) = value.split_once("..").unwrap_or(("1", value));
                (self.first, self.last) = (first.parse().ok()?, last.parse().ok()?);
            }
            "--minutes" => {
                let minutes: f64 = value.parse().ok()?;
                self.limit = Some(Duration::try_from_secs_f64(minutes * 60.0).ok()?);
                self.last = u64::MAX;
            }
            "--mode" => self.modes = vec![ModeName::from_name(value)?],
            "--jobs" => self.jobs = value.parse().ok().filter(|jobs| *jobs > 0)?,
            "--keep" => self.keep = Some(shrink::positions(value)?),
            "--fault" => sim::fault::plant_by_name(value)?,
            _ => return None,
        }
        Some(())
    }
}

/// What all runs of a mode did together.
#[derive(Debug, Default)]
struct Total {
    runs: u64,
    exact: u64,
    inputs: u64,
    agreed_after: Duration,
    agreements: u64,
    failures: Vec<(u64, ModeName, Failure)>,
}

impl Total {
    fn add(&mut self, seed: u64, mode: ModeName, outcome: Result<Report, Failure>) {
        self.runs += 1;
        match outcome {
            Ok(report) => {
                self.exact += u64::from(report.exact);
                self.inputs += report.inputs;
                self.agreements += u64::from(report.agreed_after.is_some());
                self.agreed_after = self
                    .agreed_after
                    .max(report.agreed_after.unwrap_or_default());
            }
            Err(failure) => {
                println!("seed {seed} {}: {failure}", mode.name());
                self.failures.push((seed, mode, failure));
            }
        }
    }
}

/// Does what is asked for.
pub(crate) fn run(options: &Options) -> ExitCode {
    if options.single {
        return tell(options);
    }
    // A panic is told with its seed by whoever catches it.
    std::panic::set_hook(Box::new(|_| {}));
    let began = Instant::now();
    let mut failures = Vec::new();
    let (mut runs, mut inputs) = (0, 0);
    // Each mode gets its part of the time.
    let share = options
        .limit
        .map(|limit| limit / options.modes.len() as u32);
    for mode in &options.modes {
        let started = Instant::now();
        let total = run_mode(options, *mode, share.map(|share| started + share));
        let took = started.elapsed().as_secs_f64();
        println!(
            "{:<8} {} runs, {} failed, {} compared exactly; equal without a command at most {:.1} s after the last fault \
             in {}; {:.0} simulated events in a second",
            mode.name(),
            total.runs,
            total.failures.len(),
            total.exact,
            total.agreed_after.as_secs_f64(),
            total.agreements,
            total.inputs as f64 / took
        );
        runs += total.runs;
        inputs += total.inputs;
        failures.extend(total.failures);
    }
    let took = began.elapsed().as_secs_f64();
    println!(
        "{runs} runs, {} failed, {took:.1} s, {inputs} simulated events, {:.0} in a second",
        failures.len(),
        inputs as f64 / took
    );
    let shrunk = if options.quiet { 0 } else { SHRUNK_MAX };
    for (seed, mode, failure) in failures.iter().take(shrunk) {
        tell_smaller(*seed, *mode, failure);
    }
    ExitCode::from(u8::from(!failures.is_empty()))
}

fn run_mode(options: &Options, mode: ModeName, until: Option<Instant>) -> Total {
    let next = AtomicU64::new(options.first);
    let total = Mutex::new(Total::default());
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed > options.last || until.is_some_and(|until| Instant::now() >= until) {
                return;
            }
            let outcome = shrink::try_out(&Scenario::draw(seed, Some(mode)));
            if let Ok(mut total) = total.lock() {
                total.add(seed, mode, outcome);
                if options.only_one && !total.failures.is_empty() {
                    return;
                }
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..options.jobs {
            scope.spawn(work);
        }
    });
    total.into_inner().unwrap_or_default()
}

fn tell_smaller(seed: u64, mode: ModeName, failure: &Failure) {
    let whole = Scenario::draw(seed, Some(mode));
    let (smaller, kept, failure) = shrink::shrink(&whole, failure);
    println!(
        "\nseed {seed} {}, {} of {} acts:\n{}\n{failure}\nagain: cargo xtask sim --seed {seed} --mode {} --keep {}",
        mode.name(),
        kept.len(),
        whole.schedule.acts.len(),
        shrink::words(&smaller),
        mode.name(),
        shrink::ranges(&kept)
    );
}

/// Repeats one run in words.
fn tell(options: &Options) -> ExitCode {
    let mut failed = false;
    for mode in &options.modes {
        let mut scenario = Scenario::draw(options.first, Some(*mode));
        if let Some(kept) = &options.keep {
            scenario = shrink::keep(&scenario, kept);
        }
        let report = scenario::carry_out(&scenario, !options.quiet);
        let verdict = match &report.failure {
            Some(failure) => failure.to_string(),
            None => "no promise was broken".to_owned(),
        };
        failed |= report.failure.is_some();
        let (sent, lost) = report.datagrams;
        println!(
            "seed {} {}: {sent} datagrams, {lost} lost, {} simulated events, {} entries; {verdict}",
            options.first,
            mode.name(),
            report.inputs,
            report.entries
        );
    }
    ExitCode::from(u8::from(failed))
}
