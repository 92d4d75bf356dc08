//! Words of a command line into a [`Request`].

mod fields;
mod table;

use std::path::{Path, PathBuf};

use flow::Family;

use crate::{
    address,
    command::{self, Command, Table},
    error::UsageError,
    getopt::{Getopt, Long, Step},
    labels::{LABEL_MAP, LabelMap},
    options::{self, General, OptionSet},
    protocol::{self, Field, FieldSet, Protocol},
    request::{LabelRemoval, Mode, Request},
};

/// What an option stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opt {
    Command(Command),
    General(General),
    Protocol(Field),
    Extension(Extension),
}

/// An option that the original does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extension {
    Netns,
    LabelMap,
    DryRun,
}

/// What parsing gave: the request or the fault, and what was remarked on the way.
#[derive(Debug)]
pub struct Parsed {
    /// The request. `None`: no command and no option at all.
    pub request: Result<Option<Request>, UsageError>,
    /// Remarks for standard error, without line ends.
    pub remarks: Vec<String>,
}

/// Reads a command line. The first word is the program's name.
#[must_use]
pub fn parse(words: Vec<String>) -> Parsed {
    parse_with_map(words, Path::new(LABEL_MAP))
}

/// Reads a command line; names of labels are those of the map at `label_map`.
#[must_use]
pub fn parse_with_map(words: Vec<String>, label_map: &Path) -> Parsed {
    let mut parser = Parser {
        getopt: Getopt::new(words),
        command: None,
        table: Table::default(),
        // The command is filled in at the end.
        request: Request::new(Command::Help, Table::default()),
        given: OptionSet::default(),
        fields: FieldSet::default(),
        longs: table::longs(),
        label_map: label_map.to_owned(),
        is_label_map_given: false,
        is_any_option_given: false,
        remarks: Vec::new(),
    };
    let outcome = parser.options().and_then(|()| parser.check());
    let Parser {
        command,
        request,
        is_any_option_given,
        remarks,
        ..
    } = parser;
    let is_empty = command.is_none() && !is_any_option_given;
    let request = outcome.map(|()| (!is_empty).then_some(request));
    Parsed { request, remarks }
}

pub(crate) struct Parser {
    getopt: Getopt,
    command: Option<Command>,
    table: Table,
    request: Request,
    given: OptionSet,
    fields: FieldSet,
    longs: Vec<Long<Opt>>,
    label_map: PathBuf,
    is_label_map_given: bool,
    is_any_option_given: bool,
    remarks: Vec<String>,
}

impl Parser {
    fn options(&mut self) -> Result<(), UsageError> {
        let shorts = table::shorts();
        loop {
            let (opt, arg) = match self.getopt.next(&shorts, &self.longs) {
                Step::Option(opt, arg) => (opt, arg),
                Step::MissingArgument(word) => return Err(UsageError::MissingArgument(word)),
                Step::Unknown(word) => return Err(UsageError::UnknownOption(word)),
                Step::End => return Ok(()),
            };
            match opt {
                Opt::Command(command) => self.command(command, arg)?,
                Opt::General(option) => {
                    self.is_any_option_given = true;
                    self.general(option, arg)?;
                    self.given.insert(option);
                }
                Opt::Protocol(field) => {
                    self.is_any_option_given = true;
                    self.protocol_field(field, &arg.unwrap_or_default())?;
                    self.fields.insert(field);
                }
                Opt::Extension(option) => self.extension(option, arg.unwrap_or_default()),
            }
        }
    }

    fn command(&mut self, command: Command, glued: Option<String>) -> Result<(), UsageError> {
        if let Some(word) = glued.or_else(|| self.getopt.optional_word()) {
            self.table = Table::named(&word)?;
        }
        if self.command.replace(command).is_some() {
            return Err(UsageError::Commands);
        }
        Ok(())
    }

    fn extension(&mut self, option: Extension, arg: String) {
        match option {
            Extension::Netns => self.request.netns = Some(arg.into()),
            Extension::LabelMap => {
                self.label_map = arg.into();
                self.is_label_map_given = true;
            }
            Extension::DryRun => self.request.mode = Mode::DryRun,
        }
    }

    /// Fixes the family; addresses and `-f` must agree.
    fn family(&mut self, family: Family) -> Result<(), UsageError> {
        match self.request.family.replace(family) {
            Some(other) if other != family => Err(UsageError::Family),
            _ => Ok(()),
        }
    }

    /// The label map, read when it is first needed.
    fn labels(&mut self) -> Result<&LabelMap, UsageError> {
        if self.request.label_map.is_none() {
            let map = match LabelMap::load(&self.label_map) {
                Ok(map) => map,
                Err(error) if self.is_label_map_given => {
                    return Err(UsageError::LabelMap {
                        name: self.label_map.display().to_string(),
                        reason: crate::error::system_text(&error),
                    });
                }
                Err(error) => {
                    // compat: a library function's name, as the original tells it.
                    let text = crate::error::system_text(&error);
                    self.remarks.push(format!("nfct_labelmap_new: {text}"));
                    LabelMap::default()
                }
            };
            self.request.label_map = Some(map);
        }
        Ok(self.request.label_map.get_or_insert_default())
    }

