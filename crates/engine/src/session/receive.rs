//! What the peer says: sequence numbers, acknowledgements, requests.

use std::time::{Duration, Instant};

use flow::{Expectation, Flow};
use syncwire::{Carrier, Change, Flags, FramingError, Kind, RawMessage, Split, split};

use super::trust::{Verdict, before};
use super::{Hello, Reliability, Session};
use crate::api::LinkId;
use crate::fault::{Fault, is_planted};
use crate::internal::Internal;
use crate::links::Switch;
use crate::notice::Notice;
use crate::policy::Asking;
use crate::queue::{Element, Queue, Sweep};

/// A peer that keeps missing what is no longer kept gets everything no more often than this.
const HEAL_PAUSE: Duration = Duration::from_secs(5);

/// Greetings of one handshake have what was not acknowledged told again once.
const RETELL_PAUSE: Duration = Duration::from_secs(1);

/// So much is told again at the price of a handshake; more is work that nobody may ask for again and again.
const RETOLD_CHEAPLY: usize = 4096;

/// Pause after more than that.
const RETELL_MUCH_PAUSE: Duration = Duration::from_secs(10);

/// Acknowledgements that a peer has to keep, at most, for a node that hears nothing else from it.
const ACKS_KEPT: i64 = 256;

/// What was not acknowledged for so long, while what followed it was, is told again.
const STRAGGLER: Duration = Duration::from_secs(3);

/// Flags of messages that speak of the peer's numbers.
const OF_RECEIVED: Flags = Flags(Flags::ACK.0 | Flags::NACK.0);

/// Flags that no message may carry.
const UNDEFINED: Flags = Flags(0x81);

/// What the peer's messages are applied to.
pub(crate) trait Receiver {
    /// A connection of the peer changed.
    fn flow(&mut self, change: Change, flow: &Flow);
    /// An expectation of the peer changed.
    fn expectation(&mut self, change: Change, expectation: &Expectation);
    /// Something worth a line.
    fn notice(&mut self, notice: Notice);
}

/// What a message is, as far as its header goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Header {
    Data,
    Ack,
    Nack,
    Resync,
    Alive,
    /// Not for this mode: skipped without a word.
    Ignored,
    /// A type this mode does not know.
    BadType,
    /// Flags or a type that cannot be.
    Malformed,
}

impl Session {
    /// Takes a datagram.
    pub(crate) fn receive_datagram(
        &mut self,
        internal: &mut Internal,
        receiver: &mut dyn Receiver,
        link: LinkId,
        now: Instant,
        bytes: &[u8],
    ) {
        self.receive(internal, receiver, link, now, bytes, Carrier::Datagram);
    }

    /// Takes a piece of a stream.
    pub(crate) fn receive_stream(
        &mut self,
        internal: &mut Internal,
        receiver: &mut dyn Receiver,
        link: LinkId,
        now: Instant,
        piece: &[u8],
    ) {
        let mut stream = self.links.take_stream(link);
        stream.feed(piece, |bytes| {
            bytes.len() - self.receive(internal, receiver, link, now, bytes, Carrier::Stream)
        });
        self.links.put_stream(link, stream);
    }

    /// Returns how many bytes are left over: the beginning of a message whose end has not arrived.
    fn receive(
        &mut self,
        internal: &mut Internal,
        receiver: &mut dyn Receiver,
        link: LinkId,
        now: Instant,
        mut bytes: &[u8],
        carrier: Carrier,
    ) -> usize {
        if let Reliability::Ftfw(ftfw) = &mut self.reliability {
            ftfw.trust.next_datagram();
        }
        loop {
            match split(bytes, carrier) {
                Split::Message(message, rest) => {
                    if self.message(internal, receiver, now, &message)
                        && let Switch::To(link) = self.links.heard(link)
                    {
                        receiver.notice(Notice::LinkActive(link));
                    }
                    bytes = rest;
                }
                Split::Incomplete => return bytes.len(),
                Split::Bad(FramingError::Truncated { .. }) => {
                    self.stats.truncated += 1;
                    return 0;
                }
                Split::Bad(FramingError::BadSize { .. }) => {
                    self.stats.bad_size += 1;
                    return 0;
                }
            }
        }
    }

    /// Returns whether the message was one for us.
    fn message(
        &mut self,
        internal: &mut Internal,
        receiver: &mut dyn Receiver,
        now: Instant,
        message: &RawMessage<'_>,
    ) -> bool {
        if message.version != syncwire::message::VERSION && !is_planted(Fault::VersionIgnored) {
            self.stats.wrong_version += 1;
            return false;
        }
        let header = self.judge(message);
        match header {
            Header::Malformed => self.stats.malformed_header += 1,
            Header::BadType => self.stats.bad_type += 1,
            Header::Ignored => {}
            _ => {
                if self.is_next(internal, receiver, now, message) {
                    self.digest(internal, receiver, now, header, message);
                    self.last_received = self.track(header, message.seq);
                    self.heard_at = Some(now);
                    return true;
                }
            }
        }
        false
    }

