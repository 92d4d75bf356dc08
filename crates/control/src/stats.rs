//! The pages of `conntrackd -s`.
//!
//! [`page`] picks the blocks that the mode has: both sides present means synchronisation, an internal
//! side alone means statistics mode, neither means that the daemon touches no connection.

use std::time::Duration;

use engine::LinkState;
use engine::Snapshot;
use engine::snapshot::{ExternalStats, InternalStats, QueueStats, ResendElement};

use crate::request::Page;

mod blocks;
mod runtime;

/// Transport of a dedicated link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Unicast UDP.
    Udp,
    /// Multicast UDP.
    Multicast,
    /// TCP.
    Tcp {
        /// The peer is connected to us.
        server_connected: bool,
        /// We are connected to the peer.
        client_connected: bool,
    },
}

/// A dedicated link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkStats<'a> {
    /// Transport.
    pub transport: Transport,
    /// Interface.
    pub interface: &'a str,
    /// Condition of the interface.
    pub state: LinkState,
    /// Payload bytes sent.
    pub sent_bytes: u64,
    /// Payload bytes received.
    pub received_bytes: u64,
    /// Datagrams or pieces of the stream sent.
    pub sent_packets: u64,
    /// Datagrams or pieces of the stream received.
    pub received_packets: u64,
    /// Failed sends.
    pub send_errors: u64,
    /// Failed receives.
    pub receive_errors: u64,
}

/// What the process knows about itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RuntimeStats {
    /// Time since the start, by the wall clock.
    pub uptime: Duration,
    /// Receive buffer of the event socket, bytes.
    pub event_buffer_len: u64,
    /// Children ended by a signal.
    pub child_failed: u64,
    /// ... by a segmentation fault.
    pub child_segfault: u64,
    /// ... by a request to end.
    pub child_terminated: u64,
    /// Failed waits for something to do.
    pub select_failed: u64,
    /// Failed waits for a child.
    pub wait_failed: u64,
    /// Clients that sent no request.
    pub local_read_failed: u64,
    /// Requests of clients that may only look. On no page of text.
    pub local_refused: u64,
    /// Clients that sent an unknown request.
    pub local_unknown_request: u64,
}

/// What a child process or a task in its place does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProcessKind {
    /// A dump.
    Any,
    /// A flush of the kernel's table.
    Flush,
    /// A commit.
    Commit,
    /// Something else.
    Unknown,
}

/// A line of `-s process`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessRow {
    /// Process.
    pub pid: u32,
    /// What it does.
    pub kind: ProcessKind,
}

/// What the core does not know.
#[derive(Clone, Copy, Debug, Default)]
pub struct Shell<'a> {
    /// Links in the order of the configuration; [`Snapshot::active_link`] is an index into it.
    pub links: &'a [LinkStats<'a>],
    /// The process.
    pub runtime: RuntimeStats,
    /// Running children, newest first.
    pub processes: &'a [ProcessRow],
    /// Elements in any queue.
    pub queue_nodes: u64,
    /// What a TCP link could not send yet.
    pub error_queue: QueueStats,
}

/// Appends a page. `resend` are the elements of the resend queue, oldest first; only
/// [`Page::ResendQueue`] takes them.
///
/// Pages that a mode does not have are empty.
pub fn page(
    out: &mut Vec<u8>,
    page: Page,
    snapshot: &Snapshot,
    resend: &mut dyn Iterator<Item = ResendElement>,
    shell: &Shell<'_>,
) {
    match page {
        Page::General => general(out, snapshot, shell),
        Page::Network => network(out, snapshot, shell),
        Page::Cache => cache(out, snapshot),
        Page::Runtime => runtime::runtime(out, &snapshot.kernel, &shell.runtime),
        Page::Link => link(out, snapshot, shell),
        Page::ResendQueue => resend_queue(out, snapshot, resend),
        Page::Process => process(out, shell.processes),
        Page::Queue => queue(out, snapshot, shell),
        Page::Expectations => expectations(out, snapshot, shell),
    }
}

/// The cache sides, as far as the mode has them.
enum Sides<'a> {
    Synchronisation(&'a InternalStats, &'a ExternalStats),
    Statistics(&'a InternalStats),
    Idle,
}

