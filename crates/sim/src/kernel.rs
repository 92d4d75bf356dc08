//! A kernel's connection tracking, as far as ctnetlink shows it.
//!
//! Tables are keyed as the kernel keys them. Packets and other tools change them through methods, the
//! daemon through batches of requests; both raise events. What the kernel refuses, this one refuses
//! with the same error.

mod events;
mod request;

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use ctnetlink::EventKind;
use flow::{Expectation, Flow, Key, L4, ProtoInfo, Status, Synproxy, TcpFlags, Tuple};

pub use events::{Received, Socket};

pub(crate) mod errno {
    pub(crate) const ENOENT: i32 = 2;
    pub(crate) const ENOMEM: i32 = 12;
    pub(crate) const EBUSY: i32 = 16;
    pub(crate) const EEXIST: i32 = 17;
    pub(crate) const EINVAL: i32 = 22;
    pub(crate) const EOPNOTSUPP: i32 = 95;
}

/// Helpers whose modules are loaded where all are.
pub const HELPERS: [&[u8]; 3] = [b"ftp", b"sip", b"tftp"];

/// So many entries made one after the other have the same id.
const ENTRIES_OF_AN_ID: u32 = 4;

/// The longest that an expectation of these helpers lives.
const EXPECTATION_TIMEOUT: Duration = Duration::from_secs(300);

/// The end of an entry that raises no events is noticed within this time.
const UNHEARD: Duration = Duration::from_secs(35);

/// The port id of events that packets cause.
pub const PACKETS: u32 = 0;

/// The port id of another tool that changes tables.
pub const OTHER_TOOL: u32 = 4242;

/// What identifies an expectation in the kernel.
pub(crate) type ExpectationKey = (Tuple, Tuple, u16);

#[derive(Clone, Debug)]
pub(crate) struct Entry {
    flow: Flow,
    expires: Instant,
    /// It was made while nobody listened, and raises no events.
    deaf: bool,
}

/// The end of an entry.
#[derive(Clone, Copy, Debug)]
struct End {
    key: Key,
    at: Instant,
    /// No event told of it.
    deaf: bool,
    /// Who ended it.
    cause: u32,
}

#[derive(Clone, Debug)]
pub(crate) struct Expected {
    expectation: Expectation,
    expires: Instant,
}

/// Both tables of one node.
#[derive(Debug)]
pub struct SimKernel {
    flows: BTreeMap<Key, Entry>,
    /// Key of the entry that has this tuple and zone in its reply direction.
    replies: BTreeMap<(Tuple, u16), Key>,
    expectations: BTreeMap<ExpectationKey, Expected>,
    next_id: u32,
    /// Most entries in the table (`nf_conntrack_max`).
    pub table_max: usize,
    events: Option<Socket>,
    sockets: BTreeMap<u32, Socket>,
    /// Every key that was ever in the table.
    history: HashSet<Key>,
    /// What ended, in order.
    ends: Vec<End>,
    /// Helpers whose modules are loaded.
    pub helpers: &'static [&'static [u8]],
    /// `nf_conntrack_events` is at its default of 2: what is made while nobody listens is deaf for ever.
    pub events_on_demand: bool,
}

impl SimKernel {
    /// Empty tables.
    #[must_use]
    pub fn new(table_max: usize) -> Self {
        Self {
            flows: BTreeMap::new(),
            replies: BTreeMap::new(),
            expectations: BTreeMap::new(),
            next_id: 1,
            table_max,
            events: None,
            sockets: BTreeMap::new(),
            history: HashSet::new(),
            ends: Vec::new(),
            helpers: &HELPERS,
            events_on_demand: false,
        }
    }

    /// Entries in the table.
    #[must_use]
    pub fn len(&self) -> usize {
        self.flows.len()
    }

