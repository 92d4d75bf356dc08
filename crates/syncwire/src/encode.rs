//! Messages into bytes, attributes in the original's order.

use std::net::IpAddr;

use flow::{Addrs, ExpectNat, Expectation, Family, Flow, L4, ProtoInfo, Tuple, protocol};

use crate::attr::{expectation as xnr, flow as nr};
use crate::message::{Body, Change, Flags, HEADER_LEN, Kind, Packet, RANGE_LEN, VERSION};

/// Longest message about a connection: every attribute at its largest.
pub const FLOW_LEN_MAX: usize = 304;

/// Longest message about an expectation.
pub const EXPECTATION_LEN_MAX: usize = 260;

/// Longest names that the original's receiver takes, without NUL.
const HELPER_LEN_MAX: usize = 11;
const FUNCTION_LEN_MAX: usize = 27;

/// What entries are written without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EncodeOptions {
    /// Send the remaining timeout (not with `CommitTimeout`).
    pub timeout: bool,
    /// Send TCP window scales (`TCPWindowTracking`).
    pub window_scale: bool,
}

impl Default for EncodeOptions {
    fn default() -> Self {
        Self {
            timeout: true,
            window_scale: false,
        }
    }
}

/// Appends a message.
pub fn packet(buf: &mut Vec<u8>, packet: &Packet, options: EncodeOptions) {
    let Packet { seq, flags, body } = packet;
    match body {
        Body::Flow(change, entry) => flow(buf, *change, *flags, *seq, entry, options),
        Body::Expectation(change, entry) => {
            expectation(buf, *change, *flags, *seq, entry, options);
        }
        Body::Control { from, to } => control(buf, *flags, *seq, *from, *to),
    }
}

/// Appends a message about a connection.
pub fn flow(
    buf: &mut Vec<u8>,
    change: Change,
    flags: Flags,
    seq: u32,
    flow: &Flow,
    options: EncodeOptions,
) {
    let start = header(buf, Kind::Flow(change), flags, seq);
    addrs(buf, nr::IPV4, nr::IPV6, &flow.orig.addrs);
    put(buf, nr::STATUS, flow.status_bits().0.to_be_bytes());
    put(buf, nr::L4PROTO, [flow.orig.proto]);
    layer4(buf, flow, options);
    if let Some(timeout_s) = flow.timeout_s
        && options.timeout
    {
        put(buf, nr::TIMEOUT, timeout_s.to_be_bytes());
    }
    if let Some(mark) = flow.mark {
        put(buf, nr::MARK, mark.to_be_bytes());
    }
    if let Some(master) = &flow.master {
        addrs(buf, nr::MASTER_IPV4, nr::MASTER_IPV6, &master.addrs);
        put(buf, nr::MASTER_L4PROTO, [master.proto]);
        ports(buf, nr::MASTER_PORT, master.l4);
    }
    translation(buf, flow);
    if let (Some(orig), Some(reply)) = (flow.seq_adj_orig, flow.seq_adj_reply) {
        let words = [
            orig.correction_pos,
            orig.offset_before,
            orig.offset_after,
            reply.correction_pos,
            reply.offset_before,
            reply.offset_after,
        ];
        put_words(buf, nr::NAT_SEQ_ADJ, &words);
    }
    if let Some(helper) = &flow.helper {
        put_name(buf, nr::HELPER_NAME, helper.as_bytes(), HELPER_LEN_MAX);
    }
    if let Some(labels) = &flow.labels
        && !labels.is_empty()
    {
        put_words(buf, nr::LABELS, labels.words());
    }
    if let Some(synproxy) = &flow.synproxy {
        put_words(
            buf,
            nr::SYNPROXY,
            &[synproxy.its, synproxy.isn, synproxy.tsoff],
        );
    }
    // A zone of one direction only cannot be told.
    if flow.zone.orig != 0 && flow.zone.orig == flow.zone.reply {
        put(buf, nr::ZONE, flow.zone.orig.to_be_bytes());
    }
    finish(buf, start);
}

