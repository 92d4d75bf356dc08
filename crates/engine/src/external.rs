//! The external cache: what a peer has, as it told.

use std::time::{Duration, Instant};

use flow::{Expectation, Flow};
use syncwire::Change;

use crate::cache::{Cache, Object};
use crate::fault::{Fault, is_planted};
use crate::packed::PackedFlow;
use crate::peer::mirror::Mirror;
use crate::wheel::Wheel;

/// So long after a takeover is known what its former owner no longer has stays, until the new owner tells it.
pub(crate) const HELD: Duration = Duration::from_secs(10);

/// Whose entries those of an external cache are by now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// Whoever told them.
    Origin,
    /// This node's, since it was promoted.
    ThisNode,
    /// A third node's, which tells them as its own.
    Another,
}

/// Connections and expectations of one peer.
#[derive(Debug)]
pub(crate) struct External {
    pub(crate) flows: Cache<PackedFlow>,
    pub(crate) expectations: Cache<Expectation>,
    /// What stands under the handles of a native peer.
    pub(crate) flow_handles: Mirror,
    pub(crate) expectation_handles: Mirror,
    pub(crate) owner: Owner,
    /// Until then connections that their origin has no more stay, without a handle: somebody else is about to tell them.
    pub(crate) held_until: Option<Instant>,
    /// Positions of connections that stay so, since somebody has last looked.
    released_flows: Vec<u32>,
    released_expectations: Vec<u32>,
    expiry: Option<Expiry>,
}

/// What a peer tells, and where it is kept.
pub(crate) trait Kept: Object + Sized {
    /// With what stands under which handle.
    fn kept(external: &External) -> (&Cache<Self>, &Mirror);
    /// With the positions of what its origin has given up since somebody has last looked.
    fn kept_mut(external: &mut External) -> (&mut Cache<Self>, &mut Mirror, &mut Vec<u32>);
}

impl Kept for PackedFlow {
    fn kept(external: &External) -> (&Cache<Self>, &Mirror) {
        (&external.flows, &external.flow_handles)
    }

    fn kept_mut(external: &mut External) -> (&mut Cache<Self>, &mut Mirror, &mut Vec<u32>) {
        (
            &mut external.flows,
            &mut external.flow_handles,
            &mut external.released_flows,
        )
    }
}

impl Kept for Expectation {
    fn kept(external: &External) -> (&Cache<Self>, &Mirror) {
        (&external.expectations, &external.expectation_handles)
    }

    fn kept_mut(external: &mut External) -> (&mut Cache<Self>, &mut Mirror, &mut Vec<u32>) {
        (
            &mut external.expectations,
            &mut external.expectation_handles,
            &mut external.released_expectations,
        )
    }
}

/// In the ALARM mode entries go that are not refreshed.
#[derive(Debug)]
struct Expiry {
    after: Duration,
    flows: Wheel,
    expectations: Wheel,
    fired: Vec<u32>,
}

impl External {
    /// `expire_after`: entries not told again for so long are removed.
    pub(crate) fn new(
        limit: usize,
        seed: u64,
        expire_after: Option<Duration>,
        now: Instant,
    ) -> Self {
        Self {
            flows: Cache::new(limit, seed),
            expectations: Cache::new(limit, seed.rotate_left(17)),
            flow_handles: Mirror::default(),
            expectation_handles: Mirror::default(),
            owner: Owner::Origin,
            held_until: None,
            released_flows: Vec::new(),
            released_expectations: Vec::new(),
            expiry: expire_after.map(|after| Expiry {
                after,
                flows: Wheel::new(now, after),
                expectations: Wheel::new(now, after),
                fired: Vec::new(),
            }),
        }
    }

    /// Applies what the peer said of a connection.
    pub(crate) fn apply_flow(&mut self, change: Change, flow: &Flow, now: Instant, now_s: u32) {
        let wheel = self
            .expiry
            .as_mut()
            .map(|expiry| (&mut expiry.flows, now + expiry.after));
        apply(&mut self.flows, change, flow, now_s, wheel);
    }

