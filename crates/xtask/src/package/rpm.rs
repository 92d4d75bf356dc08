//! The package of Fedora, openSUSE and others, by `rpmbuild`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::contents::DOC;
use super::tree::{self, Tree};
use super::{DESCRIPTION, Format, LICENCE, NAME, SUMMARY, epoch, printed, version};
use crate::tools::{ensure_tools, workspace};

/// The package that has the programs there.
const REPLACED: &str = "conntrack-tools";

/// Packs the programs of a folder; returns the package's path.
///
/// # Errors
/// As [`run`](super::run).
pub(super) fn build(binaries: &Path, scratch: &Path, out: &Path) -> Result<PathBuf> {
    ensure_tools(&["rpmbuild", "gzip"])?;
    let tree = tree::lay(Format::Rpm, binaries, &scratch.join("tree"))?;
    tree.settle()?;
    let spec = scratch.join(format!("{NAME}.spec"));
    fs::write(&spec, text(&tree)?)?;
    let packages = scratch.join("rpms");
    let define = |name: &str, value: &str| format!("{name} {value}");
    printed(
        Command::new("rpmbuild")
            .args(["-bb", "--quiet"])
            .args([
                "--define",
                &define("_topdir", &scratch.join("rpm").display().to_string()),
            ])
            .args([
                "--define",
                &define("_rpmdir", &packages.display().to_string()),
            ])
            .args([
                "--define",
                "_rpmfilename %%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm",
            ])
            .args(["--define", "_build_id_links none"])
            .args(["--define", "use_source_date_epoch_as_buildtime 1"])
            .args(["--define", "_buildhost localhost"])
            .arg(&spec)
            .env("SOURCE_DATE_EPOCH", epoch()),
    )?;
    let built = fs::read_dir(&packages)?
        .next()
        .context("rpmbuild has built nothing")??;
    let package = out.join(built.file_name());
    fs::rename(built.path(), &package)?;
    Ok(package)
}

fn text(tree: &Tree) -> Result<String> {
    let scripts = fs::read_to_string(workspace().join("config/package/rpm-scripts.spec"))?;
    let files: String = tree
        .files
        .iter()
        .map(|file| {
            if tree.configuration.contains(file) {
                format!("%config(noreplace) {file}\n")
            } else if file.starts_with(&format!("/{DOC}")) {
                format!("%doc {file}\n")
            } else {
                format!("{file}\n")
            }
        })
        .collect();
    // The programs are built, stripped and checked already: nothing is to be done to them.
    Ok(format!(
        "%global __os_install_post %{{nil}}\n\
         %global debug_package %{{nil}}\n\
         Name: {NAME}\n\
         Version: {}\n\
         Release: 1\n\
         Summary: {SUMMARY}\n\
         License: {LICENCE}\n\
         Requires(pre): shadow-utils\n\
         Provides: {REPLACED} = 1.4.7\n\
         Conflicts: {REPLACED}\n\
         Obsoletes: {REPLACED} <= 1.4.7\n\
         \n\
         %description\n{DESCRIPTION}\n\
         \n\
         %install\n\
         mkdir -p %{{buildroot}}\n\
         cp -a {}/. %{{buildroot}}/\n\
         \n\
         {scripts}\n\
         %files\n\
         {}\
         {files}",
        version(),
        tree.root.display(),
        folders(tree)
    ))
}

/// The folders that go with the package: those that bear the name. All others belong to the system.
fn folders(tree: &Tree) -> String {
    let mut folders = BTreeSet::new();
    for file in &tree.files {
        for folder in Path::new(file).ancestors().skip(1) {
            if folder.to_string_lossy().contains("/conntrackd") {
                folders.insert(format!("%dir {}\n", folder.display()));
            }
        }
    }
    folders.into_iter().collect()
}
