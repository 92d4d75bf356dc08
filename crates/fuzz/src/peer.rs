//! Bytes of the other firewall, and of clients.

use control::request::{Answer, Request};
use engine::{ClientId, Command, PeerSet, RoleCause};
use syncwire::{Carrier, EncodeOptions, Split, encode, split};

use crate::node::{LINK, Node, Sync};

/// The mode by the first byte, then datagrams, each behind its length in two bytes.
pub fn datagrams(bytes: &[u8]) {
    let Some((&mode, mut rest)) = bytes.split_first() else {
        return;
    };
    let mut node = Node::new(Sync::from(mode));
    node.fill();
    while let Some((len, behind)) = rest.split_first_chunk() {
        let len = usize::from(u16::from_be_bytes(*len)).min(behind.len());
        let (datagram, behind) = behind.split_at(len);
        rest = behind;
        decode(datagram, Carrier::Datagram);
        node.engine.handle_datagram(node.now, LINK, datagram);
        node.settle();
    }
    node.wait();
}

/// The mode and the length of pieces by the first two bytes, then a stream in such pieces.
pub fn stream(bytes: &[u8]) {
    let [mode, len, rest @ ..] = bytes else {
        return;
    };
    decode(rest, Carrier::Stream);
    let mut node = Node::new(Sync::from(*mode));
    node.fill();
    for piece in rest.chunks(usize::from(*len).max(1) * 8) {
        node.engine.handle_stream(node.now, LINK, piece);
        node.settle();
    }
    node.engine.handle_stream_closed(LINK);
    node.wait();
}

/// What is understood can be told again.
fn decode(mut bytes: &[u8], carrier: Carrier) {
    while let Split::Message(message, rest) = split(bytes, carrier) {
        bytes = rest;
        if let Ok(packet) = message.packet() {
            let mut told = Vec::new();
            encode::packet(&mut told, &packet, EncodeOptions::default());
            assert!(matches!(
                split(&told, Carrier::Datagram),
                Split::Message(_, [])
            ));
        }
    }
}

/// One request of four bytes after the other.
pub fn requests(bytes: &[u8]) {
    let mut node = Node::new(Sync::Ftfw);
    node.fill();
    for (number, request) in bytes.chunks(4).take(64).enumerate() {
        let Some(request) = request.try_into().ok().and_then(Request::from_bytes) else {
            continue;
        };
        let command = match request.answer() {
            Answer::Command(command) => command,
            Answer::TakeOver => Command::TakeOver(PeerSet::default(), RoleCause::Role),
            Answer::Become(role) => Command::Become(role, RoleCause::Role),
            _ => continue,
        };
        let client = ClientId(u64::try_from(number).unwrap_or(0));
        node.engine.handle_command(node.now, client, command);
        node.settle();
    }
    node.wait();
}
