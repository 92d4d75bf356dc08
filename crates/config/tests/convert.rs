//! Conversion to TOML.

use std::fs;
use std::path::Path;

use config::{Config, Origin, Warning, parse_text, to_toml};

fn meaning(path: &str, text: &[u8]) -> (Config, Vec<Warning>) {
    let (mut config, warnings) = parse_text(Path::new(path), text)
        .unwrap_or_else(|error| panic!("{error}\n{}", String::from_utf8_lossy(text)));
    config.origin = Origin::default();
    (config, warnings)
}

fn sample(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/configs")
        .join(name);
    fs::read(path).unwrap()
}

#[test]
fn every_good_file_means_the_same_in_toml_and_is_free_of_warnings_there() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/configs/good");
    let mut count = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read(&path).unwrap();
        let toml = to_toml(&text).unwrap();
        let (config, warnings) = meaning("x.toml", toml.as_bytes());
        assert_eq!(
            config,
            meaning("x.conf", &text).0,
            "{}\n{toml}",
            path.display()
        );
        assert_eq!(warnings, [], "{}\n{toml}", path.display());
        for comment in String::from_utf8(text)
            .unwrap()
            .lines()
            .filter_map(|l| l.find('#').map(|at| l[at..].trim_end().to_owned()))
        {
            assert!(toml.contains(&comment), "{comment} is lost\n{toml}");
        }
        count += 1;
    }
    assert!(count > 25);
}

#[test]
fn comments_stand_with_the_clauses_they_stood_with() {
    let text = "\
# The pair of the east gate.

General {
    # Half of what the table may hold.
    HashLimit 131072
    HashSize 32768 # buckets
    Nice -20 # no longer needed
    UNIX { # asked by the monitor
        Path /var/run/conntrackd.ctl
    }
    Filter From Userspace {
        # What is worth keeping.
        Protocol Accept {
            TCP # the most
            gre
            # nothing else
        }
        State Accept {
            ESTABLISHED CLOSED LISTEN for TCP
        }
    } # end of the filter
    # end of General
}
# Replication.
Sync {
    Mode ALARM { # the old way
        RefreshTime 15
    }
    # One cable.
    UDP Default {
        IPv4_address 10.0.0.1 # mine
        IPv4_Destination_Address 10.0.0.2 # the other's
        Port 3780
        Interface eth2
    }
    Options { ExpectationSync { ftp sip } }
}
# vim: set ts=4:
";
    insta::assert_snapshot!(to_toml(text.as_bytes()).unwrap());
}

#[test]
fn a_full_file_reads_well_in_toml() {
    insta::assert_snapshot!(to_toml(&sample("good/ftfw-mcast-full.conf")).unwrap());
}

#[test]
fn every_clause_of_the_old_grammar_survives() {
    let text = b"
Helper {
    Setup on
    Type rpc inet6 udp { QueueNum 3 QueueLen 10 Policy rpc { ExpectMax 2 ExpectTimeout 60 } }
    Type ftp inet tcp { }
}
General {
    HashSize 1 HashLimit 2 LogFile /a\\b Syslog local7 LockFile /l UNIX { Path /u }
    NetlinkBufferSize 3 NetlinkBufferSizeMaxGrowth 4 NetlinkOverrunResync 5 NetlinkEventsReliable on
    PollSecs 6 EventIterationLimit 7 Scheduler { Type FIFO Priority 8 } Systemd off
    Filter From Kernelspace {
        Protocol Ignore { } Address Accept { IPv4_address 10.0.0.0/8 IPv6_address ::1 }
        State Ignore { LISTEN SYN_SENT SYN_RECV FIN_WAIT CLOSE_WAIT LAST_ACK TIME_WAIT CLOSE for TCP }
    }
}
Sync {
    Mode NOTRACK { CommitTimeout 1 PurgeTimeout 2 DisableInternalCache on StartupResync on }
    TCP { IPv6_address fd00::1 IPv6_Destination_Address fd00::2 Port 70000 Interface cafe
          SndSocketBuffer 1 RcvSocketBuffer 2 Checksum off ErrorQueueLength 9 }
    TCP Default { IPv4_address 10.0.0.1 ErrorQueueLength 10 Interface a Port 5 }
    Options { TCPWindowTracking on ExpectationSync on }
}";
    let toml = to_toml(text).unwrap();
    assert_eq!(
        meaning("x.toml", toml.as_bytes()).0,
        meaning("x.conf", text).0,
        "{toml}"
    );
    insta::assert_snapshot!(toml);
}

#[test]
fn what_is_refused_is_not_converted() {
    let error = to_toml(b"General { HashSise 5 }").unwrap_err();
    assert_eq!(error.place.column, 11);
    let error = to_toml(b"General {\n LockFile /tmp/\xff\n}").unwrap_err();
    assert_eq!(error.place.line, 2);
}
