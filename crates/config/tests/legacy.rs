//! The original's grammar: meanings, quirks and messages beyond the sample files.

use std::path::Path;
use std::time::Duration;

use config::{
    CacheUse, Config, ExpectationSync, Facility, LoadError, Mode, Role, Scheduler, Sync, Transport,
    parse_text,
};

fn read(text: &str) -> (Config, Vec<String>) {
    let (config, warnings) = parse_text(Path::new("x.conf"), text.as_bytes())
        .unwrap_or_else(|error| panic!("{error}\n{text}"));
    (
        config,
        warnings.into_iter().map(|warning| warning.text).collect(),
    )
}

fn sync(text: &str) -> Sync {
    match read(&format!("Sync {{ {text} }}")).0.role {
        Role::Sync(sync) => sync,
        other => panic!("{other:?}"),
    }
}

fn warnings(text: &str) -> Vec<String> {
    read(text).1
}

fn refused(text: &str) -> String {
    parse_text(Path::new("x.conf"), text.as_bytes())
        .expect_err(text)
        .to_string()
}

#[test]
fn zeros_mean_the_default() {
    let sync =
        sync("Mode FTFW { ResendQueueSize 0 ACKWindowSize 0 PurgeTimeout 0 CommitTimeout 0 }");
    let Mode::Ftfw(ftfw) = &sync.mode else {
        panic!("{:?}", sync.mode)
    };
    assert_eq!(
        (ftfw.resend_queue_len.get(), ftfw.ack_window.get()),
        (131_072, 300)
    );
    assert_eq!(
        (sync.purge_timeout, sync.commit_timeout),
        (Duration::from_secs(60), None)
    );
    let general =
        read("General { HashSize 0 HashLimit 0 EventIterationLimit 0 NetlinkOverrunResync 0 }")
            .0
            .general;
    assert_eq!(
        (general.hash_size.get(), general.hash_limit.get()),
        (65_536, 262_144)
    );
    assert_eq!(general.event_iteration_limit.get(), 100);
    assert_eq!(general.overrun_resync, Some(Duration::from_secs(30)));
}

#[test]
fn of_several_modes_the_first_in_the_order_of_precedence_is_taken() {
    for (text, name) in [
        ("Mode NOTRACK { } Mode ALARM { } Mode FTFW { }", "FTFW"),
        ("Mode NOTRACK { } Mode ALARM { }", "ALARM"),
        ("Mode persistent { }", "ALARM"),
        ("Mode Nack { }", "FTFW"),
    ] {
        assert_eq!(sync(text).mode.name(), name);
    }
    // Options of all the blocks apply, as far as the mode has them.
    let both = sync("Mode NOTRACK { DisableExternalCache on PurgeTimeout 7 } Mode FTFW { }");
    assert_eq!(both.external_cache(), CacheUse::Disabled);
    assert_eq!(both.purge_timeout, Duration::from_secs(7));
    let told = warnings("Sync { Mode NOTRACK { DisableInternalCache on } Mode FTFW { } }");
    assert_eq!(
        told,
        ["`DisableInternalCache' has no effect in mode `ftfw', ignoring"]
    );
}

#[test]
fn the_last_word_about_expectations_counts() {
    let option = |text: &str| sync(&format!("Options {{ {text} }}")).expectation_sync;
    let helpers =
        |names: &[&str]| ExpectationSync::Helpers(names.iter().map(|&n| n.to_owned()).collect());
    assert_eq!(
        option("ExpectationSync on ExpectationSync off"),
        ExpectationSync::Off
    );
    assert_eq!(
        option("ExpectationSync { ftp } ExpectationSync on"),
        ExpectationSync::All
    );
    assert_eq!(
        option("ExpectationSync { ftp } ExpectationSync { sip ftp }"),
        helpers(&["ftp", "sip"])
    );
    assert_eq!(option("ExpectationSync { }"), helpers(&[]));
    assert_eq!(
        option("ExpectationSync { fab UDP }"),
        helpers(&["fab", "UDP"])
    );
}

#[test]
fn the_last_address_and_the_last_default_count() {
    let sync = sync(
        "UDP Default { IPv4_address 10.0.0.1 IPv4_address 10.0.0.2 IPv4_address 10.0.0.300 Interface a }
         UDP Default { IPv6_address fd00::1 Interface b } UDP { } UDP { Interface c }",
    );
    let local = |at: usize| match &sync.links[at].transport {
        Transport::Udp { local, .. } => local.map(|local| local.to_string()),
        other => panic!("{other:?}"),
    };
    assert_eq!(sync.links.len(), 3, "an empty section is no link");
    assert_eq!(
        (local(0).as_deref(), local(1).as_deref(), local(2)),
        (Some("10.0.0.2"), Some("fd00::1"), None)
    );
    assert_eq!(sync.first_active_link(), 1);
}

