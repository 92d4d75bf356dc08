//! What is written is what is read, and no bytes make the reader panic.

mod common;

use flow::{
    ExpectNat, Expectation, Family, Flow, HelperName, L4, Labels, Nat, ProtoInfo, Status, Tcp,
    TcpFlags, TcpState, Tuple, Zone,
};
use proptest::prelude::*;
use syncwire::{
    Body, Carrier, Change, EncodeOptions, Flags, Packet, RawMessage, Split, StreamBuffer, encode,
    split,
};

const EVERYTHING: EncodeOptions = EncodeOptions {
    timeout: true,
    window_scale: true,
};

fn only(bytes: &[u8]) -> RawMessage<'_> {
    match split(bytes, Carrier::Datagram) {
        Split::Message(message, []) => message,
        other => panic!("{other:?}"),
    }
}

fn changes() -> impl Strategy<Value = Change> {
    prop_oneof![
        Just(Change::New),
        Just(Change::Update),
        Just(Change::Delete)
    ]
}

fn packets() -> BoxedStrategy<Packet> {
    let handshake = prop_oneof![
        Just(Flags::default()),
        Just(Flags::HELLO),
        Just(Flags::HELLO_BACK),
        Just(Flags::HANDSHAKE)
    ];
    let body = prop_oneof![
        (changes(), common::flows()).prop_map(|(c, f)| (Flags::default(), Body::Flow(c, f))),
        (changes(), common::expectations())
            .prop_map(|(c, x)| (Flags::default(), Body::Expectation(c, x))),
        (
            prop_oneof![Just(Flags::ACK), Just(Flags::NACK), Just(Flags::RESYNC)],
            any::<(u32, u32)>()
        )
            .prop_map(|(flags, (from, to))| (flags, Body::Control { from, to })),
        Just((Flags::ALIVE, Body::Control { from: 0, to: 0 })),
    ];
    (any::<u32>(), handshake, body.boxed())
        .prop_map(|(seq, handshake, (flags, body))| Packet {
            seq,
            flags: flags | handshake,
            body,
        })
        .boxed()
}

/// An expectation that its sender translates, in IPv6: its address cannot be told.
fn translated(expectation: &Expectation) -> Expectation {
    let mut sent = *expectation;
    if let Some(nat) = &mut sent.nat {
        nat.tuple = nat.tuple.or(Some(sent.tuple));
    }
    sent
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_message_survives_writing_and_reading(packet in packets()) {
        let mut sent = packet;
        if let Body::Expectation(_, expectation) = &mut sent.body {
            *expectation = translated(expectation);
        }
        let mut buf = Vec::new();
        encode::packet(&mut buf, &sent, EVERYTHING);
        prop_assert_eq!(buf.len() % 4, 0);
        prop_assert!(buf.len() <= encode::FLOW_LEN_MAX);
        prop_assert_eq!(only(&buf).packet(), Ok(packet));
    }

    /// However a stream is cut, and after messages that do not matter here.
    #[test]
    fn a_stream_gives_the_messages_that_went_in(
        packets in prop::collection::vec(packets(), 1..6),
        cut in 1..400usize,
    ) {
        let mut stream = Vec::new();
        for packet in &packets {
            encode::packet(&mut stream, packet, EVERYTHING);
        }
        let (mut buffer, mut seqs) = (StreamBuffer::default(), Vec::new());
        for piece in stream.chunks(cut) {
            buffer.feed(piece, |mut bytes| {
                let len = bytes.len();
                while let Split::Message(message, rest) = split(bytes, Carrier::Stream) {
                    seqs.push(message.seq);
                    bytes = rest;
                }
                len - bytes.len()
            });
        }
        prop_assert_eq!(seqs, packets.iter().map(|p| p.seq).collect::<Vec<_>>());
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        for carrier in [Carrier::Datagram, Carrier::Stream] {
            let mut rest = bytes.as_slice();
            while let Split::Message(message, next) = split(rest, carrier) {
                let _ = message.packet();
                prop_assert!(next.len() < rest.len(), "every message takes bytes");
                rest = next;
            }
        }
    }

    /// Attributes with plausible numbers and lengths get further than noise does.
    #[test]
    fn no_attributes_make_the_reader_panic(
        kind in 0..6u8,
        attributes in prop::collection::vec(
            (0..36u16, prop_oneof![
                Just(1usize), Just(2), Just(4), Just(8), Just(12), Just(16), Just(24), Just(32), 0..40usize,
            ], any::<u8>()),
            0..12,
        ),
        cut in 0..6usize,
    ) {
        let mut bytes = vec![0x10 | kind, 0, 0, 0, 0, 0, 0, 1];
        for (number, len, fill) in attributes {
            bytes.extend_from_slice(&(len as u16 + 4).to_be_bytes());
            bytes.extend_from_slice(&number.to_be_bytes());
            bytes.extend(std::iter::repeat_n(fill, len.next_multiple_of(4)));
        }
        bytes.truncate((bytes.len() - cut.min(bytes.len())).max(8));
        let len = bytes.len() as u16;
        bytes[2..4].copy_from_slice(&len.to_be_bytes());
        let read = only(&bytes).packet();
        if let Ok(packet) = read {
            let mut buf = Vec::new();
            encode::packet(&mut buf, &packet, EVERYTHING);
            prop_assert!(only(&buf).packet().is_ok(), "what was read can be written and read");
        }
    }
}

