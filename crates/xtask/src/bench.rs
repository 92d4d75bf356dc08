//! `cargo xtask bench`: builds what is measured and what measures, and starts it.

use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};

use crate::tools::{cargo, ensure_tools, is_root, run as run_command, target, workspace};

/// Measures; what `arguments` says is for the program that does it.
///
/// # Errors
/// No root, something cannot be built or installed.
pub(crate) fn run(arguments: &[&str]) -> Result<ExitCode> {
    ensure!(is_root(), "measuring needs root, for network namespaces");
    ensure_tools(&["ip", "nft", "conntrackd"])?;
    run_command(Command::new(cargo()).current_dir(workspace()).args([
        "build",
        "--release",
        "--locked",
        "--package=conntrackd",
        "--package=bench",
    ]))?;
    let release = target().join("release");
    let status = Command::new(release.join("bench"))
        .current_dir(workspace())
        .args(arguments)
        .env("CONNTRACKD_BIN", release.join("conntrackd"))
        .status()
        .context("cannot start the measures")?;
    Ok(match status.success() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}