    fn judge(&self, message: &RawMessage<'_>) -> Header {
        let flags = message.flags.without(Flags::HANDSHAKE);
        let reliability = &self.reliability;
        if matches!(reliability, Reliability::Alarm) {
            // compat: this mode knows only data without any flag and says nothing of the rest.
            return match message.kind() {
                _ if !message.flags.is_empty() => Header::Ignored,
                Some(Kind::Flow(_) | Kind::Expectation(_)) => Header::Data,
                _ => Header::BadType,
            };
        }
        match message.kind() {
            Some(Kind::Flow(_) | Kind::Expectation(_)) if flags.is_empty() => Header::Data,
            Some(Kind::Control) if flags.intersects(UNDEFINED) => Header::Malformed,
            Some(Kind::Control) => self.judge_control(flags, message),
            _ => Header::Malformed,
        }
    }

    fn judge_control(&self, flags: Flags, message: &RawMessage<'_>) -> Header {
        let ranged = |header| match (&self.reliability, message.range()) {
            (Reliability::Ftfw(_), Some((from, to))) if !before(to, from) => header,
            _ => Header::Malformed,
        };
        if flags.contains(Flags::ACK) {
            ranged(Header::Ack)
        } else if flags.contains(Flags::NACK) {
            ranged(Header::Nack)
        } else if flags.contains(Flags::RESYNC) {
            Header::Resync
        } else if flags.contains(Flags::ALIVE) {
            Header::Alive
        } else {
            Header::Malformed
        }
    }

    /// Whether the message is to be digested, by its number. Gaps are counted, and asked for.
    fn is_next(
        &mut self,
        internal: &mut Internal,
        receiver: &mut dyn Receiver,
        now: Instant,
        message: &RawMessage<'_>,
    ) -> bool {
        let (seq, flags) = (message.seq, message.flags);
        let last = self.last_received;
        if self.is_misplaced(message) {
            self.stats.malformed_payload += 1;
            return false;
        }
        let verdict = match &mut self.reliability {
            Reliability::Alarm => return true,
            Reliability::Notrack => Verdict::Next,
            Reliability::Ftfw(ftfw) => {
                ftfw.trust
                    .judge(now, seq, flags.contains(Flags::HELLO), last)
            }
        };
        match verdict {
            Verdict::Drop => {
                self.stats.before += 1;
                return false;
            }
            Verdict::Overtaken(to) => {
                self.stats.before += 1;
                self.control(Flags::NACK, seq, to);
                return false;
            }
            Verdict::Hold => {
                self.stats.before += 1;
                if let Reliability::Ftfw(ftfw) = &mut self.reliability {
                    ftfw.trust.hold(message);
                }
                return false;
            }
            Verdict::First => {
                self.greeted(internal, now, flags.contains(Flags::HELLO_BACK));
                self.take_held(internal, receiver, now, seq);
                self.count_lost(seq);
            }
            Verdict::Rebase => {
                receiver.notice(Notice::PeerRenumbered);
                self.last_received = None;
                if let Reliability::Ftfw(ftfw) = &mut self.reliability {
                    ftfw.ack_from = None;
                }
                self.request_resync();
            }
            Verdict::Next => self.count_lost(seq),
        }
        if let Reliability::Ftfw(ftfw) = &mut self.reliability {
            ftfw.say_hello_back |= flags.contains(Flags::HELLO);
            if flags.contains(Flags::HELLO_BACK) && matches!(ftfw.hello, Hello::Say { .. }) {
                ftfw.hello = Hello::Done;
            }
        }
        true
    }

    /// Digests what a peer that has started has said before its message `seq`.
    fn take_held(
        &mut self,
        internal: &mut Internal,
        receiver: &mut dyn Receiver,
        now: Instant,
        seq: u32,
    ) {
        let Reliability::Ftfw(ftfw) = &mut self.reliability else {
            return;
        };
        for held in ftfw.trust.release(seq) {
            let message = held.message();
            let header = self.judge(&message);
            self.count_lost(held.seq);
            self.digest(internal, receiver, now, header, &message);
            self.last_received = self.track(header, held.seq);
        }
    }

