//! Whose code the programs hold, and under which terms it may be passed on.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::contents::PROGRAMS;
use super::printed;
use crate::tools::{cargo, workspace};

/// The file `copyright`, in the form that Debian's tools read.
pub(super) fn copyright() -> Result<String> {
    let mit = fs::read_to_string(workspace().join("LICENSE-MIT"))?;
    let (holder, terms) = mit
        .split_once("Copyright (c) ")
        .and_then(|(_, rest)| rest.split_once('\n'))
        .context("LICENSE-MIT names nobody")?;
    let terms: String = terms
        .trim()
        .lines()
        .map(|line| match line.trim_end() {
            "" => " .\n".to_owned(),
            line => format!(" {line}\n"),
        })
        .collect();
    Ok(format!(
        "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\
         Upstream-Name: conntrackd in Rust\n\
         Comment: The programs hold code of libraries, whose terms stand in third-party-licences.gz.\n\
         \n\
         Files: *\n\
         Copyright: {holder}\n\
         License: MIT or Apache-2.0\n\
         \n\
         License: MIT\n{terms}\n\
         License: Apache-2.0\n \
         On Debian systems the text is in /usr/share/common-licenses/Apache-2.0.\n"
    ))
}

/// A library that is linked in.
#[derive(Debug)]
struct Library {
    name: String,
    licence: String,
    texts: BTreeSet<String>,
}

/// The libraries with their terms; a text that several share stands once.
pub(super) fn third_party() -> Result<String> {
    let libraries = libraries()?;
    ensure!(libraries.len() > 20, "only {} libraries", libraries.len());
    let mut out = "Libraries that are linked into the programs of this package:\n\n".to_owned();
    let mut texts: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for library in &libraries {
        out.push_str(&format!("  {}: {}\n", library.name, library.licence));
        for text in &library.texts {
            texts.entry(text).or_default().push(&library.name);
        }
    }
    for (text, names) in texts {
        out.push_str(&format!(
            "\n{}\n{}\n\n{text}\n",
            "=".repeat(78),
            names.join(", ")
        ));
    }
    Ok(out)
}

fn libraries() -> Result<Vec<Library>> {
    let text = printed(
        Command::new(cargo())
            .args(["metadata", "--format-version", "1", "--locked"])
            .args(["--filter-platform", host()?.as_str()])
            .current_dir(workspace()),
    )?;
    let metadata: Value = serde_json::from_str(&text)?;
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let packages: BTreeMap<_, _> = list(&metadata["packages"])
        .into_iter()
        .map(|package| (package["id"].to_string(), package))
        .collect();
    let needs: BTreeMap<_, Vec<_>> = list(&metadata["resolve"]["nodes"])
        .iter()
        .map(|node| {
            let normal = |dependency: &Value| {
                let kinds = list(&dependency["dep_kinds"]);
                kinds.iter().any(|kind| kind["kind"].is_null())
            };
            let needed = list(&node["deps"]).into_iter().filter(normal);
            let needed = needed.map(|dependency| dependency["pkg"].to_string());
            (node["id"].to_string(), needed.collect())
        })
        .collect();

    let program = |package: &Value| PROGRAMS.iter().any(|&(_, name)| package["name"] == name);
    let mut open: Vec<_> = packages
        .iter()
        .filter(|(_, package)| program(package))
        .map(|(id, _)| id.clone())
        .collect();
    let mut seen = BTreeSet::new();
    let mut libraries = Vec::new();
    while let Some(id) = open.pop() {
        let Some(package) = packages.get(&id) else {
            continue;
        };
        // What only runs in the compiler is not linked in.
        if is_macro(package) || !seen.insert(id.clone()) {
            continue;
        }
        open.extend(needs.get(&id).into_iter().flatten().cloned());
        if !package["source"].is_null() {
            libraries.push(library(package)?);
        }
    }
    libraries.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(libraries)
}

fn is_macro(package: &Value) -> bool {
    package["targets"].as_array().is_some_and(|targets| {
        let mut kinds = targets.iter().flat_map(|target| target["kind"].as_array());
        kinds.any(|kinds| kinds.iter().any(|kind| kind == "proc-macro"))
    })
}

fn library(package: &Value) -> Result<Library> {
    let word = |key: &str| package[key].as_str().unwrap_or("?");
    let manifest = Path::new(word("manifest_path"));
    let folder = manifest.parent().context("a crate without a folder")?;
    let mut texts = BTreeSet::new();
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .to_uppercase();
        if path.is_file()
            && ["LICEN", "COPY", "NOTICE", "UNLICEN"]
                .iter()
                .any(|start| name.starts_with(start))
        {
            texts.insert(fs::read_to_string(&path)?.trim_end().to_owned());
        }
    }
    Ok(Library {
        name: format!("{} {}", word("name"), word("version")),
        licence: word("license").to_owned(),
        texts,
    })
}

fn host() -> Result<String> {
    let text = printed(Command::new("rustc").arg("-vV"))?;
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc tells no host")?.to_owned())
}
