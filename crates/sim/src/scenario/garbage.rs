//! Datagrams that make no sense.

use engine::{LinkId, Side, Snapshot};
use flow::Flow;

use super::Run;
use crate::watch::Promise;
use crate::world::name;
use crate::{Rng, link};

/// What garbage must not change.
#[derive(PartialEq)]
struct State {
    caches: [Vec<Flow>; 2],
    rest: Snapshot,
    resend: usize,
}

impl Run<'_> {
    /// A datagram that makes no sense changes nothing but a counter.
    pub(super) fn garbage(&mut self, node: usize, seed: u64) {
        let it = &self.world.nodes[node];
        if it.engine().is_none() || it.is_frozen() {
            return;
        }
        let mut rng = Rng::new(seed);
        let bytes = match self.world.watch.last_said(1 - node) {
            Some(said) if rng.chance(500) => mutilate(said.to_vec(), &mut rng),
            _ => noise(&mut rng),
        };
        let now = self.world.now();
        let counted = |run: &Self| run.world.nodes[node].snapshot().receive.malformed();
        let (before, count) = (self.state(node), counted(self));
        self.world.nodes[node].receive(now, LinkId(0), &bytes);
        if self.state(node) != before || counted(self) != count + 1 {
            let words = format!("{} was impressed by {bytes:02x?}", name(node));
            self.object(Promise::Garbage, words);
        }
    }

    fn state(&self, node: usize) -> State {
        let it = &self.world.nodes[node];
        let mut rest = it.snapshot();
        rest.receive = Default::default();
        let resend = it
            .engine()
            .map_or(0, |engine| engine.resend_queue().count());
        State {
            caches: [Side::Internal, Side::External].map(|side| it.flows(side)),
            rest,
            resend,
        }
    }
}

/// What nobody would send.
fn noise(rng: &mut Rng) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..rng.between(1, 80)).map(|_| rng.bits() as u8).collect();
    if let [first, _, high, low, ..] = bytes.as_mut_slice() {
        match rng.below(4) {
            0 => (*high, *low) = (0, 0),
            1 => (*high, *low) = (0xff, 0xff),
            2 => bytes.truncate(7),
            _ => {
                *first = (*first & 0x0f) | 0x30;
                let len = bytes.len().max(16) as u8;
                bytes.resize(usize::from(len), 0);
                (bytes[2], bytes[3]) = (0, len);
            }
        }
    }
    bytes
}

/// What the peer has said, so damaged that it cannot be anybody's.
fn mutilate(mut bytes: Vec<u8>, rng: &mut Rng) -> Vec<u8> {
    let first = usize::from(u16::from_be_bytes([bytes[2], bytes[3]]));
    match rng.below(3) {
        // Cut short within the first message.
        0 => {
            let len = rng.between(1, first as u64 - 1) as usize;
            bytes.truncate(len);
        }
        // Another protocol's version, whatever follows.
        1 => {
            bytes.truncate(first);
            bytes[0] = (bytes[0] & 0x0f) | (rng.between(2, 15) as u8) << 4;
        }
        // Longer than it is.
        _ => {
            bytes.truncate(first);
            let len = first as u16 + rng.between(1, 1000) as u16;
            bytes[2..4].copy_from_slice(&len.to_be_bytes());
            if let Some(rest) = bytes.get_mut(8..).filter(|rest| !rest.is_empty()) {
                link::spoil(rest, rng);
            }
        }
    }
    bytes
}
