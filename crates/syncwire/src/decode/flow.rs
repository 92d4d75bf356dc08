//! Attributes into a connection.

mod usual;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use flow::{
    Dccp, Family, Flow, L4, Labels, ProtoInfo, Sctp, SeqAdj, Status, Synproxy, Tcp, TcpState, Zone,
    protocol,
};

use super::{Attribute, Parts, PayloadError, attributes, name};
use crate::attr::flow as nr;

/// Longest payload of a helper's name: eleven characters and a NUL.
pub(crate) const HELPER_LEN: usize = 12;

/// Longest payload of labels.
const LABELS_LEN: usize = 1024;

/// What has no place in a [`Flow`] until all attributes are known.
#[derive(Default)]
struct Pending {
    orig: Parts,
    master: Parts,
    icmp_id: Option<u16>,
    icmp_type: Option<u8>,
    icmp_code: Option<u8>,
    tcp: Tcp,
    sctp: Sctp,
    dccp: Dccp,
}

pub(super) fn decode(body: &[u8]) -> Result<Flow, PayloadError> {
    match usual::flow(body) {
        Some(flow) => Ok(flow),
        None => any(body),
    }
}

/// Attribute by attribute, in whatever order.
fn any(body: &[u8]) -> Result<Flow, PayloadError> {
    let mut pending = Pending::default();
    // The tuple is filled in at the end; until then it holds nothing that counts.
    let nothing = flow::Addrs::V4 {
        src: Ipv4Addr::UNSPECIFIED,
        dst: Ipv4Addr::UNSPECIFIED,
    };
    let mut flow = Flow::new(flow::Tuple {
        addrs: nothing,
        proto: 0,
        l4: L4::None,
    });
    attributes(body, nr::ZONE.saturating_add(1), |attribute| {
        read(&mut flow, &mut pending, attribute)
    })?;
    pending.finish(&mut flow)?;
    Ok(flow)
}

/// The original tuple with ports, if nothing but the status stands before or between.
pub(super) fn first_tuple(body: &[u8]) -> Option<flow::Tuple> {
    if let Some(tuple) = usual::tuple(body) {
        return Some(tuple);
    }
    let mut orig = Parts::default();
    // The end of what is of interest ends the walk.
    let _ = attributes(body, nr::TIMEOUT, |a| {
        match a.number {
            nr::IPV4 => orig.addrs = Some(a.v4_pair()?),
            nr::IPV6 => orig.addrs = Some(a.v6_pair()?),
            nr::L4PROTO => orig.proto = Some(a.u8()?),
            nr::PORT => orig.l4 = a.ports()?,
            _ => {}
        }
        Ok(())
    });
    orig.tuple("").ok().filter(|tuple| tuple.l4 != L4::None)
}

fn read(flow: &mut Flow, pending: &mut Pending, a: Attribute<'_>) -> Result<(), PayloadError> {
    match a.number {
        nr::IPV4 => pending.orig.addrs = Some(a.v4_pair()?),
        nr::IPV6 => pending.orig.addrs = Some(a.v6_pair()?),
        nr::L4PROTO => pending.orig.proto = Some(a.u8()?),
        nr::PORT => pending.orig.l4 = a.ports()?,
        // A state this side does not know is told as none.
        nr::TCP_STATE => pending.tcp.state = TcpState::from_number(a.u8()?),
        nr::TCP_WSCALE_ORIG => pending.tcp.wscale_orig = Some(a.u8()?),
        nr::TCP_WSCALE_REPL => pending.tcp.wscale_reply = Some(a.u8()?),
        nr::STATUS => flow.status = Some(Status(a.u32()?)),
        nr::TIMEOUT => flow.timeout_s = Some(a.u32()?),
        nr::MARK => flow.mark = Some(a.u32()?),
        nr::MASTER_IPV4 => pending.master.addrs = Some(a.v4_pair()?),
        nr::MASTER_IPV6 => pending.master.addrs = Some(a.v6_pair()?),
        nr::MASTER_L4PROTO => pending.master.proto = Some(a.u8()?),
        nr::MASTER_PORT => pending.master.l4 = a.ports()?,
        nr::SNAT_IPV4 => flow.nat.src_addr = Some(v4(a)?),
        nr::DNAT_IPV4 => flow.nat.dst_addr = Some(v4(a)?),
        nr::SNAT_IPV6 => flow.nat.src_addr = Some(v6(a)?),
        nr::DNAT_IPV6 => flow.nat.dst_addr = Some(v6(a)?),
        nr::SPAT_PORT => flow.nat.src_port = Some(a.u16_swapped()?),
        nr::DPAT_PORT => flow.nat.dst_port = Some(a.u16_swapped()?),
        nr::NAT_SEQ_ADJ => seq_adj(flow, a)?,
        nr::SCTP_STATE => pending.sctp.state = Some(a.u8()?),
        nr::SCTP_VTAG_ORIG => pending.sctp.vtag_orig = Some(a.u32()?),
        nr::SCTP_VTAG_REPL => pending.sctp.vtag_reply = Some(a.u32()?),
        nr::DCCP_STATE => pending.dccp.state = Some(a.u8()?),
        nr::DCCP_ROLE => pending.dccp.role = Some(a.u8()?),
        nr::ICMP_TYPE => pending.icmp_type = Some(a.u8()?),
        nr::ICMP_CODE => pending.icmp_code = Some(a.u8()?),
        nr::ICMP_ID => pending.icmp_id = Some(a.u16_swapped()?),
        nr::HELPER_NAME => flow.helper = name(a, HELPER_LEN)?,
        nr::LABELS => flow.labels = labels(a)?.or(flow.labels),
        nr::SYNPROXY => flow.synproxy = Some(synproxy(a)?),
        nr::ZONE => flow.zone = Zone::both(a.u16()?),
        _ => {}
    }
    Ok(())
}

