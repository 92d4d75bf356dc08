//! A connection that a helper expects.

use crate::{FunctionName, HelperName, Key, Tuple};

/// Translation that an expected connection will get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExpectNat {
    /// Direction it applies to: 0 original, 1 reply.
    pub direction: u32,
    /// Address and port to translate to, in the tuple's source.
    ///
    /// `None` when the peer sent only protocol and port: version 1 of the protocol has no IPv6 here.
    pub tuple: Option<Tuple>,
}

/// A connection that a helper expects. Optional fields are `None` when the source did not tell them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expectation {
    /// Original tuple of the connection that announced it.
    pub master: Tuple,
    /// The expected connection.
    pub tuple: Tuple,
    /// Which bits of `tuple` must match.
    pub mask: Tuple,
    /// Zone.
    pub zone: u16,
    /// Seconds until it expires.
    pub timeout_s: Option<u32>,
    /// The kernel's identifier.
    pub id: Option<u32>,
    /// Kernel flags: 1 permanent, 2 inactive, 4 user space.
    pub flags: Option<u32>,
    /// Class within the helper.
    pub class: Option<u32>,
    /// Translation.
    pub nat: Option<ExpectNat>,
    /// Helper.
    pub helper: Option<HelperName>,
    /// Function called when the connection comes.
    pub function: Option<FunctionName>,
}

impl Expectation {
    /// The connection that expects.
    #[must_use]
    pub fn master_key(&self) -> Key {
        Key {
            tuple: self.master,
            zone: self.zone,
        }
    }

    /// An expectation of which nothing but the tuples is known.
    #[must_use]
    pub const fn new(master: Tuple, tuple: Tuple, mask: Tuple) -> Self {
        Self {
            master,
            tuple,
            mask,
            zone: 0,
            timeout_s: None,
            id: None,
            flags: None,
            class: None,
            nat: None,
            helper: None,
            function: None,
        }
    }
}
