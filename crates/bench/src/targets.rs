//! What is to hold.

use crate::book::{Book, Whose};

/// A row of the table.
pub(crate) struct Target {
    pub(crate) what: &'static str,
    pub(crate) number: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) bound: Bound,
}

/// What a number is held against.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bound {
    /// At most this part of the original's.
    OfOriginal(f64),
    /// At least this multiple of the original's.
    TimesOriginal(f64),
    /// At most this multiple of a number of the floor.
    OfFloor(&'static str, f64),
    /// At most this.
    AtMost(f64),
    /// With the original as the peer, at most this multiple of ours with ours.
    Mixed(f64),
}

impl Bound {
    /// What was reached, and whether it is enough.
    pub(crate) fn judge(self, book: &Book, number: &str) -> Option<(f64, bool)> {
        let original = book.ratio(number, Whose::Ours, (number, Whose::Original));
        let (reached, holds) = match self {
            Self::OfOriginal(most) => original.map(|ratio| (ratio, ratio <= most))?,
            Self::TimesOriginal(least) => original.map(|ratio| (ratio, ratio >= least))?,
            Self::OfFloor(floor, most) => {
                let ratio = book.ratio(number, Whose::Ours, (floor, Whose::Floor))?;
                (ratio, ratio <= most)
            }
            Self::AtMost(most) => {
                let value = book.spread(number, Whose::Ours)?.median;
                (value, value <= most)
            }
            Self::Mixed(most) => {
                let ratio = book.ratio(number, Whose::Mixed, (number, Whose::Ours))?;
                (ratio, ratio <= most)
            }
        };
        Some((reached, holds))
    }

    pub(crate) fn words(self) -> String {
        match self {
            Self::OfOriginal(most) => format!("≤ {most:.2} × original"),
            Self::TimesOriginal(least) => format!("≥ {least:.1} × original"),
            Self::OfFloor(floor, most) => format!("≤ {most:.2} × {floor} of the kernel"),
            Self::AtMost(most) => format!("≤ {most}"),
            Self::Mixed(most) => format!("≤ {most:.2} × ours with ours"),
        }
    }
}

macro_rules! targets {
    ($($what:literal, $number:literal, $unit:literal, $bound:expr;)*) => {
        /// All of them.
        pub(crate) const TARGETS: &[Target] = &[
            $(Target { what: $what, number: $number, unit: $unit, bound: $bound },)*
        ];
    };
}

use Bound::{AtMost, Mixed, OfFloor, OfOriginal, TimesOriginal};

targets! {
    "CPU of the active node per flow, 10,000 flows/s", "cpu_active_10k", "µs", OfOriginal(0.5);
    "CPU of the active node per flow, 40,000 flows/s", "cpu_active_40k", "µs", OfOriginal(0.5);
    "CPU of the standby per flow, 10,000 flows/s", "cpu_standby_10k", "µs", OfOriginal(0.4);
    "CPU of the standby per flow, 40,000 flows/s", "cpu_standby_40k", "µs", OfOriginal(0.4);
    "CPU of the active node with the original as peer, 10,000 flows/s", "cpu_active_10k", "µs", Mixed(1.1);
    "CPU of the active node with the original as peer, 40,000 flows/s", "cpu_active_40k", "µs", Mixed(1.1);
    "lossless rate, active node on 25 % of a core", "rate_active_quarter", "flows/s", TimesOriginal(2.0);
    "lossless rate, standby on 10 % of a core", "rate_standby_tenth", "flows/s", TimesOriginal(2.5);
    "memory per entry, internal cache", "memory_internal", "B", OfOriginal(0.33);
    "memory per entry, external cache", "memory_external", "B", OfOriginal(0.33);
    "memory with empty caches", "memory_empty_mib", "MiB", AtMost(10.0);
    "full copy on request (`-n`)", "bulk", "s", OfOriginal(0.6);
    "commit (`-c`)", "commit", "s", OfFloor("create", 1.15);
    "overruns during a commit", "commit_overruns", "", AtMost(0.0);
    "takeover with the stock four commands, until the peer is complete", "takeover", "s", OfOriginal(0.4);
    "takeover with `role primary`", "takeover_role", "s", OfFloor("takeover_role", 1.3);
    "reading of the kernel (`-R`)", "resync", "s", OfFloor("dump", 1.2);
    "listing of the internal cache (`-i`)", "list_internal", "s", OfOriginal(0.35);
    "listing of the external cache (`-e`)", "list_external", "s", OfOriginal(0.35);
    "start beside a full table", "start", "s", OfFloor("dump", 1.2);
    "latency, insert to datagram, idle, p50", "latency_p50", "µs", OfOriginal(0.6);
    "latency, insert to datagram, idle, p99", "latency_p99", "µs", OfOriginal(1.0);
    "processor of an idle node", "idle_percent", "% of a core", AtMost(0.1);
}
