//! A UDP flow of numbered datagrams to a server that answers only whom it heard first.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::{Control, Meter, OPEN_LIMIT, Route, TICK, Traffic, is_timeout};

/// Bytes of a datagram: its number and a filling derived from it.
const DATAGRAM_LEN: usize = 256;

/// Starts a flow of numbered datagrams, one each `interval`, which the server echoes.
///
/// The server holds on to the address and port it heard first, as servers with sessions do: a flow that gets another
/// translation on the way is dead.
///
/// # Errors
/// The first datagram is not answered.
pub fn start(route: &Route<'_>, interval: Duration) -> Result<Traffic> {
    let server = route.server.enter(|| UdpSocket::bind(route.listen))??;
    let client = route.client.enter(|| -> io::Result<UdpSocket> {
        let any: SocketAddr = if route.target.is_ipv4() {
            ([0; 4], 0).into()
        } else {
            ([0_u16; 8], 0).into()
        };
        let socket = UdpSocket::bind(any)?;
        socket.connect(route.target)?;
        Ok(socket)
    })??;
    server.set_read_timeout(Some(OPEN_LIMIT))?;
    client.set_read_timeout(Some(OPEN_LIMIT))?;
    client.send(&datagram(0))?;
    let mut buf = [0; DATAGRAM_LEN];
    let (len, from) = server.recv_from(&mut buf).context("nothing arrives")?;
    server.connect(from)?;
    server.send(&buf[..len])?;
    client.recv(&mut buf).context("no answer")?;
    server.set_read_timeout(Some(TICK))?;
    client.set_read_timeout(Some(TICK))?;

    let meter = Meter::new();
    let control = Arc::new(Control::default());
    let sender = client.try_clone()?;
    Ok(Traffic {
        name: route.name.to_owned(),
        meter: Arc::clone(&meter),
        control: Arc::clone(&control),
        judge: Some({
            let control = Arc::clone(&control);
            thread::spawn(move || verify(&client, &meter, &control))
        }),
        others: vec![
            {
                let control = Arc::clone(&control);
                thread::spawn(move || send(&sender, interval, &control))
            },
            thread::spawn(move || echo(&server, &control)),
        ],
    })
}

fn datagram(number: u64) -> [u8; DATAGRAM_LEN] {
    let mut bytes = [number as u8; DATAGRAM_LEN];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    // Says whether it was sent after the order to stop.
    bytes[8] = 0;
    bytes
}

/// Sends until told to abort: after the order to stop each datagram is marked, and one that comes back is the proof.
fn send(socket: &UdpSocket, interval: Duration, control: &Control) -> Result<()> {
    for number in 1.. {
        if control.aborted() {
            break;
        }
        let mut bytes = datagram(number);
        bytes[8] = u8::from(control.stopped());
        // A router that has just died may have sent an error; the next datagram may pass all the same.
        let _ = socket.send(&bytes);
        thread::sleep(interval);
    }
    Ok(())
}

fn echo(socket: &UdpSocket, control: &Control) -> Result<()> {
    let mut buf = [0; DATAGRAM_LEN];
    while !control.aborted() {
        if let Ok(len) = socket.recv(&mut buf) {
            // As above.
            let _ = socket.send(&buf[..len]);
        }
    }
    Ok(())
}

fn verify(socket: &UdpSocket, meter: &Meter, control: &Control) -> Result<()> {
    let mut buf = [0; DATAGRAM_LEN + 1];
    let mut last = Instant::now();
    loop {
        if control.aborted() {
            bail!("no answer for {} ms", last.elapsed().as_millis());
        }
        let len = match socket.recv(&mut buf) {
            Ok(len) => len,
            Err(error) if is_timeout(&error) => continue,
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => continue,
            Err(error) => {
                // Unreachable for the moment, as far as the last router knew.
                thread::sleep(TICK.min(Duration::from_millis(10)));
                if control.aborted() {
                    return Err(error).context("client cannot receive");
                }
                continue;
            }
        };
        ensure!(len == DATAGRAM_LEN, "a datagram of {len} bytes");
        let (number, rest) = buf[..len].split_at(8);
        let number = u64::from_be_bytes(number.try_into()?);
        let filling = &rest[1..];
        ensure!(
            filling.iter().all(|&byte| byte == number as u8),
            "wrong content in datagram {number}"
        );
        meter.count(len);
        last = Instant::now();
        if rest[0] == 1 {
            return Ok(());
        }
    }
}
