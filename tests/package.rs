//! The life of the packages on a clean root: installed, started, upgraded to, removed, purged.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use netlab::daemon::OUR_DAEMON;
use netlab::process::{Background, COMMAND_LIMIT, run_within};
use netlab::skip::{find_tool, skip};
use netlab::{Lab, Peer, require_root_or_skip};

#[path = "documents/blocks.rs"]
mod blocks;
#[path = "package/boot.rs"]
mod boot;
#[path = "package/root.rs"]
mod root;

use blocks::{blocks, workspace};
use root::Root;

const UNIT: &str = "usr/lib/systemd/system/conntrackd.service";
const WANTED: &str = "etc/systemd/system/multi-user.target.wants/conntrackd.service";
/// How long a start may take, but for what the kernel needs to read through its table, which is as large as the machine likes.
const START_MAX: Duration = Duration::from_millis(50);
/// Of so many starts the fastest counts.
const STARTS: usize = 10;
fn xtask(words: &[&str]) -> PathBuf {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.args(words);
    let text = run_within(command, "", Duration::from_secs(300));
    let text = text.unwrap().success().unwrap();
    PathBuf::from(text.lines().last().unwrap())
}

/// Builds a package in the lab's folder, of the programs that are being tested.
fn package(lab: &Lab, format: &str) -> PathBuf {
    let program = Peer::Ours.program().unwrap();
    let programs = program.parent().unwrap().to_str().unwrap().to_owned();
    let out = lab.dir().to_str().unwrap();
    xtask(&[format, "--binaries", &programs, "--out", out])
}

/// What the documents have for a host, all of it run here.
const HOST_COMMANDS: [&str; 3] = ["apt install ", "sysctl -p ", "systemctl "];

/// The one command of that beginning which the documents have for a host.
fn documented(beginning: &str) -> String {
    let blocks = blocks();
    let host = blocks.iter().filter(|block| block.info == "sh host");
    let mut found: Option<(&str, &str)> = None;
    for (line, block) in host.flat_map(|block| block.lines().map(move |line| (line, block))) {
        let known = HOST_COMMANDS.iter().any(|known| line.starts_with(known));
        assert!(known, "{}: nobody runs `{line}`", block.place);
        if line.starts_with(beginning) {
            let (first, place) = *found.get_or_insert((line, &block.place));
            assert_eq!(line, first, "{} says otherwise than {place}", block.place);
        }
    }
    let (line, _) = found.unwrap_or_else(|| panic!("no document says {beginning}"));
    line.to_owned()
}

fn enough() -> bool {
    for tool in ["dpkg-deb", "dpkg-shlibdeps", "mmdebstrap", "rpmbuild"] {
        if find_tool(tool).is_none() {
            skip(&format!("no {tool}"));
            return false;
        }
    }
    true
}

#[test]
fn a_debian_package_lives_and_leaves_nothing() {
    require_root_or_skip!();
    if !enough() {
        return;
    }
    let mut lab = Lab::new().unwrap();
    let package = package(&lab, "deb");
    lint(&package);
    let root = Root::new(&lab);
    let before = root.paths();

    root.install(&package);
    assert!(root.run("conntrackd -v").contains("v1.4.7"));
    assert!(root.run("conntrack -V").contains("conntrack-tools"));
    assert!(root.has("usr/sbin/conntrackd-top"));
    assert!(root.has(WANTED), "the service is enabled");
    for path in [
        "usr/share/man/man8/conntrackd.8.gz",
        "usr/share/man/man5/conntrackd.toml.5.gz",
        "usr/share/bash-completion/completions/conntrackd",
        "etc/logrotate.d/conntrackd",
        "usr/lib/sysctl.d/60-conntrackd.conf",
    ] {
        assert!(root.has(path), "{path}");
    }
    root.run("conntrackd check -C /etc/conntrackd/conntrackd.toml");
    verify_unit(&root);
    settings_count(&mut lab, &root);
    start_as_the_unit_does(&mut lab, &root);

    // The administrator's changes outlive a new version.
    let config = root.path("etc/conntrackd/conntrackd.toml");
    let edited = root.read("etc/conntrackd/conntrackd.toml") + "\n# ours\n";
    fs::write(&config, &edited).unwrap();
    root.run("dpkg -i /target/package/conntrackd-rs_*.deb");
    assert_eq!(root.read("etc/conntrackd/conntrackd.toml"), edited);

    fs::write(root.path("var/log/conntrackd.log"), "a line\n").unwrap();
    root.run("dpkg -r conntrackd-rs");
    assert!(!root.has("usr/sbin/conntrackd") && !root.has(UNIT));
    assert_eq!(root.read("etc/conntrackd/conntrackd.toml"), edited);
    root.run("dpkg -P conntrackd-rs");
    assert!(!root.has("var/log/conntrackd.log"));
    assert!(!root.read("etc/passwd").contains("conntrackd"));
    let after = root.paths();
    let differ: Vec<_> = before.symmetric_difference(&after).collect();
    assert_eq!(
        differ,
        Vec::<&String>::new(),
        "left or missing after a purge"
    );
}

