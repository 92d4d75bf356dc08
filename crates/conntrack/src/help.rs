//! The help text.

use std::fmt::Write as _;

use crate::{protocol, protocol::Protocol};

const USAGE: &str = include_str!("help.txt");

/// The help text; with a protocol, its options too.
#[must_use]
pub fn text(protocol: Option<Protocol>) -> String {
    let mut text = USAGE.replace("{VERSION}", env!("CARGO_PKG_VERSION"));
    if let Some(protocol) = protocol {
        let number = protocol.number.to_string();
        let name = protocol::name(protocol.number).unwrap_or(&number);
        // Writing to a string cannot fail.
        let _ = writeln!(text, "\nProto `{name}' help:");
        for (option, field) in protocol.options() {
            let _ = writeln!(text, "  --{option:<20}{}", field.meaning());
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{command::Command, options::General};

    #[test]
    fn every_option_is_explained() {
        let text = text(None);
        for command in Command::ALL {
            assert!(
                text.contains(&format!("-{}, --{}", command.letter(), command.name())),
                "{command:?}"
            );
        }
        for option in General::ALL {
            assert!(text.contains(&format!("--{}", option.name())), "{option:?}");
        }
        for option in ["--netns", "--labelmap", "--dry-run", "json"] {
            assert!(text.contains(option), "{option}");
        }
    }

    #[test]
    fn a_protocol_adds_its_options() {
        let text = text(Some(Protocol::parse("sctp").unwrap()));
        let (_, block) = text.split_once("Proto `sctp' help:").unwrap();
        assert!(block.contains("--orig-vtag") && block.contains("--state"));
    }

    #[test]
    fn every_example_is_a_command_line_that_is_understood() {
        let text = text(None);
        let mut count = 0;
        for line in text
            .lines()
            .filter_map(|line| line.strip_prefix("  conntrack -"))
        {
            let line = line.split(" > ").next().unwrap_or_default();
            if line.starts_with("R ") {
                continue;
            }
            let words = format!("conntrack -{line}")
                .split_whitespace()
                .map(str::to_owned)
                .collect();
            let parsed = crate::parse::parse_with_map(words, std::path::Path::new("/nonexistent"));
            match parsed.request {
                Ok(request) => assert!(request.is_some(), "{line}"),
                Err(crate::error::UsageError::Label(_)) => {}
                Err(error) => panic!("{line}: {error}"),
            }
            count += 1;
        }
        assert!(count > 15, "{count} examples");
    }
}
