//! The way of an event without a kernel and without a link: parse, cache, session, encode, frame.
//!
//! `events.bin` holds events of a real kernel, one message after the other, the lives of 256 connections through each
//! other: made, changed twice, ended; a quarter IPv6, a quarter UDP. `cargo xtask bench --record-events FILE` takes them
//! anew. [`Node`] is an engine that takes them; `benches/steps.rs` takes the time of single
//! steps (`cargo bench -p micro`), and instructions are counted of `main.rs` (`cargo xtask test`).

#![forbid(unsafe_code)]

pub mod native;

use std::time::{Duration, Instant};

use ctnetlink::emit;
use engine::api::{
    ExpectationSync, ExternalMode, InternalMode, LinkSettings, NativeSettings, Settings,
    StandbySettings,
};
use engine::snapshot::{ExternalStats, InternalStats};
use engine::{Engine, KernelSocket, LinkId, Mode, Origins, Output, Start};
use flow::FlowFilter;
use syncwire::{Carrier, Flags, Split, encode, split};

/// Events of a real kernel, one netlink message after the other.
const CAPTURED: &[u8] = include_bytes!("../events.bin");

/// Events between two looks at what is to be sent.
const EVENTS_PER_READ: usize = 32;

/// The captured events, each as the kernel sends it: in a datagram of its own.
///
/// # Panics
/// The capture is not whole.
#[must_use]
pub fn captured() -> Vec<&'static [u8]> {
    let mut events = Vec::new();
    let mut rest = CAPTURED;
    while let Some(len) = rest.first_chunk::<4>() {
        let len = u32::from_ne_bytes(*len) as usize;
        let (event, next) = rest.split_at(len);
        events.push(event);
        rest = next;
    }
    assert!(rest.is_empty() && !events.is_empty(), "a broken capture");
    events
}

/// What a pass has sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Datagrams.
    pub datagrams: u64,
    /// Bytes in them.
    pub bytes: u64,
}

impl Sent {
    fn add(&mut self, other: Self) {
        self.datagrams += other.datagrams;
        self.bytes += other.bytes;
    }
}

/// FT-FW with the usual queues.
pub const FTFW: Mode = Mode::Ftfw {
    resend_queue_len: 131_072,
    ack_window: 300,
};

/// A node whose peer acknowledges what it can have seen.
pub struct Node {
    engine: Engine,
    now: Instant,
    peer_seq: u32,
    ack: Vec<u8>,
    /// The datagram sent last.
    last: Vec<u8>,
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node").field("now", &self.now).finish()
    }
}

impl Node {
    /// A node in a mode, beside an empty kernel table.
    #[must_use]
    pub fn new(mode: Mode) -> Self {
        let now = Instant::now();
        let start = Start {
            now,
            unix_time_s: 1000,
            // The same in every run, so that the same instructions are.
            seed: 7,
            origins: Origins::default(),
        };
        let mut engine = Engine::new(settings(mode), start);
        drain(&mut engine, |_| ());
        let mut done = Vec::new();
        emit::done(&mut done, 1, 0, 0);
        engine.handle_kernel_reply(now, KernelSocket::Dump, &done);
        drain(&mut engine, |_| ());
        Self {
            engine,
            now,
            peer_seq: 1,
            ack: Vec::with_capacity(64),
            last: Vec::with_capacity(2048),
        }
    }

    /// Takes events as the driver reads them; `each` gets the datagrams that are to be sent.
    pub fn pass(&mut self, events: &[&[u8]], mut each: impl FnMut(&[u8])) -> Sent {
        let mut sent = Sent::default();
        for read in events.chunks(EVENTS_PER_READ) {
            self.now += Duration::from_millis(1);
            for event in read {
                self.engine.handle_events(self.now, event);
            }
            self.engine.handle_timeout(self.now);
            let last = &mut self.last;
            sent.add(drain(&mut self.engine, |datagram| {
                last.clear();
                last.extend_from_slice(datagram);
                each(datagram);
            }));
        }
        self.ack.clear();
        self.peer_seq += 1;
        // What was never sent cannot be acknowledged.
        let to = last_number(&self.last);
        encode::control(&mut self.ack, Flags::ACK, self.peer_seq, 0, to);
        self.engine.handle_datagram(self.now, LinkId(0), &self.ack);
        sent.add(drain(&mut self.engine, &mut each));
        sent
    }

    /// Takes a datagram of a peer. What it has to say to it goes nowhere.
    pub fn receive(&mut self, datagram: &[u8]) {
        self.now += Duration::from_millis(1);
        self.engine.handle_datagram(self.now, LinkId(0), datagram);
        drain(&mut self.engine, |_| ());
    }

    /// Entries in the internal cache.
    #[must_use]
    pub fn internal(&self) -> u64 {
        match self.engine.snapshot().internal {
            Some(InternalStats::Cache(stats)) => stats.active,
            _ => 0,
        }
    }

    /// Entries that it has ever had in its external cache.
    #[must_use]
    pub fn told(&self) -> u64 {
        match self.engine.snapshot().external {
            Some(ExternalStats::Cache(stats)) => stats.created,
            _ => 0,
        }
    }
}

/// Number of the last message of a datagram.
fn last_number(datagram: &[u8]) -> u32 {
    let (mut rest, mut last) = (datagram, 0);
    while let Split::Message(message, behind) = split(rest, Carrier::Datagram) {
        (rest, last) = (behind, message.seq);
    }
    last
}

fn drain(engine: &mut Engine, mut each: impl FnMut(&[u8])) -> Sent {
    let mut sent = Sent::default();
    while let Some(output) = engine.poll_output() {
        if let Output::Transmit { bytes, .. } = output {
            sent.datagrams += 1;
            sent.bytes += bytes.len() as u64;
            each(bytes);
        }
    }
    sent
}

fn settings(mode: Mode) -> Settings {
    Settings {
        mode,
        internal: InternalMode::Cache,
        external: ExternalMode::Cache,
        links: vec![LinkSettings {
            payload_len: 1472,
            default: true,
        }],
        native: NativeSettings::default(),
        standby: StandbySettings::default(),
        commit_timeout_s: None,
        purge_timeout: Duration::from_secs(60),
        startup_resync: false,
        tcp_window_tracking: false,
        expectation_sync: ExpectationSync::Off,
        cache_limit: 262_144,
        policy: engine::api::PolicySettings::default(),
        filter: FlowFilter::default(),
        overrun_resync: Some(Duration::from_secs(30)),
        poll: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_captured_lives_reach_the_peer_and_leave_nothing_behind() {
        let events = captured();
        let lives = events.len() as u64 / 4;
        let (mut node, mut peer) = (Node::new(FTFW), Node::new(FTFW));
        for passes in 1..=3 {
            let sent = node.pass(&events, |datagram| peer.receive(datagram));
            assert_eq!(node.internal(), 0);
            assert_eq!(peer.told(), lives * passes);
            // Each event is a message of at least its header and an original tuple.
            assert!(sent.bytes > events.len() as u64 * 40, "{sent:?}");
        }
        let half: Vec<_> = events.iter().copied().take(events.len() / 2).collect();
        node.pass(&half, |_| ());
        assert!(node.internal() > 0);
    }
}