    /// Whether the table is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.flows.is_empty()
    }

    /// The entries, as a dump would show them.
    pub fn flows(&self, now: Instant) -> impl Iterator<Item = Flow> + '_ {
        self.flows.values().map(move |entry| entry.shown(now))
    }

    /// The expectations, as a dump would show them.
    pub fn expectations(&self, now: Instant) -> impl Iterator<Item = Expectation> + '_ {
        self.expectations
            .values()
            .map(move |entry| entry.shown(now))
    }

    /// The entry with this key.
    #[must_use]
    pub fn flow(&self, key: &Key, now: Instant) -> Option<Flow> {
        self.flows.get(key).map(|entry| entry.shown(now))
    }

    /// Keys in order, for a workload to choose from.
    #[must_use]
    pub fn keys(&self) -> Vec<Key> {
        self.flows.keys().copied().collect()
    }

    /// Whether an entry with this key was ever in the table.
    #[must_use]
    pub fn ever_had(&self, key: &Key) -> bool {
        self.history.contains(key)
    }

    /// Whether an entry with this key ended without an event, and so lately that nobody can know.
    #[must_use]
    pub fn ended_unheard(&self, key: &Key, now: Instant) -> bool {
        let since = now.checked_sub(UNHEARD);
        since.is_some_and(|since| {
            self.ends_since(since)
                .any(|end| end.deaf && end.key == *key)
        })
    }

    /// Whether an entry with this key has ended since.
    #[must_use]
    pub fn ended_since(&self, key: &Key, since: Instant) -> bool {
        self.ends_since(since).any(|end| end.key == *key)
    }

    /// Whether an entry with this key has ended since without anybody having deleted it.
    #[must_use]
    pub fn ran_out_since(&self, key: &Key, since: Instant) -> bool {
        self.ends_since(since)
            .any(|end| end.key == *key && end.cause == PACKETS)
    }

    fn ends_since(&self, since: Instant) -> impl Iterator<Item = &End> {
        let ends = self.ends.iter().rev();
        ends.take_while(move |end| end.at >= since)
    }

    /// When the next entry runs out.
    #[must_use]
    pub fn next_expiry(&self) -> Option<Instant> {
        let flows = self.flows.values().map(|entry| entry.expires);
        let expectations = self.expectations.values().map(|entry| entry.expires);
        flows.chain(expectations).min()
    }

    /// Removes what has run out.
    pub fn expire(&mut self, now: Instant) {
        let gone: Vec<Key> = self
            .flows
            .iter()
            .filter(|(_, entry)| entry.expires <= now)
            .map(|(key, _)| *key)
            .collect();
        for key in gone {
            self.destroy(now, &key, PACKETS);
        }
        let gone: Vec<ExpectationKey> = self
            .expectations
            .iter()
            .filter(|(_, entry)| entry.expires <= now)
            .map(|(key, _)| *key)
            .collect();
        for key in gone {
            self.destroy_expectation(now, &key, PACKETS);
        }
    }

    /// Puts in an entry exactly as it is: what packets do. Returns whether there was room for it.
    pub fn create(&mut self, now: Instant, mut flow: Flow, cause: u32) -> bool {
        let reply = flow.reply_direction();
        flow.reply = Some(reply);
        flow.nat = flow::Nat::default();
        let key = flow.key();
        let taken =
            self.flows.contains_key(&key) || self.replies.contains_key(&(reply, flow.zone.reply));
        if taken || self.flows.len() >= self.table_max {
            return false;
        }
        self.insert(now, flow, cause);
        true
    }

    pub(crate) fn insert(&mut self, now: Instant, mut flow: Flow, cause: u32) {
        let key = flow.key();
        // As the kernel's, which are 32-bit hashes, ids are not unique.
        flow.id = Some(self.next_id / ENTRIES_OF_AN_ID);
        self.next_id = self.next_id.wrapping_add(1);
        let timeout = Duration::from_secs(flow.timeout_s.unwrap_or(0).into());
        let expires = now + timeout;
        self.replies
            .insert((flow.reply_direction(), flow.zone.reply), key);
        let deaf = self.events_on_demand && !self.is_heard();
        let entry = Entry {
            flow,
            expires,
            deaf,
        };
        self.history.insert(key);
        self.tell_flow(EventKind::New, &entry.shown(now), cause);
        self.flows.insert(key, entry);
        if timeout.is_zero() {
            self.destroy(now, &key, cause);
        }
    }

    /// Changes an entry. `change` gets it, and tells what of it the event is to show.
    pub fn update(
        &mut self,
        now: Instant,
        key: &Key,
        cause: u32,
        change: impl FnOnce(&mut Flow),
    ) -> bool {
        let Some(entry) = self.flows.get_mut(key) else {
            return false;
        };
        let before = entry.shown(now);
        let mut flow = before;
        change(&mut flow);
        if flow.timeout_s != before.timeout_s {
            entry.expires = now + Duration::from_secs(flow.timeout_s.unwrap_or(0).into());
        }
        entry.flow = flow;
        let (shown, deaf) = (entry.shown(now), entry.deaf);
        if !deaf {
            self.tell_flow(EventKind::Update, &changes(&before, &shown), cause);
        }
        true
    }

    /// Removes an entry and the expectations of it.
    pub fn destroy(&mut self, now: Instant, key: &Key, cause: u32) -> bool {
        let Some(entry) = self.flows.remove(key) else {
            return false;
        };
        let flow = &entry.flow;
        self.replies
            .remove(&(flow.reply_direction(), flow.zone.reply));
        let orphans: Vec<ExpectationKey> = self
            .expectations
            .iter()
            .filter(|(_, e)| e.expectation.master == key.tuple && e.expectation.zone == key.zone)
            .map(|(key, _)| *key)
            .collect();
        for orphan in orphans {
            // Whoever ended their master: the events of these name nobody.
            self.destroy_expectation(now, &orphan, PACKETS);
        }
        let mut last = Flow {
            reply: flow.reply,
            zone: flow.zone,
            status: Some(flow.status_bits() | Status::DYING),
            timeout_s: Some(0),
            id: flow.id,
            mark: flow.mark.filter(|mark| *mark != 0),
            ..Flow::new(flow.orig)
        };
        if let ProtoInfo::Tcp(_) = flow.proto {
            last.proto = flow.proto;
        }
        self.ends.push(End {
            key: *key,
            at: now,
            deaf: entry.deaf,
            cause,
        });
        if !entry.deaf {
            self.tell_flow(EventKind::Destroy, &last, cause);
        }
        true
    }

    /// Removes everything, as another tool or a request does.
    pub fn flush(&mut self, now: Instant, cause: u32) {
        for key in self.keys() {
            self.destroy(now, &key, cause);
        }
    }

    /// Announces an expected connection. Returns the kernel's verdict.
    ///
    /// # Errors
    /// The error number that the kernel would give.
    pub fn expect(
        &mut self,
        now: Instant,
        mut expectation: Expectation,
        cause: u32,
    ) -> Result<(), i32> {
        let master = Key {
            tuple: expectation.master,
            zone: expectation.zone,
        };
        let master = self.flows.get(&master).ok_or(errno::ENOENT)?;
        if master.flow.helper.is_none() {
            return Err(errno::EOPNOTSUPP);
        }
        let key = (expectation.tuple, expectation.mask, expectation.zone);
        if self.expectations.contains_key(&key) {
            return Err(errno::EEXIST);
        }
        expectation.id = Some(self.next_id);
        self.next_id = self.next_id.wrapping_add(1);
        expectation.flags = expectation.flags.or(Some(0));
        expectation.class = expectation.class.or(Some(0));
        let entry = Expected {
            expectation,
            expires: now + EXPECTATION_TIMEOUT,
        };
        self.tell_expectation(EventKind::New, &entry.shown(now), cause);
        self.expectations.insert(key, entry);
        Ok(())
    }

    pub(crate) fn destroy_expectation(
        &mut self,
        now: Instant,
        key: &ExpectationKey,
        cause: u32,
    ) -> bool {
        let Some(entry) = self.expectations.remove(key) else {
            return false;
        };
        self.tell_expectation(EventKind::Destroy, &entry.shown(now), cause);
        true
    }

    /// Removes the expectation that a packet has fulfilled.
    pub fn fulfil(&mut self, now: Instant, expectation: &Expectation) -> bool {
        let key = (expectation.tuple, expectation.mask, expectation.zone);
        self.destroy_expectation(now, &key, PACKETS)
    }
}

