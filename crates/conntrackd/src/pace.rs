//! How often the daemon wakes up.
//!
//! A wake-up costs more than what is done in it for one event. What comes after a rest, or at a moderate rate, is done
//! at once. While a lot comes all the time it is let come together: nothing is waited for, but looked for once in a
//! while, which spares the sender its wake-ups too.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// How long events are let come together at most: the peer hears of them so much later.
const PAUSE: Duration = Duration::from_millis(2);

/// The same where only the peer has something to say. What it said is safe in the socket meanwhile, and is taken from
/// there before a takeover begins.
const LONG_PAUSE: Duration = Duration::from_millis(10);

/// While the daemon is busy, datagrams of the native dialect leave no closer together than this, and fuller.
pub(crate) const SEND_PAUSE: Duration = Duration::from_millis(2);

/// The daemon is busy from so many messages a millisecond on.
const BUSY: u32 = 25;

/// Time over which messages are counted to tell: so long that what a delay has piled up does not look like much.
const WINDOW: Duration = Duration::from_millis(50);

/// Pauses in a row in which less than half of much came, until a sign is waited for again.
const PATIENCE: u8 = 2;

/// Bytes of the usual buffer of a socket for datagrams, until it is known.
const LINK_BUFFER_LEN: usize = 212_992;

/// Events that may come together.
const EVENTS_MAX: u32 = 512;

/// Bytes of the socket's buffer that an event takes at most.
const EVENT_LEN: usize = 2304;

/// About as long as a message of the peer is.
const MESSAGE_LEN: usize = 90;

/// A datagram of the native dialect is as much work as so many messages, whatever is in it: it is opened, and noted for
/// its acknowledgement.
const NATIVE_DATAGRAM: usize = 20;

/// The pace of the daemon.
#[derive(Debug)]
pub(crate) struct Pace {
    state: Mutex<State>,
    /// Wakes whoever looks whether something has come.
    pub(crate) look: Notify,
}

#[derive(Debug)]
struct State {
    /// When the current window began, and what has come in it.
    since: Instant,
    window: Come,
    /// When it was last looked for what has come, and what has come since.
    looked_at: Instant,
    come: Come,
    events_max: u32,
    /// Bytes of the smallest buffer of a socket that a peer sends to.
    link_buffer_len: usize,
    /// How long to pause.
    pause: Option<Duration>,
    /// Pauses in a row that were not worth it.
    in_vain: u8,
}

/// What has come.
#[derive(Clone, Copy, Debug, Default)]
struct Come {
    events: u32,
    /// And other work of peers, as so many messages.
    messages: u32,
    /// Bytes that datagrams took of their socket's buffer.
    queued: usize,
}

/// Bytes of a socket's buffer that a datagram takes, about and not less: the kernel's room comes in powers of two, of
/// which headers have a part, with a description.
pub(crate) fn queued_len(datagram_len: usize) -> usize {
    const HEADERS: usize = 450;
    const DESCRIPTION: usize = 320;
    let room = datagram_len.saturating_add(HEADERS);
    room.checked_next_power_of_two()
        .unwrap_or(room)
        .saturating_add(DESCRIPTION)
}

