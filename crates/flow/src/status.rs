//! The kernel's status bits of a connection.

use std::ops::{BitOr, BitOrAssign};

/// Status bits, numbered as the kernel's `IPS_*`. Unknown bits are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Status(pub u32);

impl Status {
    /// Came out of an expectation.
    pub const EXPECTED: Self = Self(1 << 0);
    /// Packets were seen in both directions.
    pub const SEEN_REPLY: Self = Self(1 << 1);
    /// Not dropped early when the table is full.
    pub const ASSURED: Self = Self(1 << 2);
    /// In the table.
    pub const CONFIRMED: Self = Self(1 << 3);
    /// Source is translated.
    pub const SRC_NAT: Self = Self(1 << 4);
    /// Destination is translated.
    pub const DST_NAT: Self = Self(1 << 5);
    /// TCP sequence numbers are shifted.
    pub const SEQ_ADJUST: Self = Self(1 << 6);
    /// Source translation has been decided.
    pub const SRC_NAT_DONE: Self = Self(1 << 7);
    /// Destination translation has been decided.
    pub const DST_NAT_DONE: Self = Self(1 << 8);
    /// Being removed.
    pub const DYING: Self = Self(1 << 9);
    /// Packets do not renew the timeout.
    pub const FIXED_TIMEOUT: Self = Self(1 << 10);
    /// A template, not a connection.
    pub const TEMPLATE: Self = Self(1 << 11);
    /// Lost a race for its tuple.
    pub const NAT_CLASH: Self = Self(1 << 12);
    /// Has a helper.
    pub const HELPER: Self = Self(1 << 13);
    /// Handled by a flow table.
    pub const OFFLOAD: Self = Self(1 << 14);
    /// Handled by hardware.
    pub const HW_OFFLOAD: Self = Self(1 << 15);

    /// Whether all bits of `other` are set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// These bits without those of `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The bits both have.
    #[must_use]
    pub const fn common(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl BitOr for Status {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for Status {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}
