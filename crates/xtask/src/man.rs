//! `cargo xtask man`: the manual pages, from Markdown to what `man` reads.
//!
//! A page is a file `docs/man/NAME.SECTION.md`. Its first heading is the title; headings of the second level are the
//! sections, those of the third their parts; what is explained stands in definition lists.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};
use pulldown_cmark::{CodeBlockKind, Event, HeadingLevel, Options, Parser, Tag, TagEnd};

use crate::tools::{target, workspace};

/// Writes every page into the target folder.
///
/// # Errors
/// A page cannot be read, written or translated.
pub(crate) fn run() -> Result<ExitCode> {
    let folder = target().join("man");
    fs::create_dir_all(&folder)?;
    for (name, text) in texts()? {
        let file = folder.join(name);
        fs::write(&file, text)?;
        println!("{}", file.display());
    }
    Ok(ExitCode::SUCCESS)
}

/// Every page: its name, as `man` looks for it, and its text.
///
/// # Errors
/// A page cannot be read or translated.
pub(crate) fn texts() -> Result<Vec<(String, String)>> {
    let text = |page: PathBuf| {
        let name = page.file_stem().context("a page without a name")?;
        Ok((name.to_string_lossy().into_owned(), translate(&page)?))
    };
    pages()?.into_iter().map(text).collect()
}

/// The pages there are.
fn pages() -> Result<Vec<PathBuf>> {
    let folder = workspace().join("docs/man");
    let mut pages = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "md") {
            pages.push(path);
        }
    }
    pages.sort();
    ensure!(!pages.is_empty(), "no pages in {}", folder.display());
    Ok(pages)
}

fn translate(page: &Path) -> Result<String> {
    let text = fs::read_to_string(page)?;
    let stem = page.file_stem().unwrap_or_default().to_string_lossy();
    let (name, section) = stem.rsplit_once('.').context("NAME.SECTION.md")?;
    Roff::new(name, section)
        .page(&text)
        .with_context(|| page.display().to_string())
}

/// A page being written.
#[derive(Debug)]
struct Roff {
    out: String,
    /// The text of the paragraph at hand.
    line: String,
    /// Each list around, and whether it is numbered: the number of its next item.
    lists: Vec<Option<u64>>,
    /// Whether the next paragraph goes on where a mark or a term stands.
    follows_mark: bool,
    is_code: bool,
    /// What is said of headings instead of being shown.
    is_title: bool,
}

impl Roff {
    fn new(name: &str, section: &str) -> Self {
        let title = format!(
            ".TH \"{}\" \"{section}\" \"\" \"conntrackd {}\" \"Connection tracking\"\n",
            name.to_uppercase(),
            env!("CARGO_PKG_VERSION")
        );
        Self {
            // No hyphenation, no spreading: options and commands stay as they are.
            out: format!("{title}.nh\n.ad l\n"),
            line: String::new(),
            lists: Vec::new(),
            follows_mark: false,
            is_code: false,
            is_title: false,
        }
    }

    fn page(mut self, text: &str) -> Result<String> {
        let mut options = Options::empty();
        options.insert(Options::ENABLE_DEFINITION_LIST);
        for event in Parser::new_ext(text, options) {
            self.event(event)?;
        }
        Ok(self.out)
    }

    fn event(&mut self, event: Event<'_>) -> Result<()> {
        match event {
            Event::Start(tag) => self.start(tag)?,
            Event::End(tag) => self.end(tag),
            Event::Text(text) if self.is_code => self.code(&text),
            Event::Text(text) => escape(&mut self.line, &text),
            Event::Code(text) => {
                self.line.push_str("\\fB");
                escape(&mut self.line, &text);
                self.line.push_str("\\fR");
            }
            Event::SoftBreak => self.line.push('\n'),
            Event::HardBreak => self.line.push_str("\n.br\n"),
            other => bail!("pages have no {other:?}"),
        }
        Ok(())
    }