#[test]
fn the_distribution_s_daemon_is_replaced_and_its_configuration_kept() {
    require_root_or_skip!();
    if !enough() {
        return;
    }
    let lab = Lab::new().unwrap();
    let package = package(&lab, "deb");
    let root = Root::new(&lab);
    root.run("dpkg -i /srv/conntrackd_*.deb /srv/conntrack_*.deb");
    assert!(root.has(WANTED), "the distribution enables its service");
    let config = "etc/conntrackd/conntrackd.conf";
    let edited = root
        .read(config)
        .replace("HashLimit 65535", "HashLimit 131072");
    assert!(edited.contains("131072"), "{edited}");
    fs::write(root.path(config), &edited).unwrap();

    root.install(&package);
    assert_eq!(root.read(config), edited);
    assert!(root.has(WANTED), "still enabled");
    assert!(
        !root.has("etc/systemd/system/conntrackd.service"),
        "not masked"
    );
    let installed = root.run("dpkg-query -W -f '${Package} ${db:Status-Abbrev}\\n' 'conntrack*'");
    let is = |line: &str| installed.lines().any(|found| found.trim() == line);
    assert!(is("conntrackd rc") && is("conntrackd-rs ii"), "{installed}");
    assert!(!is("conntrack ii"), "{installed}");
    // Without -C: the familiar file goes first.
    root.run("conntrackd check");
    let converted = root.run("conntrackd convert");
    assert!(converted.contains("hash_limit = 131072"), "{converted}");

    root.run("dpkg -P conntrackd-rs");
    assert_eq!(root.read(config), edited, "it is the administrator's");
}

#[test]
fn an_rpm_holds_the_same_and_leaves_nothing() {
    require_root_or_skip!();
    if !enough() {
        return;
    }
    let lab = Lab::new().unwrap();
    let package = package(&lab, "rpm");
    let root = Root::new(&lab);
    let before = root.paths();
    let rpm = |words: &[&str]| {
        let mut command = Command::new("rpm");
        command.arg("--root").arg(&root.0).args(words);
        run_within(command, "", COMMAND_LIMIT)
            .unwrap()
            .success()
            .unwrap()
    };
    // The root is no distribution of rpms: what the package needs is there, but not in their books.
    rpm(&["--install", "--nodeps", package.to_str().unwrap()]);
    assert!(root.run("conntrackd -v").contains("v1.4.7"));
    root.run("conntrackd check -C /etc/conntrackd/conntrackd.toml");
    assert_eq!(
        rpm(&["--query", "--configfiles", "conntrackd-rs"]),
        "/etc/conntrackd/conntrackd.toml\n/etc/logrotate.d/conntrackd\n"
    );
    rpm(&["--verify", "--nodeps", "conntrackd-rs"]);

    let mut listing = Command::new("dpkg-deb");
    listing
        .arg("--fsys-tarfile")
        .arg(self::package(&lab, "deb"));
    let mut names = Command::new("sh");
    names.args([
        "-c",
        "dpkg-deb --fsys-tarfile \"$1\" | tar -t | grep -v '/$'",
        "-",
    ]);
    names.arg(listing.get_args().last().unwrap());
    let deb = run_within(names, "", COMMAND_LIMIT)
        .unwrap()
        .success()
        .unwrap();
    let plain = |path: &str| {
        path.trim_start_matches('.')
            .replace("vendor-completions", "site-functions")
    };
    let deb: BTreeSet<_> = deb
        .lines()
        .map(plain)
        .filter(|path| !path.contains("changelog"))
        .collect();
    let listed = rpm(&["--query", "--list", "conntrackd-rs"]);
    let listed: BTreeSet<_> = listed
        .lines()
        .filter(|path| !root.path(path).is_dir())
        .map(str::to_owned)
        .collect();
    assert_eq!(listed, deb);

    rpm(&["--erase", "conntrackd-rs"]);
    let after = root.paths();
    // Folders of the system that this root had no use for belong to other packages.
    let ours = |path: &&String| path.contains("conntrackd") || !root.path(path).is_dir();
    let left: Vec<_> = after.difference(&before).filter(ours).collect();
    assert_eq!(left, Vec::<&String>::new(), "left after the removal");
    assert!(before.is_subset(&after), "nothing else is gone");
}

