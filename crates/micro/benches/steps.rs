//! The steps of an event's way, each by itself, over captured events: `cargo bench -p micro`.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use ctnetlink::{Event, EventKind, Header, emit, messages, parse};
use engine::Mode;
use flow::Flow;
use micro::{FTFW, Node, captured};
use syncwire::{Carrier, Change, EncodeOptions, Flags, Frame, Pushed, Split, encode, split};

criterion_group! {
    name = steps;
    config = Criterion::default()
        .sample_size(30)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = kernel, wire, way
}
criterion_main!(steps);

fn parsed(events: &[&[u8]]) -> Vec<Flow> {
    let messages = events.iter().flat_map(|event| messages(event));
    let flows = messages.map(|message| match parse::event(&message.unwrap()).unwrap() {
        Some(Event::Flow(_, flow)) => flow,
        other => panic!("{other:?}"),
    });
    flows.collect()
}

fn put(buf: &mut Vec<u8>, flow: &Flow) {
    let options = EncodeOptions::default();
    encode::flow(buf, Change::Update, Flags::default(), 7, flow, options);
}

/// The kernel's format.
fn kernel(c: &mut Criterion) {
    let events = captured();
    let flows = parsed(&events);
    let mut group = c.benchmark_group("kernel");
    group.throughput(Throughput::Elements(events.len() as u64));
    group.bench_function("parse", |b| {
        b.iter(|| {
            for event in &events {
                for message in messages(event) {
                    let _ = black_box(parse::event(&message.unwrap()));
                }
            }
        });
    });
    group.bench_function("emit", |b| {
        let mut buf = Vec::with_capacity(4096);
        b.iter(|| {
            for flow in &flows {
                buf.clear();
                emit::flow(&mut buf, Header::flow_event(EventKind::Update, 0), flow);
                black_box(&buf);
            }
        });
    });
    group.finish();
}

/// The peer's format.
fn wire(c: &mut Criterion) {
    let events = captured();
    let flows = parsed(&events);
    let mut group = c.benchmark_group("wire");
    group.throughput(Throughput::Elements(events.len() as u64));
    group.bench_function("encode", |b| {
        let mut buf = Vec::with_capacity(4096);
        b.iter(|| {
            for flow in &flows {
                buf.clear();
                put(&mut buf, flow);
                black_box(&buf);
            }
        });
    });
    group.bench_function("decode", |b| {
        let mut datagram = Vec::new();
        flows.iter().for_each(|flow| put(&mut datagram, flow));
        b.iter(|| {
            let mut rest = datagram.as_slice();
            while let Split::Message(message, next) = split(rest, Carrier::Datagram) {
                black_box(message.packet().unwrap());
                rest = next;
            }
            assert!(rest.is_empty());
        });
    });
    group.bench_function("frame", |b| {
        let mut frame = Frame::new(1472);
        let mut one = Vec::new();
        flows
            .first()
            .into_iter()
            .for_each(|flow| put(&mut one, flow));
        b.iter(|| {
            for _ in &flows {
                if frame.push(|buf| buf.extend_from_slice(&one)) == Pushed::Sealed {
                    black_box(frame.sealed());
                    frame.advance();
                }
            }
        });
    });
    group.finish();
}

/// The caches, and all of it.
fn way(c: &mut Criterion) {
    let events = captured();
    let mut group = c.benchmark_group("way");
    group.throughput(Throughput::Elements(events.len() as u64));
    group.bench_function("parse and cache", |b| {
        let mut node = Node::new(Mode::Statistics);
        b.iter(|| node.pass(&events, |_| ()));
    });
    group.bench_function("parse, cache, encode, frame", |b| {
        let mut node = Node::new(FTFW);
        b.iter(|| node.pass(&events, |datagram| _ = black_box(datagram.len())));
    });
    group.bench_function("decode and cache", |b| {
        let (mut node, mut peer) = (Node::new(FTFW), Node::new(FTFW));
        b.iter_batched(
            || {
                let mut datagrams = Vec::new();
                node.pass(&events, |datagram| datagrams.push(datagram.to_vec()));
                datagrams
            },
            |datagrams| datagrams.iter().for_each(|datagram| peer.receive(datagram)),
            BatchSize::PerIteration,
        );
    });
    group.finish();
}