fn tcp() -> Flow {
    let addrs = flow::Addrs::new("10.1.0.2".parse().unwrap(), "10.2.0.2".parse().unwrap());
    Flow::new(Tuple {
        addrs: addrs.unwrap(),
        proto: 6,
        l4: L4::Ports { src: 1000, dst: 80 },
    })
}

fn sent(flow: &Flow, options: EncodeOptions) -> Flow {
    let mut buf = Vec::new();
    encode::flow(&mut buf, Change::New, Flags::default(), 1, flow, options);
    only(&buf).flow().unwrap()
}

#[test]
fn translation_is_told_as_it_follows_from_the_two_directions() {
    let mut flow = tcp();
    flow.status = Some(Status::SRC_NAT_DONE);
    let mut reply = flow.orig.mirrored();
    reply.addrs =
        flow::Addrs::new("10.2.0.2".parse().unwrap(), "192.0.2.1".parse().unwrap()).unwrap();
    reply.l4 = L4::Ports { src: 80, dst: 4444 };
    flow.reply = Some(reply);
    let expected = Nat {
        src_addr: Some("192.0.2.1".parse().unwrap()),
        src_port: Some(4444),
        ..Nat::default()
    };
    assert_eq!(sent(&flow, EVERYTHING).nat, expected);
    assert_eq!(sent(&flow, EVERYTHING).reply, None);
}

#[test]
fn options_leave_out_timeout_and_window_scales() {
    let mut flow = tcp();
    flow.timeout_s = Some(300);
    flow.proto = ProtoInfo::Tcp(Tcp {
        state: Some(TcpState::Established),
        wscale_orig: Some(7),
        wscale_reply: Some(8),
        flags_orig: Some(TcpFlags::set(1)),
        flags_reply: None,
    });
    let options = EncodeOptions {
        timeout: false,
        window_scale: false,
    };
    let told = sent(&flow, options);
    assert_eq!(told.timeout_s, None);
    let state_only = Tcp {
        state: Some(TcpState::Established),
        ..Tcp::default()
    };
    assert_eq!(told.proto, ProtoInfo::Tcp(state_only));
    let ProtoInfo::Tcp(told) = sent(&flow, EVERYTHING).proto else {
        panic!()
    };
    assert_eq!((told.wscale_orig, told.wscale_reply), (Some(7), Some(8)));
    assert_eq!(told.flags_orig, None, "flags are not on the wire");
}

#[test]
fn a_zone_of_one_direction_and_a_name_too_long_for_the_peer_are_left_out() {
    let mut flow = tcp();
    flow.zone = Zone { orig: 7, reply: 0 };
    flow.helper = HelperName::new(b"twelve-chars");
    flow.labels = Labels::new([0, 0, 0, 0]);
    let told = sent(&flow, EVERYTHING);
    assert_eq!(
        (told.zone, told.helper, told.labels),
        (Zone::default(), None, None)
    );
}

#[test]
fn keys_of_gre_and_ports_of_udplite_keep_entries_apart() {
    for proto in [47, 136] {
        let mut flow = tcp();
        flow.orig.proto = proto;
        assert_eq!(sent(&flow, EVERYTHING).key(), flow.key());
    }
}

#[test]
fn dccp_without_ports_sends_zeros_not_memory() {
    let mut flow = tcp();
    (flow.orig.proto, flow.orig.l4) = (33, L4::None);
    let mut buf = Vec::new();
    encode::flow(
        &mut buf,
        Change::New,
        Flags::default(),
        1,
        &flow,
        EVERYTHING,
    );
    let ports = [0, 8, 0, 3, 0, 0, 0, 0];
    assert!(buf.windows(8).any(|window| window == ports));
    assert_eq!(only(&buf).flow().unwrap().orig, flow.orig);
}

#[test]
fn the_address_of_an_ipv6_expectation_nat_cannot_be_told() {
    let addrs = flow::Addrs::new("fd00::1".parse().unwrap(), "fd00::2".parse().unwrap()).unwrap();
    let tuple = Tuple {
        addrs,
        proto: 6,
        l4: L4::Ports { src: 1, dst: 2 },
    };
    assert_eq!(tuple.family(), Family::Ipv6);
    let mut expectation = Expectation::new(tuple, tuple, tuple);
    expectation.nat = Some(ExpectNat {
        direction: 1,
        tuple: Some(tuple),
    });
    let mut buf = Vec::new();
    let flags = Flags::default();
    encode::expectation(&mut buf, Change::New, flags, 1, &expectation, EVERYTHING);
    let told = only(&buf).expectation().unwrap().nat;
    assert_eq!(
        told,
        Some(ExpectNat {
            direction: 1,
            tuple: None
        })
    );
}
