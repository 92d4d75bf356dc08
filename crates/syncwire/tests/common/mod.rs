//! Generated entries, and what of them arrives at the peer.
#![allow(dead_code)]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use flow::{
    Addrs, Dccp, ExpectNat, Expectation, Family, Flow, L4, Labels, Name, Nat, ProtoInfo, Sctp,
    SeqAdj, Status, Synproxy, Tcp, TcpState, Tuple, Zone, protocol,
};
use proptest::{option, prelude::*};

fn addrs(family: Family) -> BoxedStrategy<Addrs> {
    match family {
        Family::Ipv4 => any::<(u32, u32)>()
            .prop_map(|(src, dst)| Addrs::V4 {
                src: Ipv4Addr::from_bits(src),
                dst: Ipv4Addr::from_bits(dst),
            })
            .boxed(),
        Family::Ipv6 => any::<(u128, u128)>()
            .prop_map(|(src, dst)| Addrs::V6 {
                src: Ipv6Addr::from_bits(src),
                dst: Ipv6Addr::from_bits(dst),
            })
            .boxed(),
    }
}

fn addr(family: Family) -> BoxedStrategy<IpAddr> {
    addrs(family).prop_map(|addrs| addrs.src()).boxed()
}

fn families() -> impl Strategy<Value = Family> {
    prop_oneof![Just(Family::Ipv4), Just(Family::Ipv6)]
}

/// A protocol with what tells its connections apart, as the kernel has it.
fn layer4() -> BoxedStrategy<(u8, L4)> {
    let with_ports = prop_oneof![
        Just(protocol::TCP),
        Just(protocol::UDP),
        Just(protocol::SCTP),
        Just(protocol::GRE),
        Just(protocol::UDPLITE),
    ];
    let icmp = prop_oneof![Just(protocol::ICMP), Just(protocol::ICMPV6)];
    prop_oneof![
        4 => (with_ports, any::<(u16, u16)>())
            .prop_map(|(proto, (src, dst))| (proto, L4::Ports { src, dst })),
        2 => (icmp, any::<(u16, u8, u8)>()).prop_map(|(proto, (id, icmp_type, code))| {
            (proto, L4::Icmp { id, icmp_type, code })
        }),
        1 => (1..=u16::MAX).prop_map(|src| (protocol::DCCP, L4::Ports { src, dst: 5 })),
        1 => Just((protocol::DCCP, L4::None)),
        1 => (137..=255u8).prop_map(|proto| (proto, L4::None)),
    ]
    .boxed()
}

pub(crate) fn tuples(family: Family) -> BoxedStrategy<Tuple> {
    (addrs(family), layer4())
        .prop_map(|(addrs, (proto, l4))| Tuple { addrs, proto, l4 })
        .boxed()
}

fn proto_state(proto: u8) -> BoxedStrategy<ProtoInfo> {
    match proto {
        protocol::TCP => (0..10usize, any::<(u8, u8)>())
            .prop_map(|(state, (orig, reply))| {
                ProtoInfo::Tcp(Tcp {
                    state: Some(TcpState::ALL[state]),
                    wscale_orig: Some(orig),
                    wscale_reply: Some(reply),
                    ..Tcp::default()
                })
            })
            .boxed(),
        protocol::SCTP => any::<(u8, u32, u32)>()
            .prop_map(|(state, orig, reply)| {
                ProtoInfo::Sctp(Sctp {
                    state: Some(state),
                    vtag_orig: Some(orig),
                    vtag_reply: Some(reply),
                })
            })
            .boxed(),
        protocol::DCCP => any::<(u8, u8)>()
            .prop_map(|(state, role)| {
                ProtoInfo::Dccp(Dccp {
                    state: Some(state),
                    role: Some(role),
                    handshake_seq: None,
                })
            })
            .boxed(),
        _ => Just(ProtoInfo::None).boxed(),
    }
}

