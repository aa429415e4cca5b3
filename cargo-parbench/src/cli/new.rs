//! `cargo parbench new NAME`: a workload from a template, and the lines of the manifest that it needs.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::Args;

use super::{print, write_beside};
use crate::programs::Cargo;

#[derive(Args)]
pub(crate) struct New {
    #[command(flatten)]
    cargo: Cargo,
    /// The workload's name, such as parse_log: its file is benches/NAME.rs
    #[arg(value_name = "NAME")]
    name: String,
    /// Where parbench's own source is, if the package is to use that
    #[arg(long, value_name = "DIRECTORY")]
    path: Option<PathBuf>,
}

/// The template, whose `NAME` and `TYPE` are replaced.
const TEMPLATE: &str = include_str!("../../templates/workload.rs");

/// Where parbench comes from, unless it is said.
const REPOSITORY: &str = "https://github.com/parbench/parbench";

impl New {
    pub(crate) fn run(&self) -> Result<()> {
        ensure!(
            is_name(&self.name),
            "`{}` cannot be the name of a bench program: use letters, digits and `_`, with a small letter first",
            self.name
        );
        let manifest = self.cargo.manifest()?;
        let folder = manifest.parent().context("a manifest is in a folder")?;
        let file = folder.join("benches").join(format!("{}.rs", self.name));
        ensure!(!file.exists(), "{} is there already; it stays as it is", file.display());
        let mut text = fs::read_to_string(&manifest)?;
        ensure!(text.contains("[package]"), "{} is of no package", manifest.display());

        // The manifest first: a bench program that it does not know would be built with a main of cargo's own.
        if !has_bench(&text, &self.name) {
            text.truncate(text.trim_end().len());
            text += &format!("\n\n[[bench]]\nname = \"{}\"\nharness = false\n", self.name);
            write_beside(&manifest, text.as_bytes())?;
        }
        let source = TEMPLATE.replace("NAME: &'static str = \"NAME\"", "\u{0}").replace("NAME", &self.name);
        let source = source.replace('\u{0}', &format!("NAME: &'static str = \"{}\"", self.name));
        write_beside(&file, source.replace("TYPE", &type_name(&self.name)).as_bytes())?;
        self.add_dependencies(&text)?;
        print(&format!(
            "Wrote {} and its lines in {}.\ncargo bench --bench {name} -- --test   # runs it once, everywhere\n\
             cargo parbench run --bench {name} --quick   # answers\n",
            shown(&file),
            shown(&manifest),
            name = self.name
        ))
    }

    /// What the template needs, added by cargo unless it is there.
    fn add_dependencies(&self, manifest: &str) -> Result<()> {
        if !has_dependency(manifest, "anyhow") {
            self.cargo.add(&["--dev", "anyhow@1"])?;
        }
        if has_dependency(manifest, "parbench") {
            return Ok(());
        }
        let common = ["--dev", "--no-default-features"];
        match &self.path {
            Some(path) => {
                let path = path.canonicalize().with_context(|| format!("cannot find {}", path.display()))?;
                let path = path.to_str().context("the path is not UTF-8")?;
                self.cargo.add(&[&common[..], &["--path", path, "parbench"]].concat())
            }
            None => self.cargo.add(&[&common[..], &["--git", REPOSITORY, "parbench"]].concat()),
        }
    }
}

fn is_name(name: &str) -> bool {
    let rest = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    name.starts_with(|c: char| c.is_ascii_lowercase()) && name.chars().all(rest)
}

/// `parse_log` as `ParseLog`.
fn type_name(name: &str) -> String {
    let capital = |part: &str| part[..1].to_uppercase() + &part[1..];
    name.split('_').filter(|part| !part.is_empty()).map(capital).collect()
}

fn document(manifest: &str) -> toml::Table {
    // Cargo has read it just now.
    manifest.parse().unwrap_or_default()
}

fn has_bench(manifest: &str, name: &str) -> bool {
    let manifest = document(manifest);
    let benches = manifest.get("bench").and_then(|benches| benches.as_array());
    benches.into_iter().flatten().any(|bench| bench.get("name").and_then(|name| name.as_str()) == Some(name))
}

fn has_dependency(manifest: &str, name: &str) -> bool {
    let manifest = document(manifest);
    ["dependencies", "dev-dependencies"]
        .iter()
        .any(|table| manifest.get(*table).and_then(|table| table.get(name)).is_some())
}

/// A path as it is seen from here.
fn shown(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(here).unwrap_or(path).display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_of_files_and_of_types() {
        assert!(
            is_name("parse_log2") && !is_name("Parse") && !is_name("2nd") && !is_name("a-b") && !is_name("")
        );
        assert!(!is_name("../up"));
        assert_eq!(
            (type_name("parse_log"), type_name("words"), type_name("a__b")),
            ("ParseLog".into(), "Words".into(), "AB".into())
        );
    }

    #[test]
    fn what_a_manifest_has_is_not_added_again() {
        let manifest =
            "[package]\nname = \"a\"\n[dev-dependencies]\nanyhow = \"1\"\n[[bench]]\nname = \"words\"\n";
        assert!(has_bench(manifest, "words") && !has_bench(manifest, "other"));
        assert!(has_dependency(manifest, "anyhow") && !has_dependency(manifest, "parbench"));
    }
}
