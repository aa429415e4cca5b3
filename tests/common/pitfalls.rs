//! What the tests of the pitfall programs share: found, built, run within a bound, and killed in the middle.

#![allow(dead_code, reason = "each test program uses its part")]

use std::collections::BTreeSet;
use std::env;
use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

/// How often a test runs a program: each time it must be the same.
pub(crate) const RUNS: usize = 3;
/// Only what stands still takes that long.
const PATIENCE: Duration = Duration::from_secs(60);
/// The columns of a terminal, which the lines for a person must fit.
const COLUMNS: usize = 80;

/// Runs a pitfall program, which must see what it describes, and returns its record.
pub(crate) fn run(name: &str) -> Result<Value> {
    let (status, said, errors) = output(&mut Command::new(program(name)?))?;
    ensure!(status.success() && errors.is_empty(), "`{name}` ended with {status}: {said}\n{errors}");
    let lines: Vec<_> = said.lines().collect();
    let [told @ .., record] = &lines[..] else { bail!("`{name}` printed nothing") };
    ensure!(told.len() == 5, "`{name}` tells its story in {} lines:\n{said}", told.len());
    if let Some(long) = told.iter().find(|line| line.chars().count() > COLUMNS) {
        bail!("`{name}` prints a line of {} columns: {long}", long.chars().count());
    }
    let record: Value = serde_json::from_str(record).with_context(|| format!("no JSON: {record}"))?;
    ensure!(name == format!("pitfall_{}", text(&record, "pitfall")?), "{record}");
    ensure!(record["cured"] == true && !text(&record, "cure")?.is_empty(), "{record}");
    for field in ["threads", "processes", "elapsed_ns"] {
        ensure!(number(&record, field)? > 0, "{field} is 0: {record}");
    }
    Ok(record)
}

/// A field of a record.
pub(crate) fn number(record: &Value, field: &str) -> Result<u64> {
    record[field].as_u64().with_context(|| format!("`{field}` is not a number: {record}"))
}

/// A field of a record.
pub(crate) fn numbers(record: &Value, field: &str) -> Result<Vec<u64>> {
    let numbers = record[field].as_array().and_then(|list| list.iter().map(Value::as_u64).collect());
    numbers.with_context(|| format!("`{field}` is not a list of numbers: {record}"))
}

/// A field of a record.
pub(crate) fn text<'a>(record: &'a Value, field: &str) -> Result<&'a str> {
    record[field].as_str().with_context(|| format!("`{field}` is not a text: {record}"))
}

/// Compiles the two programs in a record: one must be refused with the error that the record has and no other, and
/// its cure must not.
pub(crate) fn check_refusal(record: &Value) -> Result<()> {
    let (refused, errors) =
        (text(record, "refused_code")?, BTreeSet::from([text(record, "refused")?.into()]));
    let found = compile(refused)?;
    ensure!(found == errors, "errors {found:?}, not {errors:?}, in\n{refused}");
    let accepted = text(record, "accepted_code")?;
    let found = compile(accepted)?;
    ensure!(found.is_empty(), "errors {found:?} in\n{accepted}");
    Ok(())
}

/// The codes of the errors that the compiler finds in a program.
fn compile(program: &str) -> Result<BTreeSet<String>> {
    let folder = tempfile::tempdir()?;
    let source = folder.path().join("program.rs");
    fs::write(&source, program)?;
    let mut rustc = Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    rustc.args(["--edition=2024", "--emit=metadata", "--error-format=json", "--out-dir"]);
    let (status, _, errors) = output(rustc.arg(folder.path()).arg(source))?;
    let mut codes = BTreeSet::new();
    for line in errors.lines() {
        let message: Value = serde_json::from_str(line).with_context(|| format!("rustc says: {line}"))?;
        if message["level"] == "error" {
            codes.extend(message["code"]["code"].as_str().map(String::from));
        }
    }
    ensure!(status.success() == codes.is_empty(), "rustc ended with {status}: {errors}");
    Ok(codes)
}

