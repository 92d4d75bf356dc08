//! Reading a message and writing into a warm buffer allocate nothing.

use std::hint::black_box;

use flow::{
    Addrs, ExpectNat, Expectation, Flow, FunctionName, HelperName, L4, Labels, Nat, ProtoInfo,
    SeqAdj, Status, Synproxy, Tcp, TcpState, Tuple, Zone,
};
use syncwire::{
    Body, Carrier, Change, EncodeOptions, Flags, Frame, Packet, Pushed, Split, StreamBuffer,
    encode, split,
};

fn allocations(work: impl FnOnce()) -> u64 {
    allocation_counter::measure(work).count_total
}

const EVERYTHING: EncodeOptions = EncodeOptions {
    timeout: true,
    window_scale: true,
};

fn tuple(src: &str, sport: u16, dst: &str, dport: u16) -> Tuple {
    Tuple {
        addrs: Addrs::new(src.parse().unwrap(), dst.parse().unwrap()).unwrap(),
        proto: 6,
        l4: L4::Ports {
            src: sport,
            dst: dport,
        },
    }
}

/// Everything that version 1 can tell, as large as it gets.
fn packets() -> [Packet; 3] {
    let shift = Some(SeqAdj {
        correction_pos: 1,
        offset_before: 2,
        offset_after: 3,
    });
    let flow = Flow {
        zone: Zone::both(3),
        status: Some(Status(0x1be)),
        timeout_s: Some(600),
        mark: Some(7),
        proto: ProtoInfo::Tcp(Tcp {
            state: Some(TcpState::Established),
            wscale_orig: Some(7),
            wscale_reply: Some(7),
            ..Tcp::default()
        }),
        master: Some(tuple("2001:db8::1", 1001, "2001:db8::2", 21)),
        nat: Nat {
            src_addr: Some("fd00::1".parse().unwrap()),
            src_port: Some(4000),
            dst_addr: Some("fd00::2".parse().unwrap()),
            dst_port: Some(8080),
        },
        seq_adj_orig: shift,
        seq_adj_reply: shift,
        helper: HelperName::new(b"netbios-nss"),
        labels: Labels::new([1, 2, 3, 4]),
        synproxy: Some(Synproxy {
            isn: 1,
            its: 2,
            tsoff: 3,
        }),
        ..Flow::new(tuple("2001:db8::1", 1000, "2001:db8::2", 80))
    };
    let expectation = Expectation {
        timeout_s: Some(300),
        flags: Some(1),
        class: Some(0),
        nat: Some(ExpectNat {
            direction: 1,
            tuple: Some(flow.orig),
        }),
        helper: HelperName::new(b"netbios-nss"),
        function: FunctionName::new(b"nat-follow-master-and-longer"[..27].as_ref()),
        ..Expectation::new(flow.orig, flow.orig, flow.orig)
    };
    let packet = |flags, body| Packet {
        seq: 9,
        flags,
        body,
    };
    [
        packet(Flags::default(), Body::Flow(Change::New, flow)),
        packet(Flags::HELLO, Body::Expectation(Change::Update, expectation)),
        packet(Flags::NACK, Body::Control { from: 1, to: 5 }),
    ]
}

fn encoded() -> Vec<u8> {
    let mut bytes = Vec::new();
    for packet in &packets() {
        encode::packet(&mut bytes, packet, EVERYTHING);
    }
    bytes
}

#[test]
fn the_counter_counts() {
    assert_eq!(allocations(|| drop(black_box(Box::new(1)))), 1);
}

#[test]
fn the_largest_messages_have_the_promised_length() {
    let lengths = packets().map(|packet| {
        let mut bytes = Vec::new();
        encode::packet(&mut bytes, &packet, EVERYTHING);
        bytes.len()
    });
    assert_eq!(lengths[0], encode::FLOW_LEN_MAX);
    assert_eq!(lengths[1], encode::EXPECTATION_LEN_MAX);
}

#[test]
fn reading_allocates_nothing() {
    let bytes = encoded();
    let mut count = 0;
    let allocated = allocations(|| {
        let mut rest = black_box(bytes.as_slice());
        while let Split::Message(message, next) = split(rest, Carrier::Datagram) {
            black_box(message.packet().unwrap());
            count += 1;
            rest = next;
        }
    });
    assert_eq!((count, allocated), (3, 0));
}

#[test]
fn packing_into_warm_frames_allocates_nothing() {
    let packets = packets();
    let mut frame = Frame::new(1472);
    let mut datagrams = 0;
    let mut round = |frame: &mut Frame| {
        for packet in packets.iter().cycle().take(30) {
            let pushed = frame.push(|buf| encode::packet(buf, packet, EVERYTHING));
            if pushed == Pushed::Sealed {
                datagrams += usize::from(!black_box(frame.sealed()).is_empty());
                frame.advance();
            }
        }
    };
    round(&mut frame);
    assert_eq!(allocations(|| round(&mut frame)), 0);
    assert!(datagrams > 4);
}

#[test]
fn a_warm_stream_allocates_nothing() {
    let bytes = encoded();
    let mut buffer = StreamBuffer::default();
    let mut count = 0;
    let mut round = |buffer: &mut StreamBuffer| {
        for piece in bytes.chunks(100) {
            buffer.feed(piece, |mut bytes| {
                let len = bytes.len();
                while let Split::Message(_, next) = split(bytes, Carrier::Stream) {
                    count += 1;
                    bytes = next;
                }
                len - bytes.len()
            });
        }
    };
    round(&mut buffer);
    assert_eq!(allocations(|| round(&mut buffer)), 0);
    assert_eq!(count, 6);
}
