//! What is written is read again, and is as short as promised.

mod common;

use common::{expectations, flows, flows_of, nat_flow, plain_flow, read, tuple, written};
use flow::{Flow, ProtoInfo, Status, Tcp, TcpState};
use native::digest::{Digest, DigestKey};
use native::message::{
    BODY_LEN_MAX, Capabilities, Decoder, Encoder, Fields, Hashes, Hello, Message, Range, Resume,
    RoleWord, StreamError, Table, Takeover, Word,
};
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_new_flow_comes_out_as_it_went_in(flow in flows(), handle in any::<u32>()) {
        let bytes = written(|encoder, buf| {
            encoder.new_flow(buf, handle, &flow);
            encoder.statement_flow(buf, handle, Some(&flow));
        });
        let mut got = Vec::new();
        read(&bytes, |message| match message {
            Message::NewFlow { handle, flow } => got.push((handle, flow)),
            Message::StatementFlow { handle, flow } => got.push((handle, flow.unwrap())),
            other => panic!("{other:?}"),
        });
        prop_assert_eq!(got, [(handle, flow); 2]);
    }

    #[test]
    fn an_expectation_comes_out_as_it_went_in(expected in expectations(), handle in any::<u32>()) {
        let bytes = written(|encoder, buf| {
            encoder.new_expectation(buf, handle, &expected);
            encoder.statement_expectation(buf, handle, Some(&expected));
        });
        let mut got = Vec::new();
        read(&bytes, |message| match message {
            Message::NewExpectation { handle, expectation } => got.push((handle, expectation)),
            Message::StatementExpectation { handle, expectation } => {
                got.push((handle, expectation.unwrap()));
            }
            other => panic!("{other:?}"),
        });
        prop_assert_eq!(got, [(handle, expected); 2]);
    }

    /// Whatever the two versions of an entry, also where fields are known no more.
    #[test]
    fn an_update_makes_the_old_entry_the_new_one(
        (old, new) in tuple().prop_flat_map(|orig| (flows_of(orig), flows_of(orig))),
        handle in any::<u32>(),
    ) {
        let new = Flow { zone: old.zone, ..new };
        let fields = Fields::changed(&old, &new);
        let bytes = written(|encoder, buf| encoder.update_flow(buf, handle, fields, &new));
        let mut got = old;
        read(&bytes, |message| match message {
            Message::UpdateFlow { handle: told, changes } => {
                assert_eq!(told, handle);
                changes.apply(&mut got).unwrap();
            }
            other => panic!("{other:?}"),
        });
        prop_assert_eq!(got, new);
    }

    /// The changes of several events are told by one update with the values of the last.
    #[test]
    fn changes_that_pile_up_are_told_together(
        versions in tuple().prop_flat_map(|orig| proptest::collection::vec(flows_of(orig), 2..5)),
    ) {
        let zone = versions[0].zone;
        let versions: Vec<Flow> = versions.into_iter().map(|flow| Flow { zone, ..flow }).collect();
        let mut fields = Fields::NONE;
        for pair in versions.windows(2) {
            fields |= Fields::changed(&pair[0], &pair[1]);
        }
        let (mut got, last) = (versions[0], versions[versions.len() - 1]);
        let bytes = written(|encoder, buf| encoder.update_flow(buf, 1, fields, &last));
        read(&bytes, |message| match message {
            Message::UpdateFlow { changes, .. } => drop(changes.apply(&mut got).unwrap()),
            other => panic!("{other:?}"),
        });
        prop_assert_eq!(got, last);
    }

    #[test]
    fn a_flow_given_back_comes_out_as_it_went_in(flow in flows()) {
        let bytes = written(|encoder, buf| encoder.returned_flow(buf, &flow));
        let mut got = None;
        read(&bytes, |message| {
            assert!(!message.is_entry());
            if let Message::ReturnedFlow { flow } = message {
                got = Some(flow);
            }
        });
        prop_assert_eq!(got, Some(flow));
    }

    #[test]
    fn handles_come_out_as_they_went_in(handles in proptest::collection::vec(any::<u32>(), 0..50)) {
        let bytes = written(|encoder, buf| {
            for &handle in &handles {
                encoder.gone_flow(buf, handle);
                encoder.gone_expectation(buf, handle.wrapping_mul(3));
            }
        });
        let (mut flows, mut expectations) = (Vec::new(), Vec::new());
        read(&bytes, |message| match message {
            Message::GoneFlow { handle } => flows.push(handle),
            Message::GoneExpectation { handle } => expectations.push(handle),
            other => panic!("{other:?}"),
        });
        let tripled: Vec<u32> = handles.iter().map(|handle| handle.wrapping_mul(3)).collect();
        prop_assert_eq!((flows, expectations), (handles, tripled));
    }

    #[test]
    fn the_pieces_of_a_stream_may_be_cut_anywhere(
        entries in proptest::collection::vec(flows(), 1..5),
        piece_len in 1usize..200,
    ) {
        let bytes = written(|encoder, buf| {
            for (handle, flow) in (0..).zip(&entries) {
                encoder.new_flow(buf, handle, flow);
            }
        });
        let mut decoder = Decoder::new();
        let mut got = Vec::new();
        for piece in bytes.chunks(piece_len) {
            decoder.push(piece);
            while let Some(message) = decoder.next().unwrap() {
                if let Message::NewFlow { flow, .. } = message.unwrap() {
                    got.push(flow);
                }
            }
        }
        prop_assert_eq!(got, entries);
    }

    #[test]
    fn no_bytes_break_the_reader(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        drain(&bytes);
    }

    /// Near misses: whole messages with some bytes changed.
    #[test]
    fn no_damage_breaks_the_reader(
        flow in flows(),
        expected in expectations(),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = written(|encoder, buf| {
            for word in words() {
                encoder.word(buf, &word);
            }
            encoder.new_flow(buf, 7, &flow);
            encoder.update_flow(buf, 7, Fields::ALL, &flow);
            encoder.new_expectation(buf, 7, &expected);
            encoder.statement_flow(buf, 7, None);
            encoder.ack(buf, 9);
        });
        for (index, byte) in damage {
            let index = index.index(bytes.len());
            bytes[index] = byte;
        }
        drain(&bytes);
    }
}

