//! Real packets through the active node, as flows with short timeouts that all expire in one pass of the kernel's
//! collector.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use netlab::{Lab, Namespace, sample};
use nix::libc;
use socket2::{Domain, Protocol, Socket, Type};

use super::{BOTH, Scale};
use crate::book::Book;
use crate::node;
use crate::pair::{Pair, Setup, nodes};

const RATE: u32 = 5000;
const FLOWS: u32 = 25_000;

/// Timeout of the flows, longer than it takes to make them.
const TIMEOUT_S: u32 = 8;

/// Entries that stay. The collector comes back after the mean of the timeouts, a minute at most: without these it would
/// take the flows in many small passes.
const LASTING: u32 = 4000;

/// The collector looks at the whole table within a minute.
const PATIENCE: Duration = Duration::from_secs(90);

/// All of a burst are told, without a reading of the table.
pub(crate) fn expiry(book: &mut Book, _: Scale, _: &[&str]) {
    book.each("expiry", &BOTH, |book, whose| {
        let mut lab = Lab::new()?;
        let [a, b] = nodes(&mut lab)?;
        let client = between(&mut lab, &a)?;
        let mut pair = Pair::start_in(lab, [a, b], whose, Setup::Ftfw)?;
        pair.fill((0..LASTING).map(sample::nth), LASTING)?;
        send(&client)?;
        let made = pair.a_table.len()? as u32 - LASTING;
        ensure!(
            made >= FLOWS * 97 / 100,
            "only {made} of {FLOWS} flows were made"
        );
        pair.until_b_has(LASTING + made)
            .context("before anything expired")?;
        let burst = until_expired(&pair)?;
        std::thread::sleep(Duration::from_secs(2));
        let lost = node::lost_events(pair.a.namespace())?;
        book.note(("expiry", "lost"), whose, lost as f64);
        let held = node::held(&pair.b, "external")?.max(node::held(&pair.a, "internal")?);
        let dead = held as f64 - f64::from(LASTING);
        book.note(("expiry", "dead"), whose, dead);
        book.note(("expiry", "burst"), whose, burst);
        if dead == 0.0 {
            pair.must_be_equal()?;
        }
        Ok(())
    });
}

/// A client and a server beside the active node. Returns the client.
fn between(lab: &mut Lab, a: &Namespace) -> Result<Namespace> {
    let client = lab.namespace("client")?;
    let server = lab.namespace("server")?;
    lab.cable((&client, "wire"), (a, "in"))?;
    lab.cable((&server, "wire"), (a, "out"))?;
    for (namespace, interface, addr) in [
        (&client, "wire", "10.1.0.2/24"),
        (a, "in", "10.1.0.1/24"),
        (&server, "wire", "10.2.0.2/16"),
        (a, "out", "10.2.0.1/16"),
    ] {
        namespace.add_addr(interface, addr)?;
    }
    client.run("ip route add default via 10.1.0.1")?;
    // Nobody answers, and nobody has to be asked for an address.
    server
        .nft("table ip silent { chain c { type filter hook prerouting priority -300; drop; }; }")?;
    a.forward()?;
    a.track()?;
    a.untrack("sync")?;
    a.run("ip route add 10.3.0.0/16 via 10.2.0.2")?;
    for timeout in ["udp_timeout", "tcp_timeout_syn_sent"] {
        a.sysctl(
            &format!("net.netfilter.nf_conntrack_{timeout}"),
            &TIMEOUT_S.to_string(),
        )?;
    }
    // The packets carry no checksum of their transport.
    a.sysctl("net.netfilter.nf_conntrack_checksum", "0")?;
    Ok(client)
}

/// One packet of each flow, half TCP, half UDP.
fn send(client: &Namespace) -> Result<()> {
    let raw = Protocol::from(libc::IPPROTO_RAW);
    let socket = client.enter(move || Socket::new(Domain::IPV4, Type::RAW, Some(raw)))??;
    let target: SocketAddr = SocketAddrV4::new(Ipv4Addr::new(10, 3, 0, 1), 0).into();
    let begun = Instant::now();
    for number in 0..FLOWS {
        let due = Duration::from_secs_f64(f64::from(number) / f64::from(RATE));
        if let Some(rest) = due.checked_sub(begun.elapsed()) {
            std::thread::sleep(rest);
        }
        let packet = packet(number);
        while let Err(error) = socket.send_to(&packet, &target.into()) {
            ensure!(
                error.raw_os_error() == Some(libc::ENOBUFS)
                    || error.kind() == io::ErrorKind::WouldBlock,
                error
            );
        }
    }
    Ok(())
}

/// The first packet of a flow, from its IPv4 header on, whose checksum and length the kernel fills in.
fn packet(number: u32) -> Vec<u8> {
    let is_tcp = number.is_multiple_of(2);
    let proto = if is_tcp {
        libc::IPPROTO_TCP
    } else {
        libc::IPPROTO_UDP
    } as u8;
    let mut packet = vec![
        0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, proto, 0, 0, 10, 1, 0, 2, 10, 3, 0, 1,
    ];
    let port = 1024 + (number / 2) as u16;
    packet.extend(port.to_be_bytes());
    packet.extend(80_u16.to_be_bytes());
    if is_tcp {
        packet.extend(number.to_be_bytes());
        // No acknowledgement; five words of header, SYN; window, no checksum.
        packet.extend([0, 0, 0, 0, 0x50, 0x02, 0xff, 0xff, 0, 0, 0, 0]);
    } else {
        packet.extend([0, 8, 0, 0]);
    }
    packet
}

/// Waits until only what lasts is left in the kernel's table. Returns the most entries that ended within 20 ms.
fn until_expired(pair: &Pair) -> Result<f64> {
    let begun = Instant::now();
    let (mut before, mut most) = (pair.a_table.len()?, 0);
    while before > LASTING as usize {
        ensure!(begun.elapsed() < PATIENCE, "{before} flows do not expire");
        std::thread::sleep(Duration::from_millis(20));
        let now = pair.a_table.len()?;
        most = most.max(before.saturating_sub(now));
        before = now;
    }
    Ok(most as f64)
}
