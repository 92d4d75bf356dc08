//! States of transport protocols to and from bytes.

use flow::{Dccp, Sctp, Tcp, TcpFlags, TcpState};

use super::wire::{MessageError, Reader, impossible};

mod tcp {
    pub(super) const NO_STATE: u8 = 0xff;
    pub(super) const WSCALE_ORIG: u8 = 1 << 0;
    pub(super) const WSCALE_REPLY: u8 = 1 << 1;
    /// Both in one byte.
    pub(super) const WSCALES: u8 = 1 << 2;
    pub(super) const FLAGS_ORIG: u8 = 1 << 3;
    pub(super) const FLAGS_REPLY: u8 = 1 << 4;
}

pub(super) fn put_tcp_state(buf: &mut Vec<u8>, state: Option<TcpState>) {
    buf.push(state.map_or(tcp::NO_STATE, |state| state as u8));
}

/// Appends optional values behind a byte that says which there are.
pub(super) fn put_options<const N: usize>(buf: &mut Vec<u8>, values: [Option<&[u8]>; N]) {
    let start = buf.len();
    buf.push(0);
    let mut there = 0;
    for (bit, value) in values.into_iter().enumerate() {
        if let Some(value) = value {
            there |= 1 << bit;
            buf.extend_from_slice(value);
        }
    }
    if let Some(first) = buf.get_mut(start) {
        *first = there;
    }
}

pub(super) fn put_tcp_options(buf: &mut Vec<u8>, tcp: &Tcp) {
    let small = |scale: Option<u8>| scale.filter(|&scale| scale < 16);
    let both = match (small(tcp.wscale_orig), small(tcp.wscale_reply)) {
        (Some(orig), Some(reply)) => Some([orig << 4 | reply]),
        _ => None,
    };
    let single = |scale: Option<u8>| scale.filter(|_| both.is_none()).map(|scale| [scale]);
    let flags = |flags: Option<TcpFlags>| flags.map(|flags| [flags.flags, flags.mask]);
    let (orig, reply) = (single(tcp.wscale_orig), single(tcp.wscale_reply));
    let (flags_orig, flags_reply) = (flags(tcp.flags_orig), flags(tcp.flags_reply));
    put_options(
        buf,
        [
            orig.as_ref().map(<[u8; 1]>::as_slice),
            reply.as_ref().map(<[u8; 1]>::as_slice),
            both.as_ref().map(<[u8; 1]>::as_slice),
            flags_orig.as_ref().map(<[u8; 2]>::as_slice),
            flags_reply.as_ref().map(<[u8; 2]>::as_slice),
        ],
    );
}

pub(super) fn read_tcp_state(reader: &mut Reader<'_>) -> Result<Option<TcpState>, MessageError> {
    match reader.u8("TCP state")? {
        tcp::NO_STATE => Ok(None),
        number => TcpState::from_number(number)
            .map(Some)
            .ok_or(impossible("TCP state", number)),
    }
}

pub(super) fn read_tcp_options(reader: &mut Reader<'_>, tcp: &mut Tcp) -> Result<(), MessageError> {
    let there = reader.u8("TCP options")?;
    let has = |bit: u8| there & bit != 0;
    *tcp = Tcp {
        state: tcp.state,
        ..Tcp::default()
    };
    if has(tcp::WSCALE_ORIG) {
        tcp.wscale_orig = Some(reader.u8("window scale")?);
    }
    if has(tcp::WSCALE_REPLY) {
        tcp.wscale_reply = Some(reader.u8("window scale")?);
    }
    if has(tcp::WSCALES) {
        let both = reader.u8("window scales")?;
        (tcp.wscale_orig, tcp.wscale_reply) = (Some(both >> 4), Some(both & 0xf));
    }
    for (bit, flags) in [
        (tcp::FLAGS_ORIG, &mut tcp.flags_orig),
        (tcp::FLAGS_REPLY, &mut tcp.flags_reply),
    ] {
        if has(bit) {
            let [value, mask] = reader.bytes("TCP flags")?;
            *flags = Some(TcpFlags { flags: value, mask });
        }
    }
    Ok(())
}

pub(super) fn put_sctp(buf: &mut Vec<u8>, sctp: &Sctp) {
    let state = sctp.state.map(|state| [state]);
    let (orig, reply) = (
        sctp.vtag_orig.map(u32::to_be_bytes),
        sctp.vtag_reply.map(u32::to_be_bytes),
    );
    put_options(
        buf,
        [
            state.as_ref().map(<[u8; 1]>::as_slice),
            orig.as_ref().map(<[u8; 4]>::as_slice),
            reply.as_ref().map(<[u8; 4]>::as_slice),
        ],
    );
}

pub(super) fn read_sctp(reader: &mut Reader<'_>) -> Result<Sctp, MessageError> {
    let there = reader.u8("SCTP")?;
    let mut sctp = Sctp::default();
    if there & 1 != 0 {
        sctp.state = Some(reader.u8("SCTP state")?);
    }
    if there & 2 != 0 {
        sctp.vtag_orig = Some(reader.u32("SCTP tag")?);
    }
    if there & 4 != 0 {
        sctp.vtag_reply = Some(reader.u32("SCTP tag")?);
    }
    Ok(sctp)
}

pub(super) fn put_dccp(buf: &mut Vec<u8>, dccp: &Dccp) {
    let (state, role) = (
        dccp.state.map(|state| [state]),
        dccp.role.map(|role| [role]),
    );
    let seq = dccp.handshake_seq.map(u64::to_be_bytes);
    put_options(
        buf,
        [
            state.as_ref().map(<[u8; 1]>::as_slice),
            role.as_ref().map(<[u8; 1]>::as_slice),
            seq.as_ref().map(<[u8; 8]>::as_slice),
        ],
    );
}

pub(super) fn read_dccp(reader: &mut Reader<'_>) -> Result<Dccp, MessageError> {
    let there = reader.u8("DCCP")?;
    let mut dccp = Dccp::default();
    if there & 1 != 0 {
        dccp.state = Some(reader.u8("DCCP state")?);
    }
    if there & 2 != 0 {
        dccp.role = Some(reader.u8("DCCP role")?);
    }
    if there & 4 != 0 {
        dccp.handshake_seq = Some(reader.u64("DCCP sequence number")?);
    }
    Ok(dccp)
}
