//! Two nodes that speak the native dialect, otherwise configured as the others are.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use netlab::{Daemon, Lab, Namespace, Peer};

use crate::node;
use crate::pair::{Setup, config};

/// Starts the active node and the standby.
pub(crate) fn start(lab: &Lab, nodes: [&Namespace; 2]) -> Result<[Daemon; 2]> {
    let program = Peer::Ours.program().context("no program")?;
    let mut daemons = Vec::new();
    let mut keys = Vec::new();
    for (number, namespace) in (1..).zip(nodes) {
        let daemon = Daemon::prepare(&program, lab, namespace, &config(number, Setup::Ftfw))?;
        let file = daemon.path("key").display().to_string();
        keys.push(daemon.client(["keygen", &file])?.trim().to_owned());
        daemons.push(daemon);
    }
    keys.reverse();
    for ((number, daemon), key) in (1..).zip(&mut daemons).zip(keys) {
        daemon.configure_toml(&text(daemon, number, &key))?;
        daemon.launch()?;
    }
    daemons.try_into().ok().context("two nodes")
}

/// The same caches, buffers and filter as [`config`] gives to version 1.
fn text(daemon: &Daemon, number: u8, key: &str) -> String {
    let path = |file: &str| daemon.path(file).display().to_string();
    let other = 3 - number;
    format!(
        r#"
[native]
name = "node{number}"
private_key_file = "{}"
[[peer]]
name = "node{other}"
addresses = ["192.168.100.{other}"]
public_keys = ["{key}"]
[general]
hash_size = 524288
hash_limit = 4194304
netlink_buffer_bytes = 16777216
netlink_buffer_max_growth_bytes = 67108864
lock_file = "{}"
unix_path = "{}"
log_file = "{}"
[general.filter]
from = "userspace"
protocol.accept = ["TCP", "UDP", "ICMP", "IPv6-ICMP"]
address.ignore = ["192.168.100.1", "192.168.100.2"]
"#,
        path("key"),
        path("lock"),
        path("ctl"),
        path("log"),
    )
}

/// Waits until both have proved that they hold the same.
pub(crate) fn until_proved(daemons: [&Daemon; 2], limit: Duration) -> Result<()> {
    let begun = Instant::now();
    loop {
        let peers = [node::peer(daemons[0])?, node::peer(daemons[1])?];
        let is_proved = |peer: &serde_json::Value| peer["proved_s"].is_number();
        if peers.iter().all(is_proved) {
            return Ok(());
        }
        if begun.elapsed() > limit {
            bail!("not in sync: {peers:?}\n{}", daemons[0].messages());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
