//! Transport protocols: their names, options and states.

use std::fs;

use flow::{TcpState, protocol as number};

use crate::{
    command::{Command, Table},
    error::UsageError,
    number::whole,
    options::pairs,
};

/// A transport protocol, by what it can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Kind {
    Tcp,
    Udp,
    Udplite,
    Sctp,
    Dccp,
    Icmp,
    Icmpv6,
    Gre,
    /// One without options.
    Other,
}

/// A transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protocol {
    /// IP protocol number.
    pub number: u8,
    /// What it can be told.
    pub kind: Kind,
}

/// An option that belongs to a protocol. Keys of GRE are ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs)]
pub enum Field {
    Sport,
    Dport,
    ReplySport,
    ReplyDport,
    MaskSport,
    MaskDport,
    TupleSport,
    TupleDport,
    State,
    OrigVtag,
    ReplyVtag,
    Role,
    IcmpType,
    IcmpCode,
    IcmpId,
}

use Field::{
    Dport, IcmpCode, IcmpId, IcmpType, MaskDport, MaskSport, OrigVtag, ReplyDport, ReplySport,
    ReplyVtag, Role, Sport, State, TupleDport, TupleSport,
};

impl Field {
    /// What it is, for the help text.
    #[must_use]
    pub fn meaning(self) -> &'static str {
        match self {
            Sport => "original source port or key",
            Dport => "original destination port or key",
            ReplySport => "reply source port or key",
            ReplyDport => "reply destination port or key",
            MaskSport => "mask of the expected source",
            MaskDport => "mask of the expected destination",
            TupleSport => "expected source port or key",
            TupleDport => "expected destination port or key",
            State => "state, for example ESTABLISHED",
            OrigVtag => "original verification tag",
            ReplyVtag => "reply verification tag",
            Role => "client or server",
            IcmpType => "message type",
            IcmpCode => "message code",
            IcmpId => "identifier",
        }
    }
}

/// A set of fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FieldSet(u16);

impl FieldSet {
    /// Adds a field.
    pub fn insert(&mut self, field: Field) {
        self.0 |= 1 << field as u8;
    }

    /// Whether the field is in the set.
    #[must_use]
    pub fn contains(self, field: Field) -> bool {
        self.0 & 1 << field as u8 != 0
    }
}

type Names = &'static [(&'static str, Field)];

const PORTS: Names = &[
    ("sport", Sport),
    ("dport", Dport),
    ("reply-port-src", ReplySport),
    ("reply-port-dst", ReplyDport),
    ("mask-port-src", MaskSport),
    ("mask-port-dst", MaskDport),
    ("tuple-port-src", TupleSport),
    ("tuple-port-dst", TupleDport),
    ("orig-port-src", Sport),
    ("orig-port-dst", Dport),
];
const STATE: Names = &[("state", State)];
const VTAGS: Names = &[("orig-vtag", OrigVtag), ("reply-vtag", ReplyVtag)];
const ROLE: Names = &[("role", Role)];
const ICMP: Names = &[
    ("icmp-type", IcmpType),
    ("icmp-code", IcmpCode),
    ("icmp-id", IcmpId),
];
const ICMPV6: Names = &[
    ("icmpv6-type", IcmpType),
    ("icmpv6-code", IcmpCode),
    ("icmpv6-id", IcmpId),
];
const KEYS: Names = &[
    ("srckey", Sport),
    ("dstkey", Dport),
    ("reply-key-src", ReplySport),
    ("reply-key-dst", ReplyDport),
    ("mask-key-src", MaskSport),
    ("mask-key-dst", MaskDport),
    ("tuple-key-src", TupleSport),
    ("tuple-key-dst", TupleDport),
    ("orig-key-src", Sport),
    ("orig-key-dst", Dport),
];

/// Protocols that have a name of their own in all output.
const NAMED: [(&str, u8, Kind); 8] = [
    ("tcp", number::TCP, Kind::Tcp),
    ("udp", number::UDP, Kind::Udp),
    ("udplite", number::UDPLITE, Kind::Udplite),
    ("sctp", number::SCTP, Kind::Sctp),
    ("dccp", number::DCCP, Kind::Dccp),
    ("icmp", number::ICMP, Kind::Icmp),
    ("icmpv6", number::ICMPV6, Kind::Icmpv6),
    ("gre", number::GRE, Kind::Gre),
];

/// Where the system's protocol names are.
const PROTOCOLS_FILE: &str = "/etc/protocols";
/// Names for systems without that file.
const USUAL_PROTOCOLS: &str = "ip 0 IP\nigmp 2 IGMP\nipencap 4 IP-ENCAP\negp 8 EGP\nigp 9 IGP\n\
    ipv6 41 IPv6\nrsvp 46 RSVP\nesp 50 IPSEC-ESP\nah 51 IPSEC-AH\nospf 89 OSPFIGP\nipip 94 IPIP\n\
    pim 103 PIM\nipcomp 108 IPCOMP\nvrrp 112 VRRP\nl2tp 115 L2TP\n";