    fn start(&mut self, tag: Tag<'_>) -> Result<()> {
        match tag {
            Tag::Heading { level, .. } => self.is_title = level == HeadingLevel::H1,
            Tag::Paragraph if self.follows_mark => {}
            Tag::Paragraph => self.out.push_str(self.gap()),
            Tag::CodeBlock(CodeBlockKind::Fenced(_) | CodeBlockKind::Indented) => {
                self.flush();
                self.out.push_str(".IP\n.nf\n");
                self.is_code = true;
            }
            Tag::List(first) => {
                self.flush();
                self.nest();
                self.lists.push(first);
            }
            Tag::Item => {
                let mark = match self.lists.last_mut() {
                    Some(Some(number)) => {
                        *number += 1;
                        format!(".IP {}. 4\n", *number - 1)
                    }
                    _ => ".IP \\(bu 2\n".to_owned(),
                };
                self.out.push_str(&mark);
                self.follows_mark = true;
            }
            Tag::DefinitionList => {
                self.flush();
                self.nest();
                self.lists.push(None);
            }
            Tag::DefinitionListTitle => self.out.push_str(".TP\n"),
            Tag::DefinitionListDefinition => self.follows_mark = true,
            Tag::Emphasis => self.line.push_str("\\fI"),
            Tag::Strong => self.line.push_str("\\fB"),
            Tag::Link { .. } => {}
            other => bail!("pages have no {other:?}"),
        }
        Ok(())
    }

    fn end(&mut self, tag: TagEnd) {
        match tag {
            TagEnd::Heading(_) if self.is_title => self.line.clear(),
            TagEnd::Heading(HeadingLevel::H2) => {
                let title = std::mem::take(&mut self.line).to_uppercase();
                self.out.push_str(&format!(".SH \"{title}\"\n"));
            }
            TagEnd::Heading(_) => {
                let title = std::mem::take(&mut self.line);
                self.out.push_str(&format!(".SS \"{title}\"\n"));
            }
            TagEnd::CodeBlock => {
                self.out.push_str(".fi\n");
                self.is_code = false;
            }
            TagEnd::List(_) | TagEnd::DefinitionList => {
                self.lists.pop();
                if !self.lists.is_empty() {
                    self.out.push_str(".RE\n");
                }
            }
            TagEnd::Emphasis | TagEnd::Strong => self.line.push_str("\\fR"),
            TagEnd::Link => {}
            _ => {
                self.flush();
                self.follows_mark = false;
            }
        }
    }

    /// What stands before a paragraph: in a list it goes on at the item's indentation.
    fn gap(&self) -> &'static str {
        if self.lists.is_empty() {
            ".PP\n"
        } else {
            ".IP\n"
        }
    }

    /// A list in a list is indented.
    fn nest(&mut self) {
        if !self.lists.is_empty() {
            self.out.push_str(".RS\n");
        }
        self.follows_mark = false;
    }

    fn flush(&mut self) {
        let text = std::mem::take(&mut self.line);
        for line in text
            .lines()
            .map(str::trim_start)
            .filter(|line| !line.is_empty())
        {
            // A dot at the start would be a command; breaks are.
            if line.starts_with('\'') || line.starts_with('.') && line != ".br" {
                self.out.push_str("\\&");
            }
            self.out.push_str(line);
            self.out.push('\n');
        }
    }

    fn code(&mut self, text: &str) {
        for line in text.lines() {
            if line.starts_with(['.', '\'']) {
                self.out.push_str("\\&");
            }
            escape(&mut self.out, line);
            self.out.push('\n');
        }
    }
}

