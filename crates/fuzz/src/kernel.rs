//! Messages of the kernel.

use std::sync::OnceLock;

use conntrack::parse::parse;
use conntrack::print::{Entry, Printer};
use control::request::Side;
use ctnetlink::{Event, EventKind, Message, Reply, messages, parse as read, stats};
use engine::KernelSocket;
use flow::Flow;

use crate::node::{Node, Sync};

/// One of each format.
fn printers() -> &'static [Printer] {
    static PRINTERS: OnceLock<Vec<Printer>> = OnceLock::new();
    PRINTERS.get_or_init(|| {
        [
            "",
            "-o xml",
            "-o save",
            "-o json",
            "-o extended,id,ktimestamp",
        ]
        .iter()
        .filter_map(|words| {
            let line = format!("conntrack -L {words}");
            let words = line.split_whitespace().map(str::to_owned).collect();
            let request = parse(words).request.ok()??;
            Some(Printer::new(&request))
        })
        .collect()
    })
}

fn show(flow: &Flow, message: &Message<'_>, event: Option<EventKind>) {
    let mut out = Vec::new();
    let secctx = read::secctx(message);
    for printer in printers() {
        match event {
            Some(_) => printer.event(
                &mut out,
                &Entry {
                    flow,
                    secctx,
                    event,
                },
                None,
            ),
            None => printer.listed(&mut out, flow, secctx),
        }
    }
    control::dump::kernel_flow(&mut out, flow, 1_000_000);
    for side in [Side::Internal, Side::External] {
        control::xml::flow(&mut out, flow, side, 1_000_000);
    }
}

/// A datagram of events: shown in every format, and replicated.
pub fn events(bytes: &[u8]) {
    for message in messages(bytes).map_while(Result::ok) {
        match read::event(&message) {
            Ok(Some(Event::Flow(kind, flow))) => {
                // The short way to the key agrees with the long one.
                if let Ok(key) = read::original_tuple(&message) {
                    assert_eq!(key.tuple, flow.orig);
                }
                show(&flow, &message, Some(kind));
            }
            Ok(Some(Event::Expectation(kind, expectation))) => {
                let mut out = Vec::new();
                for printer in printers() {
                    printer.expectation_event(&mut out, &expectation, Some(kind), None);
                }
                control::xml::expectation(&mut out, &expectation);
            }
            Ok(None) | Err(_) => {}
        }
    }
    let mut node = Node::new(Sync::Ftfw);
    node.engine.handle_events(node.now, bytes);
    node.settle();
}

/// A datagram of answers: parts of dumps, verdicts, statistics.
pub fn replies(bytes: &[u8]) {
    for message in messages(bytes).map_while(Result::ok) {
        match read::reply(&message) {
            Ok(Reply::Flow(flow)) => show(&flow, &message, None),
            Ok(Reply::Expectation(expectation)) => {
                let mut out = Vec::new();
                for printer in printers() {
                    printer.expectation(&mut out, &expectation);
                }
                control::dump::kernel_expectation(&mut out, &expectation);
            }
            Ok(_) | Err(_) => {}
        }
        let _ = stats::global(&message);
        let _ = stats::cpu(&message);
        let _ = stats::expectation_cpu(&message);
    }
    let mut node = Node::new(Sync::Ftfw);
    for socket in [KernelSocket::Dump, KernelSocket::Commit] {
        node.engine.handle_kernel_reply(node.now, socket, bytes);
        node.settle();
    }
}
