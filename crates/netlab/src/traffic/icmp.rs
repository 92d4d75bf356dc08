//! Echo requests of one identifier, watched at the far end.

use std::collections::BTreeSet;
use std::io::Read;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::{Control, Meter, OPEN_LIMIT, Route, TICK, Traffic, is_timeout};
use crate::process::wait_until;

/// ICMP header and some payload.
const MESSAGE_LEN: usize = 64;

/// Identifier and sequence number.
const ID: std::ops::Range<usize> = 4..6;
/// Whether it was sent after the order to stop.
const LAST: usize = 8;
/// Tells the requests of this flow from others.
const TAG: std::ops::Range<usize> = 9..13;

static NEXT_ID: AtomicU16 = AtomicU16::new(1);

/// Starts echo requests, one each `interval`, to the address of `route.target`.
///
/// The identifiers that arrive at the server are watched: when they change on the way, the translation is another one,
/// and the old flow is dead even though requests are answered.
///
/// # Errors
/// The first request is not answered.
pub fn start(route: &Route<'_>, interval: Duration) -> Result<Traffic> {
    let v4 = route.target.is_ipv4();
    let watch = route.server.enter(|| raw(v4))??;
    let client = route.client.enter(|| raw(v4))??;
    let mut target = route.target;
    // A port would be taken for a protocol number.
    target.set_port(0);
    client.connect(&SockAddr::from(target))?;
    let number = NEXT_ID.fetch_add(1, Ordering::Relaxed);
    let tag = (u32::from(number) << 16) | (std::process::id() & 0xffff);
    let flow = Echo {
        v4,
        id: 0x4000 | (number & 0x3fff),
        tag: tag.to_be_bytes(),
    };

    let meter = Meter::new();
    let control = Arc::new(Control::default());
    let sender = client.try_clone()?;
    let traffic = Traffic {
        name: route.name.to_owned(),
        meter: Arc::clone(&meter),
        control: Arc::clone(&control),
        judge: Some({
            let control = Arc::clone(&control);
            thread::spawn(move || flow.verify(client, &meter, &control))
        }),
        others: vec![
            {
                let control = Arc::clone(&control);
                thread::spawn(move || flow.send(&sender, interval, &control))
            },
            thread::spawn(move || flow.watch(watch, &control)),
        ],
    };
    if wait_until(OPEN_LIMIT, || traffic.bytes() > 0) {
        return Ok(traffic);
    }
    let target: SocketAddr = route.target;
    let outcome = traffic.finish(Duration::ZERO);
    bail!("{} does not answer: {:?}", target.ip(), outcome.death);
}

fn raw(v4: bool) -> Result<Socket> {
    let (domain, protocol) = if v4 {
        (Domain::IPV4, Protocol::ICMPV4)
    } else {
        (Domain::IPV6, Protocol::ICMPV6)
    };
    let socket = Socket::new(domain, Type::RAW, Some(protocol)).context("raw socket")?;
    socket.set_read_timeout(Some(TICK))?;
    Ok(socket)
}

#[derive(Clone, Copy)]
struct Echo {
    v4: bool,
    id: u16,
    tag: [u8; 4],
}

impl Echo {
    fn kinds(self) -> (u8, u8) {
        if self.v4 { (8, 0) } else { (128, 129) }
    }

    fn request(self, number: u16, last: bool) -> [u8; MESSAGE_LEN] {
        let mut message = [0; MESSAGE_LEN];
        message[0] = self.kinds().0;
        message[ID].copy_from_slice(&self.id.to_be_bytes());
        message[6..8].copy_from_slice(&number.to_be_bytes());
        message[LAST] = u8::from(last);
        message[TAG].copy_from_slice(&self.tag);
        if self.v4 {
            // The kernel does it for ICMPv6 only.
            let sum = checksum(&message);
            message[2..4].copy_from_slice(&sum.to_be_bytes());
        }
        message
    }

    /// The message of this flow and kind in what a raw socket gave, if it is one.
    fn find(self, kind: u8, bytes: &[u8]) -> Option<&[u8]> {
        let header_len = match bytes.first() {
            // Raw IPv4 sockets give the IP header as well.
            Some(first) if self.v4 => usize::from(first & 0xf) * 4,
            _ => 0,
        };
        let message = bytes.get(header_len..)?;
        (message.len() == MESSAGE_LEN && message[0] == kind && message[TAG] == self.tag)
            .then_some(message)
    }

    fn send(self, socket: &Socket, interval: Duration, control: &Control) -> Result<()> {
        let mut number = 0_u16;
        while !control.aborted() {
            // A router that has just died may have sent an error; the next request may pass all the same.
            let _ = socket.send(&self.request(number, control.stopped()));
            number = number.wrapping_add(1);
            thread::sleep(interval);
        }
        Ok(())
    }

    fn verify(self, mut socket: Socket, meter: &Meter, control: &Control) -> Result<()> {
        let mut buf = [0; 2048];
        loop {
            ensure!(!control.aborted(), "no answer");
            let Ok(len) = socket.read(&mut buf) else {
                continue;
            };
            let Some(reply) = self.find(self.kinds().1, &buf[..len]) else {
                continue;
            };
            ensure!(
                reply[ID] == self.id.to_be_bytes(),
                "an answer with another identifier"
            );
            meter.count(MESSAGE_LEN);
            if reply[LAST] == 1 {
                return Ok(());
            }
        }
    }

    fn watch(self, mut socket: Socket, control: &Control) -> Result<()> {
        let mut buf = [0; 2048];
        let mut ids = BTreeSet::new();
        while !control.aborted() {
            match socket.read(&mut buf) {
                Ok(len) => {
                    if let Some(request) = self.find(self.kinds().0, &buf[..len]) {
                        ids.insert(u16::from_be_bytes([request[4], request[5]]));
                    }
                }
                Err(error) if is_timeout(&error) => {}
                Err(error) => return Err(error).context("server cannot receive"),
            }
        }
        ensure!(
            ids.len() <= 1,
            "replaced by a new flow: the server saw the identifiers {ids:?}"
        );
        Ok(())
    }
}

/// The Internet checksum (RFC 1071).
fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = bytes
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0)))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_with_its_checksum_sums_up_to_nothing() {
        let echo = Echo {
            v4: true,
            id: 0x1234,
            tag: *b"abcd",
        };
        assert_eq!(checksum(&echo.request(7, true)), 0);
    }
}
