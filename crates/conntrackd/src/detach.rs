//! `-d`: the daemon goes to the background once it has started.
//!
//! The process starts itself again instead of forking, so that nothing of the parent is half-copied. The
//! child tells through its standard output that it has started; the parent leaves then, or with the
//! child's failure.

use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};

/// Marks the child. Its value is of no meaning.
const MARK: &str = "CONNTRACKD_DETACHED";

/// What the child says when it has started.
const STARTED: &[u8] = b"started\n";

/// Whether this process is the child.
pub(crate) fn is_child() -> bool {
    std::env::var_os(MARK).is_some()
}

/// Starts the child and waits until it has started or failed.
///
/// # Errors
/// No process could be made.
pub(crate) fn start() -> io::Result<ExitCode> {
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_else(|| "conntrackd".into());
    let mut child = Command::new("/proc/self/exe")
        .arg0(name)
        .args(arguments)
        .env(MARK, "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut said = Vec::new();
    if let Some(stdout) = &mut child.stdout {
        stdout.take(STARTED.len() as u64).read_to_end(&mut said)?;
    }
    if said == STARTED {
        return Ok(ExitCode::SUCCESS);
    }
    let status = child.wait()?;
    Ok(ExitCode::from(
        u8::try_from(status.code().unwrap_or(1)).unwrap_or(1),
    ))
}

/// In the child: leaves the terminal and its session; what may fail from here on goes to the log.
///
/// # Errors
/// The kernel refused.
pub(crate) fn leave_terminal() -> io::Result<()> {
    nix::unistd::setsid()?;
    std::env::set_current_dir("/")
}

/// In the child: lets the parent go.
///
/// # Errors
/// `/dev/null` cannot be opened.
pub(crate) fn started() -> io::Result<()> {
    let mut stdout = io::stdout();
    // A parent that was killed does not matter any more.
    let _ = stdout.write_all(STARTED).and_then(|()| stdout.flush());
    let null = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/null")?;
    nix::unistd::dup2_stdout(&null)?;
    nix::unistd::dup2_stderr(&null)?;
    Ok(())
}
