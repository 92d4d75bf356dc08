//! Multicast and unicast UDP.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use nix::{libc, setsockopt_impl, sockopt_impl};
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, Socket, Type};
use tokio::net::UdpSocket;

use super::{Endpoint, Kind, force_buffers, with_scope};

/// An open link: one socket to send on, one to receive from.
#[derive(Debug)]
pub(crate) struct DatagramLink {
    /// Not the runtime's: that one asks its own record of readiness first, which says no until the first turn.
    sender: std::net::UdpSocket,
    /// Shared with the task that waits for datagrams.
    pub(crate) receiver: std::rc::Rc<UdpSocket>,
    /// Index of the interface it was opened on.
    pub(crate) interface_index: u32,
    /// Bytes of the receiver's buffer.
    pub(crate) buffer_len: usize,
}

impl DatagramLink {
    /// Opens both sockets.
    ///
    /// # Errors
    /// An address is not ours, the group is none, the interface has gone, …
    pub(crate) fn open(endpoint: &Endpoint, interface_index: u32) -> io::Result<Self> {
        let (sender, receiver) = match endpoint.kind {
            Kind::Multicast { group, source } => {
                multicast(endpoint, group, source, interface_index)?
            }
            Kind::Udp { local, peer } => unicast(endpoint, local, peer, interface_index)?,
            Kind::Tcp { .. } => return Err(io::ErrorKind::Unsupported.into()),
        };
        sender.set_nonblocking(true)?;
        receiver.set_nonblocking(true)?;
        let buffer_len = receiver.recv_buffer_size()?;
        Ok(Self {
            sender: sender.into(),
            receiver: std::rc::Rc::new(UdpSocket::from_std(receiver.into())?),
            interface_index,
            buffer_len,
        })
    }

    /// Sends one datagram, or says at once why not.
    pub(crate) fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        // A pending error of an earlier datagram (the peer's port is closed) is told by the next call
        // and must not cost this one.
        match self.sender.send(bytes) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                self.sender.send(bytes)
            }
            outcome => outcome,
        }
    }
}

fn new_socket(address: IpAddr) -> io::Result<Socket> {
    Socket::new(
        Domain::for_address(SocketAddr::new(address, 0)),
        Type::DGRAM,
        Some(Protocol::UDP),
    )
}

fn multicast(
    endpoint: &Endpoint,
    group: IpAddr,
    source: Option<IpAddr>,
    index: u32,
) -> io::Result<(Socket, Socket)> {
    if !group.is_multicast() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{group} is no group"),
        ));
    }
    let receiver = new_socket(group)?;
    receiver.set_reuse_address(true)?;
    // Bound to the group and the interface, so that neither other groups on the port nor other
    // interfaces are heard.
    receiver.bind_device(Some(endpoint.interface.as_bytes()))?;
    let sender = new_socket(group)?;
    sender.bind_device(Some(endpoint.interface.as_bytes()))?;
    match group {
        IpAddr::V4(group) => {
            receiver.bind(&SocketAddr::new(group.into(), endpoint.port).into())?;
            receiver.set_multicast_all_v4(false)?;
            receiver.join_multicast_v4_n(&group, &InterfaceIndexOrAddress::Index(index))?;
            if let Some(IpAddr::V4(source)) = source {
                sender.set_multicast_if_v4(&source)?;
            }
            sender.set_multicast_loop_v4(false)?;
            sender.connect(&SocketAddr::new(group.into(), endpoint.port).into())?;
        }
        IpAddr::V6(group) => {
            receiver.set_only_v6(true)?;
            receiver.bind(&with_scope(group.into(), endpoint.port, index).into())?;
            receiver.set_multicast_all_v6(false)?;
            receiver.join_multicast_v6(&group, index)?;
            sender.set_multicast_if_v6(index)?;
            sender.set_multicast_loop_v6(false)?;
            sender.connect(&with_scope(group.into(), endpoint.port, index).into())?;
        }
    }
    finish(endpoint, sender, receiver)
}

fn unicast(
    endpoint: &Endpoint,
    local: Option<IpAddr>,
    peer: Option<IpAddr>,
    index: u32,
) -> io::Result<(Socket, Socket)> {
    let peer = peer.ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            "no address of the peer is configured",
        )
    })?;
    let local = local.unwrap_or(match peer {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    });
    let receiver = new_socket(local)?;
    receiver.set_reuse_address(true)?;
    if local.is_ipv6() {
        receiver.set_only_v6(true)?;
    }
    receiver.bind(&with_scope(local, endpoint.port, index).into())?;
    let sender = new_socket(peer)?;
    sender.connect(&with_scope(peer, endpoint.port, index).into())?;
    finish(endpoint, sender, receiver)
}

sockopt_impl!(
    /// `SO_NO_CHECK`: send datagrams without a checksum.
    NoChecksum,
    SetOnly,
    libc::SOL_SOCKET,
    libc::SO_NO_CHECK,
    bool
);

fn finish(endpoint: &Endpoint, sender: Socket, receiver: Socket) -> io::Result<(Socket, Socket)> {
    force_buffers(&sender, endpoint);
    force_buffers(&receiver, endpoint);
    if !endpoint.checksum {
        nix::sys::socket::setsockopt(&sender, NoChecksum, &true).map_err(io::Error::from)?;
    }
    Ok((sender, receiver))
}
