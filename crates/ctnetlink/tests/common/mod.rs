//! Generated entries.
#![allow(dead_code)]

use std::net::{Ipv4Addr, Ipv6Addr};

use flow::{
    Addrs, Counters, Dccp, ExpectNat, Expectation, Flow, L4, Labels, Name, Nat, ProtoInfo, Sctp,
    SeqAdj, Status, Synproxy, Tcp, TcpFlags, TcpState, Timestamp, Tuple, Zone,
};
use proptest::{option, prelude::*};

pub(crate) fn tuples() -> impl Strategy<Value = Tuple> {
    let v4 = any::<(u32, u32)>().prop_map(|(src, dst)| Addrs::V4 {
        src: Ipv4Addr::from_bits(src),
        dst: Ipv4Addr::from_bits(dst),
    });
    let v6 = any::<(u128, u128)>().prop_map(|(src, dst)| Addrs::V6 {
        src: Ipv6Addr::from_bits(src),
        dst: Ipv6Addr::from_bits(dst),
    });
    let l4 = prop_oneof![
        3 => any::<(u16, u16)>().prop_map(|(src, dst)| L4::Ports { src, dst }),
        1 => any::<(u16, u8, u8)>().prop_map(|(id, icmp_type, code)| L4::Icmp {
            id,
            icmp_type,
            code
        }),
        1 => Just(L4::None),
    ];
    (prop_oneof![v4, v6], any::<u8>(), l4).prop_map(|(addrs, proto, l4)| Tuple { addrs, proto, l4 })
}

fn protos() -> impl Strategy<Value = ProtoInfo> {
    let flags = || option::of(any::<(u8, u8)>().prop_map(|(flags, mask)| TcpFlags { flags, mask }));
    let state = option::of((0..10usize).prop_map(|n| TcpState::ALL[n]));
    let tcp = (state, any::<(Option<u8>, Option<u8>)>(), flags(), flags()).prop_map(
        |(state, (wscale_orig, wscale_reply), flags_orig, flags_reply)| {
            ProtoInfo::Tcp(Tcp {
                state,
                wscale_orig,
                wscale_reply,
                flags_orig,
                flags_reply,
            })
        },
    );
    let sctp = any::<(Option<u8>, Option<u32>, Option<u32>)>().prop_map(
        |(state, vtag_orig, vtag_reply)| {
            ProtoInfo::Sctp(Sctp {
                state,
                vtag_orig,
                vtag_reply,
            })
        },
    );
    let dccp =
        any::<(Option<u8>, Option<u8>, Option<u64>)>().prop_map(|(state, role, handshake_seq)| {
            ProtoInfo::Dccp(Dccp {
                state,
                role,
                handshake_seq,
            })
        });
    prop_oneof![Just(ProtoInfo::None), tcp, sctp, dccp]
}

fn names<const N: usize>() -> impl Strategy<Value = Option<Name<N>>> {
    option::of(prop::collection::vec(1..=255u8, 0..=N).prop_map(|bytes| Name::new(&bytes).unwrap()))
}

fn zones() -> impl Strategy<Value = Zone> {
    prop_oneof![
        Just(Zone::default()),
        any::<u16>().prop_map(Zone::both),
        any::<u16>().prop_map(|orig| Zone { orig, reply: 0 }),
        any::<u16>().prop_map(|reply| Zone { orig: 0, reply }),
    ]
}

fn nats() -> impl Strategy<Value = Nat> {
    any::<(Option<u32>, Option<u16>, Option<u128>, Option<u16>)>().prop_map(
        |(src, src_port, dst, dst_port)| Nat {
            src_addr: src.map(|bits| Ipv4Addr::from_bits(bits).into()),
            src_port,
            dst_addr: dst.map(|bits| Ipv6Addr::from_bits(bits).into()),
            dst_port,
        },
    )
}

fn shifts() -> impl Strategy<Value = Option<SeqAdj>> {
    option::of(any::<(u32, u32, u32)>().prop_map(
        |(correction_pos, offset_before, offset_after)| SeqAdj {
            correction_pos,
            offset_before,
            offset_after,
        },
    ))
}

fn counters() -> impl Strategy<Value = Option<Counters>> {
    option::of(any::<(u64, u64)>().prop_map(|(packets, bytes)| Counters { packets, bytes }))
}

/// Every attribute, each there or not.
pub(crate) fn flows() -> impl Strategy<Value = Flow> {
    let addresses = (tuples(), tuples(), option::of(tuples()), zones(), nats());
    let numbers = any::<[Option<u32>; 5]>();
    let labels = prop::collection::vec(any::<u32>(), 0..=4).prop_map(Labels::new);
    let synproxy = option::of(
        any::<(u32, u32, u32)>().prop_map(|(isn, its, tsoff)| Synproxy { isn, its, tsoff }),
    );
    let times = any::<(Option<(u64, Option<u64>)>, Option<u64>)>();
    let rest = (protos(), names(), shifts(), shifts(), labels, synproxy);
    (addresses, numbers, rest, counters(), counters(), times).prop_map(
        |(addresses, numbers, rest, counters_orig, counters_reply, times)| {
            let (orig, reply, master, zone, nat) = addresses;
            let [status, timeout_s, mark, id, use_count] = numbers;
            let (proto, helper, seq_adj_orig, seq_adj_reply, labels, synproxy) = rest;
            Flow {
                orig,
                reply: Some(reply),
                zone,
                status: status.map(Status),
                timeout_s,
                mark,
                proto,
                master,
                nat,
                seq_adj_orig,
                seq_adj_reply,
                helper,
                labels,
                synproxy,
                counters_orig,
                counters_reply,
                timestamp: times
                    .0
                    .map(|(start_ns, stop_ns)| Timestamp { start_ns, stop_ns }),
                event_time_ns: times.1,
                id,
                use_count,
            }
        },
    )
}

/// Every attribute, each there or not.
pub(crate) fn expectations() -> impl Strategy<Value = Expectation> {
    let nat = option::of(
        (any::<u32>(), option::of(tuples()))
            .prop_map(|(direction, tuple)| ExpectNat { direction, tuple }),
    );
    let numbers = any::<[Option<u32>; 4]>();
    let tuples = (tuples(), tuples(), tuples());
    (tuples, any::<u16>(), numbers, nat, names(), names()).prop_map(
        |((master, tuple, mask), zone, [timeout_s, id, flags, class], nat, helper, function)| {
            Expectation {
                master,
                tuple,
                mask,
                zone,
                timeout_s,
                id,
                flags,
                class,
                nat,
                helper,
                function,
            }
        },
    )
}
