//! One network namespace: commands, sysctls, rules and sockets inside it.

use std::fs::File;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use nix::sched::{CloneFlags, setns};

use crate::process::{COMMAND_LIMIT, Finished, run_within};
use crate::skip::find_tool;

/// A handle of a namespace. It lives as long as its [`Lab`](crate::Lab), not as long as the handle.
#[derive(Clone, Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    pub(crate) fn new(name: String) -> Self {
        Self { name }
    }

    /// Name as `ip netns` lists it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A command that will run inside.
    ///
    /// `ip netns exec` replaces itself by the program, so the child's process id is the program's.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(find_tool("ip").unwrap_or_else(|| "ip".into()));
        command.args(["netns", "exec", &self.name]);
        command.arg(find_tool(program).unwrap_or_else(|| program.into()));
        command
    }

    /// Runs a line (words separated by blanks, no quoting) inside and returns its standard output.
    ///
    /// # Errors
    /// It fails, or takes longer than a minute.
    pub fn run(&self, line: &str) -> Result<String> {
        self.try_run(line)?
            .success()
            .with_context(|| format!("{}: {line}", self.name))
    }

    /// As [`run`](Self::run), but an exit status other than 0 is no error.
    ///
    /// # Errors
    /// It cannot be started, or takes longer than a minute.
    pub fn try_run(&self, line: &str) -> Result<Finished> {
        let mut words = line.split_whitespace();
        let program = words.next().ok_or_else(|| anyhow!("an empty command"))?;
        let mut command = self.command(program);
        command.args(words);
        run_within(command, "", COMMAND_LIMIT)
    }

    /// Loads a ruleset in nft's own language, on top of what is there.
    ///
    /// # Errors
    /// nft refuses it.
    pub fn nft(&self, ruleset: &str) -> Result<()> {
        let mut command = self.command("nft");
        command.args(["-f", "-"]);
        run_within(command, ruleset, COMMAND_LIMIT)?
            .success()
            .with_context(|| format!("{}: nft -f", self.name))?;
        Ok(())
    }

    /// Sets a sysctl, given with dots.
    ///
    /// # Errors
    /// There is no such setting, or the value is refused.
    pub fn sysctl(&self, setting: &str, value: &str) -> Result<()> {
        let path = sysctl_path(setting);
        self.enter(|| std::fs::write(&path, value))?
            .with_context(|| format!("{}: {setting}={value}", self.name))
    }

    /// Reads a sysctl, given with dots.
    ///
    /// # Errors
    /// There is no such setting.
    pub fn read_sysctl(&self, setting: &str) -> Result<String> {
        let path = sysctl_path(setting);
        let text = self
            .enter(|| std::fs::read_to_string(&path))?
            .with_context(|| format!("{}: {setting}", self.name))?;
        Ok(text.trim().to_owned())
    }

    /// Runs a closure inside. A socket made there belongs to the namespace for good, whoever uses it later.
    ///
    /// # Errors
    /// The namespace is gone.
    ///
    /// # Panics
    /// The closure does.
    pub fn enter<T: Send>(&self, inside: impl FnOnce() -> T + Send) -> Result<T> {
        let path = format!("/run/netns/{}", self.name);
        let file = File::open(&path).with_context(|| path.clone())?;
        // A namespace belongs to a thread, and a thread of its own cannot forget to return.
        std::thread::scope(|scope| {
            scope
                .spawn(move || {
                    setns(&file, CloneFlags::CLONE_NEWNET).with_context(|| path)?;
                    Ok(inside())
                })
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Turns forwarding on, IPv4 and IPv6.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn forward(&self) -> Result<()> {
        self.sysctl("net.ipv4.ip_forward", "1")?;
        self.sysctl("net.ipv6.conf.all.forwarding", "1")
    }

    /// Adds an address (`10.0.0.1/24`, `fd00::1/64`) to an interface; it is usable at once.
    ///
    /// # Errors
    /// `ip` refuses.
    pub fn add_addr(&self, interface: &str, addr: &str) -> Result<()> {
        let nodad = if addr.contains(':') { " nodad" } else { "" };
        self.run(&format!("ip addr add {addr} dev {interface}{nodad}"))?;
        Ok(())
    }

    /// Sets a link up or down.
    ///
    /// # Errors
    /// There is no such link.
    pub fn set_link(&self, interface: &str, up: bool) -> Result<()> {
        let state = if up { "up" } else { "down" };
        self.run(&format!("ip link set {interface} {state}"))?;
        Ok(())
    }

    /// Makes the kernel track connections here, with events for all of them, and nothing else.
    ///
    /// Without a rule that asks for a state no packet is tracked; with `nf_conntrack_events` at its default of 2,
    /// entries made while nobody listens never raise an event.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn track(&self) -> Result<()> {
        self.sysctl("net.netfilter.nf_conntrack_events", "1")?;
        self.nft(
            "table inet netlab_track { chain c { type filter hook forward priority 0; ct state new counter; }; }",
        )
    }

    /// Keeps what passes an interface from being tracked, as the synchronisation link should be.
    ///
    /// # Errors
    /// nft refuses.
    pub fn untrack(&self, interface: &str) -> Result<()> {
        self.nft(&format!(
            "table inet netlab_untracked {{
                chain in {{ type filter hook prerouting priority -300; iifname \"{interface}\" notrack; }}
                chain out {{ type filter hook output priority -300; oifname \"{interface}\" notrack; }}
            }}"
        ))
    }

    /// Drops a share of the UDP datagrams that arrive on an interface, at random; 0 ends it.
    ///
    /// # Errors
    /// nft refuses.
    pub fn lose(&self, interface: &str, percent: u8) -> Result<()> {
        self.nft("table inet netlab_loss; delete table inet netlab_loss")?;
        if percent > 0 {
            self.nft(&format!(
                "table inet netlab_loss {{ chain c {{ type filter hook input priority -300; \
                 iifname \"{interface}\" meta l4proto udp numgen random mod 100 < {percent} counter drop; }}; }}"
            ))?;
        }
        Ok(())
    }

    /// How many datagrams [`lose`](Self::lose) has dropped since it was last called.
    ///
    /// # Errors
    /// It does not drop anything here.
    pub fn lost(&self) -> Result<u64> {
        let rules = self.run("nft list table inet netlab_loss")?;
        let mut words = rules
            .split_whitespace()
            .skip_while(|&word| word != "packets");
        let packets = words.nth(1).context("no counter")?;
        Ok(packets.parse()?)
    }

    /// Ids of the processes inside.
    pub(crate) fn pids(&self) -> Vec<i32> {
        let mut command = Command::new(find_tool("ip").unwrap_or_else(|| "ip".into()));
        command.args(["netns", "pids", &self.name]);
        run_within(command, "", Duration::from_secs(10))
            .map(|finished| {
                let words = finished.stdout.split_whitespace();
                words.filter_map(|word| word.parse().ok()).collect()
            })
            .unwrap_or_default()
    }
}

fn sysctl_path(setting: &str) -> String {
    format!("/proc/sys/{}", setting.replace('.', "/"))
}
