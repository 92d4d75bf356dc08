//! Captures of pairs of the original: every message decodes with nothing left over and encodes again to
//! the same bytes.
//!
//! One exception, masked below: the port attribute of DCCP messages. The kernel of the recordings tracks
//! no DCCP, so the original sent stale memory there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use flow::{L4, ProtoInfo, protocol};
use syncwire::{Carrier, EncodeOptions, Kind, RawMessage, Split, StreamBuffer, encode, split};

/// The sync ports of the recordings: the second link has its own.
const PORTS: [u16; 2] = [3780, 3781];

fn captures() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/captures/sync");
    let mut paths: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "pcap"))
        .collect();
    paths.sort();
    paths
}

/// Bytes by connection.
type Streams = BTreeMap<Vec<u8>, Vec<u8>>;

/// The payloads of a capture: datagrams as they are, streams put together per connection.
fn payloads(path: &Path) -> (Vec<Vec<u8>>, Streams) {
    let file = std::fs::read(path).unwrap();
    assert_eq!(
        file[..4],
        0xa1b2_c3d4_u32.to_le_bytes(),
        "little-endian pcap"
    );
    let (mut datagrams, mut streams) = (Vec::new(), BTreeMap::<Vec<u8>, (u32, Vec<u8>)>::new());
    let mut rest = &file[24..];
    while !rest.is_empty() {
        let len = u32::from_le_bytes(rest[8..12].try_into().unwrap()) as usize;
        let frame = &rest[16..16 + len];
        rest = &rest[16 + len..];
        let be16 = |bytes: &[u8]| u16::from_be_bytes(bytes[..2].try_into().unwrap());
        let (proto, addrs, layer4) = match be16(&frame[12..]) {
            0x0800 => {
                let ip = &frame[14..14 + usize::from(be16(&frame[16..]))];
                (ip[9], &ip[12..20], &ip[usize::from(ip[0] & 15) * 4..])
            }
            0x86dd => {
                let ip = &frame[14..54 + usize::from(be16(&frame[18..]))];
                (ip[6], &ip[8..40], &ip[40..])
            }
            _ => continue,
        };
        match proto {
            17 if PORTS.contains(&be16(&layer4[2..])) => datagrams.push(layer4[8..].to_vec()),
            6 if PORTS.contains(&be16(&layer4[2..])) => {
                let flags = layer4[13];
                let seq = u32::from_be_bytes(layer4[4..8].try_into().unwrap());
                let payload = &layer4[usize::from(layer4[12] >> 4) * 4..];
                let connection = [addrs, &layer4[..4]].concat();
                let (next, stream) = streams
                    .entry(connection)
                    .or_insert((seq.wrapping_add(u32::from(flags & 2 != 0)), Vec::new()));
                // Retransmissions bring nothing new; the recordings have no reordering.
                let known = next.wrapping_sub(seq) as usize;
                if flags & 2 == 0 && known < payload.len() {
                    stream.extend_from_slice(&payload[known..]);
                    *next = seq.wrapping_add(payload.len() as u32);
                }
            }
            _ => {}
        }
    }
    (
        datagrams,
        streams
            .into_iter()
            .map(|(key, (_, bytes))| (key, bytes))
            .collect(),
    )
}

