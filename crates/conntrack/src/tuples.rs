//! What is typed of an entry into the tuples that the kernel is told.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use flow::{
    Addrs, Dccp, Expectation, Family, Flow, L4, Labels, Nat, ProtoInfo, Sctp, Status, Tcp,
    TcpFlags, TcpState, Tuple, Zone, protocol,
};
use nix::errno::Errno;

use crate::{
    protocol::{Kind, Protocol},
    request::{Request, Side, StateFields},
    sctp,
};

/// Entries that are made by hand have no known window: do not check sequence numbers.
const TCP_FLAGS: u8 = TcpFlags::SACK_PERM | TcpFlags::BE_LIBERAL;
/// The type that stands for an answer that does not exist; the kernel refuses it.
const NO_ANSWER: u8 = 255;

/// The entry that a request creates.
///
/// # Errors
/// Zones that exclude each other (EINVAL), labels that no entry can have (ERANGE).
pub fn created(request: &Request) -> Result<Flow, Errno> {
    let (orig, reply) = tuples(request).ok_or(Errno::EINVAL)?;
    let mut flow = Flow::new(orig);
    flow.reply = Some(reply);
    flow.zone = zone(request)?;
    flow.status = request.status.map(|words| words.plain | Status::CONFIRMED);
    flow.timeout_s = request.timeout_s;
    flow.mark = request.mark.map(|mark| mark.value);
    flow.proto = request
        .protocol
        .map_or(ProtoInfo::None, |p| proto_info(p.kind, &request.state));
    flow.nat = nat(request);
    if let Some(set) = request.labels.add {
        if set.is_beyond_entries {
            return Err(Errno::ERANGE);
        }
        flow.labels = Labels::new(set.words());
    }
    Ok(flow)
}

/// The original tuple that a request names; `None` when it has no original addresses.
#[must_use]
pub fn original(request: &Request) -> Option<Tuple> {
    let protocol = request.protocol?;
    Some(Tuple {
        addrs: addrs(&request.orig, request.family?)?,
        proto: protocol.number,
        l4: original_l4(request, protocol),
    })
}

fn tuples(request: &Request) -> Option<(Tuple, Tuple)> {
    let protocol = request.protocol?;
    let reply = reply(request, protocol);
    match (original(request), reply) {
        (Some(orig), Some(reply)) => Some((orig, reply)),
        (Some(orig), None) => Some((orig, mirrored(&orig))),
        (None, Some(reply)) => {
            let is_told_from_reply = request.reply.sport.is_some() || request.reply.dport.is_some();
            let orig = Tuple {
                addrs: reply.addrs.swapped(),
                proto: protocol.number,
                l4: if is_told_from_reply {
                    mirrored(&reply).l4
                } else {
                    original_l4(request, protocol)
                },
            };
            Some((orig, mirrored(&orig)))
        }
        (None, None) => None,
    }
}

/// The other direction; protocols of the wrong family have no answers.
fn mirrored(tuple: &Tuple) -> Tuple {
    let mut mirrored = tuple.mirrored();
    let is_icmpv6 = tuple.proto == protocol::ICMPV6;
    if let (
        L4::Icmp {
            icmp_type: asked, ..
        },
        L4::Icmp { icmp_type, .. },
    ) = (tuple.l4, &mut mirrored.l4)
        && (*icmp_type == asked || is_icmpv6 != (tuple.family() == Family::Ipv6))
    {
        *icmp_type = NO_ANSWER;
    }
    mirrored
}

fn unspecified(family: Family) -> IpAddr {
    match family {
        Family::Ipv4 => Ipv4Addr::UNSPECIFIED.into(),
        Family::Ipv6 => Ipv6Addr::UNSPECIFIED.into(),
    }
}

/// Both addresses, what is missing as zeros; `None` when both are missing.
fn addrs(side: &Side, family: Family) -> Option<Addrs> {
    let any = side.src.or(side.dst)?;
    let zero = unspecified(if any.is_ipv4() { Family::Ipv4 } else { family });
    Addrs::new(side.src.unwrap_or(zero), side.dst.unwrap_or(zero))
}

fn has_ports(kind: Kind) -> bool {
    !matches!(kind, Kind::Icmp | Kind::Icmpv6 | Kind::Other)
}

fn ports(side: &Side) -> L4 {
    L4::Ports {
        src: side.sport.unwrap_or(0),
        dst: side.dport.unwrap_or(0),
    }
}

fn original_l4(request: &Request, protocol: Protocol) -> L4 {
    match protocol.kind {
        Kind::Icmp | Kind::Icmpv6 => L4::Icmp {
            id: request.icmp.id.unwrap_or(0),
            icmp_type: request.icmp.icmp_type.unwrap_or(0),
            code: request.icmp.code.unwrap_or(0),
        },
        kind if has_ports(kind) => ports(&request.orig),
        _ => L4::None,
    }
}

