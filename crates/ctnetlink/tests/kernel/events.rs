//! Events: kinds, origin, overrun.

use ctnetlink::{
    EventKind,
    request::{self, Ack, DumpFilter, Write},
    socket::{EVENT_BUFFER_LEN, Group, Received},
};
use flow::{Flow, Status};

use crate::lab::{Kernel, drain, in_namespace, listen, udp};

#[test]
fn every_change_is_told_with_the_port_id_of_who_made_it() {
    in_namespace(|kernel| {
        let events = listen(&Group::FLOWS);
        let mut flow = udp(1);
        kernel.create(&flow);
        flow.status = Some(flow.status_bits() | Status::ASSURED);
        let other = Kernel::open();
        assert_eq!(other.write(Write::Update, &flow), Ok(()));
        let deleted = kernel.ask(|buf, seq| {
            request::delete_flow(buf, seq, Ack::Wanted, &flow.key(), None);
        });
        assert_eq!(deleted, Ok(vec![]));

        let heard = drain(&events);
        let (ours, theirs) = (kernel.socket.port_id(), other.socket.port_id());
        assert_ne!(ours, theirs);
        let seen: Vec<_> = heard.iter().map(|h| (h.flow().0, h.port_id)).collect();
        assert_eq!(
            seen,
            [
                (EventKind::New, ours),
                (EventKind::Update, theirs),
                (EventKind::Destroy, ours)
            ]
        );
        for heard in &heard {
            assert_eq!(heard.flow().1.orig, flow.orig);
        }
        let (_, gone) = heard[2].flow();
        assert!(gone.timestamp.unwrap().stop_ns.is_some());
        assert!(gone.counters_orig.is_some());
    });
}

#[test]
fn only_the_groups_joined_are_heard() {
    in_namespace(|kernel| {
        let events = listen(&[Group::FlowNew, Group::FlowDestroy]);
        events.leave(Group::FlowNew).unwrap();
        kernel.create(&udp(1));
        assert!(drain(&events).is_empty());
        let all = DumpFilter::default();
        assert!(
            kernel
                .ask(|buf, seq| request::flush_flows(buf, seq, &all))
                .is_ok()
        );
        assert_eq!(drain(&events).len(), 1);
    });
}

#[test]
fn an_overrun_is_told_once_and_ends_when_everything_is_read() {
    in_namespace(|kernel| {
        let events = listen(&Group::FLOWS);
        let len = events.set_receive_buffer(4096).unwrap();
        assert_eq!(len, events.receive_buffer().unwrap());
        assert!(len <= 8192, "{len}");
        for port in 1..=200 {
            kernel.create(&udp(port));
        }
        let mut buf = vec![0; EVENT_BUFFER_LEN];
        let (mut read, mut overruns) = (0, 0);
        loop {
            match events.receive(&mut buf).unwrap() {
                Received::Data(_) => read += 1,
                Received::Overrun => overruns += 1,
                Received::WouldBlock => break,
            }
        }
        assert!((1..200).contains(&read), "{read}");
        assert_eq!(overruns, 1);
        kernel.create(&udp(201));
        assert_eq!(drain(&events).len(), 1);
    });
}

#[test]
fn an_overrun_can_be_kept_silent() {
    in_namespace(|kernel| {
        let events = listen(&Group::FLOWS);
        events.set_receive_buffer(4096).unwrap();
        events.set_no_enobufs(true).unwrap();
        for port in 1..=200 {
            kernel.create(&udp(port));
        }
        let mut buf = vec![0; EVENT_BUFFER_LEN];
        let mut last = events.receive(&mut buf).unwrap();
        while let Received::Data(_) = last {
            last = events.receive(&mut buf).unwrap();
        }
        assert_eq!(last, Received::WouldBlock);
    });
}

#[test]
fn no_destroy_is_lost_when_broadcast_errors_are_wanted() {
    in_namespace(|kernel| {
        for port in 1..=100 {
            kernel.create(&udp(port));
        }
        let events = listen(&[Group::FlowDestroy]);
        events.set_receive_buffer(4096).unwrap();
        events.set_no_enobufs(true).unwrap();
        events.set_broadcast_error(true).unwrap();
        let all = DumpFilter::default();
        assert!(
            kernel
                .ask(|buf, seq| request::flush_flows(buf, seq, &all))
                .is_ok()
        );
        let mut gone = 0;
        for _ in 0..400 {
            gone += drain(&events).len();
            if gone >= 100 {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        assert_eq!(gone, 100);
    });
}

#[test]
fn event_times_are_told_when_timestamps_are_on() {
    in_namespace(|kernel| {
        let events = listen(&Group::FLOWS);
        kernel.create(&Flow {
            mark: Some(3),
            ..udp(1)
        });
        let heard = drain(&events);
        let (_, flow) = heard[0].flow();
        assert_eq!(flow.mark, Some(3));
        // Linux 6.14 and later.
        match flow.event_time_ns {
            Some(time_ns) => assert!(time_ns >= flow.timestamp.map_or(0, |t| t.start_ns)),
            None => println!("skipped: this kernel does not time its events"),
        }
    });
}
