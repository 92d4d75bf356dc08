//! Several firewalls between a client and a server, each with a daemon that speaks the native dialect with all others.
//!
//! As [`crate::pair`], with a switch in place of the cable between the firewalls: `fw1`, `fw2` and so on.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::config::NodeConfig;
use crate::daemon::Daemon;
use crate::lab::Lab;
use crate::namespace::Namespace;
use crate::pair;
use crate::process::wait_until;
use crate::traffic::Route;

/// In place of a masquerade, which has the kernel forget its connections when the address leaves the firewall.
const TRANSLATION: &str = "
flush chain ip nat postrouting
table ip nat { chain postrouting {
    oifname \"wan\" meta l4proto { tcp, udp } snat to 203.0.113.1 fully-random
    oifname \"wan\" snat to 203.0.113.1
}; }
";

/// A firewall and its daemon.
#[derive(Debug)]
pub struct Firewall {
    /// Its name in the mesh.
    pub name: String,
    /// Where it is.
    pub namespace: Namespace,
    /// What keeps it in step.
    pub daemon: Daemon,
    /// Its public key.
    key: String,
}

/// The mesh. Its lab goes last, after whatever runs inside.
#[derive(Debug)]
pub struct Mesh {
    /// Inside; opens connections and answers forwarded ones.
    pub client: Namespace,
    /// The firewalls; the first is active in the beginning.
    pub firewalls: Vec<Firewall>,
    /// Outside.
    pub server: Namespace,
    /// Holds them all.
    pub lab: Lab,
}

/// How the daemons are configured.
#[derive(Clone, Copy, Debug)]
pub struct MeshOptions {
    /// Hot standby.
    pub inject: bool,
    /// Entries that a cache has room for.
    pub entries: usize,
}

impl Mesh {
    /// Namespaces, wires, addresses, strict rules, keys and configurations; the first firewall is active, no daemon runs yet.
    ///
    /// # Errors
    /// The kernel refuses, or the program makes no keys.
    pub fn new(program: &Path, count: usize, options: MeshOptions) -> Result<Self> {
        let mut lab = Lab::new()?;
        let client = lab.namespace("client")?;
        let names: Vec<_> = (1..=count).map(|number| format!("fw{number}")).collect();
        let namespaces = names
            .iter()
            .map(|name| lab.namespace(name))
            .collect::<Result<Vec<_>>>()?;
        let server = lab.namespace("server")?;
        let plugged: Vec<_> = namespaces.iter().collect();
        pair::wire(&mut lab, &client, &server, &plugged)?;
        lab.switch("sync", &plugged)?;
        let mut firewalls = Vec::new();
        for (index, (name, namespace)) in names.into_iter().zip(namespaces).enumerate() {
            pair::harden(&namespace, &sync_addr(index))?;
            namespace.nft(TRANSLATION)?;
            let unused = NodeConfig::ftfw_multicast("sync", &sync_addr(index));
            let daemon = Daemon::prepare(program, &lab, &namespace, &unused)?;
            let file = daemon.path("key").display().to_string();
            let key = daemon.client(["keygen", &file])?.trim().to_owned();
            firewalls.push(Firewall {
                name,
                namespace,
                daemon,
                key,
            });
        }
        let mut mesh = Self {
            client,
            firewalls,
            server,
            lab,
        };
        for index in 0..count {
            let text = mesh.config(index, options);
            mesh.firewalls[index].daemon.configure_toml(&text)?;
        }
        pair::activate(&mesh.firewalls[0].namespace)?;
        Ok(mesh)
    }

    /// Starts all daemons, the first as primary and the others as backups, and waits until all have proved that they hold the
    /// same.
    ///
    /// # Errors
    /// One does not start, or they do not come together within `limit`.
    pub fn start(&mut self, limit: Duration) -> Result<()> {
        for firewall in &mut self.firewalls {
            firewall.daemon.launch()?;
        }
        for (index, firewall) in self.firewalls.iter().enumerate() {
            let role = if index == 0 { "primary" } else { "backup" };
            firewall.daemon.client(["role", role])?;
        }
        self.until_in_sync(limit)
    }

