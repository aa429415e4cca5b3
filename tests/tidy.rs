//! Rules that a machine keeps: formatting, file lengths, first lines, and lists that name every file.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const MOST_LINES: usize = 400;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All Rust files of the project.
fn files() -> Vec<PathBuf> {
    fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && path.file_name().unwrap() != "target" {
                walk(&path, files);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    let mut files = Vec::new();
    for folder in ["src", "benches", "tests", "examples", "cargo-parbench"] {
        walk(&root().join(folder), &mut files);
    }
    assert!(files.len() > 30, "only {} files found", files.len());
    files
}

/// The modules that lie beside a `mod.rs`, by file.
fn modules(folder: &str) -> Vec<String> {
    let entries = fs::read_dir(root().join(folder)).unwrap();
    let names = entries.map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_string());
    names.filter(|name| name != "mod").collect()
}

#[test]
fn no_file_is_too_long_and_each_says_what_it_is_for() {
    for file in files() {
        let text = fs::read_to_string(&file).unwrap();
        let lines = text.lines().count();
        assert!(lines <= MOST_LINES, "{} has {lines} lines: look for its second subject", file.display());
        assert!(text.starts_with("//! "), "{} does not open with a sentence", file.display());
    }
}

#[test]
fn every_scenario_file_has_a_row_and_every_list_is_a_family() {
    let list = fs::read_to_string(root().join("src/scenarios/mod.rs")).unwrap();
    for name in modules("src/scenarios") {
        assert!(list.contains(&format!("mod {name};")), "{name} has no `mod` line");
        assert!(list.contains(&format!("Scenario::of::<{name}::")), "{name} has no row");
    }
    for line in list.lines().filter_map(|line| line.strip_prefix("pub static ")) {
        let family = line.split(':').next().unwrap();
        let bench = root().join(format!("benches/{}.rs", family.to_lowercase()));
        assert!(family == "FAMILIES" || bench.exists(), "{family} has no bench program");
    }
}

#[test]
fn every_executor_file_has_a_row() {
    let list = fs::read_to_string(root().join("src/executors/mod.rs")).unwrap();
    for name in modules("src/executors") {
        assert!(list.contains(&format!("mod {name};")), "{name} has no `mod` line");
        assert!(list.contains(&format!("&{name}::KIND")), "{name} has no row");
    }
}

#[test]
fn the_changelog_knows_this_version() {
    let changelog = fs::read_to_string(root().join("CHANGELOG.md")).unwrap();
    assert!(changelog.contains(&format!("## {}", env!("CARGO_PKG_VERSION"))));
}

#[test]
fn what_the_readme_shows_is_what_the_tests_run() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let own = fs::read_to_string(root().join("tests/downstream/benches/words.rs")).unwrap();
    let workload = &own[own.find("struct Words;").unwrap()..];
    assert!(
        readme.contains(workload.trim_end()),
        "README.md shows another workload than tests/downstream has"
    );
}

#[test]
fn the_code_is_formatted() {
    let cargo = |arguments: &[&str]| Command::new(env!("CARGO")).args(arguments).current_dir(root()).output();
    if !cargo(&["fmt", "--version"]).is_ok_and(|output| output.status.success()) {
        println!("skipped: rustfmt is not installed");
        return;
    }
    let output = cargo(&["fmt", "--all", "--check"]).unwrap();
    assert!(output.status.success(), "run `cargo fmt`:\n{}", String::from_utf8_lossy(&output.stdout));
}
