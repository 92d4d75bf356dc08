//! Two cores with kernels of their own, and between them a wire on which anything may happen.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use engine::api::{Caches, Scope};
use engine::{Command, LinkId, Side};
use flow::{Addrs, Flow, L4, Tuple, protocol};
use sim::kernel::PACKETS;
use sim::{Node, Rng, SimKernel, Workload};

use crate::node::{LINK, Sync, settings};

/// Most datagrams under way in one direction; beyond it the wire loses them.
const UNDER_WAY: usize = 256;

/// Time after which whatever was forged must be forgotten.
const PATIENCE: Duration = Duration::from_secs(30);

/// Turns that no honest pair needs in that time.
const TURNS: usize = 200_000;

struct Pair {
    nodes: [Node; 2],
    traffic: [Workload; 2],
    /// Decides what traffic comes.
    rng: Rng,
    /// Datagrams to each node.
    wire: [VecDeque<Vec<u8>>; 2],
    now: Instant,
}

impl Pair {
    fn new(sync: Sync) -> Self {
        let mut rng = Rng::new(1);
        let now = Instant::now();
        let nodes = [0, 1].map(|index| {
            let mut node = Node::new(
                index,
                settings(sync, 4096),
                SimKernel::new(4096),
                rng.fork(),
            );
            node.start(now, 1000 + index);
            node
        });
        let traffic = [1, 2].map(|number| Workload::new(number, 32));
        Self {
            nodes,
            traffic,
            rng,
            wire: [VecDeque::new(), VecDeque::new()],
            now,
        }
    }

    /// Both do what they have to do now; what they say is on the wire then.
    fn act(&mut self) {
        for (number, node) in self.nodes.iter_mut().enumerate() {
            let wire = &mut self.wire[1 - number];
            let mut send = |_: LinkId, bytes: &[u8]| {
                if wire.len() < UNDER_WAY {
                    wire.push_back(bytes.to_vec());
                }
            };
            node.act(self.now, &mut send);
        }
    }

    /// Everything on the wire arrives, answers included.
    fn deliver(&mut self) {
        for _ in 0..UNDER_WAY {
            self.act();
            let arriving = self.wire.each_mut().map(std::mem::take);
            if arriving.iter().all(VecDeque::is_empty) {
                return;
            }
            for (node, datagrams) in self.nodes.iter_mut().zip(arriving) {
                for datagram in datagrams {
                    node.receive(self.now, LINK, &datagram);
                }
            }
        }
    }

    /// Time passes, and the wire is honest.
    fn honest(&mut self, time: Duration) {
        let until = self.now + time;
        for _ in 0..TURNS {
            self.deliver();
            let next = self.nodes.iter().filter_map(Node::next_act).min();
            match next.filter(|next| *next <= until) {
                Some(next) => self.now = next.max(self.now),
                None => {
                    self.now = until;
                    return;
                }
            }
        }
        panic!("the nodes never come to rest");
    }

    fn command(&mut self, node: usize, number: u8) {
        let command = match number % 6 {
            0 => Command::SendBulk,
            1 => Command::RequestResync,
            2 => Command::Commit(Scope::All),
            3 => Command::FlushCaches(Caches::External),
            4 => Command::ResyncFromKernel(Scope::All),
            _ => Command::FlushKernel(Scope::All),
        };
        self.nodes[node].command(self.now, command);
    }

    /// One thing happens.
    fn step(&mut self, [what, which, where_, how]: [u8; 4]) {
        let to = usize::from(which & 1);
        let wire = &mut self.wire[to];
        match what % 9 {
            0 => {
                let seed = self.rng.bits();
                self.traffic[to].step(seed, &mut self.nodes[to].kernel, self.now);
            }
            1 => self.deliver(),
            2 => self.now += Duration::from_millis(u64::from(how)),
            3 => {
                self.now += Duration::from_millis(u64::from(how));
                self.act();
            }
            4 => {
                wire.pop_front();
            }
            5 => wire.rotate_left(usize::from(where_) % wire.len().max(1)),
            6 => {
                let again = wire.get(usize::from(where_) % wire.len().max(1)).cloned();
                wire.extend(again);
            }
            7 => {
                if let Some(datagram) = wire.back_mut() {
                    let place = usize::from(where_) % datagram.len().max(1);
                    if which & 2 == 0 {
                        datagram.truncate(place);
                    } else if let Some(byte) = datagram.get_mut(place) {
                        *byte ^= how;
                    }
                }
            }
            _ => self.command(to, how),
        }
        self.wire[to].truncate(UNDER_WAY);
    }

    /// A connection that has nothing to do with what happened before is known to the peer after a while.
    fn goes_on(&mut self) {
        let addrs = Addrs::V4 {
            src: [198, 51, 100, 1].into(),
            dst: [198, 51, 100, 2].into(),
        };
        let l4 = L4::Ports { src: 7, dst: 8 };
        let mut flow = Flow::new(Tuple {
            addrs,
            proto: protocol::UDP,
            l4,
        });
        flow.timeout_s = Some(3600);
        self.nodes[0].kernel.create(self.now, flow, PACKETS);
        self.honest(PATIENCE);
        let known = self.nodes[1].flows(Side::External);
        assert!(
            known.iter().any(|known| known.orig == flow.orig),
            "the nodes no longer understand each other"
        );
    }
}

/// The mode by the first byte, then what happens, four bytes each time. Whatever it was, the nodes go on to understand
/// each other.
pub fn traffic(bytes: &[u8]) {
    let Some((&mode, rest)) = bytes.split_first() else {
        return;
    };
    let sync = Sync::from(mode);
    let mut pair = Pair::new(sync);
    pair.honest(Duration::from_millis(10));
    for step in rest.chunks_exact(4).take(256) {
        pair.step(step.try_into().unwrap_or_default());
    }
    pair.honest(PATIENCE);
    pair.goes_on();
    for node in &pair.nodes {
        for side in [Side::Internal, Side::External] {
            assert!(node.flows(side).len() <= 4096);
        }
    }
}

/// Conversations in which a bit of everything happens.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let mut rng = Rng::new(2);
    let seed = |mode| {
        let mut seed = vec![mode];
        seed.extend((0..256).map(|_| rng.bits() as u8));
        seed
    };
    (0..12).map(seed).collect()
}
