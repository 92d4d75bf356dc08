//! What a real kernel (Linux 6.18, x86-64) said, and what it means.
//!
//! Each `captures/NAME.bin` is one datagram, `captures/NAME.txt` its reviewed meaning: one line for
//! the header and one for each field that is known. Numbers in the datagrams are little-endian.
#![cfg(target_endian = "little")]

use std::{fmt::Write, fs, path::Path};

use ctnetlink::{
    Event, EventKind, Message, Reply, messages,
    parse::{event, reply},
};
use flow::{Expectation, Flow, ProtoInfo, Zone};

#[test]
fn every_capture_means_what_was_reviewed() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/captures");
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "bin"))
        .collect();
    names.sort();
    assert!(names.len() >= 10, "{names:?}");
    let rewrite = std::env::var_os("REWRITE_CAPTURES").is_some();
    for path in names {
        let bytes = fs::read(&path).unwrap();
        let mut told = String::new();
        for message in messages(&bytes) {
            describe(&mut told, &message.unwrap());
        }
        let text = path.with_extension("txt");
        if rewrite {
            fs::write(&text, &told).unwrap();
        }
        assert_eq!(told, fs::read_to_string(&text).unwrap(), "{path:?}");
    }
}

fn describe(text: &mut String, message: &Message<'_>) {
    let header = message.header;
    let name = match event(message).unwrap() {
        _ if header.seq != 0 => "reply",
        Some(Event::Flow(kind, _) | Event::Expectation(kind, _)) => match kind {
            EventKind::New => "new",
            EventKind::Update => "update",
            EventKind::Destroy => "destroy",
        },
        None => "none",
    };
    writeln!(
        text,
        "{name} kind {:#x} flags {:#x} seq {:#x} port {}",
        header.kind, header.flags, header.seq, header.port_id
    )
    .unwrap();
    match reply(message).unwrap() {
        Reply::Flow(flow) => describe_flow(text, &flow),
        Reply::Expectation(expectation) => describe_expectation(text, &expectation),
        other => writeln!(text, "{other:?}").unwrap(),
    }
}

macro_rules! lines {
    ($text:ident, $value:ident: $($field:ident),*) => {
        $(if let Some(value) = &$value.$field {
            writeln!($text, "{}: {value:?}", stringify!($field)).unwrap();
        })*
    };
}

fn describe_flow(text: &mut String, flow: &Flow) {
    writeln!(text, "orig: {:?}", flow.orig).unwrap();
    lines!(text, flow: reply);
    if flow.zone != Zone::default() {
        writeln!(text, "zone: {:?}", flow.zone).unwrap();
    }
    lines!(text, flow: status, timeout_s, mark);
    if flow.proto != ProtoInfo::None {
        writeln!(text, "proto: {:?}", flow.proto).unwrap();
    }
    lines!(text, flow: master, seq_adj_orig, seq_adj_reply, helper, labels, synproxy);
    lines!(text, flow: counters_orig, counters_reply, timestamp, event_time_ns, id, use_count);
}

fn describe_expectation(text: &mut String, expectation: &Expectation) {
    writeln!(text, "master: {:?}", expectation.master).unwrap();
    writeln!(text, "tuple: {:?}", expectation.tuple).unwrap();
    writeln!(text, "mask: {:?}", expectation.mask).unwrap();
    writeln!(text, "zone: {}", expectation.zone).unwrap();
    lines!(text, expectation: timeout_s, id, flags, class, nat, helper, function);
}
