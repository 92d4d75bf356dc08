//! The package on a machine that boots: systemd is process 1, and does with the unit what it does anywhere.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use netlab::process::{Background, COMMAND_LIMIT, run_within, wait_until};
use netlab::skip::skip;
use netlab::{Feature, Lab, Namespace, require_feature_or_skip, require_root_or_skip};

use super::{Root, enough, package};

const LIMIT: Duration = Duration::from_secs(20);

/// Ends as systemd, process 1 of a root with its own devices, processes and control groups. `$1`: the root; `$2`: where to see
/// all control groups; `$3`: the name of the machine's own.
const BOOT: &str = r#"
set -e
mount -t cgroup2 cgroup2 "$2"
mkdir "$2/$3"
echo $$ > "$2/$3/cgroup.procs"
exec unshare --pid --fork --kill-child --ipc --uts --cgroup sh -ec '
mount --bind "$1" "$1"
cd "$1"
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=755 tmpfs dev
# Its own, as it may set rights on them.
mknod -m 666 dev/null c 1 3
mknod -m 666 dev/zero c 1 5
mknod -m 666 dev/full c 1 7
mknod -m 666 dev/random c 1 8
mknod -m 666 dev/urandom c 1 9
mknod -m 666 dev/tty c 5 0
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts dev/pts
ln -s pts/ptmx dev/ptmx
exec env -i container=lab PATH=/usr/sbin:/usr/bin:/sbin:/bin chroot . /lib/systemd/systemd
' sh "$1"
"#;

/// Removes what systemd made of the machine's control group, which is empty by now. Arguments as for [`BOOT`].
const SWEEP: &str = r#"
mount -t cgroup2 cgroup2 "$2"
find "$2/$3" -depth -type d -exec rmdir {} +
"#;

/// A machine that runs; switched off when dropped.
struct Machine {
    namespace: Namespace,
    root: PathBuf,
    groups: PathBuf,
    process: Option<Background>,
}

impl Machine {
    fn boot(lab: &Lab, namespace: &Namespace, root: &Root) -> Self {
        let groups = lab.dir().join("groups");
        fs::create_dir(&groups).unwrap();
        let mut machine = Self {
            namespace: namespace.clone(),
            root: root.0.clone(),
            groups,
            process: None,
        };
        let console = lab.dir().join("console");
        machine.process = Some(Background::spawn(machine.shell(BOOT), &console).unwrap());
        let booted = wait_until(LIMIT, || {
            let said = machine.try_run("systemctl is-system-running");
            matches!(said.as_deref(), Some("running\n" | "degraded\n"))
        });
        assert!(booted, "{}", fs::read_to_string(console).unwrap());
        machine
    }

    /// A command with a view of its own of what is mounted.
    fn shell(&self, script: &str) -> Command {
        let mut command = self.namespace.command("unshare");
        command.args([
            "--mount",
            "--propagation",
            "private",
            "sh",
            "-c",
            script,
            "sh",
        ]);
        command.arg(&self.root).arg(&self.groups);
        command.arg(self.namespace.name());
        command
    }

    /// Process 1 as this machine sees it, once it is there.
    fn first(&self) -> Option<String> {
        let pid = self.process.as_ref()?.pid();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
        Some(children.split_whitespace().next()?.to_owned())
    }

    /// What a command printed, if it could be run, however it ended.
    fn try_run(&self, line: &str) -> Option<String> {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.first()?, "--all", "--root", "--wd"]);
        command.args(["/usr/bin/env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"]);
        command.args(["sh", "-c", line]);
        Some(run_within(command, "", COMMAND_LIMIT).ok()?.stdout)
    }

    fn run(&self, line: &str) -> String {
        self.try_run(line).unwrap_or_else(|| panic!("{line}"))
    }

    /// What systemd says of the daemon.
    fn unit(&self, property: &str) -> String {
        let said = self.run(&format!(
            "systemctl show --property={property} --value conntrackd"
        ));
        said.trim_end().to_owned()
    }

    #[track_caller]
    fn until(&self, what: &str, done: impl FnMut() -> bool) {
        let journal = || self.run("journalctl --no-pager --unit conntrackd");
        assert!(wait_until(LIMIT, done), "never: {what}\n{}", journal());
    }

    /// Waits until the daemon has been started again so often, and runs.
    #[track_caller]
    fn until_restarted(&self, times: u32) {
        self.until("started again", || {
            (self.unit("NRestarts"), self.unit("ActiveState"))
                == (times.to_string(), "active".into())
        });
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        drop(self.process.take());
        let swept = wait_until(LIMIT, || {
            run_within(self.shell(SWEEP), "", COMMAND_LIMIT)
                .is_ok_and(|swept| swept.status.success())
        });
        if !swept && !std::thread::panicking() {
            panic!("the control group cannot be removed");
        }
    }
}