/// The name of a protocol in all output, if it has one.
#[must_use]
pub fn name(protocol: u8) -> Option<&'static str> {
    let mut named = NAMED.iter();
    named
        .find(|(_, number, _)| *number == protocol)
        .map(|(name, ..)| *name)
}

/// What a protocol can be told.
#[must_use]
pub fn kind(protocol: u8) -> Kind {
    let mut named = NAMED.iter();
    named
        .find(|(_, number, _)| *number == protocol)
        .map_or(Kind::Other, |(.., kind)| *kind)
}

impl Protocol {
    /// Reads a name or a number of at most 255.
    ///
    /// # Errors
    /// Neither.
    pub fn parse(text: &str) -> Result<Self, UsageError> {
        if let Some(number) = whole(text, true, 255).and_then(|number| u8::try_from(number).ok()) {
            return Ok(Self::numbered(number));
        }
        let mut named = NAMED.iter();
        if let Some((_, number, kind)) = named.find(|(name, ..)| name.eq_ignore_ascii_case(text)) {
            let (number, kind) = (*number, *kind);
            return Ok(Self { number, kind });
        }
        system_number(text)
            .map(Self::numbered)
            .ok_or_else(|| UsageError::Protocol(text.to_owned()))
    }

    fn numbered(number: u8) -> Self {
        let kind = kind(number);
        Self { number, kind }
    }

    /// The long options that exist once this protocol is named.
    pub fn options(self) -> impl Iterator<Item = (&'static str, Field)> {
        let (first, second, third): (Names, Names, Names) = match self.kind {
            Kind::Tcp => (PORTS, STATE, &[]),
            Kind::Udp | Kind::Udplite => (PORTS, &[], &[]),
            Kind::Sctp => (PORTS, STATE, VTAGS),
            Kind::Dccp => (PORTS, STATE, ROLE),
            Kind::Icmp => (ICMP, &[], &[]),
            Kind::Icmpv6 => (ICMPV6, &[], &[]),
            Kind::Gre => (KEYS, &[], &[]),
            Kind::Other => (&[], &[], &[]),
        };
        first.iter().chain(second).chain(third).copied()
    }
}

/// The number the system's list gives to a name. Names and aliases are compared exactly.
fn system_number(name: &str) -> Option<u8> {
    let file = fs::read_to_string(PROTOCOLS_FILE);
    let list = file.as_deref().unwrap_or(USUAL_PROTOCOLS);
    list.lines().find_map(|line| {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_whitespace();
        let (first, number) = (words.next()?, words.next()?);
        if first == name || words.any(|alias| alias == name) {
            number.parse().ok()
        } else {
            None
        }
    })
}

/// Whether an option of a protocol must, may or must not be there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Need {
    Must,
    May,
    MustNot,
}

fn need(kind: Kind, field: Field, command: Command, table: Table) -> Need {
    let icmp = matches!(kind, Kind::Icmp | Kind::Icmpv6);
    let creates = matches!(command, Command::Create | Command::Add);
    match (table, field) {
        (_, IcmpId) => Need::May,
        (Table::Expect, IcmpType | IcmpCode) => Need::May,
        (_, IcmpType | IcmpCode) if creates || command == Command::Get => Need::Must,
        (_, IcmpType | IcmpCode) => Need::May,
        _ if icmp || kind == Kind::Other => Need::MustNot,
        (Table::Expect, _) => expectation_need(field, command),
        (_, MaskSport | MaskDport | TupleSport | TupleDport) => Need::MustNot,
        (_, State | OrigVtag | ReplyVtag | Role) if creates => Need::Must,
        (_, OrigVtag | ReplyVtag | Role) if matches!(command, Command::Update | Command::Get) => {
            Need::May
        }
        (_, OrigVtag | ReplyVtag | Role) => Need::MustNot,
        _ => Need::May,
    }
}

fn expectation_need(field: Field, command: Command) -> Need {
    let creates = command == Command::Create;
    let finds = matches!(command, Command::Delete | Command::Get);
    match field {
        Sport | Dport if creates || finds => Need::Must,
        ReplySport | ReplyDport if finds => Need::Must,
        ReplySport | ReplyDport if creates => Need::May,
        MaskSport | MaskDport | TupleSport | TupleDport | OrigVtag | ReplyVtag | Role
            if creates =>
        {
            Need::Must
        }
        _ => Need::MustNot,
    }
}

