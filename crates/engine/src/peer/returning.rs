//! What a peer told before it started anew is given back to it.

use std::time::Instant;

use native::message::Word;

use super::hear::Former;
use super::mirror::Mirror;
use super::tell::{Teller, living_key};
use crate::cache::{Cache, Object};
use crate::external::External;
use crate::internal::Internal;

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
        let others = told.others();
        match it.pass {
            Pass::Flows => {
                let (cache, handles) = (&external.flows, &external.flow_handles);
                let Some((id, flow)) = next_of(cache, &mut it.next) else {
                    (it.pass, it.next) = (Pass::Expectations, 0);
                    return;
                };
                let key = flow.key();
                let is_others = living_key(&internal.flows, &key)
                    || others.clone().any(|it| it.flows.find(&key).is_some());
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
                let is_others = living_key(&internal.expectations, &key)
                    || others
                        .clone()
                        .any(|it| it.expectations.find(&key).is_some());
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

impl<'a> Told<'a> {
    /// What the other nodes have, as they told it.
    fn others(self) -> impl Iterator<Item = &'a External> + Clone {
        let externals = self.externals.iter().enumerate();
        let others = externals.filter(move |(at, it)| *at != self.origin && it.is_its_own());
        others.map(|(_, external)| external)
    }
}

/// The next entry, behind which `next` is left.
fn next_of<T: Object>(cache: &Cache<T>, next: &mut u32) -> Option<(u32, T::Value)> {
    let id = cache.next_from(*next)?;
    *next = id + 1;
    Some((id, cache.get(id)?.value()))
}
