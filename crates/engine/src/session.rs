//! A session with a peer in version 1 of the protocol: what to tell it, and in which order.
//!
//! [`receive`] is the other direction, [`trust`] what the peer's numbers are worth, [`bulk`] the sending of everything. A session holds positions of
//! entries, never entries: what a message says is decided when it is written.

pub(crate) mod bulk;
pub(crate) mod receive;
mod trust;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use syncwire::{Change, EncodeOptions, Flags, Pushed, encode};

use crate::api::{InternalMode, LinkId, Mode, Settings};
use crate::cache::State;
use crate::fault::{Fault, is_planted};
use crate::internal::{Internal, Told};
use crate::lag::Lag;
use crate::links::Links;
use crate::policy::Asked;
use crate::queue::{Element, Entry, Queue, Queues};
use crate::snapshot::{QueueStats, ReceiveStats, Replication, ResendElement};
use crate::work::{End, Work};
use bulk::Bulk;
use trust::Trust;

/// A node that has nothing to say says so after this time.
const ALIVE: Duration = Duration::from_secs(1);

/// Messages without a cache behind them that may wait; beyond it the oldest are dropped and counted.
const DIRECT_MAX: usize = 65536;

/// Flags of messages that ask for something.
const REQUESTS: Flags = Flags(Flags::NACK.0 | Flags::RESYNC.0);

/// Where the handshake after a start is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hello {
    /// Nothing sent yet.
    Init,
    /// Every message says hello.
    Say {
        /// Number of the first greeting.
        first: u32,
    },
    /// The peer has answered.
    Done,
}

/// What only the reliable mode has.
#[derive(Debug)]
pub(crate) struct Ftfw {
    resend_max: usize,
    overflows: u64,
    ack_window: i64,
    /// Messages that may still come before an acknowledgement is due.
    window: i64,
    /// First number of those not acknowledged yet.
    ack_from: Option<u32>,
    hello: Hello,
    say_hello_back: bool,
    /// The peer cannot have what was sent up to here again: it is no longer kept.
    forgotten: Option<u32>,
    /// The last request of ours among it. If the peer missed it, it must be made again.
    forgotten_request: Option<u32>,
    /// The peer acknowledged something since the last tick.
    progress: bool,
    /// A bulk in place of what cannot be sent again is not given more often than this.
    heal_at: Option<Instant>,
    /// One that was asked for too early follows then.
    heal_due: bool,
    trust: Trust,
    /// What was not acknowledged is not told again for a greeting before this.
    retell_at: Option<Instant>,
    /// The oldest number not acknowledged while later ones were, and since when.
    straggler: Option<(u32, Instant)>,
}

#[derive(Debug)]
#[allow(clippy::large_enum_variant)]
enum Reliability {
    Ftfw(Ftfw),
    Notrack,
    Alarm,
}

/// One peer.
#[derive(Debug)]
pub(crate) struct Session {
    reliability: Reliability,
    queues: Queues,
    pub(crate) links: Links,
    next_seq: u32,
    last_received: Option<u32>,
    lag: Lag,
    /// The datagram that is written tells of a change.
    tells_change: bool,
    /// When the peer last said something.
    pub(crate) heard_at: Option<Instant>,
    alive_at: Option<Instant>,
    bulk: Option<Bulk>,
    /// The last one that has ended.
    pub(crate) last_bulk: Option<End>,
    options: EncodeOptions,
    pub(crate) stats: ReceiveStats,
    /// Messages that fit no datagram.
    too_long: u64,
    /// Messages dropped because too many waited.
    overflows: u64,
    sent_on: Option<LinkId>,
    /// Messages that go out as they are: there is no internal cache.
    direct: VecDeque<Told>,
    has_cache: bool,
    bulk_requested: bool,
    /// What the peer asked for.
    pub(crate) asked: Asked,
}

