//! Which of the peer's numbers are believed (reliable mode).
//!
//! Version 1 tells neither which start of a node a message comes from nor whose it is. What can be concluded from
//! the numbers alone is concluded here; whoever sends them need not know.

use std::time::{Duration, Instant};

use syncwire::{Flags, RawMessage};

use crate::fault::{Fault, is_planted};

/// How long messages that a peer sent before its restart may still be under way.
const UNDER_WAY: Duration = Duration::from_secs(2);

/// An older greeting that comes this soon after the last one may have been repeated or overtaken on the link.
const REPEATED: Duration = Duration::from_millis(100);

/// A greeting this far ahead of the one before belongs to the same handshake.
const HANDSHAKE_LEN: u32 = 1 << 16;

/// A gap longer than this must be confirmed by another datagram.
const GAP_MAX: u32 = 1 << 20;

/// A datagram holds no more messages than this.
const DATAGRAM_LEN: u32 = 1 << 13;

/// No more messages than this are held: so many are not repeated by a link.
const HELD_MAX: usize = 256;

/// Nor are so many datagrams, one after the other.
const HELD_DATAGRAMS: u32 = 3;

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
    /// It is a greeting that is here already, or goes on from one: repeated on the link, unless others go on from
    /// it. Then the peer has started again, and it counts.
    Hold,
    /// It is older than what is here, or nobody's.
    Drop,
    /// It is a greeting that the one after it has overtaken: it is asked for, together with all up to this number,
    /// for what it says may be outdated.
    Overtaken(u32),
    /// The peer counts from somewhere else: its numbers are right, and everything may be missing.
    Rebase,
}

/// The greetings of one handshake.
#[derive(Clone, Copy, Debug)]
struct Greetings {
    first: u32,
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

/// Greetings that look repeated and what came after them, each going on from the one before.
#[derive(Debug)]
struct Repeated {
    next: u32,
    /// The last of them came with this datagram ...
    datagram: u64,
    /// ... and all of them with so many.
    datagrams: u32,
    held: Vec<Held>,
}

/// A message that may count later.
#[derive(Debug)]
pub(super) struct Held {
    kind_number: u8,
    flags: Flags,
    pub(super) seq: u32,
    body: Box<[u8]>,
}

impl Held {
    pub(super) fn message(&self) -> RawMessage<'_> {
        RawMessage {
            version: syncwire::message::VERSION,
            kind_number: self.kind_number,
            flags: self.flags,
            seq: self.seq,
            body: &self.body,
        }
    }
}

/// What is remembered of the peer's numbers.
#[derive(Debug, Default)]
pub(super) struct Trust {
    greetings: Option<Greetings>,
    repeated: Option<Repeated>,
    /// Where a peer was before it started anew with lower numbers, and until when that matters.
    former: Option<(u32, Instant)>,
    /// The end of a long gap and the datagram that brought it.
    suspect: Option<(u32, u64)>,
    outrun: Option<Outrun>,
    datagrams: u64,
}

