//! A root of its own to install packages in.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use netlab::Lab;
use netlab::process::{COMMAND_LIMIT, run_within};

use super::{documented, xtask};

/// Where the package system keeps its own books; and what the linker's cache and logs say of an installation.
const BOOKS: [&str; 11] = [
    "var/lib/dpkg",
    "var/lib/apt",
    "var/log",
    "var/cache",
    "var/lib/rpm",
    "root/.rpmdb",
    // Copies that are made whenever a user is.
    "etc/passwd-",
    "etc/shadow-",
    "etc/group-",
    "etc/gshadow-",
    "run/adduser",
];

/// A clean Debian in the lab's folder.
pub(crate) struct Root(pub(crate) PathBuf);

impl Root {
    pub(crate) fn new(lab: &Lab) -> Self {
        let archive = xtask(&["root"]);
        let root = lab.dir().join("root");
        fs::create_dir(&root).unwrap();
        let mut tar = Command::new("tar");
        // Devices cannot be made everywhere; one is needed.
        tar.arg("--extract")
            .arg("--exclude=./dev/*")
            .arg("--file")
            .arg(archive);
        tar.arg("--directory").arg(&root);
        run_within(tar, "", COMMAND_LIMIT)
            .unwrap()
            .success()
            .unwrap();
        fs::write(root.join("dev/null"), "").unwrap();
        fs::create_dir_all(root.join("target/package")).unwrap();
        // An administrator is asked whether the distribution's package may go.
        let answers = root.join("etc/apt/apt.conf.d/yes");
        fs::write(answers, "APT::Get::Assume-Yes \"true\";\n").unwrap();
        Self(root)
    }

    pub(crate) fn try_run(&self, line: &str) -> netlab::process::Finished {
        let mut command = Command::new("chroot");
        command.arg(&self.0).args(["/bin/sh", "-c", line]);
        command.env("DEBIAN_FRONTEND", "noninteractive");
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        run_within(command, "", COMMAND_LIMIT).unwrap()
    }

    pub(crate) fn run(&self, line: &str) -> String {
        let finished = self.try_run(line).success();
        finished.unwrap_or_else(|error| panic!("{line}: {error:#}"))
    }

    /// Installs a package as the documents say, from the folder in which it was made.
    pub(crate) fn install(&self, package: &Path) {
        let folder = self.path("target/package");
        fs::copy(package, folder.join(package.file_name().unwrap())).unwrap();
        self.run(&documented("apt install "));
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.0.join(path.trim_start_matches('/'))
    }

    pub(crate) fn has(&self, path: &str) -> bool {
        self.path(path).symlink_metadata().is_ok()
    }

    pub(crate) fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// Everything there is but the books, what was laid into `srv`, and the packages made.
    pub(crate) fn paths(&self) -> BTreeSet<String> {
        let listing =
            self.run("find / -xdev -not -path '/srv/*' -not -path '/target/*' -not -path '/dev/*'");
        let own = |path: &&str| {
            let path = path.trim_start_matches('/');
            !BOOKS.iter().any(|book| path.starts_with(book)) && path != "dev"
        };
        listing.lines().filter(own).map(str::to_owned).collect()
    }
}
