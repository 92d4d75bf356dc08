//! Names of numbers, as all tools print them.

use flow::{Family, ProtoInfo, TcpState, protocol};

/// Name of a transport protocol; `unknown` for those without a printer of their own.
pub(crate) fn protocol_name(proto: u8) -> &'static str {
    match proto {
        protocol::ICMP => "icmp",
        protocol::TCP => "tcp",
        protocol::UDP => "udp",
        protocol::DCCP => "dccp",
        protocol::GRE => "gre",
        protocol::ICMPV6 => "icmpv6",
        protocol::SCTP => "sctp",
        protocol::UDPLITE => "udplite",
        _ => "unknown",
    }
}

/// What tells connections of a protocol apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layer4 {
    None,
    Ports,
    Keys,
    Icmp,
}

/// What tells connections of this protocol apart.
pub(crate) fn protocol_layer4(proto: u8) -> Layer4 {
    match proto {
        protocol::TCP | protocol::UDP | protocol::UDPLITE | protocol::SCTP | protocol::DCCP => {
            Layer4::Ports
        }
        protocol::GRE => Layer4::Keys,
        protocol::ICMP | protocol::ICMPV6 => Layer4::Icmp,
        _ => Layer4::None,
    }
}

/// Name of an address family.
pub(crate) fn family_name(family: Family) -> &'static str {
    match family {
        Family::Ipv4 => "ipv4",
        Family::Ipv6 => "ipv6",
    }
}

/// Name of the transport protocol's state, where there is one.
pub(crate) fn state_name(proto: &ProtoInfo) -> Option<&'static str> {
    match proto {
        ProtoInfo::None => None,
        ProtoInfo::Tcp(tcp) => tcp.state.map(TcpState::name),
        ProtoInfo::Sctp(sctp) => SCTP_STATES.get(usize::from(sctp.state?)).copied(),
        ProtoInfo::Dccp(dccp) => DCCP_STATES.get(usize::from(dccp.state?)).copied(),
    }
}

const SCTP_STATES: [&str; 10] = [
    "NONE",
    "CLOSED",
    "COOKIE_WAIT",
    "COOKIE_ECHOED",
    "ESTABLISHED",
    "SHUTDOWN_SENT",
    "SHUTDOWN_RECD",
    "SHUTDOWN_ACK_SENT",
    "HEARTBEAT_SENT",
    "HEARTBEAT_ACKED",
];

const DCCP_STATES: [&str; 10] = [
    "NONE", "REQUEST", "RESPOND", "PARTOPEN", "OPEN", "CLOSEREQ", "CLOSING", "TIMEWAIT", "IGNORE",
    "INVALID",
];