impl Session {
    pub(crate) fn new(settings: &Settings, first_seq: u32, now: Instant) -> Self {
        let reliability = match settings.mode {
            Mode::Ftfw {
                resend_queue_len,
                ack_window,
            } => Reliability::Ftfw(Ftfw {
                resend_max: resend_queue_len,
                overflows: 0,
                ack_window: i64::from(ack_window),
                window: i64::from(ack_window),
                ack_from: None,
                hello: Hello::Init,
                say_hello_back: false,
                forgotten: None,
                forgotten_request: None,
                progress: false,
                heal_at: None,
                heal_due: false,
                trust: Trust::default(),
                retell_at: None,
                straggler: None,
            }),
            Mode::Alarm { .. } => Reliability::Alarm,
            Mode::Notrack | Mode::Statistics | Mode::Idle => Reliability::Notrack,
        };
        let speaks = !matches!(reliability, Reliability::Alarm);
        Self {
            reliability,
            queues: Queues::new(),
            links: Links::new(&settings.links),
            next_seq: first_seq,
            last_received: None,
            lag: Lag::new(),
            tells_change: false,
            heard_at: None,
            alive_at: speaks.then(|| now + ALIVE),
            bulk: None,
            last_bulk: None,
            options: EncodeOptions {
                timeout: settings.commit_timeout_s.is_none(),
                window_scale: settings.tcp_window_tracking,
            },
            stats: ReceiveStats::default(),
            too_long: 0,
            overflows: 0,
            sent_on: None,
            direct: VecDeque::new(),
            has_cache: settings.internal == InternalMode::Cache,
            bulk_requested: false,
            asked: Asked::new(settings.policy.resync_interval),
        }
    }

    /// Has this entry told to the peer. Several changes before it is told become one message.
    pub(crate) fn announce(&mut self, internal: &mut Internal, entry: Entry) {
        match self.queues.queue_of(entry) {
            Some(Queue::Send) => {}
            Some(Queue::Resend) => self.queues.requeue(entry),
            None => {
                self.queues.push(Queue::Send, Element::Entry(entry), 0);
                internal.hold(entry);
            }
        }
    }

    /// Sends what the kernel told as it is, where there is no internal cache.
    pub(crate) fn pass_on(&mut self, told: Told) {
        if self.direct.len() >= DIRECT_MAX {
            self.direct.pop_front();
            self.overflows += 1;
        }
        self.direct.push_back(told);
    }

    /// Whether so much waits to be sent that no more should be asked of the kernel.
    pub(crate) fn is_congested(&self) -> bool {
        self.direct.len() > DIRECT_MAX / 8
    }

    /// Whether the peer wants everything and there is no internal cache to send it from.
    pub(crate) fn take_bulk_request(&mut self) -> bool {
        std::mem::take(&mut self.bulk_requested)
    }

    /// Whether a datagram is written and not yet replaced by the next.
    pub(crate) fn is_sending(&self) -> bool {
        self.sent_on.is_some()
    }

    /// Lets go of an entry without a word.
    pub(crate) fn forget(&mut self, internal: &mut Internal, entry: Entry) {
        if self.queues.remove(entry) {
            internal.release(entry);
        }
    }

    /// Lets go of all entries; control messages stay.
    pub(crate) fn forget_all(&mut self, internal: &mut Internal) {
        for queue in [Queue::Send, Queue::Resend] {
            for _ in 0..self.queues.len(queue) {
                match self.queues.pop(queue) {
                    Some((Element::Entry(entry), _)) => internal.release(entry),
                    Some((control, seq)) => self.queues.push(queue, control, seq),
                    None => break,
                }
            }
        }
        self.queues.shrink();
        self.bulk = None;
    }

    /// Asks the peer for everything it has.
    pub(crate) fn request_resync(&mut self) {
        if !matches!(self.reliability, Reliability::Alarm) {
            self.control(Flags::RESYNC, 0, 0);
        }
    }

    /// Writes the next datagram. `None`: nothing to send now.
    pub(crate) fn next_datagram(
        &mut self,
        internal: &mut Internal,
        now: Instant,
    ) -> Option<LinkId> {
        if let Some(link) = self.sent_on.take()
            && let Some(frame) = self.links.frame_of(link)
        {
            frame.advance();
        }
        let link = self.links.active_id();
        loop {
            let pushed = if let Some(told) = self.direct.pop_front() {
                self.write_direct(&told)
            } else if let Some((element, _)) = self.queues.first(Queue::Send) {
                self.write(internal, element)
            } else if self.advance_bulk(internal, now) {
                continue;
            } else {
                return self.links.frame()?.seal().then(|| self.sent(link, now));
            };
            if pushed == Pushed::Sealed {
                return Some(self.sent(link, now));
            }
        }
    }

    /// The datagram that [`Session::next_datagram`] wrote.
    pub(crate) fn datagram(&mut self, link: LinkId) -> &[u8] {
        self.links
            .frame_of(link)
            .map_or(&[], |frame| frame.sealed())
    }