impl Pace {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            state: Mutex::new(State {
                since: now,
                window: Come::default(),
                looked_at: now,
                come: Come::default(),
                events_max: EVENTS_MAX,
                link_buffer_len: LINK_BUFFER_LEN,
                pause: None,
                in_vain: 0,
            }),
            look: Notify::new(),
        }
    }

    /// The buffer of the event socket has this size: a quarter of it may be filled.
    pub(crate) fn set_event_buffer(&self, len: usize) {
        let events = u32::try_from(len / EVENT_LEN / 4).unwrap_or(u32::MAX);
        self.with(|state| state.events_max = events.clamp(1, EVENTS_MAX));
    }

    /// The smallest buffer of a socket that a peer sends datagrams to has this size: half of it may be filled.
    pub(crate) fn set_link_buffer(&self, len: usize) {
        self.with(|state| state.link_buffer_len = len);
    }

    /// Events that may be under way: half of what the buffer holds. A pause is over when half of them have come.
    pub(crate) fn events_under_way(&self) -> usize {
        self.with(|state| 2 * state.events_max as usize)
    }

    /// So many events were read.
    pub(crate) fn events(&self, count: usize) {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        self.with(|state| {
            state.come.events = state.come.events.saturating_add(count);
        });
    }

    /// A datagram of a peer was read.
    pub(crate) fn datagram(&self, len: usize) {
        self.count_messages(len / MESSAGE_LEN);
        self.count_queued(len);
    }

    /// So many bytes of the stream of a peer were read.
    pub(crate) fn messages(&self, len: usize) {
        self.count_messages(len / MESSAGE_LEN);
    }

    /// A datagram of the native dialect was read.
    pub(crate) fn native_datagram(&self, len: usize) {
        self.count_messages(NATIVE_DATAGRAM);
        self.count_queued(len);
    }

    /// So many messages of a peer of the native dialect were read.
    pub(crate) fn native_messages(&self, count: u64) {
        self.count_messages(usize::try_from(count).unwrap_or(usize::MAX));
    }

    /// Whether things are let come together now.
    pub(crate) fn is_busy(&self) -> bool {
        self.with(|state| state.pause.is_some() && state.in_vain <= PATIENCE)
    }

    fn count_messages(&self, count: usize) {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        self.with(|state| {
            state.come.messages = state.come.messages.saturating_add(count);
        });
    }

    fn count_queued(&self, len: usize) {
        self.with(|state| {
            state.come.queued = state.come.queued.saturating_add(queued_len(len));
        });
    }

    /// What the runtime does each time before it waits with nothing left to do.
    pub(crate) fn before_waiting(&self) {
        let now = Instant::now();
        let (was_busy, pause) = self.with(|state| (state.pause.is_some(), state.next_pause(now)));
        if let Some(pause) = pause {
            std::thread::sleep(pause);
        }
        // After the last pause too: who relied on the next one has to wait for a sign again.
        if was_busy || pause.is_some() {
            self.look.notify_one();
        }
    }

    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl State {
    fn next_pause(&mut self, now: Instant) -> Option<Duration> {
        let come = std::mem::take(&mut self.come);
        let passed = now.saturating_duration_since(self.looked_at);
        self.looked_at = now;
        self.window.events = self.window.events.saturating_add(come.events);
        self.window.messages = self.window.messages.saturating_add(come.messages);
        self.window.queued = self.window.queued.saturating_add(come.queued);
        if let Some(pause) = self.pause {
            self.judge(pause, come, passed);
            if self.pause.is_none() {
                (self.since, self.window) = (now, Come::default());
            }
        }
        let passed = now.saturating_duration_since(self.since);
        if passed >= WINDOW {
            self.pause = self.pause_for(self.window, passed, BUSY);
            (self.since, self.window, self.in_vain) = (now, Come::default(), 0);
        }
        self.pause
    }

    /// Does not wait for the end of the window where a pause shows that much has become little, or a rush.
    fn judge(&mut self, pause: Duration, come: Come, passed: Duration) {
        match self.pause_for(come, passed, BUSY / 2) {
            Some(shorter) => (self.pause, self.in_vain) = (Some(pause.min(shorter)), 0),
            None => {
                self.in_vain += 1;
                self.pause = self.pause.filter(|_| self.in_vain < PATIENCE);
            }
        }
    }

    /// `busy`: so many a millisecond are much.
    fn pause_for(&self, come: Come, passed: Duration, busy: u32) -> Option<Duration> {
        let is_busy =
            |count: u32| u128::from(count) * 1000 >= u128::from(busy) * passed.as_micros();
        // No longer than it takes for so much to come.
        let at_most = |pause: Duration, most: usize, count: usize| {
            pause.min(passed.mul_f64(most as f64 / count.max(1) as f64))
        };
        if is_busy(come.events) {
            Some(at_most(
                PAUSE,
                self.events_max as usize,
                come.events as usize,
            ))
        } else if is_busy(come.messages) {
            Some(at_most(LONG_PAUSE, self.link_buffer_len / 2, come.queued))
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn pause(events: u32, messages: u32, buffer_len: usize) -> Option<Duration> {
        let pace = Pace::new(Instant::now());
        pace.set_event_buffer(buffer_len);
        pace.set_link_buffer(buffer_len);
        let come = Come {
            events,
            messages,
            queued: messages as usize * queued_len(MESSAGE_LEN),
        };
        pace.with(|state| state.pause_for(come, 5 * MS, BUSY))
    }

    /// Looks once a pause, when so many events have come; the pauses that follow.
    fn pauses(pace: &Pace, come: &[u32]) -> Vec<Option<Duration>> {
        pace.with(|state| {
            let mut now = state.looked_at;
            let mut look = |events: &u32| {
                now += PAUSE;
                state.come.events = *events;
                state.next_pause(now)
            };
            come.iter().map(&mut look).collect()
        })
    }

    #[test]
    fn a_moderate_rate_is_served_at_once() {
        assert_eq!(pause(5 * (BUSY - 1), 5 * (BUSY - 1), 1 << 24), None);
    }

    #[test]
    fn events_wait_for_a_moment_and_messages_of_the_peer_a_little_longer() {
        assert_eq!(pause(5 * BUSY, 0, 1 << 24), Some(PAUSE));
        assert_eq!(pause(0, 5 * BUSY, 1 << 24), Some(LONG_PAUSE));
        assert_eq!(pause(5 * BUSY, 5 * BUSY, 1 << 24), Some(PAUSE));
    }

    #[test]
    fn datagrams_of_the_native_dialect_are_work_whatever_is_in_them() {
        let wait = |datagrams: usize| {
            let pace = Pace::new(Instant::now());
            for _ in 0..datagrams {
                pace.native_datagram(60);
                pace.native_messages(10);
            }
            pace.with(|state| state.pause_for(state.come, 5 * MS, BUSY))
        };
        assert_eq!([2, 5].map(wait), [None, Some(LONG_PAUSE)]);
    }

    #[test]
    fn no_more_comes_together_than_buffers_hold() {
        let small = 92 * EVENT_LEN;
        assert_eq!(pause(5 * 230, 0, small), Some(MS / 10));
        assert_eq!(pause(5 * 5120, 0, 1 << 24), Some(MS / 10));
        // Datagrams of one message each fill a buffer soonest.
        let messages = 25 * u32::try_from(small / queued_len(MESSAGE_LEN)).unwrap();
        let shorter = pause(0, messages, small).unwrap();
        assert!((MS / 10..MS / 8).contains(&shorter), "{shorter:?}");
        assert_eq!(pause(0, messages, 1 << 28), Some(LONG_PAUSE));
    }

    #[test]
    fn a_datagram_takes_no_more_of_a_buffer_than_is_counted() {
        for len in [8, MESSAGE_LEN, 500, 700, 1300, 1468] {
            let [receiver, sender] =
                [0; 2].map(|port| std::net::UdpSocket::bind(("127.0.0.1", port)).unwrap());
            let socket = socket2::SockRef::from(&receiver);
            socket.set_recv_buffer_size(1 << 16).unwrap();
            let counted = socket.recv_buffer_size().unwrap() / queued_len(len);
            receiver.set_nonblocking(true).unwrap();
            for _ in 0..counted {
                let to = receiver.local_addr().unwrap();
                sender.send_to(&vec![0; len], to).unwrap();
            }
            let mut room = [0; 2048];
            let held = (0..counted).filter(|_| receiver.recv(&mut room).is_ok());
            assert_eq!(held.count(), counted, "{len}");
        }
    }

    #[test]
    fn a_rush_shortens_the_pause_at_once() {
        let pace = Pace::new(Instant::now());
        pace.set_event_buffer(92 * EVENT_LEN);
        pace.with(|state| state.pause = Some(PAUSE));
        let shorter = Some(PAUSE * 23 / 92);
        assert_eq!(
            pauses(&pace, &[23, 92, 23]),
            [Some(PAUSE), shorter, shorter]
        );
    }

    #[test]
    fn when_little_comes_any_more_a_sign_is_waited_for() {
        let pace = Pace::new(Instant::now());
        pace.with(|state| state.pause = Some(PAUSE));
        let much = 2 * BUSY;
        assert_eq!(
            pauses(&pace, &[much, 1, much, 0, 1, much, much]),
            [
                Some(PAUSE),
                Some(PAUSE),
                Some(PAUSE),
                Some(PAUSE),
                None,
                None,
                None
            ]
        );
    }

    #[test]
    fn much_is_what_comes_over_a_while_not_what_a_burst_has_left() {
        let pace = Pace::new(Instant::now());
        let ticks = usize::try_from(WINDOW.as_millis() / PAUSE.as_millis()).unwrap();
        let rate = |per_ms: u32| vec![2 * per_ms; ticks];
        // What a delay has piled up looks like much for a moment.
        let mut come = rate(BUSY - 5);
        come[1] += 5 * (BUSY - 5);
        assert!(pauses(&pace, &come).iter().all(Option::is_none));
        assert_eq!(pauses(&pace, &rate(BUSY)).last(), Some(&Some(PAUSE)));
        // Little comes; and when more comes again, it is counted anew.
        let mut come = vec![0, 0];
        come.extend(rate(BUSY - 5));
        assert!(pauses(&pace, &come)[1..].iter().all(Option::is_none));
    }
}
