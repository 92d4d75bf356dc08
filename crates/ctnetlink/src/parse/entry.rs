//! A conntrack message's attributes into a [`Flow`], in one pass.

use flow::{
    Counters, Dccp, Flow, HelperName, Labels, Nat, ProtoInfo, Sctp, SeqAdj, Status, Synproxy, Tcp,
    TcpFlags, TcpState, Timestamp, Tuple, Zone,
};

use super::tuple;
use crate::{
    Message, ParseError,
    attr::{Attr, Attrs},
    uapi::*,
};

/// The original tuple of a message and everything else that is to be read.
pub(super) struct Start<'a> {
    tuple: Tuple,
    zone: u16,
    rest: Attrs<'a>,
}

impl Start<'_> {
    /// An entry of which only the original tuple is known yet; for [`fill`].
    #[inline(always)]
    pub(super) fn flow(&self) -> Flow {
        Flow::new(self.tuple)
    }
}

/// Finds the original tuple, which the kernel writes first.
#[inline(always)]
pub(super) fn start<'a>(message: &Message<'a>) -> Result<Start<'a>, ParseError> {
    let mut attrs = message.attrs()?;
    let mut passed_over = false;
    while let Some(attr) = attrs.next() {
        let attr = attr?;
        if attr.kind != CTA_TUPLE_ORIG {
            passed_over = true;
            continue;
        }
        let parts = tuple::parts(attr)?;
        let Some(tuple) = parts.tuple() else { break };
        return Ok(Start {
            tuple,
            zone: parts.zone.unwrap_or(0),
            rest: if passed_over { message.attrs()? } else { attrs },
        });
    }
    Err(ParseError::Missing {
        kind: message.header.kind,
        attr: CTA_TUPLE_ORIG,
    })
}

/// Reads the rest into `flow`, in place: an entry is too large to be passed around.
#[inline(always)]
pub(super) fn fill(
    flow: &mut Flow,
    start: Start<'_>,
    message: &Message<'_>,
) -> Result<(), ParseError> {
    flow.zone.orig = start.zone;
    for attr in start.rest {
        take(flow, attr?, message)?;
    }
    Ok(())
}

#[inline(always)]
fn take(flow: &mut Flow, attr: Attr<'_>, message: &Message<'_>) -> Result<(), ParseError> {
    match attr.kind {
        CTA_TUPLE_REPLY => {
            let parts = tuple::parts(attr)?;
            flow.reply = parts.tuple();
            if let Some(zone) = parts.zone {
                flow.zone.reply = zone;
            }
        }
        CTA_STATUS => flow.status = Some(Status(attr.u32()?)),
        CTA_TIMEOUT => flow.timeout_s = Some(attr.u32()?),
        CTA_MARK => flow.mark = Some(attr.u32()?),
        CTA_ID => flow.id = Some(attr.u32()?),
        CTA_USE => flow.use_count = Some(attr.u32()?),
        CTA_PROTOINFO => flow.proto = protoinfo(attr)?,
        CTA_COUNTERS_ORIG => flow.counters_orig = Some(counters(attr)?),
        CTA_COUNTERS_REPLY => flow.counters_reply = Some(counters(attr)?),
        CTA_TIMESTAMP => flow.timestamp = Some(timestamp(attr)?),
        CTA_TIMESTAMP_EVENT => flow.event_time_ns = Some(attr.u64()?),
        CTA_SYNPROXY => flow.synproxy = Some(synproxy(attr)?),
        CTA_ZONE => flow.zone = Zone::both(attr.u16()?),
        CTA_LABELS => flow.labels = labels(attr),
        CTA_HELP => flow.helper = helper(attr)?,
        CTA_TUPLE_MASTER => flow.master = Some(tuple::whole(attr, message.header.kind)?),
        CTA_SEQ_ADJ_ORIG => flow.seq_adj_orig = Some(seq_adj(attr)?),
        CTA_SEQ_ADJ_REPLY => flow.seq_adj_reply = Some(seq_adj(attr)?),
        CTA_NAT_SRC | CTA_NAT_DST => nat(attr, &mut flow.nat)?,
        _ => {}
    }
    Ok(())
}

fn protoinfo(attr: Attr<'_>) -> Result<ProtoInfo, ParseError> {
    for attr in attr.nested() {
        let attr = attr?;
        match attr.kind {
            CTA_PROTOINFO_TCP => return tcp(attr).map(ProtoInfo::Tcp),
            CTA_PROTOINFO_SCTP => return sctp(attr).map(ProtoInfo::Sctp),
            CTA_PROTOINFO_DCCP => return dccp(attr).map(ProtoInfo::Dccp),
            _ => {}
        }
    }
    Ok(ProtoInfo::None)
}

#[inline]
fn tcp(attr: Attr<'_>) -> Result<Tcp, ParseError> {
    let flags = |attr: Attr<'_>| {
        let [flags, mask] = attr.array()?;
        Ok::<_, ParseError>(Some(TcpFlags { flags, mask }))
    };
    let mut tcp = Tcp::default();
    for attr in attr.nested() {
        let attr = attr?;
        match attr.kind {
            CTA_PROTOINFO_TCP_STATE => tcp.state = TcpState::from_number(attr.u8()?),
            CTA_PROTOINFO_TCP_WSCALE_ORIGINAL => tcp.wscale_orig = Some(attr.u8()?),
            CTA_PROTOINFO_TCP_WSCALE_REPLY => tcp.wscale_reply = Some(attr.u8()?),
            CTA_PROTOINFO_TCP_FLAGS_ORIGINAL => tcp.flags_orig = flags(attr)?,
            CTA_PROTOINFO_TCP_FLAGS_REPLY => tcp.flags_reply = flags(attr)?,
            _ => {}
        }
    }
    Ok(tcp)
}

