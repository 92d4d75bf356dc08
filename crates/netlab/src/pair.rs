//! A firewall pair between a client and a server: what conntrackd is made for.
//!
//! ```text
//!             lan                       wan
//!            ┌───┐    ┌── fwA ──┐      ┌───┐
//!  client ───┤   ├────┤  │sync  ├──────┤   ├─── server
//!            │   ├────┤  │      ├──────┤   │
//!            └───┘    └── fwB ──┘      └───┘
//! ```
//!
//! The addresses that client and server send to belong to the firewall that is active, and move.

use std::net::SocketAddr;

use anyhow::Result;

use crate::announce::announce;
use crate::config::NodeConfig;
use crate::lab::Lab;
use crate::namespace::Namespace;
use crate::traffic::Route;

/// The active firewall's addresses: interface, address.
const ACTIVE_ADDRS: [(&str, &str); 4] = [
    ("lan", "10.0.1.1/24"),
    ("lan", "fd00:1::1/64"),
    ("wan", "203.0.113.1/24"),
    ("wan", "2001:db8:2::1/64"),
];

const CLIENT_V4: &str = "10.0.1.10";
const SERVER_V4: &str = "203.0.113.10";
const SERVER_V6: &str = "2001:db8:2::10";
const ACTIVE_WAN_V4: &str = "203.0.113.1";

/// Rules of both firewalls.
///
/// The ports of translated connections are random, so that a translation that is lost cannot be guessed again by
/// chance. Identifiers of pings stay: version 1 of the synchronisation protocol does not carry their translation.
const RULES: &str = r#"
table inet filter {
    chain forward {
        type filter hook forward priority 0; policy drop;
        ct state invalid counter drop
        ct state established,related counter accept
        ct state new jump newcomers
    }
    chain newcomers {
        iifname "lan" counter accept
        iifname "wan" ct status dnat counter accept
    }
}
table ip nat {
    chain prerouting {
        type nat hook prerouting priority -100;
        iifname "wan" tcp dport 8080 dnat to 10.0.1.10:80
    }
    chain postrouting {
        type nat hook postrouting priority 100;
        oifname "wan" meta l4proto { tcp, udp } masquerade fully-random
        oifname "wan" masquerade
    }
}
"#;

/// The pair. Its lab goes last, after whatever runs inside.
#[derive(Debug)]
pub struct Pair {
    /// Inside; opens connections and answers forwarded ones.
    pub client: Namespace,
    /// The firewall that is active in the beginning.
    pub a: Namespace,
    /// The firewall that stands by.
    pub b: Namespace,
    /// Outside.
    pub server: Namespace,
    /// Holds them all.
    pub lab: Lab,
}

impl Pair {
    /// Namespaces, wires, addresses, strict rules; firewall A is active.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn new() -> Result<Self> {
        let mut lab = Lab::new()?;
        let client = lab.namespace("client")?;
        let a = lab.namespace("fwA")?;
        let b = lab.namespace("fwB")?;
        let server = lab.namespace("server")?;
        wire(&mut lab, &client, &server, &[&a, &b])?;
        lab.cable((&a, "sync"), (&b, "sync"))?;
        for (firewall, addr) in [(&a, sync_addr(true)), (&b, sync_addr(false))] {
            harden(firewall, addr)?;
        }
        let pair = Self {
            client,
            a,
            b,
            server,
            lab,
        };
        pair.activate(&pair.a)?;
        Ok(pair)
    }

    /// Gives a firewall the active addresses and tells the neighbours.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn activate(&self, firewall: &Namespace) -> Result<()> {
        activate(firewall)
    }

    /// Lets neither firewall accept new connections any more: whatever still passes belongs to one opened before.
    ///
    /// # Errors
    /// nft refuses.
    pub fn close(&self) -> Result<()> {
        for firewall in [&self.a, &self.b] {
            close(firewall)?;
        }
        Ok(())
    }

    /// Cuts a firewall off: every link down, its addresses with them.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn cut(&self, firewall: &Namespace) -> Result<()> {
        cut(firewall)
    }

    /// Configuration of the daemon on A, or of that on B.
    #[must_use]
    pub fn config(&self, a: bool) -> NodeConfig {
        let mut config = NodeConfig::ftfw_multicast("sync", sync_addr(a));
        for (_, addr) in ACTIVE_ADDRS {
            config.ignore.push(host(addr).to_owned());
        }
        config.ignore.push("192.168.100.0/24".to_owned());
        config.ignore.push("fe80::/10".to_owned());
        config
    }

    /// From the client through the masquerade; the port is the server's.
    #[must_use]
    pub fn masqueraded<'a>(&'a self, name: &'a str, port: u16) -> Route<'a> {
        masqueraded(&self.client, &self.server, name, port)
    }

    /// From outside through the port forward to the client's namespace.
    #[must_use]
    pub fn forwarded<'a>(&'a self, name: &'a str) -> Route<'a> {
        forwarded(&self.client, &self.server, name)
    }

    /// From the client over IPv6, untranslated.
    #[must_use]
    pub fn over_v6<'a>(&'a self, name: &'a str, port: u16) -> Route<'a> {
        over_v6(&self.client, &self.server, name, port)
    }
}

