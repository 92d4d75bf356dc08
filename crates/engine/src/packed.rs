//! A connection as the caches keep it: what every entry has in place, what few have in a box.
//!
//! Counters, timestamps and reference counts are not kept: nobody asks for them, and they change all the
//! time.

use std::net::{IpAddr, Ipv4Addr};

use flow::{
    Addrs, Flow, HelperName, L4, Labels, Nat, ProtoInfo, SeqAdj, Status, Synproxy, Tcp, TcpState,
    Tuple, Zone,
};
use native::message::Usual;

mod present {
    pub(super) const STATUS: u16 = 1 << 0;
    pub(super) const TIMEOUT: u16 = 1 << 1;
    pub(super) const MARK: u16 = 1 << 2;
    pub(super) const ID: u16 = 1 << 3;
    pub(super) const TCP: u16 = 1 << 4;
    pub(super) const TCP_STATE: u16 = 1 << 5;
    pub(super) const WSCALE_ORIG: u16 = 1 << 6;
    pub(super) const WSCALE_REPLY: u16 = 1 << 7;
    /// The SYN proxy block is there and all zero.
    pub(super) const SYNPROXY_ZERO: u16 = 1 << 8;
    /// The reply is the mirrored original.
    pub(super) const REPLY_MIRRORED: u16 = 1 << 9;
    /// The reply is in `other`.
    pub(super) const REPLY_V4: u16 = 1 << 10;
    /// Parts of the translation are in `other`.
    pub(super) const NAT_SRC_ADDR: u16 = 1 << 11;
    pub(super) const NAT_SRC_PORT: u16 = 1 << 12;
    pub(super) const NAT_DST_ADDR: u16 = 1 << 13;
    pub(super) const NAT_DST_PORT: u16 = 1 << 14;
    pub(super) const NAT: u16 = NAT_SRC_ADDR | NAT_SRC_PORT | NAT_DST_ADDR | NAT_DST_PORT;
}

/// Two IPv4 addresses and ports: the reply tuple, or the translation.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Other {
    src: [u8; 4],
    dst: [u8; 4],
    sport: u16,
    dport: u16,
}

/// What few entries have.
#[derive(Clone, Debug, Default)]
struct Extras {
    reply: Option<Tuple>,
    nat: Nat,
    proto: ProtoInfo,
    master: Option<Tuple>,
    seq_adj_orig: Option<SeqAdj>,
    seq_adj_reply: Option<SeqAdj>,
    helper: Option<HelperName>,
    labels: Option<Labels>,
    synproxy: Option<Synproxy>,
}

/// A connection, packed.
#[derive(Clone, Debug)]
pub(crate) struct PackedFlow {
    orig: Tuple,
    zone: Zone,
    present: u16,
    tcp_state: u8,
    wscales: [u8; 2],
    status: u32,
    timeout_s: u32,
    mark: u32,
    id: u32,
    other: Other,
    extras: Option<Box<Extras>>,
}

impl PackedFlow {
    pub(crate) fn orig(&self) -> &Tuple {
        &self.orig
    }

    pub(crate) fn zone(&self) -> u16 {
        self.zone.orig
    }

    /// The kernel's identifier of this very entry.
    pub(crate) fn id(&self) -> Option<u32> {
        self.has(present::ID).then_some(self.id)
    }

    /// Reads a little of everything.
    pub(crate) fn touch(&self) -> u32 {
        u32::from(self.orig.proto) ^ self.status ^ u32::from(self.other.dport) ^ self.id
    }

    /// Whether two common entries are the same but for identifier and running timeout; a mark and a SYN proxy block
    /// that are zero count as none. `None`: one of them is not common, they must be unpacked to be compared.
    pub(crate) fn is_like(&self, other: &Self) -> Option<bool> {
        /// What does not tell entries apart.
        const ASIDE: u16 = present::TIMEOUT | present::ID | present::MARK | present::SYNPROXY_ZERO;
        if self.extras.is_some() || other.extras.is_some() {
            return None;
        }
        let compared = |p: &Self| (p.present & !ASIDE, p.status, p.mark, p.tcp_state, p.wscales);
        Some(
            compared(self) == compared(other)
                && self.other == other.other
                && self.orig == other.orig
                && self.zone == other.zone,
        )
    }

    pub(crate) fn has_master(&self) -> bool {
        self.extras
            .as_ref()
            .is_some_and(|extras| extras.master.is_some())
    }