    /// Applies what the peer said of an expectation.
    pub(crate) fn apply_expectation(
        &mut self,
        change: Change,
        expectation: &Expectation,
        now: Instant,
        now_s: u32,
    ) {
        let wheel = self
            .expiry
            .as_mut()
            .map(|expiry| (&mut expiry.expectations, now + expiry.after));
        apply(&mut self.expectations, change, expectation, now_s, wheel);
    }

    /// Whether this node has taken over what it told.
    pub(crate) fn is_taken(&self) -> bool {
        self.owner == Owner::ThisNode
    }

    /// Whether what it told is still its own.
    pub(crate) fn is_its_own(&self) -> bool {
        self.owner == Owner::Origin
    }

    /// What this origin no longer has is about to be told by another one, and stays until then.
    /// Returns whether it does.
    pub(crate) fn hold(&mut self, now: Instant) -> bool {
        // It matters where the kernel follows.
        let holds = self.flows.journal.is_some() && self.owner != Owner::Another;
        if holds {
            self.held_until = Some(now + HELD);
        }
        holds
    }

    fn holds(&self, now: Instant) -> bool {
        self.held_until.is_some_and(|until| now < until)
    }

    /// The origin has no more what stands under this handle.
    pub(crate) fn gone<T: Kept>(&mut self, handle: u32, now: Instant) {
        let holds = self.holds(now);
        let (cache, handles, released) = T::kept_mut(self);
        if holds {
            released.extend(handles.release(handle));
        } else {
            handles.vacate(cache, handle);
        }
    }

    /// The origin tells something under this handle: if something else stands there, it has that no more.
    pub(crate) fn told<T: Kept>(&mut self, handle: u32, value: &T::Value, now: Instant) {
        let (cache, handles) = T::kept(self);
        if self.holds(now)
            && let Some(id) = handles.id(handle)
            && cache.find(&T::key(value)) != Some(id)
        {
            self.gone::<T>(handle, now);
        }
    }

    /// Empties both caches.
    pub(crate) fn clear(&mut self) {
        self.flows.clear();
        self.expectations.clear();
        self.flow_handles.orphan_all();
        self.expectation_handles.orphan_all();
        if let Some(expiry) = &mut self.expiry {
            expiry.flows.clear_all();
            expiry.expectations.clear_all();
        }
    }

    /// Removes what was not told again in time.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        let Some(expiry) = &mut self.expiry else {
            return;
        };
        expiry.flows.fire(now, &mut expiry.fired);
        for id in expiry.fired.drain(..) {
            self.flows.remove(id);
        }
        expiry.expectations.fire(now, &mut expiry.fired);
        for id in expiry.fired.drain(..) {
            self.expectations.remove(id);
        }
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let expiry = self.expiry.as_ref()?;
        let both = [
            expiry.flows.poll_timeout(),
            expiry.expectations.poll_timeout(),
        ];
        both.into_iter().flatten().min()
    }

    pub(crate) fn flow_expires_in(&self, id: u32, now: Instant) -> Option<Duration> {
        self.expiry.as_ref()?.flows.remaining(id, now)
    }

    pub(crate) fn expectation_expires_in(&self, id: u32, now: Instant) -> Option<Duration> {
        self.expiry.as_ref()?.expectations.remaining(id, now)
    }
}

fn apply<T: Object>(
    cache: &mut Cache<T>,
    change: Change,
    value: &T::Value,
    now_s: u32,
    timer: Option<(&mut Wheel, Instant)>,
) {
    let id = match (change, cache.find(&T::key(value))) {
        (Change::Delete, known) => {
            let is_ignored = |id: u32| id % 5 == 4 && is_planted(Fault::EndOfPeerIgnored);
            if let Some(id) = known.filter(|id| !is_ignored(*id)) {
                cache.remove(id);
                if let Some((wheel, _)) = timer {
                    wheel.clear(id);
                }
            }
            return;
        }
        (Change::New, Some(id)) => {
            cache.replace(id, value, now_s);
            id
        }
        (Change::Update, Some(id)) => {
            cache.update(id, value, now_s);
            id
        }
        (_, None) => match cache.insert(value, now_s) {
            Ok(id) => id,
            // Counted by the cache.
            Err(_) => return,
        },
    };
    if let Some((wheel, at)) = timer {
        wheel.set(id, at);
    }
}