/// Reads everything that can be read.
fn drain(bytes: &[u8]) {
    let mut decoder = Decoder::new();
    decoder.push(bytes);
    let mut flow = plain_flow();
    while let Ok(Some(message)) = decoder.next() {
        if let Ok(Message::UpdateFlow { changes, .. }) = message {
            let _ = changes.apply(&mut flow);
        }
    }
}

/// One of each, as large as it gets.
fn words() -> Vec<Word<'static>> {
    let range = Range {
        table: Table::Expectations,
        first: 70_000,
        count: 64,
    };
    let hashes = Hashes::new((0..64).map(|n| u64::MAX - n));
    vec![
        Word::Hello(Hello {
            version: 1,
            name: "firewall-ä",
            epoch: u64::MAX,
            capabilities: Capabilities(5),
            digest_key: DigestKey([7; 16]),
            flows: 1_000_000,
            expectations: 3,
            resume: Some(Resume {
                epoch: 1,
                position: u64::MAX,
            }),
        }),
        Word::Check(range, Digest([9; 16])),
        Word::Doubt(range, None),
        Word::Doubt(range, Some(hashes)),
        Word::Want {
            table: Table::Flows,
            first: 5,
            handles: u64::MAX,
        },
        Word::Complete,
        Word::Role(RoleWord::Primary, 77),
        Word::Takeover(Takeover {
            term: 78,
            from: "fw1",
        }),
        Word::Request,
        Word::Returning {
            quiet_ms: 70_001,
            is_complete: true,
        },
        Word::Returned { had: 70_000 },
    ]
}

#[test]
fn every_word_comes_out_as_it_went_in() {
    let bytes = written(|encoder, buf| {
        for word in words() {
            encoder.word(buf, &word);
        }
    });
    let mut expected = words().into_iter();
    read(&bytes, |message| {
        assert_eq!(message, Message::Word(expected.next().unwrap()));
    });
    assert_eq!(expected.next(), None);
}

