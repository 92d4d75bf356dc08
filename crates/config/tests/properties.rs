//! No sequence of bytes does harm.

use std::path::Path;

use config::{parse_text, to_toml};
use proptest::prelude::*;

/// Pieces of which files are made, good ones and bad ones.
fn piece() -> impl Strategy<Value = String> {
    let words = [
        "Sync",
        "Stats",
        "General",
        "Helper",
        "Mode",
        "FTFW",
        "ALARM",
        "NOTRACK",
        "{",
        "}",
        "{",
        "}",
        "UDP",
        "TCP",
        "Multicast",
        "Default",
        "Port",
        "Group",
        "5",
        "-3",
        "10.0.0.1",
        "fd00::1/64",
        "IPv4_address",
        "IPv6_address",
        "Interface",
        "eth0",
        "cafe",
        "/var/x",
        "/x}",
        "on",
        "off",
        "Filter",
        "From",
        "Kernelspace",
        "Protocol",
        "Address",
        "State",
        "Accept",
        "Ignore",
        "ESTABLISHED",
        "for",
        "UNIX",
        "Path",
        "# c\n",
        "#",
        "\n",
        "Type",
        "ftp",
        "inet",
        "tcp",
        "Policy",
        "ExpectMax",
        "Options",
        "ExpectationSync",
        "Scheduler",
        "Priority",
        "99999999999999999999",
        "[sync]",
        "[[sync.link]]",
        "mode",
        "=",
        "\"ftfw\"",
        "[general]",
        "log_file",
        "true",
        "transport",
        "\"udp\"",
        "\u{fc}",
    ];
    prop_oneof![8 => prop::sample::select(words.to_vec()).prop_map(str::to_owned), 1 => any::<String>()]
}

/// Sections that the grammar knows, so that most of them are accepted.
fn section() -> impl Strategy<Value = String> {
    let general = prop::sample::select(vec![
        "HashSize 5",
        "HashLimit 0",
        "LogFile on",
        "LogFile off",
        "LogFile /x",
        "Syslog local3",
        "Syslog foo",
        "UNIX { Path /u Backlog 3 }",
        "NetlinkBufferSize 9",
        "NetlinkOverrunResync off",
        "PollSecs 3",
        "Scheduler { Type RR Priority 5 }",
        "Scheduler { Type FIFO }",
        "Scheduler { Priority 4 }",
        "Nice -1",
        "Filter { Protocol Accept { TCP 6in4 } }",
        "Filter From Kernelspace { Protocol Ignore { udp gre } }",
        "Filter { Address Ignore { IPv4_address 10.0.0.0/8 IPv4_address 10.0.0.0/8 IPv6_address ::1 } }",
        "Filter { State Accept { LISTEN CLOSED for TCP } }",
        "Systemd off # off",
        "EventIterationLimit 3",
    ]);
    let sync = prop::sample::select(vec![
        "Mode FTFW { PurgeTimeout 3 DisableExternalCache on CommitTimeout 4 }",
        "Mode alarm { RefreshTime 5 }",
        "Mode NOTRACK { DisableInternalCache on StartupResync on } # x",
        "CommitTimeout 9",
        "CacheTimeout 7",
        "UDP { Port 1 Interface a IPv4_address 10.0.0.1 }",
        "UDP Default { IPv6_Destination_Address ::2 }",
        "UDP { }",
        "UDP { Checksum off SndSocketBuffer 5 IPv4_address 300.0.0.1 }",
        "Options { ExpectationSync on }",
        "Options { ExpectationSync { ftp sip ftp } }",
        "Options { TCPWindowTracking on }",
    ]);
    let helper = prop::sample::select(vec![
        "Setup on",
        "Type ftp inet tcp { QueueNum 3 }",
        "Type rpc inet6 udp { Policy rpc { ExpectMax 1 } }",
    ]);
    let body = |name: &'static str, clause: prop::sample::Select<&'static str>| {
        prop::collection::vec(clause, 0..6)
            .prop_map(move |clauses| format!("{name} {{\n{}\n}}\n", clauses.join("\n")))
    };
    prop_oneof![
        body("General", general),
        body("Sync", sync),
        body("Helper", helper)
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = parse_text(Path::new("x.conf"), &bytes).map_err(|error| error.to_string());
        let _ = parse_text(Path::new("x.toml"), &bytes).map_err(|error| error.to_string());
        let _ = to_toml(&bytes);
    }

    #[test]
    fn arbitrary_pieces_never_panic(pieces in prop::collection::vec(piece(), 0..60)) {
        let text = pieces.join(" ");
        let _ = parse_text(Path::new("x.conf"), text.as_bytes()).map_err(|error| error.to_string());
        let _ = parse_text(Path::new("x.toml"), text.as_bytes()).map_err(|error| error.to_string());
        let _ = to_toml(text.as_bytes());
    }

    #[test]
    fn every_accepted_file_means_the_same_in_toml(sections in prop::collection::vec(section(), 0..6)) {
        let text = sections.concat();
        // `6in4` is no word; such files are refused.
        if let Ok((config, _)) = parse_text(Path::new("x.conf"), text.as_bytes()) {
            let toml = to_toml(text.as_bytes()).unwrap();
            let (mut other, _) = parse_text(Path::new("x.toml"), toml.as_bytes())
                .unwrap_or_else(|error| panic!("{error}\n{toml}"));
            other.origin = config.origin.clone();
            prop_assert_eq!(config, other, "{}", toml);
        }
    }
}
