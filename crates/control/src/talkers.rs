//! Who has the most entries in a cache.
//!
//! Counted in bounded memory (Misra and Gries): an address with more than one part in 4096 of all entries is
//! always found, and is told at most that much too low.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;

use flow::{Flow, L4};
use serde::{Deserialize, Serialize};

use crate::names::protocol_name;

/// Addresses counted at once.
const KEPT_MAX: usize = 4096;

/// Addresses told.
const TOLD_MAX: usize = 20;

/// The answer: those with the most entries, most first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TalkersReport {
    /// Entries looked at.
    pub entries: u64,
    /// Addresses that open connections.
    pub sources: Vec<Talker>,
    /// Addresses that are connected to.
    pub destinations: Vec<Talker>,
    /// Services, such as `tcp/443`.
    pub services: Vec<Talker>,
}

/// One of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Talker {
    /// Address or service.
    pub name: String,
    /// Entries.
    pub entries: u64,
}

/// Counts entries as they pass.
#[derive(Debug, Default)]
pub struct Talkers {
    entries: u64,
    sources: Counts<IpAddr>,
    destinations: Counts<IpAddr>,
    services: Counts<(u8, u16)>,
}

impl Talkers {
    /// Counts one.
    pub fn add(&mut self, flow: &Flow) {
        self.entries += 1;
        self.sources.add(flow.orig.src());
        self.destinations.add(flow.orig.dst());
        if let L4::Ports { dst, .. } = flow.orig.l4 {
            self.services.add((flow.orig.proto, dst));
        }
    }

    /// Those with the most.
    #[must_use]
    pub fn report(self) -> TalkersReport {
        TalkersReport {
            entries: self.entries,
            sources: self.sources.most(|addr| addr.to_string()),
            destinations: self.destinations.most(|addr| addr.to_string()),
            services: self
                .services
                .most(|(proto, port)| format!("{}/{port}", protocol_name(*proto))),
        }
    }
}

#[derive(Debug)]
struct Counts<K>(HashMap<K, u64>);

impl<K> Default for Counts<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Hash + Eq + Ord> Counts<K> {
    fn add(&mut self, key: K) {
        if self.0.len() >= KEPT_MAX && !self.0.contains_key(&key) {
            // This one and one of each of the others cancel out.
            self.0.retain(|_, count| {
                *count -= 1;
                *count > 0
            });
            return;
        }
        *self.0.entry(key).or_insert(0) += 1;
    }

    fn most(self, name: impl Fn(&K) -> String) -> Vec<Talker> {
        let mut all: Vec<_> = self.0.into_iter().collect();
        all.sort_unstable_by(|(a_key, a), (b_key, b)| b.cmp(a).then_with(|| a_key.cmp(b_key)));
        all.truncate(TOLD_MAX);
        all.into_iter()
            .map(|(key, entries)| Talker {
                name: name(&key),
                entries,
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_the_most_is_found_among_a_million_others() {
        let mut counts = Counts::default();
        for number in 0..1_000_000_u32 {
            counts.add(if number % 50 == 0 { u32::MAX } else { number });
            assert!(counts.0.len() <= KEPT_MAX);
        }
        let most = counts.most(u32::to_string);
        assert_eq!(most[0].name, u32::MAX.to_string());
        assert!(
            most[0].entries > 20_000 - 1_000_000 / KEPT_MAX as u64,
            "{most:?}"
        );
    }
}
