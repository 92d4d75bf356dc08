//! Streams of the native dialect.

use ctnetlink::emit;
use engine::{KernelSocket, Output, PeerId, PeerSettings};
use native::Decoder;

use crate::node::{Node, Sync, settings};

/// The only peer.
const PEER: PeerId = PeerId(0);

/// Turns that a short conversation needs.
const TURNS: usize = 100;

/// A node with some entries, and a peer that has just connected.
fn node(name: &str, peer: &str) -> Node {
    let mut settings = settings(Sync::Ftfw, 4096);
    settings.native.name = name.to_owned();
    settings.native.peers.push(PeerSettings {
        name: peer.to_owned(),
        ..PeerSettings::default()
    });
    let mut node = Node::with(settings);
    node.settle();
    let mut read = Vec::new();
    emit::done(&mut read, 1, 0, 0);
    node.engine
        .handle_kernel_reply(node.now, KernelSocket::Dump, &read);
    node.settle();
    node.fill();
    node.engine.handle_peer_open(node.now, PEER);
    node.engine.set_peer_room(PEER, 1 << 16);
    node
}

/// The length of pieces by the first byte, then a stream in such pieces.
pub fn stream(bytes: &[u8]) {
    let Some((&len, rest)) = bytes.split_first() else {
        return;
    };
    let len = usize::from(len).max(1) * 8;
    decode(rest, len);
    let mut node = node("a", "b");
    node.settle();
    for piece in rest.chunks(len) {
        node.engine.handle_peer_bytes(node.now, PEER, piece);
        node.settle();
    }
    node.engine.handle_peer_closed(node.now, PEER, node.now);
    node.wait();
}

fn decode(bytes: &[u8], len: usize) {
    let mut decoder = Decoder::new();
    for piece in bytes.chunks(len) {
        decoder.push(piece);
        loop {
            match decoder.next() {
                Ok(Some(message)) => {
                    // What can be told of it is what a log would show.
                    let _ = format!("{message:?}");
                }
                Ok(None) => break,
                Err(_) => return,
            }
        }
    }
}

/// What one node says to another that has just connected, both ways.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let mut nodes = [node("a", "b"), node("b", "a")];
    let mut said = [Vec::new(), Vec::new()];
    let mut heard = [0, 0];
    for _ in 0..TURNS {
        for (node, said) in nodes.iter_mut().zip(&mut said) {
            if let Some(at) = node.engine.poll_timeout() {
                node.now = node.now.max(at);
                node.engine.handle_timeout(node.now);
            }
            while let Some(output) = node.engine.poll_output() {
                if let Output::Stream { bytes, .. } = output {
                    said.extend_from_slice(bytes);
                }
            }
        }
        for (number, node) in nodes.iter_mut().enumerate() {
            let other = &said[1 - number];
            node.engine
                .handle_peer_bytes(node.now, PEER, &other[heard[number]..]);
            heard[number] = other.len();
        }
    }
    let mut seeds = Vec::new();
    for said in said {
        for len in [1, 16, 255] {
            let mut seed = vec![len];
            seed.extend(said.iter().take(4000));
            seeds.push(seed);
        }
    }
    seeds
}
