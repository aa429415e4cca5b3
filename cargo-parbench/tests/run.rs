//! A run from the command line to the report: on a crate that has a workload of its own.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// A command of the program, on the crate with its own workload.
fn parbench(arguments: &[&str]) -> Output {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_cargo-parbench"));
    command.args(arguments).env("CARGO", env!("CARGO")).env("NO_COLOR", "1").stdin(Stdio::null());
    if !["report", "claims"].contains(&arguments[0]) {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/downstream/Cargo.toml");
        command.args(["--profile", "dev", "--quiet", "--manifest-path"]).arg(manifest);
        command.arg("--target-dir").arg(target);
    }
    command.output().unwrap()
}

fn succeeds(arguments: &[&str]) -> String {
    let output = parbench(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The one sentence that a command is refused with.
fn refused(arguments: &[&str]) -> String {
    let output = parbench(arguments);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {stderr}");
    stderr
}

#[test]
fn a_run_is_made_resumed_held_against_its_schema_and_reported() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("run.json");
    let path = file.to_str().unwrap();
    let quick = ["run", "--quick", "--size", "smoke", "--workers", "2", "--output", path];
    let table = succeeds(&quick);
    assert!(table.contains("words ") && table.contains("Answer") && table.contains("20 %"), "{table}");
    assert!(table.lines().all(|line| line.chars().count() <= 80), "{table}");

    let run: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    let schema: Value = serde_json::from_str(include_str!("../run.schema.json")).unwrap();
    let errors: Vec<_> = jsonschema::validator_for(&schema)
        .unwrap()
        .iter_errors(&run)
        .map(|error| error.to_string())
        .collect();
    assert!(errors.is_empty(), "{errors:?}");
    let mut broken = run.clone();
    broken["scenarios"][0]["records"][0]["wall_ns"] = "soon".into();
    assert!(!jsonschema::is_valid(&schema, &broken));

    // Nothing is left to be measured, and what was measured stays as it was; pitfalls can be added.
    assert_eq!(run["pitfalls"], Value::Null);
    succeeds(&[&quick[..], &["--resume", "--pitfalls"]].concat());
    let resumed: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    assert!(jsonschema::is_valid(&schema, &resumed), "{resumed}");
    let pitfall = &resumed["pitfalls"][0];
    assert_eq!(
        (&pitfall["name"], &pitfall["status"]),
        (&"pitfall_spaces".into(), &"success".into()),
        "{pitfall}"
    );
    assert_eq!(
        (&pitfall["record"]["outcome"], pitfall["lines"].as_array().unwrap().len()),
        (&"too_many".into(), 1)
    );
    assert_eq!((&resumed["id"], &resumed["scenarios"]), (&run["id"], &run["scenarios"]));
    let error =
        refused(&["run", "--quick", "--size", "default", "--workers", "2", "--output", path, "--resume"]);
    assert!(error.contains("cannot be resumed with these: size was \"smoke\" and is \"default\""), "{error}");

    let markdown = succeeds(&["report", "--format", "markdown", path]);
    assert!(markdown.contains("| `words` | ") && markdown.contains("threads/2"), "{markdown}");
    let two = succeeds(&["report", "--format", "markdown", path, path]);
    assert!(two.contains("| scenario | 1: "), "{two}");
    let csv = succeeds(&["report", "--format", "csv", path]);
    let columns = |line: &str| line.split(',').count();
    assert!(
        csv.lines().count() > 20
            && csv.lines().all(|line| columns(line) == columns(csv.lines().next().unwrap())),
        "{csv}"
    );
    let trace: Value = serde_json::from_str(&succeeds(&["report", "--format", "trace", path])).unwrap();
    assert!(trace["traceEvents"].as_array().unwrap().iter().any(|event| event["ph"] == "X"));
}

#[test]
fn what_is_no_run_file_is_refused_in_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    for (number, (text, reason)) in [
        ("", "is not a whole run file"),
        ("{\"format\":\"parbench.run/1\",\"scen", "is not a whole run file"),
        ("{\"format\":\"parbench.run/9\"}", "is of parbench.run/9, and this version reads parbench.run/1"),
        ("[1, 2]", "is of no known format"),
        ("{\"format\":\"parbench.run/1\",\"began\":-1}", "is not a run file"),
    ]
    .into_iter()
    .enumerate()
    {
        let file = folder.path().join(number.to_string());
        fs::write(&file, text).unwrap();
        let error = refused(&["report", file.to_str().unwrap()]);
        assert!(
            error.starts_with("error: ") && error.contains(reason) && error.lines().count() == 1,
            "{text}: {error}"
        );
    }
    let error = refused(&["report", "/no/such.json"]);
    assert!(error.contains("cannot read the run file /no/such.json"), "{error}");
}

#[test]
fn what_is_no_python_file_is_refused_in_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run.json");
    fs::write(&run, "{\"format\":\"parbench.run/1\"}").unwrap();
    let run = run.to_str().unwrap();
    for (number, (text, reason)) in [
        ("not JSON", "is not a whole Python file"),
        ("{\"format\":\"parbench.python/1\",\"scen", "is not a whole Python file"),
        ("{\"format\":\"parbench.run/1\"}", "is of parbench.run/1, and this version reads parbench.python/1"),
        ("{\"format\":\"parbench.python/1\"}", "is not a Python file"),
    ]
    .into_iter()
    .enumerate()
    {
        let file = folder.path().join(number.to_string());
        fs::write(&file, text).unwrap();
        for command in ["report", "claims"] {
            let error = refused(&[command, run, "--python", file.to_str().unwrap()]);
            assert!(error.contains(reason) && error.lines().count() == 1, "{text}: {error}");
        }
    }
}

#[test]
fn a_scenario_that_is_not_there_is_named_with_those_that_are() {
    let error = refused(&["run", "--quick", "nonsense"]);
    assert!(error.contains("there is no scenario `nonsense`; there are splits, sums, "), "{error}");
    let error = refused(&["run", "--quick", "--output", "/dev/null/run.json", "words"]);
    assert!(error.contains("cannot write the run file /dev/null/run.json"), "{error}");
}

#[test]
fn a_package_without_pitfalls_is_told_so_before_anything_is_built() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("src")).unwrap();
    fs::write(folder.path().join("src/lib.rs"), "").unwrap();
    let manifest = folder.path().join("Cargo.toml");
    fs::write(&manifest, "[package]\nname = \"bare\"\nedition = \"2024\"\n[workspace]\n").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_cargo-parbench"))
        .args(["run", "--pitfalls", "--manifest-path"])
        .arg(&manifest)
        .env("CARGO", env!("CARGO"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert_eq!(stderr, "error: there is no example here whose name begins with `pitfall_`\n");
}

#[test]
fn the_table_of_readme_is_that_of_the_recorded_run() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let readme = fs::read_to_string(root.join("README.md")).unwrap();
    let recorded = readme.split("](reports/").find_map(|link| link.split_once("/README.md)")).unwrap().0;
    let run = root.join("reports").join(recorded).join("run.json");
    let table = succeeds(&["report", "--format", "table", run.to_str().unwrap()]);
    assert!(
        table.lines().count() > 20 && readme.contains(&table),
        "README's table is not this one:\n{table}"
    );
    // The page holds every row, and is of the size that a page may be.
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("page.html");
    succeeds(&["report", run.to_str().unwrap(), "--output", page.to_str().unwrap()]);
    let html = fs::read_to_string(page).unwrap();
    assert!(html.len() < 400_000 && html.contains("id=\"worker_start\""), "{} bytes", html.len());
}
