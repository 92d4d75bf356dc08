//! `cargo xtask failovers`: the long form of the test of the same name.

use std::process::{Command, ExitCode};

use anyhow::{Result, bail};
use netlab::daemon;

use crate::tools::{cargo, ensure_cargo_tool, ensure_tools, run as run_command, target, workspace};

/// Runs it.
///
/// # Errors
/// A connection of this daemon's was lost, or it could not be begun.
pub(crate) fn run(options: &[&str]) -> Result<ExitCode> {
    let rounds: u32 = match options {
        [] => 20,
        ["--rounds", number] => number.parse()?,
        _ => bail!("failovers takes --rounds N"),
    };
    ensure_cargo_tool("nextest")?;
    ensure_tools(&["ip", "nft", "keepalived", "conntrackd"])?;
    let mut build = Command::new(cargo());
    build.args(["build", "--quiet", "--release", "--package", "conntrackd"]);
    run_command(build.current_dir(workspace()))?;
    let mut test = Command::new(cargo());
    test.args(["nextest", "run", "--package", "conntrackd", "--no-capture"])
        .args([
            "--profile",
            "long",
            "-E",
            "test(=failovers_and_failbacks_lose_no_connection)",
        ])
        .env("FAILOVERS", rounds.to_string())
        .env(daemon::OUR_DAEMON, target().join("release/conntrackd"));
    run_command(test.current_dir(workspace()))?;
    Ok(ExitCode::SUCCESS)
}