fn reply(request: &Request, protocol: Protocol) -> Option<Tuple> {
    let side = &request.reply;
    let addrs = addrs(side, request.family?)?;
    let is_ported = has_ports(protocol.kind);
    let (proto, l4) = if !is_ported {
        let orig = Tuple {
            addrs: addrs.swapped(),
            proto: protocol.number,
            l4: original_l4(request, protocol),
        };
        (protocol.number, mirrored(&orig).l4)
    } else if side.sport.is_some() || side.dport.is_some() {
        (protocol.number, ports(side))
    } else {
        // compat: the kernel refuses it.
        (0, L4::None)
    };
    Some(Tuple { addrs, proto, l4 })
}

fn zone(request: &Request) -> Result<Zone, Errno> {
    let given = |zone: Option<u16>| zone.unwrap_or(0);
    let zones = request.zones;
    match (given(zones.both), given(zones.orig), given(zones.reply)) {
        (both, 0, 0) => Ok(Zone::both(both)),
        (0, orig, 0) => Ok(Zone { orig, reply: 0 }),
        (0, 0, reply) => Ok(Zone { orig: 0, reply }),
        _ => Err(Errno::EINVAL),
    }
}

fn nat(request: &Request) -> Nat {
    let (src, dst) = (request.nat.src.flatten(), request.nat.dst.flatten());
    Nat {
        src_addr: src.map(|target| target.addr),
        src_port: src.and_then(|target| target.port),
        dst_addr: dst.map(|target| target.addr),
        dst_port: dst.and_then(|target| target.port),
    }
}

/// The protocol's part of what is written.
#[must_use]
pub fn proto_info(kind: Kind, fields: &StateFields) -> ProtoInfo {
    match kind {
        Kind::Tcp => {
            let state = fields.state.and_then(TcpState::from_number);
            let is_closing = state.is_some_and(|state| state >= TcpState::TimeWait);
            let closing = if is_closing { TcpFlags::CLOSE_INIT } else { 0 };
            let flags = Some(TcpFlags::set(TCP_FLAGS | closing));
            ProtoInfo::Tcp(Tcp {
                state,
                flags_orig: flags,
                flags_reply: flags,
                ..Tcp::default()
            })
        }
        Kind::Sctp => ProtoInfo::Sctp(Sctp {
            state: fields.state,
            vtag_orig: fields.orig_vtag.map(sctp::vtag),
            vtag_reply: fields.reply_vtag.map(sctp::vtag),
        }),
        Kind::Dccp => ProtoInfo::Dccp(Dccp {
            state: fields.state,
            role: fields.role,
            handshake_seq: None,
        }),
        _ => ProtoInfo::None,
    }
}

