//! The least that must be done: receive and count, dump and count, create.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use ctnetlink::request::{self, DumpFilter};
use ctnetlink::socket::{EventSocket, Group, Received, RequestSocket};
use flow::Flow;
use netlab::{Lab, Namespace, Table};

use crate::cpu;
use crate::load;
use crate::pair::nodes;

/// CPU time of a receiver that only counts events, per flow of the load.
pub(crate) fn receiver(rate: u32, seconds: u32) -> Result<Duration> {
    let mut lab = Lab::new()?;
    let [namespace, _] = nodes(&mut lab)?;
    let (cpu, done) = while_receiving(&namespace, || load::run(&namespace, rate, seconds))?;
    Ok(cpu / done?.flows)
}

/// Does something while all events are received and counted. Returns the receiver's CPU time too.
fn while_receiving<T>(namespace: &Namespace, work: impl FnOnce() -> T) -> Result<(Duration, T)> {
    let socket = namespace.enter(EventSocket::open)??;
    socket.set_receive_buffer(16 << 20)?;
    for group in Group::FLOWS {
        socket.join(group)?;
    }
    let (ended, received) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        let receiver = scope.spawn(|| -> Result<Duration> {
            let mut buffer = vec![0; 64 * 1024];
            loop {
                match socket.receive(&mut buffer)? {
                    Received::Data(_) | Received::Overrun => {
                        received.fetch_add(1, Ordering::Relaxed);
                    }
                    Received::WouldBlock if ended.load(Ordering::Relaxed) => {
                        return cpu::of_this_thread();
                    }
                    Received::WouldBlock => wait(&socket)?,
                }
            }
        });
        let outcome = work();
        thread::sleep(Duration::from_millis(100));
        ended.store(true, Ordering::Relaxed);
        let cpu = receiver
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        Ok((cpu, outcome))
    })
}

fn wait(socket: &EventSocket) -> Result<()> {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use std::os::fd::AsFd as _;
    let mut fds = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::from(20_u8))?;
    Ok(())
}

/// Carries out something while a program passes 88 bytes of each event on to B's address, at each wake-up: the least
/// that replication must do.
pub(crate) fn while_relaying<T>(
    nodes: &[Namespace; 2],
    work: impl FnOnce() -> Result<T>,
) -> Result<T> {
    const PER_EVENT: usize = 88;
    const DATAGRAM_LEN: usize = 1400;
    let [a, b] = nodes;
    let bind = |namespace: &Namespace, host: u8| {
        let addr = std::net::SocketAddr::from(([192, 168, 100, host], 3780));
        namespace.enter(move || std::net::UdpSocket::bind(addr))
    };
    let sink = bind(b, 2)??;
    let link = bind(a, 1)??;
    link.connect(sink.local_addr()?)?;
    let socket = a.enter(EventSocket::open)??;
    socket.set_receive_buffer(16 << 20)?;
    for group in Group::FLOWS {
        socket.join(group)?;
    }
    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        let relay = scope.spawn(|| -> Result<()> {
            load::above_everything()?;
            let (mut buffer, mut datagram) =
                (vec![0; 64 * 1024], Vec::with_capacity(2 * DATAGRAM_LEN));
            loop {
                let received = socket.receive(&mut buffer)?;
                if let Received::Data(len) = received {
                    let event = buffer.get(..len.min(PER_EVENT)).unwrap_or_default();
                    datagram.extend_from_slice(event);
                }
                let idle = matches!(received, Received::WouldBlock);
                if !datagram.is_empty() && (idle || datagram.len() > DATAGRAM_LEN - PER_EVENT) {
                    link.send(&datagram)?;
                    datagram.clear();
                }
                if idle {
                    if ended.load(Ordering::Relaxed) {
                        return Ok(());
                    }
                    wait(&socket)?;
                }
            }
        });
        let outcome = work();
        ended.store(true, Ordering::Relaxed);
        relay
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        outcome
    })
}

/// Time to dump a table and count its entries.
pub(crate) fn dump(namespace: &Namespace) -> Result<Duration> {
    let socket = namespace.enter(RequestSocket::open)??;
    let mut bytes = Vec::new();
    request::dump_flows(&mut bytes, 1, &DumpFilter::default());
    let begun = Instant::now();
    let mut count = 0_u64;
    socket.transact(&bytes, |_| {
        count += 1;
        Ok(())
    })?;
    Ok(begun.elapsed())
}

/// Time to create entries in batches while one listener receives the events.
pub(crate) fn create(flows: impl IntoIterator<Item = Flow>) -> Result<Duration> {
    let mut lab = Lab::new()?;
    let [namespace, _] = nodes(&mut lab)?;
    let mut table = Table::open(&namespace)?;
    let (_, took) = while_receiving(&namespace, || {
        let begun = Instant::now();
        table.create(flows).map(|_| begun.elapsed())
    })?;
    table.flush()?;
    took
}