/// The names under which a protocol's options are spoken of, in the order in which they are checked.
fn checked_names(kind: Kind) -> Names {
    const ALL: Names = &[
        ("sport", Sport),
        ("dport", Dport),
        ("reply-port-src", ReplySport),
        ("reply-port-dst", ReplyDport),
        ("mask-port-src", MaskSport),
        ("mask-port-dst", MaskDport),
        ("tuple-port-src", TupleSport),
        ("tuple-port-dst", TupleDport),
        ("state", State),
        ("orig-vtag", OrigVtag),
        ("reply-vtag", ReplyVtag),
        ("role", Role),
        ("icmp-type", IcmpType),
        ("icmp-code", IcmpCode),
        ("icmp-id", IcmpId),
    ];
    match kind {
        Kind::Gre => KEYS,
        Kind::Icmpv6 => ICMPV6,
        _ => ALL,
    }
}

/// Tests the options of a protocol against what the command takes.
///
/// # Errors
/// The first one that is missing or not allowed; half a pair of ports.
pub fn check(
    protocol: Protocol,
    command: Command,
    table: Table,
    given: FieldSet,
) -> Result<(), UsageError> {
    let kind = protocol.kind;
    let own = |field| protocol.options().any(|(_, known)| known == field);
    for &(name, field) in checked_names(kind) {
        let need = need(kind, field, command, table);
        if need == Need::Must && own(field) && !given.contains(field) {
            return Err(UsageError::Required(name));
        }
        if given.contains(field) && (need == Need::MustNot || !own(field)) {
            return Err(UsageError::Illegal(name));
        }
    }
    let makes_tuple = matches!(command, Command::Create | Command::Add | Command::Get);
    if table == Table::Expect || !makes_tuple || !own(Sport) {
        return Ok(());
    }
    let has = |field| given.contains(field);
    let names = match kind {
        Kind::Gre => ["srckey", "dstkey", "reply-src-key", "reply-dst-key"],
        Kind::Dccp => ["sport", "dport", "reply-port-src", "report-port-dst"],
        _ => ["sport", "dport", "reply-src-port", "reply-dst-port"],
    };
    pairs(
        [has(Sport), has(Dport), has(ReplySport), has(ReplyDport)],
        names,
    )
}

/// Names of the SCTP states; the number is the position.
const SCTP_STATES: [&str; 10] = [
    "NONE",
    "CLOSED",
    "COOKIE_WAIT",
    "COOKIE_ECHOED",
    "ESTABLISHED",
    "SHUTDOWN_SENT",
    "SHUTDOWN_RECD",
    "SHUTDOWN_ACK_SENT",
    "HEARTBEAT_SENT",
    "HEARTBEAT_ACKED",
];

/// Names of the DCCP states; the number is the position.
const DCCP_STATES: [&str; 10] = [
    "NONE", "REQUEST", "RESPOND", "PARTOPEN", "OPEN", "CLOSEREQ", "CLOSING", "TIMEWAIT", "IGNORE",
    "INVALID",
];

/// Roles in a DCCP connection; the number is the position.
pub const DCCP_ROLES: [&str; 2] = ["client", "server"];

/// The name of an SCTP state.
#[must_use]
pub fn sctp_state(number: u8) -> &'static str {
    SCTP_STATES
        .get(usize::from(number))
        .copied()
        .unwrap_or("UNKNOWN")
}

/// The name of a DCCP state.
#[must_use]
pub fn dccp_state(number: u8) -> &'static str {
    DCCP_STATES
        .get(usize::from(number))
        .copied()
        .unwrap_or("UNKNOWN")
}

fn position(names: &[&str], text: &str) -> Option<u8> {
    let position = names.iter().position(|name| *name == text)?;
    u8::try_from(position).ok()
}

/// Reads the name of a state of `kind`; the number is the kernel's.
///
/// # Errors
/// No such state, or none that can be asked for.
pub fn parse_state(kind: Kind, text: &str) -> Result<u8, UsageError> {
    match kind {
        Kind::Sctp => {
            let known = position(&SCTP_STATES, text).filter(|&state| state < 8);
            known.ok_or_else(|| UsageError::State("SCTP", text.to_owned()))
        }
        Kind::Dccp => {
            position(&DCCP_STATES, text).ok_or_else(|| UsageError::DccpState(text.to_owned()))
        }
        _ => {
            let listen = (text == "LISTEN").then_some(TcpState::SynSent2);
            let mut all = TcpState::ALL.into_iter();
            let known = listen.or_else(|| all.find(|state| state.name() == text));
            let number = known.map(|state| state as u8);
            number.ok_or_else(|| UsageError::State("TCP", text.to_owned()))
        }
    }
}

