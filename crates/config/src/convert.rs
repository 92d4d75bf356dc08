//! From the original's grammar to TOML.

use std::path::Path;

use crate::error::{ErrorKind, ParseError};
use crate::legacy::lex::{Comment, Kind, Lexed, lex};
use crate::legacy::parse::parse;
use crate::lower::lower;
use crate::protocols::Protocols;
use crate::render::{Line, lines};
use crate::{Config, Place, Source};

/// The TOML file that means the same as this text in the original's grammar.
///
/// What the text sets is set, defaults are left out, and comments stand with the clauses they stood
/// with; clauses without effect are dropped.
///
/// # Errors
/// The text is refused, or names a file in bytes that TOML cannot hold.
pub fn to_toml(text: &[u8]) -> Result<String, ParseError> {
    let lexed = lex(text);
    let (statements, error) = parse(&lexed.tokens);
    let source = Source::Legacy(Path::new("").to_owned());
    let (config, _) = lower(&statements, error, source, &Protocols::usual());
    let config = config?;
    paths_are_text(&config)?;
    let mut lines = lines(&config);
    place_comments(&lexed, &config, &mut lines);
    Ok(print(&lines))
}

fn paths_are_text(config: &Config) -> Result<(), ParseError> {
    let general = &config.general;
    let stats = match &config.role {
        crate::Role::Statistics(stats) => stats.log_file.as_deref(),
        _ => None,
    };
    let paths = [
        ("general.log_file", general.log_file.as_deref()),
        ("general.lock_file", Some(general.lock_file.as_path())),
        ("general.unix_path", general.unix_path.as_deref()),
        ("stats.log_file", stats),
    ];
    for (key, path) in paths {
        if path.is_some_and(|path| path.to_str().is_none()) {
            let place = config.origin.places.get(key).copied().unwrap_or_default();
            let reason = "found a path that is no UTF-8, which TOML cannot hold".to_owned();
            return Err(ParseError {
                place,
                kind: ErrorKind::Toml {
                    reason,
                    instead: None,
                },
            });
        }
    }
    Ok(())
}

/// Gives every comment to the line that stems from the clause it belongs to.
fn place_comments(lexed: &Lexed<'_>, config: &Config, lines: &mut [Line]) {
    // The lines that stem from somewhere, in the order of the source.
    let mut sources: Vec<(Place, usize)> = lines
        .iter()
        .enumerate()
        .filter_map(|(at, line)| Some((*config.origin.places.get(&line.key)?, at)))
        .collect();
    sources.sort_unstable();
    let end = lines.len().saturating_sub(1);
    for comment in &lexed.comments {
        let (line, position, text) = match position(lexed, comment, &sources, end) {
            Position::Top => (0, Where::Before, readable(comment.text)),
            Position::Line(at, Where::After) => {
                let at = outside_of_list(lexed, config, comment, lines, at);
                (at, Where::After, readable(comment.text))
            }
            Position::Line(at, position) => (at, position, readable(comment.text)),
            Position::Dropped(at) => (at, Where::Before, with_clause(lexed, comment)),
        };
        let Some(line) = lines.get_mut(line) else {
            continue;
        };
        match position {
            Where::Before => line.before.push(text),
            Where::Behind => line.behind.push(text),
            Where::After => line.after.push(text),
        }
    }
}

enum Position {
    Top,
    Line(usize, Where),
    /// Behind a clause that is not converted; goes before this line.
    Dropped(usize),
}

#[derive(Clone, Copy)]
enum Where {
    Before,
    Behind,
    After,
}

fn position(
    lexed: &Lexed<'_>,
    comment: &Comment<'_>,
    sources: &[(Place, usize)],
    end: usize,
) -> Position {
    let Some(before) = comment
        .tokens_before
        .checked_sub(1)
        .and_then(|at| lexed.tokens.get(at))
    else {
        return Position::Top;
    };
    let split = sources.partition_point(|&(place, _)| place < comment.place);
    let earlier = split.checked_sub(1).and_then(|at| sources.get(at));
    let later = sources.get(split).map_or(end, |&(_, at)| at);
    let on_line = before.place.line == comment.place.line;
    if let Some(&(place, at)) = earlier
        && on_line
        && place.line == comment.place.line
    {
        return Position::Line(at, Where::Behind);
    }
    let next = lexed
        .tokens
        .get(comment.tokens_before)
        .map(|token| token.kind);
    let section_ends = next == Some(Kind::Close) || (on_line && before.kind == Kind::Close);
    match earlier {
        _ if on_line && !matches!(before.kind, Kind::Open | Kind::Close) => {
            Position::Dropped(later)
        }
        Some(&(_, at)) if section_ends => Position::Line(at, Where::After),
        _ => Position::Line(later, Where::Before),
    }
}

/// The line, or the one that ends its list if the list has ended before the comment.
fn outside_of_list(
    lexed: &Lexed<'_>,
    config: &Config,
    comment: &Comment<'_>,
    lines: &[Line],
    at: usize,
) -> usize {
    let start = lines
        .get(at)
        .and_then(|line| config.origin.places.get(&line.key));
    let ended = lexed.tokens.iter().any(|token| {
        token.kind == Kind::Close && Some(&token.place) > start && token.place < comment.place
    });
    let is_item = lines.get(at).is_some_and(|line| line.indent > 0);
    if !(ended && is_item) {
        return at;
    }
    let rest = lines.iter().enumerate().skip(at);
    rest.into_iter()
        .find(|(_, line)| line.text == "]")
        .map_or(at, |(end, _)| end)
}

/// A comment with the clause in front of it.
fn with_clause(lexed: &Lexed<'_>, comment: &Comment<'_>) -> String {
    let on_line = lexed
        .tokens
        .iter()
        .filter(|t| t.place.line == comment.place.line);
    let clause: Vec<_> = on_line
        .filter(|t| t.place < comment.place)
        .map(|t| t.text)
        .collect();
    format!(
        "# {} {}",
        readable(&clause.join(&b' ')),
        readable(comment.text)
    )
}

/// The comment without the characters that TOML forbids in one.
fn readable(comment: &[u8]) -> String {
    String::from_utf8_lossy(comment)
        .chars()
        .map(|c| if c.is_control() && c != '\t' { ' ' } else { c })
        .collect()
}

fn print(lines: &[Line]) -> String {
    let mut text = String::new();
    for line in lines {
        if line.is_header && !text.is_empty() {
            text.push('\n');
        }
        let indent = " ".repeat(line.indent);
        for comment in &line.before {
            text.push_str(&format!("{indent}{comment}\n"));
        }
        if !line.text.is_empty() {
            let behind: String = line
                .behind
                .iter()
                .map(|comment| format!(" {comment}"))
                .collect();
            text.push_str(&format!("{indent}{}{behind}\n", line.text));
        }
        for comment in &line.after {
            text.push_str(&format!("{indent}{comment}\n"));
        }
    }
    text
}
