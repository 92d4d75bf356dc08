//! A connection-tracking entry.

use std::net::IpAddr;

use crate::{HelperName, L4, ProtoInfo, Status, Tuple};

/// Zone of each direction; 0 is the default zone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Zone {
    /// Zone of the original direction.
    pub orig: u16,
    /// Zone of the reply direction.
    pub reply: u16,
}

impl Zone {
    /// The same zone in both directions.
    #[must_use]
    pub const fn both(zone: u16) -> Self {
        Self {
            orig: zone,
            reply: zone,
        }
    }
}

/// What identifies an entry: its original tuple and the zone of that direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// Original tuple.
    pub tuple: Tuple,
    /// Zone of the original direction.
    pub zone: u16,
}

/// Address translation, as it is asked of the kernel: the new source, the new destination.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Nat {
    /// New source address.
    pub src_addr: Option<IpAddr>,
    /// New source port.
    pub src_port: Option<u16>,
    /// New destination address.
    pub dst_addr: Option<IpAddr>,
    /// New destination port.
    pub dst_port: Option<u16>,
}

impl Nat {
    /// Whether anything of the source is translated.
    #[must_use]
    pub fn has_src(&self) -> bool {
        self.src_addr.is_some() || self.src_port.is_some()
    }

    /// Whether anything of the destination is translated.
    #[must_use]
    pub fn has_dst(&self) -> bool {
        self.dst_addr.is_some() || self.dst_port.is_some()
    }
}

/// Shift of TCP sequence numbers in one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SeqAdj {
    /// Position of the last change.
    pub correction_pos: u32,
    /// Shift before it.
    pub offset_before: u32,
    /// Shift after it.
    pub offset_after: u32,
}

/// State of a connection that passed a SYN proxy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Synproxy {
    /// Initial sequence number.
    pub isn: u32,
    /// Initial timestamp.
    pub its: u32,
    /// Timestamp offset.
    pub tsoff: u32,
}

/// Packets and bytes of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Counters {
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

/// Life span, nanoseconds since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Timestamp {
    /// Start.
    pub start_ns: u64,
    /// End, once it has ended.
    pub stop_ns: Option<u64>,
}

/// Connection labels: up to 128 bits in words of 32; bit `n` of word `w` is label `32 * w + n`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Labels {
    words: [u32; 4],
    len: u8,
}

impl Labels {
    /// Takes the first four words; `None` when there is none.
    #[must_use]
    pub fn new(words: impl IntoIterator<Item = u32>) -> Option<Self> {
        let mut labels = Self::default();
        for (slot, word) in labels.words.iter_mut().zip(words) {
            *slot = word;
            labels.len = labels.len.saturating_add(1);
        }
        (labels.len > 0).then_some(labels)
    }

    /// The words that were given.
    #[must_use]
    pub fn words(&self) -> &[u32] {
        self.words.get(..usize::from(self.len)).unwrap_or_default()
    }

    /// All four words; those not given are zero.
    #[must_use]
    pub fn all_words(&self) -> [u32; 4] {
        self.words
    }

    /// Whether no label is set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.words == [0; 4]
    }
}

/// A connection-tracking entry. Optional fields are `None` when the source did not tell them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Original direction.
    pub orig: Tuple,
    /// Reply direction as it is on the wire, that is, after translation. The peer does not send it.
    pub reply: Option<Tuple>,
    /// Zones.
    pub zone: Zone,
    /// Status bits.
    pub status: Option<Status>,
    /// Seconds until the entry expires.
    pub timeout_s: Option<u32>,
    /// Packet mark.
    pub mark: Option<u32>,
    /// State of the transport protocol.
    pub proto: ProtoInfo,
    /// Original tuple of the connection that announced this one.
    pub master: Option<Tuple>,
    /// Translation asked for. The kernel never reports it; see [`Flow::translation`].
    pub nat: Nat,
    /// Sequence shift of the original direction.
    pub seq_adj_orig: Option<SeqAdj>,
    /// Sequence shift of the reply direction.
    pub seq_adj_reply: Option<SeqAdj>,
    /// Helper.
    pub helper: Option<HelperName>,
    /// Labels.
    pub labels: Option<Labels>,
    /// SYN proxy state.
    pub synproxy: Option<Synproxy>,
    /// Counters of the original direction.
    pub counters_orig: Option<Counters>,
    /// Counters of the reply direction.
    pub counters_reply: Option<Counters>,
    /// Life span.
    pub timestamp: Option<Timestamp>,
    /// Moment of the event, nanoseconds since 1970.
    pub event_time_ns: Option<u64>,
    /// The kernel's identifier of this very entry.
    pub id: Option<u32>,
    /// The kernel's reference count.
    pub use_count: Option<u32>,
}

impl Flow {
    /// An entry of which nothing but the original direction is known.
    #[must_use]
    pub const fn new(orig: Tuple) -> Self {
        Self {
            orig,
            reply: None,
            zone: Zone { orig: 0, reply: 0 },
            status: None,
            timeout_s: None,
            mark: None,
            proto: ProtoInfo::None,
            master: None,
            nat: Nat {
                src_addr: None,
                src_port: None,
                dst_addr: None,
                dst_port: None,
            },
            seq_adj_orig: None,
            seq_adj_reply: None,
            helper: None,
            labels: None,
            synproxy: None,
            counters_orig: None,
            counters_reply: None,
            timestamp: None,
            event_time_ns: None,
            id: None,
            use_count: None,
        }
    }

    /// What identifies this entry.
    #[must_use]
    pub fn key(&self) -> Key {
        Key {
            tuple: self.orig,
            zone: self.zone.orig,
        }
    }

