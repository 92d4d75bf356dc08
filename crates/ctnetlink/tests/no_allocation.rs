//! Reading an event and writing into a warm buffer allocate nothing.

use std::hint::black_box;

use ctnetlink::{
    Event, EventKind, Header, emit, messages, parse,
    request::{self, Ack, DumpFilter, Write},
};
use flow::{
    Addrs, Counters, Expectation, Flow, HelperName, L4, Labels, Nat, ProtoInfo, SeqAdj, Status,
    Synproxy, Tcp, TcpFlags, TcpState, Timestamp, Tuple, Zone,
};

fn allocations(work: impl FnOnce()) -> u64 {
    allocation_counter::measure(work).count_total
}

fn full_flow() -> Flow {
    let tuple = |src: &str, sport, dst: &str, dport| Tuple {
        addrs: Addrs::new(src.parse().unwrap(), dst.parse().unwrap()).unwrap(),
        proto: 6,
        l4: L4::Ports {
            src: sport,
            dst: dport,
        },
    };
    let shift = Some(SeqAdj {
        correction_pos: 1,
        offset_before: 2,
        offset_after: 3,
    });
    let counters = Some(Counters {
        packets: 4,
        bytes: 5,
    });
    let orig = tuple("2001:db8::1", 1000, "2001:db8::2", 80);
    Flow {
        reply: Some(tuple("fd00::2", 8080, "fd00::1", 4000)),
        zone: Zone { orig: 3, reply: 0 },
        status: Some(Status(0x1be)),
        timeout_s: Some(600),
        mark: Some(7),
        proto: ProtoInfo::Tcp(Tcp {
            state: Some(TcpState::Established),
            wscale_orig: Some(7),
            wscale_reply: Some(7),
            flags_orig: Some(TcpFlags::set(0x0b)),
            flags_reply: Some(TcpFlags::set(0x0b)),
        }),
        master: Some(tuple("2001:db8::1", 1001, "2001:db8::2", 21)),
        nat: Nat {
            src_addr: Some("fd00::1".parse().unwrap()),
            src_port: Some(4000),
            dst_addr: Some("fd00::2".parse().unwrap()),
            dst_port: Some(8080),
        },
        seq_adj_orig: shift,
        seq_adj_reply: shift,
        helper: HelperName::new(b"ftp"),
        labels: Labels::new([1, 2, 3, 4]),
        synproxy: Some(Synproxy {
            isn: 1,
            its: 2,
            tsoff: 3,
        }),
        counters_orig: counters,
        counters_reply: counters,
        timestamp: Some(Timestamp {
            start_ns: 1,
            stop_ns: Some(2),
        }),
        event_time_ns: Some(3),
        id: Some(9),
        use_count: Some(1),
        ..Flow::new(orig)
    }
}

#[test]
fn the_counter_counts() {
    assert_eq!(allocations(|| drop(black_box(Box::new(1)))), 1);
}

#[test]
fn reading_an_event_allocates_nothing() {
    let flow = full_flow();
    let mut bytes = Vec::new();
    emit::flow(&mut bytes, Header::flow_event(EventKind::New, 0), &flow);
    let expectation = Expectation::new(flow.orig, flow.orig, flow.orig);
    let header = Header::expectation_event(EventKind::Destroy, 0);
    emit::expectation(&mut bytes, header, &expectation);
    let (mut events, mut keys) = (0, 0);
    let count = allocations(|| {
        for message in messages(black_box(&bytes)).map(Result::unwrap) {
            match parse::event(&message) {
                Ok(Some(Event::Flow(_, told))) => {
                    assert_eq!(told, flow);
                    events += 1;
                }
                Ok(Some(Event::Expectation(_, told))) => {
                    assert_eq!(told, expectation);
                    events += 1;
                }
                _ => panic!(),
            }
            keys += usize::from(parse::original_tuple(&message).is_ok());
        }
    });
    assert_eq!((events, keys, count), (2, 1, 0));
}

#[test]
fn writing_into_a_warm_buffer_allocates_nothing() {
    let flow = full_flow();
    let expectation = Expectation::new(flow.orig, flow.orig, flow.orig);
    let mut buf = Vec::new();
    let round = |buf: &mut Vec<u8>| {
        buf.clear();
        emit::flow(buf, Header::flow_event(EventKind::New, 0), black_box(&flow));
        request::write_flow(buf, 1, Ack::Wanted, Write::Create, &flow);
        request::write_expectation(buf, 2, Ack::Wanted, Write::Create, &expectation);
        request::delete_flow(buf, 3, Ack::Wanted, &flow.key(), flow.id);
        request::get_flow(buf, 4, Ack::Silent, &flow.key());
        request::dump_flows(buf, 5, &DumpFilter::default());
    };
    let cold = allocations(|| round(&mut buf));
    assert!(cold > 0, "the first round grows the buffer");
    let len = buf.len();
    assert_eq!(allocations(|| round(&mut buf)), 0);
    assert_eq!(buf.len(), len);
}