#[test]
fn families_of_a_multicast_link_must_agree() {
    let link = |text: &str| {
        warnings(&format!(
            "Sync {{ Mode FTFW {{ }} Multicast {{ {text} }} }}"
        ))
    };
    assert_eq!(
        link("IPv6_address ff02::1 IPv4_address 225.0.0.50"),
        [
            "your multicast address is IPv4 but is binded to an IPv6 interface? Surely, this is not what you want"
        ]
    );
    assert_eq!(
        link("IPv6_address ff02::1 IPv4_interface 10.0.0.1"),
        [
            "your multicast interface is IPv4 but is binded to an IPv6 interface? Surely, this is not what you want"
        ]
    );
    assert_eq!(
        link("IPv4_address 225.0.0.50 IPv6_address ff02::1"),
        [
            "your multicast address is IPv6 but is binded to an IPv4 interface? Surely this is not what you want"
        ]
    );
    assert_eq!(
        link("IPv4_address 225.0.0.50/4 IPv6_address ff02:::1 IPv6_interface fe80::1"),
        [
            "225.0.0.50/4 is not a valid IPv4 address",
            "ff02:::1 is not a valid IPv6 address",
            "`IPv6_interface' not required, ignoring"
        ]
    );
}

#[test]
fn numbers_beyond_their_range_are_told() {
    let (config, told) =
        read("Sync { Mode FTFW { } UDP { Port 70000 } } General { HashLimit 99999999999 }");
    assert_eq!(config.sync().unwrap().links[0].port, 4464);
    assert_eq!(config.general.hash_limit.get(), u32::MAX);
    assert_eq!(
        told,
        [
            "ports go up to 65535, taking 4464",
            "99999999999 is too large a number, taking 4294967295"
        ]
    );
}

#[test]
fn a_scheduler_needs_a_type_and_a_priority() {
    let scheduler = |text: &str| {
        let (config, told) = read(&format!("General {{ Scheduler {{ {text} }} }}"));
        (config.general.scheduler, told.len())
    };
    assert_eq!(scheduler(""), (Scheduler::RoundRobin { priority: 99 }, 0));
    assert_eq!(
        scheduler("Priority 7 Type fifo"),
        (Scheduler::Fifo { priority: 7 }, 0)
    );
    assert_eq!(
        scheduler("Priority 7"),
        (Scheduler::RoundRobin { priority: 99 }, 1)
    );
    assert_eq!(scheduler("Type RR"), (Scheduler::System, 1));
    assert_eq!(scheduler("Type RR Priority 0"), (Scheduler::System, 1));
    assert!(
        refused("General { Scheduler { Type system } }").starts_with("unknown scheduler `system'")
    );
}

#[test]
fn logs_go_where_they_are_sent() {
    let general =
        read("General { LogFile on LogFile /a LogFile off Syslog local3 Syslog nowhere }")
            .0
            .general;
    assert_eq!(
        (general.log_file, general.syslog),
        (None, Some(Facility::Local(3)))
    );
    assert_eq!(Facility::Local(3).number(), 19);
    let (config, told) =
        read("Stats { LogFile on Syslog local1 } General { Syslog on LogFile yes }");
    assert_eq!(
        told,
        ["conflicting Syslog facility values, defaulting to General"]
    );
    let Role::Statistics(stats) = config.role else {
        panic!("{:?}", config.role)
    };
    assert_eq!(stats.syslog, Some(Facility::Daemon));
    assert_eq!(
        stats.log_file.unwrap(),
        Path::new("/var/log/conntrackd-stats.log")
    );
    assert_eq!(
        config.general.log_file.unwrap(),
        Path::new("/var/log/conntrackd.log")
    );
    assert_eq!(
        warnings("Stats { Syslog foo }"),
        ["'foo' is not a known syslog facility, ignoring."]
    );
    assert_eq!(
        warnings("General { Syslog foo }"),
        ["'foo' is not a known syslog facility, ignoring"]
    );
}

