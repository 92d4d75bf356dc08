//! The files, laid out as they will lie on the system.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::contents::{self, DOC, Kind};
use super::{Format, epoch, licences, printed};
use crate::man;
use crate::tools::workspace;

/// A tree that is ready to be packed.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) root: PathBuf,
    /// Paths from the root with a leading slash, in order.
    pub(super) files: Vec<String>,
    /// Those of [`Kind::Configuration`].
    pub(super) configuration: Vec<String>,
}

/// Lays everything out under `root`.
///
/// # Errors
/// A file is missing, or cannot be written.
pub(super) fn lay(format: Format, binaries: &Path, root: &Path) -> Result<Tree> {
    let mut tree = Tree {
        root: root.to_owned(),
        files: Vec::new(),
        configuration: Vec::new(),
    };
    for (program, _) in contents::PROGRAMS {
        tree.put(
            &binaries.join(program),
            &format!("usr/sbin/{program}"),
            Kind::Script,
        )?;
    }
    for item in contents::items(format) {
        let from = workspace().join(item.from);
        if from.is_dir() {
            tree.put_all(&from, item.to)?;
        } else {
            tree.put(&from, item.to, item.kind)?;
        }
    }
    for (name, text) in man::texts()? {
        let section = name.rsplit_once('.').context("a page without a section")?.1;
        tree.write_compressed(&format!("usr/share/man/man{section}/{name}"), &text)?;
    }
    tree.write(&format!("{DOC}/copyright"), &licences::copyright()?)?;
    tree.write_compressed(
        &format!("{DOC}/third-party-licences"),
        &licences::third_party()?,
    )?;
    tree.files.sort();
    tree.configuration.sort();
    Ok(tree)
}

impl Tree {
    fn put_all(&mut self, from: &Path, to: &str) -> Result<()> {
        let entries = fs::read_dir(from).with_context(|| from.display().to_string())?;
        for entry in entries {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let is_script = fs::metadata(&path)?.permissions().mode() & 0o111 != 0;
            let kind = if is_script { Kind::Script } else { Kind::Plain };
            self.put(&path, &format!("{to}/{name}"), kind)?;
        }
        Ok(())
    }

    fn put(&mut self, from: &Path, to: &str, kind: Kind) -> Result<()> {
        let bytes = fs::read(from).with_context(|| format!("cannot pack {}", from.display()))?;
        self.place(to, &bytes, kind)
    }

    /// A text.
    pub(super) fn write(&mut self, to: &str, text: &str) -> Result<()> {
        self.place(to, text.as_bytes(), Kind::Plain)
    }

    /// A text that is compressed, always to the same bytes.
    pub(super) fn write_compressed(&mut self, to: &str, text: &str) -> Result<()> {
        self.write(to, text)?;
        let path = self.root.join(to);
        printed(Command::new("gzip").args(["-9n"]).arg(path))?;
        if let Some(file) = self.files.last_mut() {
            file.push_str(".gz");
        }
        Ok(())
    }

    fn place(&mut self, to: &str, bytes: &[u8], kind: Kind) -> Result<()> {
        let path = self.root.join(to);
        ensure!(!path.exists(), "{to} twice");
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(&path, bytes)?;
        let mode = if kind == Kind::Script { 0o755 } else { 0o644 };
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
        let name = format!("/{to}");
        if kind == Kind::Configuration {
            self.configuration.push(name.clone());
        }
        self.files.push(name);
        Ok(())
    }

    /// Gives folders their mode and everything its time; nothing may be added after this.
    pub(super) fn settle(&self) -> Result<()> {
        let time = format!("@{}", epoch());
        printed(
            Command::new("find")
                .arg(&self.root)
                .args(["-type", "d", "-exec", "chmod", "0755", "{}", "+"]),
        )?;
        printed(
            Command::new("find")
                .arg(&self.root)
                .args(["-exec", "touch", "--no-dereference", "--date"])
                .arg(&time)
                .args(["{}", "+"]),
        )?;
        Ok(())
    }

    /// What it takes on a disk, in KiB.
    pub(super) fn size_kib(&self) -> Result<u64> {
        let mut size = 0;
        for file in &self.files {
            let path = self.root.join(file.trim_start_matches('/'));
            size += fs::metadata(path)?.len().div_ceil(1024);
        }
        Ok(size)
    }
}
