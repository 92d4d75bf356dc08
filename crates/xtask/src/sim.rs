//! `cargo xtask sim`: the simulator, built for speed and with every check.

use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};

use crate::tools::{cargo, run as run_command, target, workspace};

/// The profile of the workspace that the simulator is built with.
const PROFILE: &str = "sim";
/// Deliberate faults; only a simulator that is to plant one has them.
const FAULTS: &str = "planted-faults";
/// What `cargo xtask test` runs, in each mode.
const SEEDS: &str = "1..1500";

/// Runs the simulator; what `arguments` says is for it.
///
/// # Errors
/// It cannot be built or started.
pub(crate) fn run(arguments: &[&str]) -> Result<ExitCode> {
    let mut build = Command::new(cargo());
    build
        .args(["build", "--quiet", "--package", "sim", "--profile", PROFILE])
        .current_dir(workspace());
    if arguments.contains(&"--fault") {
        build.args(["--features", FAULTS]);
    }
    run_command(&mut build)?;
    let status = Command::new(target().join(PROFILE).join("sim"))
        .current_dir(workspace())
        .args(arguments)
        .status()
        .context("cannot start the simulator")?;
    Ok(match status.code() {
        Some(0) => ExitCode::SUCCESS,
        code => ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)),
    })
}

/// A bounded set of seeds in every mode.
///
/// # Errors
/// A promise was broken, or the simulator cannot be built.
pub(crate) fn bounded() -> Result<()> {
    let code = run(&["--seeds", SEEDS])?;
    ensure!(code == ExitCode::SUCCESS, "a promise was broken");
    Ok(())
}

/// Faults that are planted must be found.
///
/// # Errors
/// One was not, or the tests cannot be built.
pub(crate) fn planted_faults() -> Result<()> {
    run_command(
        Command::new(cargo())
            .args(["nextest", "run", "--package", "sim", "--test", "faults"])
            .args(["--cargo-profile", PROFILE, "--features", FAULTS])
            .args(["--status-level", "fail", "--final-status-level", "fail"])
            .current_dir(workspace()),
    )
}
