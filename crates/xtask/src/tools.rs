//! Programs that must be there, and where to get them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use netlab::skip::find_tool;

/// Programs, and the Debian package of each.
const PACKAGES: &[(&str, &str)] = &[
    ("ip", "iproute2"),
    ("nft", "nftables"),
    ("ping", "iputils-ping"),
    ("conntrackd", "conntrackd"),
    ("conntrack", "conntrack"),
    ("keepalived", "keepalived"),
    ("tcpdump", "tcpdump"),
    ("c++", "g++"),
    ("groff", "groff"),
    ("python3", "python3"),
    ("zsh", "zsh"),
    ("gdb", "gdb"),
    ("setpriv", "util-linux"),
    ("systemd-analyze", "systemd"),
    ("fish", "fish"),
    ("valgrind", "valgrind"),
    ("dpkg-deb", "dpkg"),
    ("dpkg-shlibdeps", "dpkg-dev"),
    ("gzip", "gzip"),
    ("rpmbuild", "rpm"),
    ("lintian", "lintian"),
    ("mmdebstrap", "mmdebstrap"),
    ("logrotate", "logrotate"),
    ("promtool", "prometheus"),
    ("prometheus", "prometheus"),
    ("rsvg-convert", "librsvg2-bin"),
    ("tmux", "tmux"),
];

/// Installs the named programs that are missing, from the distribution.
///
/// # Errors
/// One is missing and cannot be installed.
pub(crate) fn ensure_tools(names: &[&str]) -> Result<()> {
    let missing: Vec<_> = names
        .iter()
        .copied()
        .filter(|name| find_tool(name).is_none())
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let packages: Vec<_> = PACKAGES
        .iter()
        .filter(|(name, _)| missing.contains(name))
        .map(|(_, package)| *package)
        .collect();
    let wanted = packages.join(" ");
    ensure!(
        is_root(),
        "not found: {}; as root: apt-get install {wanted}",
        missing.join(", ")
    );
    ensure!(
        find_tool("apt-get").is_some(),
        "not found: {}; there is no apt-get here, please install them yourself",
        missing.join(", ")
    );
    println!(
        "Installing by apt-get, for {}: {wanted}",
        missing.join(", ")
    );
    install(&packages)?;
    for name in missing {
        ensure!(
            find_tool(name).is_some(),
            "still no `{name}` after installing {wanted}"
        );
    }
    Ok(())
}

fn install(packages: &[&str]) -> Result<()> {
    apt_get(&["update", "-qq"])?;
    let quiet = KeepStopped::new()?;
    let mut arguments = vec!["install", "-y", "-qq", "--no-install-recommends"];
    arguments.extend(packages);
    apt_get(&arguments)?;
    drop(quiet);
    // Nor at the next boot: they were installed for tests.
    for package in ["conntrackd", "prometheus"] {
        if packages.contains(&package) && Path::new("/run/systemd/system").is_dir() {
            println!("Disabling the service that came with the package {package}");
            let service = format!("{package}.service");
            run(Command::new("systemctl").args(["disable", "--now", &service]))?;
        }
    }
    Ok(())
}

fn apt_get(arguments: &[&str]) -> Result<()> {
    let mut command = Command::new("apt-get");
    command
        .env("DEBIAN_FRONTEND", "noninteractive")
        .args(arguments);
    run(command.stdout(Stdio::null()))
}

/// While it lives, packages that are installed start no services: Debian's policy layer says no.
struct KeepStopped {
    made: Option<PathBuf>,
}

impl KeepStopped {
    fn new() -> Result<Self> {
        let path = PathBuf::from("/usr/sbin/policy-rc.d");
        if path.exists() {
            return Ok(Self { made: None });
        }
        fs::write(&path, "#!/bin/sh\nexit 101\n").context("policy-rc.d")?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        Ok(Self { made: Some(path) })
    }
}

impl Drop for KeepStopped {
    fn drop(&mut self) {
        if let Some(path) = &self.made
            && let Err(error) = fs::remove_file(path)
        {
            eprintln!("please remove {}: {error}", path.display());
        }
    }
}

/// Installs a cargo subcommand that is missing.
///
/// # Errors
/// It cannot be built.
pub(crate) fn ensure_cargo_tool(name: &str) -> Result<()> {
    let installed = Command::new(cargo())
        .args([name, "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if installed {
        return Ok(());
    }
    println!("Installing by cargo install: cargo-{name} (takes some minutes, once)");
    // Not optimised: it runs for seconds, and building is what takes long.
    run(Command::new(cargo()).args([
        "install",
        "--locked",
        "--debug",
        "--quiet",
        &format!("cargo-{name}"),
    ]))
}

/// Runs a command that must succeed.
///
/// # Errors
/// It does not.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("cannot start {command:?}"))?;
    if !status.success() {
        bail!("{command:?}: {status}");
    }
    Ok(())
}

/// The cargo that runs this.
pub(crate) fn cargo() -> PathBuf {
    std::env::var_os("CARGO")
        .unwrap_or_else(|| "cargo".into())
        .into()
}

/// The workspace's folder.
pub(crate) fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .unwrap_or(Path::new("."))
        .to_owned()
}

/// Where cargo builds.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), Into::into)
}

/// Whether namespaces can be made.
pub(crate) fn is_root() -> bool {
    netlab::skip::obstacle(&[]).is_none_or(|reason| !reason.contains("root"))
}
