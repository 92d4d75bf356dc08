//! Bytes to tokens.
//!
//! Every sequence of bytes has tokens: what fits no class is a token of its own that no rule of the
//! grammar takes. Differences from the original, all towards accepting more: a comment may end the
//! file, a path ends at a TAB or CR and gives back closing braces behind it, words that look like
//! hexadecimal numbers are words.

use crate::Place;

/// What a token looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Open,
    Close,
    Number,
    Signed,
    Ipv4,
    Ipv6,
    Path,
    Word,
    Other,
    End,
}

/// A token with its text and place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token<'a> {
    pub(crate) kind: Kind,
    pub(crate) text: &'a [u8],
    pub(crate) place: Place,
}

impl Token<'_> {
    /// The text, for messages and for classes that are ASCII anyway.
    pub(crate) fn string(&self) -> String {
        String::from_utf8_lossy(self.text).into_owned()
    }
}

/// A comment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Comment<'a> {
    /// From the `#` to the end of the line.
    pub(crate) text: &'a [u8],
    pub(crate) place: Place,
    /// How many tokens stand before it.
    pub(crate) tokens_before: usize,
}

/// A file in tokens. The last one is [`Kind::End`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lexed<'a> {
    pub(crate) tokens: Vec<Token<'a>>,
    pub(crate) comments: Vec<Comment<'a>>,
}

/// Splits a file.
pub(crate) fn lex(source: &[u8]) -> Lexed<'_> {
    let mut lexed = Lexed {
        tokens: Vec::new(),
        comments: Vec::new(),
    };
    let mut rest = source.strip_prefix(b"\xef\xbb\xbf").unwrap_or(source);
    let mut place = Place { line: 1, column: 1 };
    while let Some(&first) = rest.first() {
        let len = match first {
            b'\n' => {
                place = Place {
                    line: place.line.saturating_add(1),
                    column: 1,
                };
                rest = rest.get(1..).unwrap_or_default();
                continue;
            }
            b' ' | b'\t' | b'\r' => 1,
            b'#' => {
                let len = rest.iter().position(|&b| b == b'\n').unwrap_or(rest.len());
                let text = rest.get(..len).unwrap_or_default().trim_ascii_end();
                let tokens_before = lexed.tokens.len();
                lexed.comments.push(Comment {
                    text,
                    place,
                    tokens_before,
                });
                len
            }
            _ => {
                let (kind, len) = token(rest);
                let text = rest.get(..len).unwrap_or_default();
                lexed.tokens.push(Token { kind, text, place });
                len
            }
        };
        let columns = u32::try_from(len).unwrap_or(u32::MAX);
        place.column = place.column.saturating_add(columns);
        rest = rest.get(len..).unwrap_or_default();
    }
    lexed.tokens.push(Token {
        kind: Kind::End,
        text: b"",
        place,
    });
    lexed
}

/// Class and length of the token at the start of `rest`, which is neither empty nor blank.
fn token(rest: &[u8]) -> (Kind, usize) {
    match rest.first() {
        Some(b'{') => (Kind::Open, 1),
        Some(b'}') => (Kind::Close, 1),
        Some(b'/') => (Kind::Path, path_len(rest)),
        Some(b) if !b.is_ascii() => (Kind::Other, run(rest, |b| !b.is_ascii())),
        _ => {
            // The longest wins; between equals the earlier.
            let candidates = [
                (Kind::Number, run(rest, |b| b.is_ascii_digit())),
                (Kind::Signed, signed_len(rest)),
                (Kind::Ipv4, ipv4_len(rest)),
                (Kind::Ipv6, ipv6_len(rest)),
                (Kind::Word, word_len(rest)),
            ];
            let mut longest = (Kind::Other, 0);
            for candidate in candidates {
                if candidate.1 > longest.1 {
                    longest = candidate;
                }
            }
            if longest.1 == 0 {
                (Kind::Other, 1)
            } else {
                longest
            }
        }
    }
}

fn run(bytes: &[u8], belongs: impl Fn(u8) -> bool) -> usize {
    bytes
        .iter()
        .position(|&b| !belongs(b))
        .unwrap_or(bytes.len())
}

fn path_len(rest: &[u8]) -> usize {
    let len = run(rest, |b| !matches!(b, b' ' | b'\t' | b'\r' | b'\n' | b'"'));
    let text = rest.get(..len).unwrap_or_default();
    if text.contains(&b'{') {
        return len;
    }
    // `Path /run/x.ctl}`: the brace is meant to close the section. At least the slash remains.
    let braces = text.iter().rev().take_while(|&&b| b == b'}').count();
    len.saturating_sub(braces).max(1)
}

fn signed_len(rest: &[u8]) -> usize {
    match rest.split_first() {
        Some((b'+' | b'-', digits)) => match run(digits, |b| b.is_ascii_digit()) {
            0 => 0,
            len => len.saturating_add(1),
        },
        _ => 0,
    }
}

fn ipv4_len(rest: &[u8]) -> usize {
    let mut len = 0usize;
    for group in 0..4 {
        let after = rest.get(len..).unwrap_or_default();
        let after = match (group, after.strip_prefix(b".")) {
            (0, _) => after,
            (_, Some(after)) => {
                len = len.saturating_add(1);
                after
            }
            (_, None) => return 0,
        };
        match run(after, |b| b.is_ascii_digit()) {
            0 => return 0,
            digits => len = len.saturating_add(digits),
        }
    }
    len.saturating_add(prefix_len(rest, len))
}

