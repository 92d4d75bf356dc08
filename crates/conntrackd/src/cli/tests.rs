use super::*;

fn parsed(line: &str) -> CommandLine {
    parse(line.split(' ').filter(|word| !word.is_empty()).map(|word| {
        // An empty argument cannot be told apart in a line.
        OsString::from(if word == "''" { "" } else { word })
    }))
}

fn client(request: u32) -> Invocation {
    Invocation::Client {
        request,
        config: DEFAULT_CONFIG.into(),
    }
}

fn message(level: Level, text: &str) -> Say {
    Say::Message(level, text.to_owned())
}

fn invalid() -> CommandLine {
    CommandLine {
        says: vec![Say::Usage, message(Level::Error, "Invalid parameters")],
        invocation: Invocation::Exit(1),
    }
}

#[test]
fn each_option_sends_its_request() {
    for (line, request) in [
        ("-c", 46),
        ("-c ct", 18),
        ("-c expect", 42),
        ("-c exp", 42),
        ("-f", 45),
        ("-f internal", 33),
        ("-f ext", 34),
        ("-F", 43),
        ("-F ct", 0),
        ("-F e", 38),
        ("-R", 44),
        ("-R c", 1),
        ("-R expect", 39),
        ("-i", 16),
        ("-i ct", 16),
        ("-i expect", 40),
        ("-i -x", 24),
        ("-i expect -x", 47),
        ("-e", 17),
        ("-e expect", 41),
        ("-e -x", 25),
        ("-e expect -x", 48),
        ("-B", 22),
        ("-n", 23),
        ("-t", 26),
        ("-k", 20),
        ("-s", 21),
        ("-s ct", 21),
        ("-s network", 28),
        ("-s cache", 29),
        ("-s c", 29),
        ("-s runtime", 30),
        ("-s r", 30),
        ("-s link", 31),
        ("-s rsqueue", 32),
        ("-s rs", 32),
        ("-s process", 35),
        ("-s queue", 36),
        ("-s e", 37),
    ] {
        let expected = CommandLine {
            says: Vec::new(),
            invocation: client(request),
        };
        assert_eq!(parsed(line), expected, "{line}");
    }
}

#[test]
fn an_empty_word_is_the_first_one() {
    for (line, request) in [
        ("-s ''", 28),
        ("-i ''", 16),
        ("-c ''", 18),
        ("-f ''", 33),
        ("-F ''", 0),
        ("-R ''", 1),
    ] {
        assert_eq!(parsed(line).invocation, client(request), "{line}");
    }
}

#[test]
fn only_the_second_character_counts() {
    for (line, request) in [("-sfoo", 21), ("xs", 21), ("-kill", 20)] {
        assert_eq!(parsed(line).invocation, client(request), "{line}");
    }
    assert_eq!(
        parsed("extra").invocation,
        Invocation::Exit(1),
        "an -x without -i or -e"
    );
    for line in ["--help", "--version", "-S", "-", "x", "''", "--", "foo"] {
        let text = line.replace("''", "");
        let expected = CommandLine {
            says: vec![
                Say::Usage,
                message(Level::Error, &format!("Unknown option: {text}")),
            ],
            invocation: Invocation::Exit(0),
        };
        assert_eq!(parsed(line), expected, "{line}");
    }
}

#[test]
fn the_last_request_is_sent() {
    for (line, request) in [
        ("-i -s", 21),
        ("-t -n", 23),
        ("-i -e -x", 25),
        ("-i -x -s", 21),
        ("-i -x -i", 16),
    ] {
        assert_eq!(parsed(line).invocation, client(request), "{line}");
    }
}

#[test]
fn the_daemon_takes_no_requests_and_xml_follows_a_dump() {
    for line in [
        "-d -s",
        "-s -d",
        "-d -s foo",
        "-d -x",
        "-s -d -v",
        "-x",
        "-x -i",
        "-i -x -x",
        "-i -s -x",
        "-s -x",
        "-s cache extra",
        "-F expectx",
    ] {
        assert_eq!(parsed(line), invalid(), "{line}");
    }
}

#[test]
fn without_a_request_it_is_the_daemon() {
    let daemon = |detach, config: &str| Invocation::Daemon {
        record: None,
        recover: false,
        detach,
        config: config.into(),
    };
    assert_eq!(parsed("").invocation, daemon(false, DEFAULT_CONFIG));
    assert_eq!(parsed("-d -d").invocation, daemon(true, DEFAULT_CONFIG));
    assert_eq!(parsed("-C /a -d").invocation, daemon(true, "/a"));
    assert_eq!(parsed("-C /a -C -s").invocation, daemon(false, "-s"));
    assert_eq!(parsed("-C ''").invocation, daemon(false, DEFAULT_CONFIG));
}

#[test]
fn a_recording_is_a_new_file_of_bounded_length() {
    let daemon = |path: &str, mib: u64| Invocation::Daemon {
        detach: false,
        config: DEFAULT_CONFIG.into(),
        record: Some(Wish {
            path: path.into(),
            limit: mib << 20,
        }),
        recover: false,
    };
    assert_eq!(parsed("--record /r").invocation, daemon("/r", 1024));
    let limited = parsed("--record-limit 5 --record -s");
    assert_eq!(limited.invocation, daemon("-s", 5));
    for line in ["--record", "--record ''", "--record /r --record-limit 0"] {
        let line = parsed(line);
        assert_eq!(line.invocation, Invocation::Exit(1));
        assert_eq!(line.says.len(), 1);
    }
}

