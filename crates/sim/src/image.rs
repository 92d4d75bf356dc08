//! What of an entry the peer can know: entries of different places made comparable.

use flow::{Expectation, Flow, ProtoInfo, Status, Synproxy};
use syncwire::{Carrier, Change, EncodeOptions, Flags, RawMessage, Split, encode, split};

const OPTIONS: EncodeOptions = EncodeOptions {
    timeout: false,
    window_scale: false,
};

fn only(bytes: &[u8]) -> RawMessage<'_> {
    match split(bytes, Carrier::Datagram) {
        Split::Message(message, []) => message,
        other => panic!("one message was written, not {other:?}"),
    }
}

/// The entry as it arrives at the peer, without what passes with time.
///
/// # Panics
/// The codec does not read what it wrote.
#[must_use]
pub fn of_flow(flow: &Flow) -> Flow {
    let mut bytes = Vec::new();
    encode::flow(&mut bytes, Change::New, Flags::default(), 0, flow, OPTIONS);
    let mut image = only(&bytes).flow().expect("what was written can be read");
    // Not told and zero is the same.
    image.mark = Some(image.mark.unwrap_or(0));
    image.synproxy = image
        .synproxy
        .filter(|synproxy| *synproxy != Synproxy::default());
    image
}

/// The part of an entry that every message about it brings. Of the rest a peer that missed the end of a
/// former entry with the same key may keep something.
#[must_use]
pub fn firm(image: &Flow) -> Flow {
    Flow {
        master: None,
        seq_adj_orig: None,
        seq_adj_reply: None,
        helper: None,
        labels: None,
        synproxy: None,
        ..*image
    }
}

/// The expectation as it arrives at the peer, without what passes with time.
///
/// # Panics
/// The codec does not read what it wrote.
#[must_use]
pub fn of_expectation(expectation: &Expectation) -> Expectation {
    let mut bytes = Vec::new();
    let flags = Flags::default();
    encode::expectation(&mut bytes, Change::New, flags, 0, expectation, OPTIONS);
    only(&bytes)
        .expectation()
        .expect("what was written can be read")
}

/// What of an entry survives its way into another kernel, except for NAT bits that say nothing.
#[must_use]
pub fn committed(flow: &Flow) -> Flow {
    let mut image = of_flow(flow);
    let kept = Status::SEEN_REPLY | Status::ASSURED | Status::CONFIRMED | Status::EXPECTED;
    let mut status = image.status_bits().common(kept);
    if image.nat.has_src() {
        status |= Status::SRC_NAT;
    }
    if image.nat.has_dst() {
        status |= Status::DST_NAT;
    }
    image.status = Some(status);
    if image.proto == ProtoInfo::None {
        image.proto = of_flow(&Flow {
            proto: crate::kernel::initial_state(flow.orig.proto),
            ..*flow
        })
        .proto;
    }
    image
}