    /// Takes over what `update` tells and keeps the rest, as [`Object::merge`](crate::cache::Object::merge) does.
    /// Returns whether it did: not if anything of either is rare.
    #[inline]
    pub(crate) fn merge(&mut self, update: &Flow) -> bool {
        if self.extras.is_some()
            || self.has(present::NAT)
            || update.nat != Nat::default()
            || update.master.is_some()
            || update.seq_adj_orig.is_some()
            || update.seq_adj_reply.is_some()
            || update.helper.is_some()
            || update.labels.is_some()
            || update.synproxy.is_some_and(|s| s != Synproxy::default())
        {
            return false;
        }
        let is_common = matches!(update.proto, ProtoInfo::None | ProtoInfo::Tcp(_));
        if !is_common || !update.reply.is_none_or(|reply| self.has_reply(&reply)) {
            return false;
        }
        self.scalar(present::STATUS, update.status.map(|s| s.0), |p| {
            &mut p.status
        });
        self.scalar(present::TIMEOUT, update.timeout_s, |p| &mut p.timeout_s);
        self.scalar(present::MARK, update.mark, |p| &mut p.mark);
        self.scalar(present::ID, update.id, |p| &mut p.id);
        self.set_proto(&update.proto);
        if update.synproxy.is_some() {
            self.present |= present::SYNPROXY_ZERO;
        }
        true
    }

    /// Takes over what an update tells that tells but the usual. Returns whether it did: not if anything is rare.
    #[inline]
    pub(crate) fn adjust(&mut self, changes: &Usual) -> bool {
        if self.extras.is_some() {
            return false;
        }
        self.scalar(present::STATUS, changes.status.map(|s| s.0), |p| {
            &mut p.status
        });
        self.scalar(present::TIMEOUT, changes.timeout_s, |p| &mut p.timeout_s);
        if let Some(state) = changes.tcp_state {
            self.present |= present::TCP | present::TCP_STATE;
            self.tcp_state = state as u8;
        }
        true
    }

    /// Whether this is the reply that is known, without building that.
    fn has_reply(&self, reply: &Tuple) -> bool {
        self.has(present::REPLY_MIRRORED) && self.orig.is_mirror_of(reply)
    }

    pub(crate) fn pack(flow: &Flow) -> Self {
        let mut packed = Self {
            orig: flow.orig,
            zone: flow.zone,
            present: 0,
            tcp_state: 0,
            wscales: [0; 2],
            status: 0,
            timeout_s: 0,
            mark: 0,
            id: 0,
            other: Other::default(),
            extras: None,
        };
        packed.scalar(present::STATUS, flow.status.map(|s| s.0), |p| &mut p.status);
        packed.scalar(present::TIMEOUT, flow.timeout_s, |p| &mut p.timeout_s);
        packed.scalar(present::MARK, flow.mark, |p| &mut p.mark);
        packed.scalar(present::ID, flow.id, |p| &mut p.id);
        packed.set_proto(&flow.proto);
        packed.set_reply(flow.reply);
        packed.set_nat(&flow.nat);
        match flow.synproxy {
            Some(synproxy) if synproxy == Synproxy::default() => {
                packed.present |= present::SYNPROXY_ZERO;
            }
            Some(_) => packed.extras().synproxy = flow.synproxy,
            None => {}
        }
        if flow.master.is_some() {
            packed.extras().master = flow.master;
        }
        if flow.seq_adj_orig.is_some() || flow.seq_adj_reply.is_some() {
            packed.extras().seq_adj_orig = flow.seq_adj_orig;
            packed.extras().seq_adj_reply = flow.seq_adj_reply;
        }
        if flow.helper.is_some() {
            packed.extras().helper = flow.helper;
        }
        if flow.labels.is_some() {
            packed.extras().labels = flow.labels;
        }
        packed
    }

    pub(crate) fn unpack(&self) -> Flow {
        let mut flow = Flow::new(self.orig);
        flow.zone = self.zone;
        flow.status = self.has(present::STATUS).then_some(Status(self.status));
        flow.timeout_s = self.has(present::TIMEOUT).then_some(self.timeout_s);
        flow.mark = self.has(present::MARK).then_some(self.mark);
        flow.id = self.has(present::ID).then_some(self.id);
        if self.has(present::TCP) {
            let state = TcpState::from_number(self.tcp_state);
            flow.proto = ProtoInfo::Tcp(Tcp {
                state: state.filter(|_| self.has(present::TCP_STATE)),
                wscale_orig: self.has(present::WSCALE_ORIG).then_some(self.wscales[0]),
                wscale_reply: self.has(present::WSCALE_REPLY).then_some(self.wscales[1]),
                ..Tcp::default()
            });
        }
        flow.reply = self.reply();
        flow.nat = self.nat();
        if self.has(present::SYNPROXY_ZERO) {
            flow.synproxy = Some(Synproxy::default());
        }
        if let Some(extras) = &self.extras {
            if extras.proto != ProtoInfo::None {
                flow.proto = extras.proto;
            }
            if extras.nat != Nat::default() {
                flow.nat = extras.nat;
            }
            flow.master = extras.master;
            flow.seq_adj_orig = extras.seq_adj_orig;
            flow.seq_adj_reply = extras.seq_adj_reply;
            flow.helper = extras.helper;
            flow.labels = extras.labels;
            flow.synproxy = extras.synproxy.or(flow.synproxy);
        }
        flow
    }

    fn has(&self, bit: u16) -> bool {
        self.present & bit != 0
    }

    fn extras(&mut self) -> &mut Extras {
        self.extras.get_or_insert_default()
    }