/// The expectation that a request names: with all three tuples to create it, else with its own in all places.
#[must_use]
pub fn expectation(request: &Request) -> Option<Expectation> {
    let master = original(request)?;
    if request.command != crate::command::Command::Create {
        return Some(Expectation::new(master, master, master));
    }
    let protocol = request.protocol?;
    let family = request.family?;
    let part = |side: &Side| {
        Some(Tuple {
            addrs: addrs(side, family)?,
            proto: protocol.number,
            l4: match protocol.kind {
                kind if has_ports(kind) => ports(side),
                Kind::Icmp | Kind::Icmpv6 => L4::Icmp {
                    id: 0,
                    icmp_type: 0,
                    code: 0,
                },
                _ => L4::None,
            },
        })
    };
    let mask = Side {
        src: request.src_mask,
        dst: request.dst_mask,
        ..request.expect.mask
    };
    let mut expectation = Expectation::new(master, part(&request.expect.tuple)?, part(&mask)?);
    expectation.timeout_s = request.timeout_s;
    Some(expectation)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::parse;

    fn flow(line: &str) -> Result<Flow, Errno> {
        let words = std::iter::once("conntrack").chain(line.split_whitespace());
        let parsed = parse(words.map(str::to_owned).collect());
        created(&parsed.request.unwrap().unwrap())
    }

    fn told(tuple: &Tuple) -> String {
        let ports = match tuple.l4 {
            L4::None => "-".to_owned(),
            L4::Ports { src, dst } => format!("{src}>{dst}"),
            L4::Icmp {
                id,
                icmp_type,
                code,
            } => format!("{icmp_type}/{code}/{id}"),
        };
        format!("{} {}>{} {ports}", tuple.proto, tuple.src(), tuple.dst())
    }

    fn both(line: &str) -> (String, String) {
        let flow = flow(line).unwrap();
        (told(&flow.orig), told(&flow.reply.unwrap()))
    }

    fn pair(orig: &str, reply: &str) -> (String, String) {
        (orig.to_owned(), reply.to_owned())
    }

    #[test]
    fn a_missing_direction_is_the_mirror_of_the_other() {
        let udp = "-I -p udp -t 60";
        assert_eq!(
            both(&format!("{udp} -s 1.1.1.1 -d 2.2.2.2 --sport 1 --dport 2")),
            pair("17 1.1.1.1>2.2.2.2 1>2", "17 2.2.2.2>1.1.1.1 2>1")
        );
        assert_eq!(
            both(&format!(
                "{udp} -r 2.2.2.2 -q 1.1.1.1 --reply-port-src 2 --reply-port-dst 1"
            )),
            pair("17 1.1.1.1>2.2.2.2 1>2", "17 2.2.2.2>1.1.1.1 2>1")
        );
        assert_eq!(
            both("-I -p icmp -t 60 -s 1.1.1.1 -d 2.2.2.2 --icmp-type 8 --icmp-code 0 --icmp-id 7"),
            pair("1 1.1.1.1>2.2.2.2 8/0/7", "1 2.2.2.2>1.1.1.1 0/0/7")
        );
    }

    #[test]
    fn ports_of_the_original_direction_count_with_addresses_of_the_reply() {
        assert_eq!(
            both("-I -p udp -t 60 -r 2.2.2.2 -q 1.1.1.1 --sport 1 --dport 2"),
            pair("17 1.1.1.1>2.2.2.2 1>2", "17 2.2.2.2>1.1.1.1 2>1")
        );
    }

    #[test]
    fn reply_ports_count_only_with_a_reply_address() {
        let line = "-I -p udp -t 60 -s 1.1.1.1 -d 2.2.2.2 --sport 1 --dport 2 --reply-port-src 7 --reply-port-dst 8";
        assert_eq!(both(line).1, "17 2.2.2.2>1.1.1.1 2>1");
        assert_eq!(
            both(&format!("{line} -r 3.3.3.3 -q 4.4.4.4")).1,
            "17 3.3.3.3>4.4.4.4 7>8"
        );
        assert_eq!(
            both(&format!("{line} -r 3.3.3.3 -n 5.5.5.5")).1,
            "17 3.3.3.3>0.0.0.0 7>8"
        );
    }

    #[test]
    fn half_a_reply_is_left_to_the_kernel_to_refuse() {
        let line = "-I -p udp -t 60 -s 1.1.1.1 -d 2.2.2.2 --sport 1 --dport 2 -r 3.3.3.3";
        assert_eq!(both(line).1, "0 3.3.3.3>0.0.0.0 -");
    }

    #[test]
    fn an_answer_that_does_not_exist_has_an_impossible_type() {
        let icmp = "-t 5 --icmp-type 5 --icmp-code 0 --icmp-id 5";
        assert_eq!(
            both(&format!("-I -s 1.1.1.1 -d 2.2.2.2 -p icmp {icmp}")).1,
            "1 2.2.2.2>1.1.1.1 255/0/5"
        );
        let wrong = "-t 5 --icmp-type 8 --icmp-code 0";
        assert_eq!(
            both(&format!("-I -s ::1 -d ::2 -p icmp {wrong}")).1,
            "1 ::2>::1 255/0/0"
        );
    }

    #[test]
    fn zones_exclude_each_other() {
        let line = "-I -p esp -t 60 -s 1.1.1.1 -d 2.2.2.2";
        let zone = |more: &str| flow(&format!("{line} {more}")).map(|flow| flow.zone);
        assert_eq!(zone("-w 5"), Ok(Zone::both(5)));
        assert_eq!(zone("--reply-zone 6"), Ok(Zone { orig: 0, reply: 6 }));
        assert_eq!(zone("-w 0 --orig-zone 0"), Ok(Zone::default()));
        assert_eq!(zone("-w 5 --orig-zone 6"), Err(Errno::EINVAL));
        assert_eq!(zone("--orig-zone 5 --reply-zone 5"), Err(Errno::EINVAL));
    }

    #[test]
    fn closing_states_say_who_closes() {
        let flags = |state: &str| {
            let line = format!(
                "-I -p tcp -t 60 -s 1.1.1.1 -d 2.2.2.2 --sport 1 --dport 2 --state {state}"
            );
            match flow(&line).unwrap().proto {
                ProtoInfo::Tcp(tcp) => tcp.flags_orig.unwrap().flags,
                _ => panic!(),
            }
        };
        assert_eq!(flags("ESTABLISHED"), 0x0a);
        assert_eq!(flags("LAST_ACK"), 0x0a);
        assert_eq!(flags("TIME_WAIT"), 0x0e);
        assert_eq!(flags("LISTEN"), 0x0e);
    }
}
