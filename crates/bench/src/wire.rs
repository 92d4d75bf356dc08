//! What arrives on the link, with the kernel's timestamps, beside the daemon that receives it.

use std::collections::BTreeMap;
use std::io::IoSliceMut;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Result;
use flow::{Addrs, Tuple};
use netlab::Namespace;
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockProtocol, SockType, recvmsg,
    setsockopt, socket, sockopt,
};
use nix::sys::time::TimeSpec;
use socket2::SockRef;
use syncwire::{Carrier, Kind, Split, split};

/// Numbers of probes begin here; other entries have smaller ones. See [`netlab::sample::nth`].
pub(crate) const FIRST_PROBE: u32 = 0x0300_0000;

/// Room for what comes while the processors are busy.
const BUFFER_LEN: usize = 256 << 20;

/// Lengths of headers: UDP, and of IPv4 at least.
const UDP_LEN: usize = 8;

/// When something came, since 1970.
pub(crate) type Moment = Duration;

/// Now, on the clock of the kernel's timestamps.
pub(crate) fn now() -> Moment {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default()
}

/// Takes down what arrives in a namespace.
pub(crate) struct Capture {
    ended: Arc<AtomicBool>,
    worker: JoinHandle<Result<Arrivals>>,
}

/// What arrived.
#[derive(Debug, Default)]
pub(crate) struct Arrivals {
    /// When each probe was told of first.
    pub(crate) probes: BTreeMap<u32, Moment>,
    /// When each datagram came, if that is wanted.
    pub(crate) datagrams: Vec<Moment>,
}

impl Capture {
    /// Begins; with `datagrams` the time of each is kept too.
    pub(crate) fn start(namespace: &Namespace, datagrams: bool) -> Result<Self> {
        let fd = namespace.enter(open)??;
        let ended = Arc::new(AtomicBool::new(false));
        let worker = std::thread::spawn({
            let ended = Arc::clone(&ended);
            move || collect(&fd, &ended, datagrams)
        });
        Ok(Self { ended, worker })
    }

    /// Ends with what has come until now.
    pub(crate) fn finish(self) -> Result<Arrivals> {
        self.ended.store(true, Ordering::Relaxed);
        self.worker
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

/// Unbound: it gets IPv4 packets that arrive on any interface, from their IP header on.
fn open() -> Result<OwnedFd> {
    // The protocol is in network byte order.
    let protocol = SockProtocol::EthIp;
    let fd = socket(
        AddressFamily::Packet,
        SockType::Datagram,
        SockFlag::empty(),
        protocol,
    )?;
    setsockopt(&fd, sockopt::RcvBufForce, &BUFFER_LEN)?;
    setsockopt(&fd, sockopt::ReceiveTimestampns, &true)?;
    SockRef::from(&fd).set_read_timeout(Some(Duration::from_millis(100)))?;
    Ok(fd)
}

fn collect(fd: &OwnedFd, ended: &AtomicBool, datagrams: bool) -> Result<Arrivals> {
    let mut arrivals = Arrivals::default();
    let mut buffer = vec![0; 64 * 1024];
    let mut control = nix::cmsg_space!(TimeSpec);
    let mut end = None;
    loop {
        if end.is_none() && ended.load(Ordering::Relaxed) {
            end = Some(now());
        }
        let mut slices = [IoSliceMut::new(&mut buffer)];
        let received = recvmsg::<()>(
            fd.as_raw_fd(),
            &mut slices,
            Some(&mut control),
            MsgFlags::empty(),
        );
        let (len, at) = match received {
            Ok(message) => {
                let stamp = message.cmsgs()?.find_map(|control| match control {
                    ControlMessageOwned::ScmTimestampns(stamp) => Some(Duration::from(stamp)),
                    _ => None,
                });
                (message.bytes, stamp.unwrap_or_else(now))
            }
            Err(nix::errno::Errno::EAGAIN) if end.is_some() => return Ok(arrivals),
            Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EINTR) => continue,
            Err(error) => return Err(error.into()),
        };
        // Where something always comes there is no silence to wait for.
        if end.is_some_and(|end| at > end) {
            return Ok(arrivals);
        }
        if datagrams {
            arrivals.datagrams.push(at);
        }
        note_probes(&mut arrivals, buffer.get(..len).unwrap_or_default(), at);
    }
}

fn note_probes(arrivals: &mut Arrivals, packet: &[u8], at: Moment) {
    let header_len = packet
        .first()
        .map_or(0, |first| usize::from(first & 15) * 4);
    let mut rest = packet.get(header_len + UDP_LEN..).unwrap_or_default();
    while let Split::Message(message, next) = split(rest, Carrier::Datagram) {
        rest = next;
        if !matches!(message.kind(), Some(Kind::Flow(_))) {
            continue;
        }
        if let Some(number) = message.flow().ok().and_then(|flow| number_of(&flow.orig))
            && number >= FIRST_PROBE
        {
            arrivals.probes.entry(number).or_insert(at);
        }
    }
}

/// The number of a sample, from its source address.
fn number_of(tuple: &Tuple) -> Option<u32> {
    match tuple.addrs {
        Addrs::V4 { src, .. } => {
            let [first, high, middle, low] = src.octets();
            let first = first.checked_sub(10)?;
            Some(u32::from_be_bytes([first, high, middle, low]))
        }
        Addrs::V6 { src, .. } => {
            let [.., high, low] = src.segments();
            Some(u32::from(high) << 16 | u32::from(low))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_is_known_by_its_address() {
        for number in (0..8)
            .chain(FIRST_PROBE..FIRST_PROBE + 8)
            .chain([0x0301_fffe])
        {
            assert_eq!(number_of(&netlab::sample::nth(number).orig), Some(number));
        }
    }
}