/// Debian's own judge of packages has nothing to say.
fn lint(package: &Path) {
    if find_tool("lintian").is_none() {
        return skip("no lintian: the package is not judged");
    }
    let mut command = Command::new("lintian");
    command
        .args(["--allow-root", "--fail-on", "error,warning"])
        .arg(package);
    // Programs that are being worked on are not stripped.
    if cfg!(debug_assertions) && std::env::var_os(OUR_DAEMON).is_none() {
        command.args(["--suppress-tags", "unstripped-binary-or-object"]);
    }
    let said = run_within(command, "", COMMAND_LIMIT).unwrap();
    assert!(said.status.success(), "{}{}", said.stdout, said.stderr);
}

/// systemd itself reads the unit as installed, beside the units of this machine, and has nothing to say.
fn verify_unit(root: &Root) {
    if find_tool("systemd-analyze").is_none() {
        return skip("no systemd-analyze: the unit is not verified");
    }
    let mut command = Command::new("systemd-analyze");
    command.args(["verify", "--man=no"]).arg(root.path(UNIT));
    let said = run_within(command, "", COMMAND_LIMIT).unwrap();
    let ours = |line: &&str| line.contains("conntrackd");
    let complaints: Vec<_> = said.stderr.lines().filter(ours).collect();
    assert_eq!(complaints, Vec::<&str>::new(), "{}", said.stderr);
}

/// The kernel takes the settings, by the command of the documents.
fn settings_count(lab: &mut Lab, root: &Root) {
    let namespace = lab.namespace("settings").unwrap();
    let line = documented("sysctl -p ");
    let file = line.strip_prefix("sysctl -p ").unwrap();
    let sysctl = |words: &[&str]| {
        let mut command = namespace.command("sysctl");
        command.args(words);
        let said = run_within(command, "", COMMAND_LIMIT).unwrap();
        said.success().unwrap()
    };
    let set = "net.netfilter.nf_conntrack_tcp_loose";
    sysctl(&["-q", "-w", &format!("{set}=1")]);
    sysctl(&["-p", root.path(file).to_str().unwrap()]);
    assert_eq!(sysctl(&["-n", set]).trim(), "0");
    assert_eq!(
        sysctl(&["-n", "net.netfilter.nf_conntrack_events"]).trim(),
        "1"
    );
}