impl Entry {
    fn shown(&self, now: Instant) -> Flow {
        Flow {
            timeout_s: Some(seconds_left(self.expires, now)),
            mark: Some(self.flow.mark.unwrap_or(0)),
            ..self.flow
        }
    }
}

impl Expected {
    fn shown(&self, now: Instant) -> Expectation {
        Expectation {
            timeout_s: Some(seconds_left(self.expires, now)),
            ..self.expectation
        }
    }
}

fn seconds_left(expires: Instant, now: Instant) -> u32 {
    let left = expires.saturating_duration_since(now).as_secs();
    u32::try_from(left).unwrap_or(u32::MAX)
}

/// What an UPDATE event shows: identity, status, timeout, and what is different.
fn changes(before: &Flow, after: &Flow) -> Flow {
    fn if_new<T: PartialEq>(before: T, after: T, none: T) -> T {
        if before == after { none } else { after }
    }
    Flow {
        reply: after.reply,
        zone: after.zone,
        status: after.status,
        timeout_s: after.timeout_s,
        id: after.id,
        mark: if before.mark == after.mark {
            after.mark.filter(|mark| *mark != 0)
        } else {
            after.mark
        },
        proto: if_new(before.proto, after.proto, ProtoInfo::None),
        helper: after.helper,
        labels: if_new(before.labels, after.labels, None),
        seq_adj_orig: if_new(before.seq_adj_orig, after.seq_adj_orig, None),
        seq_adj_reply: if_new(before.seq_adj_reply, after.seq_adj_reply, None),
        synproxy: after.synproxy,
        ..Flow::new(after.orig)
    }
}

