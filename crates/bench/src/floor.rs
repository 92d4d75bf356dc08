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
    for group in [Group::FlowNew, Group::FlowUpdate, Group::FlowDestroy] {
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

/// CPU time per datagram of a receiver that only counts them, of the size that messages fill.
pub(crate) fn datagram() -> Result<Duration> {
    const DATAGRAMS: u32 = 50_000;
    let receiver = std::net::UdpSocket::bind("127.0.0.1:0")?;
    socket2::SockRef::from(&receiver).set_recv_buffer_size(16 << 20)?;
    let target = receiver.local_addr()?;
    receiver.set_read_timeout(Some(Duration::from_millis(500)))?;
    let worker = thread::spawn(move || -> Result<(Duration, u32)> {
        let (mut buffer, mut count) = ([0; 2048], 0);
        while receiver.recv(&mut buffer).is_ok() {
            count += 1;
        }
        Ok((cpu::of_this_thread()?, count))
    });
    let sender = std::net::UdpSocket::bind("127.0.0.1:0")?;
    for number in 0..DATAGRAMS {
        sender.send_to(&[0; 1400], target)?;
        if number % 64 == 0 {
            thread::sleep(Duration::from_micros(200));
        }
    }
    let (cpu, count) = worker
        .join()
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
    Ok(cpu / count.max(1))
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
