//! The bench of the transcripts: fw1 forwards between a client and a server, fw2 only has the links to fw1.
//!
//! ```text
//! client eth0 ── eth0 fw1 eth1 ── eth0 server
//!                 eth2 │ eth3
//!                     fw2
//! ```

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use netlab::process::{Finished, run_within};
use netlab::{Lab, Namespace, Peer};

use crate::script::Node;

const LIMIT: Duration = Duration::from_secs(20);

/// Rules of both firewalls, as the transcripts' README says.
const RULES: &str = r#"
table inet filter {
    ct helper ftp-control { type "ftp" protocol tcp; }
    chain prerouting {
        type filter hook prerouting priority 0;
        tcp dport 21 ct helper set "ftp-control"
    }
    chain forward {
        type filter hook forward priority 0;
        ct state new counter
        tcp dport 9099 ct mark set 42
    }
}
table ip nat {
    chain postrouting {
        type nat hook postrouting priority 100;
        oifname "eth1" tcp dport 8081 masquerade
    }
}
"#;

/// Runs a command with directories of its own where the daemon has its files.
const INSIDE: &str = r#"
mount --bind "$1/run" /run && mount --bind "$1/log" /var/log && mount --bind "$1/etc" /etc/conntrackd || exit 99
PATH="$1/bin:$PATH"
shift
exec "$@"
"#;

/// Namespaces and files.
pub(crate) struct Bench {
    pub(crate) client: Namespace,
    pub(crate) server: Namespace,
    pub(crate) fw1: Namespace,
    pub(crate) fw2: Namespace,
    lab: Lab,
}

/// A command that cannot write; killed when dropped.
pub(crate) struct Unread(Child);

impl Drop for Unread {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Bench {
    /// Wires, addresses and rules; no daemon.
    pub(crate) fn new() -> Self {
        let mut lab = Lab::new().unwrap();
        let [client, server, fw1, fw2] =
            ["client", "server", "fw1", "fw2"].map(|role| lab.namespace(role).unwrap());
        lab.cable((&client, "eth0"), (&fw1, "eth0")).unwrap();
        lab.cable((&server, "eth0"), (&fw1, "eth1")).unwrap();
        for link in ["eth2", "eth3"] {
            lab.cable((&fw1, link), (&fw2, link)).unwrap();
        }
        for (namespace, interface, addrs) in [
            (&client, "eth0", ["192.168.0.10/24", "fd00:1::10/64"]),
            (&server, "eth0", ["192.168.1.10/24", "fd00:2::10/64"]),
            (&fw1, "eth0", ["192.168.0.1/24", "fd00:1::1/64"]),
            (&fw1, "eth1", ["192.168.1.1/24", "fd00:2::1/64"]),
            (&fw1, "eth2", ["192.168.100.1/24", "fd00:100::1/64"]),
            (&fw2, "eth2", ["192.168.100.2/24", "fd00:100::2/64"]),
            (&fw1, "eth3", ["192.168.101.1/24", "fd00:101::1/64"]),
            (&fw2, "eth3", ["192.168.101.2/24", "fd00:101::2/64"]),
        ] {
            for addr in addrs {
                namespace.add_addr(interface, addr).unwrap();
            }
        }
        for (namespace, net) in [
            (&client, ["192.168.0.1", "fd00:1::1"]),
            (&server, ["192.168.1.1", "fd00:2::1"]),
        ] {
            for via in net {
                namespace
                    .run(&format!("ip route add default via {via}"))
                    .unwrap();
            }
        }
        for firewall in [&fw1, &fw2] {
            firewall.forward().unwrap();
            for (setting, value) in [("acct", "1"), ("events", "1")] {
                let setting = format!("net.netfilter.nf_conntrack_{setting}");
                firewall.sysctl(&setting, value).unwrap();
            }
            firewall.nft(RULES).unwrap();
            firewall
                .nft(
                    "table inet links {
                        chain in { type filter hook prerouting priority -300; iifname { eth2, eth3 } notrack; }
                        chain out { type filter hook output priority -300; oifname { eth2, eth3 } notrack; }
                    }",
                )
                .unwrap();
        }
        let bench = Self {
            client,
            server,
            fw1,
            fw2,
            lab,
        };
        for node in [Node::Fw1, Node::Fw2] {
            let dir = bench.dir(node);
            for part in ["run/lock", "log", "etc", "bin"] {
                std::fs::create_dir_all(dir.join(part)).unwrap();
            }
            let program = std::path::absolute(Peer::Ours.program().expect("no program")).unwrap();
            std::os::unix::fs::symlink(program, dir.join("bin/conntrackd")).unwrap();
        }
        bench
    }

    /// Writes `/etc/conntrackd/conntrackd.conf`.
    pub(crate) fn configure(&self, node: Node, text: &str) {
        std::fs::write(self.dir(node).join("etc/conntrackd.conf"), text).unwrap();
    }

    /// Runs a command of a transcript.
    pub(crate) fn run(&self, node: Node, command: &str) -> Finished {
        run_within(self.inside(node, command), "", LIMIT)
            .unwrap_or_else(|error| panic!("{node:?}: {command}: {error:#}"))
    }

    /// Starts a command whose output nobody reads.
    pub(crate) fn unread(&self, node: Node, command: &str) -> Unread {
        let mut inside = self.inside(node, command);
        Unread(inside.stdout(Stdio::piped()).spawn().unwrap())
    }

    fn inside(&self, node: Node, command: &str) -> Command {
        let mut inside = self.namespace(node).command("sh");
        inside.args(["-c", INSIDE, "sh"]).arg(self.dir(node));
        inside.args(command.split_whitespace());
        inside
    }

    /// A firewall.
    pub(crate) fn namespace(&self, node: Node) -> &Namespace {
        match node {
            Node::Fw1 => &self.fw1,
            Node::Fw2 => &self.fw2,
        }
    }

    /// The daemon's log.
    pub(crate) fn log(&self, node: Node) -> String {
        std::fs::read_to_string(self.dir(node).join("log/conntrackd.log")).unwrap_or_default()
    }

    fn dir(&self, node: Node) -> PathBuf {
        self.lab.dir().join(format!("{node:?}"))
    }
}