    /// Whether nothing speaks for a message: neither its place nor what it says. If it is the peer's after all, it
    /// is asked for and comes again in its place.
    fn is_misplaced(&self, message: &RawMessage<'_>) -> bool {
        let Reliability::Ftfw(_) = self.reliability else {
            return false;
        };
        let next = self.last_received.map(|last| last.wrapping_add(1));
        if next.is_none_or(|next| next == message.seq) {
            return false;
        }
        match message.kind() {
            Some(Kind::Flow(_)) => message.flow().is_err(),
            Some(Kind::Expectation(_)) => message.expectation().is_err(),
            _ => false,
        }
    }

    fn count_lost(&mut self, seq: u32) {
        let Some(last) = self.last_received else {
            return;
        };
        let expected = last.wrapping_add(1);
        if before(seq, expected) {
            // compat: without acknowledgements nobody knows that it has the newer state already.
            self.stats.before += 1;
        } else {
            self.stats.lost += u64::from(seq.wrapping_sub(expected));
        }
    }

    /// The peer has just started, or thinks that we have not heard of it.
    ///
    /// compat: what it has not acknowledged is kept for it no longer. Since it may not have started at all, it is
    /// told again under new numbers, however much that is: an end that is not told stays on the peer for ever. Not so if
    /// it answers the one message that it can have heard.
    fn greeted(&mut self, internal: &mut Internal, now: Instant, answers: bool) {
        let next_seq = self.next_seq;
        // Numbers start anew: what was received before says nothing about what comes.
        self.last_received = None;
        let Reliability::Ftfw(ftfw) = &mut self.reliability else {
            return;
        };
        // What came before it has been forgotten by whoever sent it; and an acknowledgement from there to here
        // would be one of messages that were never sent, or never came.
        if ftfw.ack_from.take().is_some() {
            ftfw.window = ftfw.ack_window - 1;
        }
        // Sent again later, those that speak of its former numbers would be taken for the new ones.
        self.queues.drop_controls(OF_RECEIVED);
        if ftfw.retell_at.is_some_and(|at| at > now) {
            return;
        }
        let pause = match self.queues.len(Queue::Resend) {
            ..=RETOLD_CHEAPLY => RETELL_PAUSE,
            _ => RETELL_MUCH_PAUSE,
        };
        ftfw.retell_at = Some(now + pause);
        self.lag.forget();
        let is_heard =
            matches!(ftfw.hello, Hello::Say { first } if first.wrapping_add(1) == next_seq);
        if !(answers && is_heard) {
            self.queues.sweep_resend(|_| Sweep::Resend, |_| {});
            return;
        }
        ftfw.forgotten = Some(next_seq.wrapping_sub(1));
        let release = |element| {
            if let Element::Entry(entry) = element {
                internal.release(entry);
            }
        };
        self.queues.sweep_resend(|_| Sweep::Release, release);
    }

    /// Notes the number of an accepted message; in the reliable mode acknowledges and asks.
    fn track(&mut self, header: Header, seq: u32) -> Option<u32> {
        let last = self.last_received;
        let Reliability::Ftfw(ftfw) = &mut self.reliability else {
            // compat: without acknowledgements the last number is simply the one that came last.
            return (!matches!(self.reliability, Reliability::Alarm)).then_some(seq);
        };
        match last {
            Some(last) if before(last.wrapping_add(1), seq) => {
                let pending = ftfw.ack_from.replace(seq);
                ftfw.window = ftfw.ack_window - 1;
                if let Some(from) = pending {
                    self.control(Flags::ACK, from, last);
                }
                self.control(Flags::NACK, last.wrapping_add(1), seq.wrapping_sub(1));
            }
            _ => {
                let from = *ftfw.ack_from.get_or_insert(seq);
                ftfw.window -= 1;
                // An acknowledgement is not acknowledged at once: with a window of one message two nodes
                // would do nothing else. But the peer keeps them, and who is never idle has to say at times
                // that they came.
                if ftfw.window <= 0 && (header != Header::Ack || ftfw.window <= -ACKS_KEPT) {
                    ftfw.window = ftfw.ack_window;
                    ftfw.ack_from = None;
                    self.control(Flags::ACK, from, seq);
                }
            }
        }
        Some(seq)
    }

    fn digest(
        &mut self,
        internal: &mut Internal,
        receiver: &mut dyn Receiver,
        now: Instant,
        header: Header,
        message: &RawMessage<'_>,
    ) {
        match header {
            Header::Data => self.data(receiver, message),
            Header::Resync => self.asked_for_all(receiver, now),
            Header::Ack => {
                if let Some((from, to)) = self.said(message) {
                    self.acknowledged(internal, now, from, to);
                }
            }
            Header::Nack => {
                if let Some((from, to)) = self.said(message) {
                    self.missed(receiver, now, from, to);
                }
            }
            Header::Alive | Header::Ignored | Header::BadType | Header::Malformed => {}
        }
    }

