//! What is refused, and with which of the counted errors: the original's receiver, check by check.

use flow::{HelperName, L4, TcpState};
use syncwire::{
    Carrier, Flags, FramingError, MessageError, PayloadError, RawMessage, Split, split,
};

fn attribute(number: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = (value.len() as u16 + 4).to_be_bytes().to_vec();
    bytes.extend_from_slice(&number.to_be_bytes());
    bytes.extend_from_slice(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn message(kind: u8, attributes: &[Vec<u8>]) -> Vec<u8> {
    let body = attributes.concat();
    let mut bytes = vec![0x10 | kind, 0];
    bytes.extend_from_slice(&(body.len() as u16 + 8).to_be_bytes());
    bytes.extend_from_slice(&7u32.to_be_bytes());
    bytes.extend_from_slice(&body);
    bytes
}

/// Addresses and protocol, then these.
fn flow_with(rest: &[Vec<u8>]) -> Vec<u8> {
    let mut all = vec![
        attribute(0, &[10, 1, 0, 2, 10, 2, 0, 2]),
        attribute(2, &[6]),
        attribute(3, &[3, 0xe8, 0, 80]),
    ];
    all.extend_from_slice(rest);
    message(0, &all)
}

fn only(bytes: &[u8]) -> RawMessage<'_> {
    match split(bytes, Carrier::Datagram) {
        Split::Message(message, []) => message,
        other => panic!("{other:?}"),
    }
}

fn refused(bytes: &[u8]) -> PayloadError {
    match only(bytes).packet() {
        Err(MessageError::Payload(error)) => error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn framing_is_checked_in_the_original_order() {
    use FramingError::{BadSize, Truncated};
    let header = |first, flags, len: u16| {
        let [hi, lo] = len.to_be_bytes();
        [first, flags, hi, lo, 0, 0, 0, 1]
    };
    let ack = [&header(0x1a, 8, 16)[..], &[0; 8]].concat();
    for (bytes, in_datagram, in_stream) in [
        (vec![0x10; 7], Err(Truncated { got: 7, want: 8 }), None),
        (
            header(0x10, 0, 0).to_vec(),
            Err(BadSize {
                len: 0,
                remaining: 8,
            }),
            Some(Err(BadSize {
                len: 0,
                remaining: 8,
            })),
        ),
        (
            header(0x10, 0, 9).to_vec(),
            Err(BadSize {
                len: 9,
                remaining: 8,
            }),
            None,
        ),
        // Too long for the rest comes before too short for an ACK.
        (
            header(0x1a, 8, 16).to_vec(),
            Err(BadSize {
                len: 16,
                remaining: 8,
            }),
            None,
        ),
        (
            header(0x1a, 8, 8).to_vec(),
            Err(Truncated { got: 8, want: 16 }),
            None,
        ),
        (
            [&header(0x1a, 8, 8)[..], &[0; 8]].concat(),
            Err(BadSize {
                len: 8,
                remaining: 16,
            }),
            Some(Err(BadSize {
                len: 8,
                remaining: 16,
            })),
        ),
        (
            header(0x10, 0, 7).to_vec(),
            Err(BadSize {
                len: 7,
                remaining: 8,
            }),
            Some(Err(BadSize {
                len: 7,
                remaining: 8,
            })),
        ),
        (ack, Ok(()), Some(Ok(()))),
        (header(0x1a, 0x10, 8).to_vec(), Ok(()), Some(Ok(()))),
    ] {
        let outcome = |carrier| match split(&bytes, carrier) {
            Split::Message(..) => Some(Ok(())),
            Split::Incomplete => None,
            Split::Bad(error) => Some(Err(error)),
        };
        assert_eq!(outcome(Carrier::Datagram), Some(in_datagram), "{bytes:x?}");
        assert_eq!(outcome(Carrier::Stream), in_stream, "{bytes:x?}");
    }
}

#[test]
fn a_bad_message_does_not_hide_the_next_one() {
    let mut bytes = message(0, &[attribute(99, &[1])]);
    bytes.extend(flow_with(&[]));
    let Split::Message(bad, rest) = split(&bytes, Carrier::Datagram) else {
        panic!()
    };
    assert!(bad.packet().is_err());
    assert!(only(rest).packet().is_ok());
}

#[test]
fn version_then_type_then_payload_is_told() {
    let mut bytes = message(9, &[attribute(99, &[1])]);
    assert_eq!(only(&bytes).packet(), Err(MessageError::Kind { number: 9 }));
    bytes[0] = 0x29;
    assert_eq!(
        only(&bytes).packet(),
        Err(MessageError::Version { version: 2 })
    );
    assert_eq!((only(&bytes).kind_number, only(&bytes).seq), (9, 7));
}

#[test]
fn unknown_attributes_and_wrong_sizes_cost_the_whole_message() {
    assert_eq!(
        refused(&flow_with(&[attribute(33, &[1])])),
        PayloadError::Unknown { attr: 33 }
    );
    let expectation = message(3, &[attribute(21, &[1])]);
    assert_eq!(refused(&expectation), PayloadError::Unknown { attr: 21 });
    let sizes = [
        8, 32, 1, 4, 1, 4, 4, 4, 8, 32, 1, 4, 4, 4, 2, 2, 24, 1, 4, 4, 1, 1, 1, 1, 2, 1, 1, 0, 0,
        16, 16, 12, 2,
    ];
    for (number, &size) in (0u16..).zip(&sizes).filter(|(_, size)| **size > 0) {
        let with = |len| {
            let mut all = vec![attribute(number, &vec![0; len])];
            all.push(attribute(0, &[1; 8]));
            all.push(attribute(2, &[6]));
            // More than four bytes must follow, or the end of the message would hide a short one.
            all.push(attribute(6, &[0; 4]));
            only(&message(0, &all)).flow().map(|_| ())
        };
        // Of a master only with an address something is made, then it needs its protocol too.
        if ![8, 9].contains(&number) {
            assert_eq!(with(size), Ok(()), "attribute {number}");
        }
        for len in [size - 1, size + 1] {
            let got = len;
            assert_eq!(
                with(len),
                Err(PayloadError::Length {
                    attr: number,
                    got,
                    want: size
                })
            );
        }
    }
}

#[test]
fn names_and_labels_have_their_limits() {
    assert!(
        only(&flow_with(&[attribute(27, &[b'a'; 12])]))
            .flow()
            .is_ok()
    );
    refused(&flow_with(&[attribute(27, &[b'a'; 13])]));
    assert!(
        only(&flow_with(&[attribute(28, &[1; 1024])]))
            .flow()
            .is_ok()
    );
    refused(&flow_with(&[attribute(28, &[1; 1028])]));
    let odd = flow_with(&[attribute(28, &[1, 2, 3, 4, 5])]);
    assert_eq!(only(&odd).flow().unwrap().labels, None, "no row of words");
}

#[test]
fn a_name_without_nul_ends_with_its_attribute() {
    let bytes = flow_with(&[attribute(27, b"abcd"), attribute(7, &[0x41; 4])]);
    let flow = only(&bytes).flow().unwrap();
    assert_eq!(flow.helper, HelperName::new(b"abcd"));
}

#[test]
fn an_entry_without_addresses_or_protocol_is_refused() {
    refused(&message(0, &[]));
    refused(&message(0, &[attribute(2, &[6]), attribute(6, &[0; 4])]));
    refused(&message(0, &[attribute(0, &[1; 8]), attribute(6, &[0; 4])]));
    refused(&message(
        3,
        &[attribute(0, &[1; 8]), attribute(12, &[0; 4])],
    ));
}

#[test]
fn up_to_four_stray_bytes_at_the_end_are_ignored() {
    let stray = |count| {
        let mut bytes = flow_with(&[]);
        bytes.extend(std::iter::repeat_n(0xff, count));
        let len = (bytes.len() as u16).to_be_bytes();
        bytes[2..4].copy_from_slice(&len);
        only(&bytes).packet().is_ok()
    };
    assert!((0..=4).all(stray));
    assert!(!stray(5));
}

#[test]
fn the_last_of_several_counts_and_what_does_not_fit_the_protocol_is_ignored() {
    let bytes = flow_with(&[
        attribute(7, &[0, 0, 0, 1]),
        attribute(22, &[8]),
        attribute(23, &[0]),
        attribute(29, &[1; 16]),
        attribute(4, &[200]),
        attribute(7, &[0, 0, 0, 2]),
    ]);
    let flow = only(&bytes).flow().unwrap();
    assert_eq!(flow.mark, Some(2));
    let ports = L4::Ports { src: 1000, dst: 80 };
    assert_eq!(flow.orig.l4, ports, "types of ICMP in a TCP entry");
    assert_eq!(flow.nat.src_addr, None, "an IPv6 address in an IPv4 entry");
    assert_eq!(flow.proto.tcp_state(), None, "a state that does not exist");
    let known = flow_with(&[attribute(4, &[3]), attribute(7, &[0; 4])]);
    let known = only(&known).flow().unwrap();
    assert_eq!(known.proto.tcp_state(), Some(TcpState::Established));
}

#[test]
fn translated_ports_and_icmp_identifiers_are_little_endian() {
    let bytes = flow_with(&[attribute(14, &[0x5c, 0x11]), attribute(15, &[0x50, 0])]);
    let nat = only(&bytes).flow().unwrap().nat;
    assert_eq!((nat.src_port, nat.dst_port), (Some(4444), Some(80)));
}

#[test]
fn the_worked_example_of_a_new_tcp_connection() {
    let hex = "10000054aabbccdd 000c00000a0100020a020002 000800050000000e 0005000206000000
        0008000303e80050 0005000403000000 000800060000012c 0008000700000005
        0010001f000000000000000000000000";
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    let bytes: Vec<u8> = digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect();
    let packet = only(&bytes).packet().unwrap();
    assert_eq!((packet.seq, packet.flags), (0xaabb_ccdd, Flags::default()));
    let mut again = Vec::new();
    syncwire::encode::packet(&mut again, &packet, syncwire::EncodeOptions::default());
    assert_eq!(again, bytes);
}
