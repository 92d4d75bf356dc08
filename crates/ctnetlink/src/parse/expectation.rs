//! An expectation message's attributes into an [`Expectation`].

use flow::{ExpectNat, Expectation, FunctionName, HelperName};

use super::tuple;
use crate::{Message, ParseError, attr::Attr, uapi::*};

pub(super) fn expectation(message: &Message<'_>) -> Result<Expectation, ParseError> {
    let kind = message.header.kind;
    let missing = |attr| ParseError::Missing { kind, attr };
    let (mut master, mut tuple, mut mask) = (None, None, None);
    for attr in message.attrs()? {
        let attr = attr?;
        match attr.kind {
            CTA_EXPECT_MASTER => master = Some(tuple::whole(attr, kind)?),
            CTA_EXPECT_TUPLE => tuple = Some(tuple::whole(attr, kind)?),
            CTA_EXPECT_MASK => mask = Some(tuple::whole(attr, kind)?),
            _ => {}
        }
    }
    let mut expectation = Expectation::new(
        master.ok_or(missing(CTA_EXPECT_MASTER))?,
        tuple.ok_or(missing(CTA_EXPECT_TUPLE))?,
        mask.ok_or(missing(CTA_EXPECT_MASK))?,
    );
    for attr in message.attrs()? {
        take(&mut expectation, attr?, kind)?;
    }
    Ok(expectation)
}

fn take(expectation: &mut Expectation, attr: Attr<'_>, kind: u16) -> Result<(), ParseError> {
    match attr.kind {
        CTA_EXPECT_TIMEOUT => expectation.timeout_s = Some(attr.u32()?),
        CTA_EXPECT_ID => expectation.id = Some(attr.u32()?),
        CTA_EXPECT_HELP_NAME => {
            let name = HelperName::new(attr.value).ok_or_else(|| attr.length_error(16))?;
            expectation.helper = Some(name);
        }
        CTA_EXPECT_ZONE => expectation.zone = attr.u16()?,
        CTA_EXPECT_FLAGS => expectation.flags = Some(attr.u32()?),
        CTA_EXPECT_CLASS => expectation.class = Some(attr.u32()?),
        CTA_EXPECT_NAT => expectation.nat = Some(nat(attr, kind)?),
        CTA_EXPECT_FN => {
            let name = FunctionName::new(attr.value).ok_or_else(|| attr.length_error(32))?;
            expectation.function = Some(name);
        }
        _ => {}
    }
    Ok(())
}

fn nat(attr: Attr<'_>, kind: u16) -> Result<ExpectNat, ParseError> {
    let mut nat = ExpectNat {
        direction: 0,
        tuple: None,
    };
    for attr in attr.nested() {
        let attr = attr?;
        match attr.kind {
            CTA_EXPECT_NAT_DIR => nat.direction = attr.u32()?,
            CTA_EXPECT_NAT_TUPLE => nat.tuple = Some(tuple::whole(attr, kind)?),
            _ => {}
        }
    }
    Ok(nat)
}
