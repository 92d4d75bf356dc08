//! Files of commands.

use std::{
    fs,
    io::{self, Read as _},
    mem,
};

use super::{SUCCESS, Session, create::create_all};
use crate::{
    command::{Command, Table},
    error::{Failure, UsageError},
    kernel::BATCH,
    parse::{Parsed, parse},
    request::Request,
};

/// Reads the file, `-` being standard input.
///
/// # Errors
/// It cannot be read.
pub fn read(name: &str) -> Result<Vec<u8>, UsageError> {
    let content = if name == "-" {
        let mut content = Vec::new();
        io::stdin().read_to_end(&mut content).map(|_| content)
    } else {
        fs::read(name)
    };
    content.map_err(|_| UsageError::LoadFile(name.to_owned()))
}

/// Reads all lines of a file. What is remarked on the way is told to `remark`.
///
/// # Errors
/// The fault of the first line that has one.
pub fn requests(content: &[u8], mut remark: impl FnMut(&str)) -> Result<Vec<Request>, UsageError> {
    let mut requests = Vec::new();
    for line in content.split(|&byte| byte == b'\n') {
        let line = String::from_utf8_lossy(line);
        let Some(words) = words(&line) else {
            continue;
        };
        let all = std::iter::once("conntrack".to_owned())
            .chain(words)
            .collect();
        let Parsed { request, remarks } = parse(all);
        remarks.iter().for_each(|text| remark(text));
        requests.push(allowed(request?)?);
    }
    Ok(requests)
}

/// Splits a line into words; `None` for blank lines and comments.
///
/// Double quotes hold a word together, and inside them a backslash takes the next character as it is.
fn words(line: &str) -> Option<Vec<String>> {
    let line = line.trim_start_matches([' ', '\t', '\r']);
    if line.is_empty() || line.starts_with('#') {
        return None;
    }
    let (mut words, mut word) = (Vec::new(), None::<String>);
    let mut is_quoted = false;
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        match character {
            '"' => {
                is_quoted = !is_quoted;
                word.get_or_insert_default();
            }
            '\\' if is_quoted => word.get_or_insert_default().extend(characters.next()),
            ' ' | '\t' | '\r' if !is_quoted => words.extend(word.take()),
            other => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    Some(words)
}

/// Only commands that change connections may be in a file.
fn allowed(request: Option<Request>) -> Result<Request, UsageError> {
    let Some(request) = request else {
        return Err(UsageError::NotInLoadFile("unknown".to_owned()));
    };
    let changes = matches!(
        request.command,
        Command::Create | Command::Add | Command::Update | Command::Delete | Command::Flush
    );
    let letter = request.command.letter();
    match request.table {
        Table::Conntrack if changes => Ok(request),
        Table::Conntrack => Err(UsageError::NotInLoadFile(format!("-{letter}"))),
        table => Err(UsageError::NotInLoadFile(format!(
            "-{letter} {}",
            table.name()
        ))),
    }
}

/// Does what the requests ask for, one after the other, until one fails.
///
/// # Errors
/// That of the first that fails. What was done before stays.
pub fn run(session: &mut Session<'_, '_>, requests: &[Request]) -> Result<u8, Failure> {
    let mut creations: Vec<&Request> = Vec::with_capacity(BATCH);
    for request in requests {
        if matches!(request.command, Command::Create | Command::Add) {
            creations.push(request);
            if creations.len() == BATCH {
                create_all(session, &mem::take(&mut creations))?;
            }
            continue;
        }
        if !creations.is_empty() {
            create_all(session, &mem::take(&mut creations))?;
        }
        session.run(request)?;
    }
    if !creations.is_empty() {
        create_all(session, &creations)?;
    }
    Ok(SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn split(line: &str) -> Vec<String> {
        words(line).unwrap_or_default()
    }

    #[test]
    fn quotes_hold_words_together() {
        assert_eq!(split("-D  -s\t1.1.1.1"), ["-D", "-s", "1.1.1.1"]);
        assert_eq!(
            split("-l \"web traffic\" -s \"1.1\".1.1"),
            ["-l", "web traffic", "-s", "1.1.1.1"]
        );
        assert_eq!(split(r#""a\"b\\c" d\e"#), [r#"a"b\c"#, r"d\e"]);
        assert_eq!(split("-d \"\" x"), ["-d", "", "x"]);
        assert_eq!(split("\"open end"), ["open end"]);
        assert_eq!(split("'1' # x"), ["'1'", "#", "x"]);
    }

    #[test]
    fn blank_lines_and_comments_say_nothing() {
        for line in ["", "  \t", "# -D", "   #", "\r"] {
            assert_eq!(words(line), None, "{line:?}");
        }
    }

    fn fault(content: &str) -> String {
        requests(content.as_bytes(), |_| {})
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn only_changes_of_connections_are_allowed() {
        for (line, named) in [
            ("-C", "-C"),
            ("-L expect", "-L expect"),
            ("foo", "unknown"),
            ("-h", "-h"),
            ("-F expect", "-F expect"),
        ] {
            assert_eq!(
                fault(line),
                format!("Cannot use command `{named}' with --load-file")
            );
        }
        assert_eq!(fault("-R f"), "unknown option `-R'");
        let lines = "# save\n-F\n\n-D -p udp # all\nconntrack -U -m 3\n-A -s 1.1.1.1 -d 2.2.2.2 -p esp -t 5";
        assert_eq!(requests(lines.as_bytes(), |_| {}).unwrap().len(), 4);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        /// Bytes of any kind are either requests or a fault.
        #[test]
        fn any_file_is_judged(content in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = requests(&content, |_| {});
        }

        /// Quoting a word brings it through unchanged.
        #[test]
        fn quoted_words_are_read_as_they_were(all in proptest::collection::vec("[^\n\r]{0,12}", 1..6)) {
            let quote = |word: &String| format!("\"{}\"", word.replace('\\', "\\\\").replace('"', "\\\""));
            let line: Vec<_> = all.iter().map(quote).collect();
            prop_assert_eq!(split(&line.join(" \t")), all);
        }
    }
}
