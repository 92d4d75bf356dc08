//! What of an entry is told.

use std::ops::{BitOr, BitOrAssign};

use flow::{Flow, Nat, ProtoInfo, Tcp};

/// A set of parts of an entry, numbered by how often they change: the first seven cost one byte.
///
/// Not among them, and not told: packet and byte counts, time stamps, the kernel's identifier and reference
/// count. The original tuple and the zones are what the entry is: they never change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fields(u32);

impl Fields {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// Status bits.
    pub const STATUS: Self = Self(1 << 0);
    /// Seconds until it expires. No part of any digest: it runs.
    pub const TIMEOUT: Self = Self(1 << 1);
    /// TCP state.
    pub const TCP_STATE: Self = Self(1 << 2);
    /// TCP window scales and flags.
    pub const TCP_OPTIONS: Self = Self(1 << 3);
    /// Mark.
    pub const MARK: Self = Self(1 << 4);
    /// Reply direction.
    pub const REPLY: Self = Self(1 << 5);
    /// Labels.
    pub const LABELS: Self = Self(1 << 6);
    /// SCTP state and tags.
    pub const SCTP: Self = Self(1 << 7);
    /// DCCP state, role and sequence number.
    pub const DCCP: Self = Self(1 << 8);
    /// Original tuple of the master.
    pub const MASTER: Self = Self(1 << 9);
    /// Translation asked for, where a version 1 peer told it instead of a reply direction.
    pub const NAT: Self = Self(1 << 10);
    /// Sequence shift of the original direction.
    pub const SEQ_ADJ_ORIG: Self = Self(1 << 11);
    /// Sequence shift of the reply direction.
    pub const SEQ_ADJ_REPLY: Self = Self(1 << 12);
    /// Helper.
    pub const HELPER: Self = Self(1 << 13);
    /// SYN proxy.
    pub const SYNPROXY: Self = Self(1 << 14);
    /// Some parts are known no more; a second set says which.
    pub(super) const CLEARED: Self = Self(1 << 15);
    /// Every part.
    pub const ALL: Self = Self((1 << 15) - 1);
    /// Every part that a digest covers.
    pub const PROVED: Self = Self(Self::ALL.0 & !Self::TIMEOUT.0);
    /// The parts that make a protocol's state.
    const PROTO: Self = Self(Self::TCP_STATE.0 | Self::TCP_OPTIONS.0 | Self::SCTP.0 | Self::DCCP.0);

