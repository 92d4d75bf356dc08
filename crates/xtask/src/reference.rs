//! `cargo xtask reference`: the reference of the configuration and that of the metrics, from where both are made.
//!
//! Sections, keys and types come from the structures that the TOML file is read into; what they mean, from the manual page, which is
//! held against them. Metrics come from a page that is rendered.

use std::collections::BTreeMap;
use std::fs;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use control::metrics::{Exposition, page};
use syn::{Field, File, GenericArgument, Item, ItemStruct, PathArguments, Type};

use crate::tools::workspace;

/// What makes a page.
type Maker = fn() -> Result<String>;

/// The pages that are written.
const PAGES: [(&str, Maker); 2] = [
    ("docs/reference/configuration.md", configuration),
    ("docs/reference/metrics.md", metrics),
];

/// Writes both.
///
/// # Errors
/// A key has no meaning told, or a file cannot be read or written.
pub(crate) fn run() -> Result<ExitCode> {
    for (name, text) in PAGES {
        fs::write(workspace().join(name), text()?)?;
        println!("{name}");
    }
    Ok(ExitCode::SUCCESS)
}

fn read(name: &str) -> Result<String> {
    fs::read_to_string(workspace().join(name)).with_context(|| name.to_owned())
}

fn configuration() -> Result<String> {
    let schema: File = syn::parse_file(&read("crates/config/src/toml/schema.rs")?)?;
    let mut reference = Reference {
        structs: structs(&schema),
        meanings: meanings(&read("docs/man/conntrackd.toml.5.md")?),
        out: "# Configuration\n\n\
            Every key of `conntrackd.toml`. What a whole file looks like: [quick start](../guide/quick-start.md); the same with more words: \
            [conntrackd.toml(5)](../man/conntrackd.toml.5.md); the familiar grammar: [conntrackd.conf(5)](../man/conntrackd.conf.5.md).\n\n\
            Written by `cargo xtask reference` from the structures that a file is read into.\n"
            .to_owned(),
    };
    reference.section("File", "", false)?;
    Ok(reference.out)
}

fn structs(schema: &File) -> BTreeMap<String, ItemStruct> {
    let structs = schema.items.iter().filter_map(|item| match item {
        Item::Struct(one) => Some((one.ident.to_string(), one.clone())),
        _ => None,
    });
    structs.collect()
}

struct Reference {
    structs: BTreeMap<String, ItemStruct>,
    /// By key: how its value is written, and what it means.
    meanings: BTreeMap<String, (String, String)>,
    out: String,
}

impl Reference {
    fn section(&mut self, name: &str, path: &str, is_array: bool) -> Result<()> {
        let item = self
            .structs
            .get(name)
            .context("an unknown structure")?
            .clone();
        let mut rows = Vec::new();
        let mut inner = Vec::new();
        for field in &item.fields {
            let key = key(field);
            let leaf = leaf(&field.ty);
            let below = if path.is_empty() {
                key.clone()
            } else {
                format!("{path}.{key}")
            };
            if leaf == "List" {
                for list in ["accept", "ignore"] {
                    rows.push(self.row(&format!("{key}.{list}"), "List", path)?);
                }
            } else if self.structs.contains_key(&leaf) {
                inner.push((leaf, below, has(&field.ty, "Vec")));
            } else {
                rows.push(self.row(&key, &leaf, path)?);
            }
        }
        if !path.is_empty() {
            let title = if is_array {
                format!("[[{path}]]")
            } else {
                format!("[{path}]")
            };
            self.out.push_str(&format!(
                "\n## `{title}`\n\n| key | value | meaning |\n|---|---|---|\n"
            ));
            self.out.extend(rows);
        }
        for (name, path, is_array) in inner {
            self.section(&name, &path, is_array)?;
        }
        Ok(())
    }

    fn row(&self, key: &str, kind: &str, section: &str) -> Result<String> {
        let inner = section.rsplit('.').next().unwrap_or_default();
        // Helpers have keys of the same names as others; the manual page tells of the whole section at once.
        let shared = (!section.starts_with("helper")).then(|| key.to_owned());
        let told = [format!("{section}.{key}"), format!("{inner}.{key}")];
        let mut told = told.iter().chain(&shared);
        let told = told.find_map(|key| self.meanings.get(key));
        let (value, meaning) = match told {
            Some((value, meaning)) => (value.clone(), meaning.clone()),
            None if section.starts_with("helper") => {
                (String::new(), "Kept; helpers are not run.".to_owned())
            }
            None => anyhow::bail!("{section}: conntrackd.toml(5) does not tell `{key}`"),
        };
        let value = if value.is_empty() {
            words(kind).to_owned()
        } else {
            value
        };
        Ok(format!(
            "| `{key}` | {} | {} |\n",
            value.replace('|', "\\|"),
            meaning.replace('|', "\\|")
        ))
    }
}

/// What a value of a type is, where the manual page does not say it more closely.
fn words(kind: &str) -> &'static str {
    match kind {
        "bool" => "`true` or `false`",
        "u8" | "u16" | "u32" | "u64" => "*NUMBER*",
        "List" => "a list",
        _ => "*TEXT*",
    }
}

