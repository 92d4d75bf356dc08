//! The fenced blocks of the documents.

use std::fs;
use std::path::{Path, PathBuf};

/// The project's folder.
pub(crate) fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A fenced block: where it stands, what is said of it, its text.
pub(crate) struct Block {
    pub(crate) place: String,
    pub(crate) info: String,
    pub(crate) text: String,
}

impl Block {
    /// The lines of a block of commands, without what is explained behind them.
    pub(crate) fn lines(&self) -> impl Iterator<Item = &str> {
        let lines = self.text.lines();
        lines.map(|line| line.split(" # ").next().unwrap_or_default().trim_end())
    }
}

/// The blocks of the guide, in the order in which it is read.
pub(crate) fn blocks() -> Vec<Block> {
    let names = [
        "quick-start",
        "installation",
        "operation",
        "monitoring",
        "migration",
        "troubleshooting",
    ];
    let mut pages: Vec<_> = names
        .iter()
        .map(|name| format!("docs/guide/{name}.md"))
        .collect();
    let there = fs::read_dir(workspace().join("docs/guide"))
        .unwrap()
        .count();
    assert_eq!(there, pages.len(), "a page of the guide is not tested");
    let others = [
        "development/guide.md",
        "man/conntrackd.8.md",
        "man/conntrackd.conf.5.md",
        "man/conntrackd.toml.5.md",
    ];
    pages.extend(others.iter().map(|page| format!("docs/{page}")));
    pages.push("README.md".to_owned());
    pages.iter().flat_map(|page| blocks_of(page)).collect()
}

fn blocks_of(page: &str) -> Vec<Block> {
    let text = fs::read_to_string(workspace().join(page)).unwrap();
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for (number, line) in text.lines().enumerate() {
        match (line.trim_start().strip_prefix("```"), &mut open) {
            (Some(info), None) => {
                open = Some(Block {
                    place: format!("{page}:{}", number + 1),
                    info: info.to_owned(),
                    text: String::new(),
                });
            }
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (None, Some(block)) => block.text += &format!("{}\n", line.trim_start()),
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "{page}: a block without an end");
    blocks
}
