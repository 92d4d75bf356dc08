//! Which of the peer's numbers are believed (reliable mode).
//!
//! Version 1 tells neither which start of a node a message comes from nor whose it is. What can be concluded from
//! the numbers alone is concluded here; whoever sends them need not know.

use std::time::{Duration, Instant};

/// How long messages that a peer sent before its restart may still be under way.
const UNDER_WAY: Duration = Duration::from_secs(2);

/// How late a greeting may be that was repeated or overtaken on the link.
const LATE: Duration = Duration::from_secs(1);

/// A greeting this far ahead of the one before belongs to the same handshake.
const HANDSHAKE_LEN: u32 = 1 << 16;

/// A gap longer than this must be confirmed by another datagram.
const GAP_MAX: u32 = 1 << 20;

/// A datagram holds no more messages than this.
const DATAGRAM_LEN: u32 = 1 << 13;

/// A peer whose numbers have been behind for so long ...
const OUTRUN: Duration = Duration::from_secs(2);

/// ... and for so many messages in a row is right.
const OUTRUN_LEN: u32 = 3;

/// What a number says about its message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It comes next, perhaps after others that are missing.
    Next,
    /// The first of a peer that has started.
    First,
    /// It is older than what is here, or nobody's.
    Drop,
    /// The peer counts from somewhere else: its numbers are right, and everything may be missing.
    Rebase,
}

/// The greetings of one handshake.
#[derive(Clone, Copy, Debug)]
struct Greetings {
    first: u32,
    last: u32,
    at: Instant,
    /// No other message has been accepted since.
    are_latest: bool,
}

/// Messages that are all behind, but go on from one another.
#[derive(Clone, Copy, Debug)]
struct Outrun {
    since: Instant,
    next: u32,
    len: u32,
}

/// What is remembered of the peer's numbers.
#[derive(Debug, Default)]
pub(super) struct Trust {
    greetings: Option<Greetings>,
    /// Where a peer was before it started anew with lower numbers, and until when that matters.
    former: Option<(u32, Instant)>,
    /// The end of a long gap and the datagram that brought it.
    suspect: Option<(u32, u64)>,
    outrun: Option<Outrun>,
    datagrams: u64,
}

/// `a` is before `b` in serial arithmetic.
pub(super) fn before(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) < 0
}

impl Trust {
    /// Another datagram begins.
    pub(super) fn next_datagram(&mut self) {
        self.datagrams += 1;
    }

    /// Judges a number; `last` is the one accepted before.
    pub(super) fn judge(
        &mut self,
        now: Instant,
        seq: u32,
        greets: bool,
        last: Option<u32>,
    ) -> Verdict {
        let verdict = match last {
            _ if greets => self.judge_greeting(now, seq, last),
            None => Verdict::Next,
            Some(last) => self.judge_next(now, seq, last),
        };
        match verdict {
            Verdict::Drop => {}
            _ => (self.suspect, self.outrun) = (None, None),
        }
        if let (Verdict::Next, false, Some(greetings)) = (verdict, greets, &mut self.greetings) {
            greetings.are_latest = false;
        }
        verdict
    }

    fn judge_greeting(&mut self, now: Instant, seq: u32, last: Option<u32>) -> Verdict {
        if last.is_some_and(|last| self.is_former(now, seq, last)) {
            return Verdict::Drop;
        }
        if let (Some(known), Some(last)) = (self.greetings, last) {
            let ahead = seq.wrapping_sub(last);
            if known.are_latest && (1..HANDSHAKE_LEN).contains(&ahead) {
                self.greeted(now, known.first, seq);
                return Verdict::Next;
            }
            let again = !before(seq, known.first) && !before(known.last, seq);
            if again && now.saturating_duration_since(known.at) < LATE {
                return Verdict::Drop;
            }
        }
        if let Some(last) = last {
            let overtaken =
                last.wrapping_sub(seq) < 64 && self.greetings.is_some_and(|known| known.are_latest);
            if before(seq, last) && !overtaken {
                self.former = Some((last, now + UNDER_WAY));
            }
        }
        self.greeted(now, seq, seq);
        Verdict::First
    }

    fn greeted(&mut self, now: Instant, first: u32, last: u32) {
        self.greetings = Some(Greetings {
            first,
            last,
            at: now,
            are_latest: true,
        });
    }

    fn judge_next(&mut self, now: Instant, seq: u32, last: u32) -> Verdict {
        let expected = last.wrapping_add(1);
        if before(seq, expected) {
            return self.judge_behind(now, seq);
        }
        let gap = seq.wrapping_sub(expected);
        if gap == 0 {
            return Verdict::Next;
        }
        if self.is_former(now, seq, last) || (gap > GAP_MAX && !self.is_confirmed(seq)) {
            return Verdict::Drop;
        }
        Verdict::Next
    }