/// All messages of a capture with their bytes.
fn for_each_message(path: &Path, mut visit: impl FnMut(&RawMessage<'_>, &[u8])) {
    let (datagrams, streams) = payloads(path);
    for datagram in &datagrams {
        let mut rest = datagram.as_slice();
        while !rest.is_empty() {
            let Split::Message(message, next) = split(rest, Carrier::Datagram) else {
                panic!("{}: {:?}", path.display(), split(rest, Carrier::Datagram));
            };
            visit(&message, &rest[..rest.len() - next.len()]);
            rest = next;
        }
    }
    for stream in streams.values() {
        let mut buffer = StreamBuffer::default();
        // Pieces of an awkward size, so that messages are cut everywhere.
        for piece in stream.chunks(37) {
            buffer.feed(piece, |mut bytes| {
                let whole = bytes.len();
                while let Split::Message(message, next) = split(bytes, Carrier::Stream) {
                    visit(&message, &bytes[..bytes.len() - next.len()]);
                    bytes = next;
                }
                whole - bytes.len()
            });
        }
        buffer.feed(&[], |bytes| {
            assert!(
                bytes.is_empty(),
                "{}: {} bytes left over",
                path.display(),
                bytes.len()
            );
            0
        });
    }
}

/// Numbers and values of the attributes of a message.
fn attributes(mut body: &[u8]) -> Vec<(u16, &[u8])> {
    let mut found = Vec::new();
    while body.len() >= 4 {
        let len = usize::from(u16::from_be_bytes([body[0], body[1]]));
        found.push((u16::from_be_bytes([body[2], body[3]]), &body[4..len]));
        body = &body[len.next_multiple_of(4).min(body.len())..];
    }
    assert!(body.is_empty());
    found
}

fn encoded_again(message: &RawMessage<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let (flags, seq) = (message.flags, message.seq);
    match message.kind().unwrap() {
        Kind::Flow(change) => {
            let flow = message.flow().unwrap();
            let window_scale =
                matches!(&flow.proto, ProtoInfo::Tcp(tcp) if tcp.wscale_orig.is_some());
            let options = EncodeOptions {
                window_scale,
                ..EncodeOptions::default()
            };
            encode::flow(&mut bytes, change, flags, seq, &flow, options);
        }
        Kind::Expectation(change) => {
            let expectation = message.expectation().unwrap();
            encode::expectation(
                &mut bytes,
                change,
                flags,
                seq,
                &expectation,
                EncodeOptions::default(),
            );
        }
        Kind::Control => {
            let (from, to) = message.range().unwrap_or_default();
            encode::control(&mut bytes, flags, seq, from, to);
        }
    }
    bytes
}

#[test]
fn every_message_decodes_and_encodes_again_to_the_same_bytes() {
    let mut count = 0;
    let mut masked = 0;
    for path in captures() {
        for_each_message(&path, |message, bytes| {
            assert_eq!(message.version, 1);
            let again = encoded_again(message);
            if let Some(Kind::Flow(_)) = message.kind()
                && message.flow().unwrap().orig.proto == protocol::DCCP
            {
                // The stale bytes came through the decoder as ports; nothing else may differ.
                assert!(matches!(message.flow().unwrap().orig.l4, L4::Ports { .. }));
                masked += 1;
            }
            assert_eq!(again, bytes, "{}: {:?}", path.display(), message.flow());
            count += 1;
        });
    }
    println!("{count} messages, {masked} of them DCCP with stale ports");
    assert_eq!(count, 1253);
}

/// The figures of the recordings' index.
#[test]
fn every_message_type_and_attribute_of_the_index_is_there() {
    let mut kinds = BTreeMap::<u8, usize>::new();
    let (mut of_flows, mut of_expectations) =
        (BTreeMap::<u16, usize>::new(), BTreeMap::<u16, usize>::new());
    for path in captures() {
        for_each_message(&path, |message, _| {
            *kinds.entry(message.kind_number).or_default() += 1;
            let counts = match message.kind().unwrap() {
                Kind::Flow(_) => &mut of_flows,
                Kind::Expectation(_) => &mut of_expectations,
                Kind::Control => return,
            };
            for (number, _) in attributes(message.body) {
                *counts.entry(number).or_default() += 1;
            }
        });
    }
    assert_eq!(
        kinds,
        BTreeMap::from([
            (0, 551),
            (1, 114),
            (2, 74),
            (3, 14),
            (4, 2),
            (5, 7),
            (10, 491)
        ])
    );
    let index = std::fs::read_to_string(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/captures/sync/INDEX.md"),
    )
    .unwrap();
    for (counts, beginning) in [
        (of_flows, "Conntrack attributes"),
        (of_expectations, "Expectation attributes"),
    ] {
        let line = index
            .lines()
            .find(|line| line.starts_with(beginning))
            .unwrap();
        let (_, list) = line.split_once(": ").unwrap();
        let listed: BTreeMap<u16, usize> = list
            .trim_end_matches('.')
            .split(", ")
            .map(|item| {
                let mut words = item.split(' ');
                let number = words.next().unwrap().parse().unwrap();
                let count = words
                    .next_back()
                    .unwrap()
                    .trim_start_matches('×')
                    .parse()
                    .unwrap();
                (number, count)
            })
            .collect();
        assert_eq!(counts, listed);
    }
}

#[test]
fn damaged_messages_are_refused_or_read_but_never_harm() {
    for path in captures() {
        for_each_message(&path, |message, bytes| {
            for position in 0..bytes.len() {
                for value in [0, 1, 4, 0x7f, 0xff] {
                    let mut damaged = bytes.to_vec();
                    damaged[position] = value;
                    if let Split::Message(message, _) = split(&damaged, Carrier::Datagram) {
                        let _ = (message.flow(), message.expectation(), message.range());
                    }
                }
                let _ = split(&bytes[..position], Carrier::Stream);
            }
            let _ = message;
        });
    }
}