fn ipv6_len(rest: &[u8]) -> usize {
    let len = run(rest, |b| b.is_ascii_hexdigit() || b == b':' || b == b'.');
    if !rest.get(..len).unwrap_or_default().contains(&b':') {
        return 0;
    }
    len.saturating_add(prefix_len(rest, len))
}

/// Length of `/digits` at `at`, or 0.
fn prefix_len(rest: &[u8], at: usize) -> usize {
    match rest
        .get(at..)
        .and_then(|r| r.strip_prefix(b"/"))
        .map(|r| run(r, |b| b.is_ascii_digit()))
    {
        None | Some(0) => 0,
        Some(digits) => digits.saturating_add(1),
    }
}

fn word_len(rest: &[u8]) -> usize {
    let in_word = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    match rest.first() {
        Some(b) if b.is_ascii_alphabetic() => run(rest, in_word),
        // Up to four hexadecimal digits are a class of their own in the original, `0e` for instance.
        Some(b) if b.is_ascii_digit() => match run(rest, |b| b.is_ascii_hexdigit()) {
            len @ 2..=4 => len,
            _ => 0,
        },
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(source: &str) -> Vec<(Kind, String)> {
        lex(source.as_bytes())
            .tokens
            .iter()
            .map(|t| (t.kind, t.string()))
            .collect()
    }

    fn kind_of(source: &str) -> Kind {
        let lexed = lex(source.as_bytes());
        assert_eq!(lexed.tokens.len(), 2, "{source} is one token");
        lexed.tokens[0].kind
    }

    #[test]
    fn every_class_is_recognised() {
        for (source, kind) in [
            ("{", Kind::Open),
            ("}", Kind::Close),
            ("42", Kind::Number),
            ("-20", Kind::Signed),
            ("+5", Kind::Signed),
            ("10.0.0.1", Kind::Ipv4),
            ("300.0.0.1/33", Kind::Ipv4),
            ("fd00::1", Kind::Ipv6),
            ("::", Kind::Ipv6),
            ("::ffff:10.0.0.1/96", Kind::Ipv6),
            ("fe80::/10", Kind::Ipv6),
            ("/var/log/a#b;{}", Kind::Path),
            ("IPv6-ICMP", Kind::Word),
            ("q.931", Kind::Word),
            ("eth0.100", Kind::Word),
            ("cafe", Kind::Word),
            ("0e", Kind::Word),
            ("ü", Kind::Other),
            (";", Kind::Other),
        ] {
            assert_eq!(kind_of(source), kind, "{source}");
        }
    }

    #[test]
    fn tokens_end_where_the_original_ends_them() {
        let split = |source: &str| texts(source).into_iter().map(|t| t.1).collect::<Vec<_>>();
        assert_eq!(
            split("NetlinkBufferSize 2M"),
            ["NetlinkBufferSize", "2", "M", ""]
        );
        assert_eq!(
            split("Sync{Mode\nFtfw{"),
            ["Sync", "{", "Mode", "Ftfw", "{", ""]
        );
        assert_eq!(split("on; \"x\""), ["on", ";", "\"", "x", "\"", ""]);
        assert_eq!(split("1.2.3"), ["1", ".", "2", ".", "3", ""]);
    }

    #[test]
    fn a_path_ends_at_tab_and_carriage_return_and_gives_braces_back() {
        let split = |source: &str| texts(source).into_iter().map(|t| t.1).collect::<Vec<_>>();
        assert_eq!(split("Path /run/x\t}"), ["Path", "/run/x", "}", ""]);
        assert_eq!(split("Path /run/x\r\n}"), ["Path", "/run/x", "}", ""]);
        assert_eq!(
            split("Path /run/x.ctl}}"),
            ["Path", "/run/x.ctl", "}", "}", ""]
        );
        assert_eq!(split("/}"), ["/", "}", ""]);
    }

    #[test]
    fn places_count_lines_and_bytes_from_one() {
        let lexed = lex(b"\xef\xbb\xbfa\n  b # c\n");
        let at = |line, column| Place { line, column };
        let places: Vec<_> = lexed.tokens.iter().map(|t| t.place).collect();
        assert_eq!(places, [at(1, 1), at(2, 3), at(3, 1)]);
        assert_eq!(lexed.comments[0].place, at(2, 5));
        assert_eq!(
            (lexed.comments[0].text, lexed.comments[0].tokens_before),
            (&b"# c"[..], 2)
        );
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(256))]

        /// Tokens, comments and blanks are the whole text, and each token is one again by itself.
        #[test]
        fn nothing_is_lost(text in "[ -~\n\t]{0,120}") {
            let lexed = lex(text.as_bytes());
            let mut again: Vec<&[u8]> = lexed.tokens.iter().map(|t| t.text).collect();
            again.extend(lexed.comments.iter().map(|c| c.text));
            let visible = |bytes: &[u8]| bytes.iter().filter(|b| !b.is_ascii_whitespace()).count();
            let count: usize = again.iter().map(|text| visible(text)).sum();
            proptest::prop_assert_eq!(count, visible(text.as_bytes()));
            for token in &lexed.tokens {
                let alone = lex(token.text);
                proptest::prop_assert_eq!(alone.tokens[0].text, token.text);
                proptest::prop_assert_eq!(alone.tokens[0].kind, token.kind);
                let line = text.split('\n').nth(token.place.line as usize - 1).unwrap();
                proptest::prop_assert!(line.as_bytes()[token.place.column as usize - 1..].starts_with(token.text));
            }
        }
    }
}