    /// Waits until all daemons that run have proved that they hold the same.
    ///
    /// # Errors
    /// They have not within `limit`.
    pub fn until_in_sync(&self, limit: Duration) -> Result<()> {
        let running: Vec<_> = self
            .firewalls
            .iter()
            .filter(|firewall| firewall.daemon.pid().is_some())
            .collect();
        let is_proved = |peer: &Value| peer["state"] == "in_sync" && !peer["proved_s"].is_null();
        let others = running.len().saturating_sub(1);
        let all = wait_until(limit, || {
            running.iter().all(|firewall| {
                let peers = firewall.peers().unwrap_or_default();
                peers.iter().filter(|peer| is_proved(peer)).count() >= others
            })
        });
        if !all {
            let texts = running.iter().map(|firewall| {
                let peers = firewall.daemon.client(["peers"]).unwrap_or_default();
                format!("{}\n{peers}{}", firewall.name, firewall.daemon.messages())
            });
            bail!("never in sync:\n{}", texts.collect::<Vec<_>>().join("\n"));
        }
        Ok(())
    }

    /// Gives a firewall the active addresses and tells the neighbours.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn activate(&self, index: usize) -> Result<()> {
        pair::activate(&self.firewalls[index].namespace)
    }

    /// Takes the active addresses from a firewall.
    ///
    /// # Errors
    /// It has not got them.
    pub fn deactivate(&self, index: usize) -> Result<()> {
        pair::deactivate(&self.firewalls[index].namespace)
    }

    /// Lets no firewall accept new connections any more: whatever still passes belongs to one opened before.
    ///
    /// # Errors
    /// nft refuses.
    pub fn close(&self) -> Result<()> {
        for firewall in &self.firewalls {
            pair::close(&firewall.namespace)?;
        }
        Ok(())
    }

    /// Cuts a firewall off: every link down, its addresses with them.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn cut(&self, index: usize) -> Result<()> {
        pair::cut(&self.firewalls[index].namespace)
    }

    /// From the client, translated to the address that moves; the port is the server's.
    #[must_use]
    pub fn translated<'a>(&'a self, name: &'a str, port: u16) -> Route<'a> {
        pair::masqueraded(&self.client, &self.server, name, port)
    }

    /// From outside through the port forward to the client's namespace.
    #[must_use]
    pub fn forwarded<'a>(&'a self, name: &'a str) -> Route<'a> {
        pair::forwarded(&self.client, &self.server, name)
    }

    /// From the client over IPv6, untranslated.
    #[must_use]
    pub fn over_v6<'a>(&'a self, name: &'a str, port: u16) -> Route<'a> {
        pair::over_v6(&self.client, &self.server, name, port)
    }

    fn config(&self, own: usize, options: MeshOptions) -> String {
        let daemon = &self.firewalls[own].daemon;
        let path = |file: &str| daemon.path(file).display().to_string();
        let mut text = format!(
            "[native]\nname = \"{}\"\nprivate_key_file = \"{}\"\n",
            self.firewalls[own].name,
            path("key")
        );
        for (index, firewall) in self.firewalls.iter().enumerate() {
            if index != own {
                text += &format!(
                    "[[peer]]\nname = \"{}\"\naddresses = [\"{}\"]\npublic_keys = [\"{}\"]\n",
                    firewall.name,
                    sync_addr(index),
                    firewall.key
                );
            }
        }
        text + &format!(
            "[standby]\ninject = {}
[general]
hash_limit = {}
hash_size = {}
netlink_buffer_bytes = 67108864
netlink_buffer_max_growth_bytes = 536870912
lock_file = \"{}\"
unix_path = \"{}\"
log_file = \"{}\"
[general.filter]
from = \"userspace\"
address.ignore = [\"127.0.0.1\", \"::1\", \"192.168.100.0/24\", \"fe80::/10\"]
",
            options.inject,
            options.entries.max(65536) * 2,
            (options.entries / 2).max(32768),
            path("lock"),
            path("ctl"),
            path("log"),
        )
    }
}

impl Firewall {
    /// Its `peers --json`.
    ///
    /// # Errors
    /// The daemon does not answer.
    pub fn peers(&self) -> Result<Vec<Value>> {
        let text = self.daemon.client(["peers", "--json"])?;
        Ok(serde_json::from_str(&text)?)
    }

    /// What it says of a peer.
    ///
    /// # Errors
    /// The daemon does not answer, or knows no such peer.
    pub fn peer(&self, name: &str) -> Result<Value> {
        let peers = self.peers()?;
        let mut peers = peers.into_iter();
        let peer = peers.find(|peer| peer["name"] == name);
        peer.with_context(|| format!("{} knows no {name}", self.name))
    }
}

fn sync_addr(index: usize) -> String {
    format!("192.168.100.{}", index + 1)
}
