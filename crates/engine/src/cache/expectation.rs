//! Expectations as a cache keeps them: as they are.

use flow::{Expectation, Tuple};

use super::{Marks, Object};

/// What identifies an expectation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ExpectationKey {
    master: Tuple,
    tuple: Tuple,
    mask: Tuple,
    zone: u16,
}

impl ExpectationKey {
    /// An expectation with this key, of which nothing else is known.
    pub(crate) fn expectation(&self) -> Expectation {
        Expectation {
            zone: self.zone,
            ..Expectation::new(self.master, self.tuple, self.mask)
        }
    }
}

impl Object for Expectation {
    type Value = Self;
    type Key = ExpectationKey;

    fn key(value: &Self) -> ExpectationKey {
        ExpectationKey {
            master: value.master,
            tuple: value.tuple,
            mask: value.mask,
            zone: value.zone,
        }
    }

    fn stored_key(&self) -> ExpectationKey {
        Self::key(self)
    }

    fn has_key(&self, key: &ExpectationKey) -> bool {
        Self::key(self) == *key
    }

    fn pack(value: &Self) -> Self {
        *value
    }

    fn unpack(&self) -> Self {
        *self
    }

    fn merge(value: &mut Self, update: &Self) {
        *value = Self {
            timeout_s: update.timeout_s.or(value.timeout_s),
            id: update.id.or(value.id),
            flags: update.flags.or(value.flags),
            class: update.class.or(value.class),
            nat: update.nat.or(value.nat),
            helper: update.helper.or(value.helper),
            function: update.function.or(value.function),
            ..*value
        };
    }

    fn has_master(&self) -> bool {
        true
    }

    fn changes(old: &Self, new: &Self) -> Marks {
        let ageless = |e: &Self| Self {
            timeout_s: None,
            id: None,
            ..*e
        };
        if ageless(old) == ageless(new) {
            Marks::NONE
        } else {
            Marks::WHOLE
        }
    }

    fn is_another(changes: Marks) -> bool {
        !changes.is_none()
    }

    fn timeout_s(value: &mut Self) -> &mut Option<u32> {
        &mut value.timeout_s
    }

    fn touch(&self) -> u32 {
        self.id.unwrap_or_default()
    }
}
