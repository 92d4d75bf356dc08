//! `cargo xtask fuzz`: readers of foreign bytes, run on bytes that nobody would send.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use netlab::process::run_within;

use crate::tools::{cargo, ensure_tools, run as run_command, target, workspace};

/// Those of the crate `fuzz`.
const TARGETS: [&str; 12] = [
    "kernel-events",
    "kernel-replies",
    "sync-datagrams",
    "sync-stream",
    "live-traffic",
    "native-stream",
    "control-requests",
    "conntrackd-conf",
    "conntrackd-toml",
    "command-line",
    "save-file",
    "record-files",
];

/// Coverage feedback for libFuzzer, as stable compilers give it.
const FLAGS: &str = "-Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares \
    --cfg fuzzing";

/// Checks that optimised programs leave out, and a short build.
const PROFILE: [(&str, &str); 6] = [
    ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16"),
    ("CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS", "true"),
    ("CARGO_PROFILE_RELEASE_LTO", "off"),
    ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1"),
    ("CARGO_PROFILE_RELEASE_OVERFLOW_CHECKS", "true"),
    ("CARGO_PROFILE_RELEASE_STRIP", "none"),
];

/// The process may take half a GiB; what the program itself holds, and the time that an input takes of the processor,
/// is bounded in the target. This timeout is for an input that never ends: it counts what others do, too.
const BOUNDS: [&str; 3] = ["-timeout=30", "-rss_limit_mb=512", "-max_len=16384"];
const SMOKE_S: u64 = 2;
const DEFAULT_MINUTES: u64 = 10;
/// For the start, and for an input that hangs.
const SLACK: Duration = Duration::from_secs(60);

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Options {
    /// Of each target.
    time_s: u64,
    targets: Vec<&'static str>,
}

impl Options {
    pub(crate) fn parse(words: &[&str]) -> Result<Self> {
        let mut options = Self {
            time_s: DEFAULT_MINUTES * 60,
            targets: Vec::new(),
        };
        let mut words = words.iter();
        while let Some(&word) = words.next() {
            match word {
                "--smoke" => options.time_s = SMOKE_S,
                "--minutes" => {
                    let minutes: u64 = words
                        .next()
                        .and_then(|minutes| minutes.parse().ok())
                        .context("--minutes wants a number")?;
                    options.time_s = minutes.max(1) * 60;
                }
                name => {
                    let known = TARGETS.into_iter().find(|target| *target == name);
                    let unknown =
                        || format!("no target `{name}`; there are {}", TARGETS.join(", "));
                    options.targets.push(known.with_context(unknown)?);
                }
            }
        }
        if options.targets.is_empty() {
            options.targets.extend(TARGETS);
        }
        Ok(options)
    }

    pub(crate) fn smoke() -> Self {
        Self {
            time_s: SMOKE_S,
            targets: TARGETS.to_vec(),
        }
    }
}

/// Runs the targets, as many at once as there are processors.
///
/// # Errors
/// The fuzzer cannot be built or started.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    ensure_tools(&["c++"])?;
    let program = build()?;
    let folder = target().join("fuzz-runs");
    let queue = Mutex::new(options.targets.iter());
    let crashes = Mutex::new(Vec::new());
    let work = || -> Result<()> {
        while let Some(name) = queue.lock().ok().and_then(|mut queue| queue.next()) {
            let report = fuzz(&program, &folder, name, options.time_s)?;
            println!("{report}");
            if let (Some(crash), Ok(mut crashes)) = (report.crash, crashes.lock()) {
                crashes.push((name, crash));
            }
        }
        Ok(())
    };
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|worker| {
            worker
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    })?;
    let crashes = crashes.into_inner().unwrap_or_default();
    for (name, crash) in &crashes {
        println!("\n{name} failed:\n{crash}");
    }
    Ok(if crashes.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Runs all targets for a moment; a crash is an error.
///
/// # Errors
/// A target failed, or the fuzzer cannot be built.
pub(crate) fn smoke() -> Result<()> {
    let code = run(&Options::smoke())?;
    ensure!(code == ExitCode::SUCCESS, "a target failed");
    Ok(())
}

fn build() -> Result<PathBuf> {
    let host = host()?;
    let folder = target().join("fuzz-build");
    run_command(
        Command::new(cargo())
            .args(["build", "--quiet", "--release", "--package", "fuzz"])
            .args(["--features", "libfuzzer", "--bin", "fuzz"])
            // A target of its own, even if it is the host: build scripts must not get the flags.
            .args(["--target", &host])
            .env("CARGO_TARGET_DIR", &folder)
            .env("RUSTFLAGS", FLAGS)
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .envs(PROFILE)
            .current_dir(workspace()),
    )?;
    Ok(folder.join(host).join("release/fuzz"))
}

fn host() -> Result<String> {
    let mut command = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    command.arg("-vV").stdout(Stdio::piped());
    let text = String::from_utf8(command.output().context("rustc -vV")?.stdout)?;
    let line = text.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(line.context("rustc -vV names no host")?.to_owned())
}

/// What a target did.
#[derive(Debug, Default, PartialEq, Eq)]
struct Report {
    name: &'static str,
    executions: u64,
    /// Edges that were reached.
    coverage: u64,
    /// What it said, when it failed.
    crash: Option<String>,
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let verdict = if self.crash.is_some() {
            "FAILED"
        } else {
            "no crash"
        };
        let (name, executions, coverage) = (self.name, self.executions, self.coverage);
        write!(
            f,
            "   {name:<17} {executions:>11} executions, {coverage:>6} edges, {verdict}"
        )
    }
}

