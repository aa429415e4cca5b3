//! The regression gate from the command line: on small repositories with two commits, in a folder whose name has a blank.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, PoisonError};

use serde_json::Value;

/// Comparisons in one target folder take turns: another one is refused.
static TURN: Mutex<()> = Mutex::new(());

/// A repository with a crate that has a workload of its own.
struct Repository {
    _folder: tempfile::TempDir,
    root: PathBuf,
}

/// The bench program, with what a task does, and what it is called.
fn words(name: &str, task: &str) -> String {
    format!(
        r#"//! Counting words.

use anyhow::{{Result, ensure}};
use parbench::{{Inputs, Scenario, Size, Workload}};

#[global_allocator]
static ALLOCATOR: parbench::CountingAllocator = parbench::CountingAllocator;

struct Words;

impl Workload for Words {{
    const NAME: &'static str = "{name}";
    type Input = String;
    type Output = usize;
    type Worker = ();

    fn prepare(size: Size) -> Result<Inputs<String>> {{
        Ok(Inputs::new(vec!["to be or not to be ".repeat(size.pick(1_000, 10_000, 10_000)); 8]))
    }}

    fn run(_: &mut (), text: &String) -> Result<usize> {{
        {task}
    }}

    fn check(texts: &[String], counts: &[usize]) -> Result<()> {{
        ensure!(counts.iter().zip(texts).all(|(count, text)| count * 19 == text.len() * 6), "{{counts:?}}");
        Ok(())
    }}
}}

fn main() {{
    parbench::bench::main([Scenario::of::<Words>()]);
}}
"#
    )
}

const ONCE: &str = "Ok(text.split_whitespace().count())";
const TWICE: &str = "std::hint::black_box(text.split_whitespace().count());\n        \
                     Ok(std::hint::black_box(text).to_string().split_whitespace().count())";

impl Repository {
    fn new() -> Repository {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("a crate");
        fs::create_dir_all(root.join("src")).unwrap();
        fs::create_dir_all(root.join("benches")).unwrap();
        let repository = Repository { _folder: folder, root };
        repository.git(&["init", "--quiet", "--initial-branch", "main"]);
        repository
    }

    /// The crate's manifest, lock file and library.
    fn write_crate(&self) {
        let parbench = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap();
        let downstream = parbench.join("tests/downstream");
        let manifest = fs::read_to_string(downstream.join("Cargo.toml")).unwrap();
        let manifest = manifest.replace("../..", parbench.to_str().unwrap());
        let others =
            ["mixed", "own"].map(|name| format!("[[bench]]\nname = \"{name}\"\nharness = false\n\n"));
        self.write("Cargo.toml", &others.iter().fold(manifest, |text, other| text.replace(other, "")));
        fs::copy(downstream.join("Cargo.lock"), self.root.join("Cargo.lock")).unwrap();
        self.write("src/lib.rs", "//! Nothing.\n");
    }

    fn write(&self, file: &str, text: &str) {
        fs::write(self.root.join(file), text).unwrap();
    }

    fn commit(&self, message: &str) {
        self.git(&["add", "--all"]);
        self.commit_empty(message);
    }

    /// A commit of what was added, which may be nothing.
    fn commit_empty(&self, message: &str) {
        let author = ["-c", "user.name=A", "-c", "user.email=a@b.c"];
        self.git(&[&author[..], &["commit", "--quiet", "--allow-empty", "-m", message]].concat());
    }

    fn git(&self, arguments: &[&str]) -> String {
        let output = Command::new("git").arg("-C").arg(&self.root).args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// `cargo parbench compare` here.
    fn compare(&self, arguments: &[&str]) -> Output {
        let output = compare_in(&self.root, arguments);
        // Nothing of it is left, whatever it ended with.
        assert_eq!(self.git(&["worktree", "list"]).lines().count(), 1);
        assert!(!target().join("parbench/compare/tree").exists());
        output
    }
}

fn target() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap()
}

