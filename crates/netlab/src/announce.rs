//! Telling the neighbours that an IPv4 address has moved.
//!
//! IPv6 needs nothing here: the namespaces have `ndisc_notify` set, so the kernel announces each address it is given.

use std::net::Ipv4Addr;

use anyhow::{Context, Result};
use nix::ifaddrs::getifaddrs;
use nix::libc;
use nix::net::if_::if_nametoindex;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::Namespace;

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_ARP: u16 = 0x0806;
const BROADCAST: [u8; 6] = [0xff; 6];

/// Sends a gratuitous ARP request for `addr` on an interface.
///
/// # Errors
/// There is no such interface, or no permission.
pub fn gratuitous_arp(namespace: &Namespace, interface: &str, addr: Ipv4Addr) -> Result<()> {
    namespace.enter(|| {
        let mac = hardware_addr(interface)?;
        let index = if_nametoindex(interface).with_context(|| interface.to_owned())?;
        let protocol = Protocol::from(i32::from(ETHERTYPE_ARP.to_be()));
        let socket = Socket::new(Domain::PACKET, Type::RAW, Some(protocol))?;
        socket.send_to(&frame(mac, addr), &link_addr(index)?)?;
        Ok(())
    })?
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
        for (holder, other) in [(&a, &b), (&b, &a)] {
            // The one that loses the address falls silent, as a dead one would.
            other.set_link("lan", false).unwrap();
            holder.set_link("lan", true).unwrap();
            holder.add_addr("lan", "10.0.0.1/24").unwrap();
            gratuitous_arp(holder, "lan", "10.0.0.1".parse().unwrap()).unwrap();
            c.run("ping -c 1 -W 1 10.0.0.1").unwrap();
        }
    }
}
