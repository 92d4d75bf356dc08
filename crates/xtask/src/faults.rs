//! `cargo xtask faults` and `cargo xtask soak`: real faults at full length, and churn for a long time.

use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail, ensure};
use netlab::limits::TableLimits;

use crate::tools::{
    cargo, ensure_cargo_tool, ensure_tools, is_root, run as run_command, target, workspace,
};

/// Room for the tables of both nodes.
const TABLE_ENTRIES: u64 = 4_000_000;

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Options {
    full: bool,
    filter: Option<String>,
}

impl Options {
    pub(crate) fn parse(words: &[&str]) -> Result<Self> {
        let mut options = Self {
            full: false,
            filter: None,
        };
        for &word in words {
            match word {
                "--full" => options.full = true,
                filter if !filter.starts_with('-') => options.filter = Some(filter.to_owned()),
                other => bail!("faults: no option `{other}`"),
            }
        }
        Ok(options)
    }
}

/// Runs the faults one after the other, and prints how long each took to heal.
///
/// # Errors
/// No root, or something cannot be built or installed.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    prepare()?;
    ensure_cargo_tool("nextest")?;
    let table = target().join("faults.txt");
    // Of an earlier run, if there was one.
    let _ = std::fs::remove_file(&table);
    let mut command = Command::new(cargo());
    command
        .args([
            "nextest",
            "run",
            "--package",
            "conntrackd",
            "--test",
            "faults",
        ])
        .args(["--no-capture", "--no-fail-fast"])
        .args(&options.filter)
        .env("FAULTS_TABLE", &table);
    if options.full {
        // Strangers at full speed, which take as long as they are given.
        command.args(["--test", "native_security"]);
        command.env("FAULTS_FULL", "1");
    }
    let code = start(&mut command)?;
    let measured = std::fs::read_to_string(&table).unwrap_or_default();
    println!("\n== time to heal\n{measured}");
    Ok(code)
}

/// How long a soak takes: until both are reached.
#[derive(Debug, PartialEq)]
struct SoakLength {
    minutes: f64,
    flows: u64,
}

impl SoakLength {
    fn parse(words: &[&str]) -> Result<Self> {
        let (mut minutes, mut flows) = (None, None);
        for pair in words.chunks(2) {
            match pair {
                ["--minutes", text] => {
                    minutes = Some(text.parse().context("--minutes wants a number")?);
                }
                ["--flows", text] => {
                    flows = Some(text.parse().context("--flows wants a whole number")?);
                }
                _ => bail!("soak [--minutes M] [--flows N]"),
            }
        }
        let default = if flows.is_some() { 0.1 } else { 10.0 };
        let length = Self {
            minutes: minutes.unwrap_or(default),
            flows: flows.unwrap_or(0),
        };
        ensure!(
            (0.1..=10_000.0).contains(&length.minutes),
            "--minutes wants a number from 0.1 on"
        );
        Ok(length)
    }
}

/// Runs churn for so many minutes, and until so many flows have come and gone.
///
/// # Errors
/// As [`run`]; or a number is none.
pub(crate) fn soak(words: &[&str]) -> Result<ExitCode> {
    let length = SoakLength::parse(words)?;
    prepare()?;
    start(
        Command::new(cargo())
            .args([
                "test",
                "--release",
                "--package",
                "conntrackd",
                "--test",
                "faults",
                "--",
            ])
            .args(["soak::", "--nocapture"])
            .env("FAULTS_SOAK_MINUTES", length.minutes.to_string())
            .env("FAULTS_SOAK_FLOWS", length.flows.to_string()),
    )
}

fn prepare() -> Result<()> {
    ensure!(is_root(), "network namespaces need root");
    ensure_tools(&["ip", "nft", "conntrackd"])?;
    run_command(
        Command::new(cargo())
            .args(["build", "--release", "--locked", "--package=conntrackd"])
            .current_dir(workspace()),
    )
}

fn start(command: &mut Command) -> Result<ExitCode> {
    let limits = TableLimits::raise(TABLE_ENTRIES)?;
    let status = command
        .current_dir(workspace())
        .env(
            netlab::daemon::OUR_DAEMON,
            target().join("release/conntrackd"),
        )
        .status()
        .context("cannot start cargo")?;
    drop(limits);
    Ok(match status.success() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn length_and_filter_are_told() {
        let options = Options::parse(&["--full", "wire"]).unwrap();
        assert_eq!(
            (options.full, options.filter.as_deref()),
            (true, Some("wire"))
        );
        assert!(Options::parse(&["--long"]).is_err());
    }

    #[test]
    fn a_soak_ends_with_its_minutes_and_its_flows() {
        let parsed = |words: &[&str]| SoakLength::parse(words).map(|it| (it.minutes, it.flows));
        assert_eq!(parsed(&[]).unwrap(), (10.0, 0));
        assert_eq!(parsed(&["--flows", "20000000"]).unwrap(), (0.1, 20_000_000));
        let both = ["--minutes", "5", "--flows", "7"];
        assert_eq!(parsed(&both).unwrap(), (5.0, 7));
        assert!(parsed(&["--flows"]).is_err());
        assert!(parsed(&["--minutes", "0"]).is_err());
    }
}