/// Appends a message about an expectation.
pub fn expectation(
    buf: &mut Vec<u8>,
    change: Change,
    flags: Flags,
    seq: u32,
    expectation: &Expectation,
    options: EncodeOptions,
) {
    let start = header(buf, Kind::Expectation(change), flags, seq);
    let with_ports = has_ports(expectation.master.proto);
    let tuple = |buf: &mut Vec<u8>, numbers: [u16; 4], tuple: &Tuple| {
        let [v4, v6, proto, port] = numbers;
        addrs(buf, v4, v6, &tuple.addrs);
        put(buf, proto, [tuple.proto]);
        if with_ports {
            ports(buf, port, tuple.l4);
        }
    };
    let master = [
        xnr::MASTER_IPV4,
        xnr::MASTER_IPV6,
        xnr::MASTER_L4PROTO,
        xnr::MASTER_PORT,
    ];
    tuple(buf, master, &expectation.master);
    let expected = [
        xnr::EXPECT_IPV4,
        xnr::EXPECT_IPV6,
        xnr::EXPECT_L4PROTO,
        xnr::EXPECT_PORT,
    ];
    tuple(buf, expected, &expectation.tuple);
    let mask = [
        xnr::MASK_IPV4,
        xnr::MASK_IPV6,
        xnr::MASK_L4PROTO,
        xnr::MASK_PORT,
    ];
    tuple(buf, mask, &expectation.mask);
    if let Some(timeout_s) = expectation.timeout_s
        && options.timeout
    {
        put(buf, xnr::TIMEOUT, timeout_s.to_be_bytes());
    }
    put(
        buf,
        xnr::FLAGS,
        expectation.flags.unwrap_or_default().to_be_bytes(),
    );
    if let Some(class) = expectation.class {
        put(buf, xnr::CLASS, class.to_be_bytes());
    }
    if let Some(ExpectNat {
        direction,
        tuple: Some(to),
    }) = &expectation.nat
    {
        // There is no attribute for IPv6 addresses; the rest goes out without them.
        if to.family() == Family::Ipv4 {
            addrs(buf, xnr::NAT_IPV4, xnr::NAT_IPV4, &to.addrs);
        }
        put(buf, xnr::NAT_L4PROTO, [to.proto]);
        if with_ports {
            ports(buf, xnr::NAT_PORT, to.l4);
        }
        put(buf, xnr::NAT_DIR, direction.to_be_bytes());
    }
    if let Some(helper) = &expectation.helper {
        put_name(buf, xnr::HELPER_NAME, helper.as_bytes(), HELPER_LEN_MAX);
    }
    if let Some(function) = &expectation.function {
        put_name(buf, xnr::FN, function.as_bytes(), FUNCTION_LEN_MAX);
    }
    finish(buf, start);
}

/// Appends a control message; with a range if the flags ask for one.
pub fn control(buf: &mut Vec<u8>, flags: Flags, seq: u32, from: u32, to: u32) {
    let start = header(buf, Kind::Control, flags, seq);
    if flags.intersects(Flags::RANGED) {
        buf.extend_from_slice(&from.to_be_bytes());
        buf.extend_from_slice(&to.to_be_bytes());
    }
    finish(buf, start);
}

/// Length of a control message with these flags.
#[must_use]
pub fn control_len(flags: Flags) -> usize {
    if flags.intersects(Flags::RANGED) {
        RANGE_LEN
    } else {
        HEADER_LEN
    }
}

fn header(buf: &mut Vec<u8>, kind: Kind, flags: Flags, seq: u32) -> usize {
    let start = buf.len();
    buf.extend_from_slice(&[VERSION << 4 | kind.number(), flags.0, 0, 0]);
    buf.extend_from_slice(&seq.to_be_bytes());
    start
}

/// Fills in the length.
fn finish(buf: &mut [u8], start: usize) {
    let Some(message) = buf.get_mut(start..) else {
        return;
    };
    let len = u16::try_from(message.len())
        .unwrap_or(u16::MAX)
        .to_be_bytes();
    if let Some(field) = message.get_mut(2..4) {
        field.copy_from_slice(&len);
    }
}

