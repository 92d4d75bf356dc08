//! The TOML syntax, its messages and the files that are shipped.

use std::fs;
use std::path::Path;

use config::{Config, Origin, Role, Source, load, parse_text};

fn shipped(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../config")
        .join(name)
}

fn refused(text: &str) -> String {
    parse_text(Path::new("x.toml"), text.as_bytes())
        .expect_err(text)
        .to_string()
}

#[test]
fn the_shipped_file_means_the_same_as_no_file() {
    let (mut config, warnings) = load(&shipped("conntrackd.toml")).unwrap();
    assert_eq!(
        config.origin.source,
        Source::Toml(shipped("conntrackd.toml"))
    );
    config.origin = Origin::default();
    assert_eq!(config, Config::builtin());
    assert_eq!(warnings, []);
}

/// The keys of a section, as the reader itself tells them when it meets an unknown one.
fn keys(section: &str) -> Vec<String> {
    let message = refused(&format!("{section}\nzzz = 1\n"));
    let (_, known) = message
        .split_once("expected ")
        .expect("the message lists the keys");
    known
        .split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

#[test]
fn the_shipped_file_names_every_option() {
    let text = fs::read_to_string(shipped("conntrackd.toml")).unwrap();
    // One line can be a section's header, a value or either of them in a comment.
    let has = |word: &str| {
        text.lines()
            .any(|line| line.trim_start_matches('#').starts_with(word))
    };
    let mut count = 0;
    for section in [
        "[sync]",
        "[[sync.link]]",
        "[native]",
        "[[peer]]",
        "[peer.policy]",
        "[standby]",
        "[general]",
        "[general.scheduler]",
        "[general.filter]",
        "[policy]",
        "[stats]",
        "[helper]",
        "[[helper.type]]",
        "[[helper.type.policy]]",
    ] {
        assert!(has(section), "{section} is missing");
        // A table may only come where its parents are.
        let parents = match section {
            "[[helper.type.policy]]" => "[[helper.type]]\nname='x'\nfamily='x'\ntransport='x'\n",
            "[peer.policy]" => "[[peer]]\nname='x'\naddresses=['10.0.0.1']\npublic_keys=['x']\n",
            _ => "",
        };
        for key in keys(&format!("{parents}{section}")) {
            let table = format!("[{}.{key}]", section.trim_matches(['[', ']']));
            let found =
                has(&format!("{key} = ")) || has(&format!("{key}.")) || text.contains(&table);
            assert!(found, "{key} of {section} is missing");
            count += 1;
        }
    }
    assert!(count > 55, "the reader told {count} keys");
}

#[test]
fn what_is_commented_out_in_the_shipped_file_is_accepted() {
    let text = fs::read_to_string(shipped("conntrackd.toml")).unwrap();
    // `#key` is an option, `# word` is prose. [stats] excludes [sync], and some keys exclude others.
    let all: Vec<_> = text
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(option) if !option.starts_with(' ') && !option.is_empty() => option,
            _ => line,
        })
        .collect();
    let without = |from: &str, to: &str, except: &[&str]| {
        let start = all.iter().position(|line| *line == from).unwrap();
        let end = all.iter().position(|line| *line == to).unwrap_or(all.len());
        let kept = |at: &usize| *at < start || *at >= end;
        (0..all.len())
            .filter(kept)
            .map(|at| all[at])
            .filter(|line| !except.iter().any(|key| line.starts_with(key)))
            .collect::<Vec<_>>()
            .join("\n")
    };
    let syncing = without(
        "[stats]",
        "[helper]",
        &[
            "refresh_time_s",
            "cache_timeout_s",
            "disable_internal_cache",
            "peer_address",
            "error_queue",
            "expectation_sync = false",
        ],
    );
    let (config, warnings) = parse_text(Path::new("x.toml"), syncing.as_bytes())
        .unwrap_or_else(|error| panic!("{error}\n{syncing}"));
    assert_eq!(warnings, []);
    assert_eq!(config.helpers.helpers.len(), 1);
    assert!(config.general.filter.tcp_states.is_some() && config.general.poll.is_some());
    let counting = without("[sync]", "[general]", &[]);
    let (config, _) = parse_text(Path::new("x.toml"), counting.as_bytes())
        .unwrap_or_else(|error| panic!("{error}\n{counting}"));
    assert!(matches!(config.role, Role::Statistics(stats) if stats.log_file.is_some()));
}

#[test]
fn the_shipped_example_in_the_old_grammar_is_free_of_warnings() {
    let (config, warnings) = load(&shipped("conntrackd.conf")).unwrap();
    assert_eq!(warnings, []);
    assert_eq!(config.sync().unwrap().links.len(), 1);
    // A monitoring script looks for these two lines.
    let text = fs::read_to_string(shipped("conntrackd.conf")).unwrap();
    let socket = text
        .lines()
        .skip_while(|line| line.trim() != "UNIX {")
        .nth(1)
        .unwrap();
    assert_eq!(socket.split_whitespace().next(), Some("Path"));
}

#[test]
fn an_empty_file_is_a_daemon_that_does_nothing() {
    for name in ["x.toml", "x.conf"] {
        let (config, warnings) = parse_text(Path::new(name), b"").unwrap();
        assert_eq!((config.role, warnings.len()), (Role::Idle, 0));
        assert_eq!(config.general.unix_path, None);
    }
}