/// The original's way of a configuration: files where its users have them, some in folders in which everybody may write.
const CONFIG: &str = "\
Sync {
    Mode FTFW {
    }
    UDP {
        IPv4_address 192.168.100.1
        IPv4_Destination_Address 192.168.100.2
        Port 3780
        Interface sync
    }
}
General {
    Scheduler {
        Type FIFO
        Priority 99
    }
    LogFile on
    LockFile /var/lock/conntrack.lock
    UNIX {
        Path /var/run/conntrackd.ctl
    }
}
";

/// Files that are there as long as the daemon runs.
const FILES: &str = "/var/lock/conntrack.lock /var/run/conntrackd.ctl";

#[test]
fn the_unit_starts_obeys_and_comes_back_under_systemd() {
    require_root_or_skip!("unshare", "nsenter");
    require_feature_or_skip!(Feature::Conntrack);
    if !enough() {
        return;
    }
    if !fs::read_to_string("/proc/filesystems")
        .unwrap()
        .contains("cgroup2")
    {
        return skip("the kernel lacks control groups of version 2");
    }
    let mut lab = Lab::new().unwrap();
    let [node, other] = ["node", "other"].map(|role| lab.namespace(role).unwrap());
    lab.cable((&node, "sync"), (&other, "sync")).unwrap();
    node.add_addr("sync", "192.168.100.1/24").unwrap();
    let root = Root::new(&lab);
    root.install(&package(&lab, "deb"));
    fs::write(root.path("etc/conntrackd/conntrackd.conf"), CONFIG).unwrap();
    let settings = root.path("etc/systemd/system/conntrackd.service.d");
    fs::create_dir_all(&settings).unwrap();
    fs::write(settings.join("soon.conf"), "[Service]\nWatchdogSec=2\n").unwrap();

    let machine = Machine::boot(&lab, &node, &root);
    assert_eq!(machine.unit("ActiveState"), "active");
    // What systemd and the daemon took away is gone; what is left is what its work needs.
    let pid = machine.unit("MainPID");
    let status = machine.run(&format!("cat /proc/{pid}/status"));
    let says = |field: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(field));
        line.unwrap().trim().to_owned()
    };
    assert!(!says("Uid:").starts_with('0'), "{status}");
    assert_eq!(says("CapEff:"), "0000000000001000", "CAP_NET_ADMIN alone");
    assert_eq!(
        (says("NoNewPrivs:"), says("Seccomp:")),
        ("1".into(), "2".into())
    );
    assert!(
        machine
            .run(&format!("chrt --pid {pid}"))
            .contains("SCHED_FIFO")
    );

    // It sees the kernel's events, and answers.
    let entry = "conntrack -I -s 10.0.0.1 -d 10.0.0.2 -p tcp --sport 1 --dport 2 --state ESTABLISHED -t 600";
    machine.run(entry);
    machine.until("the entry is in the cache", || {
        machine
            .run("conntrackd -i")
            .contains("src=10.0.0.1 dst=10.0.0.2")
    });
    machine.run("systemctl start conntrackd-role@primary");
    assert!(machine.run("conntrackd role").starts_with("primary "));
    machine.run("systemctl reload conntrackd");
    machine.until("the configuration is read again", || {
        fs::read_to_string(root.path("var/log/conntrackd.log"))
            .is_ok_and(|log| log.contains("configuration read again"))
    });
    assert_eq!(machine.unit("MainPID"), pid);

    // It dies, and it hangs.
    machine.run(&format!("kill -KILL {pid}"));
    machine.until_restarted(1);
    machine.run(&format!("kill -STOP {}", machine.unit("MainPID")));
    machine.until_restarted(2);
    assert!(machine.run("conntrackd -i").contains("src=10.0.0.1"));
    assert_eq!(machine.run(&format!("ls {FILES}")).lines().count(), 2);

    machine.run("systemctl stop conntrackd");
    assert_eq!(machine.unit("Result"), "success");
    assert_eq!(machine.run(&format!("ls {FILES}")), "");
    let journal = machine.run("journalctl --no-pager --unit conntrackd");
    assert!(journal.contains("initialization completed"), "{journal}");
    for complaint in ["ERROR", "denied", "Failed to"] {
        assert!(!journal.contains(complaint), "{journal}");
    }
}