fn layer4(buf: &mut Vec<u8>, flow: &Flow, options: EncodeOptions) {
    match (flow.orig.proto, flow.orig.l4) {
        (
            protocol::ICMP | protocol::ICMPV6,
            L4::Icmp {
                id,
                icmp_type,
                code,
            },
        ) => {
            put(buf, nr::ICMP_TYPE, [icmp_type]);
            put(buf, nr::ICMP_CODE, [code]);
            put(buf, nr::ICMP_ID, id.to_le_bytes());
        }
        // The original sends stale memory where it has no ports; a zero at least says nothing.
        (proto, L4::None) if has_ports(proto) => ports(buf, nr::PORT, L4::Ports { src: 0, dst: 0 }),
        // The original leaves out the ports of UDP-Lite and the keys of GRE, so that entries of two
        // hosts collapse into one. Its receiver takes them for any protocol, keeps such entries apart
        // and commits them with their ports.
        (_, l4) => ports(buf, nr::PORT, l4),
    }
    match &flow.proto {
        ProtoInfo::Tcp(tcp) => {
            let Some(state) = tcp.state else { return };
            put(buf, nr::TCP_STATE, [state as u8]);
            if options.window_scale {
                put(
                    buf,
                    nr::TCP_WSCALE_ORIG,
                    [tcp.wscale_orig.unwrap_or_default()],
                );
                put(
                    buf,
                    nr::TCP_WSCALE_REPL,
                    [tcp.wscale_reply.unwrap_or_default()],
                );
            }
        }
        ProtoInfo::Sctp(sctp) => {
            let Some(state) = sctp.state else { return };
            put(buf, nr::SCTP_STATE, [state]);
            put(
                buf,
                nr::SCTP_VTAG_ORIG,
                sctp.vtag_orig.unwrap_or_default().to_be_bytes(),
            );
            put(
                buf,
                nr::SCTP_VTAG_REPL,
                sctp.vtag_reply.unwrap_or_default().to_be_bytes(),
            );
        }
        ProtoInfo::Dccp(dccp) => {
            let Some(state) = dccp.state else { return };
            put(buf, nr::DCCP_STATE, [state]);
            put(buf, nr::DCCP_ROLE, [dccp.role.unwrap_or_default()]);
        }
        ProtoInfo::None => {}
    }
}

fn translation(buf: &mut Vec<u8>, flow: &Flow) {
    let nat = flow.translation();
    for (address, v4, v6) in [
        (nat.src_addr, nr::SNAT_IPV4, nr::SNAT_IPV6),
        (nat.dst_addr, nr::DNAT_IPV4, nr::DNAT_IPV6),
    ] {
        match address {
            Some(IpAddr::V4(address)) => put(buf, v4, address.octets()),
            Some(IpAddr::V6(address)) => put(buf, v6, address.octets()),
            None => {}
        }
    }
    for (port, number) in [(nat.src_port, nr::SPAT_PORT), (nat.dst_port, nr::DPAT_PORT)] {
        if let Some(port) = port {
            put(buf, number, port.to_le_bytes());
        }
    }
}

/// Protocols whose messages always carry ports.
fn has_ports(proto: u8) -> bool {
    matches!(
        proto,
        protocol::TCP | protocol::UDP | protocol::SCTP | protocol::DCCP
    )
}

fn put<const N: usize>(buf: &mut Vec<u8>, number: u16, value: [u8; N]) {
    put_header(buf, number, N);
    buf.extend_from_slice(&value);
    pad(buf, N);
}

fn put_words(buf: &mut Vec<u8>, number: u16, words: &[u32]) {
    put_header(buf, number, words.len().saturating_mul(4));
    for word in words {
        buf.extend_from_slice(&word.to_be_bytes());
    }
}

/// A name with its NUL. One that the receiver would refuse is left out: it would cost the whole message.
fn put_name(buf: &mut Vec<u8>, number: u16, name: &[u8], len_max: usize) {
    if name.len() > len_max {
        return;
    }
    let len = name.len().saturating_add(1);
    put_header(buf, number, len);
    buf.extend_from_slice(name);
    buf.push(0);
    pad(buf, len);
}

fn put_header(buf: &mut Vec<u8>, number: u16, value_len: usize) {
    let len = u16::try_from(value_len.saturating_add(4)).unwrap_or(u16::MAX);
    buf.extend_from_slice(&len.to_be_bytes());
    buf.extend_from_slice(&number.to_be_bytes());
}

fn pad(buf: &mut Vec<u8>, value_len: usize) {
    let missing = value_len.next_multiple_of(4).saturating_sub(value_len);
    buf.extend([0; 3].into_iter().take(missing));
}

fn addrs(buf: &mut Vec<u8>, v4: u16, v6: u16, addrs: &Addrs) {
    match addrs {
        Addrs::V4 { src, dst } => {
            put_header(buf, v4, 8);
            buf.extend_from_slice(&src.octets());
            buf.extend_from_slice(&dst.octets());
        }
        Addrs::V6 { src, dst } => {
            put_header(buf, v6, 32);
            buf.extend_from_slice(&src.octets());
            buf.extend_from_slice(&dst.octets());
        }
    }
}

fn ports(buf: &mut Vec<u8>, number: u16, l4: L4) {
    if let L4::Ports { src, dst } = l4 {
        put_header(buf, number, 4);
        buf.extend_from_slice(&src.to_be_bytes());
        buf.extend_from_slice(&dst.to_be_bytes());
    }
}
