//! Section `Helper`: connection helpers in user space.

use std::time::Duration;

use flow::Family;

/// Section `Helper`: connection helpers in user space.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Helpers {
    /// Only register the helpers (`Setup`, default off).
    pub setup: bool,
    /// Helpers in file order (`Type`).
    pub helpers: Vec<Helper>,
}

/// A helper: `Type NAME inet|inet6 tcp|udp { … }`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Helper {
    /// Name of the plug-in.
    pub name: String,
    /// Layer 3.
    pub family: Family,
    /// Layer 4.
    pub transport: HelperTransport,
    /// Queue the packets come from. `QueueNum`, default 0.
    pub queue_num: u32,
    /// Most packets waiting in the queue. `QueueLen`, default 0 (the kernel's).
    pub queue_len: u32,
    /// Limits (`Policy`). None: the plug-in's own.
    pub policies: Vec<HelperPolicy>,
}

/// Layer 4 of a helper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HelperTransport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// `Policy NAME { … }`: limits of a helper's expectations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HelperPolicy {
    /// Name.
    pub name: String,
    /// Most expectations of one connection. `ExpectMax`.
    pub expect_max: Option<u32>,
    /// Lifetime of an expectation. `ExpectTimeout`, unit: seconds.
    pub expect_timeout: Option<Duration>,
}
