//! An entry as a line that can be loaded again.
//!
//! Marks, labels, helpers and translated ports are not part of the format.

use flow::{Flow, ProtoInfo, Status, Tuple, protocol};

use super::{EventKind, text};
use crate::protocol as proto;
use crate::{
    filter::{is_destination_translated, is_source_translated},
    protocol::DCCP_ROLES,
};

/// Appends the line without its end. `event`: what the line has to do when it is loaded.
pub(super) fn flow(out: &mut Vec<u8>, flow: &Flow, event: EventKind) {
    out.extend_from_slice(match event {
        EventKind::New => b"-A",
        EventKind::Update => b"-U",
        EventKind::Destroy => b"-D",
    });
    number(out, " -t ", flow.timeout_s);
    status(out, flow.status_bits());
    let zone = super::plain::ZoneFields::new(flow.zone);
    number(out, " -w ", zone.both);
    number(out, " --orig-zone ", zone.orig);
    number(out, " --reply-zone ", zone.reply);
    let reply = flow.reply_direction();
    let source = if is_source_translated(flow, None) {
        " -n "
    } else {
        " -q "
    };
    let destination = if is_destination_translated(flow, None) {
        " -g "
    } else {
        " -r "
    };
    for (option, addr) in [
        (" -s ", flow.orig.src()),
        (" -d ", flow.orig.dst()),
        (destination, reply.src()),
        (source, reply.dst()),
    ] {
        out.extend_from_slice(option.as_bytes());
        text::address(out, addr);
    }
    out.extend_from_slice(b" -p ");
    match proto::name(flow.orig.proto) {
        Some(name) => out.extend_from_slice(name.as_bytes()),
        None => text::decimal(out, flow.orig.proto),
    }
    ports(out, &flow.orig, &reply);
    state(out, &flow.proto);
}

fn number(out: &mut Vec<u8>, option: &str, number: Option<impl Into<u64>>) {
    if let Some(number) = number {
        out.extend_from_slice(option.as_bytes());
        text::decimal(out, number);
    }
}

fn status(out: &mut Vec<u8>, status: Status) {
    const NAMED: [(Status, &str); 4] = [
        (Status::EXPECTED, "EXPECTED"),
        (Status::SEEN_REPLY, "SEEN_REPLY"),
        (Status::ASSURED, "ASSURED"),
        (Status::FIXED_TIMEOUT, "FIXED_TIMEOUT"),
    ];
    out.extend_from_slice(b" -u ");
    let mut begun = false;
    for (_, name) in NAMED.into_iter().filter(|(bit, _)| status.contains(*bit)) {
        if begun {
            out.push(b',');
        }
        out.extend_from_slice(name.as_bytes());
        begun = true;
    }
    if !begun {
        out.extend_from_slice(b"UNSET");
    }
}

fn ports(out: &mut Vec<u8>, orig: &Tuple, reply: &Tuple) {
    let ports = [orig.sport(), orig.dport(), reply.sport(), reply.dport()];
    match orig.proto {
        protocol::TCP | protocol::UDP | protocol::UDPLITE | protocol::SCTP | protocol::DCCP => {
            let options = [
                " --sport ",
                " --dport ",
                " --reply-port-src ",
                " --reply-port-dst ",
            ];
            for (option, port) in options.into_iter().zip(ports) {
                number(out, option, port);
            }
        }
        protocol::GRE => {
            let options = [
                " --srckey ",
                " --dstkey ",
                " --reply-key-src ",
                " --reply-key-dst ",
            ];
            for (option, key) in options.into_iter().zip(ports) {
                number(out, option, key);
            }
        }
        protocol::ICMP | protocol::ICMPV6 => {
            let (icmp_type, code, id) = super::plain::icmp(orig);
            let options = if orig.proto == protocol::ICMP {
                [" --icmp-type ", " --icmp-code ", " --icmp-id "]
            } else {
                [" --icmpv6-type ", " --icmpv6-code ", " --icmpv6-id "]
            };
            let numbers = [icmp_type.into(), code.into(), id];
            for (option, value) in options.into_iter().zip(numbers) {
                number(out, option, Some(value));
            }
        }
        _ => {}
    }
}

fn state(out: &mut Vec<u8>, proto: &ProtoInfo) {
    if let Some(name) = super::plain::state(proto) {
        out.extend_from_slice(b" --state ");
        out.extend_from_slice(name.as_bytes());
    }
    match proto {
        ProtoInfo::Sctp(sctp) => {
            number(
                out,
                " --orig-vtag ",
                sctp.vtag_orig.map(crate::sctp::vtag_number),
            );
            number(
                out,
                " --reply-vtag ",
                sctp.vtag_reply.map(crate::sctp::vtag_number),
            );
        }
        ProtoInfo::Dccp(dccp) => {
            let role = dccp.role.and_then(|role| DCCP_ROLES.get(usize::from(role)));
            if let Some(role) = role {
                out.extend_from_slice(b" --role ");
                out.extend_from_slice(role.as_bytes());
            }
        }
        ProtoInfo::Tcp(_) | ProtoInfo::None => {}
    }
}
