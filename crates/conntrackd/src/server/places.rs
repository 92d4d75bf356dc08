//! Places for clients of the control socket: when all are taken, whoever has idled longest goes.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

/// Clients served at once.
const PLACES: usize = 256;

/// Nobody has to go sooner.
const GRACE: Duration = Duration::from_millis(100);

/// All places. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Places(Rc<RefCell<Taken>>);

#[derive(Debug, Default)]
struct Taken {
    next: u64,
    clients: BTreeMap<u64, Client>,
}

#[derive(Debug)]
struct Client {
    /// When it last said or took something. `None`: it waits for us, and nobody sends it away.
    idle_since: Option<Instant>,
    has_asked: bool,
    go: Rc<Notify>,
}

/// A place that a client has; given back when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    all: Places,
    number: u64,
    go: Rc<Notify>,
}

impl Places {
    /// A place for another client. If all are taken, it is that of a client which has idled for longest, one that has
    /// not asked for anything first.
    pub(crate) async fn take(&self) -> Place {
        while self.0.borrow().clients.len() >= PLACES {
            self.send_one_away(Instant::now());
            // It goes when it has its turn.
            sleep(Duration::from_millis(1)).await;
        }
        let mut taken = self.0.borrow_mut();
        let number = taken.next;
        taken.next += 1;
        let go = Rc::new(Notify::new());
        taken.clients.insert(
            number,
            Client {
                idle_since: Some(Instant::now()),
                has_asked: false,
                go: Rc::clone(&go),
            },
        );
        Place {
            all: self.clone(),
            number,
            go,
        }
    }

    fn send_one_away(&self, now: Instant) {
        let taken = self.0.borrow();
        let idle = taken.clients.values().filter_map(|client| {
            let since = client.idle_since?;
            (now.saturating_duration_since(since) >= GRACE).then_some((
                client.has_asked,
                since,
                client,
            ))
        });
        if let Some((_, _, client)) = idle.min_by_key(|(has_asked, since, _)| (*has_asked, *since))
        {
            client.go.notify_one();
        }
    }
}

impl Place {
    /// The client said or took something, and is expected to say or take more.
    pub(crate) fn waits_for_client(&self) {
        self.note(Some(Instant::now()));
    }

    /// The client has asked for something that takes its time.
    pub(crate) fn client_waits(&self) {
        self.note(None);
    }

    /// Returns when the client has to go.
    pub(crate) async fn is_wanted(&self) {
        self.go.notified().await;
    }

    fn note(&self, idle_since: Option<Instant>) {
        if let Some(client) = self.all.0.borrow_mut().clients.get_mut(&self.number) {
            client.idle_since = idle_since;
            client.has_asked = true;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.all.0.borrow_mut().clients.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs with a clock that jumps over every wait.
    fn paused(test: impl Future<Output = ()>) {
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap()
            .block_on(test);
    }

    async fn is_sent_away(place: &Place) -> bool {
        tokio::time::timeout(Duration::from_millis(1), place.is_wanted())
            .await
            .is_ok()
    }

    #[test]
    fn whoever_has_said_nothing_makes_room_and_whoever_waits_for_us_stays() {
        paused(async {
            let all = Places::default();
            let mut places = Vec::new();
            for _ in 0..PLACES {
                places.push(all.take().await);
            }
            places[0].client_waits();
            places[1].waits_for_client();
            sleep(GRACE).await;
            all.send_one_away(Instant::now());
            assert!(!is_sent_away(&places[0]).await);
            assert!(!is_sent_away(&places[1]).await);
            assert!(is_sent_away(&places[2]).await);
            places.remove(2);
            places.push(all.take().await);
            assert_eq!(all.0.borrow().clients.len(), PLACES);
        });
    }

    #[test]
    fn without_a_place_nobody_is_sent_away_at_once() {
        paused(async {
            let all = Places::default();
            let place = all.take().await;
            all.send_one_away(Instant::now());
            assert!(!is_sent_away(&place).await);
        });
    }
}