    /// A peer that asks again and again does not make this node do nothing else.
    fn asked_for_all(&mut self, receiver: &mut dyn Receiver, now: Instant) {
        receiver.notice(Notice::ResyncRequestedByPeer);
        match self.asked.ask(now) {
            Asking::Give => {
                receiver.notice(Notice::SendingBulk);
                self.start_bulk();
            }
            Asking::PutOff => receiver.notice(Notice::ResyncPutOff),
            Asking::Waits => {}
        }
    }

    fn data(&mut self, receiver: &mut dyn Receiver, message: &RawMessage<'_>) {
        let read = match message.kind() {
            Some(Kind::Flow(change)) => message.flow().map(|flow| receiver.flow(change, &flow)),
            Some(Kind::Expectation(change)) => message
                .expectation()
                .map(|expectation| receiver.expectation(change, &expectation)),
            _ => Ok(()),
        };
        if read.is_err() {
            self.stats.malformed_payload += 1;
        }
    }

    /// The numbers that a message is about, if all of them are of messages that we have said. Others are meant for
    /// a former start of ours, or nobody's.
    fn said(&self, message: &RawMessage<'_>) -> Option<(u32, u32)> {
        let range = message.range();
        range.filter(|(from, to)| !before(*to, *from) && before(*to, self.next_seq))
    }

    fn acknowledged(&mut self, internal: &mut Internal, now: Instant, from: u32, to: u32) {
        self.lag.acknowledged(to, now);
        let judge = |seq| {
            if before(to, seq) {
                Sweep::Stop
            } else if before(seq, from) {
                Sweep::Keep
            } else {
                Sweep::Release
            }
        };
        let release = |element| {
            if let Element::Entry(entry) = element {
                internal.told(entry);
            }
        };
        let count = self.queues.sweep_resend(judge, release);
        if let Reliability::Ftfw(ftfw) = &mut self.reliability {
            ftfw.progress |= count > 0;
        }
        self.retell_straggler(now, from);
    }

    /// The peer never asks for what came before the first number it has heard of: neither after a start nor when
    /// two greetings crossed. If it acknowledges what came later, it is told again.
    fn retell_straggler(&mut self, now: Instant, acknowledged: u32) {
        let oldest = self.queues.first(Queue::Resend).map(|(_, seq)| seq);
        let Reliability::Ftfw(ftfw) = &mut self.reliability else {
            return;
        };
        let Some(oldest) = oldest.filter(|seq| before(*seq, acknowledged)) else {
            ftfw.straggler = None;
            return;
        };
        match ftfw.straggler {
            Some((seq, since)) if seq == oldest => {
                if now.saturating_duration_since(since) >= STRAGGLER {
                    ftfw.straggler = None;
                    let older = |seq| match before(seq, acknowledged) {
                        true => Sweep::Resend,
                        false => Sweep::Stop,
                    };
                    self.queues.sweep_resend(older, |_| {});
                }
            }
            _ => ftfw.straggler = Some((oldest, now)),
        }
    }

    /// Sends again what is kept; what is not makes the peer miss something for good, so it gets all.
    fn missed(&mut self, receiver: &mut dyn Receiver, now: Instant, from: u32, to: u32) {
        if is_planted(Fault::NackIgnored) {
            return;
        }
        let judge = |seq| {
            if before(to, seq) {
                Sweep::Stop
            } else if before(seq, from) {
                Sweep::Keep
            } else {
                Sweep::Resend
            }
        };
        self.queues.sweep_resend(judge, |_| {});
        let Reliability::Ftfw(ftfw) = &mut self.reliability else {
            return;
        };
        // Numbers up to the forgotten one cannot be sent again.
        if ftfw
            .forgotten
            .is_none_or(|forgotten| before(forgotten, from))
        {
            return;
        }
        // What the peer had not sent again then can only be had with everything else.
        let request = ftfw.forgotten_request.take_if(|seq| !before(*seq, from));
        if ftfw.heal_at.is_none_or(|at| at <= now) {
            receiver.notice(Notice::ResendImpossible);
            self.heal(now);
        } else {
            ftfw.heal_due = true;
        }
        if request.is_some() {
            self.request_resync();
        }
    }

    /// Gives the peer everything in place of what it missed for good.
    pub(super) fn heal(&mut self, now: Instant) {
        if let Reliability::Ftfw(ftfw) = &mut self.reliability {
            (ftfw.heal_at, ftfw.heal_due) = (Some(now + HEAL_PAUSE), false);
            self.start_bulk();
        }
    }

    /// When a bulk that was asked for too early is given.
    pub(super) fn heals_at(&self) -> Option<Instant> {
        match &self.reliability {
            Reliability::Ftfw(ftfw) if ftfw.heal_due => ftfw.heal_at,
            _ => None,
        }
    }
}
