//! The shape of a TOML file. Every value knows where it stands.

use serde::Deserialize as Derive;
use serde::de::{self, Deserialize, Deserializer, Visitor};
use std::fmt;
use toml::Spanned;

type Maybe<T> = Option<Spanned<T>>;

#[derive(Debug, Default, Derive)]
#[serde(deny_unknown_fields, default)]
pub(super) struct File {
    pub(super) sync: Maybe<Sync>,
    pub(super) native: Maybe<Native>,
    pub(super) peer: Vec<Spanned<Peer>>,
    pub(super) standby: Maybe<Standby>,
    pub(super) general: Maybe<General>,
    pub(super) policy: Maybe<Policy>,
    pub(super) stats: Maybe<Stats>,
    pub(super) helper: Maybe<Helper>,
}

#[derive(Debug, Default, Derive)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Sync {
    pub(super) mode: Maybe<String>,
    pub(super) resend_queue_size: Maybe<u32>,
    pub(super) ack_window_size: Maybe<u32>,
    pub(super) commit_timeout_s: Maybe<u32>,
    pub(super) purge_timeout_s: Maybe<u32>,
    pub(super) refresh_time_s: Maybe<u32>,
    pub(super) cache_timeout_s: Maybe<u32>,
    pub(super) disable_external_cache: Maybe<bool>,
    pub(super) disable_internal_cache: Maybe<bool>,
    pub(super) startup_resync: Maybe<bool>,
    pub(super) tcp_window_tracking: Maybe<bool>,
    pub(super) expectation_sync: Maybe<Expectations>,
    pub(super) link: Vec<Spanned<Link>>,
}

#[derive(Debug, Derive)]
#[serde(deny_unknown_fields)]
pub(super) struct Link {
    pub(super) transport: Spanned<String>,
    #[serde(default)]
    pub(super) default: bool,
    pub(super) interface: Maybe<String>,
    pub(super) port: Maybe<u16>,
    pub(super) group: Maybe<String>,
    pub(super) local_address: Maybe<String>,
    pub(super) peer_address: Maybe<String>,
    pub(super) send_buffer_bytes: Maybe<u32>,
    pub(super) receive_buffer_bytes: Maybe<u32>,
    pub(super) checksum: Maybe<bool>,
    pub(super) error_queue_length: Maybe<u32>,
}

#[derive(Debug, Derive)]
#[serde(deny_unknown_fields)]
pub(super) struct Native {
    pub(super) name: Spanned<String>,
    pub(super) listen: Maybe<String>,
    pub(super) private_key_file: Spanned<String>,
    pub(super) version_1: Maybe<bool>,
    pub(super) recover: Maybe<bool>,
}

#[derive(Debug, Derive)]
#[serde(deny_unknown_fields)]
pub(super) struct Peer {
    pub(super) name: Spanned<String>,
    pub(super) addresses: Spanned<Vec<Spanned<String>>>,
    pub(super) public_keys: Spanned<Vec<Spanned<String>>>,
    pub(super) policy: Maybe<PeerPolicy>,
}

#[derive(Debug, Default, Derive)]
#[serde(deny_unknown_fields, default)]
pub(super) struct PeerPolicy {
    pub(super) addresses: Option<Vec<Spanned<String>>>,
    pub(super) protocols: Option<Vec<Spanned<Protocol>>>,
    pub(super) tcp_states: Option<Vec<Spanned<String>>>,
    pub(super) zones: Option<Vec<Spanned<u16>>>,
    pub(super) mark_mask: Maybe<u32>,
    pub(super) max_entries: Maybe<u32>,
    pub(super) max_new_per_s: Maybe<u32>,
}

#[derive(Debug, Default, Derive)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Standby {
    pub(super) inject: Maybe<bool>,
}

#[derive(Debug, Default, Derive)]
#[serde(deny_unknown_fields, default)]
pub(super) struct General {
    pub(super) hash_size: Maybe<u32>,
    pub(super) hash_limit: Maybe<u32>,
    pub(super) log_file: Maybe<Switch>,
    pub(super) syslog: Maybe<Switch>,
    pub(super) log_level: Maybe<String>,
    pub(super) ready_file: Maybe<String>,
    pub(super) keepalived_fifo: Maybe<String>,
    pub(super) metrics: Maybe<String>,
    pub(super) lock_file: Maybe<String>,
    pub(super) unix_path: Maybe<String>,
    pub(super) unix_mode: Maybe<String>,
    pub(super) unix_group: Maybe<String>,
    pub(super) sandbox: Maybe<bool>,
    pub(super) netlink_buffer_bytes: Maybe<u32>,
    pub(super) netlink_buffer_max_growth_bytes: Maybe<u32>,
    pub(super) netlink_overrun_resync_s: Maybe<Seconds>,
    pub(super) netlink_events_reliable: Maybe<bool>,
    pub(super) poll_s: Maybe<u32>,
    pub(super) event_iteration_limit: Maybe<u32>,
    pub(super) systemd: Maybe<bool>,
    pub(super) scheduler: Maybe<Scheduler>,
    pub(super) filter: Maybe<Filter>,
}

