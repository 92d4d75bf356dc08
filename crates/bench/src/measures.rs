//! What is measured. Each takes its numbers of the floor, the original and ours one after the other.

mod cpu;
mod expiry;
mod idle;
mod latency;
mod loss;
mod native;
mod pause;
mod rate;
mod scale;
mod table;
mod takeover;

use std::time::Duration;

use crate::book::{Book, Whose};

/// How large.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    /// Largest table.
    pub(crate) entries: u32,
    /// Length of a load.
    pub(crate) seconds: u32,
}

impl Scale {
    /// A part of the largest table, divisible by four as the samples' kinds are.
    fn part(self, divisor: u32) -> u32 {
        (self.entries / divisor / 4 * 4).max(400)
    }
}

/// Measures that share what is prepared for them are taken together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Together {
    /// By itself.
    Alone,
    /// With one large table on both nodes.
    Table,
}

/// Takes the numbers of one round for the named measures.
type Run = fn(&mut Book, Scale, &[&str]);

/// One measure.
pub(crate) struct Measure {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    pub(crate) together: Together,
    /// Rounds at most; what only fills a plot or a secondary row needs fewer.
    pub(crate) rounds: usize,
    /// Seconds that a round takes at full size, about.
    pub(crate) seconds: u64,
    pub(crate) run: Run,
}

impl std::fmt::Debug for Measure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// As many rounds as are asked for.
const ALL: usize = usize::MAX;

/// Both programs, the original first.
const BOTH: [Whose; 2] = [Whose::Original, Whose::Ours];

macro_rules! measures {
    ($($name:literal, $what:literal, $together:ident, $rounds:expr, $seconds:literal, $run:path;)*) => {
        /// All of them, in the order in which they are taken.
        pub(crate) const MEASURES: &[Measure] = &[
            $(Measure {
                name: $name, what: $what, together: Together::$together, rounds: $rounds, seconds: $seconds, run: $run,
            },)*
        ];
    };
}

measures! {
    "cpu", "CPU per flow at 10k and 40k flows/s", Alone, ALL, 45, cpu::cpu;
    "modes", "the same with NOTRACK, multicast and ALARM", Alone, 3, 45, cpu::modes;
    "rates", "CPU per flow over the rate (plot)", Alone, 1, 75, cpu::rates;
    "quarter", "lossless rate, active node on 25 % of a core", Alone, ALL, 50, rate::quarter;
    "tenth", "lossless rate, standby on 10 % of a core", Alone, ALL, 75, rate::tenth;
    "free", "lossless rate, nothing limited", Alone, 2, 45, rate::free;
    "latency", "insert to datagram, idle and under load; insert to answer of the peer's `-s`", Alone, ALL, 35, latency::latency;
    "idle", "memory and processor of a pair without traffic", Alone, ALL, 22, idle::idle;
    "memory", "bytes per entry", Table, ALL, 25, table::table;
    "list", "`-i` and `-e`", Table, ALL, 10, table::table;
    "reading", "`-R`, and what it sends", Table, ALL, 8, table::table;
    "bulk", "`-n` of an empty standby", Table, ALL, 8, table::table;
    "start", "start beside a full table until READY", Table, ALL, 10, table::table;
    "pause", "longest pause of replication during `-i`, `-R`, `-B`, `-c`", Table, ALL, 35, table::table;
    "commit", "`-c`, and own events lost", Table, ALL, 15, table::table;
    "takeover", "stock four commands, and `role primary`", Alone, ALL, 80, takeover::takeover;
    "loss", "equality on a link that loses 0, 1, 5, 20 %", Alone, ALL, 55, loss::loss;
    "lossy", "the same with NOTRACK and ALARM at 5 %", Alone, 1, 75, loss::modes;
    "expiry", "forwarded flows that expire in one pass", Alone, ALL, 90, expiry::expiry;
    "scale", "CPU per event, 10k to 2M entries", Alone, ALL, 45, scale::scale;
    "native-cpu", "native dialect beside version 1: CPU per flow at 10k and 40k flows/s", Alone, ALL, 45, native::processor;
    "native-bytes", "the same: bytes on the link per flow", Alone, ALL, 25, native::bytes;
    "native-latency", "the same: insert to answer of the peer's `-s`", Alone, ALL, 15, native::visible;
    "native-rejoin", "the same: a copy, a cut of 10 s, and the upkeep of proofs", Alone, ALL, 75, native::rejoin;
}

/// What is measured when nothing is named, and what is named by one word.
pub(crate) fn named(word: &str) -> Vec<&'static Measure> {
    let all = MEASURES.iter();
    match word {
        NATIVE => all.filter(|measure| measure.is_native()).collect(),
        "" => all.filter(|measure| !measure.is_native()).collect(),
        name => all.filter(|measure| measure.name == name).collect(),
    }
}

/// All measures of the native dialect, which are taken by themselves.
const NATIVE: &str = "native";

impl Measure {
    fn is_native(&self) -> bool {
        self.name.starts_with(NATIVE)
    }
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
