//! A crate with a workload of its own, built and run: what the README promises a user.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

#[path = "common/action/mod.rs"]
mod action;

use std::path::Path;
use std::process::Command;

use parbench::executors::{ALL, ExecutorKind, Suitability};
use parbench::measure::{Record, read_records};
use parbench::{Scenario, Shape};

/// `cargo bench … -- ARGUMENTS` for the crate in `tests/downstream`, and what it printed.
fn bench(arguments: &[&str]) -> String {
    bench_of("words", arguments)
}

/// The same for another of its bench programs.
fn bench_of(name: &str, arguments: &[&str]) -> String {
    // Our own target folder and profile, so that most of what it needs is built already.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let output = Command::new(env!("CARGO"))
        .args(["bench", "--locked", "--profile", "dev", "--manifest-path"])
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/downstream/Cargo.toml"))
        .arg("--target-dir")
        .arg(target)
        // Without it, a library's own test harness would get the arguments too.
        .args(["--bench", name, "--"])
        .args(arguments)
        .env("PARBENCH_SIZE", "smoke")
        .env("PARBENCH_WORKERS", "1,2")
        .output()
        .unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{stdout}\n{stderr}");
    stdout.into_owned()
}

/// The executors that are measured with a workload that asks for nothing special, as that crate's does.
fn measured() -> impl Iterator<Item = &'static ExecutorKind> {
    let properties = Scenario::of::<action::Act>().properties;
    ALL.iter().copied().filter(move |kind| (kind.suits)(&properties) == Suitability::Suited)
}

fn max_workers(kind: &ExecutorKind) -> usize {
    if kind.shapes.contain(Shape::from(2)) { 2 } else { 1 }
}

#[test]
fn a_workload_of_ones_own_runs_on_every_executor() {
    let stdout = bench(&["--test"]);
    for kind in measured() {
        for workers in 1..=max_workers(kind) {
            let variant = format!("Testing words/{}/{workers}\nSuccess", kind.name);
            assert!(stdout.contains(&variant), "{variant}: {stdout}");
        }
    }
}

#[test]
fn a_workload_of_ones_own_has_all_modes() {
    assert!(bench(&["parbench", "list"]).contains(r#"{"name":"words","workers":[1,2,4],"nested":false,"#));
    let printed = bench(&["parbench", "rounds", "words", "--rounds", "2", "--ceiling", "--judged", "none"]);
    let (headers, records) = read_records(printed.as_bytes()).unwrap();
    assert_eq!(headers.len(), 2, "a round for each of two launches");
    // Every executor with one and two workers, and two ceilings; two rounds, each there and back.
    let variants: usize = measured().map(max_workers).sum();
    assert_eq!(records.len(), (variants + 2) * 2 * 2);
    assert!(records.iter().all(|record| record.wall_ns > 0 && record.tasks == 8 * copies(record)));
}

fn copies(record: &Record) -> usize {
    if record.executor == "ceiling" { record.shape.workers } else { 1 }
}

#[test]
fn workloads_of_every_kind_run_also_on_an_executor_of_ones_own() {
    let stdout = bench_of("own", &["--test"]);
    for scenario in ["sums", "lookups", "sorts", "fields", "largest/1000", "largest/10000"] {
        for kind in measured().map(|kind| kind.name).chain(["scoped"]) {
            let variant =
                format!("Testing {scenario}/{kind}/{}\nSuccess", if kind == "serial" { 1 } else { 2 });
            assert!(stdout.contains(&variant), "{variant}: {stdout}");
        }
    }
    let printed =
        bench_of("own", &["parbench", "rounds", "sorts", "--executors", "serial,scoped", "--rounds", "1"]);
    let (_, records) = read_records(printed.as_bytes()).unwrap();
    assert!(records.iter().any(|record| record.executor == "scoped" && record.error.is_none()));
    let listed = bench_of("own", &["parbench", "list"]);
    assert!(listed.contains(r#""has_check":false,"amount":{"bytes":14000}"#), "{listed}");
}

#[test]
fn a_program_may_have_criterion_groups_of_its_own() {
    let stdout = bench_of("mixed", &["--test"]);
    for variant in
        ["Testing old\nSuccess", "Testing splits/serial/1\nSuccess", "Testing splits/processes/2\nSuccess"]
    {
        assert!(stdout.contains(variant), "{variant}: {stdout}");
    }
    // Its workers, and its other modes.
    assert!(bench_of("mixed", &["parbench", "list"]).contains(r#"{"name":"splits","#));
}
