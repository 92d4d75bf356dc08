//! `cargo xtask test`: everything that must hold.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use netlab::limits::TableLimits;
use netlab::process::run_within;
use netlab::{daemon, skip};

use crate::stage::Stages;
use crate::tools::{
    cargo, ensure_cargo_tool, ensure_tools, is_root, run as run_command, target, workspace,
};
use crate::{book, fuzz, instructions, package, sim};

/// Room for two tables of a million entries in namespaces, and for what else is going on.
const TABLE_ENTRIES: u64 = 4_000_000;
/// What is built as it would be installed, and what instructions are counted of.
const BINARIES: [&str; 4] = ["conntrackd", "conntrack", "top", "micro"];
/// How long the look for the advisory database may take.
const FETCH_LIMIT: Duration = Duration::from_secs(60);

/// Runs all stages, or with a filter only the tests whose name contains it.
///
/// The last line is `N passed, N failed`: tests and documentation tests; a stage that fails counts as one more failure.
///
/// # Errors
/// It could not even be begun.
pub(crate) fn run(filter: Option<&str>) -> Result<ExitCode> {
    let mut stages = Stages::default();
    let mut tally = Tally::default();
    prepare(&mut stages, filter);
    if filter.is_none() {
        lint(&mut stages);
    }
    stages.run("build the binaries (release)", || {
        let mut arguments = vec!["build", "--quiet", "--release"];
        arguments.extend(BINARIES.iter().flat_map(|name| ["--package", name]));
        cargo_step(&arguments, &[])
    });

    let skips = skip_log();
    let limits = is_root().then(|| TableLimits::allow(TABLE_ENTRIES));
    if let Some(Err(error)) = &limits {
        println!("   no room for large tests: {error:#}");
    }
    if let Some(tests) = stages.run_tests("tests", || nextest(filter, &skips), Tally::failed) {
        tally.add(tests);
    }
    drop(limits);
    if filter.is_none() {
        stages.run("simulation, seeds from 1", sim::bounded);
        stages.run("simulation, planted faults", sim::planted_faults);
        stages.run("fuzzing, a moment each", fuzz::smoke);
        stages.run("instructions per event", instructions::check);
        if let Some(tests) = stages.run_tests("documentation tests", doc_tests, Tally::failed) {
            tally.add(tests);
        }
        stages.run("documentation", || {
            cargo_step(
                &["doc", "--workspace", "--no-deps", "--quiet"],
                &[("RUSTDOCFLAGS", "-D warnings")],
            )
        });
        stages.run("the book", || book::run().map(drop));
        stages.run("dependencies: licences, bans, sources", || {
            cargo_step(
                &[
                    "deny",
                    "--log-level",
                    "error",
                    "check",
                    "licenses",
                    "bans",
                    "sources",
                ],
                &[],
            )
        });
        stages.run("dependencies: advisories", advisories);
    }
    Ok(conclude(&stages, tally, &skips))
}

fn prepare(stages: &mut Stages, filter: Option<&str>) {
    stages.run("tools", || {
        ensure_cargo_tool("nextest")?;
        if filter.is_none() {
            ensure_cargo_tool("deny")?;
        }
        if is_root() {
            ensure_tools(&[
                "ip",
                "nft",
                "ping",
                "conntrackd",
                "conntrack",
                "keepalived",
                "tcpdump",
                "groff",
                "python3",
                "zsh",
                "gdb",
                "setpriv",
                "systemd-analyze",
                "fish",
                "tmux",
                "dpkg-deb",
                "dpkg-shlibdeps",
                "gzip",
                "rpmbuild",
                "lintian",
                "mmdebstrap",
                "logrotate",
                "promtool",
                "prometheus",
            ])
        } else {
            println!("   not root: tests in network namespaces will be skipped");
            Ok(())
        }
    });
    if is_root() {
        stages.run("a clean root for the packages", || {
            package::root::ensure().map(drop)
        });
    }
}

fn lint(stages: &mut Stages) {
    stages.run("format", || cargo_step(&["fmt", "--all", "--check"], &[]));
    stages.run("lints", || {
        cargo_step(
            &[
                "clippy",
                "--workspace",
                "--all-targets",
                "--quiet",
                "--",
                "-D",
                "warnings",
            ],
            &[],
        )
    });
}

fn cargo_step(arguments: &[&str], environment: &[(&str, &str)]) -> Result<()> {
    let mut command = Command::new(cargo());
    command.args(arguments).envs(environment.iter().copied());
    run_command(command.current_dir(workspace()))
}

/// How many tests held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    passed: usize,
    failed: usize,
}

impl Tally {
    fn failed(&self) -> usize {
        self.failed
    }

    fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

fn nextest(filter: Option<&str>, skips: &Path) -> Result<Tally> {
    let mut command = Command::new(cargo());
    command
        .args(["nextest", "run", "--workspace", "--no-fail-fast"])
        .args(["--status-level", "slow", "--final-status-level", "fail"])
        .args(filter)
        .env(daemon::OUR_DAEMON, target().join("release/conntrackd"))
        .env("CONNTRACK_BIN", target().join("release/conntrack"))
        .env(skip::SKIP_LOG, skips)
        .current_dir(workspace())
        .stderr(Stdio::piped());
    let mut tally = None;
    let status = each_line(&mut command, true, |line| {
        tally = nextest_summary(line).or(tally);
    })?;
    match tally {
        Some(tally) => {
            let consistent = status.success() == (tally.failed == 0);
            ensure!(consistent, "nextest: {status}, but {tally:?}");
            Ok(tally)
        }
        None => bail!("nextest: {status}"),
    }
}

/// Reads `Summary [ 1.2s] 12 tests run: 10 passed (1 slow), 1 failed, 1 timed out, 3 skipped`.
///
/// Those it calls skipped were not asked for. All that ran and did not pass have failed, whatever it calls them.
fn nextest_summary(line: &str) -> Option<Tally> {
    let (_, text) = line.trim_start().strip_prefix("Summary")?.split_once(']')?;
    let (run, results) = text.split_once(" run: ")?;
    // `9/12 tests` when it gave up early.
    let run = run.split_whitespace().next()?.split('/').next_back()?;
    let run: usize = run.parse().ok()?;
    let passed = results
        .split(", ")
        .find_map(|part| part.trim().split_once(" passed"))
        .map_or(Some(0), |(count, _)| count.parse().ok())?;
    Some(Tally {
        passed,
        failed: run.checked_sub(passed)?,
    })
}

fn doc_tests() -> Result<Tally> {
    let mut command = Command::new(cargo());
    command
        .args(["test", "--doc", "--workspace", "--no-fail-fast", "--quiet"])
        .current_dir(workspace())
        .stdout(Stdio::piped());
    let mut tally = Tally::default();
    let status = each_line(&mut command, false, |line| {
        if let Some(one) = libtest_summary(line) {
            tally.add(one);
        }
    })?;
    ensure!(
        status.success() || tally.failed > 0,
        "cargo test --doc: {status}"
    );
    Ok(tally)
}

/// Reads `test result: ok. 3 passed; 0 failed; 1 ignored; ...`.
fn libtest_summary(line: &str) -> Option<Tally> {
    let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let count = |what: &str| -> Option<usize> {
        let mut parts = counts.split("; ");
        parts
            .find_map(|part| part.strip_suffix(what))?
            .trim()
            .parse()
            .ok()
    };
    Some(Tally {
        passed: count("passed")?,
        failed: count("failed")?,
    })
}

/// Runs a command and shows one of its outputs while looking at it.
fn each_line(
    command: &mut Command,
    stderr: bool,
    mut look: impl FnMut(&str),
) -> Result<std::process::ExitStatus> {
    let mut child = command
        .spawn()
        .with_context(|| format!("cannot start {command:?}"))?;
    let output: Box<dyn std::io::Read> = if stderr {
        Box::new(child.stderr.take().context("no stderr")?)
    } else {
        Box::new(child.stdout.take().context("no stdout")?)
    };
    for line in BufReader::new(output).split(b'\n') {
        let line = line?;
        let line = String::from_utf8_lossy(&line);
        look(&line);
        println!("{line}");
    }
    Ok(child.wait()?)
}

/// The database of advisories is a download of its own; without it the rest still holds.
fn advisories() -> Result<()> {
    let mut fetch = Command::new(cargo());
    fetch
        .args(["deny", "--log-level", "off", "fetch", "db"])
        .current_dir(workspace());
    // Nobody can answer a question here.
    fetch.env("GIT_TERMINAL_PROMPT", "0");
    let fetched = run_within(fetch, "", FETCH_LIMIT).is_ok_and(|fetched| fetched.status.success());
    if !fetched {
        println!("   NOT CHECKED: the advisory database cannot be reached from here");
        return Ok(());
    }
    cargo_step(
        &["deny", "--log-level", "error", "check", "advisories"],
        &[],
    )
}

fn skip_log() -> PathBuf {
    let path = std::env::temp_dir().join(format!("xtask-skips-{}", std::process::id()));
    // Left by an earlier process of the same id, if at all.
    let _ = std::fs::remove_file(&path);
    path
}

fn conclude(stages: &Stages, mut tally: Tally, skips: &Path) -> ExitCode {
    let skipped = std::fs::read_to_string(skips).unwrap_or_default();
    // It may not exist.
    let _ = std::fs::remove_file(skips);
    if !skipped.is_empty() {
        println!("\n== skipped (counted as passed)");
        skipped.lines().for_each(|line| println!("   {line}"));
    }
    stages.summarise();
    tally.failed += stages.failed();
    println!("{} passed, {} failed", tally.passed, tally.failed);
    if tally.failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(passed: usize, failed: usize) -> Option<Tally> {
        Some(Tally { passed, failed })
    }

    #[test]
    fn summaries_of_nextest_are_understood() {
        for (line, expected) in [
            (
                "     Summary [   0.003s] 8 tests run: 8 passed, 0 skipped",
                tally(8, 0),
            ),
            (
                "     Summary [   1.2s] 12 tests run: 10 passed (1 slow, 1 flaky), 1 failed, 1 timed out, 3 skipped",
                tally(10, 2),
            ),
            (
                "     Summary [   1.2s] 1 test run: 0 passed, 1 failed, 0 skipped",
                tally(0, 1),
            ),
            (
                "     Summary [   1.2s] 3/9 tests run: 2 passed, 1 failed, 0 skipped",
                tally(2, 7),
            ),
            ("        PASS [   0.003s] netlab listing::tests::x", None),
            ("Summary", None),
        ] {
            assert_eq!(nextest_summary(line), expected, "{line}");
        }
    }

    #[test]
    fn summaries_of_libtest_are_understood() {
        let line = "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.1s";
        assert_eq!(libtest_summary(line), tally(3, 0));
        let line = "test result: FAILED. 3 passed; 2 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.1s";
        assert_eq!(libtest_summary(line), tally(3, 2));
        assert_eq!(libtest_summary("test listing::tests::x ... ok"), None);
    }

    #[test]
    fn a_failure_is_counted_once_whether_test_or_stage() {
        let mut stages = Stages::default();
        stages.run("good", || Ok(()));
        stages.run("bad", || -> Result<()> { bail!("broken") });
        let tests = Tally {
            passed: 5,
            failed: 2,
        };
        stages.run_tests("tests", || Ok(tests), Tally::failed);
        assert_eq!(stages.failed(), 1);
    }
}
