use super::*;
use flow::{Dccp, Sctp};
use proptest::prelude::*;

fn addrs() -> impl Strategy<Value = Addrs> {
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
}

fn tuple() -> impl Strategy<Value = Tuple> {
    let l4 = prop_oneof![
        Just(L4::None),
        any::<(u16, u16)>().prop_map(|(src, dst)| L4::Ports { src, dst }),
        any::<(u16, u8, u8)>().prop_map(|(id, icmp_type, code)| L4::Icmp {
            id,
            icmp_type,
            code
        }),
    ];
    (addrs(), any::<u8>(), l4).prop_map(|(addrs, proto, l4)| Tuple { addrs, proto, l4 })
}

fn proto() -> impl Strategy<Value = ProtoInfo> {
    prop_oneof![
        Just(ProtoInfo::None),
        (
            proptest::option::of(0u8..10),
            any::<Option<u8>>(),
            any::<Option<u8>>()
        )
            .prop_map(|(state, wscale_orig, wscale_reply)| ProtoInfo::Tcp(Tcp {
                state: state.and_then(TcpState::from_number),
                wscale_orig,
                wscale_reply,
                ..Tcp::default()
            })),
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
}

/// Replies as they are: none, plain, translated, or anything.
fn reply(orig: Tuple) -> impl Strategy<Value = Option<Tuple>> {
    prop_oneof![
        Just(None),
        Just(Some(orig.mirrored())),
        addrs().prop_map(move |addrs| Some(Tuple {
            addrs,
            ..orig.mirrored()
        })),
        tuple().prop_map(Some),
    ]
}

fn entries() -> impl Strategy<Value = Flow> {
    let scalars = any::<(Option<u32>, Option<u32>, Option<u32>, Option<u32>, u16, u16)>();
    let nat = any::<(Option<IpAddr>, Option<u16>, Option<IpAddr>, Option<u16>)>();
    let rare = (
        proptest::option::of(tuple()),
        any::<Option<[u32; 3]>>(),
        any::<Option<[u32; 3]>>(),
        proptest::option::of("[a-z]{1,15}"),
        any::<Option<[u32; 4]>>(),
        any::<Option<[u32; 3]>>(),
    );
    let orig = tuple().prop_flat_map(|orig| (Just(orig), reply(orig)));
    (orig, scalars, proto(), nat, rare).prop_map(|((orig, reply), scalars, proto, nat, rare)| {
        let (status, timeout_s, mark, id, zone_orig, zone_reply) = scalars;
        let (master, adj_orig, adj_reply, helper, labels, synproxy) = rare;
        let adj = |[correction_pos, offset_before, offset_after]: [u32; 3]| SeqAdj {
            correction_pos,
            offset_before,
            offset_after,
        };
        let mut flow = Flow::new(orig);
        flow.reply = reply;
        flow.zone = Zone {
            orig: zone_orig,
            reply: zone_reply,
        };
        flow.status = status.map(Status);
        (flow.timeout_s, flow.mark, flow.id, flow.proto) = (timeout_s, mark, id, proto);
        flow.nat = Nat {
            src_addr: nat.0,
            src_port: nat.1,
            dst_addr: nat.2,
            dst_port: nat.3,
        };
        flow.master = master;
        flow.seq_adj_orig = adj_orig.map(adj);
        flow.seq_adj_reply = adj_reply.map(adj);
        flow.helper = helper.and_then(|name| HelperName::new(name.as_bytes()));
        flow.labels = labels.and_then(Labels::new);
        flow.synproxy = synproxy.map(|[isn, its, tsoff]| Synproxy { isn, its, tsoff });
        flow
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn whatever_is_packed_comes_out_again(flow in entries()) {
        prop_assert_eq!(PackedFlow::pack(&flow).unpack(), flow);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn packed_entries_merge_as_unpacked_ones_do(
        flow in common_entries(), update in common_entries(), change in 0u8..16
    ) {
        let update = match change {
            0..10 => changed(flow, change),
            10 => update,
            11 => Flow { proto: update.proto, reply: None, ..flow },
            12 => Flow { nat: update.nat, ..flow },
            _ => Flow { reply: None, nat: Nat::default(), proto: flow.proto, ..update },
        };
        let mut packed = PackedFlow::pack(&flow);
        if packed.merge(&update) {
            let mut merged = flow;
            <PackedFlow as crate::cache::Object>::merge(&mut merged, &update);
            // Flags are not kept.
            prop_assert_eq!(packed.unpack(), PackedFlow::pack(&merged).unpack());
        } else {
            prop_assert_eq!(packed.unpack(), PackedFlow::pack(&flow).unpack());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn usual_changes_are_taken_over_in_place_as_by_a_whole_entry(
        flow in common_entries(), told in common_entries(), fields in 0u32..32
    ) {
        let mut bytes = Vec::new();
        let fields = native::Fields::from_bits(fields);
        native::Encoder::new().update_flow(&mut bytes, 0, fields, &Flow { orig: flow.orig, ..told });
        let mut decoder = native::Decoder::new();
        decoder.push(&bytes);
        let Ok(Some(Ok(native::Message::UpdateFlow { changes, .. }))) = decoder.next() else {
            return Err(TestCaseError::fail("no update"));
        };
        let mut packed = PackedFlow::pack(&flow);
        let before = packed.unpack();
        let mut whole = before;
        let is_read = changes.apply(&mut whole).is_ok();
        if let Some(usual) = changes.usual() {
            prop_assert!(is_read);
            if packed.adjust(&usual) {
                prop_assert_eq!(packed.unpack(), PackedFlow::pack(&whole).unpack());
            } else {
                prop_assert!(packed.extras.is_some());
                prop_assert_eq!(packed.unpack(), before);
            }
        }
    }
}

fn plain_flow() -> Flow {
    let addrs = Addrs::new([10, 0, 0, 1].into(), [10, 0, 0, 2].into()).unwrap();
    let l4 = L4::Ports { src: 1, dst: 80 };
    Flow::new(Tuple {
        addrs,
        proto: 6,
        l4,
    })
}

#[test]
fn only_the_usual_is_taken_for_usual() {
    use native::Fields;
    let usual = [Fields::STATUS, Fields::TIMEOUT, Fields::TCP_STATE];
    let rare = [
        Fields::TCP_OPTIONS,
        Fields::MARK,
        Fields::REPLY,
        Fields::LABELS,
    ];
    let mut flow = plain_flow();
    (flow.status, flow.timeout_s, flow.mark) = (Some(Status::CONFIRMED), Some(5), Some(7));
    flow.proto = ProtoInfo::Tcp(Tcp {
        state: TcpState::from_number(3),
        ..Tcp::default()
    });
    let read = |fields: Fields, flow: &Flow| {
        let mut bytes = Vec::new();
        native::Encoder::new().update_flow(&mut bytes, 0, fields, flow);
        let mut decoder = native::Decoder::new();
        decoder.push(&bytes);
        match decoder.next() {
            Ok(Some(Ok(native::Message::UpdateFlow { changes, .. }))) => changes.usual(),
            other => panic!("{other:?}"),
        }
    };
    for field in usual {
        assert!(read(field, &flow).is_some());
        for rare in rare {
            assert_eq!(read(field | rare, &flow), None);
        }
    }
    // What is known no more is not the usual either.
    flow.status = None;
    assert_eq!(read(Fields::STATUS, &flow), None);
}

#[test]
fn a_common_update_is_merged_in_place() {
    let mut flow = plain_flow();
    flow.reply = Some(flow.orig.mirrored());
    let mut update = flow;
    update.status = Some(Status::CONFIRMED);
    update.proto = ProtoInfo::Tcp(Tcp {
        state: TcpState::from_number(3),
        ..Tcp::default()
    });
    let mut packed = PackedFlow::pack(&flow);
    for reply in [flow.reply, None] {
        update.reply = reply;
        assert!(packed.merge(&update));
    }
    assert_eq!(
        packed.unpack(),
        Flow {
            reply: flow.reply,
            ..update
        }
    );
}

/// Small changes of an entry, each of which may or may not matter.
fn changed(mut flow: Flow, change: u8) -> Flow {
    match change {
        0 => flow.timeout_s = Some(1),
        1 => flow.id = Some(1),
        2 => flow.mark = flow.mark.xor(Some(0)),
        3 => flow.mark = Some(7),
        4 => flow.status = None,
        5 => flow.reply = Some(flow.orig.mirrored()),
        6 => flow.zone.reply = 9,
        7 => flow.proto = ProtoInfo::Tcp(Tcp::default()),
        8 => flow.synproxy = Some(Synproxy::default()),
        9 => flow.nat.src_port = Some(0),
        _ => {}
    }
    flow
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn packed_entries_differ_as_unpacked_ones_do(
        flow in common_entries(), other in common_entries(), change in 0u8..12
    ) {
        let other = if change == 11 { other } else { changed(flow, change) };
        let like = PackedFlow::pack(&flow).is_like(&PackedFlow::pack(&other));
        if let Some(like) = like {
            prop_assert_eq!(like, !crate::engine::reading::differs(&flow, &other));
        }
    }
}

/// Entries without anything rare.
fn common_entries() -> impl Strategy<Value = Flow> {
    entries().prop_map(|flow| Flow {
        master: None,
        seq_adj_orig: None,
        seq_adj_reply: None,
        helper: None,
        labels: None,
        synproxy: None,
        ..flow
    })
}

#[test]
fn a_common_entry_needs_no_more_than_a_hundred_bytes() {
    assert!(
        size_of::<PackedFlow>() <= 100,
        "{} bytes",
        size_of::<PackedFlow>()
    );
}
