//! The tables of what is compatible and of what is promised: every row has a test, and every test it names exists.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Names of all functions in a folder's Rust files.
fn functions(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            functions(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            for line in fs::read_to_string(&path).unwrap().lines() {
                let line = line.trim_start().trim_start_matches("pub ");
                // Tests that a macro makes have their name in front of a colon.
                let name = match line.strip_prefix("fn ") {
                    Some(rest) => rest.split('(').next(),
                    None => line.split_once(':').map(|(name, _)| name),
                };
                found.extend(name.map(str::to_owned));
            }
        }
    }
}

/// The targets of tests: packages, with the files of their tests.
fn targets(root: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for package in fs::read_dir(root.join("crates")).unwrap() {
        let package = package.unwrap();
        let name = package.file_name().into_string().unwrap();
        found.insert(format!("{name}::bin/{name}"));
        for tests in [package.path().join("tests"), root.join("tests")] {
            for file in fs::read_dir(tests).into_iter().flatten() {
                let file = file.unwrap().path();
                let stem = file.file_stem().unwrap().to_string_lossy().into_owned();
                found.insert(format!("{name}::{stem}"));
            }
        }
        found.insert(name);
    }
    found
}

#[test]
fn every_row_names_a_test_that_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut known = BTreeSet::new();
    functions(&root.join("crates"), &mut known);
    functions(&root.join("tests"), &mut known);
    let targets = targets(&root);
    let [compat, guarantees] = ["docs/compat.md", "docs/guarantees.md"]
        .map(|path| fs::read_to_string(root.join(path)).unwrap());
    let mut rows = 0;
    let mut wrong = Vec::new();
    for line in compat
        .lines()
        .chain(guarantees.lines())
        .filter(|line| line.starts_with("| "))
    {
        let cells: Vec<_> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let tests = cells.last().copied().unwrap_or_default();
        if tests == "test" {
            continue;
        }
        rows += 1;
        let names: Vec<_> = tests.split('`').skip(1).step_by(2).collect();
        if names.is_empty() {
            wrong.push(format!("no test: {line}"));
        }
        for name in names {
            let (target, test) = name.split_once(' ').unwrap_or((name, ""));
            let function = test.rsplit("::").next().unwrap_or_default();
            if !targets.contains(target) {
                wrong.push(format!("no target {target}: {line}"));
            } else if !["", "tests"].contains(&function) && !known.contains(function) {
                wrong.push(format!("no test {function}: {line}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(rows > 150, "{rows} rows: are these the tables?");
}
