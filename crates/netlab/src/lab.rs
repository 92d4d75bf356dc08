//! Namespaces and the wires between them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::namespace::Namespace;
use crate::process::{run_within, wait_until};
use crate::skip::find_tool;

const PREFIX: &str = "netlab";

/// A set of namespaces, wired, with a directory for files. Dropping it removes everything, processes included.
#[derive(Debug)]
pub struct Lab {
    tag: String,
    dir: PathBuf,
    namespaces: Vec<Namespace>,
}

impl Lab {
    /// An empty lab.
    ///
    /// The first one of a process also removes what processes that are gone have left behind.
    ///
    /// # Errors
    /// No directory can be made.
    pub fn new() -> Result<Self> {
        static CLEANED: Once = Once::new();
        static COUNT: AtomicU32 = AtomicU32::new(0);
        CLEANED.call_once(remove_leftovers);
        let pid = std::process::id();
        let noise = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |age| age.subsec_nanos())
            & 0xffff;
        let tag = format!(
            "{PREFIX}-{pid}-{}-{}{noise:04x}",
            start_tick(pid).unwrap_or(0),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let dir = std::env::temp_dir().join(&tag);
        std::fs::create_dir(&dir).with_context(|| dir.display().to_string())?;
        Ok(Self {
            tag,
            dir,
            namespaces: Vec::new(),
        })
    }

    /// A directory of this lab alone, removed with it.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A new namespace with its loopback up and addresses usable without duplicate detection.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn namespace(&mut self, role: &str) -> Result<Namespace> {
        let namespace = Namespace::new(format!("{}-{role}", self.tag));
        ip(&format!("netns add {}", namespace.name()))?;
        self.namespaces.push(namespace.clone());
        for which in ["all", "default"] {
            namespace.sysctl(&format!("net.ipv6.conf.{which}.accept_dad"), "0")?;
            namespace.sysctl(&format!("net.ipv6.conf.{which}.dad_transmits"), "0")?;
            namespace.sysctl(&format!("net.ipv6.conf.{which}.accept_ra"), "0")?;
        }
        namespace.set_link("lo", true)?;
        Ok(namespace)
    }

    /// A cable: an interface in each of two namespaces, both up.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn cable(&self, a: (&Namespace, &str), b: (&Namespace, &str)) -> Result<()> {
        ip(&format!(
            "link add {} netns {} type veth peer name {} netns {}",
            a.1,
            a.0.name(),
            b.1,
            b.0.name()
        ))?;
        a.0.set_link(a.1, true)?;
        b.0.set_link(b.1, true)
    }

    /// A switch: one more namespace with a bridge, and an interface called `interface` in each namespace plugged into it.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn switch(&mut self, interface: &str, plugged: &[&Namespace]) -> Result<Namespace> {
        let switch = self.namespace(&format!("sw-{interface}"))?;
        // Not snooping: groups would wait for a querier that nobody is.
        switch.run("ip link add br0 type bridge forward_delay 0 mcast_snooping 0")?;
        switch.set_link("br0", true)?;
        for (port, namespace) in plugged.iter().enumerate() {
            let port = format!("port{port}");
            self.cable((&switch, &port), (namespace, interface))?;
            switch.run(&format!("ip link set {port} master br0"))?;
        }
        Ok(switch)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for namespace in &self.namespaces {
            remove(namespace);
        }
        // Best effort: there is nobody to tell.
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// Ends the processes inside, which this crate started, and removes the namespace.
fn remove(namespace: &Namespace) {
    let gone = wait_until(Duration::from_secs(2), || {
        let pids = namespace.pids();
        for &pid in &pids {
            // It may end by itself meanwhile.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        pids.is_empty()
    });
    if !gone {
        eprintln!("netlab: processes in {} do not end", namespace.name());
    }
    let removed = ip(&format!("netns del {}", namespace.name()));
    // Another process may have been faster with a leftover.
    if let Err(error) = removed
        && Path::new("/run/netns").join(namespace.name()).exists()
    {
        eprintln!("netlab: {error:#}");
    }
}

/// Removes namespaces and directories of labs whose process is gone, for instance killed by a test runner.
pub fn remove_leftovers() {
    let names = |dir: &Path| -> Vec<String> {
        std::fs::read_dir(dir)
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|name| is_leftover(name))
            .collect()
    };
    for name in names(Path::new("/run/netns")) {
        remove(&Namespace::new(name));
    }
    let temp = std::env::temp_dir();
    for name in names(&temp) {
        // Best effort: the next one tries again.
        let _ = std::fs::remove_dir_all(temp.join(name));
    }
}

/// Whether a name is that of a lab whose maker is gone; its start time tells it from a later process of the same id.
fn is_leftover(name: &str) -> bool {
    let mut words = name.split('-');
    if words.next() != Some(PREFIX) {
        return false;
    }
    let mut number = || words.next().and_then(|word| word.parse::<u64>().ok());
    let (Some(pid), Some(tick)) = (number(), number()) else {
        return false;
    };
    u32::try_from(pid).is_ok_and(|pid| start_tick(pid) != Some(tick))
}

/// When a process started, in clock ticks since boot.
fn start_tick(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may hold anything; field 22 is the 20th after it.
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(19)?.parse().ok()
}

fn ip(arguments: &str) -> Result<()> {
    let mut command = Command::new(find_tool("ip").unwrap_or_else(|| "ip".into()));
    command.args(arguments.split_whitespace());
    run_within(command, "", Duration::from_secs(30))?
        .success()
        .with_context(|| format!("ip {arguments}"))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_labs_of_processes_that_are_gone_are_leftovers() {
        let pid = std::process::id();
        let tick = start_tick(pid).unwrap();
        assert!(!is_leftover(&format!("{PREFIX}-{pid}-{tick}-0abcd-fw")));
        assert!(is_leftover(&format!(
            "{PREFIX}-{pid}-{}-0abcd-fw",
            tick + 1
        )));
        assert!(!is_leftover("netlab-something-else"));
        assert!(!is_leftover("customer-1-2-3"));
    }

    #[test]
    fn a_lab_is_gone_after_a_panic_with_the_processes_inside() {
        crate::require_root_or_skip!();
        let (sender, receiver) = std::sync::mpsc::channel();
        let outcome = std::thread::spawn(move || {
            let mut lab = Lab::new().unwrap();
            let a = lab.namespace("a").unwrap();
            let b = lab.namespace("b").unwrap();
            lab.cable((&a, "x"), (&b, "y")).unwrap();
            a.add_addr("x", "10.0.0.1/24").unwrap();
            b.add_addr("y", "10.0.0.2/24").unwrap();
            a.run("ping -c 1 -W 2 10.0.0.2").unwrap();
            let mut child = a.command("sleep").arg("60").spawn().unwrap();
            sender
                .send((a.name().to_owned(), lab.dir().to_owned()))
                .unwrap();
            std::thread::spawn(move || child.wait());
            panic!("on purpose");
        })
        .join();
        assert!(outcome.is_err());
        let (name, dir) = receiver.recv().unwrap();
        assert!(!Path::new("/run/netns").join(name).exists());
        assert!(!dir.exists());
    }
}
