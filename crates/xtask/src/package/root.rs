//! A clean Debian, as small as one that boots can be, for trying packages in.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

use super::printed;
use crate::tools::ensure_tools;

/// What the distribution's own programs need, and what the package's scripts and files are for. The programs themselves are not
/// in it, but lie ready under `/srv`, so that they can be installed without a network.
const INCLUDED: &str = "systemd-sysv,dbus,init-system-helpers,adduser,libmnl0,libnetfilter-conntrack3,libnetfilter-cthelper0,libnetfilter-queue1,libnfnetlink0,libsystemd0";
const READY: &str = "cd \"$1\" && chroot . sh -c 'cd /srv && apt-get -qq download conntrackd conntrack' \
    && rm -rf var/lib/apt/lists usr/share/doc usr/share/locale usr/share/man \
    && echo force-unsafe-io > etc/dpkg/dpkg.cfg.d/quick";

/// Prints the path of an archive of the root, which is made if there is none yet.
///
/// # Errors
/// The distribution cannot be reached.
pub(crate) fn run() -> Result<ExitCode> {
    println!("{}", ensure()?.display());
    Ok(ExitCode::SUCCESS)
}

/// The archive's path.
///
/// # Errors
/// As [`run`].
pub(crate) fn ensure() -> Result<PathBuf> {
    let suite = suite()?;
    let archive = cache()?.join(format!("root-{suite}.tar"));
    if archive.is_file() {
        return Ok(archive);
    }
    println!("Making a clean root of {suite} by mmdebstrap (takes a minute, once)");
    ensure_tools(&["mmdebstrap"])?;
    // Half an archive is none.
    let part = archive.with_extension(format!("part-{}.tar", std::process::id()));
    let made = printed(
        Command::new("mmdebstrap")
            .args(["--quiet", "--variant=apt", "--include", INCLUDED])
            .args(["--customize-hook", READY])
            .arg(suite)
            .arg(&part),
    );
    if let Err(error) = made {
        // There may be none.
        let _ = fs::remove_file(&part);
        return Err(error);
    }
    fs::rename(&part, &archive)?;
    Ok(archive)
}

/// It outlives the target folder, like the tools that are installed.
fn cache() -> Result<PathBuf> {
    let base = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache"));
    let base = base.or_else(home).context("no home")?;
    let folder = base.join("conntrackd-rs");
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// The distribution's release that this machine runs: its programs were built with these libraries.
fn suite() -> Result<String> {
    let text = fs::read_to_string("/etc/os-release")?;
    let name = text
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    Ok(name
        .context("this machine's distribution has no releases")?
        .to_owned())
}
