//! The table and the plots.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::Options;
use crate::book::{Book, Spread, Whose};
use crate::targets::TARGETS;

/// Marks in the document between which the table stands.
const MARKS: [&str; 2] = ["<!-- bench: begin -->", "<!-- bench: end -->"];

/// The table of all targets, with what was measured on what.
pub(crate) fn markdown(book: &Book, options: &Options) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "Rounds: {}. Largest table: {} entries. Load: {} s. Machine: {}.\n",
        options.rounds,
        options.entries,
        options.seconds,
        machine()
    );
    text.push_str("| measure | kernel's floor | original | ours | target | reached | |\n");
    text.push_str("|---|---|---|---|---|---|---|\n");
    for target in TARGETS {
        let Some((reached, holds)) = target.bound.judge(book, target.number) else {
            continue;
        };
        let cell = |whose| {
            book.spread(target.number, whose)
                .map_or_else(String::new, |spread| shown(spread, target.unit))
        };
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {reached:.2} | {} |",
            target.what,
            cell(Whose::Floor),
            cell(Whose::Original),
            cell(Whose::Ours),
            target.bound.words(),
            if holds { "holds" } else { "**does not hold**" }
        );
    }
    text
}

/// The median, and how far the others are from it.
fn shown(spread: Spread, unit: &str) -> String {
    let digits = |value: f64| match value.abs() {
        large if large >= 1000.0 => format!("{value:.0}"),
        middle if middle >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.3}"),
    };
    let (least, most) = (digits(spread.least), digits(spread.most));
    format!("{} {unit} ({least}–{most})", digits(spread.median))
}

fn machine() -> String {
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

/// Bars of ours beside the original's, which are 1.
pub(crate) fn plots(book: &Book, folder: &Path) -> Result<()> {
    const ROW: usize = 22;
    fs::create_dir_all(folder)?;
    let rows: Vec<_> = TARGETS
        .iter()
        .filter_map(|target| {
            let ratio = book.ratio(target.number, Whose::Ours, (target.number, Whose::Original))?;
            ratio.is_finite().then_some((target.what, ratio))
        })
        .collect();
    let height = ROW * rows.len() + 40;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"900\" height=\"{height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <text x=\"430\" y=\"16\">ours, as a part of the original's (line: equal)</text>\n"
    );
    for (number, (what, ratio)) in rows.iter().enumerate() {
        let y = 28 + number * ROW;
        let width = (ratio * 200.0).min(440.0);
        let _ = writeln!(
            svg,
            "<text x=\"420\" y=\"{}\" text-anchor=\"end\">{what}</text>\
             <rect x=\"430\" y=\"{y}\" width=\"{width:.0}\" height=\"14\" fill=\"#0072b2\"/>\
             <text x=\"{:.0}\" y=\"{}\">{ratio:.2}</text>",
            y + 11,
            436.0 + width,
            y + 11
        );
    }
    let _ = writeln!(
        svg,
        "<line x1=\"630\" y1=\"22\" x2=\"630\" y2=\"{height}\" stroke=\"#d55e00\" stroke-dasharray=\"4\"/>\n</svg>"
    );
    fs::write(folder.join("ratios.svg"), svg)?;
    Ok(())
}