/// Appends text so that it is shown as it is.
fn escape(out: &mut String, text: &str) {
    for character in text.chars() {
        match character {
            '\\' => out.push_str("\\e"),
            '-' => out.push_str("\\-"),
            '\'' => out.push_str("\\(aq"),
            '`' => out.push_str("\\(ga"),
            '^' => out.push_str("\\(ha"),
            '~' => out.push_str("\\(ti"),
            '"' => out.push_str("\\(dq"),
            character if character.is_ascii() => out.push(character),
            other => out.push_str(&format!("\\[u{:04X}]", u32::from(other))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use netlab::process::{COMMAND_LIMIT, run_within};
    use netlab::skip::{find_tool, skip};
    use std::process::Command;

    fn roff(text: &str) -> String {
        let page = Roff::new("x", "8").page(text).unwrap();
        page.split_once(".ad l\n").unwrap().1.to_owned()
    }

    #[test]
    fn headings_are_sections() {
        assert_eq!(
            roff("# x(8)\n\n## See also\n\nText.\n\n### Part\n"),
            ".SH \"SEE ALSO\"\n.PP\nText.\n.SS \"Part\"\n"
        );
    }

    #[test]
    fn definitions_are_tagged_paragraphs() {
        assert_eq!(
            roff("`-L`, `--dump`\n: List *it*.\n\n    More.\n"),
            ".TP\n\\fB\\-L\\fR, \\fB\\-\\-dump\\fR\nList \\fIit\\fR.\n.IP\nMore.\n"
        );
    }

    #[test]
    fn code_is_shown_as_it_is() {
        assert_eq!(
            roff("Do:\n\n```\n.a 'b' \\n\n\nc\n```\n"),
            ".PP\nDo:\n.IP\n.nf\n\\&.a \\(aqb\\(aq \\en\n\nc\n.fi\n"
        );
    }

    #[test]
    fn lists_have_marks_and_lists_in_lists_are_indented() {
        assert_eq!(
            roff("- a\n- b\n  1. c\n"),
            ".IP \\(bu 2\na\n.IP \\(bu 2\nb\n.RS\n.IP 1. 4\nc\n.RE\n"
        );
    }

    #[test]
    fn what_a_page_cannot_have_is_refused() {
        assert!(Roff::new("x", "8").page("<b>x</b>").is_err());
    }

    #[test]
    fn every_page_is_shown_without_a_warning() {
        if find_tool("groff").is_none() {
            skip("`groff` is not installed");
            return;
        }
        for page in pages().unwrap() {
            let text = translate(&page).unwrap();
            assert!(text.contains(".SH \"NAME\"\n"), "{}", page.display());
            let mut command = Command::new("groff");
            command.args(["-man", "-Tutf8", "-ww", "-rLL=100n"]);
            let shown = run_within(command, &text, COMMAND_LIMIT).unwrap();
            assert!(shown.status.success());
            assert_eq!(shown.stderr, "", "{}", page.display());
            assert!(shown.stdout.lines().count() > 30);
        }
    }

    /// A page as its words, without marks.
    fn words(page: &str) -> String {
        let path = workspace().join("docs/man").join(page);
        fs::read_to_string(path).unwrap()
    }

    #[test]
    fn every_key_of_the_sample_configuration_is_told() {
        let page = words("conntrackd.toml.5.md");
        let sample = include_str!("../../../config/conntrackd.toml");
        let mut count = 0;
        for line in sample.lines() {
            let line = line.trim_start_matches('#');
            let Some((key, _)) = line.split_once(" = ") else {
                continue;
            };
            if key.starts_with(' ') || key.contains(char::is_whitespace) {
                continue;
            }
            assert!(page.contains(key), "{key}");
            count += 1;
        }
        assert!(count > 50, "{count} keys");
    }

    #[test]
    fn every_option_of_the_sample_of_the_familiar_grammar_is_told() {
        let page = words("conntrackd.conf.5.md");
        let sample = include_str!("../../../config/conntrackd.conf");
        let mut count = 0;
        for line in sample.lines() {
            let line = line.split('#').next().unwrap_or_default();
            let words = line.split_whitespace();
            let option = words.clone().next().unwrap_or("}");
            // An option has an argument or a block; names in lists stand alone.
            if words.count() > 1 {
                assert!(page.contains(option), "{option}");
                count += 1;
            }
        }
        assert!(count > 20, "{count} options");
    }

    #[test]
    fn every_command_of_the_daemon_is_told() {
        let page = words("conntrackd.8.md");
        let usage = include_str!("../../conntrackd/src/cli/usage.txt");
        let options = usage
            .lines()
            .filter_map(|line| line.trim_start().strip_prefix('-'));
        for option in options.filter_map(|line| line.chars().next()) {
            assert!(
                page.contains(&format!("\n`-{option}`")) || option == 'x',
                "-{option}"
            );
        }
        for verb in ["check", "convert", "role", "ready", "stats"] {
            assert!(page.contains(&format!("`conntrackd {verb}")), "{verb}");
        }
    }
}
