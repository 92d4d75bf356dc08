//! Attributes into an expectation.

use flow::{Addrs, ExpectNat, Expectation, FunctionName, HelperName, Tuple};

use super::flow::HELPER_LEN;
use super::{Attribute, Parts, PayloadError, attributes, name};
use crate::attr::expectation as nr;

/// Longest payload of a function's name: 27 characters and a NUL.
pub(crate) const FUNCTION_LEN: usize = 28;

#[derive(Default)]
struct Pending {
    master: Parts,
    expected: Parts,
    mask: Parts,
    nat: Parts,
    nat_direction: Option<u32>,
    timeout_s: Option<u32>,
    flags: Option<u32>,
    class: Option<u32>,
    helper: Option<HelperName>,
    function: Option<FunctionName>,
}

pub(super) fn decode(body: &[u8]) -> Result<Expectation, PayloadError> {
    let mut pending = Pending::default();
    attributes(body, nr::FN.saturating_add(1), |attribute| {
        pending.read(attribute)
    })?;
    pending.finish()
}

impl Pending {
    fn read(&mut self, a: Attribute<'_>) -> Result<(), PayloadError> {
        match a.number {
            nr::MASTER_IPV4 => self.master.addrs = Some(a.v4_pair()?),
            nr::MASTER_IPV6 => self.master.addrs = Some(a.v6_pair()?),
            nr::MASTER_L4PROTO => self.master.proto = Some(a.u8()?),
            nr::MASTER_PORT => self.master.l4 = a.ports()?,
            nr::EXPECT_IPV4 => self.expected.addrs = Some(a.v4_pair()?),
            nr::EXPECT_IPV6 => self.expected.addrs = Some(a.v6_pair()?),
            nr::EXPECT_L4PROTO => self.expected.proto = Some(a.u8()?),
            nr::EXPECT_PORT => self.expected.l4 = a.ports()?,
            nr::MASK_IPV4 => self.mask.addrs = Some(a.v4_pair()?),
            nr::MASK_IPV6 => self.mask.addrs = Some(a.v6_pair()?),
            nr::MASK_L4PROTO => self.mask.proto = Some(a.u8()?),
            nr::MASK_PORT => self.mask.l4 = a.ports()?,
            nr::NAT_IPV4 => self.nat.addrs = Some(a.v4_pair()?),
            nr::NAT_PORT => self.nat.l4 = a.ports()?,
            nr::NAT_L4PROTO => self.nat.proto = Some(a.u8()?),
            nr::NAT_DIR => self.nat_direction = Some(a.u32()?),
            nr::TIMEOUT => self.timeout_s = Some(a.u32()?),
            nr::FLAGS => self.flags = Some(a.u32()?),
            nr::CLASS => self.class = Some(a.u32()?),
            nr::HELPER_NAME => self.helper = name(a, HELPER_LEN)?,
            nr::FN => self.function = name(a, FUNCTION_LEN)?,
            _ => {}
        }
        Ok(())
    }

    fn finish(self) -> Result<Expectation, PayloadError> {
        let mut expectation = Expectation::new(
            self.master.tuple("master of the expectation")?,
            self.expected.tuple("tuple of the expectation")?,
            self.mask.tuple("mask of the expectation")?,
        );
        expectation.timeout_s = self.timeout_s;
        expectation.flags = self.flags;
        expectation.class = self.class;
        expectation.helper = self.helper;
        expectation.function = self.function;
        expectation.nat = self.nat_direction.map(|direction| ExpectNat {
            direction,
            tuple: nat_tuple(&self.nat),
        });
        Ok(expectation)
    }
}

/// The NAT tuple if it has an address: version 1 has no attribute for one of IPv6.
fn nat_tuple(nat: &Parts) -> Option<Tuple> {
    let addrs: Addrs = nat.addrs?;
    Some(Tuple {
        addrs,
        proto: nat.proto?,
        l4: nat.l4,
    })
}