    /// Acts on the passing of time.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if self.heals_at().is_some_and(|at| at <= now) {
            self.heal(now);
        }
        if self.asked.is_due(now) {
            self.start_bulk();
        }
        if self.alive_at.is_none_or(|at| at > now) {
            return;
        }
        let pending = match &mut self.reliability {
            Reliability::Ftfw(ftfw) => {
                let stalled = !std::mem::take(&mut ftfw.progress);
                if stalled && let Some(bulk) = &mut self.bulk {
                    bulk.go_on_regardless();
                }
                ftfw.ack_from.take().zip(self.last_received)
            }
            _ => None,
        };
        match pending {
            Some((from, to)) => self.control(Flags::ACK, from, to),
            None if is_planted(Fault::Silent) => {}
            None => self.control(Flags::ALIVE, 0, 0),
        }
        self.alive_at = Some(now + ALIVE);
    }

    /// When [`Session::handle_timeout`] or the sending of a bulk has to go on.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let bulk = self.bulk.as_ref().and_then(Bulk::resumes_at);
        let asked = self.asked.poll_timeout();
        let all = [self.alive_at, bulk, self.heals_at(), asked];
        all.into_iter().flatten().min()
    }

    /// How far the sending of everything is. `total`: entries to send.
    pub(crate) fn bulk_work(&self, total: u64, now: Instant) -> Option<Work> {
        self.bulk.as_ref().map(|bulk| bulk.work(total, now))
    }

    /// Whether the sending of everything is under way.
    pub(crate) fn is_bulk_running(&self) -> bool {
        self.bulk.is_some()
    }

    pub(crate) fn tx_stats(&self) -> QueueStats {
        let len = self.queues.len(Queue::Send) as u64;
        QueueStats {
            len,
            max: i32::MAX as u64,
            overflows: self.overflows,
        }
    }

    /// Control messages in either queue.
    pub(crate) fn queued_controls(&self) -> u64 {
        self.queues.controls()
    }

    /// How far the peer is behind.
    pub(crate) fn replication(&self, now: Instant) -> Replication {
        let waiting = self.queues.len(Queue::Send) + self.queues.len(Queue::Resend);
        let entries = (waiting as u64).saturating_sub(self.queues.controls());
        let acknowledges = matches!(self.reliability, Reliability::Ftfw(_));
        Replication {
            at_risk: entries + self.direct.len() as u64,
            lag: acknowledges.then(|| self.lag.oldest(now)),
            percentiles: self.lag.percentiles(now),
        }
    }

    pub(crate) fn resend_stats(&self) -> Option<QueueStats> {
        let Reliability::Ftfw(ftfw) = &self.reliability else {
            return None;
        };
        Some(QueueStats {
            len: self.queues.len(Queue::Resend) as u64,
            max: ftfw.resend_max as u64,
            overflows: ftfw.overflows,
        })
    }

    pub(crate) fn resend_elements(&self) -> impl Iterator<Item = ResendElement> + '_ {
        self.queues
            .resend_elements()
            .map(|(element, seq)| match element {
                Element::Entry(_) => ResendElement::Object { seq },
                Element::Control { flags, .. } => ResendElement::Control {
                    seq,
                    flags: flags.0,
                },
            })
    }

    pub(crate) fn is_consistent(&self) -> bool {
        let within = match &self.reliability {
            Reliability::Ftfw(ftfw) => self.queues.len(Queue::Resend) <= ftfw.resend_max,
            _ => self.queues.len(Queue::Resend) == 0,
        };
        within && self.queues.is_consistent()
    }

    fn control(&mut self, flags: Flags, from: u32, mut to: u32) {
        if flags == Flags::ACK && is_planted(Fault::AckOffByOne) {
            to = to.wrapping_add(1);
        }
        self.queues
            .push(Queue::Send, Element::Control { flags, from, to }, 0);
    }

    fn sent(&mut self, link: LinkId, now: Instant) -> LinkId {
        self.sent_on = Some(link);
        if std::mem::take(&mut self.tells_change) {
            self.lag.sent(self.next_seq.wrapping_sub(1), now);
        }
        if self.alive_at.is_some() {
            self.alive_at = Some(now + ALIVE);
        }
        link
    }

    /// Writes the first element of the send queue and moves it where it belongs.
    fn write(&mut self, internal: &mut Internal, element: Element) -> Pushed {
        let seq = self.next_seq;
        let handshake = self.handshake();
        let options = self.options;
        let Some(frame) = self.links.frame() else {
            self.drop_first(internal);
            return Pushed::TooLong;
        };
        let pushed = match element {
            Element::Control { flags, from, to } => {
                frame.push(|buf| encode::control(buf, flags | handshake, seq, from, to))
            }
            Element::Entry(entry) => match internal.tell(entry) {
                Some(told) => frame.push(|buf| tell(buf, &told, handshake, seq, options)),
                None => Pushed::TooLong,
            },
        };
        if pushed == Pushed::TooLong {
            self.too_long += 1;
            self.drop_first(internal);
            return pushed;
        }
        self.next_seq = seq.wrapping_add(1);
        if let Reliability::Ftfw(ftfw) = &mut self.reliability {
            ftfw.say_hello_back = false;
            if ftfw.hello == Hello::Init {
                ftfw.hello = Hello::Say { first: seq };
            }
        }
        self.queues.pop(Queue::Send);
        if self.is_kept(internal, element) {
            if let Element::Entry(entry) = element {
                internal.sent(entry);
                self.tells_change = true;
            }
            self.keep(internal, element, seq);
        } else if let Element::Entry(entry) = element {
            internal.sent(entry);
            internal.told(entry);
        }
        pushed
    }

    /// Writes a message that no cache stands behind; it is never sent again.
    fn write_direct(&mut self, told: &Told) -> Pushed {
        let (seq, handshake, options) = (self.next_seq, self.handshake(), self.options);
        let Some(frame) = self.links.frame() else {
            return Pushed::TooLong;
        };
        let pushed = frame.push(|buf| tell(buf, told, handshake, seq, options));
        match pushed {
            Pushed::TooLong => self.too_long += 1,
            _ => self.next_seq = seq.wrapping_add(1),
        }
        pushed
    }

    fn drop_first(&mut self, internal: &mut Internal) {
        if let Some((Element::Entry(entry), _)) = self.queues.pop(Queue::Send) {
            internal.release(entry);
        }
    }

    /// The flags of the handshake that the next message carries.
    fn handshake(&self) -> Flags {
        let mut flags = Flags::default();
        if let Reliability::Ftfw(ftfw) = &self.reliability {
            if ftfw.hello != Hello::Done {
                flags |= Flags::HELLO;
            }
            if ftfw.say_hello_back {
                flags |= Flags::HELLO_BACK;
            }
        }
        flags
    }

    fn is_kept(&self, internal: &Internal, element: Element) -> bool {
        if let (Element::Entry(entry), true) = (element, is_planted(Fault::DeletionNotKept))
            && let Some(Told::Flow(State::Dead, _)) = internal.tell(entry)
        {
            return false;
        }
        let alive = matches!(
            element,
            Element::Control {
                flags: Flags::ALIVE,
                ..
            }
        );
        matches!(self.reliability, Reliability::Ftfw(_)) && !alive
    }

    /// Keeps what was sent until the peer has acknowledged it.
    fn keep(&mut self, internal: &mut Internal, element: Element, seq: u32) {
        let Reliability::Ftfw(ftfw) = &mut self.reliability else {
            return;
        };
        while self.queues.len(Queue::Resend) >= ftfw.resend_max.max(1) {
            ftfw.overflows += 1;
            let Some((oldest, forgotten)) = self.queues.pop(Queue::Resend) else {
                break;
            };
            if !is_planted(Fault::OverflowNotHealed) {
                ftfw.forgotten = Some(forgotten);
            }
            match oldest {
                Element::Entry(entry) => internal.release(entry),
                Element::Control { flags, .. } if flags.intersects(REQUESTS) => {
                    ftfw.forgotten_request = Some(forgotten);
                }
                Element::Control { .. } => {}
            }
        }
        // The session's hold on the entry passes from one queue to the other.
        self.queues.push(Queue::Resend, element, seq);
    }
}

/// Appends a message about an entry.
fn tell(buf: &mut Vec<u8>, told: &Told, flags: Flags, seq: u32, options: EncodeOptions) {
    match told {
        Told::Flow(state, flow) => encode::flow(buf, change(*state), flags, seq, flow, options),
        Told::Expectation(state, expectation) => {
            encode::expectation(buf, change(*state), flags, seq, expectation, options);
        }
    }
}

/// The state of an entry when it is told decides what is said.
fn change(state: State) -> Change {
    match state {
        State::New => Change::New,
        State::Alive => Change::Update,
        State::Dead => Change::Delete,
    }
}
