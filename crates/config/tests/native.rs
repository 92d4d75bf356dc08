//! `[native]`, `[[peer]]` and `[standby]`.

use std::path::Path;

use config::{Config, NATIVE_PORT, needing_restart, parse_text};

const KEY: &str = "V6s6rzVDTHsDvq2qfT8EUxaTDZnhwdEzsj2wXf/ZKHc=";

fn whole() -> String {
    format!(
        "[native]
name = \"fw1\"
private_key_file = \"/etc/conntrackd/private.key\"
[[peer]]
name = \"fw2\"
addresses = [\"192.168.100.2\", \"[fd00::2]:4000\"]
public_keys = [\"{KEY}\"]
[standby]
inject = true
"
    )
}

fn read(text: &str) -> Config {
    parse_text(Path::new("a.toml"), text.as_bytes())
        .unwrap_or_else(|error| panic!("{error}\n{text}"))
        .0
}

fn refused(text: &str) -> String {
    parse_text(Path::new("a.toml"), text.as_bytes())
        .expect_err(text)
        .to_string()
}

#[test]
fn ports_listen_address_and_version_1_have_defaults() {
    let config = read(&whole());
    let sync = config.sync().unwrap();
    let native = sync.native.as_ref().unwrap();
    assert_eq!(native.listen.to_string(), format!("[::]:{NATIVE_PORT}"));
    assert!(!native.version_1);
    assert!(sync.standby_inject);
    let addresses: Vec<_> = native.peers[0]
        .addresses
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(addresses, ["192.168.100.2:3781", "[fd00::2]:4000"]);
    assert_eq!(native.peers[0].public_keys[0].to_string(), KEY);
}

#[test]
fn links_of_version_1_are_in_use_only_where_that_is_written() {
    let link = "[[sync.link]]\ntransport = \"udp\"\ninterface = \"eth1\"\n";
    let off = format!("{link}{}", whole());
    assert_eq!(read(&off).sync().unwrap().active_links().len(), 0);
    let on = off.replace("[[peer]]", "version_1 = true\n[[peer]]");
    assert_eq!(read(&on).sync().unwrap().active_links().len(), 1);
    assert_eq!(read(link).sync().unwrap().active_links().len(), 1);
}

#[test]
fn what_cannot_be_is_refused_with_its_place() {
    for (from, to, expected) in [
        (KEY, "abc", "a.toml:7:16: found `abc' for `public_keys'"),
        (
            "192.168.100.2",
            "fw2.example",
            "found `fw2.example' for `addresses'",
        ),
        (
            "192.168.100.2",
            "0.0.0.0",
            "found `0.0.0.0' for `addresses'",
        ),
        (
            "\"/etc/conntrackd/private.key\"",
            "\"key\"",
            "found `key' for `private_key_file'",
        ),
        (
            "\"fw2\"",
            "\"fw1\"",
            "found `fw1' for `name', expected a name that no other node has",
        ),
        ("\"fw2\"", "\"\"", "found `' for `name'"),
        (
            "[native]",
            "[native]\nlisten = \"x\"",
            "found `x' for `listen'",
        ),
        ("[native]", "[native]\nsecret = 1", "unknown field `secret`"),
        ("inject = true", "inject = 1", "invalid type"),
    ] {
        let text = whole().replace(from, to);
        let told = refused(&text);
        assert!(told.contains(expected), "{told}\n{expected}");
    }
    let peers_only = whole().replacen(
        "[native]\nname = \"fw1\"\nprivate_key_file = \"/etc/conntrackd/private.key\"\n",
        "",
        1,
    );
    assert!(
        refused(&peers_only).contains("[native]"),
        "{}",
        refused(&peers_only)
    );
    assert!(refused("[standby]\ninject = true\n").contains("standby"));
}

#[test]
fn a_change_of_peers_and_keys_needs_a_restart() {
    let changed = whole().replace("192.168.100.2", "192.168.100.3");
    assert_eq!(
        needing_restart(&read(&whole()), &read(&changed)),
        ["peer.0.addresses.0"]
    );
    let without = whole().replace("[standby]\ninject = true\n", "");
    assert_eq!(
        needing_restart(&read(&whole()), &read(&without)),
        ["standby.inject"]
    );
    assert_eq!(needing_restart(&read(&whole()), &read(&whole())), [""; 0]);
}

#[test]
fn a_peer_may_have_a_policy_of_its_own() {
    let peer = |policy: &str| {
        let text = whole().replace("[standby]", &format!("{policy}[standby]"));
        let config = read(&text);
        config.sync().unwrap().native.as_ref().unwrap().peers[0]
            .policy
            .clone()
    };
    assert_eq!(peer(""), config::PeerPolicy::default());
    let policy = peer(
        "[peer.policy]\naddresses = [\"10.0.0.0/8\"]\nprotocols = [\"tcp\"]\nzones = [0, 4]\nmark_mask = 0xff\n\
         max_entries = 1000\nmax_new_per_s = 50\n",
    );
    assert_eq!(policy.entries.protocols, Some(vec![6]));
    assert_eq!(policy.entries.zones, Some(vec![0, 4]));
    assert_eq!(
        policy.entries.addresses.map(|networks| networks.len()),
        Some(1)
    );
    assert_eq!(policy.mark_mask, Some(0xff));
    assert_eq!(policy.max_entries.map(u32::from), Some(1000));
    assert_eq!(policy.max_new_per_s.map(u32::from), Some(50));
    for (wrong, told) in [
        ("addresses = [\"10.0.0.0/33\"]", "addresses"),
        ("protocols = [\"nonsense\"]", "protocols"),
        ("zones = [65536]", "65536"),
        ("rate = 5", "rate"),
    ] {
        let text = whole().replace("[standby]", &format!("[peer.policy]\n{wrong}\n[standby]"));
        let said = refused(&text);
        assert!(said.contains(told), "{said}");
    }
}