fn sides(snapshot: &Snapshot) -> Sides<'_> {
    match (&snapshot.internal, &snapshot.external) {
        (Some(internal), Some(external)) => Sides::Synchronisation(internal, external),
        (Some(internal), None) => Sides::Statistics(internal),
        (None, _) => Sides::Idle,
    }
}

fn general(out: &mut Vec<u8>, snapshot: &Snapshot, shell: &Shell<'_>) {
    match sides(snapshot) {
        Sides::Synchronisation(internal, external) => {
            synchronisation(out, internal, external, snapshot, shell);
        }
        Sides::Statistics(internal) => {
            blocks::internal_short(out, "stats", internal);
            blocks::traffic(out, &snapshot.kernel);
        }
        Sides::Idle => {}
    }
}

fn expectations(out: &mut Vec<u8>, snapshot: &Snapshot, shell: &Shell<'_>) {
    if let (Some(internal), Some(external)) = (
        &snapshot.internal_expectations,
        &snapshot.external_expectations,
    ) {
        synchronisation(out, internal, external, snapshot, shell);
    }
}

fn synchronisation(
    out: &mut Vec<u8>,
    internal: &InternalStats,
    external: &ExternalStats,
    snapshot: &Snapshot,
    shell: &Shell<'_>,
) {
    blocks::internal_short(out, "internal", internal);
    blocks::external_short(out, external);
    blocks::traffic(out, &snapshot.kernel);
    active_link(out, snapshot, shell);
    blocks::tracking(out, &snapshot.receive);
}

fn active_link(out: &mut Vec<u8>, snapshot: &Snapshot, shell: &Shell<'_>) {
    if let Some(link) = shell.links.get(snapshot.active_link) {
        blocks::active_link(out, link);
    }
}

fn network(out: &mut Vec<u8>, snapshot: &Snapshot, shell: &Shell<'_>) {
    if let Sides::Synchronisation(..) = sides(snapshot) {
        blocks::network(out, &snapshot.receive);
        active_link(out, snapshot, shell);
    }
}

fn cache(out: &mut Vec<u8>, snapshot: &Snapshot) {
    match sides(snapshot) {
        Sides::Synchronisation(internal, external) => {
            blocks::internal_extended(out, "internal", internal);
            blocks::external_extended(out, external);
        }
        Sides::Statistics(internal) => blocks::internal_extended(out, "stats", internal),
        Sides::Idle => {}
    }
}

fn link(out: &mut Vec<u8>, snapshot: &Snapshot, shell: &Shell<'_>) {
    if let Sides::Synchronisation(..) = sides(snapshot) {
        for (index, link) in shell.links.iter().enumerate() {
            blocks::link(out, link, index == snapshot.active_link);
        }
    }
}

fn resend_queue(
    out: &mut Vec<u8>,
    snapshot: &Snapshot,
    elements: &mut dyn Iterator<Item = ResendElement>,
) {
    let Some(queue) = &snapshot.resend_queue else {
        return;
    };
    put!(out, "resent queue (len={})\n", queue.len);
    for element in elements {
        match element {
            ResendElement::Object { seq } => put!(out, "object -> seq:{seq}\n"),
            ResendElement::Control { seq, flags } => {
                put!(out, "control -> seq:{seq} flags:{flags}\n");
            }
        }
    }
}

fn process(out: &mut Vec<u8>, rows: &[ProcessRow]) {
    for row in rows {
        let kind = match row.kind {
            ProcessKind::Any => "any",
            ProcessKind::Flush => "flush",
            ProcessKind::Commit => "commit",
            ProcessKind::Unknown => "unknown",
        };
        put!(out, "PID={} type={kind}\n", row.pid);
    }
}

fn queue(out: &mut Vec<u8>, snapshot: &Snapshot, shell: &Shell<'_>) {
    let Sides::Synchronisation(..) = sides(snapshot) else {
        return;
    };
    put!(
        out,
        "allocated queue nodes:\t\t{:12}\n\n",
        shell.queue_nodes
    );
    blocks::queue(out, "txqueue", &snapshot.tx_queue);
    blocks::queue(out, "errorq", &shell.error_queue);
    if let Some(queue) = &snapshot.resend_queue {
        blocks::queue(out, "rsqueue", queue);
    }
}