#[test]
fn a_start_may_ask_for_what_was_lost() {
    let recover = |line: &str| match parsed(line).invocation {
        Invocation::Daemon { recover, .. } => recover,
        other => panic!("{other:?}"),
    };
    assert!(recover("--recover") && recover("-d --recover -C /a"));
    assert!(!recover("-d") && !recover("--record --recover"));
}

#[test]
fn a_missing_config_name_is_told_and_the_rest_goes_on() {
    for (line, invocation) in [
        (
            "-C",
            Invocation::Daemon {
                detach: false,
                config: DEFAULT_CONFIG.into(),
                record: None,
                recover: false,
            },
        ),
        ("-s -C", client(21)),
        (
            "-C /a -k -C",
            Invocation::Client {
                request: 20,
                config: "/a".into(),
            },
        ),
    ] {
        let says = vec![Say::Usage, message(Level::Error, "Missing config filename")];
        assert_eq!(parsed(line), CommandLine { says, invocation }, "{line}");
    }
}

#[test]
fn a_config_name_beyond_the_systems_limit_is_cut() {
    let long = "a".repeat(PATH_MAX + 1);
    let Say::Message(level, text) = &parsed(&format!("-C {long}")).says[0] else {
        panic!("no message")
    };
    assert_eq!(*level, Level::Warning);
    assert!(text.starts_with("Path to config file to long."), "{text}");
}

#[test]
fn version_and_help_end_at_once_but_earlier_words_count() {
    assert_eq!(parsed("-v -z").says, [Say::Version]);
    assert_eq!(parsed("-h -v").says, [Say::Usage]);
    assert_eq!(parsed("-d -v").says, [Say::Version]);
    let warning = message(
        Level::Warning,
        "use `link' instead of `multicast' as parameter.",
    );
    assert_eq!(parsed("-s multicast -v").says, [warning, Say::Version]);
    assert_eq!(parsed("-s m").invocation, client(31));
}

#[test]
fn the_version_begins_as_scripts_expect() {
    let mut out = Vec::new();
    tell(&parsed("-v").says, OsStr::new("x"), &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    assert!(
        text.starts_with("Connection tracking userspace daemon v1.4.7. "),
        "{text}"
    );
    assert_eq!(text.lines().count(), 2, "{text}");
    assert!(!text.contains("GPL"), "{text}");
}

#[test]
fn new_verbs_are_whole_words_with_nothing_but_the_file_before_them() {
    let call = |verb, config: &str| {
        Invocation::Verb(Call {
            verb,
            config: config.into(),
            json: false,
        })
    };
    let check = |config| call(Verb::Check, config);
    assert_eq!(parsed("check").invocation, check(DEFAULT_CONFIG));
    assert_eq!(parsed("check -C /a").invocation, check("/a"));
    assert_eq!(
        parsed("convert -C /a").invocation,
        call(Verb::Convert, "/a")
    );
    for line in ["check -s", "check foo -C /a", "convert -C"] {
        assert_eq!(parsed(line).invocation, Invocation::Exit(1), "{line}");
        assert_eq!(parsed(line).says.len(), 1, "{line}");
    }
    assert_eq!(parsed("-C /a check").invocation, check("/a"));
    assert_eq!(
        parsed("checks").says,
        [Say::Usage],
        "not the whole word: an -h"
    );
}

/// Everything that was printed by the original while no daemon was running.
const TRANSCRIPT: &str = include_str!("transcript.txt");

fn simulate(line: &str) -> String {
    let CommandLine { says, invocation } = parsed(line);
    let (errors, prints): (Vec<_>, Vec<_>) = says
        .into_iter()
        .partition(|say| matches!(say, Say::Message(..)));
    let mut out = Vec::new();
    tell(&prints, OsStr::new("conntrackd"), &mut out).unwrap();
    let mut out = String::from_utf8(out).unwrap();
    for say in errors {
        let Say::Message(level, text) = say else {
            continue;
        };
        out += &format!("stderr: [{level}] {text}\n");
    }
    let exit = match invocation {
        Invocation::Exit(exit) => exit,
        Invocation::Client { config, .. } | Invocation::Daemon { config, .. }
            if config != Path::new(DEFAULT_CONFIG) =>
        {
            let config = config.display();
            out += &format!("stderr: [ERROR] can't open config file `{config}'\n");
            1
        }
        Invocation::Client { .. } => {
            out += "stderr: [ERROR] can't connect: is conntrackd running? \
                    appropriate permissions?\n";
            1
        }
        other => panic!("{other:?}"),
    };
    out + &format!("[exit {exit}]\n")
}

#[test]
fn every_line_of_the_transcript_comes_out_again() {
    let mut compared = 0;
    for case in TRANSCRIPT.split("fw1# conntrackd ").skip(1) {
        let (line, output) = case.split_once('\n').unwrap();
        if line == "-v" {
            // Ours says who it is.
            continue;
        }
        let mut expected = String::new();
        for line in output.trim_end().lines() {
            match line.strip_prefix("stderr: ") {
                Some(message) => {
                    let (_, message) = message.split_once(") ").unwrap();
                    expected += &format!("stderr: {message}\n");
                }
                None => expected += &format!("{line}\n"),
            }
        }
        assert_eq!(simulate(line), expected, "{line}");
        compared += 1;
    }
    assert!(compared > 15, "only {compared} cases");
}