fn compare_in(folder: &Path, arguments: &[&str]) -> Output {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut command = Command::new(env!("CARGO_BIN_EXE_cargo-parbench"));
    command.args(["compare", "--quiet", "--profile", "dev", "--target-dir"]).arg(target()).args(arguments);
    command.env("CARGO", env!("CARGO")).env("NO_COLOR", "1").current_dir(folder).stdin(Stdio::null());
    command.output().unwrap()
}

fn said(output: &Output) -> [String; 2] {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned())
}

#[test]
fn a_slower_commit_is_found_and_a_comment_is_not() {
    let repository = Repository::new();
    repository.write_crate();
    repository.write("benches/words.rs", &words("words", ONCE));
    repository.commit("One pass");
    repository.write("benches/words.rs", &words("words", TWICE));
    repository.commit("Two passes, and a copy");
    let (data, comment) = (repository.root.join("../data.json"), repository.root.join("../comment.md"));
    let [data_path, comment_path] = [&data, &comment].map(|path| path.to_str().unwrap());
    let outputs = ["--output", data_path, "--markdown", comment_path];

    let output = repository.compare(&[&["--base", "HEAD~1"], &outputs[..]].concat());
    let [stdout, stderr] = said(&output);
    assert_eq!(output.status.code(), Some(1), "{stdout}{stderr}");
    assert!(stdout.starts_with("parbench: slower in 3 rows\n"), "{stdout}{stderr}");
    assert!(stdout.contains("head HEAD (") && stdout.contains("Two passes, and a copy"), "{stdout}");
    // Twice the work, and one allocation more in each task. What a change does to its own benchmark is told.
    assert!(stdout.contains("allocations of a batch"), "{stdout}");
    assert!(stdout.contains("the workload's own code differs"), "{stdout}");
    let comment = fs::read_to_string(&comment).unwrap();
    assert!(comment.contains("| `words on serial/1` | "), "{comment}");
    let compared: Value = serde_json::from_slice(&fs::read(&data).unwrap()).unwrap();
    assert_eq!(
        (&compared["format"], &compared["rows"][0]["word"]),
        (&"parbench.comparison/1".into(), &"slower".into())
    );

    // Where valgrind counts, it explains: more is executed.
    let rows = compared["rows"].as_array().unwrap();
    let serial = rows.iter().find(|row| row["variant"] == "serial/1").unwrap();
    let instructions = &serial["instructions"];
    if Command::new("valgrind").arg("--version").output().is_ok_and(|output| output.status.success()) {
        let [base, head] = [0, 1].map(|side| instructions[side].as_u64().unwrap());
        assert!(head > base * 3 / 2, "{instructions}");
        assert!(stdout.contains("; instructions +"), "{stdout}");
    } else {
        println!("no instructions were counted: there is no valgrind");
        assert!(instructions.is_null(), "{instructions}");
    }

    // On another machine only these are measured again.
    let mut confirm = compared;
    for row in confirm["rows"].as_array_mut().unwrap().iter_mut().skip(1) {
        row["word"] = "no_clear_change".into();
    }
    fs::write(&data, confirm.to_string()).unwrap();
    let output = repository.compare(&["--confirm", data_path]);
    let [stdout, stderr] = said(&output);
    assert_eq!(
        (output.status.code(), stdout.contains("slower in 1 row\n")),
        (Some(1), true),
        "{stdout}{stderr}"
    );
    confirm["rows"][0]["word"] = "faster".into();
    fs::write(&data, confirm.to_string()).unwrap();
    let output = repository.compare(&["--confirm", data_path]);
    assert!(said(&output)[0].contains("nothing to confirm") && output.status.success(), "{output:?}");

    // The same machine code.
    repository.write("src/lib.rs", "//! Nothing, in other words.\n");
    repository.commit("A comment");
    let output = repository.compare(&["--base", "HEAD~1", "--budget", "15s"]);
    let [stdout, stderr] = said(&output);
    assert_eq!(output.status.code(), Some(0), "{stdout}{stderr}");
    assert!(!stdout.contains("own code differs"), "{stdout}");
}

