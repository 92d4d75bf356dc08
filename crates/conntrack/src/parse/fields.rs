//! What each option says, into the request.

use super::{Parser, family, family_of};
use crate::{
    address::{self, NatTarget},
    error::UsageError,
    labels::LabelSet,
    number,
    options::General,
    protocol::{self, Field, Kind, Protocol},
    request::Masked,
    words::{EventWords, StatusWords},
};

impl Parser {
    pub(super) fn general(
        &mut self,
        option: General,
        glued: Option<String>,
    ) -> Result<(), UsageError> {
        if matches!(option, General::SrcNat | General::DstNat | General::AnyNat) {
            return self.nat(option, glued);
        }
        if option == General::LabelDel {
            if self.given.contains(General::LabelAdd) {
                return Err(UsageError::LabelOptions);
            }
            let list = glued.or_else(|| self.getopt.optional_word());
            return self.label_removal(list);
        }
        let arg = glued.unwrap_or_default();
        match option {
            General::Src
            | General::Dst
            | General::ReplySrc
            | General::ReplyDst
            | General::TupleSrc
            | General::TupleDst
            | General::MaskSrc
            | General::MaskDst => self.address(option, &arg),
            General::Label | General::LabelAdd => self.choose_labels(option, &arg),
            _ => self.word_or_number(option, &arg),
        }
    }

    fn address(&mut self, option: General, arg: &str) -> Result<(), UsageError> {
        match option {
            General::Src | General::TupleSrc => {
                let (addr, mask) = self.network(arg, General::MaskSrc)?;
                let side = if option == General::Src {
                    &mut self.request.orig
                } else {
                    &mut self.request.expect.tuple
                };
                side.src = Some(addr);
                self.request.src_mask = mask.or(self.request.src_mask);
            }
            General::Dst | General::TupleDst => {
                let (addr, mask) = self.network(arg, General::MaskDst)?;
                let side = if option == General::Dst {
                    &mut self.request.orig
                } else {
                    &mut self.request.expect.tuple
                };
                side.dst = Some(addr);
                self.request.dst_mask = mask.or(self.request.dst_mask);
            }
            _ => {
                let addr = Some(self.host(arg, option)?);
                match option {
                    General::ReplySrc => self.request.reply.src = addr,
                    General::ReplyDst => self.request.reply.dst = addr,
                    General::MaskSrc => self.request.src_mask = addr,
                    _ => self.request.dst_mask = addr,
                }
            }
        }
        Ok(())
    }

    fn nat(&mut self, option: General, glued: Option<String>) -> Result<(), UsageError> {
        let target = match glued.or_else(|| self.getopt.optional_word()) {
            None => None,
            Some(word) => Some(self.nat_target(&word, option)?),
        };
        let nat = &mut self.request.nat;
        match option {
            General::SrcNat => nat.src = Some(target),
            General::DstNat => nat.dst = Some(target),
            _ => nat.any = Some(target),
        }
        Ok(())
    }

    fn nat_target(&mut self, word: &str, option: General) -> Result<NatTarget, UsageError> {
        let target = address::nat_target(word, option.name())?;
        self.family(family_of(target.addr))?;
        Ok(target)
    }

    fn choose_labels(&mut self, option: General, list: &str) -> Result<(), UsageError> {
        if option == General::LabelAdd && self.given.contains(General::LabelDel) {
            return Err(UsageError::LabelOptions);
        }
        let labels = &self.request.labels;
        let before = if option == General::LabelAdd {
            labels.add
        } else {
            labels.filter
        };
        let mut set: LabelSet = before.unwrap_or_default();
        self.labels()?.choose(list, &mut set)?;
        let labels = &mut self.request.labels;
        let slot = if option == General::LabelAdd {
            &mut labels.add
        } else {
            &mut labels.filter
        };
        *slot = Some(set);
        Ok(())
    }

    fn word_or_number(&mut self, option: General, arg: &str) -> Result<(), UsageError> {
        match option {
            General::Protonum => {
                let protocol = Protocol::parse(arg)?;
                self.protocol(protocol);
            }
            General::Timeout => self.request.timeout_s = Some(number::signed_32(arg)),
            General::Status => {
                let mut words: StatusWords = self.request.status.unwrap_or_default();
                words.add(arg, |warning| self.remarks.push(warning))?;
                self.request.status = Some(words);
            }
            General::Zero => self.request.zero = true,
            General::EventMask => {
                let mut words: EventWords = self.request.events;
                words.add(arg)?;
                self.request.events = words;
            }
            General::NatRange => {
                let warning = "WARNING: ignoring -a, deprecated option.";
                self.remarks.push(warning.to_owned());
            }
            General::Mark => self.request.mark = Some(masked(arg)),
            General::Id => self.request.id = Some(number::unsigned_32(arg)),
            General::Family => self.family(family(arg)?)?,
            General::Output => {
                self.request.output.add(arg)?;
                if self.request.output.labels {
                    self.labels()?;
                }
            }
            General::BufferSize => {
                let len = usize::try_from(number::signed(arg)).unwrap_or(0);
                self.request.buffer_len = Some(len);
            }
            General::Zone => self.request.zones.both = Some(number::unsigned_16(arg)),
            General::OrigZone => self.request.zones.orig = Some(number::unsigned_16(arg)),
            General::ReplyZone => self.request.zones.reply = Some(number::unsigned_16(arg)),
            // The kernel tells no number to compare it with. compat: it is accepted.
            General::Secmark => {}
            _ => {}
        }
        Ok(())
    }

    pub(super) fn protocol_field(&mut self, field: Field, arg: &str) -> Result<(), UsageError> {
        let kind = self
            .request
            .protocol
            .map_or(Kind::Other, |protocol| protocol.kind);
        let port = || {
            Some(match kind {
                Kind::Gre => number::unsigned_16(arg),
                _ => number::signed_16(arg),
            })
        };
        let request = &mut self.request;
        match field {
            Field::Sport => request.orig.sport = port(),
            Field::Dport => request.orig.dport = port(),
            Field::ReplySport => request.reply.sport = port(),
            Field::ReplyDport => request.reply.dport = port(),
            Field::MaskSport => request.expect.mask.sport = port(),
            Field::MaskDport => request.expect.mask.dport = port(),
            Field::TupleSport => request.expect.tuple.sport = port(),
            Field::TupleDport => request.expect.tuple.dport = port(),
            Field::State => request.state.state = Some(protocol::parse_state(kind, arg)?),
            Field::OrigVtag => request.state.orig_vtag = Some(number::signed_32(arg)),
            Field::ReplyVtag => request.state.reply_vtag = Some(number::signed_32(arg)),
            Field::Role => request.state.role = Some(protocol::parse_role(arg)?),
            Field::IcmpType => request.icmp.icmp_type = Some(number::signed_8(arg)),
            Field::IcmpCode => request.icmp.code = Some(number::signed_8(arg)),
            Field::IcmpId => request.icmp.id = Some(number::signed_16(arg)),
        }
        Ok(())
    }
}

/// `VALUE[/MASK]`; the mask is all ones when there is none.
fn masked(text: &str) -> Masked {
    let (value, mask) = match text.split_once('/') {
        Some((value, mask)) => (value, number::unsigned_32(mask)),
        None => (text, u32::MAX),
    };
    Masked {
        value: number::unsigned_32(value),
        mask,
    }
}