fn key(field: &Field) -> String {
    let mut name = field
        .ident
        .as_ref()
        .map(ToString::to_string)
        .unwrap_or_default();
    for attribute in &field.attrs {
        // Other attributes than `rename` have no value, and those that have one are read past.
        let _ = attribute.parse_nested_meta(|meta| {
            if meta.path.is_ident("rename") {
                name = meta.value()?.parse::<syn::LitStr>()?.value();
            }
            Ok(())
        });
    }
    name
}

/// The innermost type, but for lists of their own kind.
fn leaf(kind: &Type) -> String {
    let Type::Path(path) = kind else {
        return String::new();
    };
    let Some(segment) = path.path.segments.last() else {
        return String::new();
    };
    let name = segment.ident.to_string();
    match &segment.arguments {
        PathArguments::AngleBracketed(arguments) if name != "List" => {
            match arguments.args.first() {
                Some(GenericArgument::Type(inner)) => leaf(inner),
                _ => name,
            }
        }
        _ => name,
    }
}

fn has(kind: &Type, wrapper: &str) -> bool {
    let Type::Path(path) = kind else {
        return false;
    };
    path.path.segments.iter().any(|segment| {
        segment.ident == wrapper || match &segment.arguments {
            PathArguments::AngleBracketed(arguments) => arguments.args.iter().any(
                |argument| matches!(argument, GenericArgument::Type(inner) if has(inner, wrapper)),
            ),
            _ => false,
        }
    })
}

/// The definition lists of the manual page: each key, how its value is written, what it means.
fn meanings(page: &str) -> BTreeMap<String, (String, String)> {
    let mut meanings = BTreeMap::new();
    let lines: Vec<_> = page.lines().collect();
    let mut section = String::new();
    for (at, line) in lines.iter().enumerate() {
        if let Some(named) = named_section(line) {
            section = named;
        }
        let Some(first) = lines.get(at + 1).and_then(|next| next.strip_prefix(": ")) else {
            continue;
        };
        let rest = lines
            .iter()
            .skip(at + 2)
            .take_while(|line| line.starts_with("  "));
        let rest = rest
            .map(|line| format!(" {}", line.trim()))
            .collect::<String>();
        let meaning = format!("{first}{rest}");
        for term in terms(line) {
            let (keys, value) = term.split_once(" = ").unwrap_or((&term, ""));
            for key in keys.split('`').skip(1).step_by(2) {
                let told = (value.to_owned(), meaning.clone());
                meanings.insert(format!("{section}.{key}"), told.clone());
                // What a section has in common with another is told in the first of them.
                meanings.entry(key.to_owned()).or_insert(told);
            }
        }
    }
    meanings
}

/// The section that a heading, or a line such as "In `[native]`:", is about.
fn named_section(line: &str) -> Option<String> {
    let rest = line
        .strip_prefix("## The section ")
        .or_else(|| line.strip_prefix("In "))?;
    let start = rest.find('[')?;
    let name = rest.get(start..)?.trim_start_matches('[');
    Some(name.get(..name.find(']')?)?.to_owned())
}

/// A term of several keys with values of their own.
fn terms(line: &str) -> Vec<String> {
    match line.matches(" = ").count() {
        0 | 1 => vec![line.to_owned()],
        _ => line
            .split(", `")
            .enumerate()
            .map(|(at, part)| {
                if at == 0 {
                    part.to_owned()
                } else {
                    format!("`{part}")
                }
            })
            .collect(),
    }
}

fn metrics() -> Result<String> {
    // The node that the tests of the page have: it has everything.
    let tests = read("crates/control/tests/metrics.rs")?;
    let (_, report) = tests.split_once("r#\"").context("no report")?;
    let (report, _) = report.split_once("\"#").context("no end of the report")?;
    let text = String::from_utf8(page(&serde_json::from_str(report)?, Exposition::Text))?;
    let mut out = "# Metrics\n\n\
        What the endpoint (`metrics`) answers; how to use it: [monitoring](../guide/monitoring.md). In OpenMetrics the names of counters lack \
        `_total` in their descriptions, as that format has it.\n\n\
        Written by `cargo xtask reference`.\n\n\
        | metric | type | labels | meaning |\n|---|---|---|---|\n"
        .to_owned();
    let mut help = "";
    let mut lines = text.lines().peekable();
    let mut count = 0;
    while let Some(line) = lines.next() {
        if let Some(told) = line.strip_prefix("# HELP ") {
            help = told.split_once(' ').map_or("", |(_, help)| help);
        } else if let Some(told) = line.strip_prefix("# TYPE ") {
            let (name, kind) = told.split_once(' ').context("a type")?;
            let labels = lines
                .peek()
                .map(|sample| labels(sample))
                .unwrap_or_default();
            out.push_str(&format!("| `{name}` | {kind} | {labels} | {help} |\n"));
            count += 1;
        }
    }
    ensure!(count > 25, "only {count} metrics");
    Ok(out)
}

fn labels(sample: &str) -> String {
    let Some((_, labels)) = sample.split_once('{') else {
        return String::new();
    };
    let names = labels
        .split("=\"")
        .filter_map(|part| part.rsplit([',', '"', '{']).next());
    let mut names: Vec<_> = names.map(|name| format!("`{name}`")).collect();
    names.pop();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_references_are_current() {
        for (name, text) in PAGES {
            assert!(
                read(name).unwrap() == text().unwrap(),
                "{name} is not current: cargo xtask reference"
            );
        }
    }
}
