//! Traffic whose content and gaps are checked.
//!
//! Each kind starts with a working exchange or fails, goes on in threads until it is told to finish, and then says
//! whether it is still the same connection as in the beginning.

mod icmp;
mod tcp;
mod udp;

use std::net::SocketAddr;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

pub use icmp::start as ping;
pub use tcp::start as tcp;
pub use udp::start as udp;

use crate::Namespace;
use crate::process::wait_until;

/// Who talks to whom.
#[derive(Clone, Debug)]
pub struct Route<'a> {
    /// What to call it.
    pub name: &'a str,
    /// Where the connection is opened.
    pub client: &'a Namespace,
    /// Where it is answered.
    pub server: &'a Namespace,
    /// Address the server listens on.
    pub listen: SocketAddr,
    /// Address the client opens; another one than `listen` when it is translated on the way.
    pub target: SocketAddr,
}

/// How much is sent.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Bytes at a time.
    pub chunk_len: usize,
    /// Pause between two.
    pub interval: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            chunk_len: 16 * 1024,
            interval: Duration::from_millis(10),
        }
    }
}

/// A connection in use.
#[derive(Debug)]
pub struct Traffic {
    name: String,
    meter: Arc<Meter>,
    control: Arc<Control>,
    /// Ends with the verdict of the side that opened the connection.
    judge: Option<JoinHandle<Result<()>>>,
    others: Vec<JoinHandle<Result<()>>>,
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.control.abort.store(true, Ordering::Relaxed);
    }
}

/// What became of a connection.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What it was called.
    pub name: String,
    /// Why it is not the same unbroken connection any more; `None` if it is.
    pub death: Option<String>,
    /// Payload that arrived, verified, back at the client.
    pub bytes: u64,
    /// Longest time without any, since the last mark.
    pub longest_gap: Duration,
}

impl Outcome {
    /// Whether it is still the same connection.
    #[must_use]
    pub fn survived(&self) -> bool {
        self.death.is_none()
    }
}

impl Traffic {
    /// What it is called.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Payload that arrived so far.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.meter.bytes.load(Ordering::Relaxed)
    }

    /// Longest time without payload since the last mark, the current pause included.
    #[must_use]
    pub fn longest_gap(&self) -> Duration {
        self.meter.longest_gap()
    }

    /// Starts the measurement of the longest gap anew.
    pub fn mark(&self) {
        self.meter.mark();
    }

    /// Waits until `more` bytes have arrived, from now on.
    #[must_use]
    pub fn progresses(&self, more: u64, limit: Duration) -> bool {
        let goal = self.bytes() + more;
        wait_until(limit, || self.bytes() >= goal)
    }

    /// Ends the connection properly, which proves that both ends still agree on it, and tells what became of it.
    ///
    /// One that does not answer within `limit` is dead.
    #[must_use]
    pub fn finish(mut self, limit: Duration) -> Outcome {
        let longest_gap = self.longest_gap();
        self.control.stop.store(true, Ordering::Relaxed);
        let judge = self.judge.take();
        wait_until(limit, || judge.as_ref().is_none_or(JoinHandle::is_finished));
        self.control.abort.store(true, Ordering::Relaxed);
        let threads = judge.into_iter().chain(self.others.drain(..));
        // All are joined, so that none is left when the namespaces go.
        let verdicts: Vec<_> = threads.map(join).collect();
        Outcome {
            name: self.name.clone(),
            death: verdicts
                .into_iter()
                .find_map(Result::err)
                .map(|error| format!("{error:#}")),
            bytes: self.bytes(),
            longest_gap,
        }
    }
}

/// Ends several connections at the same time; see [`Traffic::finish`].
#[must_use]
pub fn finish_all(traffic: Vec<Traffic>, limit: Duration) -> Vec<Outcome> {
    let ends: Vec<_> = traffic
        .into_iter()
        .map(|one| thread::spawn(move || one.finish(limit)))
        .collect();
    ends.into_iter()
        .map(|end| end.join().unwrap_or_else(|panic| resume_unwind(panic)))
        .collect()
}

fn join(thread: JoinHandle<Result<()>>) -> Result<()> {
    thread
        .join()
        .unwrap_or_else(|_| Err(anyhow!("a traffic thread panicked")))
}