/// Switches, addresses and routes of client and server, with the firewalls between them.
pub(crate) fn wire(
    lab: &mut Lab,
    client: &Namespace,
    server: &Namespace,
    firewalls: &[&Namespace],
) -> Result<()> {
    let with = |end| [&[end], firewalls].concat();
    lab.switch("lan", &with(client))?;
    lab.switch("wan", &with(server))?;
    client.add_addr("lan", &format!("{CLIENT_V4}/24"))?;
    client.add_addr("lan", "fd00:1::10/64")?;
    client.run("ip route add default via 10.0.1.1")?;
    client.run("ip route add default via fd00:1::1")?;
    server.add_addr("wan", &format!("{SERVER_V4}/24"))?;
    server.add_addr("wan", &format!("{SERVER_V6}/64"))?;
    server.run("ip route add fd00:1::/64 via 2001:db8:2::1")?;
    Ok(())
}

/// The address of a firewall on its link `sync`, strict rules, forwarding.
pub(crate) fn harden(firewall: &Namespace, sync_addr: &str) -> Result<()> {
    firewall.add_addr("sync", &format!("{sync_addr}/24"))?;
    firewall.forward()?;
    for (setting, value) in [("tcp_loose", "0"), ("acct", "1"), ("events", "1")] {
        firewall.sysctl(&format!("net.netfilter.nf_conntrack_{setting}"), value)?;
    }
    firewall.nft(RULES)?;
    firewall.untrack("sync")
}

/// See [`Pair::activate`].
pub(crate) fn activate(firewall: &Namespace) -> Result<()> {
    for (interface, addr) in ACTIVE_ADDRS {
        firewall.add_addr(interface, addr)?;
        announce(firewall, interface, host(addr).parse()?)?;
    }
    Ok(())
}

/// Takes the active addresses away.
pub(crate) fn deactivate(firewall: &Namespace) -> Result<()> {
    for (interface, addr) in ACTIVE_ADDRS {
        firewall.run(&format!("ip addr del {addr} dev {interface}"))?;
    }
    Ok(())
}

/// See [`Pair::close`].
pub(crate) fn close(firewall: &Namespace) -> Result<()> {
    firewall.nft("flush chain inet filter newcomers")
}

/// See [`Pair::cut`].
pub(crate) fn cut(firewall: &Namespace) -> Result<()> {
    for interface in ["lan", "wan", "sync"] {
        firewall.set_link(interface, false)?;
    }
    Ok(())
}

/// See [`Pair::masqueraded`].
pub(crate) fn masqueraded<'a>(
    client: &'a Namespace,
    server: &'a Namespace,
    name: &'a str,
    port: u16,
) -> Route<'a> {
    let target = socket_addr(SERVER_V4, port);
    Route {
        name,
        client,
        server,
        listen: target,
        target,
    }
}

/// See [`Pair::forwarded`].
pub(crate) fn forwarded<'a>(
    client: &'a Namespace,
    server: &'a Namespace,
    name: &'a str,
) -> Route<'a> {
    Route {
        name,
        client: server,
        server: client,
        listen: socket_addr(CLIENT_V4, 80),
        target: socket_addr(ACTIVE_WAN_V4, 8080),
    }
}

/// See [`Pair::over_v6`].
pub(crate) fn over_v6<'a>(
    client: &'a Namespace,
    server: &'a Namespace,
    name: &'a str,
    port: u16,
) -> Route<'a> {
    let target = socket_addr(SERVER_V6, port);
    Route {
        name,
        client,
        server,
        listen: target,
        target,
    }
}

/// An address without its prefix length.
fn host(addr: &str) -> &str {
    addr.split('/').next().unwrap_or(addr)
}

fn sync_addr(a: bool) -> &'static str {
    if a { "192.168.100.1" } else { "192.168.100.2" }
}

fn socket_addr(addr: &str, port: u16) -> SocketAddr {
    SocketAddr::new(addr.parse().expect("a literal address"), port)
}
