//! The manual page of the conntrack command tells every option that there is.

use conntrack::command::Command;
use conntrack::options::General;
use conntrack::parse::parse;
use conntrack::protocol::Protocol;

const PAGE: &str = include_str!("../docs/man/conntrack.8.md");

/// Whether the option stands in the page as code, alone or with what follows it.
fn is_told(option: &str) -> bool {
    PAGE.contains(&format!("`{option}`")) || PAGE.contains(&format!("`{option} "))
}

#[test]
fn the_manual_page_tells_every_command_and_option() {
    for command in Command::ALL {
        let names = format!("`-{}`, `--{}`", command.letter(), command.name());
        assert!(PAGE.contains(&names), "{names}");
    }
    for option in General::ALL {
        assert!(
            is_told(&format!("--{}", option.name())),
            "--{}",
            option.name()
        );
        if let Some(letter) = option.letter() {
            assert!(is_told(&format!("-{letter}")), "-{letter}");
        }
    }
    for option in [
        "--orig-src",
        "--orig-dst",
        "--netns",
        "--labelmap",
        "--dry-run",
        "--load-file",
    ] {
        assert!(is_told(option), "{option}");
    }
}

#[test]
fn the_manual_page_tells_every_option_of_every_protocol() {
    for protocol in [
        "tcp", "udp", "udplite", "sctp", "dccp", "icmp", "icmpv6", "gre",
    ] {
        for (name, _) in Protocol::parse(protocol).unwrap().options() {
            assert!(is_told(&format!("--{name}")), "{protocol}: --{name}");
        }
    }
}

#[test]
fn every_example_of_the_manual_page_is_a_command_line_that_is_understood() {
    let (_, examples) = PAGE.split_once("## Examples").unwrap();
    let mut count = 0;
    for line in examples.lines() {
        let Some(example) = line
            .strip_prefix("`conntrack ")
            .and_then(|line| line.split('`').next())
        else {
            continue;
        };
        let words = example.split(['>', '|']).next().unwrap_or_default();
        // Which labels there are is the host's affair.
        if words.contains("--label-add") {
            continue;
        }
        let words = std::iter::once("conntrack").chain(words.split_whitespace());
        let parsed = parse(words.map(str::to_owned).collect());
        assert!(
            matches!(parsed.request, Ok(Some(_))),
            "{example}: {:?}",
            parsed.request
        );
        count += 1;
    }
    assert!(count > 12, "{count} examples");
}
