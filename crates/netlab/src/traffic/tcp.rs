//! A TCP connection whose every byte is sent, echoed, and compared.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use anyhow::{Context, Result, bail, ensure};

use super::{Control, Meter, OPEN_LIMIT, Pace, Route, TICK, Traffic, is_timeout};
use crate::process::wait_until;

/// Opens a TCP connection that sends a pattern and compares what the server echoes.
///
/// # Errors
/// The connection does not come about.
pub fn start(route: &Route<'_>, pace: Pace) -> Result<Traffic> {
    let listener = route
        .server
        .enter(|| TcpListener::bind(route.listen))?
        .with_context(|| format!("cannot listen on {}", route.listen))?;
    let stream = route
        .client
        .enter(|| TcpStream::connect_timeout(&route.target, OPEN_LIMIT))?
        .with_context(|| format!("cannot connect to {}", route.target))?;
    let server = accept(&listener)?;
    for end in [&stream, &server] {
        end.set_read_timeout(Some(TICK))?;
        end.set_write_timeout(Some(TICK))?;
        end.set_nodelay(true)?;
    }
    let meter = Meter::new();
    let control = Arc::new(Control::default());
    let sent = Arc::new(AtomicU64::new(0));
    let writer = stream.try_clone()?;
    Ok(Traffic {
        name: route.name.to_owned(),
        meter: Arc::clone(&meter),
        control: Arc::clone(&control),
        judge: Some({
            let (control, sent) = (Arc::clone(&control), Arc::clone(&sent));
            thread::spawn(move || verify(stream, &meter, &control, &sent))
        }),
        others: vec![
            {
                let control = Arc::clone(&control);
                thread::spawn(move || write(writer, pace, &control, &sent))
            },
            thread::spawn(move || echo(server, &control)),
        ],
    })
}

fn accept(listener: &TcpListener) -> Result<TcpStream> {
    listener.set_nonblocking(true)?;
    let mut accepted = None;
    wait_until(OPEN_LIMIT, || {
        accepted = listener.accept().ok();
        accepted.is_some()
    });
    let (stream, _) = accepted.context("nobody connected")?;
    stream.set_nonblocking(false)?;
    Ok(stream)
}

/// The byte at a position of the stream: a shift, a loss or a repetition of any length shows.
fn pattern(position: u64) -> u8 {
    let mixed = position.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    ((mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 56) as u8
}

fn write(mut stream: TcpStream, pace: Pace, control: &Control, sent: &AtomicU64) -> Result<()> {
    while !control.stopped() {
        let start = sent.load(Ordering::Relaxed);
        let chunk: Vec<u8> = (start..).take(pace.chunk_len).map(pattern).collect();
        let mut rest = chunk.as_slice();
        // A chunk begun is finished, or else the verifier would wait for what was never sent.
        while !rest.is_empty() {
            if control.aborted() {
                return Ok(());
            }
            match stream.write(rest) {
                Ok(len) => {
                    rest = &rest[len..];
                    sent.fetch_add(len as u64, Ordering::Relaxed);
                }
                Err(error) if is_timeout(&error) => {}
                Err(error) => return Err(error).context("client cannot send"),
            }
        }
        thread::sleep(pace.interval);
    }
    stream
        .shutdown(Shutdown::Write)
        .context("client cannot close")
}

fn echo(mut stream: TcpStream, control: &Control) -> Result<()> {
    let mut buf = vec![0; 64 * 1024];
    while !control.aborted() {
        let len = match stream.read(&mut buf) {
            Ok(0) => {
                return stream
                    .shutdown(Shutdown::Write)
                    .context("server cannot close");
            }
            Ok(len) => len,
            Err(error) if is_timeout(&error) => continue,
            Err(error) => return Err(error).context("server cannot receive"),
        };
        let mut rest = &buf[..len];
        while !rest.is_empty() && !control.aborted() {
            match stream.write(rest) {
                Ok(len) => rest = &rest[len..],
                Err(error) if is_timeout(&error) => {}
                Err(error) => return Err(error).context("server cannot send"),
            }
        }
    }
    Ok(())
}

fn verify(mut stream: TcpStream, meter: &Meter, control: &Control, sent: &AtomicU64) -> Result<()> {
    let mut buf = vec![0; 64 * 1024];
    let mut position = 0;
    loop {
        if control.aborted() {
            bail!(
                "no answer: {position} of {} bytes came back",
                sent.load(Ordering::Relaxed)
            );
        }
        let len = match stream.read(&mut buf) {
            Ok(len) => len,
            Err(error) if is_timeout(&error) => continue,
            Err(error) => return Err(error).context("client cannot receive"),
        };
        if len == 0 {
            // The server also closes when it is told to give up; that proves nothing.
            ensure!(
                control.stopped() && !control.aborted(),
                "closed without an answer"
            );
            let sent = sent.load(Ordering::Relaxed);
            ensure!(position == sent, "{position} of {sent} bytes came back");
            return Ok(());
        }
        for (at, &byte) in (position..).zip(&buf[..len]) {
            ensure!(byte == pattern(at), "wrong byte at {at}");
        }
        position += len as u64;
        meter.count(len);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pattern_shows_a_shift_within_a_few_bytes() {
        for shift in 1..5000 {
            assert!(
                (0..16).any(|at| pattern(at) != pattern(at + shift)),
                "{shift}"
            );
        }
    }
}
