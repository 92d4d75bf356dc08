//! What a peer told before it started anew is given back to it.

use std::time::Instant;

use flow::Expectation;
use native::message::Word;

use super::hear::Former;
use super::mirror::Mirror;
use super::tell::{Teller, living_key};
use crate::cache::{Cache, Object};
use crate::external::{External, Kept};
use crate::internal::Internal;
use crate::packed::PackedFlow;

/// What this node was told by all.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Told<'a> {
    pub(crate) externals: &'a [External],
    /// The place among them of the peer that this is about.
    pub(crate) origin: usize,
}

/// How far the giving back has come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Return {
    pass: Pass,
    /// From this position of the external cache on.
    next: u32,
    /// Connections that are still the peer's.
    had: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pass {
    Flows,
    Expectations,
    Done,
}

impl Teller {
    /// Begins to give back what the peer told before it started anew. `former`: what is known of that time; nothing, if
    /// what it told belongs to somebody else by now.
    pub(super) fn give_back(&mut self, former: Option<Former>, now: Instant) {
        if let Some(former) = former {
            let quiet = now.saturating_duration_since(former.heard_at).as_millis();
            let returning = Word::Returning {
                quiet_ms: u64::try_from(quiet).unwrap_or(u64::MAX),
                is_complete: former.is_complete,
            };
            self.encoder.word(&mut self.out, &returning);
        }
        self.returning = Some(Return {
            pass: former.map_or(Pass::Done, |_| Pass::Flows),
            next: 0,
            had: 0,
        });
    }

    /// Gives back the next of what neither the peer nor anybody else has told as its own since.
    pub(super) fn return_on(&mut self, internal: &Internal, told: Told<'_>) {
        let (Some(it), Some(external)) = (&mut self.returning, told.externals.get(told.origin))
        else {
            return;
        };
        match it.pass {
            Pass::Flows => {
                let (cache, handles) = (&external.flows, &external.flow_handles);
                let Some((id, flow)) = next_of(cache, &mut it.next) else {
                    (it.pass, it.next) = (Pass::Expectations, 0);
                    return;
                };
                let is_others = told.is_others::<PackedFlow>(&internal.flows, &flow.key());
                it.had += u64::from(!is_others);
                if handles.is_orphan(id) && !is_others {
                    self.encoder.returned_flow(&mut self.out, &flow);
                }
            }
            Pass::Expectations => {
                let handles: &Mirror = &external.expectation_handles;
                let Some((id, expected)) = next_of(&external.expectations, &mut it.next) else {
                    it.pass = Pass::Done;
                    return;
                };
                let key = expected.stored_key();
                let is_others = told.is_others::<Expectation>(&internal.expectations, &key);
                if handles.is_orphan(id) && !is_others {
                    self.encoder.returned_expectation(&mut self.out, &expected);
                }
            }
            Pass::Done => {
                let had = it.had;
                self.returning = None;
                self.encoder.word(&mut self.out, &Word::Returned { had });
            }
        }
    }
}

impl Told<'_> {
    /// Whether this node has something of its own, or another one has told it.
    fn is_others<T: Kept>(self, own: &Cache<T>, key: &T::Key) -> bool {
        let mut externals = self.externals.iter().enumerate();
        living_key(own, key)
            || externals.any(|(at, external)| {
                let is_another = at != self.origin && external.is_its_own();
                is_another && T::kept(external).0.find(key).is_some()
            })
    }
}

/// The next entry, behind which `next` is left.
fn next_of<T: Object>(cache: &Cache<T>, next: &mut u32) -> Option<(u32, T::Value)> {
    let id = cache.next_from(*next)?;
    *next = id + 1;
    Some((id, cache.get(id)?.value()))
}