/// How often a thread that waits for the network looks whether it should end.
const TICK: Duration = Duration::from_millis(100);

/// How long the first exchange may take.
const OPEN_LIMIT: Duration = Duration::from_secs(5);

/// Orders to the threads.
#[derive(Debug, Default)]
struct Control {
    /// Send no more; end properly.
    stop: AtomicBool,
    /// End at once.
    abort: AtomicBool,
}

impl Control {
    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn aborted(&self) -> bool {
        self.abort.load(Ordering::Relaxed)
    }
}

/// Bytes and gaps; times in microseconds since `start`.
#[derive(Debug)]
struct Meter {
    start: Instant,
    bytes: AtomicU64,
    last_us: AtomicU64,
    longest_us: AtomicU64,
}

impl Meter {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            start: Instant::now(),
            bytes: AtomicU64::new(0),
            last_us: AtomicU64::new(0),
            longest_us: AtomicU64::new(0),
        })
    }

    fn now_us(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    fn count(&self, len: usize) {
        let now = self.now_us();
        let gap = now.saturating_sub(self.last_us.swap(now, Ordering::Relaxed));
        self.longest_us.fetch_max(gap, Ordering::Relaxed);
        self.bytes.fetch_add(len as u64, Ordering::Relaxed);
    }

    fn mark(&self) {
        self.longest_us.store(0, Ordering::Relaxed);
    }

    fn longest_gap(&self) -> Duration {
        let open = self
            .now_us()
            .saturating_sub(self.last_us.load(Ordering::Relaxed));
        Duration::from_micros(self.longest_us.load(Ordering::Relaxed).max(open))
    }
}

/// Whether an error of a socket with a timeout only says that nothing came.
fn is_timeout(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), WouldBlock | TimedOut | Interrupted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Lab;

    #[test]
    fn a_gap_counts_from_the_last_byte_even_while_it_lasts() {
        let meter = Meter::new();
        meter.count(10);
        thread::sleep(Duration::from_millis(30));
        assert!(meter.longest_gap() >= Duration::from_millis(30));
        meter.count(10);
        meter.count(10);
        assert!(meter.longest_gap() >= Duration::from_millis(30));
        meter.mark();
        assert!(meter.longest_gap() < Duration::from_millis(30));
        assert_eq!(meter.bytes.load(Ordering::Relaxed), 30);
    }

    /// Two namespaces with a cable, and each kind of traffic over it.
    fn exchange(break_it: bool) {
        let mut lab = Lab::new().unwrap();
        let a = lab.namespace("a").unwrap();
        let b = lab.namespace("b").unwrap();
        lab.cable((&a, "x"), (&b, "y")).unwrap();
        for (namespace, interface, host) in [(&a, "x", 1), (&b, "y", 2)] {
            namespace
                .add_addr(interface, &format!("10.0.0.{host}/24"))
                .unwrap();
            namespace
                .add_addr(interface, &format!("fd00::{host}/64"))
                .unwrap();
        }
        let mut all = Vec::new();
        for target in ["10.0.0.2:5000", "[fd00::2]:5000"] {
            let target: SocketAddr = target.parse().unwrap();
            let route = Route {
                name: "t",
                client: &a,
                server: &b,
                listen: target,
                target,
            };
            all.push(tcp(&route, Pace::default()).unwrap());
            all.push(udp(&route, Pace::default().interval).unwrap());
            all.push(ping(&route, Pace::default().interval).unwrap());
        }
        for traffic in &all {
            assert!(traffic.progresses(1000, Duration::from_secs(5)));
        }
        if break_it {
            b.nft("table inet t { chain c { type filter hook input priority 0; drop; }; }")
                .unwrap();
        }
        for outcome in finish_all(all, Duration::from_secs(2)) {
            assert_eq!(outcome.survived(), !break_it, "{outcome:?}");
        }
    }

    #[test]
    fn undisturbed_traffic_survives() {
        crate::require_root_or_skip!();
        exchange(false);
    }

    #[test]
    fn traffic_that_is_cut_is_dead() {
        crate::require_root_or_skip!();
        exchange(true);
    }
}