#[derive(Debug, Default, Derive)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Scheduler {
    #[serde(rename = "type")]
    pub(super) kind: Maybe<String>,
    pub(super) priority: Maybe<u32>,
}

#[derive(Debug, Default, Derive)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Filter {
    pub(super) from: Maybe<String>,
    pub(super) protocol: Maybe<List<Protocol>>,
    pub(super) address: Maybe<List<String>>,
    pub(super) state: Maybe<List<String>>,
}

#[derive(Debug, Derive)]
#[serde(deny_unknown_fields)]
pub(super) struct List<T> {
    pub(super) accept: Option<Spanned<Vec<Spanned<T>>>>,
    pub(super) ignore: Option<Spanned<Vec<Spanned<T>>>>,
}

#[derive(Debug, Default, Derive)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Policy {
    pub(super) addresses: Option<Vec<Spanned<String>>>,
    pub(super) protocols: Option<Vec<Spanned<Protocol>>>,
    pub(super) tcp_states: Option<Vec<Spanned<String>>>,
    pub(super) zones: Option<Vec<Spanned<u16>>>,
    pub(super) max_entries: Maybe<u32>,
    pub(super) resync_interval_s: Maybe<u32>,
}

#[derive(Debug, Default, Derive)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Stats {
    pub(super) log_file: Maybe<Switch>,
    pub(super) syslog: Maybe<Switch>,
}

#[derive(Debug, Default, Derive)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Helper {
    pub(super) setup: Maybe<bool>,
    #[serde(rename = "type")]
    pub(super) types: Vec<Spanned<HelperType>>,
}

#[derive(Debug, Derive)]
#[serde(deny_unknown_fields)]
pub(super) struct HelperType {
    pub(super) name: String,
    pub(super) family: String,
    pub(super) transport: String,
    pub(super) queue_num: Maybe<u32>,
    pub(super) queue_len: Maybe<u32>,
    #[serde(default)]
    pub(super) policy: Vec<Spanned<HelperPolicy>>,
}

#[derive(Debug, Derive)]
#[serde(deny_unknown_fields)]
pub(super) struct HelperPolicy {
    pub(super) name: String,
    pub(super) expect_max: Maybe<u32>,
    pub(super) expect_timeout_s: Maybe<u32>,
}

/// `true`, `false`, or a text.
#[derive(Clone, Debug)]
pub(super) enum Switch {
    Bool(bool),
    Text(String),
}

/// `true`, `false`, or a number.
#[derive(Clone, Copy, Debug)]
pub(super) enum Seconds {
    Bool(bool),
    Number(u32),
}

/// `true`, `false`, or names.
#[derive(Clone, Debug)]
pub(super) enum Expectations {
    Bool(bool),
    Helpers(Vec<Spanned<String>>),
}

/// A name or a number.
#[derive(Clone, Debug)]
pub(super) enum Protocol {
    Name(String),
    Number(u8),
}

impl<'de> Deserialize<'de> for Switch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SwitchVisitor;
        impl Visitor<'_> for SwitchVisitor {
            type Value = Switch;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true, false or a string")
            }
            fn visit_bool<E: de::Error>(self, on: bool) -> Result<Switch, E> {
                Ok(Switch::Bool(on))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Switch, E> {
                Ok(Switch::Text(text.to_owned()))
            }
        }
        deserializer.deserialize_any(SwitchVisitor)
    }
}

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SecondsVisitor;
        impl Visitor<'_> for SecondsVisitor {
            type Value = Seconds;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true, false or a number of seconds")
            }
            fn visit_bool<E: de::Error>(self, on: bool) -> Result<Seconds, E> {
                Ok(Seconds::Bool(on))
            }
            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Seconds, E> {
                let unfit = |_| E::invalid_value(de::Unexpected::Signed(number), &self);
                u32::try_from(number).map(Seconds::Number).map_err(unfit)
            }
        }
        deserializer.deserialize_any(SecondsVisitor)
    }
}

impl<'de> Deserialize<'de> for Expectations {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ExpectationsVisitor;
        impl<'de> Visitor<'de> for ExpectationsVisitor {
            type Value = Expectations;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true, false or a list of helpers")
            }
            fn visit_bool<E: de::Error>(self, on: bool) -> Result<Expectations, E> {
                Ok(Expectations::Bool(on))
            }
            fn visit_seq<A: de::SeqAccess<'de>>(self, list: A) -> Result<Expectations, A::Error> {
                let list = de::value::SeqAccessDeserializer::new(list);
                Vec::deserialize(list).map(Expectations::Helpers)
            }
        }
        deserializer.deserialize_any(ExpectationsVisitor)
    }
}

impl<'de> Deserialize<'de> for Protocol {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ProtocolVisitor;
        impl Visitor<'_> for ProtocolVisitor {
            type Value = Protocol;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a protocol or its number (0 to 255)")
            }
            fn visit_str<E: de::Error>(self, name: &str) -> Result<Protocol, E> {
                Ok(Protocol::Name(name.to_owned()))
            }
            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Protocol, E> {
                let unfit = |_| E::invalid_value(de::Unexpected::Signed(number), &self);
                u8::try_from(number).map(Protocol::Number).map_err(unfit)
            }
        }
        deserializer.deserialize_any(ProtocolVisitor)
    }
}
