//! The table.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::book::{Book, Spread, Whose};
use crate::measures::MEASURES;
use crate::rows::{NATIVE, OTHERS, TARGETS};
use crate::targets::{Bound, Target, Verdict};

/// Marks in the document between which the table stands.
const MARKS: [&str; 2] = ["<!-- bench: begin -->", "<!-- bench: end -->"];

/// The tables, with what was measured on what, and what went wrong.
pub(crate) fn markdown(book: &Book) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "| measure | kernel's floor | original | ours | target | reached | | command |\n|---|---|---|---|---|---|---|---|"
    );
    TARGETS
        .iter()
        .for_each(|row| text.push_str(&line(book, row)));
    let held = TARGETS
        .iter()
        .filter(|row| row.judge(book).1 == Verdict::Holds)
        .count();
    let _ = writeln!(text, "\n{held} of {} rows hold.\n", TARGETS.len());

    let _ = writeln!(
        text,
        "Without a target:\n\n| measure | kernel's floor | original | ours | | ours / original | | command |\n\
         |---|---|---|---|---|---|---|---|"
    );
    OTHERS
        .iter()
        .for_each(|row| text.push_str(&line(book, row)));
    native(book, &mut text);
    let _ = writeln!(text, "\n{}", conditions(book));
    problems(book, &mut text);
    text
}

/// The table of the native dialect.
fn native(book: &Book, text: &mut String) {
    let mut measured = NATIVE.iter().filter_map(|row| book.record(row.number.0));
    if measured.next().is_none() {
        return;
    }
    let _ = writeln!(
        text,
        "\nNative dialect:\n\n| measure | original | ours, version 1 | ours, native | target | reached | | command |\n\
         |---|---|---|---|---|---|---|---|"
    );
    for row in NATIVE {
        let (reached, verdict) = row.judge(book);
        let cell = |whose| {
            book.spread(row.number, whose)
                .map_or_else(String::new, |spread| shown(spread, row.unit))
        };
        let reached = reached.map_or_else(String::new, |spread| shown(spread, ""));
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {reached} | {} | `{}` |",
            row.what,
            cell(Whose::Original),
            cell(Whose::Ours),
            cell(Whose::Native),
            row.bound.words(),
            words(verdict),
            row.number.0,
        );
    }
}

fn line(book: &Book, row: &Target) -> String {
    let (reached, verdict) = row.judge(book);
    let cell = |number, whose| {
        book.spread(number, whose)
            .map_or_else(String::new, |spread| shown(spread, row.unit))
    };
    let floor = row.bound.floor().unwrap_or(row.number.1);
    let verdict = words(verdict);
    format!(
        "| {} | {} | {} | {} | {} | {} | {verdict} | `{}` |\n",
        row.what,
        cell((row.number.0, floor), Whose::Floor),
        cell(row.number, Whose::Original),
        match row.bound {
            Bound::Mixed(_) => cell(row.number, Whose::Mixed),
            _ => cell(row.number, Whose::Ours),
        },
        row.bound.words(),
        reached.map_or_else(String::new, |spread| shown(spread, "")),
        row.number.0,
    )
}

fn words(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Holds => "holds",
        Verdict::DoesNotHold => "**does not hold**",
        Verdict::Spoilt => "**spoilt**: see below",
        Verdict::NotMeasured => "**not measured**",
        Verdict::Shown => "",
    }
}

/// The median, and how far the others are from it.
fn shown(spread: Spread, unit: &str) -> String {
    let digits = |value: f64| match value.abs() {
        large if large >= 1000.0 => format!("{value:.0}"),
        middle if middle >= 10.0 => format!("{value:.1}"),
        0.0 => "0".to_owned(),
        _ => format!("{value:.2}"),
    };
    let (least, most) = (digits(spread.least), digits(spread.most));
    let space = if unit.is_empty() { "" } else { " " };
    let median = digits(spread.median);
    if least == most {
        format!("{median}{space}{unit}")
    } else {
        format!("{median}{space}{unit} ({least}–{most})")
    }
}

/// How each measure was taken.
fn conditions(book: &Book) -> String {
    let mut text = String::new();
    let mut machines: Vec<&str> = Vec::new();
    text.push_str(
        "| command | measures | rounds | largest table | took | |\n|---|---|---:|---:|---:|---|\n",
    );
    for measure in MEASURES {
        let Some(record) = book.record(measure.name) else {
            continue;
        };
        let known = machines
            .iter()
            .position(|machine| *machine == record.machine);
        let machine = known.unwrap_or_else(|| {
            machines.push(&record.machine);
            machines.len() - 1
        });
        let _ = writeln!(
            text,
            "| `cargo xtask bench --full {}` | {} | {} | {} | {} s | machine {} |",
            measure.name,
            measure.what,
            record.rounds,
            record.entries,
            record.took_s,
            machine + 1
        );
    }
    for (number, machine) in (1..).zip(machines) {
        let _ = writeln!(text, "\nMachine {number}: {machine}.");
    }
    text
}

fn problems(book: &Book, text: &mut String) {
    if book.problems().next().is_none() {
        return;
    }
    text.push_str("\nWhat went wrong while measuring:\n\n");
    for (measure, problem) in book.problems() {
        let first = problem.text.lines().next().unwrap_or_default();
        let _ = writeln!(
            text,
            "- `{measure}`, {:?}, round {}: {first}",
            problem.whose, problem.round
        );
    }
}

/// What this is.
pub(crate) fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .and_then(|rest| rest.split_once(": "))
        .map_or("unknown processor", |(_, model)| model);
    let cores = cpuinfo
        .lines()
        .filter(|line| line.starts_with("processor"))
        .count();
    let kernel = read("/proc/sys/kernel/osrelease");
    format!("{cores} cores of {}, Linux {}", model.trim(), kernel.trim())
}

/// Replaces what stands between the marks of a document.
pub(crate) fn write_between_marks(path: &Path, text: &str) -> Result<()> {
    let old = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let [begin, end] = MARKS.map(|mark| old.find(mark));
    let (begin, end) = begin.zip(end).context("no marks in the document")?;
    let head = old.get(..begin + MARKS[0].len()).unwrap_or_default();
    let tail = old.get(end..).unwrap_or_default();
    fs::write(path, format!("{head}\n\n{text}\n{tail}"))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_shows_ratio_and_spread_and_what_is_missing_is_named() {
        let mut book = Book::default();
        for (round, ours) in [1.0, 2.0, 3.0].into_iter().enumerate() {
            book.round = round;
            book.note(("bulk", "seconds"), Whose::Ours, ours);
            book.note(("bulk", "seconds"), Whose::Original, 10.0);
        }
        let text = markdown(&book);
        let row = text.lines().find(|line| line.contains("`-n`")).unwrap();
        assert!(
            row.contains("0.20 (0.10–0.30)") && row.contains("| holds |"),
            "{row}"
        );
        assert!(text.contains("**not measured**"));
        assert!(text.contains(&format!("1 of {} rows hold", TARGETS.len())));
    }
}
