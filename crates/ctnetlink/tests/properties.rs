//! What is emitted is what is parsed, another parser agrees, and no bytes make ours panic.

mod common;

use ctnetlink::{
    Event, EventKind, Header, Reply, emit, messages, parse,
    request::{self, Ack, Write},
    stats,
};
use flow::{Addrs, Flow, L4, Labels, ProtoInfo, Status, Synproxy, Tcp, TcpFlags, TcpState, Tuple};
use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_netfilter::{
    NetfilterMessage, NetfilterMessageInner,
    conntrack::{self, ConntrackAttribute, ConntrackMessage, IPTuple, ProtoInfoTCP, ProtoTuple},
};
use proptest::prelude::*;

fn only_event(bytes: &[u8]) -> Event {
    let mut all = messages(bytes);
    let message = all.next().unwrap().unwrap();
    assert!(all.next().is_none());
    assert_eq!(message.header.len as usize, bytes.len());
    parse::event(&message).unwrap().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_flow_survives_emit_and_parse(flow in common::flows()) {
        for kind in [EventKind::New, EventKind::Update, EventKind::Destroy] {
            let mut buf = Vec::new();
            emit::flow(&mut buf, Header::flow_event(kind, 42), &flow);
            prop_assert_eq!(only_event(&buf), Event::Flow(kind, flow));
            let message = messages(&buf).next().unwrap().unwrap();
            prop_assert_eq!(message.header.port_id, 42);
            prop_assert_eq!(parse::original_tuple(&message), Ok(flow.key()));
            prop_assert_eq!(parse::reply(&message), Ok(Reply::Flow(flow)));
        }
    }

    /// Tuples as the kernel writes them are read at a stroke, others attribute by attribute.
    #[test]
    fn a_tuple_without_nested_flags_means_the_same(flow in common::flows()) {
        let mut buf = Vec::new();
        emit::flow(&mut buf, Header::flow_event(EventKind::New, 0), &flow);
        let kind = &mut buf[26..28];
        kind.copy_from_slice(&1u16.to_ne_bytes());
        prop_assert_eq!(only_event(&buf), Event::Flow(EventKind::New, flow));
    }

    #[test]
    fn an_expectation_survives_emit_and_parse(expectation in common::expectations()) {
        for kind in [EventKind::New, EventKind::Update, EventKind::Destroy] {
            let mut buf = Vec::new();
            emit::expectation(&mut buf, Header::expectation_event(kind, 42), &expectation);
            prop_assert_eq!(only_event(&buf), Event::Expectation(kind, expectation));
        }
    }

    /// A request says what the entry holds, less what only the kernel knows.
    #[test]
    fn a_request_says_what_the_entry_holds(flow in common::flows()) {
        let mut buf = Vec::new();
        request::write_flow(&mut buf, 7, Ack::Wanted, Write::Create, &flow);
        let expected = Flow {
            counters_orig: None,
            counters_reply: None,
            timestamp: None,
            event_time_ns: None,
            id: None,
            use_count: None,
            labels: flow.labels.and_then(|labels| Labels::new(labels.all_words())),
            synproxy: flow.synproxy.filter(|s| *s != Synproxy::default()),
            ..flow
        };
        prop_assert_eq!(only_event(&buf), Event::Flow(EventKind::New, expected));
    }

    #[test]
    fn another_parser_agrees_where_it_knows_a_field(flow in common::flows()) {
        let mut buf = Vec::new();
        emit::flow(&mut buf, Header::flow_event(EventKind::New, 0), &flow);
        prop_assert_eq!(theirs(&buf), known_to_both(&flow));
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        read_everything(&bytes);
    }

    #[test]
    fn arbitrary_attributes_never_panic(
        kind in prop::sample::select(vec![0x100u16, 0x102, 0x104, 0x105, 0x200, 0x202, 0x203, 2, 3]),
        body in prop::collection::vec(0..32u8, 0..200),
    ) {
        let mut bytes = u32::try_from(body.len() + 16).unwrap().to_ne_bytes().to_vec();
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(&[0; 10]);
        bytes.extend_from_slice(&body);
        read_everything(&bytes);
    }

    /// Changed bytes reach deep into the nests, which random ones do not.
    #[test]
    fn a_damaged_message_never_panics(
        flow in common::flows(),
        expectation in common::expectations(),
        damage in prop::collection::vec((16..400usize, any::<u8>()), 1..6),
        cut in 0..400usize,
    ) {
        let mut buf = Vec::new();
        emit::flow(&mut buf, Header::flow_event(EventKind::New, 0), &flow);
        let mut other = Vec::new();
        let header = Header::expectation_event(EventKind::New, 0);
        emit::expectation(&mut other, header, &expectation);
        for bytes in [&mut buf, &mut other] {
            for &(at, value) in &damage {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = value;
                }
            }
            read_everything(bytes);
            let len = cut.clamp(16, bytes.len());
            bytes.truncate(len);
            bytes[..4].copy_from_slice(&u32::try_from(len).unwrap().to_ne_bytes());
            read_everything(bytes);
        }
    }
}

