//! The program as a user starts it.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn downstream() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/downstream/Cargo.toml")
}

fn parbench(arguments: &[&str], manifest: &Path) -> Output {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_cargo-parbench"));
    command.args(arguments).args(["--profile", "dev", "--quiet", "--manifest-path"]).arg(manifest);
    command.arg("--target-dir").arg(target).env("CARGO", env!("CARGO")).output().unwrap()
}

#[test]
fn it_lists_the_scenarios_of_a_package() {
    // As cargo starts it, with its own name first, and by itself.
    for arguments in [&["parbench", "list"][..], &["list"]] {
        let output = parbench(arguments, &downstream());
        let (stdout, stderr) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let lines: Vec<_> =
            stdout.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        let sweep = "own largest/1000 workers 1 2 4".to_string();
        assert!(
            lines.contains(&"words words workers 1 2 4".into()) && lines.contains(&sweep),
            "{stdout}{stderr}"
        );
        assert_eq!(lines.len(), 8, "{stdout}");
        assert_eq!(output.status.code(), Some(0));
    }
}

#[test]
fn what_cannot_be_is_one_sentence_and_status_2() {
    let output = parbench(&["list"], Path::new("/no/such/Cargo.toml"));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("error: cargo could not build the bench programs"), "{stderr}");
    assert_eq!(output.status.code(), Some(2));

    let unknown = Command::new(env!("CARGO_BIN_EXE_cargo-parbench")).arg("lists").output().unwrap();
    assert_eq!(unknown.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("list"));
}
