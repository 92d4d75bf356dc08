//! What the kernel knows about the state of a transport protocol.

/// Kernel TCP states; the values are the kernel's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[repr(u8)]
pub enum TcpState {
    /// No state.
    #[default]
    None = 0,
    /// SYN sent by the originator.
    SynSent = 1,
    /// SYN-ACK seen.
    SynRecv = 2,
    /// Established.
    Established = 3,
    /// First FIN seen.
    FinWait = 4,
    /// First FIN acknowledged.
    CloseWait = 5,
    /// Second FIN seen.
    LastAck = 6,
    /// Both sides closed.
    TimeWait = 7,
    /// Reset.
    Close = 8,
    /// SYN from both sides; printed and configured as `LISTEN` by older tools.
    SynSent2 = 9,
}

impl TcpState {
    /// All states in the kernel's order.
    pub const ALL: [Self; 10] = [
        Self::None,
        Self::SynSent,
        Self::SynRecv,
        Self::Established,
        Self::FinWait,
        Self::CloseWait,
        Self::LastAck,
        Self::TimeWait,
        Self::Close,
        Self::SynSent2,
    ];

    /// The state with the kernel's number, if there is one.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }

    /// The name the kernel and all tools print.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "NONE",
            Self::SynSent => "SYN_SENT",
            Self::SynRecv => "SYN_RECV",
            Self::Established => "ESTABLISHED",
            Self::FinWait => "FIN_WAIT",
            Self::CloseWait => "CLOSE_WAIT",
            Self::LastAck => "LAST_ACK",
            Self::TimeWait => "TIME_WAIT",
            Self::Close => "CLOSE",
            Self::SynSent2 => "SYN_SENT2",
        }
    }
}

/// TCP flags of one direction and the mask of those that are meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct TcpFlags {
    /// Values.
    pub flags: u8,
    /// Which of them count.
    pub mask: u8,
}

impl TcpFlags {
    /// Window scaling was negotiated.
    pub const WINDOW_SCALE: u8 = 0x01;
    /// Selective acknowledgement was negotiated.
    pub const SACK_PERM: u8 = 0x02;
    /// This side closed first.
    pub const CLOSE_INIT: u8 = 0x04;
    /// Do not check sequence windows.
    pub const BE_LIBERAL: u8 = 0x08;

    /// Sets exactly `flags`, leaves all others.
    #[must_use]
    pub const fn set(flags: u8) -> Self {
        Self { flags, mask: flags }
    }
}

/// TCP part of an entry. A field is `None` when it was not told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Tcp {
    /// State.
    pub state: Option<TcpState>,
    /// Window scale of the original direction.
    pub wscale_orig: Option<u8>,
    /// Window scale of the reply direction.
    pub wscale_reply: Option<u8>,
    /// Flags of the original direction.
    pub flags_orig: Option<TcpFlags>,
    /// Flags of the reply direction.
    pub flags_reply: Option<TcpFlags>,
}

/// SCTP part of an entry. A field is `None` when it was not told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Sctp {
    /// Kernel state number.
    pub state: Option<u8>,
    /// Verification tag of the original direction, as the header's bytes read big-endian.
    pub vtag_orig: Option<u32>,
    /// Verification tag of the reply direction.
    pub vtag_reply: Option<u32>,
}

/// DCCP part of an entry. A field is `None` when it was not told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Dccp {
    /// Kernel state number.
    pub state: Option<u8>,
    /// Role of the originator: 0 client, 1 server.
    pub role: Option<u8>,
    /// Handshake sequence number.
    pub handshake_seq: Option<u64>,
}

/// State of the transport protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ProtoInfo {
    /// None known, or a protocol without states.
    #[default]
    None,
    /// TCP.
    Tcp(Tcp),
    /// SCTP.
    Sctp(Sctp),
    /// DCCP.
    Dccp(Dccp),
}

/// Keeps what `new` does not tell.
fn keep<T: Copy>(old: &mut Option<T>, new: Option<T>) {
    if new.is_some() {
        *old = new;
    }
}

impl ProtoInfo {
    /// Takes over every field that `update` tells and keeps the rest.
    pub fn merge(&mut self, update: &Self) {
        match (self, update) {
            (_, Self::None) => {}
            (Self::Tcp(old), Self::Tcp(new)) => {
                keep(&mut old.state, new.state);
                keep(&mut old.wscale_orig, new.wscale_orig);
                keep(&mut old.wscale_reply, new.wscale_reply);
                keep(&mut old.flags_orig, new.flags_orig);
                keep(&mut old.flags_reply, new.flags_reply);
            }
            (Self::Sctp(old), Self::Sctp(new)) => {
                keep(&mut old.state, new.state);
                keep(&mut old.vtag_orig, new.vtag_orig);
                keep(&mut old.vtag_reply, new.vtag_reply);
            }
            (Self::Dccp(old), Self::Dccp(new)) => {
                keep(&mut old.state, new.state);
                keep(&mut old.role, new.role);
                keep(&mut old.handshake_seq, new.handshake_seq);
            }
            (old, new) => *old = *new,
        }
    }

    /// The TCP state, for TCP entries that have one.
    #[must_use]
    pub fn tcp_state(&self) -> Option<TcpState> {
        match self {
            Self::Tcp(tcp) => tcp.state,
            _ => None,
        }
    }
}
