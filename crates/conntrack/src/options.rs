//! The general options and which command takes which of them.

use crate::{
    command::{Command, Table},
    error::UsageError,
};

/// A general option, in the order in which they are checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs)]
pub enum General {
    Src,
    Dst,
    ReplySrc,
    ReplyDst,
    Protonum,
    Timeout,
    Status,
    Zero,
    EventMask,
    TupleSrc,
    TupleDst,
    MaskSrc,
    MaskDst,
    NatRange,
    Mark,
    Id,
    Family,
    SrcNat,
    DstNat,
    Output,
    Secmark,
    BufferSize,
    AnyNat,
    Zone,
    Label,
    LabelAdd,
    LabelDel,
    OrigZone,
    ReplyZone,
}

use General::{
    AnyNat, BufferSize, Dst, DstNat, EventMask, Family, Id, Label, LabelAdd, LabelDel, Mark,
    MaskDst, MaskSrc, NatRange, OrigZone, Output, Protonum, ReplyDst, ReplySrc, ReplyZone, Secmark,
    Src, SrcNat, Status, Timeout, TupleDst, TupleSrc, Zero, Zone,
};

impl General {
    /// All of them, in the order in which they are checked.
    pub const ALL: [Self; 29] = [
        Src, Dst, ReplySrc, ReplyDst, Protonum, Timeout, Status, Zero, EventMask, TupleSrc,
        TupleDst, MaskSrc, MaskDst, NatRange, Mark, Id, Family, SrcNat, DstNat, Output, Secmark,
        BufferSize, AnyNat, Zone, Label, LabelAdd, LabelDel, OrigZone, ReplyZone,
    ];

    /// The long option that errors name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Src => "src",
            Dst => "dst",
            ReplySrc => "reply-src",
            ReplyDst => "reply-dst",
            Protonum => "protonum",
            Timeout => "timeout",
            Status => "status",
            Zero => "zero",
            EventMask => "event-mask",
            TupleSrc => "tuple-src",
            TupleDst => "tuple-dst",
            MaskSrc => "mask-src",
            MaskDst => "mask-dst",
            NatRange => "nat-range",
            Mark => "mark",
            Id => "id",
            Family => "family",
            SrcNat => "src-nat",
            DstNat => "dst-nat",
            Output => "output",
            Secmark => "secmark",
            BufferSize => "buffer-size",
            AnyNat => "any-nat",
            Zone => "zone",
            Label => "label",
            LabelAdd => "label-add",
            LabelDel => "label-del",
            OrigZone => "orig-zone",
            ReplyZone => "reply-zone",
        }
    }

    /// The short option.
    #[must_use]
    pub const fn letter(self) -> Option<char> {
        Some(match self {
            Src => 's',
            Dst => 'd',
            ReplySrc => 'r',
            ReplyDst => 'q',
            Protonum => 'p',
            Timeout => 't',
            Status => 'u',
            Zero => 'z',
            EventMask => 'e',
            NatRange => 'a',
            Mark => 'm',
            Id => 'i',
            Family => 'f',
            SrcNat => 'n',
            DstNat => 'g',
            Output => 'o',
            Secmark => 'c',
            BufferSize => 'b',
            AnyNat => 'j',
            Zone => 'w',
            Label => 'l',
            _ => return None,
        })
    }
}

/// A set of general options.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OptionSet(u32);

impl OptionSet {
    const fn of(options: &[General]) -> Self {
        let mut bits = 0;
        let mut rest = options;
        while let [first, more @ ..] = rest {
            bits |= 1 << *first as u8;
            rest = more;
        }
        Self(bits)
    }

    /// Adds an option.
    pub fn insert(&mut self, option: General) {
        self.0 |= 1 << option as u8;
    }

    /// The set without an option.
    #[must_use]
    pub fn without(self, option: General) -> Self {
        Self(self.0 & !(1 << option as u8))
    }

