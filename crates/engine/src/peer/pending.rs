//! Positions that wait for something, each once, in the order in which they came.

use std::collections::VecDeque;

use crate::journal::Marks;

/// In the queue.
const QUEUED: u8 = 1;

/// Positions that wait, and what was noted of them.
///
/// Grows with the highest position, not with the number of changes.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    marks: Vec<(Marks, u8)>,
    queue: VecDeque<u32>,
    /// Positions with marks: what was flushed out of turn still stands in the queue.
    waiting: usize,
}

impl Pending {
    /// Something happened to this position.
    pub(crate) fn mark(&mut self, position: u32, marks: Marks) {
        let index = position as usize;
        if self.marks.len() <= index {
            self.marks.resize(index + 1, (Marks::NONE, 0));
        }
        let Some((known, flags)) = self.marks.get_mut(index) else {
            return;
        };
        self.waiting += usize::from(known.is_none() && !marks.is_none());
        *known = known.with(marks);
        if *flags & QUEUED == 0 && !known.is_none() {
            *flags |= QUEUED;
            self.queue.push_back(position);
        }
    }

    /// The position that has waited longest.
    pub(crate) fn pop(&mut self) -> Option<(u32, Marks)> {
        while let Some(position) = self.queue.pop_front() {
            let Some((marks, flags)) = self.marks.get_mut(position as usize) else {
                continue;
            };
            *flags &= !QUEUED;
            let marks = std::mem::replace(marks, Marks::NONE);
            if !marks.is_none() {
                self.waiting -= 1;
                return Some((position, marks));
            }
        }
        None
    }

    /// Takes a position out of turn.
    pub(crate) fn take(&mut self, position: u32) -> Option<Marks> {
        let (marks, _) = self.marks.get_mut(position as usize)?;
        let marks = std::mem::replace(marks, Marks::NONE);
        (!marks.is_none()).then(|| {
            self.waiting -= 1;
            marks
        })
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.waiting
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting == 0
    }

    /// Nothing waits any more; the memory is given back.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use native::Fields;

    #[test]
    fn several_changes_of_an_entry_wait_as_one_in_the_place_of_the_first() {
        let mut pending = Pending::default();
        pending.mark(7, Marks::fields(Fields::MARK));
        pending.mark(3, Marks::WHOLE);
        pending.mark(7, Marks::fields(Fields::STATUS));
        assert_eq!(pending.len(), 2);
        let both = Marks::fields(Fields::MARK | Fields::STATUS);
        assert_eq!(pending.pop(), Some((7, both)));
        assert_eq!(pending.pop(), Some((3, Marks::WHOLE)));
        assert_eq!(pending.pop(), None);
    }

    #[test]
    fn what_is_taken_out_of_turn_neither_comes_again_nor_makes_the_queue_grow() {
        let mut pending = Pending::default();
        for _ in 0..1000 {
            pending.mark(5, Marks::WHOLE);
            assert_eq!(pending.take(5), Some(Marks::WHOLE));
            assert_eq!(pending.take(5), None);
        }
        assert!(pending.is_empty() && pending.queue.len() == 1);
        pending.mark(5, Marks::WHOLE);
        assert_eq!(pending.pop(), Some((5, Marks::WHOLE)));
        assert_eq!(pending.pop(), None);
    }
}