/// `a` is before `b` in serial arithmetic.
pub(super) fn before(a: u32, b: u32) -> bool {
    if is_planted(Fault::SequenceWrap) {
        return a < b;
    }
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
            Verdict::Drop | Verdict::Hold | Verdict::Overtaken(_) => {}
            Verdict::First => (self.suspect, self.outrun) = (None, None),
            _ => (self.suspect, self.outrun, self.repeated) = (None, None, None),
        }
        if let (Verdict::Next, false, Some(greetings)) = (verdict, greets, &mut self.greetings) {
            greetings.are_latest = false;
        }
        verdict
    }

    /// A greeting is believed, as any peer would: whoever starts again at once must not be kept waiting.
    fn judge_greeting(&mut self, now: Instant, seq: u32, last: Option<u32>) -> Verdict {
        if let (Some(known), Some(last)) = (self.greetings, last) {
            let ahead = seq.wrapping_sub(last);
            if ahead == 1 && self.held_up_to(seq) {
                return self.starts(now, seq, Some(last));
            }
            if known.are_latest && (1..HANDSHAKE_LEN).contains(&ahead) {
                self.greeted(now, known.first);
                return Verdict::Next;
            }
            let soon = now.saturating_duration_since(known.at) < REPEATED;
            if soon && !before(last, seq) && before(seq, known.first) {
                self.greetings = Some(Greetings {
                    first: seq,
                    ..known
                });
                return Verdict::Overtaken(known.first.wrapping_sub(1));
            }
            if soon && !before(last, seq) && !self.goes_on(seq) {
                return Verdict::Hold;
            }
        }
        self.starts(now, seq, last)
    }

    /// The peer has started, and this is its first message that is believed.
    fn starts(&mut self, now: Instant, seq: u32, last: Option<u32>) -> Verdict {
        self.former = match last {
            Some(last) if before(seq, last) => Some((last, now + UNDER_WAY)),
            _ => None,
        };
        self.greeted(now, seq);
        Verdict::First
    }

    /// Whether a greeting goes on from others that look repeated. A link repeats what it carries now and then;
    /// only a node that has started again greets from an old number on, one datagram after the other.
    fn goes_on(&self, seq: u32) -> bool {
        self.repeated.as_ref().is_some_and(|run| {
            run.next == seq && (run.datagram != self.datagrams || run.held.len() >= HELD_MAX)
        })
    }

    /// The same for a message that does not greet: a node that has started again stops greeting when it hears the
    /// answer to its former greeting. It needs more to be believed, for such messages are repeated at any time.
    fn goes_on_ungreeted(&self, seq: u32) -> Option<Verdict> {
        let run = self.repeated.as_ref().filter(|run| run.next == seq)?;
        let long = run.datagrams >= HELD_DATAGRAMS && run.datagram != self.datagrams;
        Some(if long || run.held.len() >= HELD_MAX {
            Verdict::First
        } else {
            Verdict::Hold
        })
    }

    /// Whether everything before `seq` is held. If that one comes next, all of them count: said once more in their
    /// order, they do no harm if they were repeated.
    fn held_up_to(&self, seq: u32) -> bool {
        self.repeated.as_ref().is_some_and(|run| run.next == seq)
    }

    /// Keeps a message until it is clear whether the peer has started again.
    pub(super) fn hold(&mut self, message: &RawMessage<'_>) {
        let (mut held, datagrams) = match self.repeated.take() {
            Some(run) if run.next == message.seq => {
                let another = run.datagram != self.datagrams;
                (run.held, run.datagrams + u32::from(another))
            }
            _ => (Vec::new(), 1),
        };
        held.push(Held {
            kind_number: message.kind_number,
            flags: message.flags,
            seq: message.seq,
            body: message.body.into(),
        });
        self.repeated = Some(Repeated {
            next: message.seq.wrapping_add(1),
            datagram: self.datagrams,
            datagrams,
            held,
        });
    }

    /// What was held and comes before `seq`, the first message that is believed of a peer that has started.
    pub(super) fn release(&mut self, seq: u32) -> Vec<Held> {
        let mut held = self.repeated.take().map_or_else(Vec::new, |run| run.held);
        held.retain(|held| (1..HANDSHAKE_LEN).contains(&seq.wrapping_sub(held.seq)));
        held
    }

    fn greeted(&mut self, now: Instant, first: u32) {
        self.greetings = Some(Greetings {
            first,
            at: now,
            are_latest: true,
        });
    }

    fn judge_next(&mut self, now: Instant, seq: u32, last: u32) -> Verdict {
        let expected = last.wrapping_add(1);
        if before(seq, expected) && is_planted(Fault::DuplicateAccepted) {
            return Verdict::Next;
        }
        if before(seq, expected) {
            return match self.goes_on_ungreeted(seq) {
                Some(Verdict::First) => self.starts(now, seq, Some(last)),
                Some(hold) => hold,
                None => self.judge_behind(now, seq),
            };
        }
        let gap = seq.wrapping_sub(expected);
        if gap == 0 && self.held_up_to(seq) {
            return self.starts(now, seq, Some(last));
        }
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
        if until <= now || is_planted(Fault::StaleLifeAccepted) {
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
        released: Vec<u32>,
    }

    impl Held {
        fn greeting(seq: u32) -> Self {
            Self {
                kind_number: 0,
                flags: Flags::HELLO,
                seq,
                body: Box::new([]),
            }
        }
    }

    impl Peer {
        fn new() -> Self {
            Self {
                trust: Trust::default(),
                last: None,
                now: Instant::now(),
                released: Vec::new(),
            }
        }

        fn says(&mut self, seq: u32, greets: bool) -> Verdict {
            self.trust.next_datagram();
            let verdict = self.trust.judge(self.now, seq, greets, self.last);
            match verdict {
                Verdict::Drop | Verdict::Overtaken(_) => {}
                Verdict::Hold => self.trust.hold(&Held::greeting(seq).message()),
                Verdict::First => {
                    self.last = Some(seq);
                    self.released = self
                        .trust
                        .release(seq)
                        .iter()
                        .map(|held| held.seq)
                        .collect();
                }
                Verdict::Next | Verdict::Rebase => self.last = Some(seq),
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
        assert_eq!(peer.says(1003, true), Verdict::Hold, "it came twice");
        assert_eq!(peer.says(998, true), Verdict::Overtaken(999));
        assert_eq!(peer.says(999, true), Verdict::Hold, "it is asked for");
        assert_eq!(peer.says(1004, false), Verdict::Next);
        assert_eq!(peer.says(1003, true), Verdict::Hold);
        peer.waits(100);
        assert_eq!(peer.says(1002, true), Verdict::First, "it has started anew");
    }

    #[test]
    fn a_peer_that_starts_again_at_once_is_believed_when_it_goes_on() {
        let mut peer = Peer::new();
        for seq in 1000..1250 {
            assert!(matches!(
                peer.says(seq, true),
                Verdict::First | Verdict::Next
            ));
        }
        assert_eq!(peer.says(1000, true), Verdict::Hold);
        assert_eq!(peer.says(1001, true), Verdict::First);
        assert_eq!(peer.released, [1000]);
        assert_eq!(peer.says(1002, true), Verdict::Next);
        assert_eq!(peer.says(1003, false), Verdict::Next);
    }

    #[test]
    fn a_peer_that_starts_again_and_hears_a_late_answer_is_believed() {
        let mut peer = Peer::new();
        for seq in 1000..1250 {
            peer.says(seq, true);
        }
        assert_eq!(peer.says(1000, true), Verdict::Hold);
        assert_eq!(peer.says(1001, false), Verdict::Hold);
        assert_eq!(peer.says(1002, false), Verdict::Hold);
        assert_eq!(peer.says(1003, false), Verdict::First);
        assert_eq!(peer.released, [1000, 1001, 1002]);
        assert_eq!(peer.says(1004, false), Verdict::Next);
    }

    #[test]
    fn what_is_held_counts_when_it_reaches_what_is_here() {
        let mut peer = Peer::new();
        assert_eq!(peer.says(1000, true), Verdict::First);
        assert_eq!(peer.says(1001, false), Verdict::Next);
        assert_eq!(peer.says(1000, true), Verdict::Hold);
        assert_eq!(peer.says(1001, false), Verdict::Hold);
        assert_eq!(peer.says(1002, false), Verdict::First);
        assert_eq!(peer.released, [1000, 1001]);
    }

    #[test]
    fn a_greeting_that_was_repeated_is_forgotten_when_others_come() {
        let mut peer = Peer::new();
        assert_eq!(peer.says(1000, true), Verdict::First);
        assert_eq!(peer.says(1001, true), Verdict::Next);
        assert_eq!(peer.says(1000, true), Verdict::Hold);
        assert_eq!(peer.says(1002, true), Verdict::Next);
        assert_eq!(peer.says(1001, true), Verdict::Hold);
        peer.waits(100);
        assert_eq!(peer.says(1001, true), Verdict::First);
        assert!(peer.released.is_empty());
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
