//! What happens, in words.

use std::cell::Cell;
use std::time::Duration;

use syncwire::{Body, Carrier, Change, RawMessage, Split, split};

thread_local! {
    static STEP: Cell<u32> = const { Cell::new(0) };
}

/// The run of this thread is in this step now.
pub(crate) fn enter_step(step: u32) {
    STEP.set(step);
}

/// The step in which the run of this thread is, or was when it ended.
#[must_use]
pub fn step() -> u32 {
    STEP.get()
}

/// Prints the messages of a datagram.
pub fn datagram(at: Duration, from: &str, mut bytes: &[u8]) {
    while let Split::Message(message, rest) = split(bytes, Carrier::Datagram) {
        println!("{:10.4} {from} -> {}", at.as_secs_f64(), words(&message));
        bytes = rest;
    }
}

fn words(message: &RawMessage<'_>) -> String {
    let (seq, flags) = (message.seq, message.flags.0);
    let change = |change| match change {
        Change::New => "new",
        Change::Update => "update",
        Change::Delete => "delete",
    };
    match message.packet().map(|packet| packet.body) {
        Ok(Body::Flow(what, flow)) => {
            let (tuple, zone) = (flow.orig, flow.zone.orig);
            let (status, mark) = (flow.status_bits().0, flow.mark);
            let what = change(what);
            format!(
                "{seq} {what} {} {}>{} {:?} zone {zone} status {status:#x} mark {mark:?}",
                tuple.proto,
                tuple.src(),
                tuple.dst(),
                tuple.l4
            )
        }
        Ok(Body::Expectation(what, expectation)) => {
            let (tuple, what) = (expectation.tuple, change(what));
            format!(
                "{seq} {what} expectation {}>{} {:?}",
                tuple.src(),
                tuple.dst(),
                tuple.l4
            )
        }
        Ok(Body::Control { from, to }) => format!("{seq} control {flags:#04x} {from}-{to}"),
        Err(error) => format!("{seq} {error}"),
    }
}