    /// Whether the option is in the set.
    #[must_use]
    pub fn contains(self, option: General) -> bool {
        self.0 & 1 << option as u8 != 0
    }

    /// Whether any of these is in the set.
    #[must_use]
    pub fn contains_any(self, options: &[General]) -> bool {
        options.iter().any(|&option| self.contains(option))
    }
}

/// What a command takes.
struct Row {
    required: OptionSet,
    allowed: OptionSet,
}

impl Row {
    const fn new(required: &[General], allowed: &[General]) -> Self {
        Self {
            required: OptionSet::of(required),
            allowed: OptionSet::of(allowed),
        }
    }
}

const LIST: Row = Row::new(
    &[],
    &[
        Src, Dst, ReplySrc, ReplyDst, Protonum, Status, Zero, MaskSrc, MaskDst, Mark, Family,
        SrcNat, DstNat, Output, Secmark, AnyNat, Zone, Label, OrigZone, ReplyZone,
    ],
);
const CREATE: Row = Row::new(
    &[Protonum, Timeout],
    &[
        Src, Dst, ReplySrc, ReplyDst, Status, Mark, SrcNat, DstNat, Zone, LabelAdd, OrigZone,
        ReplyZone,
    ],
);
const UPDATE: Row = Row::new(
    &[],
    &[
        Src, Dst, ReplySrc, ReplyDst, Protonum, Timeout, Status, MaskSrc, MaskDst, Mark, Id,
        Family, SrcNat, DstNat, Output, Label, LabelAdd, LabelDel,
    ],
);
const DELETE: Row = Row::new(
    &[],
    &[
        Src, Dst, ReplySrc, ReplyDst, Protonum, Timeout, Status, MaskSrc, MaskDst, Mark, Id,
        Family, SrcNat, DstNat, Output, Zone, Label, OrigZone, ReplyZone,
    ],
);
const GET: Row = Row::new(
    &[Protonum],
    &[Src, Dst, ReplySrc, ReplyDst, Id, Output, Label],
);
const FLUSH: Row = Row::new(&[], &[Family]);
const EVENT: Row = Row::new(
    &[],
    &[
        Src, Dst, ReplySrc, ReplyDst, Protonum, EventMask, MaskSrc, MaskDst, Mark, Family, SrcNat,
        DstNat, Output, Secmark, BufferSize, AnyNat, Zone, Label, OrigZone, ReplyZone,
    ],
);
const HELP: Row = Row::new(&[], &[Protonum]);
// compat: the last option is not tested when there is no command.
const NO_COMMAND: Row = Row::new(&[], &[ReplyZone]);
const NOTHING: Row = Row::new(&[], &[]);
const LIST_EXPECT: Row = Row::new(&[], &[Family, Output]);
const CREATE_EXPECT: Row = Row::new(
    &[
        Src, Dst, Protonum, Timeout, TupleSrc, TupleDst, MaskSrc, MaskDst,
    ],
    &[ReplySrc, ReplyDst, Status],
);
const FIND_EXPECT: Row = Row::new(&[Src, Dst, Protonum], &[ReplySrc, ReplyDst]);
const EVENT_EXPECT: Row = Row::new(&[], &[Output]);

fn row(command: Command, table: Table) -> &'static Row {
    match (command, table) {
        (Command::List, Table::Expect) => &LIST_EXPECT,
        (Command::Create, Table::Expect) => &CREATE_EXPECT,
        (Command::Delete | Command::Get, Table::Expect) => &FIND_EXPECT,
        (Command::Event, Table::Expect) => &EVENT_EXPECT,
        (Command::Flush, Table::Expect) => &NOTHING,
        (Command::List, _) => &LIST,
        (Command::Create | Command::Add, _) => &CREATE,
        (Command::Update, _) => &UPDATE,
        (Command::Delete, _) => &DELETE,
        (Command::Get, _) => &GET,
        (Command::Flush, _) => &FLUSH,
        (Command::Event, _) => &EVENT,
        (Command::Help, _) => &HELP,
        (Command::Count | Command::Stats | Command::Version, _) => &NOTHING,
    }
}

