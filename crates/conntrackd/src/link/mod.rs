//! Dedicated links: sockets between this node and its peer.
//!
//! A link opens when its interface is there, is closed when it goes, and is opened again when it
//! comes back. Sending never waits.

mod datagram;
mod stream;

use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};

pub(crate) use datagram::DatagramLink;
pub(crate) use stream::StreamLink;

/// What has passed over a link.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Traffic {
    pub(crate) sent_bytes: u64,
    pub(crate) sent_packets: u64,
    pub(crate) send_errors: u64,
    pub(crate) received_bytes: u64,
    pub(crate) received_packets: u64,
    pub(crate) receive_errors: u64,
}

impl Traffic {
    /// Counts the outcome of a send.
    pub(crate) fn sent(&mut self, outcome: &io::Result<usize>) {
        match outcome {
            Ok(len) => {
                self.sent_bytes += *len as u64;
                self.sent_packets += 1;
            }
            Err(_) => self.send_errors += 1,
        }
    }

    /// Counts something received.
    pub(crate) fn received(&mut self, len: usize) {
        self.received_bytes += len as u64;
        self.received_packets += 1;
    }
}

/// Addresses and socket options of a link, taken from the configuration.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    pub(crate) kind: Kind,
    pub(crate) interface: String,
    pub(crate) port: u16,
    /// Used first.
    pub(crate) default: bool,
    pub(crate) send_buffer: Option<usize>,
    pub(crate) receive_buffer: Option<usize>,
    pub(crate) checksum: bool,
}

/// How two nodes reach each other.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// A group both have joined; `source` is the IPv4 address of the interface.
    Multicast {
        group: IpAddr,
        source: Option<IpAddr>,
    },
    /// Two addresses, datagrams.
    Udp {
        local: Option<IpAddr>,
        peer: Option<IpAddr>,
    },
    /// Two addresses, one connection in each direction.
    Tcp {
        local: Option<IpAddr>,
        peer: Option<IpAddr>,
        queue_max: usize,
    },
}

impl Endpoint {
    /// Whether messages travel in a stream.
    pub(crate) fn is_stream(&self) -> bool {
        matches!(self.kind, Kind::Tcp { .. })
    }

    /// Bytes of IP and transport headers that the original allows for, over IPv6 too.
    pub(crate) fn header_len(&self) -> u32 {
        if self.is_stream() { 40 } else { 28 }
    }
}

/// The socket address; on IPv6 with the interface as its scope, which link-local addresses need.
fn with_scope(address: IpAddr, port: u16, interface_index: u32) -> SocketAddr {
    match address {
        IpAddr::V4(_) => SocketAddr::new(address, port),
        IpAddr::V6(v6) => SocketAddrV6::new(v6, port, 0, interface_index).into(),
    }
}

/// Forces a buffer size past the limits for ordinary users, which needs `CAP_NET_ADMIN`; without the
/// capability the system's limit holds.
fn force_buffers(socket: &socket2::Socket, endpoint: &Endpoint) {
    use nix::sys::socket::{setsockopt, sockopt};
    if let Some(len) = endpoint.send_buffer
        && setsockopt(socket, sockopt::SndBufForce, &len).is_err()
    {
        let _ = socket.set_send_buffer_size(len);
    }
    if let Some(len) = endpoint.receive_buffer
        && setsockopt(socket, sockopt::RcvBufForce, &len).is_err()
    {
        let _ = socket.set_recv_buffer_size(len);
    }
}
