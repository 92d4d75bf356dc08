//! A fresh network namespace and the requests that tests make in it.

use std::{
    cell::Cell,
    process::{Command, Stdio},
    thread,
};

use ctnetlink::{
    Event, EventKind, Reply, messages, parse,
    request::{self, Ack, DumpFilter, Write},
    socket::{EVENT_BUFFER_LEN, EventSocket, Group, Received, RequestSocket},
};
use flow::{Addrs, Expectation, Flow, Key, L4, Status, Tuple, protocol};
use nix::sched::{CloneFlags, unshare};

/// Runs `test` on a thread that has moved into a new network namespace. The namespace ends with it.
pub(crate) fn in_namespace(test: impl FnOnce(&Kernel) + Send + 'static) {
    let thread = thread::spawn(move || {
        if let Err(errno) = unshare(CloneFlags::CLONE_NEWNET) {
            println!("skipped: no new network namespace: {errno}");
            return;
        }
        for (name, value) in [("acct", "1"), ("timestamp", "1"), ("events", "1")] {
            sysctl(name, value);
        }
        test(&Kernel::open());
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

fn sysctl(name: &str, value: &str) {
    let path = format!("/proc/sys/net/netfilter/nf_conntrack_{name}");
    if let Err(error) = std::fs::write(&path, value) {
        println!("{path}: {error}");
    }
}

/// Loads a rule set; `false`, with a word why, when that is not possible here.
pub(crate) fn nft(rules: &str) -> bool {
    let status = Command::new("nft")
        .arg(rules)
        .stdout(Stdio::null())
        .status();
    match status {
        Ok(status) if status.success() => true,
        other => {
            println!("skipped: nft: {other:?}");
            false
        }
    }
}

/// Requests and their answers; errors are positive errnos.
pub(crate) struct Kernel {
    pub socket: RequestSocket,
    seq: Cell<u32>,
}

impl Kernel {
    pub(crate) fn open() -> Self {
        Self {
            socket: RequestSocket::open().unwrap(),
            seq: Cell::new(1),
        }
    }

    /// One request until its end; the answers on the way.
    pub(crate) fn ask(&self, build: impl FnOnce(&mut Vec<u8>, u32)) -> Result<Vec<Reply>, i32> {
        let seq = self.seq.replace(self.seq.get() + 1);
        let mut buf = Vec::new();
        build(&mut buf, seq);
        let mut replies = Vec::new();
        self.socket
            .transact(&buf, |message| {
                replies.push(parse::reply(message).unwrap());
                Ok(())
            })
            .map_err(|error| error.raw_os_error().unwrap_or(-1))?;
        Ok(replies)
    }

    pub(crate) fn write(&self, how: Write, flow: &Flow) -> Result<(), i32> {
        self.ask(|buf, seq| request::write_flow(buf, seq, Ack::Wanted, how, flow))
            .map(|_| ())
    }

    pub(crate) fn create(&self, flow: &Flow) {
        assert_eq!(self.write(Write::Create, flow), Ok(()), "{flow:?}");
    }

    pub(crate) fn find(&self, key: &Key) -> Option<Flow> {
        let replies = self.ask(|buf, seq| request::get_flow(buf, seq, Ack::Wanted, key));
        match replies.as_deref() {
            Ok([Reply::Flow(flow)]) => Some(*flow),
            Err(2) => None,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn dump(&self, filter: &DumpFilter) -> Vec<Flow> {
        self.try_dump(filter).unwrap()
    }

    pub(crate) fn try_dump(&self, filter: &DumpFilter) -> Result<Vec<Flow>, i32> {
        let replies = self.ask(|buf, seq| request::dump_flows(buf, seq, filter))?;
        Ok(flows(&replies))
    }

    pub(crate) fn expectations(&self) -> Vec<Expectation> {
        let replies = self
            .ask(|buf, seq| request::dump_expectations(buf, seq, None))
            .unwrap();
        replies
            .iter()
            .map(|reply| match reply {
                Reply::Expectation(expectation) => *expectation,
                other => panic!("{other:?}"),
            })
            .collect()
    }
}

pub(crate) fn flows(replies: &[Reply]) -> Vec<Flow> {
    replies
        .iter()
        .map(|reply| match reply {
            Reply::Flow(flow) => *flow,
            other => panic!("{other:?}"),
        })
        .collect()
}

/// An event with the port id that caused it and its bytes.
pub(crate) struct Heard {
    pub event: Event,
    pub port_id: u32,
    pub bytes: Vec<u8>,
}

impl Heard {
    pub(crate) fn flow(&self) -> (EventKind, Flow) {
        match self.event {
            Event::Flow(kind, flow) => (kind, flow),
            other => panic!("{other:?}"),
        }
    }
}

pub(crate) fn listen(groups: &[Group]) -> EventSocket {
    let socket = EventSocket::open().unwrap();
    for &group in groups {
        socket.join(group).unwrap();
    }
    socket
}

/// Everything that is queued.
pub(crate) fn drain(socket: &EventSocket) -> Vec<Heard> {
    let mut buf = vec![0; EVENT_BUFFER_LEN];
    let mut heard = Vec::new();
    while let Received::Data(len) = socket.receive(&mut buf).unwrap() {
        for message in messages(&buf[..len]) {
            let message = message.unwrap();
            heard.push(Heard {
                event: parse::event(&message).unwrap().unwrap(),
                port_id: message.header.port_id,
                bytes: buf[..len].to_vec(),
            });
        }
    }
    heard
}

pub(crate) fn tuple(proto: u8, src: &str, sport: u16, dst: &str, dport: u16) -> Tuple {
    Tuple {
        addrs: Addrs::new(src.parse().unwrap(), dst.parse().unwrap()).unwrap(),
        proto,
        l4: L4::Ports {
            src: sport,
            dst: dport,
        },
    }
}

pub(crate) fn udp(sport: u16) -> Flow {
    new_flow(tuple(protocol::UDP, "10.0.0.1", sport, "10.0.0.2", 53))
}

pub(crate) fn tcp(sport: u16) -> Flow {
    new_flow(tuple(protocol::TCP, "10.0.0.1", sport, "10.0.0.2", 80))
}

/// The least the kernel takes.
pub(crate) fn new_flow(orig: Tuple) -> Flow {
    Flow {
        status: Some(Status::CONFIRMED | Status::SEEN_REPLY),
        timeout_s: Some(600),
        ..Flow::new(orig)
    }
}
