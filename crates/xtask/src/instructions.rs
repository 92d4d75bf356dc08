//! How many instructions an event costs, against what is written down in the repository.
//!
//! Time is noisy, instructions are not: the same program takes the same number, to a millionth, on any machine of one
//! architecture. Another compiler makes another program; then the bounds are wider.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use netlab::process::run_within;
use netlab::skip;

use crate::tools::{cargo, ensure_tools, is_root, run as run_command, target, workspace};

/// How much dearer an event may be than what is written down.
const TOLERANCE: f64 = 0.03;
/// The same when it was written down for another compiler.
const OTHER_COMPILER: f64 = 0.15;
/// Passes over the captured events; the difference leaves the start out.
const PASSES: [u32; 2] = [10, 20];
const LIMIT: Duration = Duration::from_secs(120);
const RENEW: &str = "cargo xtask bench --renew-instructions";

/// What is counted, and what it is called.
const WAYS: [(&str, &str); 2] = [
    ("active", "parse, cache, encode, frame"),
    ("standby", "split, decode, cache"),
];

/// Instructions per event, and of which compiler.
#[derive(Clone, Debug, PartialEq)]
struct Figures {
    compiler: String,
    per_event: [f64; WAYS.len()],
}

/// Counts, and holds the figures against those of the repository.
///
/// # Errors
/// An event has become dearer than it may.
pub(crate) fn check() -> Result<()> {
    if !cfg!(target_arch = "x86_64") {
        skip::skip("instructions are written down for x86-64");
        return Ok(());
    }
    if !is_root() && skip::find_tool("valgrind").is_none() {
        skip::skip("instructions: `valgrind` is not installed, and only root can install it");
        return Ok(());
    }
    ensure_tools(&["valgrind"])?;
    let written = fs::read_to_string(file()).context("instructions.txt")?;
    let (text, holds) = compare(&Figures::parse(&written)?, &count()?);
    print!("{text}");
    ensure!(
        holds,
        "an event has become dearer; if that is meant to be: {RENEW}"
    );
    Ok(())
}

/// Counts, and writes the figures down.
///
/// # Errors
/// They cannot be counted or written.
pub(crate) fn renew() -> Result<()> {
    ensure_tools(&["valgrind"])?;
    let figures = count()?;
    fs::write(file(), figures.render())?;
    print!("{}", figures.render());
    Ok(())
}

fn file() -> PathBuf {
    workspace().join("crates/micro/instructions.txt")
}

fn count() -> Result<Figures> {
    run_command(Command::new(cargo()).current_dir(workspace()).args([
        "build",
        "--quiet",
        "--release",
        "--package=micro",
    ]))?;
    let active = per_event("active")?;
    let both = per_event("both")?;
    let version = run_within(rustc(), "", LIMIT)?.success()?;
    Ok(Figures {
        compiler: version.split(" (").next().unwrap_or_default().to_owned(),
        per_event: [active, both - active],
    })
}

fn rustc() -> Command {
    let mut command = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    command.arg("--version");
    command
}

fn per_event(who: &str) -> Result<f64> {
    let [few, many] = PASSES.map(|passes| collected(who, passes));
    let ((few, few_events), (many, many_events)) = (few?, many?);
    ensure!(
        many > few && many_events > few_events,
        "nothing was counted"
    );
    Ok((many - few) as f64 / (many_events - few_events) as f64)
}

/// Instructions of a run, and events in it.
fn collected(who: &str, passes: u32) -> Result<(u64, u64)> {
    let mut command = Command::new(skip::find_tool("valgrind").context("no valgrind")?);
    command
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(target().join("release/micro"))
        .args([who, &passes.to_string()]);
    let finished = run_within(command, "", LIMIT)?;
    let said = finished.stderr.clone();
    let events = finished.success()?;
    let counted = said
        .lines()
        .find_map(|line| line.split_once("Collected :"))
        .with_context(|| format!("valgrind counted nothing:\n{said}"))?;
    Ok((counted.1.trim().parse()?, events.trim().parse()?))
}