/// Tests the options given against what the command takes. `None`: there was no command.
///
/// # Errors
/// The first option, in the order of [`General::ALL`], that is missing or not allowed; half a pair.
pub fn check(command: Option<Command>, table: Table, given: OptionSet) -> Result<(), UsageError> {
    let row = command.map_or(&NO_COMMAND, |command| row(command, table));
    for option in General::ALL {
        // It is ignored, by every command.
        if option == NatRange {
            continue;
        }
        let required = row.required.contains(option);
        if required && !given.contains(option) {
            return Err(UsageError::Required(option.name()));
        }
        if given.contains(option) && !required && !row.allowed.contains(option) {
            return Err(UsageError::Illegal(option.name()));
        }
    }
    let creates = matches!(command, Some(Command::Create | Command::Add | Command::Get));
    if creates && table == Table::Conntrack {
        let has = |option| given.contains(option);
        pairs(
            [has(Src), has(Dst), has(ReplySrc), has(ReplyDst)],
            ["src", "dst", "reply-src", "reply-dst"],
        )?;
    }
    Ok(())
}

/// Tests that at least one of two pairs is complete.
///
/// # Errors
/// None is; the pair to name is the one that was begun, else the first.
pub fn pairs(given: [bool; 4], names: [&'static str; 4]) -> Result<(), UsageError> {
    let [a, b, c, d] = given;
    let [first, second, third, fourth] = names;
    if a && b || c && d {
        Ok(())
    } else if !a && !b && (c || d) {
        Err(UsageError::Pair(third, fourth))
    } else {
        Err(UsageError::Pair(first, second))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(options: &[General]) -> OptionSet {
        OptionSet::of(options)
    }

    #[test]
    fn numbers_follow_the_order_of_checks() {
        for (number, option) in General::ALL.into_iter().enumerate() {
            assert_eq!(option as usize, number, "{option:?}");
        }
    }

    #[test]
    fn the_first_fault_is_told() {
        let check = |command, given| check(Some(command), Table::Conntrack, set(given));
        assert_eq!(
            check(Command::Create, &[Src]),
            Err(UsageError::Required("protonum"))
        );
        assert_eq!(
            check(Command::Create, &[Protonum, Timeout, Family, Output]),
            Err(UsageError::Illegal("family"))
        );
        assert_eq!(
            check(Command::Create, &[Protonum, Timeout]),
            Err(UsageError::Pair("src", "dst"))
        );
        assert_eq!(
            check(Command::Get, &[Protonum, ReplySrc]),
            Err(UsageError::Pair("reply-src", "reply-dst"))
        );
        assert_eq!(check(Command::Get, &[Protonum, ReplySrc, ReplyDst]), Ok(()));
        assert_eq!(
            check(Command::Delete, &[Zero]),
            Err(UsageError::Illegal("zero"))
        );
        assert_eq!(check(Command::Count, &[NatRange]), Ok(()));
        assert_eq!(
            super::check(None, Table::Conntrack, set(&[Src])),
            Err(UsageError::Illegal("src"))
        );
    }

    #[test]
    fn a_pair_that_was_begun_is_the_one_to_complete() {
        let names = ["a", "b", "c", "d"];
        let fault = |given| pairs(given, names).err();
        assert_eq!(fault([true, true, true, false]), None);
        assert_eq!(fault([true, false, true, true]), None);
        assert_eq!(fault([false; 4]), Some(UsageError::Pair("a", "b")));
        assert_eq!(
            fault([true, false, true, false]),
            Some(UsageError::Pair("a", "b"))
        );
        assert_eq!(
            fault([false, false, true, false]),
            Some(UsageError::Pair("c", "d"))
        );
    }
}
