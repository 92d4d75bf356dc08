//! Telling the neighbours that an address has moved.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddrV6};

use anyhow::{Context, Result};
use nix::ifaddrs::getifaddrs;
use nix::libc;
use nix::net::if_::if_nametoindex;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::Namespace;

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_ARP: u16 = 0x0806;
const BROADCAST: [u8; 6] = [0xff; 6];

/// All nodes on the link (RFC 4291).
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// Announces that `addr` lives on this interface now: by gratuitous ARP, or by an unsolicited neighbour advertisement.
///
/// # Errors
/// There is no such interface, or no permission.
pub fn announce(namespace: &Namespace, interface: &str, addr: IpAddr) -> Result<()> {
    namespace.enter(|| {
        let mac = hardware_addr(interface)?;
        let index = if_nametoindex(interface).with_context(|| interface.to_owned())?;
        match addr {
            IpAddr::V4(addr) => gratuitous_arp(mac, index, addr),
            IpAddr::V6(addr) => unsolicited_advertisement(mac, index, addr),
        }
    })?
}

fn gratuitous_arp(mac: [u8; 6], index: u32, addr: Ipv4Addr) -> Result<()> {
    let protocol = Protocol::from(i32::from(ETHERTYPE_ARP.to_be()));
    let socket = Socket::new(Domain::PACKET, Type::RAW, Some(protocol))?;
    socket.send_to(&frame(mac, addr), &link_addr(index)?)?;
    Ok(())
}

fn unsolicited_advertisement(mac: [u8; 6], index: u32, addr: Ipv6Addr) -> Result<()> {
    let socket = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::ICMPV6))?;
    socket.set_multicast_if_v6(index)?;
    // Anything less could come from beyond a router and is ignored (RFC 4861, section 7.1.2).
    socket.set_multicast_hops_v6(255)?;
    socket.bind(&SocketAddrV6::new(addr, 0, 0, 0).into())?;
    let everybody = SocketAddrV6::new(ALL_NODES, 0, 0, index);
    socket.send_to(&advertisement(mac, addr), &everybody.into())?;
    Ok(())
}

/// Neighbour advertisement of RFC 4861, section 4.4, from a router, overriding; the kernel adds the checksum.
fn advertisement(mac: [u8; 6], addr: Ipv6Addr) -> Vec<u8> {
    let mut message = Vec::with_capacity(32);
    message.extend([136, 0, 0, 0]);
    message.extend([0xa0, 0, 0, 0]);
    message.extend(addr.octets());
    message.extend([2, 1]);
    message.extend(mac);
    message
}

fn hardware_addr(interface: &str) -> Result<[u8; 6]> {
    getifaddrs()?
        .filter(|addr| addr.interface_name == interface)
        .find_map(|addr| addr.address?.as_link_addr()?.addr())
        .with_context(|| format!("{interface} has no hardware address"))
}

/// Ethernet and ARP header of RFC 826: sender and target are both the announced address (RFC 5227, section 3).
fn frame(mac: [u8; 6], addr: Ipv4Addr) -> Vec<u8> {
    let mut frame = Vec::with_capacity(42);
    frame.extend(BROADCAST);
    frame.extend(mac);
    frame.extend(ETHERTYPE_ARP.to_be_bytes());
    frame.extend(1_u16.to_be_bytes());
    frame.extend(ETHERTYPE_IPV4.to_be_bytes());
    frame.extend([6, 4]);
    frame.extend(1_u16.to_be_bytes());
    frame.extend(mac);
    frame.extend(addr.octets());
    frame.extend([0; 6]);
    frame.extend(addr.octets());
    frame
}

#[allow(unsafe_code)] // No safe call makes a packet-socket address out of an interface number.
fn link_addr(index: u32) -> Result<SockAddr> {
    // SAFETY: the storage is large and aligned enough for every kind of socket address, and the length is that of
    // the kind that is written.
    let ((), addr) = unsafe {
        SockAddr::try_init(|storage, len| {
            let link = libc::sockaddr_ll {
                sll_family: libc::AF_PACKET as u16,
                sll_protocol: ETHERTYPE_ARP.to_be(),
                sll_ifindex: index as i32,
                sll_hatype: 0,
                sll_pkttype: 0,
                sll_halen: 6,
                sll_addr: [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0],
            };
            storage.cast::<libc::sockaddr_ll>().write(link);
            *len = size_of::<libc::sockaddr_ll>() as u32;
            Ok(())
        })
    }?;
    Ok(addr)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Lab;

    #[test]
    fn a_neighbour_learns_where_an_address_went() {
        crate::require_root_or_skip!();
        let mut lab = Lab::new().unwrap();
        let [a, b, c] = ["a", "b", "c"].map(|role| lab.namespace(role).unwrap());
        lab.switch("lan", &[&a, &b, &c]).unwrap();
        c.add_addr("lan", "10.0.0.9/24").unwrap();
        c.add_addr("lan", "fd00::9/64").unwrap();
        for (holder, other) in [(&a, &b), (&b, &a)] {
            // The one that loses the addresses falls silent, as a dead one would.
            other.set_link("lan", false).unwrap();
            holder.set_link("lan", true).unwrap();
            for (addr, prefix_len) in [("10.0.0.1", 24), ("fd00::1", 64)] {
                holder
                    .add_addr("lan", &format!("{addr}/{prefix_len}"))
                    .unwrap();
                announce(holder, "lan", addr.parse().unwrap()).unwrap();
                c.run(&format!("ping -c 1 -W 1 {addr}")).unwrap();
            }
        }
    }
}
