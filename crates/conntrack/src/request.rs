//! A command line that makes sense: what to do, to which entries, and how to show it.

use std::{net::IpAddr, path::PathBuf};

use flow::Family;

use crate::{
    address::NatTarget,
    command::{Command, Table},
    labels::{LabelMap, LabelSet},
    protocol::Protocol,
    words::{EventWords, OutputWords, StatusWords},
};

/// One direction as far as it was told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Side {
    /// Source address.
    pub src: Option<IpAddr>,
    /// Destination address.
    pub dst: Option<IpAddr>,
    /// Source port or key.
    pub sport: Option<u16>,
    /// Destination port or key.
    pub dport: Option<u16>,
}

/// ICMP fields of the original direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IcmpFields {
    /// Type.
    pub icmp_type: Option<u8>,
    /// Code.
    pub code: Option<u8>,
    /// Identifier.
    pub id: Option<u16>,
}

/// What is told of the state of the transport protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StateFields {
    /// The kernel's number of the state.
    pub state: Option<u8>,
    /// Verification tag of the original direction.
    pub orig_vtag: Option<u32>,
    /// Verification tag of the reply direction.
    pub reply_vtag: Option<u32>,
    /// Role of the originator.
    pub role: Option<u8>,
}

/// The parts of an expectation that entries do not have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExpectFields {
    /// The connection expected.
    pub tuple: Side,
    /// Which bits of it count.
    pub mask: Side,
}

/// Which zones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Zones {
    /// Of both directions.
    pub both: Option<u16>,
    /// Of the original direction only.
    pub orig: Option<u16>,
    /// Of the reply direction only.
    pub reply: Option<u16>,
}

/// Translations. An inner `None`: translated to anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NatFields {
    /// Of the source.
    pub src: Option<Option<NatTarget>>,
    /// Of the destination.
    pub dst: Option<Option<NatTarget>>,
    /// Of either.
    pub any: Option<Option<NatTarget>>,
}

/// A value and which of its bits count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Masked {
    /// Value.
    pub value: u32,
    /// Mask.
    pub mask: u32,
}

/// Which labels to take away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LabelRemoval {
    /// These.
    Some(LabelSet),
    /// All.
    All,
}

/// Labels to look for and to change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LabelFields {
    /// All of these must be set.
    pub filter: Option<LabelSet>,
    /// To add.
    pub add: Option<LabelSet>,
    /// To remove.
    pub remove: Option<LabelRemoval>,
}

/// Whether anything is changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Do it.
    #[default]
    Real,
    /// Only show what would be hit.
    DryRun,
}

/// Everything a command line says.
#[derive(Clone, Debug)]
pub struct Request {
    /// What to do.
    pub command: Command,
    /// With which table.
    pub table: Table,
    /// Family, given or implied by an address.
    pub family: Option<Family>,
    /// Original direction.
    pub orig: Side,
    /// Reply direction.
    pub reply: Side,
    /// Netmask of the original source.
    pub src_mask: Option<IpAddr>,
    /// Netmask of the original destination.
    pub dst_mask: Option<IpAddr>,
    /// Transport protocol.
    pub protocol: Option<Protocol>,
    /// ICMP.
    pub icmp: IcmpFields,
    /// Protocol state.
    pub state: StateFields,
    /// Expectation.
    pub expect: ExpectFields,
    /// Seconds.
    pub timeout_s: Option<u32>,
    /// Status bits.
    pub status: Option<StatusWords>,
    /// Mark.
    pub mark: Option<Masked>,
    /// The kernel's identifier.
    pub id: Option<u32>,
    /// Zones.
    pub zones: Zones,
    /// Translations.
    pub nat: NatFields,
    /// Labels.
    pub labels: LabelFields,
    /// Names of labels, when any option asks for them.
    pub label_map: Option<LabelMap>,
    /// Format.
    pub output: OutputWords,
    /// Kinds of events.
    pub events: EventWords,
    /// Receive buffer in bytes.
    pub buffer_len: Option<usize>,
    /// Whether counters are zeroed.
    pub zero: bool,
    /// Whether anything is changed.
    pub mode: Mode,
    /// Network namespace to work in.
    pub netns: Option<PathBuf>,
}

impl Request {
    /// A request that says nothing but what to do.
    #[must_use]
    pub fn new(command: Command, table: Table) -> Self {
        Self {
            command,
            table,
            family: None,
            orig: Side::default(),
            reply: Side::default(),
            src_mask: None,
            dst_mask: None,
            protocol: None,
            icmp: IcmpFields::default(),
            state: StateFields::default(),
            expect: ExpectFields::default(),
            timeout_s: None,
            status: None,
            mark: None,
            id: None,
            zones: Zones::default(),
            nat: NatFields::default(),
            labels: LabelFields::default(),
            label_map: None,
            output: OutputWords::default(),
            events: EventWords::default(),
            buffer_len: None,
            zero: false,
            mode: Mode::Real,
            netns: None,
        }
    }
}
