//! Links between two nodes, and their sections in the configuration.

use netlab::{Lab, Namespace};

/// What a link speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    /// To a group.
    Multicast,
    /// To the peer.
    Udp,
    /// Two connections.
    Tcp,
}

/// Name of a link's interface.
pub(crate) fn interface(link: u8) -> String {
    format!("sync{link}")
}

/// Cables with addresses.
pub(crate) fn lay(lab: &Lab, a: &Namespace, b: &Namespace, links: u8) {
    for link in 0..links {
        let name = interface(link);
        lab.cable((a, &name), (b, &name)).unwrap();
        for (number, namespace) in [(1, a), (2, b)] {
            let [v4, v6] = addrs(link, number);
            namespace.add_addr(&name, &format!("{v4}/24")).unwrap();
            namespace.add_addr(&name, &format!("{v6}/64")).unwrap();
        }
    }
    for namespace in [a, b] {
        namespace
            .nft(
                "table inet untracked {
                    chain in { type filter hook prerouting priority -300; iifname \"sync*\" notrack; }
                    chain out { type filter hook output priority -300; oifname \"sync*\" notrack; }
                }",
            )
            .unwrap();
    }
}

fn addrs(link: u8, node: u8) -> [String; 2] {
    [
        format!("192.168.{}.{node}", 100 + link),
        format!("fdaa:{link}::{node}"),
    ]
}

/// A link's section on node 1 or 2.
pub(crate) fn section(transport: Transport, v6: bool, link: u8, node: u8) -> String {
    let [own_v4, own_v6] = addrs(link, node);
    let [peer_v4, peer_v6] = addrs(link, 3 - node);
    let port = 3780 + u16::from(link);
    let (head, lines) = match (transport, v6) {
        (Transport::Multicast, false) => (
            "Multicast",
            format!(
                "IPv4_address 225.0.0.{}\nGroup {port}\nIPv4_interface {own_v4}",
                50 + link
            ),
        ),
        (Transport::Multicast, true) => (
            "Multicast",
            format!("IPv6_address ff15::{}\nGroup {port}", 50 + link),
        ),
        (Transport::Udp | Transport::Tcp, false) => (
            if transport == Transport::Udp {
                "UDP"
            } else {
                "TCP"
            },
            format!("IPv4_address {own_v4}\nIPv4_Destination_Address {peer_v4}\nPort {port}"),
        ),
        (Transport::Udp | Transport::Tcp, true) => (
            if transport == Transport::Udp {
                "UDP"
            } else {
                "TCP"
            },
            format!("IPv6_address {own_v6}\nIPv6_Destination_Address {peer_v6}\nPort {port}"),
        ),
    };
    let default = if link == 0 { " Default" } else { "" };
    format!(
        "{head}{default} {{\n{lines}\nInterface {}\nSndSocketBuffer 4194304\nRcvSocketBuffer 4194304\nChecksum on\n}}",
        interface(link)
    )
}

/// Counts the datagrams whose first message does not carry HELLO, bit 0x20 of the second byte.
pub(crate) fn watch_greeting(namespace: &Namespace) {
    namespace
        .nft(
            "table inet greeting { chain c { type filter hook input priority -310; \
             iifname \"sync*\" meta l4proto udp @th,72,8 & 0x20 == 0 counter; }; }",
        )
        .unwrap();
}

/// Whether such a datagram came.
pub(crate) fn heard_without_hello(namespace: &Namespace) -> bool {
    let rules = namespace.run("nft list table inet greeting").unwrap();
    !rules.contains("packets 0 ")
}
