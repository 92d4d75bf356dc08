//! Deliberate faults: whoever checks the core can see whether they are found.
//!
//! They exist only in builds with the feature `planted-faults`; elsewhere nothing can be planted, and the places
//! where a fault would show are compiled as if it were not named.

/// Whether this build can hold faults at all.
pub const CAN_BE_PLANTED: bool = cfg!(feature = "planted-faults");

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A request for missing messages is not answered.
    NackIgnored,
    /// One message more is acknowledged than was received.
    AckOffByOne,
    /// What is not acknowledged is forgotten when everything is sent: it is all in there, except for what has gone.
    DeletionLostInBulk,
    /// Numbers are compared without their wrap.
    SequenceWrap,
    /// What a peer sent before it started again is taken after it.
    StaleLifeAccepted,
    /// What the resend queue has no room for is not made good when the peer misses it.
    OverflowNotHealed,
    /// A reading after an overrun does not look for what has gone.
    ReconcileSkipsDeletions,
    /// A commit leaves out every seventh entry.
    CommitForgets,
    /// A purge that was scheduled stays so when the node becomes primary.
    PurgeNotCancelled,
    /// A message that comes twice, or late, is taken once more.
    DuplicateAccepted,
    /// The end of an entry is told once and never again.
    DeletionNotKept,
    /// A node with nothing to say says nothing.
    Silent,
    /// A node that was told to be a backup never says that it is.
    RoleNotSettled,
    /// Messages of other versions of the protocol are read.
    VersionIgnored,
    /// The clock of the wall at the start counts for the age of entries.
    WallClockAges,
    /// Every fifth end that the peer tells is ignored.
    EndOfPeerIgnored,
    /// A change of an entry is written before the kernel has answered the one before, and not tried again if it came too early.
    InjectionNotAwaited,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 17] = [
        Self::NackIgnored,
        Self::AckOffByOne,
        Self::DeletionLostInBulk,
        Self::SequenceWrap,
        Self::StaleLifeAccepted,
        Self::OverflowNotHealed,
        Self::ReconcileSkipsDeletions,
        Self::CommitForgets,
        Self::PurgeNotCancelled,
        Self::DuplicateAccepted,
        Self::DeletionNotKept,
        Self::Silent,
        Self::RoleNotSettled,
        Self::VersionIgnored,
        Self::WallClockAges,
        Self::EndOfPeerIgnored,
        Self::InjectionNotAwaited,
    ];
}

#[cfg(feature = "planted-faults")]
mod planted {
    use std::cell::Cell;
    use std::sync::atomic::{AtomicU8, Ordering};

    use super::Fault;

    thread_local! {
        static HERE: Cell<Option<Fault>> = const { Cell::new(None) };
    }

    /// One more than the fault's number.
    static EVERYWHERE: AtomicU8 = AtomicU8::new(0);

    /// Plants a fault in all cores of this thread, or takes it out.
    pub fn plant(fault: Option<Fault>) {
        HERE.set(fault);
    }

    /// Plants a fault in all cores of the process.
    pub fn plant_everywhere(fault: Fault) {
        EVERYWHERE.store(fault as u8 + 1, Ordering::Relaxed);
    }

    pub(crate) fn is_planted(fault: Fault) -> bool {
        HERE.get() == Some(fault) || EVERYWHERE.load(Ordering::Relaxed) == fault as u8 + 1
    }
}

#[cfg(feature = "planted-faults")]
pub(crate) use planted::is_planted;
#[cfg(feature = "planted-faults")]
pub use planted::{plant, plant_everywhere};

#[cfg(not(feature = "planted-faults"))]
pub(crate) const fn is_planted(_: Fault) -> bool {
    false
}
