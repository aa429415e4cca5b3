//! A bench program as cargo and people start it: Criterion's options, parbench's modes, and bad input.

mod common;

use std::path::Path;
use std::process::{Command, ExitCode, Output, Stdio};

use anyhow::{Result, ensure};
use common::trial;
use libtest_mimic::Arguments;
use parbench::executors::{ALL, ExecutorKind, Shapes, Suitability};
use parbench::fixtures::folder::Folder;
use parbench::measure::{Record, read_records};
use parbench::scenarios::{COMPUTE, NETWORK};
use parbench::{Scaling, Scenario};

/// Makes this program the bench program with the list of that name.
const FAMILY: &str = "PARBENCH_TEST_FAMILY";

fn main() -> ExitCode {
    let family = std::env::var(FAMILY).unwrap_or_default();
    let scenarios: &'static [Scenario] = if family == "network" { NETWORK } else { COMPUTE };
    if !family.is_empty() {
        parbench::bench::main(scenarios);
        return ExitCode::SUCCESS;
    }
    parbench::bench::enter(scenarios);
    let trials = vec![
        trial("--list names every variant and prepares nothing", list),
        trial("a filter that fits nothing prepares nothing", filter),
        trial("--test runs every variant once", test),
        trial("a baseline is saved and compared with", baseline),
        trial("a failing task ends the program with status 2", failure),
        trial("bad values in the environment are one sentence and status 2", environment),
        trial("bad arguments of a mode are one sentence and status 2", arguments),
        trial("help is a result", help),
        trial("a reader that has gone ends the program, and a full disk is an error", gone),
        trial("a folder that cannot be written to is found before anything is measured", unwritable),
        trial("a variable that is set to nothing is not set", empty),
        trial("what is named twice is measured once", twice),
        trial("rounds measure in random order and its reverse", rounds),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// This program as the bench program of a family, at `smoke` size with one and two workers.
fn bench(family: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Result<Output> {
    let mut command = Command::new(std::env::current_exe()?);
    command.env(FAMILY, family).args(arguments).stdin(Stdio::null());
    command.env("PARBENCH_SIZE", "smoke").env("PARBENCH_WORKERS", "1,2");
    Ok(command.envs(environment.iter().copied()).output()?)
}

/// A list of URLs that is not there: preparing `url_download` fails, and is seen to.
const NO_URLS: (&str, &str) = ("PARBENCH_URLS", "/no/such/list");

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn list() -> Result<()> {
    let output = bench("network", &["--bench", "--list"], &[NO_URLS])?;
    let listed = text(&output.stdout);
    ensure!(output.status.success(), "{}", text(&output.stderr));
    for variant in ["serial/1", "threads/1", "threads/2", "rayon/2", "processes/2"] {
        ensure!(listed.contains(&format!("url_download/{variant}: benchmark\n")), "{variant}: {listed}");
    }
    Ok(())
}

fn filter() -> Result<()> {
    let output = bench("network", &["--bench", "no_such_benchmark"], &[NO_URLS])?;
    let note = "note: no benchmark of this program fits `no_such_benchmark`; `--list` names them\n";
    ensure!(output.status.success() && text(&output.stderr).ends_with(note), "{}", text(&output.stderr));
    Ok(())
}

/// The program with another stdout.
fn bench_to(stdout: impl Into<Stdio>, arguments: &[&str]) -> Result<Output> {
    let mut command = Command::new(std::env::current_exe()?);
    command.env(FAMILY, "compute").env("PARBENCH_SIZE", "smoke").env("PARBENCH_WORKERS", "1,2");
    let child = command.args(arguments).stdin(Stdio::null()).stdout(stdout).stderr(Stdio::piped()).spawn()?;
    Ok(child.wait_with_output()?)
}

fn gone() -> Result<()> {
    let all: [&[&str]; 5] = [
        &["--bench", "--list"],
        &["--test", "cpu_loop"],
        &["parbench", "list"],
        &["parbench", "rounds", "cpu_loop", "--rounds", "1", "--launches", "1"],
        &["parbench", "--help"],
    ];
    for arguments in all {
        let (reader, writer) = std::io::pipe()?;
        drop(reader);
        let output = bench_to(writer, arguments)?;
        let error = text(&output.stderr);
        let quiet = error.lines().all(|line| line.starts_with("Gnuplot "));
        ensure!(output.status.success() && quiet, "{arguments:?}: {} {error}", output.status);
        if cfg!(target_os = "linux") {
            let error =
                refusal(&bench_to(std::fs::File::options().write(true).open("/dev/full")?, arguments)?)?;
            ensure!(error.contains("No space left on device"), "{arguments:?}: {error}");
        }
    }
    Ok(())
}

fn unwritable() -> Result<()> {
    let error = refusal(&bench("compute", &["--bench"], &[("CRITERION_HOME", "/dev/null/there")])?)?;
    ensure!(
        error.starts_with("error: cannot keep results in /dev/null/there; CRITERION_HOME can name"),
        "{error}"
    );
    // What measures nothing keeps nothing.
    let listed = bench("compute", &["--bench", "--list"], &[("CRITERION_HOME", "/dev/null/there")])?;
    ensure!(listed.status.success(), "{}", text(&listed.stderr));
    Ok(())
}

fn empty() -> Result<()> {
    let nothing =
        [("PARBENCH_SIZE", ""), ("PARBENCH_WORKERS", ""), ("PARBENCH_URLS", ""), ("PARBENCH_IMAP", "")];
    let output = bench("network", &["--bench", "--list"], &nothing)?;
    ensure!(
        text(&output.stdout).contains("url_download/threads/16: benchmark\n"),
        "{}",
        text(&output.stderr)
    );
    let size = [&[("PARBENCH_SIZE", "smoke")], &nothing[1..]].concat();
    let output = bench("network", &["--test", "(url|mail)_download/threads/1$"], &size)?;
    ensure!(output.status.success(), "{}", text(&output.stderr));
    Ok(())
}

fn twice() -> Result<()> {
    let arguments = [
        "parbench",
        "rounds",
        "cpu_loop",
        "cpu_loop",
        "--executors",
        "serial,threads,serial",
        "--rounds",
        "1",
    ];
    let output = bench("compute", &[&arguments[..], &["--judged", "threads/2,threads/2"]].concat(), &[])?;
    let (_, records) = read_records(&output.stdout[..])?;
    // Serial, threads with one and two workers, and the replica, in two passes.
    ensure!(output.status.success() && records.len() == 4 * 2, "{} {}", records.len(), text(&output.stderr));
    Ok(())
}

fn test() -> Result<()> {
    let output = bench("compute", &["--test"], &[])?;
    let tested = text(&output.stdout);
    let expected: usize = COMPUTE.iter().map(variants).sum();
    ensure!(output.status.success() && tested.matches("Success").count() == expected, "{tested}");
    Ok(())
}

/// Variants of a scenario with one and two workers, or with as much to do as they have.
fn variants(scenario: &Scenario) -> usize {
    let both =
        |kind: &ExecutorKind| kind.shapes != Shapes::Single || scenario.properties.scaling == Scaling::Weak;
    let measured = ALL.iter().filter(|kind| (kind.suits)(&scenario.properties) == Suitability::Suited);
    measured.map(|kind| if both(kind) { 2 } else { 1 }).sum()
}

fn baseline() -> Result<()> {
    let home = Folder::new()?;
    let home = home.path().to_str().unwrap_or_default();
    let run = |options: &[&str]| {
        let quickly =
            ["--bench", "cpu_loop/processes/2", "--measurement-time", "0.05", "--warm-up-time", "0.01"];
        bench("compute", &[&quickly, options].concat(), &[("CRITERION_HOME", home)])
    };
    let saved = run(&["--save-baseline", "first"])?;
    ensure!(saved.status.success(), "{}", text(&saved.stderr));
    let compared = run(&["--baseline", "first"])?;
    ensure!(
        compared.status.success() && text(&compared.stdout).contains("change:"),
        "{}",
        text(&compared.stdout)
    );
    ensure!(Path::new(home).join("cpu_loop/report/index.html").exists(), "there is no report");
    let quick = run(&["--quick"])?;
    ensure!(quick.status.success() && text(&quick.stdout).contains("time:"), "{}", text(&quick.stderr));
    Ok(())
}

/// The error of a program that must end with status 2 and one sentence.
fn refusal(output: &Output) -> Result<String> {
    let error = text(&output.stderr);
    ensure!(output.status.code() == Some(2), "status {}: {error}", output.status);
    ensure!(!error.contains("panicked"), "{error}");
    Ok(error)
}

fn failure() -> Result<()> {
    let error = refusal(&bench("network", &["--bench"], &[NO_URLS])?)?;
    let sentence =
        "error: cannot prepare `url_download`: cannot read PARBENCH_URLS=/no/such/list: No such file";
    ensure!(error.contains(sentence), "{error}");
    Ok(())
}

fn environment() -> Result<()> {
    for (name, value, sentence) in [
        (
            "PARBENCH_SIZE",
            "huge",
            "error: PARBENCH_SIZE: `huge` is not a size; use smoke, default or article\n",
        ),
        (
            "PARBENCH_WORKERS",
            "two",
            "error: PARBENCH_WORKERS: `two` is not a number of workers from 1 to 1024,",
        ),
        ("PARBENCH_WORKERS", "0", "error: PARBENCH_WORKERS: `0` is not a number of workers from 1 to 1024,"),
    ] {
        for arguments in [&["--bench"][..], &["parbench", "rounds"]] {
            let error = refusal(&bench("compute", arguments, &[(name, value)])?)?;
            ensure!(error.starts_with(sentence), "{error}");
        }
    }
    Ok(())
}

fn arguments() -> Result<()> {
    for (arguments, word) in [
        (&["parbench"][..], "error: name a mode\n\nA bench program of parbench"),
        (&["parbench", "rounds", "--rounds", "-1"], "-1 is not in 1.."),
        (&["parbench", "report"], "there is no mode `report`"),
        (
            &["parbench", "rounds", "cpu_lop"],
            "there is no scenario `cpu_lop` in this program; it has cpu_loop",
        ),
        (&["parbench", "rounds", "--rounds", "0"], "'0'"),
        (&["parbench", "rounds", "--size", "huge"], "`huge` is not a size"),
        (&["parbench", "rounds", "--workers", "1,x"], "`x` is not a number of workers"),
        (
            &["parbench", "rounds", "--executors", "threads", "--workers", "2x2"],
            "none of the executors can have 2x2 workers",
        ),
        (&["parbench", "rounds", "--executors", "fibers"], "there is no executor `fibers`; there are serial"),
        (&["parbench", "cell", "cpu_loop"], "required arguments were not provided"),
        (
            &["parbench", "rounds", "cpu_loop", "--judged", "fibers/2"],
            "`fibers/2` is not measured in `cpu_loop`",
        ),
    ] {
        let error = refusal(&bench("compute", arguments, &[])?)?;
        ensure!(error.contains(word), "{arguments:?}: {error}");
    }
    Ok(())
}

fn help() -> Result<()> {
    let output = bench("compute", &["parbench", "rounds", "--help", "--bench"], &[])?;
    ensure!(output.status.success() && text(&output.stdout).contains("--ceiling"), "{output:?}");
    for arguments in
        [&["parbench", "--help"][..], &["parbench", "list", "-h"], &["parbench", "fixture", "--help"]]
    {
        let output = bench("compute", arguments, &[])?;
        let help = text(&output.stdout);
        ensure!(
            output.status.success() && help.contains("rounds [SCENARIO…]") && help.contains("fixture http"),
            "{help}"
        );
    }
    Ok(())
}

fn rounds() -> Result<()> {
    let run = |seed| {
        let arguments =
            ["parbench", "rounds", "cpu_loop", "--rounds", "3", "--launches", "1", "--judged", "none"];
        let output =
            bench("compute", &[&arguments[..], &["--spans", "--seed", seed, "--bench"]].concat(), &[])?;
        ensure!(output.status.success(), "{}", text(&output.stderr));
        Ok(read_records(&output.stdout[..])?.1)
    };
    let records = run("1")?;
    let variants = variants(Scenario::find(COMPUTE, "cpu_loop")?);
    ensure!(records.len() == variants * 2 * 3, "{} records", records.len());
    let orders = |records: &[Record]| -> Vec<Vec<String>> {
        let variant = |record: &Record| format!("{}/{}", record.executor, record.shape);
        records.chunks(variants).map(|pass| pass.iter().map(variant).collect()).collect()
    };
    let passes = orders(&records);
    for pair in passes.chunks(2) {
        ensure!(pair[0].iter().rev().eq(&pair[1]), "{pair:?}");
    }
    ensure!(passes[0] != passes[2] || passes[2] != passes[4], "all rounds have the same order");
    ensure!(orders(&run("1")?) == passes && orders(&run("2")?) != passes, "a seed is not an order");
    for record in &records {
        let spans = record.spans.as_ref().map(Vec::len);
        ensure!(
            spans == ((record.round, record.pass) == (0, 0)).then_some(10) && record.batches > 0,
            "{record:?}"
        );
        ensure!(record.tasks == 10 && record.wall_ns > 0, "{record:?}");
    }
    Ok(())
}