/// Says how the figures compare, and whether they hold.
fn compare(written: &Figures, counted: &Figures) -> (String, bool) {
    let tolerance = if written.compiler == counted.compiler {
        TOLERANCE
    } else {
        OTHER_COMPILER
    };
    let mut text = String::new();
    let mut holds = true;
    // Writing to a string cannot fail.
    if tolerance > TOLERANCE {
        let _ = writeln!(
            text,
            "   written down for {}, this is {}: {:.0} % are allowed",
            written.compiler,
            counted.compiler,
            tolerance * 100.0
        );
    }
    let figures = written.per_event.iter().zip(counted.per_event);
    for ((name, steps), (written, counted)) in WAYS.into_iter().zip(figures) {
        let change = counted / written - 1.0;
        holds &= change <= tolerance;
        let verdict = if change > tolerance {
            "TOO DEAR".to_owned()
        } else if change < -tolerance {
            format!("cheaper, please keep it: {RENEW}")
        } else {
            "holds".to_owned()
        };
        let _ = writeln!(
            text,
            "   {name} ({steps}): {counted:.0} instructions per event, written down {written:.0} ({:+.1} %): {verdict}",
            change * 100.0
        );
    }
    (text, holds)
}

impl Figures {
    fn render(&self) -> String {
        let mut text = format!("# Instructions per event, on x86-64. {RENEW}\n");
        let _ = writeln!(text, "compiler {}", self.compiler);
        for ((name, _), number) in WAYS.into_iter().zip(self.per_event) {
            let _ = writeln!(text, "{name} {number:.1}");
        }
        text
    }

    fn parse(text: &str) -> Result<Self> {
        let value = |name: &str| {
            let mut lines = text.lines();
            let found = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            found.with_context(|| format!("no `{name}` in instructions.txt"))
        };
        let mut per_event = [0.0_f64; WAYS.len()];
        for (number, (name, _)) in per_event.iter_mut().zip(WAYS) {
            *number = value(name)?.parse()?;
            if !number.is_normal() {
                bail!("`{name}` is {number}");
            }
        }
        Ok(Self {
            compiler: value("compiler")?.to_owned(),
            per_event,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(active: f64, standby: f64) -> Figures {
        Figures {
            compiler: "rustc 1.95.0".to_owned(),
            per_event: [active, standby],
        }
    }

    #[test]
    fn an_event_that_is_five_percent_dearer_fails_and_one_of_two_does_not() {
        let written = figures(3000.0, 1000.0);
        for (active, standby, expected) in [
            (3000.0, 1000.0, true),
            (3060.0, 1020.0, true),
            (3150.0, 1000.0, false),
            (3000.0, 1050.0, false),
            (2000.0, 500.0, true),
        ] {
            let (text, holds) = compare(&written, &figures(active, standby));
            assert_eq!(holds, expected, "{text}");
            assert_eq!(text.contains("TOO DEAR"), !expected, "{text}");
        }
    }

    #[test]
    fn another_compiler_gets_more_room_and_is_named() {
        let written = figures(3000.0, 1000.0);
        let mut counted = figures(3300.0, 1000.0);
        counted.compiler = "rustc 1.99.0".to_owned();
        let (text, holds) = compare(&written, &counted);
        assert!(holds && text.contains("rustc 1.99.0"), "{text}");
        counted.per_event[0] = 3600.0;
        assert!(!compare(&written, &counted).1);
    }

    #[test]
    fn figures_are_read_as_they_are_written_and_nonsense_is_refused() {
        let some = figures(3212.5, 1000.1);
        assert_eq!(Figures::parse(&some.render()).unwrap(), some);
        for text in [
            "",
            "compiler x\nactive 1\n",
            "compiler x\nactive 0\nstandby 1\n",
        ] {
            assert!(Figures::parse(text).is_err(), "{text}");
        }
    }
}