/// The reply tuple and the status bits that the kernel makes of a request's NAT attributes.
pub(crate) fn translate(flow: &mut Flow) {
    let Some(reply) = flow.reply else { return };
    let nat = flow.nat;
    let asked = nat.has_src() || nat.has_dst();
    let mut told = *flow;
    told.reply = None;
    if asked && reply == flow.orig.mirrored() {
        let translated = told.reply_direction();
        let mut status = flow.status_bits() | Status::SRC_NAT_DONE | Status::DST_NAT_DONE;
        if (translated.dst(), translated.dport()) != (reply.dst(), reply.dport()) {
            status |= Status::SRC_NAT;
        }
        if (translated.src(), translated.sport()) != (reply.src(), reply.sport()) {
            status |= Status::DST_NAT;
        }
        flow.reply = Some(translated);
        flow.status = Some(status);
    }
    flow.nat = flow::Nat::default();
}

/// Whether a tuple has what its protocol needs.
pub(crate) fn is_complete(tuple: &Tuple) -> bool {
    use flow::protocol;
    match tuple.proto {
        protocol::TCP | protocol::UDP | protocol::UDPLITE | protocol::SCTP => {
            matches!(tuple.l4, L4::Ports { .. })
        }
        protocol::ICMP | protocol::ICMPV6 => matches!(tuple.l4, L4::Icmp { .. }),
        _ => true,
    }
}

/// What the kernel keeps of a request's protocol state.
pub(crate) fn accept_state(old: &ProtoInfo, new: &ProtoInfo) -> ProtoInfo {
    let mut merged = *old;
    match (&mut merged, new) {
        (ProtoInfo::Tcp(old), ProtoInfo::Tcp(new)) => {
            let flags = |old: Option<TcpFlags>, new: Option<TcpFlags>| {
                let (old, new) = (old.unwrap_or_default(), new.unwrap_or_default());
                let flags = (old.flags & !new.mask) | (new.flags & new.mask);
                Some(TcpFlags { flags, mask: 0 })
            };
            old.state = new.state.or(old.state);
            old.flags_orig = flags(old.flags_orig, new.flags_orig);
            old.flags_reply = flags(old.flags_reply, new.flags_reply);
            let scaled = |flags: Option<TcpFlags>| {
                flags.is_some_and(|f| f.flags & TcpFlags::WINDOW_SCALE != 0)
            };
            if new.wscale_orig.is_some() && new.wscale_reply.is_some() {
                if scaled(old.flags_orig) {
                    old.wscale_orig = new.wscale_orig;
                }
                if scaled(old.flags_reply) {
                    old.wscale_reply = new.wscale_reply;
                }
            }
        }
        _ => merged.merge(new),
    }
    merged
}

/// The protocol state of a new entry that tells none.
pub(crate) fn initial_state(proto: u8) -> ProtoInfo {
    use flow::protocol;
    match proto {
        protocol::TCP => ProtoInfo::Tcp(flow::Tcp {
            state: Some(flow::TcpState::None),
            wscale_orig: Some(0),
            wscale_reply: Some(0),
            flags_orig: Some(TcpFlags::default()),
            flags_reply: Some(TcpFlags::default()),
        }),
        protocol::SCTP => ProtoInfo::Sctp(flow::Sctp {
            state: Some(0),
            vtag_orig: Some(0),
            vtag_reply: Some(0),
        }),
        _ => ProtoInfo::None,
    }
}

/// What every entry made through ctnetlink shows.
pub(crate) const NO_SYNPROXY: Synproxy = Synproxy {
    isn: 0,
    its: 0,
    tsoff: 0,
};

/// Answers and events that wait, oldest first.
pub(crate) type Datagrams = VecDeque<Vec<u8>>;