/// Runs what the unit's `ExecStart` says, inside the root, and waits until it reports as the unit's type asks.
fn start_as_the_unit_does(lab: &mut Lab, root: &Root) {
    let restart = documented("systemctl ");
    assert_eq!(restart, "systemctl restart conntrackd");
    assert!(UNIT.ends_with("/conntrackd.service"));
    let unit = root.read(UNIT);
    let value = |key: &str| {
        unit.lines()
            .find_map(|line| line.strip_prefix(key))
            .map(str::trim)
    };
    assert_eq!(value("Type="), Some("notify"));
    let line = value("ExecStart=").unwrap().to_owned();
    let namespace = lab.namespace("a").unwrap();
    let socket = UnixDatagram::bind(root.path("run/notify")).unwrap();
    // As systemd makes it.
    let anybody = fs::Permissions::from_mode(0o777);
    fs::set_permissions(root.path("run/notify"), anybody).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let sweep = value("ExecStopPost=").unwrap();
    let user = value("User=").unwrap();
    let rights = value("AmbientCapabilities=").unwrap();
    let rights: Vec<_> = rights
        .split(' ')
        .map(|name| name.replace("CAP_", "+").to_lowercase())
        .collect();
    let rights = rights.join(",");
    fs::create_dir_all(root.path("run/lock")).unwrap();
    let mut fastest = Duration::MAX;
    for _ in 0..STARTS {
        let mut command = Command::new("chroot");
        command.arg(&root.0).args([
            "setpriv",
            "--reuid",
            user,
            "--regid",
            user,
            "--clear-groups",
        ]);
        command.args([
            "--no-new-privs",
            "--inh-caps",
            &rights,
            "--ambient-caps",
            &rights,
        ]);
        command.args(line.split(' '));
        command.env("NOTIFY_SOCKET", "/run/notify");
        let console = lab.dir().join("console");
        let start = Instant::now();
        let spawned = namespace.enter(|| Background::spawn(command, &console));
        let mut daemon = spawned.unwrap().unwrap();
        let mut message = [0; 512];
        loop {
            let len = socket.recv(&mut message).unwrap_or_else(|error| {
                let said = fs::read_to_string(lab.dir().join("console")).unwrap();
                panic!("{line} does not report: {error}\n{said}")
            });
            if message[..len].starts_with(b"READY=1") {
                break;
            }
        }
        fastest = fastest.min(start.elapsed());
        root.run("conntrackd -C /etc/conntrackd/conntrackd.toml -k");
        assert!(netlab::process::wait_until(Duration::from_secs(5), || {
            daemon.try_wait().unwrap().is_some()
        }));
        // What stays behind by the user's lack of rights is swept, as systemd does.
        root.run(sweep.trim_start_matches('+'));
        // What it still said at its end is of no interest to the next.
        socket.set_nonblocking(true).unwrap();
        while socket.recv(&mut message).is_ok() {}
        socket.set_nonblocking(false).unwrap();
    }
    let reading = (0..STARTS).map(|_| {
        let start = Instant::now();
        let listed = namespace.enter(|| root.run("conntrack -L"));
        assert_eq!(listed.unwrap(), "");
        start.elapsed()
    });
    let reading = reading.min().unwrap();
    println!("ready after {fastest:?}; a listing of the same empty table takes {reading:?}");
    assert!(
        fastest < reading + START_MAX,
        "ready only after {fastest:?}, a listing takes {reading:?}"
    );
    fs::remove_file(root.path("run/notify")).unwrap();
}

/// Programs whose size the documents tell, and how far off that may be.
const SIZED: [&str; 3] = ["conntrackd", "conntrack", "conntrackd-top"];
const SIZE_OFF_MAX: f64 = 0.15;

#[test]
fn the_programs_are_as_large_as_the_documents_say() {
    let Some(ours) = std::env::var_os(OUR_DAEMON) else {
        return skip("CONNTRACKD_BIN names no release binaries");
    };
    let text = fs::read_to_string(workspace().join("docs/guide/installation.md")).unwrap();
    for name in SIZED {
        let row = text
            .lines()
            .find_map(|line| line.strip_prefix(&format!("| `{name}`")))
            .unwrap();
        let told = row.split('|').nth(1).unwrap().trim();
        let told: f64 = told.strip_suffix(" MiB").unwrap().parse().unwrap();
        let program = Path::new(&ours).with_file_name(name);
        let size = fs::metadata(program).unwrap().len() as f64 / f64::from(1 << 20);
        assert!(
            (size / told - 1.0).abs() < SIZE_OFF_MAX,
            "{name}: {size:.1} MiB, told {told}"
        );
    }
}

#[test]
fn what_is_packed_is_what_the_documents_tell() {
    let fragment =
        fs::read_to_string(workspace().join("config/sysctl/60-conntrackd.conf")).unwrap();
    let readme = fs::read_to_string(workspace().join("README.md")).unwrap();
    for line in fragment.lines().filter(|line| line.starts_with("net.")) {
        assert!(
            readme.contains(&line.replace(' ', "")),
            "{line} is not in the README"
        );
    }
}

/// The rules for logs, tried by logrotate itself on files of its own: the daemon's file is turned, and the new one is written to.
#[test]
fn logrotate_understands_its_file() {
    let Some(logrotate) = find_tool("logrotate") else {
        return skip("no logrotate");
    };
    let lab = Lab::new().unwrap();
    let dir = lab.dir().to_str().unwrap();
    let rules = fs::read_to_string(workspace().join("config/logrotate/conntrackd")).unwrap();
    let own = rules.replace("/var/log", dir);
    let file = lab.dir().join("rules");
    fs::write(&file, own).unwrap();
    fs::write(lab.dir().join("conntrackd.log"), "a line\n").unwrap();
    let mut command = Command::new(logrotate);
    command
        .args(["--force", "--state"])
        .arg(lab.dir().join("state"))
        .arg(&file);
    let said = run_within(command, "", COMMAND_LIMIT).unwrap();
    assert!(
        said.status.success() && said.stderr.is_empty(),
        "{}",
        said.stderr
    );
    assert!(lab.dir().join("conntrackd.log.1").is_file());
}
