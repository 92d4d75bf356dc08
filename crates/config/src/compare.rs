//! What has changed between two configurations.

use std::collections::BTreeMap;

use crate::render;
use crate::schema::{Config, Origin};

/// Keys whose values a running daemon takes over; of each all that is below it.
const LIVE: [&str; 5] = [
    "general.filter",
    "general.log_level",
    "general.netlink_overrun_resync_s",
    "sync.commit_timeout_s",
    "sync.purge_timeout_s",
];

/// Where events are filtered is decided when the event socket is opened.
const NOT_LIVE: &str = "general.filter.from";

/// The keys, as in a TOML file, of everything that has changed and that a running daemon cannot take over.
#[must_use]
pub fn needing_restart(running: &Config, read: &Config) -> Vec<String> {
    let same_peers = match (running.native(), read.native()) {
        (Some(running), Some(read)) => running.has_peers_of(read),
        _ => false,
    };
    let (running, read) = (values(running), values(read));
    let mut keys: Vec<_> = running.keys().chain(read.keys()).collect();
    keys.sort_unstable();
    keys.dedup();
    keys.into_iter()
        .filter(|key| running.get(*key) != read.get(*key))
        .filter(|key| !(is_live(key) || same_peers && is_of_keys(key)))
        .cloned()
        .collect()
}

fn is_live(key: &str) -> bool {
    let below = |live: &str| {
        key.strip_prefix(live)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    key != NOT_LIVE && LIVE.iter().any(|live| below(live))
}

/// Keys that a running daemon takes over where the peers stay the same.
fn is_of_keys(key: &str) -> bool {
    key == "native.private_key_file" || key.starts_with("peer.") && key.contains(".public_keys.")
}

/// Every line that the configuration needs, by its key. Headers are no values.
fn values(config: &Config) -> BTreeMap<String, String> {
    let config = Config {
        // What was written down although it is the default is no difference.
        origin: Origin::default(),
        ..config.clone()
    };
    render::lines(&config)
        .into_iter()
        .filter(|line| !line.is_header && !line.key.is_empty())
        .map(|line| (line.key, line.text))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::parse_text;

    fn read(text: &str) -> Config {
        parse_text(Path::new("a.toml"), text.as_bytes()).unwrap().0
    }

    const RUNNING: &str = "
        [sync]
        mode = \"ftfw\"
        purge_timeout_s = 60
        [[sync.link]]
        transport = \"udp\"
        interface = \"eth2\"
        [general]
        hash_limit = 1000
        [general.filter]
        address.ignore = [\"10.0.0.1\"]
    ";

    #[test]
    fn filters_timeouts_and_the_log_level_need_none() {
        let changed = RUNNING
            .replace(
                "purge_timeout_s = 60",
                "purge_timeout_s = 5\ncommit_timeout_s = 9",
            )
            .replace("10.0.0.1", "10.0.0.2")
            .replace("[general]", "[general]\nlog_level = \"error\"");
        assert_eq!(needing_restart(&read(RUNNING), &read(&changed)), [""; 0]);
    }

    #[test]
    fn the_rest_is_named() {
        let changed = RUNNING
            .replace("eth2", "eth3")
            .replace("1000", "2000")
            .replace(
                "[general.filter]",
                "[general.filter]\nfrom = \"kernelspace\"",
            )
            .replace("ftfw", "notrack");
        assert_eq!(
            needing_restart(&read(RUNNING), &read(&changed)),
            [
                "general.filter.from",
                "general.hash_limit",
                "sync.link.0.interface",
                "sync.mode"
            ]
        );
    }

    #[test]
    fn keys_of_the_same_peers_need_none() {
        let key = |byte: u8| format!("{}=", "A".repeat(42) + if byte == 0 { "A" } else { "E" });
        let native = |name: &str, file: &str, key: &str| {
            format!(
                "[native]\nname = \"fw1\"\nprivate_key_file = \"{file}\"\n[[peer]]\nname = \"{name}\"\n\
                 addresses = [\"192.0.2.2\"]\npublic_keys = [\"{key}\"]\n[sync]\n"
            )
        };
        let running = read(&native("fw2", "/a", &key(0)));
        let changed = read(&native("fw2", "/b", &key(1)));
        assert_eq!(needing_restart(&running, &changed), [""; 0]);
        let other = read(&native("fw3", "/b", &key(1)));
        assert_eq!(
            needing_restart(&running, &other),
            [
                "native.private_key_file",
                "peer.0.name",
                "peer.0.public_keys.0"
            ]
        );
    }

    #[test]
    fn a_default_that_is_written_down_is_no_change() {
        let written = RUNNING.replace("[general]", "[general]\nsystemd = true");
        assert_eq!(needing_restart(&read(RUNNING), &read(&written)), [""; 0]);
    }
}
