//! Handles of which a peer may have something.

/// A set of handles, one bit each.
#[derive(Debug, Default)]
pub(crate) struct Known {
    words: Vec<u64>,
}

impl Known {
    pub(crate) fn contains(&self, handle: u32) -> bool {
        let word = self.words.get(handle as usize / 64).copied();
        word.unwrap_or_default() & bit(handle) != 0
    }

    pub(crate) fn insert(&mut self, handle: u32) {
        let index = handle as usize / 64;
        if self.words.len() <= index {
            self.words.resize(index + 1, 0);
        }
        if let Some(word) = self.words.get_mut(index) {
            *word |= bit(handle);
        }
    }

    /// Returns whether it was there.
    pub(crate) fn remove(&mut self, handle: u32) -> bool {
        let Some(word) = self.words.get_mut(handle as usize / 64) else {
            return false;
        };
        let was = *word & bit(handle) != 0;
        *word &= !bit(handle);
        was
    }

    /// No handle from here on is in the set.
    pub(crate) fn end(&self) -> u32 {
        u32::try_from(self.words.len() * 64).unwrap_or(u32::MAX)
    }

    pub(crate) fn clear(&mut self) {
        self.words = Vec::new();
    }
}

fn bit(handle: u32) -> u64 {
    1 << (handle % 64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handles_come_and_go() {
        let mut known = Known::default();
        assert!(!known.contains(1000) && !known.remove(1000));
        known.insert(1000);
        assert!(known.contains(1000) && !known.contains(1001));
        assert!(known.end() > 1000);
        assert!(known.remove(1000) && !known.remove(1000));
    }
}