fn sctp(attr: Attr<'_>) -> Result<Sctp, ParseError> {
    let mut sctp = Sctp::default();
    for attr in attr.nested() {
        let attr = attr?;
        match attr.kind {
            CTA_PROTOINFO_SCTP_STATE => sctp.state = Some(attr.u8()?),
            CTA_PROTOINFO_SCTP_VTAG_ORIGINAL => sctp.vtag_orig = Some(attr.u32()?),
            CTA_PROTOINFO_SCTP_VTAG_REPLY => sctp.vtag_reply = Some(attr.u32()?),
            _ => {}
        }
    }
    Ok(sctp)
}

fn dccp(attr: Attr<'_>) -> Result<Dccp, ParseError> {
    let mut dccp = Dccp::default();
    for attr in attr.nested() {
        let attr = attr?;
        match attr.kind {
            CTA_PROTOINFO_DCCP_STATE => dccp.state = Some(attr.u8()?),
            CTA_PROTOINFO_DCCP_ROLE => dccp.role = Some(attr.u8()?),
            CTA_PROTOINFO_DCCP_HANDSHAKE_SEQ => dccp.handshake_seq = Some(attr.u64()?),
            _ => {}
        }
    }
    Ok(dccp)
}

#[inline]
fn counters(attr: Attr<'_>) -> Result<Counters, ParseError> {
    let mut counters = Counters::default();
    for attr in attr.nested() {
        let attr = attr?;
        match attr.kind {
            CTA_COUNTERS_PACKETS => counters.packets = attr.u64()?,
            CTA_COUNTERS_BYTES => counters.bytes = attr.u64()?,
            _ => {}
        }
    }
    Ok(counters)
}

fn timestamp(attr: Attr<'_>) -> Result<Timestamp, ParseError> {
    let mut timestamp = Timestamp::default();
    for attr in attr.nested() {
        let attr = attr?;
        match attr.kind {
            CTA_TIMESTAMP_START => timestamp.start_ns = attr.u64()?,
            CTA_TIMESTAMP_STOP => timestamp.stop_ns = Some(attr.u64()?),
            _ => {}
        }
    }
    Ok(timestamp)
}

fn seq_adj(attr: Attr<'_>) -> Result<SeqAdj, ParseError> {
    let mut seq_adj = SeqAdj::default();
    for attr in attr.nested() {
        let attr = attr?;
        match attr.kind {
            CTA_SEQADJ_CORRECTION_POS => seq_adj.correction_pos = attr.u32()?,
            CTA_SEQADJ_OFFSET_BEFORE => seq_adj.offset_before = attr.u32()?,
            CTA_SEQADJ_OFFSET_AFTER => seq_adj.offset_after = attr.u32()?,
            _ => {}
        }
    }
    Ok(seq_adj)
}

fn synproxy(attr: Attr<'_>) -> Result<Synproxy, ParseError> {
    let mut synproxy = Synproxy::default();
    for attr in attr.nested() {
        let attr = attr?;
        match attr.kind {
            CTA_SYNPROXY_ISN => synproxy.isn = attr.u32()?,
            CTA_SYNPROXY_ITS => synproxy.its = attr.u32()?,
            CTA_SYNPROXY_TSOFF => synproxy.tsoff = attr.u32()?,
            _ => {}
        }
    }
    Ok(synproxy)
}

/// Label words are in host order; bytes that make no whole word do not count.
fn labels(attr: Attr<'_>) -> Option<Labels> {
    let (words, _) = attr.value.as_chunks::<4>();
    Labels::new(words.iter().map(|&word| u32::from_ne_bytes(word)))
}

fn helper(attr: Attr<'_>) -> Result<Option<HelperName>, ParseError> {
    for attr in attr.nested() {
        let attr = attr?;
        if attr.kind == CTA_HELP_NAME {
            let name = HelperName::new(attr.value).ok_or_else(|| attr.length_error(16))?;
            return Ok(Some(name));
        }
    }
    Ok(None)
}

/// `CTA_NAT_SRC` or `CTA_NAT_DST`, which only requests carry.
fn nat(attr: Attr<'_>, nat: &mut Nat) -> Result<(), ParseError> {
    let (addr, port) = match attr.kind {
        CTA_NAT_SRC => (&mut nat.src_addr, &mut nat.src_port),
        _ => (&mut nat.dst_addr, &mut nat.dst_port),
    };
    for attr in attr.nested() {
        let attr = attr?;
        match attr.kind {
            CTA_NAT_V4_MINIP => *addr = Some(attr.array::<4>()?.into()),
            CTA_NAT_V6_MINIP => *addr = Some(attr.array::<16>()?.into()),
            CTA_NAT_PROTO => {
                for attr in attr.nested() {
                    let attr = attr?;
                    if attr.kind == CTA_PROTONAT_PORT_MIN {
                        *port = Some(attr.u16()?);
                    }
                }
            }
            _ => {}
        }
    }
    Ok(())
}
