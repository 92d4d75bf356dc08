//! The host's network interfaces, read and followed through rtnetlink.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use nix::libc::{
    IFF_RUNNING, IFF_UP, IFLA_IFNAME, IFLA_MTU, MSG_DONTWAIT, NLM_F_DUMP, NLM_F_REQUEST,
    NLMSG_DONE, NLMSG_ERROR, RTM_GETLINK, RTM_NEWLINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR,
    RTMGRP_LINK,
};

/// What is known of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Interface {
    /// Kernel index; another one means another interface of the same name.
    pub(crate) index: u32,
    /// Name.
    pub(crate) name: String,
    /// Bytes of the largest packet, IP header included.
    pub(crate) mtu: u32,
    /// Administratively up.
    pub(crate) up: bool,
    /// Has a carrier.
    pub(crate) running: bool,
}

/// Reads all interfaces.
///
/// # Errors
/// The kernel refused the request or went silent.
pub(crate) fn list() -> io::Result<Vec<Interface>> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    socket.send_to(&request(), &SocketAddr::new(0, 0), 0)?;
    let mut interfaces = Vec::new();
    let mut buffer = Vec::with_capacity(64 * 1024);
    loop {
        buffer.clear();
        socket.recv(&mut buffer, 0)?;
        let mut rest = buffer.as_slice();
        while let Some((kind, payload, next)) = message(rest) {
            rest = next;
            match i32::from(kind) {
                NLMSG_DONE => return Ok(interfaces),
                NLMSG_ERROR => {
                    return Err(io::Error::other("rtnetlink refused to list interfaces"));
                }
                _ if kind == RTM_NEWLINK => interfaces.extend(interface(payload)),
                _ => {}
            }
        }
    }
}

/// RTM_GETLINK as a dump: netlink header, `rtgenmsg` of any family.
fn request() -> Vec<u8> {
    let mut bytes = Vec::with_capacity(20);
    bytes.extend_from_slice(&20u32.to_ne_bytes());
    bytes.extend_from_slice(&RTM_GETLINK.to_ne_bytes());
    bytes.extend_from_slice(
        &u16::try_from(NLM_F_REQUEST | NLM_F_DUMP)
            .unwrap_or(0x301)
            .to_ne_bytes(),
    );
    bytes.extend_from_slice(&[0; 12]);
    bytes
}

/// Splits off the first netlink message: its kind, its payload, the rest.
fn message(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let len = u32::from_ne_bytes(*bytes.first_chunk()?) as usize;
    let kind = u16::from_ne_bytes(*bytes.get(4..)?.first_chunk()?);
    let payload = bytes.get(16..len)?;
    let next = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
    Some((kind, payload, next))
}

/// Reads `ifinfomsg` and the attributes behind it.
fn interface(payload: &[u8]) -> Option<Interface> {
    let index = u32::from_ne_bytes(*payload.get(4..)?.first_chunk()?);
    let flags = u32::from_ne_bytes(*payload.get(8..)?.first_chunk()?);
    let (mut name, mut mtu) = (None, 1500);
    let mut attributes = payload.get(16..)?;
    while let Some((kind, value, next)) = attribute(attributes) {
        attributes = next;
        if kind == IFLA_IFNAME {
            name = value
                .split(|&b| b == 0)
                .next()
                .map(|n| String::from_utf8_lossy(n).into_owned());
        } else if kind == IFLA_MTU {
            mtu = value.first_chunk().map_or(mtu, |v| u32::from_ne_bytes(*v));
        }
    }
    let is_set = |flag: i32| flags & flag.unsigned_abs() != 0;
    Some(Interface {
        index,
        name: name?,
        mtu,
        up: is_set(IFF_UP),
        running: is_set(IFF_RUNNING),
    })
}

fn attribute(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let len = usize::from(u16::from_ne_bytes(*bytes.first_chunk()?));
    let kind = u16::from_ne_bytes(*bytes.get(2..)?.first_chunk()?) & 0x3fff;
    let value = bytes.get(4..len)?;
    Some((
        kind,
        value,
        bytes.get(len.next_multiple_of(4)..).unwrap_or_default(),
    ))
}

/// Becomes readable when an interface or an address changes.
#[derive(Debug)]
pub(crate) struct Watch(Socket);

impl Watch {
    /// Subscribes.
    ///
    /// # Errors
    /// The kernel refused the socket.
    pub(crate) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        let groups = RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR;
        socket.bind(&SocketAddr::new(0, groups.unsigned_abs()))?;
        socket.set_non_blocking(true)?;
        Ok(Self(socket))
    }

    /// Throws away what has arrived: a change is only a reason to look again.
    pub(crate) fn drain(&self) {
        let mut buffer = Vec::with_capacity(16 * 1024);
        loop {
            buffer.clear();
            match self.0.recv(&mut buffer, MSG_DONTWAIT) {
                Ok(_) => {}
                // Lost notifications are as good as received ones.
                Err(error) if error.raw_os_error() == Some(nix::libc::ENOBUFS) => {}
                Err(_) => return,
            }
        }
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_listed() {
        let interfaces = list().unwrap();
        let lo = interfaces
            .iter()
            .find(|i| i.name == "lo")
            .expect("every namespace has lo");
        assert_eq!(lo.index, 1);
        assert!(lo.mtu >= 1280);
    }

    #[test]
    fn cut_messages_end_the_reading_without_harm() {
        let mut bytes = request();
        bytes.truncate(7);
        assert!(message(&bytes).is_none());
        assert!(interface(&[0; 15]).is_none());
        assert!(attribute(&[200, 0, 3, 0]).is_none());
    }
}
