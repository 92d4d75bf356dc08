//! One direction of a dedicated link: it loses, repeats, delays, reorders and spoils datagrams.

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
    /// Datagrams in which bits change, of 1000. Where there is a checksum they are lost.
    pub corruption: u32,
    /// Longest delay beyond the usual one, in milliseconds; different delays change the order.
    pub jitter_ms: u64,
    /// Datagrams that are seconds late, of 1000.
    pub late: u32,
    /// Longer datagrams do not pass. 0: all do.
    pub mtu: usize,
    /// Nothing arrives at all.
    pub partitioned: bool,
}

impl Faults {
    /// Whether datagrams arrive in the order in which they were sent, each at most once.
    #[must_use]
    pub fn keep_order(&self) -> bool {
        self.jitter_ms == 0 && self.late == 0 && self.duplication == 0
    }
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
    /// Datagrams that arrived with other bits than were sent.
    pub corrupted: u64,
}

/// A datagram under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// What it says.
    pub bytes: Vec<u8>,
    /// Which life of its sender it comes from.
    pub life: u32,
}

/// Datagrams under way from one node to another.
#[derive(Debug)]
pub struct SimLink {
    /// How bad it is now.
    pub faults: Faults,
    /// Whether spoilt datagrams are noticed below the daemon.
    pub checksum: bool,
    /// What happened.
    pub stats: LinkStats,
    in_flight: BTreeMap<(Instant, u64), Datagram>,
    number: u64,
    last_arrival: Option<Instant>,
    rng: Rng,
}

/// Time that a datagram takes at least.
const LATENCY: Duration = Duration::from_micros(200);

impl SimLink {
    /// A faultless link.
    #[must_use]
    pub fn new(rng: Rng, checksum: bool) -> Self {
        Self {
            faults: Faults::default(),
            checksum,
            stats: LinkStats::default(),
            in_flight: BTreeMap::new(),
            number: 0,
            last_arrival: None,
            rng,
        }
    }

    /// Puts a datagram on the link.
    pub fn send(&mut self, now: Instant, bytes: &[u8], life: u32) {
        self.stats.sent += 1;
        let faults = self.faults;
        let too_long = faults.mtu > 0 && bytes.len() > faults.mtu;
        if faults.partitioned || too_long || self.rng.chance(faults.loss) {
            self.stats.lost += 1;
            return;
        }
        let mut bytes = bytes.to_vec();
        if faults.corruption > 0 && self.rng.chance(faults.corruption) {
            if self.checksum {
                self.stats.lost += 1;
                return;
            }
            self.stats.corrupted += 1;
            spoil(&mut bytes, &mut self.rng);
        }
        let datagram = Datagram { bytes, life };
        if faults.duplication > 0 && self.rng.chance(faults.duplication) {
            self.stats.duplicated += 1;
            self.depart(now, datagram.clone());
        }
        self.depart(now, datagram);
    }

    fn depart(&mut self, now: Instant, datagram: Datagram) {
        let mut at = now + LATENCY;
        if self.faults.late > 0 && self.rng.chance(self.faults.late) {
            at += self.rng.millis(500, 3000);
            self.in_flight.insert((at, self.number), datagram);
            self.number += 1;
            return;
        }
        if self.faults.jitter_ms > 0 {
            at += self.rng.millis(0, self.faults.jitter_ms);
        } else if let Some(last) = self.last_arrival {
            // A link without jitter keeps the order.
            at = at.max(last);
        }
        self.last_arrival = Some(at);
        self.in_flight.insert((at, self.number), datagram);
        self.number += 1;
    }

    /// When the next datagram arrives.
    #[must_use]
    pub fn next_arrival(&self) -> Option<Instant> {
        self.in_flight.first_key_value().map(|((at, _), _)| *at)
    }

    /// Takes a datagram that has arrived.
    pub fn receive(&mut self, now: Instant) -> Option<Datagram> {
        let entry = self.in_flight.first_entry()?;
        (entry.key().0 <= now).then(|| entry.remove())
    }

    /// Drops everything under way.
    pub fn clear(&mut self) {
        self.in_flight.clear();
    }

    /// Datagrams under way.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }
}

/// Changes one to three bits.
pub(crate) fn spoil(bytes: &mut [u8], rng: &mut Rng) {
    for _ in 0..rng.between(1, 3) {
        let bit = rng.below(bytes.len() as u64 * 8) as usize;
        if let Some(byte) = bytes.get_mut(bit / 8) {
            *byte ^= 1 << (bit % 8);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrivals(faults: Faults, checksum: bool) -> (Vec<u8>, LinkStats) {
        let start = Instant::now();
        let mut link = SimLink::new(Rng::new(5), checksum);
        link.faults = faults;
        for number in 0..100 {
            link.send(start, &[number], 1);
        }
        let mut seen = Vec::new();
        while let Some(at) = link.next_arrival() {
            seen.push(link.receive(at).unwrap().bytes[0]);
        }
        (seen, link.stats)
    }

    #[test]
    fn a_faultless_link_delivers_everything_once_and_in_order() {
        let (seen, stats) = arrivals(Faults::default(), true);
        assert_eq!(seen, (0..100).collect::<Vec<_>>());
        assert_eq!((stats.sent, stats.lost), (100, 0));
    }

    #[test]
    fn faults_lose_repeat_and_reorder() {
        let faults = Faults {
            loss: 100,
            duplication: 100,
            jitter_ms: 10,
            late: 50,
            ..Faults::default()
        };
        let (seen, stats) = arrivals(faults, true);
        assert!(stats.lost > 0 && stats.duplicated > 0);
        assert_eq!(
            seen.len() as u64,
            stats.sent - stats.lost + stats.duplicated
        );
        assert!(!seen.is_sorted());
        for cut in [
            Faults {
                partitioned: true,
                ..Faults::default()
            },
            Faults {
                corruption: 1000,
                ..Faults::default()
            },
        ] {
            assert_eq!(arrivals(cut, true).0, []);
        }
    }

    #[test]
    fn without_a_checksum_spoilt_datagrams_arrive() {
        let faults = Faults {
            corruption: 1000,
            ..Faults::default()
        };
        let (seen, stats) = arrivals(faults, false);
        assert_eq!((seen.len(), stats.corrupted), (100, 100));
        assert_ne!(seen, (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn a_small_mtu_stops_the_long_ones_only() {
        let mut link = SimLink::new(Rng::new(5), true);
        link.faults.mtu = 4;
        let start = Instant::now();
        link.send(start, &[0; 4], 1);
        link.send(start, &[0; 5], 1);
        assert_eq!((link.in_flight(), link.stats.lost), (1, 1));
    }
}
