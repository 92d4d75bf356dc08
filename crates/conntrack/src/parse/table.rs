//! The options as the scanner wants them.

use super::{Extension, Opt};
use crate::{
    command::Command,
    getopt::{Arity, Long, Short},
    options::General,
    protocol::Field,
};

fn arity(option: General) -> Arity {
    match option {
        General::Zero => Arity::None,
        General::SrcNat | General::DstNat | General::AnyNat | General::LabelDel => Arity::Optional,
        _ => Arity::Required,
    }
}

/// All short options.
pub(super) fn shorts() -> Vec<Short<Opt>> {
    let commands = Command::ALL.into_iter().map(|command| Short {
        letter: command.letter(),
        arity: Arity::Optional,
        id: Opt::Command(command),
    });
    let general = General::ALL.into_iter().filter_map(|option| {
        Some(Short {
            letter: option.letter()?,
            arity: arity(option),
            id: Opt::General(option),
        })
    });
    commands.chain(general).collect()
}

/// The long options that exist without a protocol.
pub(super) fn longs() -> Vec<Long<Opt>> {
    const ALIASES: [(&str, General); 2] = [("orig-src", General::Src), ("orig-dst", General::Dst)];
    const EXTENSIONS: [(&str, Extension); 3] = [
        ("netns", Extension::Netns),
        ("labelmap", Extension::LabelMap),
        ("dry-run", Extension::DryRun),
    ];
    let commands = Command::ALL.into_iter().map(|command| Long {
        name: command.name(),
        arity: Arity::Optional,
        id: Opt::Command(command),
        is_extension: false,
    });
    let names = General::ALL
        .into_iter()
        .map(|option| (option.name(), option));
    let general = names.chain(ALIASES).map(|(name, option)| Long {
        name,
        arity: arity(option),
        id: Opt::General(option),
        is_extension: false,
    });
    let extensions = EXTENSIONS.into_iter().map(|(name, option)| Long {
        name,
        arity: if option == Extension::DryRun {
            Arity::None
        } else {
            Arity::Required
        },
        id: Opt::Extension(option),
        is_extension: true,
    });
    commands.chain(general).chain(extensions).collect()
}

/// A long option of a protocol.
pub(super) fn protocol_long(name: &'static str, field: Field) -> Long<Opt> {
    Long {
        name,
        arity: Arity::Required,
        id: Opt::Protocol(field),
        is_extension: false,
    }
}
