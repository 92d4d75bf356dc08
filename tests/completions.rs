//! Completion of the daemon's command lines in real shells, from the files that are installed.

use std::path::{Path, PathBuf};
use std::process::Command;

use netlab::skip::{find_tool, skip};

const PAGE: &str = include_str!("../docs/man/conntrackd.8.md");
const FILES: [&str; 3] = ["conntrackd.bash", "_conntrackd", "conntrackd.fish"];

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../config/completions")
        .join(name)
}

/// Runs a shell; what it prints, word by word.
fn say(shell: &str, arguments: &[&str]) -> Option<Vec<String>> {
    let Some(program) = find_tool(shell) else {
        skip(&format!("no {shell}"));
        return None;
    };
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    Some(text.split_whitespace().map(str::to_owned).collect())
}

/// The manual page is itself held against the parser.
fn verbs() -> Vec<&'static str> {
    let terms = PAGE
        .lines()
        .filter_map(|line| line.strip_prefix("`conntrackd "));
    let words = terms.filter_map(|term| term.split(['`', ' ']).next());
    let mut verbs: Vec<_> = words
        .filter(|word| !word.is_empty() && !word.starts_with('-'))
        .collect();
    verbs.sort_unstable();
    verbs.dedup();
    assert!(verbs.len() > 4, "{verbs:?}");
    verbs
}

#[test]
fn every_verb_and_word_of_the_manual_page_is_completed() {
    let (_, told) = PAGE.split_once("## Verbs").unwrap();
    let (told, _) = told.split_once("## Signals").unwrap();
    // What stands as code in the terms: verbs, their words, their options.
    let terms = told.lines().filter(|line| line.starts_with("`conntrackd "));
    let words = terms.flat_map(|term| term.split('`').skip(1).step_by(2));
    let words = words
        .flat_map(|code| code.split(' '))
        .filter(|&word| word != "conntrackd");
    let words: Vec<_> = words.collect();
    for name in FILES {
        let text = std::fs::read_to_string(file(name)).unwrap();
        for word in &words {
            let word = word.trim_start_matches('-');
            let known = text
                .split(|c: char| !c.is_alphanumeric())
                .any(|found| found == word);
            assert!(known, "{name} knows no {word}");
        }
    }
}

#[test]
fn bash_completes_verbs_and_their_words() {
    let file = file("conntrackd.bash");
    let complete = |words: &str, current: &str| {
        let line = format!(
            "source {}; COMP_WORDS=({words} {current}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
             _conntrackd; echo ${{COMPREPLY[@]}}",
            file.display()
        );
        say("bash", &["-c", &line])
    };
    for verb in verbs() {
        let Some(found) = complete("conntrackd", verb) else {
            return;
        };
        assert!(found.iter().any(|word| word == verb), "{verb}");
    }
    assert_eq!(complete("conntrackd role", "pri").unwrap(), ["primary"]);
    assert_eq!(complete("conntrackd -C x stats", "li").unwrap(), ["link"]);
    assert_eq!(complete("conntrackd -s", "rs").unwrap(), ["rsqueue"]);
    assert_eq!(complete("conntrackd -c", "e").unwrap(), ["expect"]);
    let record = ["--record", "--record-limit", "--recover"];
    assert_eq!(complete("conntrackd -d", "--rec").unwrap(), record);
}

#[test]
fn zsh_completes_verbs_and_their_words() {
    let file = file("_conntrackd");
    let complete = |words: &str| {
        let line = format!(
            "compdef() {{ }}; compadd() {{ shift; print -l -- $@ }}; \
             words=({words} ''); CURRENT=$#words; source {}",
            file.display()
        );
        say("zsh", &["-f", "-c", &line])
    };
    let Some(first) = complete("conntrackd") else {
        return;
    };
    for verb in verbs() {
        assert!(first.iter().any(|word| word == verb), "{verb}");
    }
    assert!(
        complete("conntrackd role")
            .unwrap()
            .iter()
            .any(|word| word == "primary")
    );
    assert!(
        complete("conntrackd -s")
            .unwrap()
            .iter()
            .any(|word| word == "rsqueue")
    );
}

#[test]
fn fish_completes_verbs_and_their_words() {
    let file = file("conntrackd.fish");
    let complete = |line: &str| {
        let script = format!("source {}; complete -C '{line}'", file.display());
        say("fish", &["--no-config", "-c", &script])
    };
    for verb in verbs() {
        let Some(found) = complete(&format!("conntrackd {verb}")) else {
            return;
        };
        assert_eq!(found.first().map(String::as_str), Some(verb));
    }
    assert_eq!(complete("conntrackd role pri").unwrap(), ["primary"]);
    assert_eq!(complete("conntrackd stats rs").unwrap(), ["rsqueue"]);
}