#[test]
fn a_new_tcp_flow_over_ipv4_takes_at_most_45_bytes() {
    let plain = written(|encoder, buf| encoder.new_flow(buf, 900_000, &plain_flow()));
    let translated = written(|encoder, buf| encoder.new_flow(buf, 900_000, &nat_flow()));
    // Head, handle (3), shape, addresses (8), ports (4), fields, status, timeout (3), state, options (2), mark.
    assert_eq!(plain.len(), 26);
    // And what differs of the reply (7), with status bits of a translation; the length needs a byte more.
    assert_eq!(translated.len(), 34);
}

#[test]
fn an_update_of_a_tcp_flow_takes_at_most_8_bytes() {
    let before = Flow {
        status: Some(Status(0x18a)),
        timeout_s: Some(60),
        proto: ProtoInfo::Tcp(Tcp {
            state: Some(TcpState::SynRecv),
            wscale_orig: Some(7),
            wscale_reply: Some(7),
            ..Tcp::default()
        }),
        ..plain_flow()
    };
    let established = plain_flow();
    let closing = Flow {
        timeout_s: Some(120),
        proto: ProtoInfo::Tcp(Tcp {
            state: Some(TcpState::FinWait),
            wscale_orig: Some(7),
            wscale_reply: Some(7),
            ..Tcp::default()
        }),
        ..established
    };
    for (old, new, len) in [(before, established, 8), (established, closing, 5)] {
        let bytes = written(|encoder, buf| {
            // Beside a neighbour.
            encoder.gone_flow(buf, 1000);
            buf.clear();
            encoder.update_flow(buf, 1010, Fields::changed(&old, &new), &new);
        });
        assert_eq!(bytes.len(), len);
    }
}

#[test]
fn a_gone_flow_takes_two_to_five_bytes() {
    let mut encoder = Encoder::new();
    let mut buf = Vec::new();
    encoder.gone_flow(&mut buf, 1_000_000);
    assert_eq!(buf.len(), 4);
    buf.clear();
    encoder.gone_flow(&mut buf, 1_000_001);
    assert_eq!(buf.len(), 2);
}

#[test]
fn what_a_later_version_adds_is_skipped() {
    let mut bytes = written(|encoder, buf| encoder.gone_flow(buf, 5));
    // A kind, a word and a field that do not exist, and a longer acknowledgement.
    bytes.extend_from_slice(&[7 << 5 | 3, 1, 2, 3]);
    bytes.extend_from_slice(&[4, 0xff, 0x7f, 1, 2]);
    bytes.extend_from_slice(&[6 << 5 | 3, 9, 1, 2]);
    bytes.extend_from_slice(&[2 << 5 | 6, 0, 0x81, 0x80, 0x40, 2, 3]);
    let mut seen = Vec::new();
    read(&bytes, |message| match message {
        Message::UpdateFlow { handle, changes } => {
            let mut flow = plain_flow();
            let fields = changes.apply(&mut flow).unwrap();
            assert_eq!((fields, flow.status), (Fields::STATUS, Some(Status(4))));
            seen.push(format!("update {handle}"));
        }
        Message::GoneFlow { handle } => seen.push(format!("gone {handle}")),
        Message::Ack { position } => seen.push(format!("ack {position}")),
        Message::Unknown => seen.push("unknown".into()),
        other => panic!("{other:?}"),
    });
    assert_eq!(seen, ["gone 5", "unknown", "unknown", "ack 9", "update 5"]);
}

#[test]
fn a_bad_body_costs_one_message_and_a_bad_length_the_stream() {
    let mut bytes = vec![1 << 5 | 2, 0, 0xff];
    bytes.extend(written(|encoder, buf| encoder.ack(buf, 3)));
    let mut decoder = Decoder::new();
    decoder.push(&bytes);
    assert!(decoder.next().unwrap().unwrap().is_err());
    let next = decoder.next().unwrap().unwrap().unwrap();
    assert_eq!(next, Message::Ack { position: 3 });
    assert!(decoder.next().unwrap().is_none());

    decoder.push(&[6 << 5 | 31, 0x81, 0x80, 0x01]);
    let len = BODY_LEN_MAX as u64 + 1;
    assert_eq!(decoder.next().unwrap_err(), StreamError::TooLong { len });
}
