//! What is asked of a running node without starting a program: its control socket, its sockets' drops, its interface.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;

use anyhow::{Context, Result};
use netlab::{Daemon, Namespace};

/// `-s`, `-s runtime` and `-s cache` on the control socket of either program.
const STATISTICS: u32 = 21;
const STATISTICS_RUNTIME: u32 = 30;

/// Netfilter's number among the netlink protocols.
const NETFILTER: &str = "12";

fn ask(daemon: &Daemon, request: u32) -> Result<String> {
    let mut socket = UnixStream::connect(daemon.path("ctl"))?;
    socket.write_all(&request.to_ne_bytes())?;
    let mut text = String::new();
    socket.read_to_string(&mut text)?;
    Ok(text)
}

/// Entries in a cache, `internal` or `external`.
pub(crate) fn held(daemon: &Daemon, cache: &str) -> Result<u64> {
    let text = ask(daemon, STATISTICS)?;
    let block = format!("cache {cache}");
    let mut lines = text.lines().skip_while(|line| !line.starts_with(&block));
    let line = lines.find(|line| line.contains("current active connections"));
    let number = line.and_then(|line| line.rsplit(':').next()?.split_whitespace().next());
    Ok(number
        .with_context(|| format!("no {block}: {text}"))?
        .parse()?)
}

/// How often the daemon was told that events were lost.
pub(crate) fn overruns(daemon: &Daemon) -> Result<u64> {
    let page = ask(daemon, STATISTICS_RUNTIME)?;
    let line = page.lines().find(|line| line.contains("netlink overrun"));
    let number = line.and_then(|line| line.rsplit(':').next());
    Ok(number.unwrap_or_default().trim().parse()?)
}

/// Events that found no room in a netfilter socket of a namespace.
pub(crate) fn lost_events(namespace: &Namespace) -> Result<u64> {
    let text = read_inside(namespace, "/proc/thread-self/net/netlink")?;
    let drops = |line: &str| {
        let words: Vec<_> = line.split_whitespace().collect();
        let is_netfilter = words.get(1).is_some_and(|proto| *proto == NETFILTER);
        let drops = words.get(8)?.parse::<u64>().ok()?;
        is_netfilter.then_some(drops)
    };
    Ok(text.lines().filter_map(drops).sum())
}

/// Datagrams that found no room in a UDP socket of a namespace.
pub(crate) fn lost_datagrams(namespace: &Namespace) -> Result<u64> {
    let text = read_inside(namespace, "/proc/thread-self/net/udp")?;
    let drops = |line: &str| line.split_whitespace().last()?.parse::<u64>().ok();
    Ok(text.lines().skip(1).filter_map(drops).sum())
}

/// What a node says of its one peer of the native dialect.
pub(crate) fn peer(daemon: &Daemon) -> Result<serde_json::Value> {
    let mut peers: serde_json::Value = serde_json::from_str(&daemon.client(["peers", "--json"])?)?;
    peers
        .get_mut(0)
        .map(serde_json::Value::take)
        .context("no peer")
}

/// Bytes that a namespace has sent on the link.
pub(crate) fn sent_bytes(namespace: &Namespace) -> Result<u64> {
    let text = read_inside(namespace, "/proc/thread-self/net/dev")?;
    let line = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("sync:"));
    let number = line.and_then(|line| line.split_whitespace().nth(8));
    Ok(number.context("no interface `sync`")?.parse()?)
}

fn read_inside(namespace: &Namespace, path: &str) -> Result<String> {
    Ok(namespace.enter(|| std::fs::read_to_string(path))??)
}

/// Makes the peak of resident memory the present one.
pub(crate) fn forget_peak(daemon: &Daemon) -> Result<()> {
    let pid = daemon.pid().context("not running")?;
    std::fs::write(format!("/proc/{pid}/clear_refs"), "5")?;
    Ok(())
}

/// Peak of resident memory, in KiB.
pub(crate) fn peak_kib(daemon: &Daemon) -> Result<u64> {
    let pid = daemon.pid().context("not running")?;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|rest| rest.split_whitespace().next());
    Ok(number.context("no VmHWM")?.parse()?)
}
