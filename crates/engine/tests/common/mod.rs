//! Engines driven by hand: events of a kernel in, datagrams out.
#![allow(clippy::disallowed_methods, reason = "a test may start anywhere")]
#![allow(dead_code, reason = "each test uses its part")]

use std::time::{Duration, Instant};

use ctnetlink::{EventKind, Header, Message, emit, messages};
use engine::api::{ExpectationSync, ExternalMode, InternalMode, LinkSettings, Settings};
use engine::{
    ClientId, Engine, KernelSocket, LinkId, Mode, Notice, Origins, Outcome, Output, Start,
};
use flow::{Addrs, Flow, FlowFilter, L4, ProtoInfo, Status, Tcp, TcpState, Tuple};
use syncwire::{Carrier, Flags, Kind, Split, encode, split};

pub(crate) const FTFW: Mode = Mode::Ftfw {
    resend_queue_len: 131_072,
    ack_window: 300,
};

pub(crate) const ORIGINS: Origins = Origins {
    commit: 1001,
    inject: 1002,
    flush: 1003,
};

pub(crate) const LINK: LinkId = LinkId(0);

pub(crate) fn settings(mode: Mode) -> Settings {
    Settings {
        mode,
        internal: InternalMode::Cache,
        external: ExternalMode::Cache,
        links: vec![LinkSettings {
            payload_len: 1472,
            default: true,
        }],
        native: engine::api::NativeSettings::default(),
        standby: engine::api::StandbySettings::default(),
        commit_timeout_s: None,
        purge_timeout: Duration::from_secs(60),
        startup_resync: false,
        tcp_window_tracking: false,
        expectation_sync: ExpectationSync::Off,
        cache_limit: 262_144,
        policy: engine::api::PolicySettings::default(),
        filter: FlowFilter::default(),
        overrun_resync: Some(Duration::from_secs(30)),
        poll: None,
    }
}

/// A node with what it wants done written down.
pub(crate) struct Node {
    pub(crate) engine: Engine,
    pub(crate) now: Instant,
    pub(crate) notices: Vec<Notice>,
    pub(crate) kernel: Vec<Vec<u8>>,
    pub(crate) done: Vec<(ClientId, Outcome)>,
}

/// A message, as far as tests look at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) kind: Kind,
    pub(crate) flags: u8,
    pub(crate) seq: u32,
    pub(crate) range: Option<(u32, u32)>,
}

/// How every node starts.
pub(crate) fn start(now: Instant) -> Start {
    Start {
        now,
        unix_time_s: 1000,
        seed: 7,
        origins: ORIGINS,
    }
}

impl Node {
    pub(crate) fn new(settings: Settings) -> Self {
        let now = Instant::now();
        let mut node = Self {
            engine: Engine::new(settings, start(now)),
            now,
            notices: Vec::new(),
            kernel: Vec::new(),
            done: Vec::new(),
        };
        node.datagrams();
        // The first reading finds an empty table.
        let mut done = Vec::new();
        emit::done(&mut done, 1, 0, 0);
        node.engine
            .handle_kernel_reply(now, KernelSocket::Dump, &done);
        node.datagrams();
        node
    }

    /// Everything the node wants sent now.
    pub(crate) fn datagrams(&mut self) -> Vec<Vec<u8>> {
        let mut sent = Vec::new();
        while let Some(output) = self.engine.poll_output() {
            match output {
                Output::Transmit { bytes, .. } => sent.push(bytes.to_vec()),
                Output::Notice(notice) => self.notices.push(notice),
                Output::Kernel { bytes, .. } => self.kernel.push(bytes.to_vec()),
                Output::Done { client, outcome } => self.done.push((client, outcome)),
                Output::FlowEnded(_) | Output::Stream { .. } | Output::ClosePeer(_) => {}
            }
        }
        sent
    }

    /// The messages the node wants sent now.
    pub(crate) fn messages(&mut self) -> Vec<Seen> {
        self.datagrams()
            .iter()
            .flat_map(|datagram| seen(datagram))
            .collect()
    }

    pub(crate) fn wait(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(at) = self.engine.poll_timeout().filter(|&at| at <= until) {
            self.now = self.now.max(at);
            self.engine.handle_timeout(self.now);
            if self.engine.poll_timeout().is_some_and(|next| next <= at) {
                break;
            }
        }
        self.now = until;
    }

    pub(crate) fn event(&mut self, kind: EventKind, port_id: u32, flow: &Flow) {
        let mut bytes = Vec::new();
        emit::flow(&mut bytes, Header::flow_event(kind, port_id), flow);
        self.engine.handle_events(self.now, &bytes);
    }

    pub(crate) fn receive(&mut self, datagram: &[u8]) {
        self.engine.handle_datagram(self.now, LINK, datagram);
    }

    /// Receives a control message.
    pub(crate) fn control(&mut self, flags: u8, seq: u32, from: u32, to: u32) {
        let mut bytes = Vec::new();
        encode::control(&mut bytes, Flags(flags), seq, from, to);
        self.receive(&bytes);
    }

    /// Receives a data message about the `n`th connection.
    pub(crate) fn data(&mut self, change: syncwire::Change, flags: u8, seq: u32, n: u16) {
        let mut bytes = Vec::new();
        let options = syncwire::EncodeOptions::default();
        encode::flow(&mut bytes, change, Flags(flags), seq, &flow(n), options);
        self.receive(&bytes);
    }

    pub(crate) fn external(&self) -> u64 {
        match self.engine.snapshot().external {
            Some(engine::snapshot::ExternalStats::Cache(stats)) => stats.active,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn internal(&self) -> u64 {
        match self.engine.snapshot().internal {
            Some(engine::snapshot::InternalStats::Cache(stats)) => stats.active,
            other => panic!("{other:?}"),
        }
    }
}

pub(crate) fn seen(datagram: &[u8]) -> Vec<Seen> {
    let mut found = Vec::new();
    let mut rest = datagram;
    while let Split::Message(message, next) = split(rest, Carrier::Datagram) {
        found.push(Seen {
            kind: message.kind().unwrap(),
            flags: message.flags.0,
            seq: message.seq,
            range: message
                .range()
                .filter(|_| message.kind() == Some(Kind::Control)),
        });
        rest = next;
    }
    assert!(rest.is_empty());
    found
}

pub(crate) fn flow(n: u16) -> Flow {
    let addrs = Addrs::new("10.1.0.2".parse().unwrap(), "10.2.0.2".parse().unwrap()).unwrap();
    let l4 = L4::Ports { src: n, dst: 80 };
    let mut flow = Flow::new(Tuple {
        addrs,
        proto: 6,
        l4,
    });
    flow.reply = Some(flow.orig.mirrored());
    flow.status = Some(Status::CONFIRMED);
    flow.timeout_s = Some(60);
    flow.id = Some(u32::from(n) + 1);
    flow.proto = ProtoInfo::Tcp(Tcp {
        state: Some(TcpState::SynSent),
        ..Tcp::default()
    });
    flow
}

/// What the kernel was asked, message by message.
pub(crate) fn requests(batch: &[u8]) -> Vec<(u16, u32)> {
    messages(batch)
        .map(|m| {
            m.map(|m: Message<'_>| (m.header.kind, m.header.seq))
                .unwrap()
        })
        .collect()
}

pub(crate) fn answer(node: &mut Node, socket: KernelSocket, seq: u32, errno: i32) {
    let mut bytes = Vec::new();
    emit::verdict(&mut bytes, seq, 0, errno);
    node.engine.handle_kernel_reply(node.now, socket, &bytes);
}