    /// Whether a number belongs to what the peer sent before it started anew.
    fn is_former(&mut self, now: Instant, seq: u32, last: u32) -> bool {
        let Some((former, until)) = self.former else {
            return false;
        };
        if until <= now {
            self.former = None;
            return false;
        }
        let distance = |a: u32, b: u32| a.wrapping_sub(b).min(b.wrapping_sub(a));
        distance(seq, former) < distance(seq, last)
    }

    fn is_confirmed(&mut self, seq: u32) -> bool {
        let (end, datagram) = self.suspect.unwrap_or((seq, self.datagrams));
        let goes_on = seq.wrapping_sub(end) < DATAGRAM_LEN;
        if goes_on && datagram != self.datagrams {
            return true;
        }
        self.suspect = Some((seq, self.datagrams));
        false
    }

    fn judge_behind(&mut self, now: Instant, seq: u32) -> Verdict {
        match &mut self.outrun {
            Some(outrun) if outrun.next == seq => {
                outrun.next = seq.wrapping_add(1);
                outrun.len += 1;
                let long = now.saturating_duration_since(outrun.since) >= OUTRUN;
                if long && outrun.len >= OUTRUN_LEN {
                    return Verdict::Rebase;
                }
            }
            outrun => {
                *outrun = Some(Outrun {
                    since: now,
                    next: seq.wrapping_add(1),
                    len: 1,
                });
            }
        }
        Verdict::Drop
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test may start anywhere")]
mod tests {
    use super::*;

    struct Peer {
        trust: Trust,
        last: Option<u32>,
        now: Instant,
    }

    impl Peer {
        fn new() -> Self {
            Self {
                trust: Trust::default(),
                last: None,
                now: Instant::now(),
            }
        }

        fn says(&mut self, seq: u32, greets: bool) -> Verdict {
            self.trust.next_datagram();
            let verdict = self.trust.judge(self.now, seq, greets, self.last);
            if verdict != Verdict::Drop {
                self.last = Some(seq);
            }
            verdict
        }

        fn waits(&mut self, ms: u64) {
            self.now += Duration::from_millis(ms);
        }
    }

    #[test]
    fn messages_sent_before_a_restart_are_not_taken_after_it() {
        let mut peer = Peer::new();
        assert_eq!(peer.says(50_000, false), Verdict::Next);
        assert_eq!(peer.says(1000, true), Verdict::First);
        assert_eq!(peer.says(50_001, false), Verdict::Drop);
        assert_eq!(peer.says(50_002, true), Verdict::Drop);
        assert_eq!(peer.says(1001, true), Verdict::Next);
        assert_eq!(peer.says(1005, false), Verdict::Next, "a gap is a gap");
        peer.waits(2000);
        assert_eq!(peer.says(50_003, false), Verdict::Next);
    }

    #[test]
    fn greetings_of_one_handshake_follow_each_other_and_late_ones_do_no_harm() {
        let mut peer = Peer::new();
        assert_eq!(peer.says(1000, true), Verdict::First);
        assert_eq!(peer.says(1003, true), Verdict::Next, "two are missing");
        assert_eq!(peer.says(1003, true), Verdict::Drop, "it came twice");
        assert_eq!(peer.says(1004, false), Verdict::Next);
        assert_eq!(peer.says(1003, true), Verdict::Drop);
        peer.waits(1000);
        assert_eq!(peer.says(1002, true), Verdict::First, "it has started anew");
    }

    #[test]
    fn a_message_from_far_away_counts_only_if_another_follows_it() {
        let mut peer = Peer::new();
        assert_eq!(peer.says(1000, false), Verdict::Next);
        assert_eq!(peer.says(1_000_000_000, false), Verdict::Drop);
        assert_eq!(peer.says(1001, false), Verdict::Next);
        assert_eq!(peer.says(1_000_000_001, false), Verdict::Drop);
        assert_eq!(peer.says(1_000_000_002, false), Verdict::Next);
    }

    #[test]
    fn a_peer_that_stays_behind_is_believed_after_a_while() {
        let mut peer = Peer::new();
        assert_eq!(peer.says(90_000, false), Verdict::Next);
        for seq in 0..3 {
            assert_eq!(peer.says(500 + seq, false), Verdict::Drop);
            peer.waits(700);
        }
        assert_eq!(peer.says(503, false), Verdict::Rebase);
        assert_eq!(peer.says(504, false), Verdict::Next);
    }

    #[test]
    fn repeated_messages_never_outrun_what_is_accepted() {
        let mut peer = Peer::new();
        for seq in 0..10 {
            assert_eq!(peer.says(1000 + seq, false), Verdict::Next);
            assert_eq!(peer.says(900 + seq, false), Verdict::Drop);
            peer.waits(1000);
        }
    }
}
