//! One direction of a dedicated link that loses, repeats, delays and reorders datagrams.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::Rng;

/// How bad a link is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Datagrams lost, of 1000.
    pub loss: u32,
    /// Datagrams that arrive twice, of 1000.
    pub duplication: u32,
    /// Longest delay beyond the usual one, in milliseconds; different delays change the order.
    pub jitter_ms: u64,
    /// Nothing arrives at all.
    pub partitioned: bool,
}

/// What happened on a link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkStats {
    /// Datagrams sent.
    pub sent: u64,
    /// Datagrams lost.
    pub lost: u64,
    /// Datagrams that were sent once more.
    pub duplicated: u64,
}

/// Datagrams under way from one node to the other.
#[derive(Debug)]
pub struct SimLink {
    /// How bad it is now.
    pub faults: Faults,
    /// What happened.
    pub stats: LinkStats,
    in_flight: BTreeMap<(Instant, u64), Vec<u8>>,
    number: u64,
    last_arrival: Option<Instant>,
    rng: Rng,
}

/// Time that a datagram takes at least.
const LATENCY: Duration = Duration::from_micros(200);

impl SimLink {
    /// A faultless link.
    #[must_use]
    pub fn new(rng: Rng) -> Self {
        Self {
            faults: Faults::default(),
            stats: LinkStats::default(),
            in_flight: BTreeMap::new(),
            number: 0,
            last_arrival: None,
            rng,
        }
    }

    /// Puts a datagram on the link.
    pub fn send(&mut self, now: Instant, bytes: &[u8]) {
        self.stats.sent += 1;
        if self.faults.partitioned || self.rng.chance(self.faults.loss) {
            self.stats.lost += 1;
            return;
        }
        self.depart(now, bytes);
        if self.rng.chance(self.faults.duplication) {
            self.stats.duplicated += 1;
            self.depart(now, bytes);
        }
    }

    fn depart(&mut self, now: Instant, bytes: &[u8]) {
        let mut at = now + LATENCY;
        if self.faults.jitter_ms > 0 {
            at += self.rng.millis(0, self.faults.jitter_ms);
        } else if let Some(last) = self.last_arrival {
            // A link without jitter keeps the order.
            at = at.max(last);
        }
        self.last_arrival = Some(at);
        self.in_flight.insert((at, self.number), bytes.to_vec());
        self.number += 1;
    }

    /// When the next datagram arrives.
    #[must_use]
    pub fn next_arrival(&self) -> Option<Instant> {
        self.in_flight.first_key_value().map(|((at, _), _)| *at)
    }

    /// Takes a datagram that has arrived.
    pub fn receive(&mut self, now: Instant) -> Option<Vec<u8>> {
        let entry = self.in_flight.first_entry()?;
        (entry.key().0 <= now).then(|| entry.remove())
    }

    /// Drops everything under way.
    pub fn clear(&mut self) {
        self.in_flight.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrivals(faults: Faults) -> (Vec<u8>, LinkStats) {
        let start = Instant::now();
        let mut link = SimLink::new(Rng::new(5));
        link.faults = faults;
        for number in 0..100 {
            link.send(start, &[number]);
        }
        let mut seen = Vec::new();
        while let Some(at) = link.next_arrival() {
            seen.push(link.receive(at).unwrap()[0]);
        }
        (seen, link.stats)
    }

    #[test]
    fn a_faultless_link_delivers_everything_once_and_in_order() {
        let (seen, stats) = arrivals(Faults::default());
        assert_eq!(seen, (0..100).collect::<Vec<_>>());
        assert_eq!((stats.sent, stats.lost), (100, 0));
    }

    #[test]
    fn faults_lose_repeat_and_reorder() {
        let faults = Faults {
            loss: 100,
            duplication: 100,
            jitter_ms: 10,
            partitioned: false,
        };
        let (seen, stats) = arrivals(faults);
        assert!(stats.lost > 0 && stats.duplicated > 0);
        assert_eq!(
            seen.len() as u64,
            stats.sent - stats.lost + stats.duplicated
        );
        assert!(!seen.is_sorted());
        let cut = Faults {
            partitioned: true,
            ..Faults::default()
        };
        assert_eq!(arrivals(cut).0, []);
    }
}