    /// Status bits; none when they are not known.
    #[must_use]
    pub fn status_bits(&self) -> Status {
        self.status.unwrap_or_default()
    }

    /// The translation that leads from the original tuple to the reply tuple.
    ///
    /// Without a reply tuple, the translation that was asked for. A part counts as translated when
    /// the kernel says that this kind of translation was decided and the two directions differ.
    #[must_use]
    pub fn translation(&self) -> Nat {
        let Some(reply) = &self.reply else {
            return self.nat;
        };
        let status = self.status_bits();
        let mut nat = Nat::default();
        if status.contains(Status::SRC_NAT_DONE) {
            nat.src_addr = differing(reply.dst(), self.orig.src());
            nat.src_port = both(reply.dport(), self.orig.sport());
        }
        if status.contains(Status::DST_NAT_DONE) {
            nat.dst_addr = differing(reply.src(), self.orig.dst());
            nat.dst_port = both(reply.sport(), self.orig.dport());
        }
        nat
    }

    /// The reply direction: the one told, else the mirrored original with [`Flow::nat`] applied.
    #[must_use]
    pub fn reply_direction(&self) -> Tuple {
        if let Some(reply) = self.reply {
            return reply;
        }
        let mut reply = self.orig.mirrored();
        let src = self.nat.dst_addr.unwrap_or(reply.src());
        let dst = self.nat.src_addr.unwrap_or(reply.dst());
        if let Some(addrs) = crate::Addrs::new(src, dst) {
            reply.addrs = addrs;
        }
        if let L4::Ports { src, dst } = &mut reply.l4 {
            *src = self.nat.dst_port.unwrap_or(*src);
            *dst = self.nat.src_port.unwrap_or(*dst);
        }
        reply
    }

    /// Takes over everything that `update` tells and keeps the rest. Tuples and zone stay.
    pub fn merge(&mut self, update: &Self) {
        fn keep<T: Copy>(old: &mut Option<T>, new: Option<T>) {
            if new.is_some() {
                *old = new;
            }
        }
        keep(&mut self.reply, update.reply);
        keep(&mut self.status, update.status);
        keep(&mut self.timeout_s, update.timeout_s);
        keep(&mut self.mark, update.mark);
        self.proto.merge(&update.proto);
        keep(&mut self.master, update.master);
        keep(&mut self.nat.src_addr, update.nat.src_addr);
        keep(&mut self.nat.src_port, update.nat.src_port);
        keep(&mut self.nat.dst_addr, update.nat.dst_addr);
        keep(&mut self.nat.dst_port, update.nat.dst_port);
        keep(&mut self.seq_adj_orig, update.seq_adj_orig);
        keep(&mut self.seq_adj_reply, update.seq_adj_reply);
        keep(&mut self.helper, update.helper);
        keep(&mut self.labels, update.labels);
        keep(&mut self.synproxy, update.synproxy);
        keep(&mut self.counters_orig, update.counters_orig);
        keep(&mut self.counters_reply, update.counters_reply);
        keep(&mut self.timestamp, update.timestamp);
        keep(&mut self.event_time_ns, update.event_time_ns);
        keep(&mut self.id, update.id);
        keep(&mut self.use_count, update.use_count);
    }
}

fn differing<T: PartialEq>(new: T, old: T) -> Option<T> {
    (new != old).then_some(new)
}

fn both(new: Option<u16>, old: Option<u16>) -> Option<u16> {
    differing(new?, old?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Addrs;

    fn tuple(src: &str, sport: u16, dst: &str, dport: u16) -> Tuple {
        Tuple {
            addrs: Addrs::new(src.parse().unwrap(), dst.parse().unwrap()).unwrap(),
            proto: 6,
            l4: L4::Ports {
                src: sport,
                dst: dport,
            },
        }
    }

    #[test]
    fn translation_is_what_leads_from_the_original_to_the_reply() {
        let mut flow = Flow::new(tuple("10.1.0.2", 1000, "192.0.2.1", 80));
        flow.reply = Some(tuple("10.2.0.2", 8080, "203.0.113.1", 4444));
        assert_eq!(
            flow.translation(),
            Nat::default(),
            "the kernel decided no translation"
        );

        flow.status = Some(Status::SRC_NAT_DONE | Status::DST_NAT_DONE);
        let nat = flow.translation();
        assert_eq!(nat.src_addr, Some("203.0.113.1".parse().unwrap()));
        assert_eq!(nat.src_port, Some(4444));
        assert_eq!(nat.dst_addr, Some("10.2.0.2".parse().unwrap()));
        assert_eq!(nat.dst_port, Some(8080));

        let told = flow.reply;
        let from_peer = Flow {
            reply: None,
            nat,
            ..flow
        };
        assert_eq!(Some(from_peer.reply_direction()), told);
        assert_eq!(from_peer.translation(), nat);
    }

    #[test]
    fn merge_keeps_what_the_update_does_not_tell() {
        let mut flow = Flow::new(tuple("10.1.0.2", 1, "10.2.0.2", 2));
        flow.mark = Some(5);
        flow.timeout_s = Some(100);
        let mut update = Flow::new(flow.orig);
        update.timeout_s = Some(7);
        flow.merge(&update);
        assert_eq!((flow.mark, flow.timeout_s), (Some(5), Some(7)));
    }

    #[test]
    fn labels_remember_how_many_words_they_had() {
        assert_eq!(Labels::new([]), None);
        let labels = Labels::new([1, 2]).unwrap();
        assert_eq!(labels.words(), [1, 2]);
        assert_eq!(labels.all_words(), [1, 2, 0, 0]);
        assert_eq!(Labels::new([1, 2, 3, 4, 5]).unwrap().words(), [1, 2, 3, 4]);
    }
}
