//! Completion of the conntrack command in real shells, from the files that are installed.
//!
//! The files are written anew by `CONNTRACK_COMPLETIONS=write cargo test -p conntrack --test conntrack_completion`.

use std::path::{Path, PathBuf};
use std::process::Command;

use conntrack::completion::{Shell, script};
use netlab::skip::{find_tool, skip};

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

#[test]
fn the_files_are_those_that_the_tables_make() {
    for (shell, name) in [
        (Shell::Bash, "conntrack.bash"),
        (Shell::Zsh, "_conntrack"),
        (Shell::Fish, "conntrack.fish"),
    ] {
        let script = script(shell);
        if std::env::var_os("CONNTRACK_COMPLETIONS").is_some() {
            std::fs::write(file(name), &script).unwrap();
        }
        let found = std::fs::read_to_string(file(name)).unwrap();
        assert_eq!(found, script, "{name} is not current");
    }
}

#[test]
fn bash_completes_options_values_and_tables() {
    let file = file("conntrack.bash");
    let complete = |words: &str, current: &str| {
        let line = format!(
            "source {}; COMP_WORDS=({words} {current}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
             _conntrack; echo ${{COMPREPLY[@]}}",
            file.display()
        );
        say("bash", &["-c", &line])
    };
    let Some(options) = complete("conntrack -L", "--orig-port") else {
        return;
    };
    assert_eq!(options, ["--orig-port-dst", "--orig-port-src"]);
    assert_eq!(
        complete("conntrack -L -p", "udp").unwrap(),
        ["udp", "udplite"]
    );
    assert_eq!(complete("conntrack -L", "exp").unwrap(), ["expect"]);
    assert_eq!(complete("conntrack -E -o", "js").unwrap(), ["json"]);
}

#[test]
fn zsh_completes_options_and_values() {
    let file = file("_conntrack");
    let complete = |words: &str| {
        let line = format!(
            "compdef() {{ }}; compadd() {{ shift; print -l -- $@ }}; source {}; \
             words=({words}); CURRENT=$#words; _conntrack",
            file.display()
        );
        say("zsh", &["-f", "-c", &line])
    };
    let Some(options) = complete("conntrack -L --") else {
        return;
    };
    assert!(options.iter().any(|option| option == "--orig-port-dst"));
    let protocols = complete("conntrack -L -p x").unwrap();
    assert_eq!(protocols.first().map(String::as_str), Some("tcp"));
}

#[test]
fn fish_completes_options_and_values() {
    let file = file("conntrack.fish");
    let complete = |line: &str| {
        let script = format!("source {}; complete -C '{line}'", file.display());
        say("fish", &["--no-config", "-c", &script])
    };
    let Some(options) = complete("conntrack --orig-port") else {
        return;
    };
    assert_eq!(options, ["--orig-port-dst", "--orig-port-src"]);
    assert_eq!(complete("conntrack -p udpl").unwrap(), ["udplite"]);
}
