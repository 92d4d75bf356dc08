//! Connection-tracking entries as plain data.
//!
//! What the kernel, the peer, the caches and the command line all talk about: [`Tuple`], [`Flow`],
//! [`Expectation`] and the [`FlowFilter`] that selects among them. No I/O, no dependencies, nothing
//! here knows a wire format.
//!
//! Reading order: [`mod@tuple`], [`status`], [`proto`], [`flow`](mod@flow), [`expectation`], [`filter`], [`policy`].

#![forbid(unsafe_code)]

pub mod expectation;
pub mod filter;
pub mod flow;
pub mod name;
pub mod policy;
pub mod proto;
pub mod status;
pub mod tuple;

pub use expectation::{ExpectNat, Expectation};
pub use filter::{Action, FlowFilter};
pub use flow::{Counters, Flow, Key, Labels, Nat, SeqAdj, Synproxy, Timestamp, Zone};
pub use name::{FunctionName, HelperName, Name};
pub use policy::{Policy, Violation};
pub use proto::{Dccp, ProtoInfo, Sctp, Tcp, TcpFlags, TcpState};
pub use status::Status;
pub use tuple::{Addrs, Family, L4, Tuple, protocol};