fn fuzz(program: &Path, folder: &Path, name: &'static str, time_s: u64) -> Result<Report> {
    let (corpus, failures) = (folder.join("corpus").join(name), folder.join("failures"));
    fs::create_dir_all(&corpus)?;
    fs::create_dir_all(&failures)?;
    let mut command = Command::new(program);
    command
        .arg(format!("-max_total_time={time_s}"))
        .arg("-print_final_stats=1")
        .arg(format!("-artifact_prefix={}/{name}-", failures.display()))
        .args(BOUNDS)
        .arg(&corpus)
        .env("FUZZ_TARGET", name)
        .env("FUZZ_SEEDS", &corpus);
    let finished = run_within(command, "", Duration::from_secs(time_s) + SLACK)?;
    let mut report = read(name, &finished.stderr);
    if !finished.status.success() {
        let lines: Vec<_> = finished.stderr.lines().collect();
        let tail = lines
            .get(lines.len().saturating_sub(40)..)
            .unwrap_or_default();
        report.crash = Some(tail.join("\n"));
    } else if report.executions == 0 || report.coverage == 0 {
        bail!("{name}: ran without feedback:\n{}", finished.stderr);
    }
    Ok(report)
}

/// Reads `#99807 DONE cov: 1655 ft: …` and `stat::number_of_executed_units: 99807`.
fn read(name: &'static str, said: &str) -> Report {
    let mut report = Report {
        name,
        ..Report::default()
    };
    for line in said.lines() {
        if let Some(number) = line.strip_prefix("stat::number_of_executed_units:") {
            report.executions = number.trim().parse().unwrap_or(0);
        }
        let coverage = line.split_once(" cov: ").map(|(_, rest)| rest);
        if let Some(number) = coverage.and_then(|rest| rest.split_whitespace().next()) {
            report.coverage = number.parse().unwrap_or(report.coverage);
        }
    }
    report
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_fuzzer_says_is_understood() {
        let said = "\
#2\tINITED cov: 31 ft: 32 corp: 1/1b exec/s: 0 rss: 30Mb
#99807\tDONE   cov: 1655 ft: 4785 corp: 494/216Kb lim: 4629 exec/s: 14258 rss: 31Mb
stat::number_of_executed_units: 99807
stat::average_exec_per_sec:     14258";
        let report = read("sync-datagrams", said);
        assert_eq!((report.executions, report.coverage), (99_807, 1655));
    }

    #[test]
    fn targets_and_time_are_told() {
        let options = Options::parse(&["--minutes", "3", "save-file"]).unwrap();
        assert_eq!((options.time_s, options.targets), (180, vec!["save-file"]));
        assert_eq!(Options::parse(&["--smoke"]).unwrap(), Options::smoke());
        assert!(Options::parse(&["save-files"]).is_err());
        assert!(Options::parse(&["--minutes"]).is_err());
    }

    #[test]
    fn the_targets_are_those_of_the_crate() {
        let source = include_str!("../../fuzz/src/lib.rs");
        let names: Vec<_> = source
            .lines()
            .filter_map(|line| line.trim().strip_prefix("name: \"")?.strip_suffix("\","))
            .collect();
        assert_eq!(names, TARGETS);
    }
}