#[test]
fn paths_have_limits() {
    let long = |len: usize| format!("/{}", "a".repeat(len - 1));
    let general = |clause: &str, len: usize| format!("General {{ {clause} {} }}", long(len));
    for (clause, max, told) in [
        ("LogFile", 256, "LogFile path is longer than 256 characters"),
        (
            "LockFile",
            256,
            "LockFile path is longer than 256 characters",
        ),
    ] {
        read(&general(clause, max));
        assert!(refused(&general(clause, max + 1)).starts_with(told));
    }
    read(&format!("General {{ UNIX {{ Path {} }} }}", long(107)));
    let error = refused(&format!("General {{ UNIX {{ Path {} }} }}", long(108)));
    assert!(error.starts_with("Path is longer than 107 characters\n"));
    let error = refused(&format!("Stats {{ LogFile {} }}", long(257)));
    assert!(error.starts_with("stats LogFile path is longer than 256 characters\n"));
}

#[test]
fn helpers_are_checked_as_the_original_does() {
    let helper = |text: &str| format!("Helper {{ {text} }}");
    for (text, told) in [
        ("Type ftp ipv4 tcp { }", "unknown layer 3 protocol\n"),
        (
            "Type ftp inet TCP { }",
            "parsing config file in line (1), symbol 'TCP': syntax error\n",
        ),
        ("Type amanda inet tcp { }", "Unknown `amanda' helper\n"),
        (
            "Type ftp inet tcp { Policy ftp { } }",
            "Helper policy configuration empty, fix",
        ),
        (
            "Type ftp inet tcp { Policy a2345678901234567 { ExpectMax 5 } }",
            "Helper Policy is longer than 16",
        ),
        (
            "Type ftp inet tcp { Policy a234567890123456 { ExpectMax 5 } }",
            "Unknown policy `a234567890123456'",
        ),
    ] {
        assert!(
            refused(&helper(text)).starts_with(told),
            "{text}: {}",
            refused(&helper(text))
        );
    }
    let vyos = "Type rpc inet udp { QueueNum 3 } Type rpc inet tcp { QueueNum 4 } Type tns inet tcp { QueueNum 5 }";
    assert_eq!(read(&helper(vyos)).0.helpers.helpers.len(), 3);
}

#[test]
fn warnings_before_an_error_are_told() {
    let text = "General { Nice -2\nFoo }";
    let error = parse_text(Path::new("x.conf"), text.as_bytes()).unwrap_err();
    assert_eq!(error.warnings().len(), 1);
    assert_eq!(
        (error.warnings()[0].line, error.warnings()[0].column),
        (1, 11)
    );
    let LoadError::Refused { error, .. } = error else {
        panic!("{error}")
    };
    assert_eq!(error.place.line, 2);
}

#[test]
fn the_first_error_in_the_file_is_the_one_told() {
    let text = "General { PollSecs 0 }\nFoo { }";
    assert!(refused(text).starts_with("`PollSecs' clause must be > 0\n"));
}

#[test]
fn places_are_kept_for_later_findings() {
    let (config, _) = read("General {\n  PollSecs 3\n}\nSync {\n UDP {\n  Port 4\n }\n}");
    let line = |key: &str| config.origin.places[key].line;
    assert_eq!(
        (
            line("general.poll_s"),
            line("sync.link.0"),
            line("sync.link.0.port")
        ),
        (2, 5, 6)
    );
}

#[test]
fn slips_are_put_right() {
    for (text, advice) in [
        ("General { HashSise 5 }", "write `HashSize'"),
        ("General { Lockfile /x }", "write `LockFile'"),
        ("General { Unix { } }", "write `UNIX'"),
        ("Sync { UDP default { } }", "write `Default'"),
        ("Sync { Checksum on }", "it belongs in section a link"),
        (
            "Sync { UDP { Group 5 } }",
            "it belongs in section `Multicast'",
        ),
        ("Sync { RelaxTransitions On }", "remove it"),
        ("HashSize 5", "it belongs in section `General'"),
        (
            "Stats {\nNetlinkEventsReliable on }",
            "it belongs in section `General'",
        ),
        (
            "Stats {\nGeneral { }",
            "a closing `}' may be missing before it",
        ),
        ("Stats {", "a closing `}' may be missing"),
        ("Stats { } }", "there is a closing `}' too many"),
        ("General { HashSize = 5 }", "a blank stands between"),
        ("General { HashSize 64k }", "write `65536'"),
        ("General { HashSize +5 }", "write `5'"),
        ("General { Systemd disabled }", "write `off'"),
        (
            "General { Filter From kernelspace { } }",
            "write `Kernelspace'",
        ),
        (
            "General { Filter { Protocol accept { } } }",
            "write `Accept'",
        ),
        (
            "Sync { Backlog 5 }",
            "it belongs in section `UNIX' of `General'",
        ),
    ] {
        let shown = refused(text);
        assert!(shown.contains(advice), "{text}: {shown}");
    }
}
