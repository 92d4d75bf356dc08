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

/// The same where only the peer has something to say. What it said is safe in the socket meanwhile.
const LONG_PAUSE: Duration = Duration::from_millis(5);

/// While the daemon is busy, datagrams of the native dialect leave no closer together than this, and fuller.
pub(crate) const SEND_PAUSE: Duration = Duration::from_millis(2);

/// The daemon is busy from so many messages a millisecond on.
const BUSY: u32 = 25;

/// Time over which messages are counted to tell: so long that what a delay has piled up does not look like much.
const WINDOW: Duration = Duration::from_millis(50);

/// Pauses in which nothing came, until a sign is waited for.
const PATIENCE: u8 = 3;

/// Messages of the peer that may come together: half of what a socket buffer of the usual size holds.
const MESSAGES_MAX: u32 = 700;

/// Events that may come together.
const EVENTS_MAX: u32 = 512;

/// Bytes of the socket's buffer that an event takes at most.
const EVENT_LEN: usize = 2304;

/// About as long as a message of the peer is.
const MESSAGE_LEN: usize = 90;

/// The same in the native dialect.
const NATIVE_MESSAGE_LEN: usize = 15;

/// The pace of the daemon.
#[derive(Debug)]
pub(crate) struct Pace {
    state: Mutex<State>,
    /// Wakes whoever looks whether something has come.
    pub(crate) look: Notify,
}

#[derive(Debug)]
struct State {
    /// When the current window began.
    since: Instant,
    events: u32,
    messages: u32,
    events_max: u32,
    /// When it was last looked for what has come, and the events that have come since.
    looked_at: Instant,
    come: u32,
    /// How long to pause, found in the last window.
    pause: Option<Duration>,
    has_come: bool,
    /// Pauses in which nothing came.
    in_vain: u8,
}

impl Pace {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            state: Mutex::new(State {
                since: now,
                events: 0,
                messages: 0,
                events_max: EVENTS_MAX,
                looked_at: now,
                come: 0,
                pause: None,
                has_come: false,
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

    /// So many events were read.
    pub(crate) fn events(&self, count: usize) {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        self.with(|state| {
            state.events = state.events.saturating_add(count);
            state.come = state.come.saturating_add(count);
            state.has_come = true;
        });
    }

    /// So many bytes of a peer were read.
    pub(crate) fn messages(&self, len: usize) {
        self.count_messages(len / MESSAGE_LEN);
    }

    /// So many bytes of the stream of a peer of the native dialect were read.
    pub(crate) fn native_messages(&self, len: usize) {
        self.count_messages(len / NATIVE_MESSAGE_LEN);
    }

    /// Whether things are let come together now.
    pub(crate) fn is_busy(&self) -> bool {
        self.with(|state| state.pause.is_some() && state.in_vain <= PATIENCE)
    }

    fn count_messages(&self, count: usize) {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        self.with(|state| {
            state.messages = state.messages.saturating_add(count);
            state.has_come = true;
        });
    }

    /// What the runtime does each time before it waits with nothing left to do.
    pub(crate) fn before_waiting(&self) {
        if let Some(pause) = self.with(State::next_pause) {
            std::thread::sleep(pause);
            self.look.notify_one();
        }
    }

    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl State {
    fn next_pause(&mut self) -> Option<Duration> {
        self.in_vain = match std::mem::take(&mut self.has_come) {
            true => 0,
            false => self.in_vain.saturating_add(1),
        };
        let now = Instant::now();
        let passed = now.saturating_duration_since(self.since);
        if passed >= WINDOW {
            self.pause = self.pause_for(passed);
            (self.since, self.events, self.messages) = (now, 0, 0);
        }
        self.shorten(now);
        self.pause.filter(|_| self.in_vain <= PATIENCE)
    }

    /// Does not wait for the end of the window when more comes in a pause than may.
    fn shorten(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.looked_at);
        if let Some(pause) = &mut self.pause
            && self.come > self.events_max
        {
            *pause = (*pause).min(passed * self.events_max / self.come);
        }
        (self.looked_at, self.come) = (now, 0);
    }

    fn pause_for(&self, passed: Duration) -> Option<Duration> {
        let is_busy =
            |count: u32| u128::from(count) * 1000 >= u128::from(BUSY) * passed.as_micros();
        // No longer than it takes for so many to come.
        let at_most =
            |pause: Duration, most: u32, count: u32| pause.min(passed * most / count.max(1));
        if is_busy(self.events) {
            Some(at_most(PAUSE, self.events_max, self.events))
        } else if is_busy(self.messages) {
            Some(at_most(LONG_PAUSE, MESSAGES_MAX, self.messages))
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
        pace.with(|state| {
            (state.events, state.messages) = (events, messages);
            state.pause_for(5 * MS)
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
    fn no_more_comes_together_than_buffers_hold() {
        let small = 92 * EVENT_LEN;
        assert_eq!(pause(5 * 230, 0, small), Some(MS / 10));
        assert_eq!(pause(5 * 5120, 0, 1 << 24), Some(MS / 10));
        assert_eq!(pause(0, 5 * 7000, small), Some(MS / 10));
    }

    #[test]
    fn a_rush_shortens_the_pause_at_once() {
        let pace = Pace::new(Instant::now());
        pace.set_event_buffer(92 * EVENT_LEN);
        let pauses = pace.with(|state| {
            state.pause = Some(PAUSE);
            let mut after = |come| {
                state.come = come;
                let now = state.looked_at + PAUSE;
                state.shorten(now);
                state.pause
            };
            [after(23), after(230), after(5)]
        });
        assert_eq!(pauses, [Some(PAUSE), Some(PAUSE / 10), Some(PAUSE / 10)]);
    }

    #[test]
    fn what_a_delay_has_piled_up_does_not_look_like_much() {
        let pace = Pace::new(Instant::now());
        let delay = 5 * MS;
        let pause = pace.with(|state| {
            state.events = (BUSY - 5) * u32::try_from((WINDOW + delay).as_millis()).unwrap();
            state.pause_for(WINDOW)
        });
        assert_eq!(pause, None);
    }

    #[test]
    fn when_nothing_comes_any_more_a_sign_is_waited_for() {
        let pace = Pace::new(Instant::now());
        pace.with(|state| state.pause = Some(PAUSE));
        let mut pauses = 0;
        pace.events(1);
        while pace.with(State::next_pause).is_some() {
            pauses += 1;
        }
        assert_eq!(pauses, 1 + u32::from(PATIENCE));
    }
}