impl Pending {
    fn finish(mut self, flow: &mut Flow) -> Result<(), PayloadError> {
        self.orig.l4 = match (self.orig.proto, self.orig.l4) {
            (Some(protocol::ICMP | protocol::ICMPV6), _) => self.icmp(),
            // What a sender writes whose kernel tracks no DCCP and knows no ports.
            (Some(protocol::DCCP), L4::Ports { src: 0, dst: 0 }) => L4::None,
            (_, ports) => ports,
        };
        flow.orig = self.orig.tuple("addresses or protocol of the connection")?;
        if self.master.addrs.is_some() {
            flow.master = Some(self.master.tuple("protocol of the master")?);
        }
        flow.proto = match flow.orig.proto {
            protocol::TCP if self.tcp != Tcp::default() => ProtoInfo::Tcp(self.tcp),
            protocol::SCTP if self.sctp != Sctp::default() => ProtoInfo::Sctp(self.sctp),
            protocol::DCCP if self.dccp != Dccp::default() => ProtoInfo::Dccp(self.dccp),
            _ => ProtoInfo::None,
        };
        // A translation into the other family means nothing, and the kernel would refuse the entry.
        let ipv4 = flow.orig.family() == Family::Ipv4;
        for addr in [&mut flow.nat.src_addr, &mut flow.nat.dst_addr] {
            *addr = addr.filter(|addr| addr.is_ipv4() == ipv4);
        }
        Ok(())
    }

    fn icmp(&self) -> L4 {
        match (self.icmp_id, self.icmp_type, self.icmp_code) {
            (None, None, None) => L4::None,
            (id, icmp_type, code) => L4::Icmp {
                id: id.unwrap_or_default(),
                icmp_type: icmp_type.unwrap_or_default(),
                code: code.unwrap_or_default(),
            },
        }
    }
}

fn v4(a: Attribute<'_>) -> Result<IpAddr, PayloadError> {
    a.fixed::<4>().map(|bytes| Ipv4Addr::from(bytes).into())
}

fn v6(a: Attribute<'_>) -> Result<IpAddr, PayloadError> {
    a.fixed::<16>().map(|bytes| Ipv6Addr::from(bytes).into())
}

/// Words of labels. Something that is no row of words is ignored, as the original does.
fn labels(a: Attribute<'_>) -> Result<Option<Labels>, PayloadError> {
    if a.value.len() > LABELS_LEN {
        return Err(a.wrong_length(LABELS_LEN));
    }
    let (words, rest) = a.value.as_chunks::<4>();
    if !rest.is_empty() {
        return Ok(None);
    }
    Ok(Labels::new(
        words.iter().map(|word| u32::from_be_bytes(*word)),
    ))
}

/// `N` words of 32 bits.
fn words<const N: usize>(a: Attribute<'_>) -> Result<[u32; N], PayloadError> {
    let (words, rest) = a.value.as_chunks::<4>();
    let words: &[[u8; 4]; N] = words
        .try_into()
        .ok()
        .filter(|_| rest.is_empty())
        .ok_or_else(|| a.wrong_length(N.saturating_mul(4)))?;
    Ok(words.map(u32::from_be_bytes))
}

fn seq_adj(flow: &mut Flow, a: Attribute<'_>) -> Result<(), PayloadError> {
    let [o_pos, o_before, o_after, r_pos, r_before, r_after] = words::<6>(a)?;
    let adj = |correction_pos, offset_before, offset_after| {
        Some(SeqAdj {
            correction_pos,
            offset_before,
            offset_after,
        })
    };
    flow.seq_adj_orig = adj(o_pos, o_before, o_after);
    flow.seq_adj_reply = adj(r_pos, r_before, r_after);
    Ok(())
}

fn synproxy(a: Attribute<'_>) -> Result<Synproxy, PayloadError> {
    let [its, isn, tsoff] = words::<3>(a)?;
    Ok(Synproxy { isn, its, tsoff })
}