    fn scalar(&mut self, bit: u16, value: Option<u32>, field: fn(&mut Self) -> &mut u32) {
        if let Some(value) = value {
            self.present |= bit;
            *field(self) = value;
        }
    }

    fn set_proto(&mut self, proto: &ProtoInfo) {
        match proto {
            ProtoInfo::None => {}
            // Flags are the kernel's own affair and no part of what is replicated.
            ProtoInfo::Tcp(tcp) => {
                self.present |= present::TCP;
                if let Some(state) = tcp.state {
                    self.present |= present::TCP_STATE;
                    self.tcp_state = state as u8;
                }
                if let Some(scale) = tcp.wscale_orig {
                    self.present |= present::WSCALE_ORIG;
                    self.wscales[0] = scale;
                }
                if let Some(scale) = tcp.wscale_reply {
                    self.present |= present::WSCALE_REPLY;
                    self.wscales[1] = scale;
                }
            }
            other => self.extras().proto = *other,
        }
    }

    fn set_reply(&mut self, reply: Option<Tuple>) {
        let Some(reply) = reply else { return };
        if self.orig.is_mirror_of(&reply) {
            self.present |= present::REPLY_MIRRORED;
        } else if let Some(other) = Other::of_reply(&reply, &self.orig.mirrored()) {
            self.present |= present::REPLY_V4;
            self.other = other;
        } else {
            self.extras().reply = Some(reply);
        }
    }

    fn reply(&self) -> Option<Tuple> {
        let mirrored = || self.orig.mirrored();
        if self.has(present::REPLY_MIRRORED) {
            Some(mirrored())
        } else if self.has(present::REPLY_V4) {
            Some(self.other.to_reply(mirrored()))
        } else {
            self.extras.as_ref()?.reply
        }
    }

    fn set_nat(&mut self, nat: &Nat) {
        if *nat == Nat::default() {
            return;
        }
        let v6 = [nat.src_addr, nat.dst_addr]
            .into_iter()
            .flatten()
            .any(|a| a.is_ipv6());
        if v6 || self.has(present::REPLY_V4) {
            self.extras().nat = *nat;
            return;
        }
        let octets = |address| match address {
            Some(IpAddr::V4(v4)) => v4.octets(),
            _ => [0; 4],
        };
        self.other = Other {
            src: octets(nat.src_addr),
            dst: octets(nat.dst_addr),
            sport: nat.src_port.unwrap_or_default(),
            dport: nat.dst_port.unwrap_or_default(),
        };
        for (bit, there) in [
            (present::NAT_SRC_ADDR, nat.src_addr.is_some()),
            (present::NAT_SRC_PORT, nat.src_port.is_some()),
            (present::NAT_DST_ADDR, nat.dst_addr.is_some()),
            (present::NAT_DST_PORT, nat.dst_port.is_some()),
        ] {
            if there {
                self.present |= bit;
            }
        }
    }

    fn nat(&self) -> Nat {
        if !self.has(present::NAT) {
            return Nat::default();
        }
        let address = |octets: [u8; 4]| IpAddr::V4(Ipv4Addr::from(octets));
        Nat {
            src_addr: self
                .has(present::NAT_SRC_ADDR)
                .then(|| address(self.other.src)),
            src_port: self.has(present::NAT_SRC_PORT).then_some(self.other.sport),
            dst_addr: self
                .has(present::NAT_DST_ADDR)
                .then(|| address(self.other.dst)),
            dst_port: self.has(present::NAT_DST_PORT).then_some(self.other.dport),
        }
    }
}

impl Other {
    /// The reply of an IPv4 connection, where it differs from the mirrored original in no more than
    /// addresses, ports or the ICMP id.
    fn of_reply(reply: &Tuple, mirrored: &Tuple) -> Option<Self> {
        let Addrs::V4 { src, dst } = reply.addrs else {
            return None;
        };
        let (sport, dport) = match (reply.l4, mirrored.l4) {
            (L4::Ports { src, dst }, L4::Ports { .. }) => (src, dst),
            (
                L4::Icmp {
                    id,
                    icmp_type,
                    code,
                },
                L4::Icmp {
                    icmp_type: t,
                    code: c,
                    ..
                },
            ) if (icmp_type, code) == (t, c) => (id, 0),
            (L4::None, L4::None) => (0, 0),
            _ => return None,
        };
        if reply.proto != mirrored.proto || reply.family() != mirrored.family() {
            return None;
        }
        Some(Self {
            src: src.octets(),
            dst: dst.octets(),
            sport,
            dport,
        })
    }

    fn to_reply(self, mut reply: Tuple) -> Tuple {
        reply.addrs = Addrs::V4 {
            src: self.src.into(),
            dst: self.dst.into(),
        };
        match &mut reply.l4 {
            L4::None => {}
            L4::Ports { src, dst } => (*src, *dst) = (self.sport, self.dport),
            L4::Icmp { id, .. } => *id = self.sport,
        }
        reply
    }
}

#[cfg(test)]
mod tests;