fn names<const N: usize>(len_max: usize) -> impl Strategy<Value = Option<Name<N>>> {
    option::of(
        prop::collection::vec(1..=255u8, 1..=len_max).prop_map(|bytes| Name::new(&bytes).unwrap()),
    )
}

fn shifts() -> impl Strategy<Value = Option<(SeqAdj, SeqAdj)>> {
    let shift = |[correction_pos, offset_before, offset_after]: [u32; 3]| SeqAdj {
        correction_pos,
        offset_before,
        offset_after,
    };
    option::of(any::<[[u32; 3]; 2]>().prop_map(move |[orig, reply]| (shift(orig), shift(reply))))
}

/// Every attribute that version 1 can tell, each there or not.
pub(crate) fn flows() -> BoxedStrategy<Flow> {
    families().prop_flat_map(flows_of).boxed()
}

fn flows_of(family: Family) -> BoxedStrategy<Flow> {
    let orig = tuples(family).prop_flat_map(|orig| (Just(orig), proto_state(orig.proto)));
    let nat = (
        option::of(addr(family)),
        option::of(addr(family)),
        any::<[Option<u16>; 2]>(),
    );
    let labels = prop::collection::vec(1..=u32::MAX, 0..=4).prop_map(Labels::new);
    let synproxy =
        option::of(any::<[u32; 3]>().prop_map(|[isn, its, tsoff]| Synproxy { isn, its, tsoff }));
    let rest = (names(11), shifts(), labels, synproxy, any::<u16>());
    (
        orig,
        any::<u32>(),
        any::<[Option<u32>; 2]>(),
        option::of(tuples(family)),
        nat,
        rest,
    )
        .prop_map(
            |((orig, proto), status, [timeout_s, mark], master, nat, rest)| {
                let (src_addr, dst_addr, [src_port, dst_port]) = nat;
                let (helper, shifts, labels, synproxy, zone) = rest;
                Flow {
                    zone: Zone::both(zone),
                    status: Some(Status(status)),
                    timeout_s,
                    mark,
                    proto,
                    // Only ports of a master are told.
                    master: master.map(|master| Tuple {
                        l4: match master.l4 {
                            L4::Icmp { .. } => L4::None,
                            l4 => l4,
                        },
                        ..master
                    }),
                    nat: Nat {
                        src_addr,
                        src_port,
                        dst_addr,
                        dst_port,
                    },
                    seq_adj_orig: shifts.map(|(orig, _)| orig),
                    seq_adj_reply: shifts.map(|(_, reply)| reply),
                    helper,
                    labels,
                    synproxy,
                    ..Flow::new(orig)
                }
            },
        )
        .boxed()
}

/// Every attribute that version 1 can tell, each there or not.
pub(crate) fn expectations() -> BoxedStrategy<Expectation> {
    let proto = prop_oneof![
        Just(protocol::TCP),
        Just(protocol::UDP),
        Just(protocol::SCTP)
    ];
    let of = |(family, proto)| {
        let tuple = move || {
            (addrs(family), any::<(u16, u16)>()).prop_map(move |(addrs, (src, dst))| Tuple {
                addrs,
                proto,
                l4: L4::Ports { src, dst },
            })
        };
        let nat = option::of((any::<u32>(), tuple()));
        let numbers = any::<(Option<u32>, u32, Option<u32>)>();
        (
            (tuple(), tuple(), tuple()),
            numbers,
            nat,
            names(11),
            names(27),
        )
            .prop_map(
                move |((master, tuple, mask), (timeout_s, flags, class), nat, helper, function)| {
                    Expectation {
                        timeout_s,
                        flags: Some(flags),
                        class,
                        nat: nat.map(|(direction, to)| ExpectNat {
                            direction,
                            tuple: (family == Family::Ipv4).then_some(to),
                        }),
                        helper,
                        function,
                        ..Expectation::new(master, tuple, mask)
                    }
                },
            )
            .boxed()
    };
    (families(), proto).prop_flat_map(of).boxed()
}
