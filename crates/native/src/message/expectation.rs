//! Expectations to and from bytes: three tuples, a byte that says what follows, what follows.

use flow::{ExpectNat, Expectation, FunctionName, HelperName};

use super::tuple::{put_tuple, read_tuple};
use super::wire::{MessageError, Reader, impossible, put_var};

mod there {
    pub(super) const ZONE: u32 = 1 << 0;
    pub(super) const TIMEOUT: u32 = 1 << 1;
    pub(super) const FLAGS: u32 = 1 << 2;
    pub(super) const CLASS: u32 = 1 << 3;
    pub(super) const NAT: u32 = 1 << 4;
    pub(super) const NAT_TUPLE: u32 = 1 << 5;
    pub(super) const HELPER: u32 = 1 << 6;
    pub(super) const FUNCTION: u32 = 1 << 7;
}

pub(super) fn put(buf: &mut Vec<u8>, expectation: &Expectation, with_timeout: bool) {
    let Expectation {
        master,
        tuple,
        mask,
        zone,
        timeout_s,
        id: _,
        flags,
        class,
        nat,
        helper,
        function,
    } = expectation;
    for tuple in [master, tuple, mask] {
        put_tuple(buf, tuple);
    }
    let timeout_s = timeout_s.filter(|_| with_timeout);
    let nat_tuple = nat.and_then(|nat| nat.tuple);
    let mut told = 0;
    for (bit, is_there) in [
        (there::ZONE, *zone != 0),
        (there::TIMEOUT, timeout_s.is_some()),
        (there::FLAGS, flags.is_some()),
        (there::CLASS, class.is_some()),
        (there::NAT, nat.is_some()),
        (there::NAT_TUPLE, nat_tuple.is_some()),
        (there::HELPER, helper.is_some()),
        (there::FUNCTION, function.is_some()),
    ] {
        told |= if is_there { bit } else { 0 };
    }
    put_var(buf, told);
    if *zone != 0 {
        put_var(buf, *zone);
    }
    let direction = nat.map(|nat| nat.direction);
    for number in [timeout_s, *flags, *class, direction].into_iter().flatten() {
        put_var(buf, number);
    }
    if let Some(tuple) = &nat_tuple {
        put_tuple(buf, tuple);
    }
    let names = [
        helper.as_ref().map(HelperName::as_bytes),
        function.as_ref().map(FunctionName::as_bytes),
    ];
    for name in names.into_iter().flatten() {
        buf.push(name.len() as u8);
        buf.extend_from_slice(name);
    }
}

pub(super) fn read(reader: &mut Reader<'_>) -> Result<Expectation, MessageError> {
    let master = read_tuple(reader)?;
    let tuple = read_tuple(reader)?;
    let mask = read_tuple(reader)?;
    let mut expectation = Expectation::new(master, tuple, mask);
    let told = reader.var32("fields")?;
    let with = |bit: u32| told & bit != 0;
    if with(there::ZONE) {
        expectation.zone = reader.var16("zone")?;
    }
    if with(there::TIMEOUT) {
        expectation.timeout_s = Some(reader.var32("timeout")?);
    }
    if with(there::FLAGS) {
        expectation.flags = Some(reader.var32("flags")?);
    }
    if with(there::CLASS) {
        expectation.class = Some(reader.var32("class")?);
    }
    if with(there::NAT) {
        expectation.nat = Some(ExpectNat {
            direction: reader.var32("direction")?,
            tuple: None,
        });
    }
    if with(there::NAT_TUPLE) {
        let to = read_tuple(reader)?;
        match &mut expectation.nat {
            Some(nat) => nat.tuple = Some(to),
            None => return Err(impossible("expectation fields", told)),
        }
    }
    if with(there::HELPER) {
        let name = name(reader, "helper")?;
        expectation.helper =
            Some(HelperName::new(name).ok_or(impossible("helper length", name.len() as u64))?);
    }
    if with(there::FUNCTION) {
        let name = name(reader, "function")?;
        expectation.function =
            Some(FunctionName::new(name).ok_or(impossible("function length", name.len() as u64))?);
    }
    Ok(expectation)
}

fn name<'a>(reader: &mut Reader<'a>, what: &'static str) -> Result<&'a [u8], MessageError> {
    let len = reader.u8(what)?;
    reader.slice(usize::from(len), what)
}
