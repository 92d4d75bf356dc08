//! Recorded cases of the conntrack command, run with ours and with the original beside it: output equal byte for byte
//! after what counts down or differs from run to run is masked. `tests/conntrack-cli/run` tells how cases are written.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use netlab::process::run_within;
use netlab::{Feature, require_feature_or_skip, require_root_or_skip};

const LIMIT: Duration = Duration::from_secs(600);

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/conntrack-cli")
}

/// Runs all cases; every one must pass.
fn pass(program: &Path, options: &[&str]) {
    require_root_or_skip!("conntrack", "python3");
    require_feature_or_skip!(
        Feature::Conntrack,
        Feature::Nat,
        Feature::Labels,
        Feature::Zones,
        Feature::FtpHelper
    );
    let mut run = Command::new(folder().join("run"));
    run.arg(program).args(options);
    let finished = run_within(run, "", LIMIT).unwrap();
    assert!(
        finished.status.success(),
        "{}{}",
        finished.stdout,
        finished.stderr
    );
    let summary = finished.stdout.lines().next_back().unwrap_or_default();
    let (passed, all) = summary.split_once(" of ").unwrap();
    assert!(all.starts_with(&format!("{passed} cases")), "{summary}");
    assert!(
        passed.parse::<u32>().unwrap() > 250,
        "{summary}: are these all?"
    );
}

#[test]
fn ours_passes_every_case() {
    let ours = std::env::var_os("CONNTRACK_BIN")
        .map_or_else(|| env!("CARGO_BIN_EXE_conntrack").into(), PathBuf::from);
    pass(&ours, &["--ours"]);
}

#[test]
fn the_original_passes_every_case() {
    let Some(original) = netlab::skip::find_tool("conntrack") else {
        return netlab::skip::skip("no conntrack");
    };
    pass(&original, &[]);
}

#[test]
fn every_case_that_differs_has_a_row() {
    let rows = std::fs::read_to_string(folder().join("../../docs/compat.md")).unwrap();
    for entry in std::fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        if path
            .extension()
            .is_none_or(|extension| extension != "cases")
        {
            continue;
        }
        let mut case = "";
        let text = std::fs::read_to_string(&path).unwrap();
        for line in text.lines() {
            if let Some(name) = line.strip_prefix("== ") {
                case = name;
            } else if line.starts_with('+') {
                assert!(rows.contains(&format!("| `{case}` |")), "no row for {case}");
            }
        }
    }
}
