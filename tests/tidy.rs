//! Rules that a machine keeps: formatting, file lengths, first lines, the layers of the code, and lists that name every
//! file.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const MAX_LINES: usize = 400;

/// The layers of `src/`, from the bottom up. A module imports from layers below its own, and never from its own or one
/// above: so no import runs in a circle, no executor sees a scenario, and no worker an executor.
const LAYERS: &[&[&str]] = &[
    &["panic", "program", "random", "shape", "span", "usage"],
    &["data"],
    &["wire", "workload"],
    &["job"],
    &["scenario"],
    &["executors", "worker", "fixtures"],
    &["pool", "measure", "scenarios"],
    &["bench"],
];

/// What is written against workloads alone imports no more than these.
const SCENARIOS_MAY_IMPORT: &[&str] =
    &["data", "fixtures", "panic", "random", "scenario", "scenarios", "span", "workload"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All Rust files below some folders.
fn files(folders: &[&str]) -> Vec<PathBuf> {
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
    folders.iter().for_each(|folder| walk(&root().join(folder), &mut files));
    assert!(files.len() > 5, "only {} files found", files.len());
    files
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

/// The modules in a folder, by their file or folder.
fn modules(folder: &Path) -> Vec<(String, PathBuf)> {
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let named = paths.map(|path| (path.file_stem().unwrap().to_str().unwrap().to_string(), path));
    let file = |path: PathBuf| if path.is_dir() { path.join("mod.rs") } else { path };
    named.filter(|(name, _)| name != "mod").map(|(name, path)| (name, file(path))).collect()
}

#[test]
fn no_file_is_too_long_and_each_says_what_it_is_for() {
    for file in files(&["src", "benches", "tests", "examples", "cargo-parbench"]) {
        let text = read(&file);
        let lines = text.lines().count();
        assert!(lines <= MAX_LINES, "{} has {lines} lines: look for its second subject", file.display());
        assert!(text.starts_with("//! "), "{} does not open with a sentence", file.display());
    }
}

#[test]
fn no_import_runs_upward_or_in_a_circle() {
    let layer = |module: &str| LAYERS.iter().position(|layer| layer.contains(&module));
    for file in files(&["src"]) {
        let path = file.strip_prefix(root().join("src")).unwrap();
        let module = path.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs");
        if module == "lib" {
            continue;
        }
        let own = layer(module).unwrap_or_else(|| panic!("`{module}` is in no layer"));
        for imported in imports(&read(&file)) {
            let theirs = layer(&imported).unwrap_or_else(|| panic!("{}: `{imported}`", file.display()));
            assert!(
                theirs < own || imported == module,
                "{} imports `{imported}`, which is not below `{module}`",
                file.display()
            );
            let is_allowed = module != "scenarios" || SCENARIOS_MAY_IMPORT.contains(&&imported[..]);
            assert!(is_allowed, "{}: a scenario must not know of `{imported}`", file.display());
        }
    }
}

/// The modules that a file names as `crate::module`, outside comments and tests.
fn imports(text: &str) -> Vec<String> {
    let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
    let lines = code.lines().map(str::trim_start).filter(|line| !line.starts_with("//"));
    let rests = lines.flat_map(|line| line.split("crate::").skip(1));
    let name = |rest: &str| rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    // What lib.rs re-exports has an upper-case name, and is only used in tests.
    rests.map(name).filter(|name: &String| name.starts_with(char::is_lowercase)).collect()
}

#[test]
fn every_scenario_has_a_row_and_every_family_a_bench_program() {
    let list = read(&root().join("src/scenarios/mod.rs"));
    for (family, file) in modules(&root().join("src/scenarios")) {
        assert!(list.contains(&format!("mod {family};")), "{family} has no `mod` line");
        let row = format!("(\"{family}\", {})", family.to_uppercase());
        assert!(list.contains(&row), "{family} is missing in FAMILIES");
        assert!(root().join(format!("benches/{family}.rs")).exists(), "{family} has no bench program");
        let rows = read(&file);
        for (name, file) in modules(file.parent().unwrap()) {
            assert!(rows.contains(&format!("mod {name};")), "{name} has no `mod` line");
            let is_scenario = read(&file).contains("impl Workload for");
            assert!(!is_scenario || rows.contains(&format!("Scenario::of::<{name}::")), "{name} has no row");
        }
    }
}

#[test]
fn every_executor_file_has_a_row() {
    let list = read(&root().join("src/executors/mod.rs"));
    for (name, file) in modules(&root().join("src/executors")) {
        assert!(list.contains(&format!("mod {name};")), "{name} has no `mod` line");
        let is_executor = read(&file).contains("impl Executor for");
        assert!(!is_executor || list.contains(&format!("&{name}::KIND")), "{name} has no row");
    }
}

#[test]
fn no_list_of_bench_programs_is_written_by_hand() {
    // They ask `cargo parbench list`, or name one as an example.
    for file in ["README.md", "METHODOLOGY.md", "reports/README.md", ".github/workflows/benchmarks.yml"] {
        let text = read(&root().join(file));
        assert!(!text.contains("network files compute"), "{file} lists the bench programs");
    }
}

#[test]
fn the_changelog_knows_this_version() {
    assert!(read(&root().join("CHANGELOG.md")).contains(&format!("## {}", env!("CARGO_PKG_VERSION"))));
}

#[test]
fn what_the_readme_shows_is_what_the_tests_run() {
    let readme = read(&root().join("README.md"));
    let own = read(&root().join("tests/downstream/benches/words.rs"));
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
