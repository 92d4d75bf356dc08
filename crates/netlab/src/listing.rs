//! Comparable lines out of what `conntrackd -i`, `-e` and `conntrack -L` print.

/// Words that appear only in the original or reply tuple.
const TUPLE_KEYS: [&str; 8] = [
    "src", "dst", "sport", "dport", "type", "code", "id", "srckey",
];

/// One line of a listing, taken apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Line {
    /// Protocol name and number.
    proto: String,
    /// State word, if the protocol has one.
    state: Option<String>,
    orig: Vec<String>,
    reply: Vec<String>,
    /// Everything else, in order.
    rest: Vec<String>,
}

fn parse(line: &str) -> Line {
    let line = without_ages(line);
    let mut words = line.split_whitespace().peekable();
    let mut parsed = Line {
        proto: [words.next(), words.next()]
            .map(Option::unwrap_or_default)
            .join(" "),
        ..Line::default()
    };
    // A listing of the kernel has the timeout here.
    words.next_if(|word| word.parse::<u64>().is_ok());
    parsed.state = words
        .next_if(|word| {
            word.bytes()
                .all(|byte| byte.is_ascii_uppercase() || byte == b'_' || byte.is_ascii_digit())
        })
        .map(str::to_owned);
    let mut replying = false;
    for word in words {
        let key = word.split_once('=').map(|(key, _)| key);
        let Some(key) = key.filter(|key| TUPLE_KEYS.contains(key) || *key == "dstkey") else {
            parsed.rest.push(word.to_owned());
            continue;
        };
        replying |= key == "src" && !parsed.orig.is_empty();
        let tuple = if replying {
            &mut parsed.reply
        } else {
            &mut parsed.orig
        };
        tuple.push(word.to_owned());
    }
    parsed
}

/// Cuts out `[active since Ns]` and `[expires in Ns]`.
fn without_ages(line: &str) -> String {
    let mut out = String::new();
    for (index, part) in line.split('[').enumerate() {
        match part.split_once(']') {
            Some((inside, after))
                if inside.starts_with("active ") || inside.starts_with("expires ") =>
            {
                out.push_str(after);
            }
            _ => {
                if index > 0 {
                    out.push('[');
                }
                out.push_str(part);
            }
        }
    }
    out
}

fn join(line: Line, with_reply: bool, mut keep: impl FnMut(&str) -> bool) -> String {
    let mut words = vec![line.proto];
    words.extend(line.state);
    words.extend(line.orig);
    if with_reply {
        words.extend(line.reply);
    }
    let mut rest = line.rest;
    rest.retain(|word| keep(word));
    rest.sort();
    words.extend(rest);
    words.join(" ")
}

/// Lines of a cache listing: original direction, state, flags, mark, helper; sorted.
///
/// The reply direction is left out because a peer is not told it, `mark=0` because it is shown only when the source of
/// the entry happened to mention it, and ages.
#[must_use]
pub fn cache(text: &str) -> Vec<String> {
    sorted(text, |line| {
        join(parse(line), false, |word| word != "mark=0")
    })
}

/// Lines of a kernel listing: both directions and everything but timeout, use count, counters and `mark=0`; sorted.
#[must_use]
pub fn kernel(text: &str) -> Vec<String> {
    let volatile = ["use=", "packets=", "bytes=", "delta-time="];
    sorted(text, |line| {
        join(parse(line), true, |word| {
            word != "mark=0" && !volatile.iter().any(|prefix| word.starts_with(prefix))
        })
    })
}

fn sorted(text: &str, normalise: impl Fn(&str) -> String) -> Vec<String> {
    let mut lines: Vec<_> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .map(normalise)
        .collect();
    lines.sort();
    lines
}

/// What is only in the one and only in the other of two sorted listings; empty when they are equal. For messages.
#[must_use]
pub fn difference(a: &[String], b: &[String]) -> String {
    let mut out = String::new();
    let mut note = |sign: char, line: &String| {
        out.push(sign);
        out.push(' ');
        out.push_str(line);
        out.push('\n');
    };
    let (mut left, mut right) = (a.iter().peekable(), b.iter().peekable());
    loop {
        match (left.peek().copied(), right.peek().copied()) {
            (Some(x), Some(y)) if x == y => {
                left.next();
                right.next();
            }
            (x, Some(y)) if x.is_none_or(|x| x > y) => {
                note('+', y);
                right.next();
            }
            (Some(x), _) => {
                note('-', x);
                left.next();
            }
            (None, _) => return out,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn internal_and_external_lines_of_one_entry_are_equal() {
        let internal = "tcp      6 ESTABLISHED src=10.0.0.1 dst=10.0.0.2 sport=1 dport=2 src=10.0.0.2 dst=10.0.0.1 \
                        sport=2 dport=1 [ASSURED] mark=0 helper=ftp [active since 4s]\n";
        let external = "tcp      6 ESTABLISHED src=10.0.0.1 dst=10.0.0.2 sport=1 dport=2 [ASSURED] helper=ftp \
                        [expires in 3s] [active since 12s]\n";
        let line =
            "tcp 6 ESTABLISHED src=10.0.0.1 dst=10.0.0.2 sport=1 dport=2 [ASSURED] helper=ftp";
        assert_eq!(cache(internal), [line]);
        assert_eq!(cache(external), [line]);
    }

    #[test]
    fn what_matters_makes_lines_differ() {
        let base = "tcp 6 ESTABLISHED src=a dst=b sport=1 dport=2 [ASSURED] mark=4";
        for other in [
            "tcp 6 CLOSE_WAIT src=a dst=b sport=1 dport=2 [ASSURED] mark=4",
            "tcp 6 ESTABLISHED src=a dst=b sport=1 dport=3 [ASSURED] mark=4",
            "tcp 6 ESTABLISHED src=a dst=b sport=1 dport=2 mark=4",
            "tcp 6 ESTABLISHED src=a dst=b sport=1 dport=2 [ASSURED] mark=5",
            "udp 17 src=a dst=b sport=1 dport=2 [ASSURED] mark=4",
        ] {
            assert_ne!(cache(base), cache(other));
        }
    }

    #[test]
    fn a_kernel_line_keeps_the_reply_and_loses_what_passes() {
        let text = "icmp     1 29 src=10.0.0.1 dst=10.0.0.2 type=8 code=0 id=7 packets=1 bytes=84 src=10.0.0.2 \
                    dst=10.0.0.9 type=0 code=0 id=7 packets=1 bytes=84 mark=0 zone=3 use=1\n";
        assert_eq!(
            kernel(text),
            [
                "icmp 1 src=10.0.0.1 dst=10.0.0.2 type=8 code=0 id=7 src=10.0.0.2 dst=10.0.0.9 type=0 code=0 id=7 zone=3"
            ]
        );
    }

    #[test]
    fn a_difference_names_the_lines_of_each_side() {
        let lines = |text: &str| {
            text.split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        assert_eq!(
            difference(&lines("a b c e"), &lines("a c d")),
            "- b\n+ d\n- e\n"
        );
        assert_eq!(difference(&lines("a b"), &lines("a b")), "");
    }
}