    /// Everything that can only be judged when all options are known.
    fn check(&mut self) -> Result<(), UsageError> {
        let given = self.given;
        let nat = [General::SrcNat, General::DstNat];
        if given.contains(General::AnyNat) && given.contains_any(&nat) {
            return Err(UsageError::NatOptions);
        }
        if let Some(command) = self.command {
            command::check(command, self.table)?;
            self.request.command = command;
        }
        self.request.table = self.table;
        options::check(self.command, self.table, self.given_beside_json())?;
        self.check_protocol()?;
        self.check_combinations()?;
        self.check_extensions()
    }

    /// Statistics have no other form of output than JSON, of which the table of options knows nothing.
    fn given_beside_json(&self) -> OptionSet {
        let is_json = self.request.output.json && self.command == Some(Command::Stats);
        match is_json {
            true => self.given.without(General::Output),
            false => self.given,
        }
    }

    fn check_protocol(&self) -> Result<(), UsageError> {
        match (self.command, self.request.protocol) {
            (Some(Command::Help) | None, _) | (_, None) => Ok(()),
            (Some(command), Some(protocol)) => {
                protocol::check(protocol, command, self.table, self.fields)
            }
        }
    }

    fn check_combinations(&self) -> Result<(), UsageError> {
        use General::{
            Dst, Label, Mark, MaskDst, MaskSrc, OrigZone, Protonum, ReplyDst, ReplySrc, ReplyZone,
            Secmark, Src, Status, Zero, Zone,
        };
        const FILTERS: [General; 12] = [
            Src, Dst, ReplySrc, ReplyDst, Protonum, Mark, Secmark, Status, Zone, Label, OrigZone,
            ReplyZone,
        ];
        let given = self.given;
        // compat: where else a mask alone is allowed, it is ignored.
        let tests_masks = matches!(
            self.command,
            Some(Command::List | Command::Delete | Command::Update)
        );
        if tests_masks && self.table == Table::Conntrack {
            if given.contains(MaskSrc) && !given.contains(Src) {
                return Err(UsageError::MaskAlone("src"));
            }
            if given.contains(MaskDst) && !given.contains(Dst) {
                return Err(UsageError::MaskAlone("dst"));
            }
        }
        if given.contains(Zero) && given.contains_any(&FILTERS) {
            return Err(UsageError::ZeroAndFilter);
        }
        Ok(())
    }

    fn check_extensions(&self) -> Result<(), UsageError> {
        let may_be_dry = matches!(
            self.command,
            Some(Command::Delete | Command::Flush | Command::Update)
        );
        if self.request.mode == Mode::DryRun && !may_be_dry {
            return Err(UsageError::Illegal("dry-run"));
        }
        Ok(())
    }

    fn protocol(&mut self, protocol: Protocol) {
        self.request.protocol = Some(protocol);
        for (name, field) in protocol.options() {
            if !self.longs.iter().any(|long| long.name == name) {
                self.longs.push(table::protocol_long(name, field));
            }
        }
    }

    fn label_removal(&mut self, list: Option<String>) -> Result<(), UsageError> {
        let removal = match list {
            None => {
                self.labels()?;
                LabelRemoval::All
            }
            Some(list) => {
                let mut set = match self.request.labels.remove {
                    Some(LabelRemoval::Some(set)) => set,
                    _ => crate::labels::LabelSet::default(),
                };
                self.labels()?.choose(&list, &mut set)?;
                LabelRemoval::Some(set)
            }
        };
        self.request.labels.remove = Some(removal);
        Ok(())
    }
}

/// Reads `-f`: what begins with the name of a family.
fn family(text: &str) -> Result<Family, UsageError> {
    if text.starts_with("ipv4") {
        Ok(Family::Ipv4)
    } else if text.starts_with("ipv6") {
        Ok(Family::Ipv6)
    } else {
        Err(UsageError::Protocol(text.to_owned()))
    }
}

fn family_of(addr: std::net::IpAddr) -> Family {
    if addr.is_ipv4() {
        Family::Ipv4
    } else {
        Family::Ipv6
    }
}

impl Parser {
    /// An address without a length.
    fn host(&mut self, text: &str, option: General) -> Result<std::net::IpAddr, UsageError> {
        let addr = address::host(text, option.name())?;
        self.family(family_of(addr))?;
        Ok(addr)
    }

    /// An address that may have a length, which counts as the option `mask`.
    fn network(
        &mut self,
        text: &str,
        mask: General,
    ) -> Result<(std::net::IpAddr, Option<std::net::IpAddr>), UsageError> {
        let network = address::network(text)?;
        self.family(family_of(network.addr))?;
        if network.mask.is_some() {
            self.given.insert(mask);
        }
        Ok((network.addr, network.mask))
    }
}

#[cfg(test)]
mod tests;
