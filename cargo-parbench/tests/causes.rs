//! The reasons that a run names, held against workloads whose cause is known. It takes some minutes of a quiet machine, so it
//! runs by hand: `cargo test --release -p cargo-parbench --test causes -- --ignored --nocapture`.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// A workload of `benches/causes.rs`, what is done besides, and the cause that must be named, for which way.
struct Injection {
    scenario: &'static str,
    options: &'static [&'static str],
    around: Around,
    way: &'static str,
    cause: &'static str,
}

#[derive(Clone, Copy, PartialEq)]
enum Around {
    Nothing,
    /// Programs that keep all CPUs but one busy.
    Hogs,
    /// A control group with a quota of half a CPU.
    Quota,
}

const fn injection(scenario: &'static str, way: &'static str, cause: &'static str) -> Injection {
    Injection { scenario, options: &[], around: Around::Nothing, way, cause }
}

const INJECTIONS: [Injection; 12] = [
    injection("lock", "threads", "lock"),
    injection("address_space", "threads", "address space"),
    injection("memory_churn", "threads", "address space"),
    injection("memory_bandwidth", "threads", "machine"),
    injection("unequal_tasks", "threads", "imbalance"),
    injection("too_few_tasks", "threads", "imbalance"),
    injection("small_tasks", "threads", "task price"),
    injection("private_arrays", "processes", "moving"),
    injection("packed_vectors", "processes", "packing"),
    Injection { options: &["--workers", "8"], ..injection("plain", "threads", "oversubscription") },
    Injection { around: Around::Hogs, ..injection("plain", "threads", "busy machine") },
    Injection { around: Around::Quota, ..injection("plain", "threads", "quota") },
];

#[test]
#[ignore = "measures for some minutes"]
fn causes_are_named_and_no_wrong_one_is() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (mut named, mut wrong, mut tried) = (0, Vec::new(), 0);
    println!("{:<20} {:<18} {:<18} sentence", "workload", "true cause", "named");
    for (number, injection) in INJECTIONS.iter().enumerate() {
        let file = folder.path().join(format!("{number}.json"));
        let Some(reasons) = measure(injection, &file)? else {
            println!(
                "{:<20} {:<18} not tried: no control group can be made here",
                injection.scenario, injection.cause
            );
            continue;
        };
        let reason = reasons.iter().find(|reason| reason.0 == injection.way || reason.0 == "both");
        let (cause, sentence) =
            reason.map_or(("none", "nothing to explain"), |(_, cause, text)| (cause, text));
        println!("{:<20} {:<18} {cause:<18} {sentence}", injection.scenario, injection.cause);
        if cause == "none" {
            // A machine may have no such limit: two CPUs may share more memory bandwidth than they can use.
            continue;
        }
        tried += 1;
        match cause {
            cause if cause == injection.cause => named += 1,
            "unclear" => {}
            _ => wrong.push(injection.scenario),
        }
    }
    println!("{named} of {tried} losses named");
    ensure!(tried >= 9, "only {tried} workloads lose here");
    ensure!(wrong.is_empty(), "a wrong cause is named for {wrong:?}");
    ensure!(10 * named >= 9 * tried - 5, "only {named} of {tried} causes are named");
    Ok(())
}

/// The reasons of a scenario: way, cause and sentence; `None` if what has to be around it cannot be made.
fn measure(injection: &Injection, file: &Path) -> Result<Option<Vec<(String, String, String)>>> {
    let program = env!("CARGO_BIN_EXE_cargo-parbench");
    let package = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let mut run = Command::new(program);
    run.args(["run", injection.scenario, "--quiet", "--features", "causes", "--manifest-path"]).arg(&package);
    run.arg("--output").arg(file).args(injection.options).stdin(Stdio::null()).stdout(Stdio::null());
    let _around: Box<dyn std::any::Any> = match injection.around {
        Around::Nothing => Box::new(()),
        Around::Hogs => Box::new(Hogs::start()?),
        Around::Quota => match Quota::make() {
            Some(quota) => {
                quota.contain(&mut run);
                Box::new(quota)
            }
            None => return Ok(None),
        },
    };
    let status = run.status().context("it cannot be started")?;
    ensure!(status.success(), "{}: {status}", injection.scenario);
    let mut report = Command::new(program);
    let output =
        report.args(["report", "--format", "reasons"]).arg(file).stderr(Stdio::inherit()).output()?;
    ensure!(output.status.success(), "{}: no report", injection.scenario);
    let reasons: Vec<Value> = serde_json::from_slice(&output.stdout)?;
    let text = |reason: &Value, field: &str| reason[field].as_str().unwrap_or_default().to_string();
    Ok(Some(
        reasons
            .iter()
            .map(|reason| (text(reason, "way"), text(reason, "cause"), text(reason, "sentence")))
            .collect(),
    ))
}

/// Programs that keep CPUs busy until they are dropped.
struct Hogs(Vec<Child>);

impl Hogs {
    fn start() -> Result<Hogs> {
        // With one for each CPU, the serial run would lose as much.
        let cpus = std::thread::available_parallelism()?.get().saturating_sub(1).max(1);
        let hog = |_| Command::new("sh").args(["-c", "while :; do :; done"]).stdin(Stdio::null()).spawn();
        Ok(Hogs((0..cpus).map(hog).collect::<Result<_, _>>()?))
    }
}

impl Drop for Hogs {
    fn drop(&mut self) {
        for hog in &mut self.0 {
            let _ = hog.kill();
            let _ = hog.wait();
        }
    }
}

/// A control group of half a CPU, removed when this is dropped.
struct Quota(std::path::PathBuf);

impl Quota {
    /// `None` where this user, or this system, cannot make one.
    fn make() -> Option<Quota> {
        let name = format!("parbench-{}", std::process::id());
        let one = Path::new("/sys/fs/cgroup/cpu").join(&name);
        let two = Path::new("/sys/fs/cgroup").join(&name);
        if fs::create_dir(&one).is_ok() {
            let quota = Quota(one);
            fs::write(quota.0.join("cpu.cfs_quota_us"), "50000").ok()?;
            return Some(quota);
        }
        fs::create_dir(&two).ok()?;
        let quota = Quota(two);
        fs::write(quota.0.join("cpu.max"), "50000 100000").ok()?;
        Some(quota)
    }

    /// Has a command run inside of it.
    fn contain(&self, command: &mut Command) {
        let procs = self.0.join("cgroup.procs").display().to_string();
        let mut inner = Command::new("sh");
        inner.args(["-c", "echo $$ > \"$0\" && exec \"$@\"", &procs]).arg(command.get_program());
        inner.args(command.get_args()).stdin(Stdio::null()).stdout(Stdio::null());
        *command = inner;
    }
}

impl Drop for Quota {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}
