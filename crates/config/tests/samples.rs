//! The sample files, whose first lines tell what the original makes of them.

use std::fs;
use std::path::{Path, PathBuf};

use config::{LoadError, parse_text};

/// Refused by the original through an accident of its lexer; accepted here.
const ACCEPTED: [(&str, &str); 4] = [
    (
        "comment-at-eof-no-newline",
        "a comment may end the file without a newline",
    ),
    (
        "hex-like-interface",
        "`cafe' is a name, although it could be a hexadecimal number",
    ),
    (
        "path-swallows-brace",
        "a brace right behind a path closes the section",
    ),
    (
        "persistent-lowercase",
        "`persistent' is an old name of a mode in any case",
    ),
];

/// Well-formed, but refused when the daemon starts: what is wrong shows only on the host.
const REFUSED_AT_START: [(&str, &str); 7] = [
    ("address-not-local", "the address is not the host's"),
    ("logfile-unwritable", "the file cannot be created"),
    (
        "mcast-no-ipv4-interface",
        "nothing says where the group is joined",
    ),
    ("mcast-unicast-address", "the group is none"),
    ("missing-interface", "the interface is not there"),
    ("no-interface", "no interface is named"),
    ("no-link", "there is no link"),
];

fn samples(folder: &str) -> Vec<(String, PathBuf)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/configs")
        .join(folder);
    let mut samples: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| {
            (
                path.file_stem().unwrap().to_string_lossy().into_owned(),
                path,
            )
        })
        .collect();
    samples.sort();
    assert!(samples.len() > 25, "the samples are there");
    samples
}

/// What the original printed at this level, from the file's first line.
fn told(text: &str, level: &str) -> Vec<String> {
    let first = text.lines().next().unwrap_or_default();
    let Some((_, told)) = first.split_once("stderr: ") else {
        return Vec::new();
    };
    let told = told.split("; extra notices").next().unwrap();
    told.split(" | ")
        .filter_map(|line| line.strip_prefix(level))
        .map(str::to_owned)
        .collect()
}

fn read(
    path: &Path,
) -> (
    String,
    Result<(config::Config, Vec<config::Warning>), LoadError>,
) {
    let bytes = fs::read(path).unwrap();
    let outcome = parse_text(path, &bytes);
    (String::from_utf8(bytes).unwrap(), outcome)
}

#[test]
fn good_files_are_accepted_with_the_warnings_of_the_original() {
    for (name, path) in samples("good") {
        let (text, outcome) = read(&path);
        let (_, warnings) = outcome.unwrap_or_else(|error| panic!("{name}: {error}"));
        let texts: Vec<_> = warnings
            .iter()
            .map(|warning| warning.text.clone())
            .collect();
        assert_eq!(texts, told(&text, "[warning] "), "{name}");
        assert!(
            warnings.iter().all(|w| w.line > 1 && w.column > 0),
            "{name}: {warnings:?}"
        );
    }
}

#[test]
fn bad_files_are_refused_with_the_message_of_the_original_first() {
    let excepted = |name: &str| {
        ACCEPTED
            .iter()
            .chain(&REFUSED_AT_START)
            .any(|&(excepted, _)| excepted == name)
    };
    for (name, path) in samples("bad")
        .into_iter()
        .filter(|(name, _)| !excepted(name))
    {
        let (text, outcome) = read(&path);
        let error = outcome.expect_err(&name);
        let shown = error.to_string();
        let (first, second) = shown.split_once('\n').expect("two lines");
        assert_eq!([first], told(&text, "[ERROR] ").as_slice(), "{name}");
        let LoadError::Refused { error, .. } = &error else {
            panic!("{name}: {error}")
        };
        let place = format!(
            "{}:{}:{}: found ",
            path.display(),
            error.place.line,
            error.place.column
        );
        assert!(second.starts_with(&place), "{name}: {second}");
        assert!(second.contains("expected"), "{name}: {second}");
    }
}

#[test]
fn files_refused_by_accident_only_or_only_at_start_are_read() {
    for (name, why) in ACCEPTED.iter().chain(&REFUSED_AT_START) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join(format!("../../tests/configs/bad/{name}.conf"));
        let (_, outcome) = read(&path);
        assert!(outcome.is_ok(), "{name} should be read: {why}");
    }
}

#[test]
fn what_is_wrong_and_what_to_write_instead_is_told() {
    let mut pages = String::new();
    for (name, path) in samples("bad") {
        if let Err(error) = read(&path).1 {
            let shown = error.to_string();
            let shown = shown.replace(&path.display().to_string(), &format!("{name}.conf"));
            pages.push_str(&format!("{shown}\n\n"));
        }
    }
    insta::assert_snapshot!(pages);
}