#[test]
fn a_missing_file_is_told_as_the_original_does() {
    let error = load(Path::new("/nonexistent/x.conf")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "can't open config file `/nonexistent/x.conf'"
    );
    assert!(std::error::Error::source(&error).is_some());
}

#[test]
fn messages_name_the_place_and_what_to_write() {
    let mut pages = String::new();
    for text in [
        "[sync]\nmodus = \"ftfw\"\n",
        "[sync]\nmod = \"ftfw\"\n",
        "[sync]\nmode = \"FT-FW\"\n",
        "[sync]\nmode = \"alarm\"\nack_window_size = 3\n",
        "[sync\n",
        "[general]\nhash_size = -1\n",
        "[general]\nhash_size = \"1M\"\n",
        "[general]\nhash_size = 1\nhash_size = 2\n",
        "[general]\nlog_file = \"x.log\"\n",
        "[general]\nlog_file = 3\n",
        "[general]\nunix_path = \"x\"\n",
        "[general]\npoll_s = 0\n",
        "[general]\nscheduler.type = \"other\"\n",
        "[general.filter]\nprotocol.accept = [6, 300]\n",
        "[general.filter]\nprotocol = { accept = [], ignore = [] }\n",
        "[general.filter]\nstate.accept = [\"OPEN\"]\n",
        "[stats]\n[sync]\n",
        "[[sync.link]]\ntransport = \"udp\"\ngroup = \"225.0.0.50\"\n",
        "[[sync.link]]\ntransport = \"udp\"\nlocal_address = \"10.0.0.1/24\"\n",
        "[[sync.link]]\ntransport = \"udp\"\nport = 70000\n",
        "[[sync.link]]\ntransport = \"sctp\"\n",
        "[[sync.link]]\nport = 1\n",
        "[[sync.link]]\ntransport = \"udp\"\nport = 1\n[[sync.link]]\ntransport = \"tcp\"\n",
        "[[helper.type]]\nname = \"ftp\"\nfamily = \"inet\"\ntransport = \"udp\"\n",
    ] {
        pages.push_str(&format!("{text}-- {}\n\n", refused(text)));
    }
    pages.push_str(
        &parse_text(Path::new("x.toml"), b"[sync]\n# \xff\n")
            .unwrap_err()
            .to_string(),
    );
    insta::assert_snapshot!(pages);
}

#[test]
fn protocols_may_be_numbers_and_states_have_both_names() {
    let text = "[general.filter]\nprotocol.ignore = [\"tcp\", 6, 200]\nstate.accept = [\"closed\", \"SYN_SENT2\"]\n";
    let (config, warnings) = parse_text(Path::new("x.toml"), text.as_bytes()).unwrap();
    assert_eq!(warnings, []);
    let filter = config.general.filter;
    assert_eq!(filter.protocols.unwrap().1, [6, 200]);
    assert_eq!(
        filter.tcp_states.unwrap().1,
        [flow::TcpState::Close, flow::TcpState::SynSent2]
    );
}

#[test]
fn a_policy_is_read_written_and_refused_by_its_words() {
    let text = "[policy]\naddresses = [\"10.0.0.0/8\", \"2001:db8::1\"]\nprotocols = [\"tcp\", 17]\n\
                tcp_states = [\"established\"]\nzones = [0, 7]\nmax_entries = 9\nresync_interval_s = 3\n";
    let (config, warnings) = parse_text(Path::new("x.toml"), text.as_bytes()).unwrap();
    assert_eq!(warnings, []);
    let policy = &config.policy;
    assert_eq!(policy.entries.addresses.as_ref().unwrap().len(), 2);
    assert_eq!(policy.entries.protocols, Some(vec![6, 17]));
    assert_eq!(policy.entries.zones, Some(vec![0, 7]));
    assert_eq!(policy.max_entries.map(u32::from), Some(9));
    assert_eq!(policy.resync_interval.as_secs(), 3);
    let changed = config::needing_restart(&Config::builtin(), &config);
    for key in ["addresses.0", "protocols.1", "max_entries"] {
        assert!(changed.contains(&format!("policy.{key}")), "{changed:?}");
    }
    for (wrong, word) in [
        ("addresses = [\"10.0.0.0/33\"]", "10.0.0.0/33"),
        ("addresses = [\"here\"]", "here"),
        ("protocols = [\"qqq\"]", "qqq"),
        ("tcp_states = [\"OPEN\"]", "OPEN"),
        ("zones = [65536]", "65536"),
        ("max_entries = -1", "-1"),
    ] {
        let message = refused(&format!("[policy]\n{wrong}\n"));
        assert!(
            message.contains(word) && message.contains(":2:"),
            "{message}"
        );
    }
}

#[test]
fn the_mode_of_the_socket_is_octal() {
    let general = |value: &str| format!("[general]\nunix_mode = \"{value}\"\n");
    let (config, _) = parse_text(Path::new("x.toml"), general("0640").as_bytes()).unwrap();
    assert_eq!(config.general.unix_mode, Some(0o640));
    for wrong in ["0999", "1777", "rw", ""] {
        assert!(refused(&general(wrong)).contains("octal"), "{wrong}");
    }
}
