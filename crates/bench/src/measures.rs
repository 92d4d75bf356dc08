//! What is measured. Each takes its numbers of the floor, the original and ours one after the other.

mod flows;
mod small;
mod table;

use anyhow::Result;

use crate::book::Book;

/// How large.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    /// Largest table.
    pub(crate) entries: u32,
    /// Length of a load.
    pub(crate) seconds: u32,
}

/// One measure.
pub(crate) struct Measure {
    pub(crate) name: &'static str,
    pub(crate) run: fn(&mut Book, Scale) -> Result<()>,
}

impl std::fmt::Debug for Measure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// All of them, in the order of the report.
pub(crate) const MEASURES: [Measure; 6] = [
    Measure {
        name: "cpu",
        run: flows::cpu,
    },
    Measure {
        name: "quarter",
        run: flows::quarter,
    },
    Measure {
        name: "latency",
        run: small::latency,
    },
    Measure {
        name: "idle",
        run: small::idle,
    },
    Measure {
        name: "table",
        run: table::table,
    },
    Measure {
        name: "takeover",
        run: table::takeover,
    },
];
