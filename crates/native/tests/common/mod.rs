//! Entries of every shape.
#![allow(dead_code)]

use std::net::IpAddr;

use flow::{
    Addrs, Dccp, ExpectNat, Expectation, Flow, FunctionName, HelperName, L4, Labels, Nat,
    ProtoInfo, Sctp, SeqAdj, Status, Synproxy, Tcp, TcpFlags, TcpState, Tuple, Zone,
};
use native::message::{Decoder, Encoder, Message};
use proptest::option;
use proptest::prelude::*;

pub(crate) fn addrs() -> BoxedStrategy<Addrs> {
    prop_oneof![
        any::<([u8; 4], [u8; 4])>().prop_map(|(src, dst)| Addrs::V4 {
            src: src.into(),
            dst: dst.into()
        }),
        any::<([u8; 16], [u8; 16])>().prop_map(|(src, dst)| Addrs::V6 {
            src: src.into(),
            dst: dst.into()
        }),
    ]
    .boxed()
}

pub(crate) fn tuple() -> BoxedStrategy<Tuple> {
    let l4 = prop_oneof![
        Just(L4::None),
        any::<(u16, u16)>().prop_map(|(src, dst)| L4::Ports { src, dst }),
        any::<(u16, u8, u8)>().prop_map(|(id, icmp_type, code)| L4::Icmp {
            id,
            icmp_type,
            code
        }),
    ];
    let proto = prop_oneof![Just(6u8), Just(17), any::<u8>()];
    (addrs(), proto, l4)
        .prop_map(|(addrs, proto, l4)| Tuple { addrs, proto, l4 })
        .boxed()
}

fn proto() -> BoxedStrategy<ProtoInfo> {
    let flags = || option::of(any::<(u8, u8)>().prop_map(|(flags, mask)| TcpFlags { flags, mask }));
    let scale = || option::of(prop_oneof![0u8..16, any::<u8>()]);
    let tcp = (option::of(0u8..10), scale(), scale(), flags(), flags()).prop_map(
        |(state, wscale_orig, wscale_reply, flags_orig, flags_reply)| {
            ProtoInfo::Tcp(Tcp {
                state: state.and_then(TcpState::from_number),
                wscale_orig,
                wscale_reply,
                flags_orig,
                flags_reply,
            })
        },
    );
    prop_oneof![
        Just(ProtoInfo::None),
        tcp,
        any::<(Option<u8>, Option<u32>, Option<u32>)>().prop_map(
            |(state, vtag_orig, vtag_reply)| ProtoInfo::Sctp(Sctp {
                state,
                vtag_orig,
                vtag_reply
            })
        ),
        any::<(Option<u8>, Option<u8>, Option<u64>)>().prop_map(|(state, role, handshake_seq)| {
            ProtoInfo::Dccp(Dccp {
                state,
                role,
                handshake_seq,
            })
        }),
    ]
    .boxed()
}

fn reply(orig: Tuple) -> BoxedStrategy<Option<Tuple>> {
    let ports = any::<(u16, u16)>().prop_map(|(src, dst)| L4::Ports { src, dst });
    prop_oneof![
        Just(None),
        Just(Some(orig.mirrored())),
        addrs().prop_map(move |addrs| Some(Tuple {
            addrs,
            ..orig.mirrored()
        })),
        ports.prop_map(move |l4| Some(Tuple {
            l4,
            ..orig.mirrored()
        })),
        tuple().prop_map(Some),
    ]
    .boxed()
}

pub(crate) fn flows() -> BoxedStrategy<Flow> {
    tuple().prop_flat_map(flows_of).boxed()
}

