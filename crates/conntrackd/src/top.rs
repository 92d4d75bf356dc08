//! `conntrackd top`: a program of its own, which is installed beside this one.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

const PROGRAM: &str = "conntrackd-top";

/// Becomes the program. Returns only if that cannot be done, with the reason.
pub(crate) fn run(socket: &Path, words: &[OsString]) -> String {
    let program = beside().unwrap_or_else(|| PROGRAM.into());
    let error = Command::new(&program)
        .arg("--socket")
        .arg(socket)
        .args(words)
        .exec();
    format!(
        "can't run {}: {error}; it belongs beside conntrackd",
        program.display()
    )
}

fn beside() -> Option<PathBuf> {
    let program = std::env::current_exe().ok()?.with_file_name(PROGRAM);
    program.is_file().then_some(program)
}
