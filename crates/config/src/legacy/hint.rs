//! What to write instead of a word that does not fit.

use super::lex::{Kind, Token};
use crate::protocols;

/// Clauses of older releases, and what has become of them.
const REMOVED: [(&str, &str); 19] = [
    (
        "ResendBufferSize",
        "write `ResendQueueSize', which counts messages instead of bytes",
    ),
    (
        "RelaxTransitions",
        "remove it: transitions are always relaxed",
    ),
    (
        "DelayDestroyMessages",
        "remove it: destroy messages are never delayed",
    ),
    (
        "ListenTo",
        "remove it: addresses are configured in each link",
    ),
    (
        "Replicate",
        "write `Filter { State Accept { … for TCP } }' with the same states in section `General'",
    ),
    (
        "CacheWriteThrough",
        "write `DisableExternalCache' in the `Mode' section",
    ),
    (
        "DestroyTimeout",
        "remove it: entries live as long as the peer's",
    ),
    ("StripNAT", "remove it: NAT is always replicated"),
    (
        "IgnoreProtocol",
        "write `Filter { Protocol Ignore { … } }' in section `General'",
    ),
    (
        "IgnoreTrafficFor",
        "write `Filter { Address Ignore { … } }' in section `General'",
    ),
    ("McastSndSocketBuffer", "write `SndSocketBuffer'"),
    ("McastRcvSocketBuffer", "write `RcvSocketBuffer'"),
    ("Family", "remove it: both families are always replicated"),
    (
        "LogFileBufferSize",
        "remove it: the log is written line by line",
    ),
    ("Lockfile", "write `LockFile'"),
    ("FT-FW", "write `FTFW'"),
    ("Stat", "write `Stats'"),
    ("Statistics", "write `Stats'"),
    ("Unix", "write `UNIX'"),
];

/// Clauses and the sections they belong in, in the order in which they are looked for.
const HOMES: [(&str, &[&str]); 11] = [
    (
        "`Mode FTFW'",
        &[
            "ResendQueueSize",
            "ACKWindowSize",
            "DisableExternalCache",
            "StartupResync",
        ],
    ),
    (
        "`Mode NOTRACK'",
        &[
            "DisableInternalCache",
            "DisableExternalCache",
            "StartupResync",
        ],
    ),
    ("`Mode ALARM'", &["RefreshTime", "CacheTimeout"]),
    (
        "`Sync'",
        &[
            "Mode",
            "Multicast",
            "UDP",
            "TCP",
            "Options",
            "CommitTimeout",
            "PurgeTimeout",
        ],
    ),
    (
        "a link (`Multicast', `UDP' or `TCP')",
        &[
            "IPv4_address",
            "IPv6_address",
            "Interface",
            "SndSocketBuffer",
            "RcvSocketBuffer",
            "Checksum",
        ],
    ),
    (
        "`Multicast'",
        &["Group", "IPv4_interface", "IPv6_interface"],
    ),
    (
        "`UDP' or `TCP'",
        &[
            "Port",
            "IPv4_Destination_Address",
            "IPv6_Destination_Address",
            "ErrorQueueLength",
        ],
    ),
    ("`Options'", &["TCPWindowTracking", "ExpectationSync"]),
    ("`General'", super::words::GENERAL),
    ("`UNIX' of `General'", &["Path", "Backlog"]),
    ("`Filter' of `General'", &["Protocol", "Address", "State"]),
];

/// Advice about `found` where one of `words` was expected, or something described as `other`.
pub(crate) fn instead(
    found: &Token<'_>,
    before: Option<&Token<'_>>,
    words: &[&str],
    other: &str,
) -> Option<String> {
    if matches!(other, "a number" | "a signed number")
        && let Some(advice) = about_number(found, other)
    {
        return Some(advice);
    }
    if let Some(advice) = about_unit(found, before) {
        return Some(advice);
    }
    match found.kind {
        Kind::Other => return about_sign(found).map(str::to_owned),
        Kind::Number if other == "a protocol name" => {
            let number = found.string().parse().ok()?;
            return protocols::usual_name(number).map(|name| format!("write `{name}'"));
        }
        Kind::Close if words == ["for"] => {
            return Some("write `for TCP' behind the states".to_owned());
        }
        Kind::End => return Some("a closing `}' may be missing".to_owned()),
        Kind::Close if other.is_empty() => {
            return Some("remove it: there is a closing `}' too many".to_owned());
        }
        Kind::Word => {}
        _ => return None,
    }
    about_word(&found.string(), words, other)
}

fn about_number(found: &Token<'_>, other: &str) -> Option<String> {
    let text = found.string();
    match found.kind {
        Kind::Number => Some(format!(
            "write `+{text}', or remove the clause: it has no effect"
        )),
        Kind::Signed if other == "a number" => Some(match text.strip_prefix('+') {
            Some(digits) => format!("write `{digits}'"),
            None => "write a number without a sign".to_owned(),
        }),
        _ => None,
    }
}

