//! Whether a cache holds what the kernel's table holds: same tuples, none twice, same TCP state, same ASSURED flag.

use std::fmt;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use flow::{Flow, ProtoInfo, Status};

/// What of an entry must be equal, as text.
fn of_flow(flow: &Flow) -> String {
    let state = match flow.proto {
        ProtoInfo::Tcp(tcp) => tcp.state.map_or("", flow::TcpState::name),
        _ => "",
    };
    let ports = [flow.orig.sport(), flow.orig.dport()].map(Option::unwrap_or_default);
    let assured = flow.status_bits().0 & Status::ASSURED.0 != 0;
    compose(
        &flow.orig.proto.to_string(),
        state,
        [&flow.orig.src().to_string(), &flow.orig.dst().to_string()],
        ports
            .map(|port| port.to_string())
            .each_ref()
            .map(String::as_str),
        assured,
    )
}

/// The same of a line of a listing.
fn of_line(line: &str) -> String {
    let mut words = line.split_ascii_whitespace();
    let proto = words.nth(1).unwrap_or_default();
    let mut state = "";
    let [mut src, mut dst, mut sport, mut dport] = [""; 4];
    let mut assured = false;
    for word in words {
        let (key, value) = word.split_once('=').unwrap_or((word, ""));
        let place = match key {
            "src" => &mut src,
            "dst" => &mut dst,
            "sport" => &mut sport,
            "dport" => &mut dport,
            "[ASSURED]" => {
                assured = true;
                continue;
            }
            word if proto == "6" && src.is_empty() => {
                state = word;
                continue;
            }
            _ => continue,
        };
        // The original direction comes first.
        if place.is_empty() {
            *place = value;
        }
    }
    compose(proto, state, [src, dst], [sport, dport], assured)
}

fn compose(proto: &str, state: &str, addrs: [&str; 2], ports: [&str; 2], assured: bool) -> String {
    let [src, dst] = addrs;
    let [sport, dport] = ports;
    format!("{proto} {state} {src}:{sport} > {dst}:{dport} {assured}")
}

fn hashed(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

fn sorted(hashes: impl Iterator<Item = u64>) -> Vec<u64> {
    let mut hashes: Vec<_> = hashes.collect();
    hashes.sort_unstable();
    hashes
}

/// How two tables differ.
#[derive(Debug)]
pub(crate) struct Difference {
    entries: usize,
    missing: usize,
    surplus: usize,
    example: String,
}

impl Difference {
    /// Entries that are not as they should be.
    pub(crate) fn count(&self) -> usize {
        self.missing.max(self.surplus)
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            entries,
            missing,
            surplus,
            example,
        } = self;
        write!(
            f,
            "of {entries} entries {missing} are missing or different, {surplus} are too many; {example}"
        )
    }
}

/// How a listing differs from the kernel's table; `None` if it does not.
pub(crate) fn difference(kernel: &[Flow], listing: &str) -> Option<Difference> {
    let lines = || listing.lines().filter(|line| !line.trim().is_empty());
    let there = sorted(kernel.iter().map(|flow| hashed(&of_flow(flow))));
    let told = sorted(lines().map(|line| hashed(&of_line(line))));
    let (missing, surplus) = (only_in(&there, &told), only_in(&told, &there));
    let example = if let Some(hash) = missing.first() {
        let flow = kernel
            .iter()
            .map(of_flow)
            .find(|flow| hashed(flow) == *hash);
        format!("missing: {}", flow.unwrap_or_default())
    } else if let Some(hash) = surplus.first() {
        let line = lines().map(of_line).find(|line| hashed(line) == *hash);
        format!("not in the kernel: {}", line.unwrap_or_default())
    } else {
        return None;
    };
    Some(Difference {
        entries: there.len(),
        missing: missing.len(),
        surplus: surplus.len(),
        example,
    })
}

/// What is in one sorted list and not, or less often, in another.
fn only_in(these: &[u64], others: &[u64]) -> Vec<u64> {
    let mut others = others.iter().peekable();
    let mut only = Vec::new();
    for this in these {
        while others.next_if(|other| *other < this).is_some() {}
        if others.next_if_eq(&this).is_none() {
            only.push(*this);
        }
    }
    only
}

#[cfg(test)]
mod tests {
    use super::*;
    use netlab::sample;

    fn line(flow: &Flow) -> String {
        let text = of_flow(flow);
        let words: Vec<_> = text.split(' ').collect();
        let [proto, state, from, _, to, assured] = words.as_slice() else {
            panic!("{text}");
        };
        let (src, sport) = from.rsplit_once(':').unwrap();
        let (dst, dport) = to.rsplit_once(':').unwrap();
        let assured = if *assured == "true" { "[ASSURED] " } else { "" };
        format!(
            "name {proto} {state} src={src} dst={dst} sport={sport} dport={dport} src=x dst=y sport=1 dport=2 {assured}mark=0 [active since 1s]\n"
        )
    }

    #[test]
    fn what_is_missing_double_or_changed_is_told() {
        let flows: Vec<_> = (0..100).map(sample::nth).collect();
        let lines: Vec<_> = flows.iter().map(line).collect();
        assert!(difference(&flows, &lines.concat()).is_none());
        assert!(difference(&flows, &lines[1..].concat()).is_some());
        assert!(difference(&flows[1..], &lines.concat()).is_some());
        let double = lines.concat() + &lines[5];
        assert!(
            difference(&flows, &double)
                .unwrap()
                .to_string()
                .contains(" 1 are too many")
        );
        let changed = lines.concat().replacen("ESTABLISHED", "CLOSE", 1);
        assert!(difference(&flows, &changed).is_some());
        let changed = lines.concat().replacen("[ASSURED] ", "", 1);
        assert!(difference(&flows, &changed).is_some());
        assert!(difference(&flows, "").is_some());
    }
}