    /// A set as it travels. Bits of later versions are kept.
    #[must_use]
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// The set as it travels.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Whether nothing is in it.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether all of `other` is in it.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether any of `other` is in it.
    #[must_use]
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// What both have.
    #[must_use]
    pub const fn common(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// This without `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// What is known of an entry.
    #[must_use]
    pub fn known(flow: &Flow) -> Self {
        let mut known = Self::of_proto(&flow.proto);
        for (field, is_known) in [
            (Self::STATUS, flow.status.is_some()),
            (Self::TIMEOUT, flow.timeout_s.is_some()),
            (Self::MARK, flow.mark.is_some()),
            (Self::REPLY, flow.reply.is_some()),
            (Self::LABELS, flow.labels.is_some()),
            (Self::MASTER, flow.master.is_some()),
            (Self::NAT, flow.nat != Nat::default()),
            (Self::SEQ_ADJ_ORIG, flow.seq_adj_orig.is_some()),
            (Self::SEQ_ADJ_REPLY, flow.seq_adj_reply.is_some()),
            (Self::HELPER, flow.helper.is_some()),
            (Self::SYNPROXY, flow.synproxy.is_some()),
        ] {
            known.0 |= if is_known { field.0 } else { 0 };
        }
        known
    }

    /// What an update must tell so that `old` becomes `new`; both must be the same entry (original tuple and
    /// zones), which is not looked at.
    #[must_use]
    pub fn changed(old: &Flow, new: &Flow) -> Self {
        let mut changed = Self::changed_proto(&old.proto, &new.proto);
        for (field, differs) in [
            (Self::STATUS, old.status != new.status),
            (Self::TIMEOUT, old.timeout_s != new.timeout_s),
            (Self::MARK, old.mark != new.mark),
            (Self::REPLY, old.reply != new.reply),
            (Self::LABELS, old.labels != new.labels),
            (Self::MASTER, old.master != new.master),
            (Self::NAT, old.nat != new.nat),
            (Self::SEQ_ADJ_ORIG, old.seq_adj_orig != new.seq_adj_orig),
            (Self::SEQ_ADJ_REPLY, old.seq_adj_reply != new.seq_adj_reply),
            (Self::HELPER, old.helper != new.helper),
            (Self::SYNPROXY, old.synproxy != new.synproxy),
        ] {
            changed.0 |= if differs { field.0 } else { 0 };
        }
        changed
    }

    fn of_proto(proto: &ProtoInfo) -> Self {
        match proto {
            ProtoInfo::None => Self::NONE,
            ProtoInfo::Tcp(tcp) if has_options(tcp) => Self::TCP_STATE | Self::TCP_OPTIONS,
            ProtoInfo::Tcp(_) => Self::TCP_STATE,
            ProtoInfo::Sctp(_) => Self::SCTP,
            ProtoInfo::Dccp(_) => Self::DCCP,
        }
    }

    fn changed_proto(old: &ProtoInfo, new: &ProtoInfo) -> Self {
        if old == new {
            return Self::NONE;
        }
        let (ProtoInfo::Tcp(old), ProtoInfo::Tcp(new)) = (old, new) else {
            return Self::of_proto(old) | Self::of_proto(new);
        };
        let mut changed = Self::NONE;
        if old.state != new.state {
            changed |= Self::TCP_STATE;
        }
        if (Tcp {
            state: None,
            ..*old
        }) != (Tcp {
            state: None,
            ..*new
        }) {
            changed |= Self::TCP_OPTIONS;
        }
        changed
    }

    /// What of these parts is known no more. The state of a protocol goes only as a whole.
    pub(super) fn cleared(self, flow: &Flow) -> Self {
        let cleared = self.without(Self::known(flow));
        match flow.proto {
            ProtoInfo::None => cleared,
            // The state is told anew, with all that belongs to it.
            _ => cleared.without(Self::PROTO),
        }
    }

    /// What of these parts is told by its value.
    pub(super) fn told(self, flow: &Flow) -> Self {
        let told = self.common(Self::known(flow));
        // Options that are known no more are told as options without any.
        match flow.proto {
            ProtoInfo::Tcp(_) if self.intersects(Self::TCP_OPTIONS) => told | Self::TCP_OPTIONS,
            _ => told,
        }
    }

    /// Forgets these parts of an entry.
    pub(super) fn clear(self, flow: &mut Flow) {
        if self.intersects(Self::PROTO) {
            flow.proto = ProtoInfo::None;
        }
        fn forget<T>(these: Fields, field: Fields, value: &mut Option<T>) {
            if these.contains(field) {
                *value = None;
            }
        }
        forget(self, Self::STATUS, &mut flow.status);
        forget(self, Self::TIMEOUT, &mut flow.timeout_s);
        forget(self, Self::MARK, &mut flow.mark);
        forget(self, Self::REPLY, &mut flow.reply);
        forget(self, Self::LABELS, &mut flow.labels);
        forget(self, Self::MASTER, &mut flow.master);
        forget(self, Self::SEQ_ADJ_ORIG, &mut flow.seq_adj_orig);
        forget(self, Self::SEQ_ADJ_REPLY, &mut flow.seq_adj_reply);
        forget(self, Self::HELPER, &mut flow.helper);
        forget(self, Self::SYNPROXY, &mut flow.synproxy);
        if self.contains(Self::NAT) {
            flow.nat = Nat::default();
        }
    }
}

fn has_options(tcp: &Tcp) -> bool {
    *tcp != Tcp {
        state: tcp.state,
        ..Tcp::default()
    }
}

impl BitOr for Fields {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for Fields {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}
