//! Latency, and what a node costs that has nothing to do.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use netlab::{Table, sample};
use syncwire::{Carrier, Kind, Split, split};

use super::Scale;
use crate::book::{Book, Whose};
use crate::cpu;
use crate::pair::Pair;

const PROBES: u32 = 600;

/// From just before an entry is made to the datagram that tells of it, on the standby's side.
pub(crate) fn latency(book: &mut Book, _: Scale) -> Result<()> {
    for whose in [Whose::Original, Whose::Ours] {
        let mut pair = Pair::start(whose)?;
        // Nobody else listens there then.
        pair.b.kill()?;
        let namespace = pair.b.namespace().clone();
        let addr = SocketAddr::new(IpAddr::from([192, 168, 100, 2]), 3780);
        let socket = namespace.enter(|| std::net::UdpSocket::bind(addr))??;
        socket.set_read_timeout(Some(Duration::from_secs(1)))?;
        let mut taken = Vec::new();
        for number in 0..PROBES {
            taken.push(probe(&mut pair.a_table, &socket, number)?);
            // Not in step with any timer.
            std::thread::sleep(Duration::from_micros(2000 + u64::from(number % 17) * 130));
        }
        taken.sort();
        for (name, part) in [("latency_p50", 50), ("latency_p99", 99)] {
            let time = taken.get(taken.len() * part / 100).context("no probes")?;
            book.note(name, whose, time.as_secs_f64() * 1e6);
        }
    }
    Ok(())
}

fn probe(table: &mut Table, socket: &std::net::UdpSocket, number: u32) -> Result<Duration> {
    let begun = Instant::now();
    table.create([sample::nth(number)])?;
    let mut buffer = [0; 2048];
    loop {
        let len = socket.recv(&mut buffer)?;
        let at = begun.elapsed();
        let mut rest = buffer.get(..len).unwrap_or_default();
        while let Split::Message(message, next) = split(rest, Carrier::Datagram) {
            if matches!(message.kind(), Some(Kind::Flow(_))) {
                return Ok(at);
            }
            rest = next;
        }
        if begun.elapsed() > Duration::from_secs(2) {
            bail!("nothing was told");
        }
    }
}

/// A pair without traffic: memory, and the part of a core that it takes.
pub(crate) fn idle(book: &mut Book, scale: Scale) -> Result<()> {
    for whose in [Whose::Original, Whose::Ours] {
        let pair = Pair::start(whose)?;
        book.note(
            "memory_empty_mib",
            whose,
            pair.a.memory_kib()? as f64 / 1024.0,
        );
        let pid = pair.a.pid().context("not running")?;
        let before = cpu::of_process(pid)?;
        let begun = Instant::now();
        std::thread::sleep(Duration::from_secs(u64::from(scale.seconds) + 3));
        let spent = cpu::of_process(pid)? - before;
        let part = spent.as_secs_f64() / begun.elapsed().as_secs_f64();
        book.note("idle_percent", whose, part * 100.0);
    }
    Ok(())
}