/// Reads a role in a DCCP connection.
///
/// # Errors
/// Neither client nor server.
pub fn parse_role(given: &str) -> Result<u8, UsageError> {
    // compat: in any case, and any beginning, even none.
    let text = given.to_ascii_lowercase();
    let role = DCCP_ROLES.iter().position(|role| role.starts_with(&text));
    role.and_then(|role| u8::try_from(role).ok())
        .ok_or_else(|| UsageError::DccpRole(given.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(names: &str) -> FieldSet {
        let mut set = FieldSet::default();
        for name in names.split_whitespace() {
            for protocol in ["tcp", "sctp", "dccp", "icmp", "icmpv6", "gre"] {
                let protocol = Protocol::parse(protocol).unwrap();
                let known = protocol.options().find(|(known, _)| *known == name);
                if let Some((_, field)) = known {
                    set.insert(field);
                }
            }
        }
        set
    }

    fn fault(protocol: &str, command: Command, table: Table, given: &str) -> Option<String> {
        let protocol = Protocol::parse(protocol).unwrap();
        let fault = check(protocol, command, table, fields(given)).err()?;
        Some(fault.to_string())
    }

    #[test]
    fn protocols_are_named_or_numbered() {
        let read = |text: &str| Protocol::parse(text).map(|p| (p.number, p.kind));
        assert_eq!(read("tcp"), Ok((6, Kind::Tcp)));
        assert_eq!(read("TCP"), Ok((6, Kind::Tcp)));
        assert_eq!(read("0x11"), Ok((17, Kind::Udp)));
        assert_eq!(read("021"), Ok((17, Kind::Udp)));
        assert_eq!(read("255"), Ok((255, Kind::Other)));
        assert_eq!(read("esp"), Ok((50, Kind::Other)));
        for text in ["", "256", "-1", "17x", "nonesuch"] {
            assert_eq!(read(text), Err(UsageError::Protocol(text.to_owned())));
        }
    }

    #[test]
    fn creating_needs_a_state_and_then_a_pair_of_ports() {
        let fault = |given| fault("tcp", Command::Create, Table::Conntrack, given);
        let told = |text: &str| Some(text.to_owned());
        assert_eq!(
            fault("sport dport"),
            told("You need to supply the `--state' option for this command")
        );
        assert_eq!(
            fault("state sport"),
            told("you have to specify `--sport' and `--dport'")
        );
        assert_eq!(
            fault("state reply-port-src"),
            told("you have to specify `--reply-src-port' and `--reply-dst-port'")
        );
        assert_eq!(
            fault("state sport dport mask-port-src"),
            told("Illegal option `--mask-port-src' with this command")
        );
        assert_eq!(fault("state orig-port-src orig-port-dst"), None);
    }

    #[test]
    fn filters_take_no_tags() {
        assert_eq!(
            fault("sctp", Command::List, Table::Conntrack, "sport state"),
            None
        );
        assert!(fault("sctp", Command::List, Table::Conntrack, "orig-vtag").is_some());
        assert_eq!(
            fault("sctp", Command::Update, Table::Conntrack, "orig-vtag"),
            None
        );
        assert!(fault("udp", Command::List, Table::Conntrack, "state").is_some());
    }

    #[test]
    fn an_expectation_needs_all_three_pairs() {
        let create = |given| fault("sctp", Command::Create, Table::Expect, given);
        let ports = "sport dport mask-port-src mask-port-dst tuple-port-src tuple-port-dst";
        assert_eq!(
            create("sport dport mask-port-src tuple-port-src tuple-port-dst").unwrap(),
            "You need to supply the `--mask-port-dst' option for this command"
        );
        assert_eq!(
            create(ports).unwrap(),
            "You need to supply the `--orig-vtag' option for this command"
        );
        assert_eq!(fault("tcp", Command::Create, Table::Expect, ports), None);
        assert_eq!(
            fault("gre", Command::Delete, Table::Expect, "").unwrap(),
            "You need to supply the `--srckey' option for this command"
        );
        assert_eq!(fault("icmp", Command::Delete, Table::Expect, ""), None);
    }

    #[test]
    fn states_have_exact_names() {
        assert_eq!(parse_state(Kind::Tcp, "LISTEN"), Ok(9));
        assert_eq!(parse_state(Kind::Tcp, "SYN_SENT2"), Ok(9));
        assert_eq!(parse_state(Kind::Sctp, "SHUTDOWN_ACK_SENT"), Ok(7));
        assert_eq!(parse_state(Kind::Dccp, "OPEN"), Ok(4));
        assert_eq!(parse_role("server"), Ok(1));
        assert_eq!(parse_role("CLI"), Ok(0));
        assert!(parse_state(Kind::Tcp, "established").is_err());
        assert!(parse_state(Kind::Sctp, "HEARTBEAT_SENT").is_err());
    }
}
