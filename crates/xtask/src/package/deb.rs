//! The Debian package.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::contents::{DOC, PROGRAMS};
use super::tree::{self, Tree};
use super::{DESCRIPTION, Format, NAME, REPLACED, SUMMARY, epoch, printed, version};
use crate::tools::{ensure_tools, workspace};

/// Nobody in particular, at an address that cannot exist.
const MAINTAINER: &str = "conntrackd in Rust <maintainers@conntrackd-rs.invalid>";
/// Scripts that run at installation and removal.
const SCRIPTS: [&str; 3] = ["postinst", "prerm", "postrm"];
/// Of the packages whose programs these are: what they can do.
const EQUIVALENT: &str = "1:1.4.7";

/// Packs the programs of a folder; returns the package's path.
///
/// # Errors
/// As [`run`](super::run).
pub(super) fn build(binaries: &Path, scratch: &Path, out: &Path) -> Result<PathBuf> {
    ensure_tools(&["dpkg-deb", "dpkg-shlibdeps", "gzip"])?;
    let mut tree = tree::lay(Format::Deb, binaries, &scratch.join("tree"))?;
    tree.write_compressed(&format!("{DOC}/changelog"), &changelog()?)?;
    // Before DEBIAN is there, which is not installed.
    let size = tree.size_kib()?;
    let control = tree.root.join("DEBIAN");
    fs::create_dir(&control)?;
    let architecture = printed(Command::new("dpkg").arg("--print-architecture"))?;
    fs::write(
        control.join("control"),
        fields(&tree, size, &architecture, scratch)?,
    )?;
    fs::write(control.join("conffiles"), lines(&tree.configuration))?;
    fs::write(control.join("md5sums"), sums(&tree)?)?;
    for script in SCRIPTS {
        let path = control.join(script);
        fs::copy(workspace().join("config/package").join(script), &path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    }
    tree.settle()?;
    let package = out.join(format!("{NAME}_{}_{architecture}.deb", version()));
    printed(
        Command::new("dpkg-deb")
            .args(["--root-owner-group", "-Zxz", "--build"])
            .arg(&tree.root)
            .arg(&package)
            .env("SOURCE_DATE_EPOCH", epoch()),
    )?;
    Ok(package)
}

fn fields(tree: &Tree, size: u64, architecture: &str, scratch: &Path) -> Result<String> {
    let replaced = REPLACED.join(", ");
    let provided = REPLACED
        .map(|name| format!("{name} (= {EQUIVALENT})"))
        .join(", ");
    let description: String = DESCRIPTION
        .lines()
        .map(|line| format!(" {line}\n"))
        .collect();
    Ok(format!(
        "Package: {NAME}\n\
         Version: {}\n\
         Architecture: {architecture}\n\
         Maintainer: {MAINTAINER}\n\
         Installed-Size: {size}\n\
         Pre-Depends: init-system-helpers (>= 1.54~)\n\
         Depends: {}, adduser\n\
         Suggests: keepalived, logrotate, nftables\n\
         Provides: {provided}\n\
         Conflicts: {replaced}\n\
         Replaces: {replaced}\n\
         Section: net\n\
         Priority: optional\n\
         Description: {SUMMARY}\n\
         {description}",
        version(),
        libraries(tree, scratch)?,
    ))
}

/// The libraries that the programs need, and their versions, as Debian's own tool finds them.
fn libraries(tree: &Tree, scratch: &Path) -> Result<String> {
    // It wants the file of a source package, in which nothing matters but that there is one.
    let folder = scratch.join("shlibs");
    fs::create_dir_all(folder.join("debian"))?;
    fs::write(
        folder.join("debian/control"),
        format!("Source: {NAME}\n\nPackage: {NAME}\nArchitecture: any\n"),
    )?;
    let mut command = Command::new("dpkg-shlibdeps");
    command.arg("-O").current_dir(folder);
    for (program, _) in PROGRAMS {
        command
            .arg("-e")
            .arg(tree.root.join("usr/sbin").join(program));
    }
    let text = printed(&mut command)?;
    let needed = text.strip_prefix("shlibs:Depends=");
    Ok(needed.context("dpkg-shlibdeps says nothing")?.to_owned())
}

fn sums(tree: &Tree) -> Result<String> {
    let files: Vec<_> = tree
        .files
        .iter()
        .filter(|file| !tree.configuration.contains(file))
        .collect();
    let mut command = Command::new("md5sum");
    command.args(files.iter().map(|file| file.trim_start_matches('/')));
    Ok(printed(command.current_dir(&tree.root))? + "\n")
}

fn changelog() -> Result<String> {
    let date =
        printed(Command::new("date").args(["-u", "-R", "--date", &format!("@{}", epoch())]))?;
    Ok(format!(
        "{NAME} ({}) unstable; urgency=medium\n\n  * Version {0}.\n\n -- {MAINTAINER}  {date}\n",
        version()
    ))
}

fn lines(names: &[String]) -> String {
    names.iter().map(|name| format!("{name}\n")).collect()
}