#[test]
fn where_there_is_nothing_to_compare_it_says_so() {
    let repository = Repository::new();
    repository.write("README", "No crate yet.\n");
    repository.commit("Begin");
    repository.write_crate();
    repository.write("benches/words.rs", &words("words", "no Rust"));
    repository.commit("Does not compile");
    repository.write("benches/words.rs", &words("words", ONCE));
    repository.commit("Compiles");
    repository.write("benches/words.rs", &words("other words", ONCE));
    repository.commit("Renamed");

    let output = repository.compare(&["--base", "HEAD~3"]);
    let [stdout, stderr] = said(&output);
    assert!(stdout.starts_with("parbench: nothing to compare: HEAD~3"), "{stdout}{stderr}");
    assert_eq!(output.status.code(), Some(0));

    let output = repository.compare(&["--base", "HEAD~2"]);
    let [stdout, stderr] = said(&output);
    assert!(stderr.contains("error: HEAD~2 (") && stderr.contains("cannot be built"), "{stdout}{stderr}");
    assert_eq!(output.status.code(), Some(2));

    // A change cannot bring its own words for what it broke: base's sources get head's bench files where that compiles.
    let output = repository.compare(&["--base", "HEAD~1", "--only", "words"]);
    let [stdout, stderr] = said(&output);
    assert!(stdout.contains("not judged: nothing to compare: no scenario is in both"), "{stdout}{stderr}");
    assert!(stdout.contains("Only in base: words.") && output.status.code() == Some(0), "{stdout}{stderr}");
}

#[test]
fn what_cannot_be_compared_is_refused_in_a_sentence() {
    let repository = Repository::new();
    repository.write_crate();
    repository.write("benches/words.rs", &words("words", ONCE));
    repository.commit("Begin");
    let outside = tempfile::tempdir().unwrap();
    fs::create_dir(outside.path().join("src")).unwrap();
    fs::write(outside.path().join("src/lib.rs"), "//! Nothing.\n").unwrap();
    fs::write(outside.path().join("Cargo.toml"), "[package]\nname = \"alone\"\nedition = \"2024\"\n")
        .unwrap();
    let shallow = outside.path().join("shallow");
    repository.commit_empty("Second");
    let url = format!("file://{}", repository.root.display());
    repository.git(&["clone", "--quiet", "--depth", "1", &url, shallow.to_str().unwrap()]);
    let run = outside.path().join("run.json");
    fs::write(&run, "{\"format\":\"parbench.run/1\"}").unwrap();
    let run = run.to_str().unwrap();
    for (folder, arguments, reason) in [
        (&*repository.root, &["--base", "no-such"][..], "there is no revision `no-such` in "),
        (&repository.root, &["--base=--all"], "`--all` is no revision"),
        (&shallow, &["--base", "HEAD~1"], "the clone is shallow; `git fetch --unshallow`"),
        (outside.path(), &["--base", "HEAD"], "is in no git repository"),
        (&repository.root, &["--base", run, "--head", "HEAD"], "`HEAD` is no run file"),
        (&repository.root, &["--base", "HEAD", "--threshold", "0.1%"], "from 0.5% to 100%"),
        (
            &repository.root,
            &["--confirm", run],
            "is of parbench.run/1, and this version reads parbench.comparison/1",
        ),
        (&repository.root, &[], "--base"),
    ] {
        let output = compare_in(folder, arguments);
        let [stdout, stderr] = said(&output);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {stdout}{stderr}");
        assert!(stderr.contains(reason), "{arguments:?}: {stderr}");
    }
    let output = compare_in(&repository.root, &["--base", run, "--head", run]);
    assert!(said(&output)[0].contains("nothing to compare") && output.status.success(), "{output:?}");
}
