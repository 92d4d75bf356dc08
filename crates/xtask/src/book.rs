//! `cargo xtask book`: the documents as a book, after every link has been checked.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};
use netlab::skip::find_tool;
use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

use crate::tools::{cargo, run as run_command, workspace};

/// Checks, then builds.
///
/// # Errors
/// A link leads nowhere, or mdbook is not to be had.
pub(crate) fn run() -> Result<ExitCode> {
    check()?;
    ensure_mdbook()?;
    let mut command = Command::new("mdbook");
    command.args(["build", "docs"]).current_dir(workspace());
    run_command(&mut command)?;
    println!("{}", workspace().join("target/book/index.html").display());
    Ok(ExitCode::SUCCESS)
}

/// A minute of a processor, once; serving and searching are not needed, nor is speed.
fn ensure_mdbook() -> Result<()> {
    if find_tool("mdbook").is_some() {
        return Ok(());
    }
    println!("Installing by cargo install: mdbook (takes a minute, once)");
    let mut command = Command::new(cargo());
    command.args(["install", "--locked", "--debug", "--quiet"]);
    run_command(command.args(["--no-default-features", "mdbook"]))
}

/// Every link leads somewhere; every page is in the book, and the book has no others.
///
/// # Errors
/// All that is wrong.
pub(crate) fn check() -> Result<()> {
    let docs = workspace().join("docs");
    let mut files = Vec::new();
    markdown_in(&docs, &mut files)?;
    let mut pages = BTreeMap::new();
    for file in files.into_iter().chain([workspace().join("README.md")]) {
        let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        pages.insert(file, Page::read(&text));
    }
    let mut wrong = Vec::new();
    for (file, page) in &pages {
        for link in &page.links {
            if let Some(reason) = is_broken(file, link, &pages, &docs) {
                wrong.push(format!("{}: {link}: {reason}", file.display()));
            }
        }
    }
    let summary = docs.join("SUMMARY.md");
    let listed = &pages.get(&summary).context("no SUMMARY.md")?.links;
    let listed: BTreeSet<_> = listed.iter().map(|link| docs.join(link)).collect();
    for file in pages
        .keys()
        .filter(|file| file.starts_with(&docs) && **file != summary)
    {
        if !listed.contains(file) {
            wrong.push(format!("{}: not in SUMMARY.md", file.display()));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

fn markdown_in(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            markdown_in(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "md") {
            files.push(path);
        }
    }
    Ok(())
}

/// What can be linked to, and what is linked to.
#[derive(Debug, Default)]
struct Page {
    anchors: BTreeSet<String>,
    links: Vec<String>,
}

impl Page {
    fn read(text: &str) -> Self {
        let mut page = Self::default();
        let mut heading: Option<String> = None;
        let options = Options::ENABLE_TABLES | Options::ENABLE_DEFINITION_LIST;
        for event in Parser::new_ext(text, options) {
            match event {
                Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
                Event::End(TagEnd::Heading(_)) => {
                    let title = heading.take().unwrap_or_default();
                    page.anchors.insert(anchor(&title));
                }
                Event::Text(text) | Event::Code(text) => {
                    if let Some(title) = &mut heading {
                        title.push_str(&text);
                    }
                }
                Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                    page.links.push(dest_url.into_string());
                }
                _ => {}
            }
        }
        page
    }
}

/// The anchor that readers of Markdown give to a heading.
fn anchor(title: &str) -> String {
    let lower = title.trim().to_lowercase();
    let kept = lower
        .chars()
        .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

fn is_broken(
    file: &Path,
    link: &str,
    pages: &BTreeMap<PathBuf, Page>,
    docs: &Path,
) -> Option<String> {
    if link.contains("://") || link.starts_with("mailto:") {
        return None;
    }
    let (path, fragment) = link.split_once('#').unwrap_or((link, ""));
    let target = if path.is_empty() {
        file.to_owned()
    } else {
        plain(&file.parent()?.join(path))
    };
    if !target.exists() {
        return Some("does not exist".to_owned());
    }
    // Read as a book, nothing else is there.
    if file.starts_with(docs) && !target.starts_with(docs) {
        return Some("leads out of the book".to_owned());
    }
    let known = pages
        .get(&target)
        .is_none_or(|page| page.anchors.contains(fragment));
    (!fragment.is_empty() && !known).then(|| format!("no heading #{fragment}"))
}

/// Without `..`.
fn plain(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                out.pop();
            }
            Component::CurDir => {}
            part => out.push(part),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_link_of_the_documents_leads_somewhere() {
        check().unwrap();
    }

    #[test]
    fn a_link_that_leads_nowhere_is_found() {
        let docs = Path::new("/docs");
        let page = Page::read("# One `two` (3)\n\n[x](#one-two-3) [y](#none)");
        assert_eq!(page.links, ["#one-two-3", "#none"]);
        let file = workspace().join("README.md");
        let pages = BTreeMap::from([(file.clone(), page)]);
        let broken = |link| is_broken(&file, link, &pages, docs);
        assert_eq!(broken("#one-two-3"), None);
        assert_eq!(broken("#none"), Some("no heading #none".to_owned()));
        assert_eq!(broken("nowhere.md"), Some("does not exist".to_owned()));
    }
}
