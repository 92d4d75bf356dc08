//! `cargo xtask deb` and `cargo xtask rpm`: packages of the same files by the same table.
//!
//! The tree is laid out once; `dpkg-deb` and `rpmbuild` each pack it. Those two tools know their formats, and find out by
//! themselves what the programs need; what is left to say is short enough that no packaging framework is needed.
//!
//! In reading order: [`contents`] (which file goes where), [`licences`] (whose code is linked in), [`tree`] (laying them
//! out), [`deb`], [`rpm`], [`root`] (a clean Debian to try them in).

mod contents;
mod deb;
mod licences;
pub(crate) mod root;
mod rpm;
mod tree;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail, ensure};

use crate::tools::{cargo, run as run_command, target, workspace};

/// Under this name it stands beside the distribution's packages, which it replaces.
const NAME: &str = "conntrackd-rs";
const SUMMARY: &str = "keeps a pair of firewalls in step, so that a failover breaks no connection";
const DESCRIPTION: &str = "\
conntrackd mirrors the connection-tracking table of the active firewall to its
peer, and puts it into the peer's kernel when that one takes over. conntrack
lists and changes the table. Both take the configuration, the commands and the
protocol of conntrack-tools, and replace its programs.";
const LICENCE: &str = "MIT OR Apache-2.0";
/// The packages whose programs these are.
const REPLACED: [&str; 2] = ["conntrackd", "conntrack"];

/// What kind of package.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// Debian's.
    Deb,
    /// That of Fedora, openSUSE and others.
    Rpm,
}

#[derive(Debug, Default)]
struct Options {
    binaries: Option<PathBuf>,
    out: Option<PathBuf>,
}

/// Builds a package and prints its path.
///
/// # Errors
/// A tool is missing or fails, or a file is not there.
pub(crate) fn run(format: Format, words: &[&str]) -> Result<ExitCode> {
    let mut options = Options::default();
    let mut words = words.iter();
    while let Some(&word) = words.next() {
        let path = words.next().with_context(|| format!("{word}: no path"))?;
        let path = Some(std::path::absolute(path)?);
        match word {
            "--binaries" => options.binaries = path,
            "--out" => options.out = path,
            _ => bail!("packages know no `{word}`; see `cargo xtask help`"),
        }
    }
    let binaries = match options.binaries {
        Some(binaries) => binaries,
        None => build()?,
    };
    let out = options.out.unwrap_or_else(|| target().join("package"));
    fs::create_dir_all(&out)?;
    let scratch = Scratch::new(&out)?;
    let package = match format {
        Format::Deb => deb::build(&binaries, &scratch.0, &out)?,
        Format::Rpm => rpm::build(&binaries, &scratch.0, &out)?,
    };
    println!("{}", package.display());
    Ok(ExitCode::SUCCESS)
}

fn build() -> Result<PathBuf> {
    let mut command = Command::new(cargo());
    command.args(["build", "--quiet", "--release"]);
    for (_, name) in contents::PROGRAMS {
        command.args(["--package", name]);
    }
    run_command(command.current_dir(workspace()))?;
    Ok(target().join("release"))
}

/// A folder that goes when this does.
struct Scratch(PathBuf);

impl Scratch {
    fn new(out: &Path) -> Result<Self> {
        let path = out.join(format!("scratch-{}", std::process::id()));
        fs::create_dir(&path).with_context(|| path.display().to_string())?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left is in the target folder, where anything may be deleted.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}

/// When the packed sources were last changed, in seconds since 1970: the same sources make the same package.
fn epoch() -> String {
    let log = Command::new("git")
        .args(["log", "-1", "--format=%ct"])
        .current_dir(workspace())
        .output();
    let time = log.ok().and_then(|log| String::from_utf8(log.stdout).ok());
    time.map(|time| time.trim().to_owned())
        .filter(|time| time.parse::<u64>().is_ok())
        // Out of an archive without a history.
        .unwrap_or_else(|| "0".to_owned())
}

/// What a command that must succeed prints, without the line's end.
fn printed(command: &mut Command) -> Result<String> {
    let output = command
        .output()
        .with_context(|| format!("cannot start {command:?}"))?;
    ensure!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stderr),
        String::from_utf8_lossy(&output.stdout)
    );
    Ok(String::from_utf8(output.stdout)?.trim_end().to_owned())
}