/// `2M`: a number and a word without anything between them.
fn about_unit(found: &Token<'_>, before: Option<&Token<'_>>) -> Option<String> {
    let before = before.filter(|t| t.kind == Kind::Number && t.place.line == found.place.line)?;
    let end = before
        .place
        .column
        .checked_add(u32::try_from(before.text.len()).ok()?)?;
    if end != found.place.column || found.kind != Kind::Word {
        return None;
    }
    let number: u64 = before.string().parse().ok()?;
    let unit = found.string().to_ascii_lowercase();
    let factor = match unit.trim_end_matches('b').trim_end_matches('i') {
        "k" => Some(1u64 << 10),
        "m" => Some(1 << 20),
        "g" => Some(1 << 30),
        "s" | "sec" | "secs" => Some(1),
        _ => None,
    };
    Some(match factor.and_then(|factor| number.checked_mul(factor)) {
        Some(value) => format!("numbers have no unit, write `{value}'"),
        None => "numbers have no unit".to_owned(),
    })
}

fn about_sign(found: &Token<'_>) -> Option<&'static str> {
    match found.text {
        b";" | b"," => Some("remove it: nothing stands between clauses"),
        b"=" | b":" => Some("remove it: a blank stands between a clause and its value"),
        b"\"" | b"'" => Some("remove it: values are not quoted"),
        b"(" | b"[" => Some("write `{'"),
        b")" | b"]" => Some("write `}'"),
        _ => None,
    }
}

fn about_word(found: &str, words: &[&str], other: &str) -> Option<String> {
    let lower = found.to_ascii_lowercase();
    if words.contains(&"on") {
        match lower.as_str() {
            "true" | "enable" | "enabled" => return Some("write `on'".to_owned()),
            "false" | "disable" | "disabled" => return Some("write `off'".to_owned()),
            _ => {}
        }
    }
    if other.contains("a path") {
        return Some(format!(
            "write an absolute path, such as `/var/log/{found}'"
        ));
    }
    if other == "`TCP'" {
        return Some("write `TCP': only TCP has states".to_owned());
    }
    if let Some((_, advice)) = REMOVED
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(found))
        && !words
            .iter()
            .any(|word| word.eq_ignore_ascii_case(found) && *word != "LockFile" && *word != "UNIX")
    {
        return Some((*advice).to_owned());
    }
    let clauses = HOMES.iter().flat_map(|(_, clauses)| clauses.iter());
    let is_clause = clauses
        .chain(super::words::TOP)
        .any(|clause| *clause == found);
    if !is_clause && let Some(near) = nearest(found, words.iter().copied()) {
        return Some(format!("write `{near}'"));
    }
    if super::words::TOP.contains(&found) {
        return Some("a closing `}' may be missing before it".to_owned());
    }
    let homes: Vec<_> = HOMES
        .iter()
        .filter(|(_, clauses)| {
            clauses
                .iter()
                .any(|clause| clause.eq_ignore_ascii_case(found))
        })
        .map(|&(home, _)| home)
        .collect();
    if homes.is_empty() {
        return None;
    }
    Some(format!("it belongs in section {}", homes.join(" or ")))
}

/// The candidate that `found` may be a slip of.
pub(crate) fn nearest<'a>(
    found: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let found = found.to_ascii_lowercase();
    // A third of the letters may differ, but never a word as a whole.
    let limit = (found.len() / 3).min(3);
    candidates
        .into_iter()
        .map(|candidate| (distance(&found, &candidate.to_ascii_lowercase()), candidate))
        .filter(|&(distance, _)| distance <= limit)
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, candidate)| candidate)
}

/// Edit distance in bytes.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.bytes().enumerate() {
        let mut diagonal = i;
        let mut left = i.saturating_add(1);
        let mut next = Vec::with_capacity(row.len());
        next.push(left);
        for (&above, to) in row.iter().skip(1).zip(b.bytes()) {
            let replaced = diagonal.saturating_add(usize::from(from != to));
            left = replaced
                .min(above.saturating_add(1))
                .min(left.saturating_add(1));
            diagonal = above;
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_edits() {
        for (a, b, expected) in [
            ("", "", 0),
            ("", "abc", 3),
            ("kitten", "sitting", 3),
            ("mode", "modes", 1),
        ] {
            assert_eq!(distance(a, b), expected);
            assert_eq!(distance(b, a), expected);
        }
    }

    #[test]
    fn the_nearest_word_is_offered_only_if_near() {
        assert_eq!(
            nearest("hashsise", ["HashSize", "HashLimit"]),
            Some("HashSize")
        );
        assert_eq!(nearest("sync", ["Sync", "Stats"]), Some("Sync"));
        assert_eq!(nearest("Foo", ["Sync", "Stats"]), None);
    }
}
