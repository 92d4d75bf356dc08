//! What has happened to a cache since somebody last looked.
//!
//! Native sessions and the standby follow a cache by what it is, not by what they are told: every change goes
//! through the cache, so none can be forgotten. Without followers nothing is noted.

use native::Fields;

/// What is noted of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Marks(u16);

impl Marks {
    /// Nothing.
    pub(crate) const NONE: Self = Self(0);
    /// Another entry than before, or none: whatever was known of this position is of no use.
    pub(crate) const WHOLE: Self = Self(1 << 15);

    /// These fields changed.
    pub(crate) fn fields(fields: Fields) -> Self {
        Self((fields.bits() & Fields::ALL.bits()) as u16)
    }

    /// The fields that changed; all of them of an entry that is another.
    pub(crate) fn as_fields(self) -> Fields {
        if self.is_whole() {
            Fields::ALL
        } else {
            Fields::from_bits(u32::from(self.0))
        }
    }

    pub(crate) fn is_whole(self) -> bool {
        self.0 & Self::WHOLE.0 != 0
    }

    pub(crate) fn is_none(self) -> bool {
        self.0 == 0
    }

    pub(crate) fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// What has happened, in the order in which it did.
#[derive(Debug)]
pub(crate) struct Journal<K> {
    /// Positions whose entry is new, changed or gone.
    pub(crate) changed: Vec<(u32, Marks)>,
    /// Keys of entries that were taken out.
    pub(crate) removed: Vec<K>,
    /// Whether the followers want to know these.
    wants_removed: bool,
    /// Everything was taken out at once.
    pub(crate) cleared: bool,
}

impl<K> Journal<K> {
    /// `wants_removed`: note the keys of entries that are taken out.
    pub(crate) fn new(wants_removed: bool) -> Self {
        Self {
            changed: Vec::new(),
            removed: Vec::new(),
            wants_removed,
            cleared: false,
        }
    }

    pub(crate) fn change(&mut self, id: u32, marks: Marks) {
        if !marks.is_none() {
            self.changed.push((id, marks));
        }
    }

    pub(crate) fn remove(&mut self, id: u32, key: K) {
        self.changed.push((id, Marks::WHOLE));
        if self.wants_removed {
            self.removed.push(key);
        }
    }

    pub(crate) fn clear(&mut self) {
        self.changed.clear();
        self.removed.clear();
        self.cleared = true;
    }

    /// Everybody has taken note.
    pub(crate) fn forget(&mut self) {
        self.changed.clear();
        self.removed.clear();
        self.cleared = false;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.changed.is_empty() && self.removed.is_empty() && !self.cleared
    }
}
