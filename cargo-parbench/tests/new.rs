//! A new workload from the template: it compiles, and runs unchanged in all ways.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn target() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap()
}

fn command(program: &str, folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(folder).stdin(Stdio::null());
    command.env("CARGO", env!("CARGO")).env("CARGO_NET_OFFLINE", "true").env("NO_COLOR", "1");
    command.output().unwrap()
}

#[test]
fn a_workload_from_the_template_runs_unchanged() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let parbench = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap();
    // The same profile as parbench's own, so that little has to be built, and the versions that are there.
    let downstream = fs::read_to_string(parbench.join("tests/downstream/Cargo.toml")).unwrap();
    let profile = &downstream[downstream.find("[profile.dev]").unwrap()..];
    let manifest = format!(
        "[package]\nname = \"downstream\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[workspace]\n\n{profile}"
    );
    fs::write(root.join("Cargo.toml"), manifest).unwrap();
    fs::copy(parbench.join("tests/downstream/Cargo.lock"), root.join("Cargo.lock")).unwrap();
    fs::create_dir(root.join("src")).unwrap();
    fs::write(root.join("src/lib.rs"), "//! Nothing.\n").unwrap();

    let own = env!("CARGO_BIN_EXE_cargo-parbench");
    let new = |name: &str| command(own, root, &["new", name, "--path", parbench.to_str().unwrap()]);
    let output = new("parse_log");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{stderr}");
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("Wrote benches/parse_log.rs"), "{output:?}");
    let source = fs::read_to_string(root.join("benches/parse_log.rs")).unwrap();
    assert!(
        source.contains("struct ParseLog;") && source.contains("const NAME: &'static str = \"parse_log\""),
        "{source}"
    );

    // Nothing is overwritten, and what is there is not added again.
    let manifest = fs::read_to_string(root.join("Cargo.toml")).unwrap();
    let output = new("parse_log");
    assert!(String::from_utf8_lossy(&output.stderr).contains("parse_log.rs is there already"), "{output:?}");
    assert_eq!(
        (output.status.code(), &fs::read_to_string(root.join("Cargo.toml")).unwrap()),
        (Some(2), &manifest)
    );
    fs::remove_file(root.join("benches/parse_log.rs")).unwrap();
    assert!(new("parse_log").status.success());
    assert_eq!(fs::read_to_string(root.join("Cargo.toml")).unwrap(), manifest);
    for (name, reason) in [("Parse", "cannot be the name"), ("../up", "cannot be the name")] {
        let output = new(name);
        assert!(String::from_utf8_lossy(&output.stderr).contains(reason), "{output:?}");
        assert_eq!(output.status.code(), Some(2));
    }

    let place = ["--profile", "dev", "--target-dir", target().to_str().unwrap()];
    let bench = [&["bench", "--bench", "parse_log"][..], &place, &["--", "--test"]].concat();
    let output = command(env!("CARGO"), root, &bench);
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(
        stdout.contains("Testing parse_log/processes/2\nSuccess"),
        "{stdout}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let run = [&["run", "--quick", "--size", "smoke", "--workers", "2", "--quiet"][..], &place].concat();
    let output = command(own, root, &run);
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(stdout.contains("parse_log "), "{stdout}{}", String::from_utf8_lossy(&output.stderr));
}