fn read_everything(bytes: &[u8]) {
    for message in messages(bytes).flatten() {
        let _ = parse::event(&message);
        let _ = parse::reply(&message);
        let _ = parse::original_tuple(&message);
        let _ = parse::secctx(&message);
        let _ = stats::global(&message);
        let _ = stats::cpu(&message);
        let _ = stats::expectation_cpu(&message);
    }
}

/// The fields that the other parser has types for.
#[derive(Debug, Default, PartialEq)]
struct Known {
    orig: Option<KnownTuple>,
    reply: Option<KnownTuple>,
    status: Option<Status>,
    timeout_s: Option<u32>,
    mark: Option<u32>,
    tcp: Option<Tcp>,
}

#[derive(Debug, PartialEq)]
struct KnownTuple {
    addrs: Addrs,
    proto: u8,
    ports: Option<(u16, u16)>,
}

fn known_to_both(flow: &Flow) -> Known {
    let tuple = |tuple: &Tuple| KnownTuple {
        addrs: tuple.addrs,
        proto: tuple.proto,
        ports: match tuple.l4 {
            L4::Ports { src, dst } => Some((src, dst)),
            _ => None,
        },
    };
    Known {
        orig: Some(tuple(&flow.orig)),
        reply: flow.reply.as_ref().map(tuple),
        status: flow.status,
        timeout_s: flow.timeout_s,
        mark: flow.mark,
        tcp: match flow.proto {
            ProtoInfo::Tcp(tcp) => Some(tcp),
            _ => None,
        },
    }
}

fn theirs(bytes: &[u8]) -> Known {
    let message = NetlinkMessage::<NetfilterMessage>::deserialize(bytes).unwrap();
    let NetlinkPayload::InnerMessage(message) = message.payload else {
        panic!("{message:?}");
    };
    let NetfilterMessageInner::Conntrack(ConntrackMessage::New(attributes)) = message.inner else {
        panic!("{message:?}");
    };
    let mut known = Known::default();
    for attribute in &attributes {
        match attribute {
            ConntrackAttribute::CtaTupleOrig(parts) => known.orig = Some(their_tuple(parts)),
            ConntrackAttribute::CtaTupleReply(parts) => known.reply = Some(their_tuple(parts)),
            ConntrackAttribute::CtaStatus(status) => known.status = Some(Status(status.bits())),
            ConntrackAttribute::CtaTimeout(timeout_s) => known.timeout_s = Some(*timeout_s),
            ConntrackAttribute::CtaMark(mark) => known.mark = Some(*mark),
            ConntrackAttribute::CtaProtoInfo(infos) => {
                for info in infos {
                    if let conntrack::ProtoInfo::TCP(fields) = info {
                        known.tcp = Some(their_tcp(fields));
                    }
                }
            }
            _ => {}
        }
    }
    known
}

fn their_tuple(parts: &[conntrack::Tuple]) -> KnownTuple {
    let (mut src, mut dst, mut proto, mut sport, mut dport) = (None, None, None, None, None);
    for part in parts {
        match part {
            conntrack::Tuple::Ip(fields) => {
                for field in fields {
                    match field {
                        IPTuple::SourceAddress(addr) => src = Some(*addr),
                        IPTuple::DestinationAddress(addr) => dst = Some(*addr),
                        _ => {}
                    }
                }
            }
            conntrack::Tuple::Proto(fields) => {
                for field in fields {
                    match field {
                        ProtoTuple::Protocol(number) => proto = Some(u8::from(*number)),
                        ProtoTuple::SourcePort(port) => sport = Some(*port),
                        ProtoTuple::DestinationPort(port) => dport = Some(*port),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    KnownTuple {
        addrs: Addrs::new(src.unwrap(), dst.unwrap()).unwrap(),
        proto: proto.unwrap(),
        ports: sport.zip(dport),
    }
}

fn their_tcp(fields: &[ProtoInfoTCP]) -> Tcp {
    let flags = |flags: &conntrack::TCPFlags| {
        Some(TcpFlags {
            flags: flags.flags,
            mask: flags.mask,
        })
    };
    let mut tcp = Tcp::default();
    for field in fields {
        match field {
            ProtoInfoTCP::State(state) => tcp.state = TcpState::from_number(*state),
            ProtoInfoTCP::OriginalWindowScale(scale) => tcp.wscale_orig = Some(*scale),
            ProtoInfoTCP::ReplyWindowScale(scale) => tcp.wscale_reply = Some(*scale),
            ProtoInfoTCP::OriginalFlags(value) => tcp.flags_orig = flags(value),
            ProtoInfoTCP::ReplyFlags(value) => tcp.flags_reply = flags(value),
            _ => {}
        }
    }
    tcp
}