/// Kills a pitfall program while it has a child; the child must end, too.
pub(crate) fn kill_in_the_middle(name: &str) -> Result<()> {
    use crate::common::{eventually, has_ended};

    let path = program(name)?;
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        let mut owner = Command::new(&path).stdout(Stdio::null()).spawn()?;
        let held = hold(&mut owner);
        owner.kill()?;
        owner.wait()?;
        let held = held?;
        eventually("no process outlives it", || held.iter().all(|child| has_ended(*child)))?;
        if !held.is_empty() {
            return Ok(());
        }
    }
    bail!("`{name}` was never seen with a child")
}

/// Stops a program while it has a child, so that it cannot end it. None are returned if the program was faster.
fn hold(owner: &mut Child) -> Result<Vec<u32>> {
    use crate::common::{children, eventually, has_ended, is_stopped};

    let signal = |signal: &str| {
        let sent = Command::new("kill").args([signal, &owner.id().to_string()]).status()?;
        ensure!(sent.success(), "cannot send {signal}");
        Ok(())
    };
    let ended = || has_ended(owner.id());
    while !ended() {
        if children(owner.id())?.is_empty() {
            continue;
        }
        signal("-STOP")?;
        eventually("it is stopped", || is_stopped(owner.id()) || ended())?;
        let alive: Vec<_> = children(owner.id())?.into_iter().filter(|child| !has_ended(*child)).collect();
        if !alive.is_empty() {
            return Ok(alive);
        }
        signal("-CONT")?;
    }
    Ok(Vec::new())
}

/// Runs a command to its end: how it ended, its stdout and its stderr. Files, because nobody has to read them
/// meanwhile, and because a process that is left does not keep them from their end.
fn output(command: &mut Command) -> Result<(ExitStatus, String, String)> {
    let folder = tempfile::tempdir()?;
    let [stdout, stderr] = ["stdout", "stderr"].map(|name| folder.path().join(name));
    command.stdin(Stdio::null()).stdout(File::create(&stdout)?).stderr(File::create(&stderr)?);
    let mut child = command.spawn().with_context(|| format!("cannot start {command:?}"))?;
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if Instant::now() > deadline {
            child.kill()?;
            child.wait()?;
            bail!("{command:?} did not end within {} s and was killed", PATIENCE.as_secs());
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    Ok((status, fs::read_to_string(stdout)?, fs::read_to_string(stderr)?))
}

/// The file of an example. `cargo test` has built it; `cargo test --test …` has not, or has left an old one.
fn program(name: &str) -> Result<PathBuf> {
    static BUILDING: Mutex<()> = Mutex::new(());

    let this = env::current_exe()?;
    // target/debug/deps/this
    let profile = this.ancestors().nth(2).context("this program lies in no target folder")?;
    let program = profile.join("examples").join(format!("{name}{}", env::consts::EXE_SUFFIX));
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let changed = |file: &Path| fs::metadata(file).and_then(|data| data.modified()).ok();
    let sources = [root.join(format!("examples/{name}.rs")), root.join("examples/pitfalls/mod.rs")];
    let _guard = BUILDING.lock().unwrap_or_else(PoisonError::into_inner);
    if sources.iter().any(|source| changed(&program) < changed(source)) {
        let mut arguments: Vec<OsString> = ["build", "--locked", "--example", name].map(Into::into).into();
        if !cfg!(feature = "scenarios") {
            arguments.push("--no-default-features".into());
        }
        if profile.ends_with("release") {
            arguments.push("--release".into());
        }
        arguments.extend(["--target-dir".into(), profile.join("..").into()]);
        let built = Command::new(env!("CARGO")).args(&arguments).current_dir(root).output()?;
        let errors = String::from_utf8_lossy(&built.stderr);
        ensure!(built.status.success(), "cannot build the example `{name}`: {errors}");
        ensure!(
            program.exists(),
            "the example is not at {}: run `cargo build --examples`",
            program.display()
        );
    }
    Ok(program)
}
