//! How much strangers may cost.

use std::time::{Duration, Instant};

/// First packets of handshakes that are looked at, per second. One costs some tens of microseconds.
const PER_SECOND: u32 = 500;

/// The time in which one of them is earned.
const EACH: Duration = Duration::from_micros(1_000_000 / PER_SECOND as u64);

/// A budget of first packets that refills with time.
#[derive(Debug)]
pub(super) struct Gate {
    left: u32,
    refilled: Instant,
}

impl Gate {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            left: PER_SECOND,
            refilled: now,
        }
    }

    /// Whether one more may be looked at.
    pub(super) fn pass(&mut self, now: Instant) -> bool {
        let earned = now
            .saturating_duration_since(self.refilled)
            .as_micros()
            .checked_div(EACH.as_micros())
            .unwrap_or_default();
        if earned > 0 {
            let earned = u32::try_from(earned).unwrap_or(u32::MAX);
            self.left = self.left.saturating_add(earned).min(PER_SECOND);
            self.refilled = now;
        }
        match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                true
            }
            None => false,
        }
    }
}

/// Whether a datagram can be QUIC: one bit is always set. It is not set in version 1 of the protocol.
pub(super) fn is_quic(datagram: &[u8]) -> bool {
    datagram.first().is_some_and(|head| head & 0x40 != 0)
}

/// Whether a datagram may begin a connection: a long header of the type Initial, or of a version that is
/// not known here.
pub(super) fn is_first(datagram: &[u8]) -> bool {
    let Some((&head, rest)) = datagram.split_first() else {
        return false;
    };
    let version = rest
        .first_chunk::<4>()
        .map(|bytes| u32::from_be_bytes(*bytes));
    // Version 1 has four types of long headers; 0 is Initial.
    head & 0x80 != 0 && (version != Some(1) || head & 0x30 == 0)
}