/// Everything that is replicated, in any combination, of one original tuple.
pub(crate) fn flows_of(orig: Tuple) -> BoxedStrategy<Flow> {
    let zone = prop_oneof![
        Just((0u16, 0u16)),
        any::<u16>().prop_map(|zone| (zone, zone)),
        any::<(u16, u16)>()
    ];
    let scalars = any::<(Option<u32>, Option<u32>, Option<u32>)>();
    let nat = any::<(Option<IpAddr>, Option<u16>, Option<IpAddr>, Option<u16>)>();
    let rare = (
        option::of(tuple()),
        any::<Option<[u32; 3]>>(),
        any::<Option<[u32; 3]>>(),
        option::of("[a-z]{0,15}"),
        option::of(proptest::collection::vec(any::<u32>(), 1..5)),
        any::<Option<[u32; 3]>>(),
    );
    (reply(orig), zone, scalars, proto(), nat, rare)
        .prop_map(move |(reply, zone, scalars, proto, nat, rare)| {
            let (status, timeout_s, mark) = scalars;
            let (master, adj_orig, adj_reply, helper, labels, synproxy) = rare;
            let adj = |[correction_pos, offset_before, offset_after]: [u32; 3]| SeqAdj {
                correction_pos,
                offset_before,
                offset_after,
            };
            Flow {
                reply,
                zone: Zone {
                    orig: zone.0,
                    reply: zone.1,
                },
                status: status.map(Status),
                timeout_s,
                mark,
                proto,
                nat: Nat {
                    src_addr: nat.0,
                    src_port: nat.1,
                    dst_addr: nat.2,
                    dst_port: nat.3,
                },
                master,
                seq_adj_orig: adj_orig.map(adj),
                seq_adj_reply: adj_reply.map(adj),
                helper: helper.and_then(|name| HelperName::new(name.as_bytes())),
                labels: labels.and_then(Labels::new),
                synproxy: synproxy.map(|[isn, its, tsoff]| Synproxy { isn, its, tsoff }),
                ..Flow::new(orig)
            }
        })
        .boxed()
}

pub(crate) fn expectations() -> BoxedStrategy<Expectation> {
    let nat = option::of((any::<u32>(), option::of(tuple())))
        .prop_map(|nat| nat.map(|(direction, tuple)| ExpectNat { direction, tuple }));
    let numbers = any::<(u16, Option<u32>, Option<u32>, Option<u32>)>();
    let names = (option::of("[a-z]{0,15}"), option::of("[a-z]{0,31}"));
    (tuple(), tuple(), tuple(), numbers, nat, names)
        .prop_map(
            |(master, tuple, mask, (zone, timeout_s, flags, class), nat, (helper, function))| {
                Expectation {
                    zone,
                    timeout_s,
                    flags,
                    class,
                    nat,
                    helper: helper.and_then(|name| HelperName::new(name.as_bytes())),
                    function: function.and_then(|name| FunctionName::new(name.as_bytes())),
                    ..Expectation::new(master, tuple, mask)
                }
            },
        )
        .boxed()
}

/// What a stream says, message by message.
pub(crate) fn read(bytes: &[u8], mut each: impl FnMut(Message<'_>)) {
    let mut decoder = Decoder::new();
    decoder.push(bytes);
    while let Some(message) = decoder.next().unwrap() {
        each(message.unwrap());
    }
}

pub(crate) fn written(write: impl FnOnce(&mut Encoder, &mut Vec<u8>)) -> Vec<u8> {
    let mut buf = Vec::new();
    write(&mut Encoder::new(), &mut buf);
    buf
}

fn tcp_tuple(src: [u8; 4], sport: u16, dst: [u8; 4], dport: u16) -> Tuple {
    Tuple {
        addrs: Addrs::V4 {
            src: src.into(),
            dst: dst.into(),
        },
        proto: 6,
        l4: L4::Ports {
            src: sport,
            dst: dport,
        },
    }
}

/// A masqueraded TCP connection over IPv4 as a kernel with labels and marks tells it.
pub(crate) fn nat_flow() -> Flow {
    let orig = tcp_tuple([10, 1, 0, 2], 40000, [192, 0, 2, 7], 443);
    Flow {
        reply: Some(tcp_tuple([192, 0, 2, 7], 443, [203, 0, 113, 9], 50123)),
        status: Some(Status(0x1be)),
        timeout_s: Some(432_000),
        mark: Some(0),
        proto: ProtoInfo::Tcp(Tcp {
            state: Some(TcpState::Established),
            wscale_orig: Some(7),
            wscale_reply: Some(7),
            flags_orig: None,
            flags_reply: None,
        }),
        ..Flow::new(orig)
    }
}

/// A routed TCP connection over IPv4.
pub(crate) fn plain_flow() -> Flow {
    let flow = nat_flow();
    Flow {
        reply: Some(flow.orig.mirrored()),
        status: Some(Status(0x18e)),
        ..flow
    }
}
