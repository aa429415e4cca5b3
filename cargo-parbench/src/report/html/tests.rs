//! Tests of the page: one file, the same each time, small, and whole in a browser.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use parbench::measure::Record;
use parbench::{Shape, TaskSpan};

use super::*;
use crate::run_file::{Judged, Options, Program, Scenario, Way};

/// A made-up run of so many scenarios, each with so many tasks.
fn run(scenarios: usize, tasks: u32) -> RunFile {
    let ways = [("serial", Way::Serial), ("threads", Way::Threads), ("processes", Way::Processes)];
    let record = |executor: &str, workers: usize, round: u32, replica: u32, wall_ns: u64| {
        let mut record = Record::default();
        record.executor = executor.into();
        record.shape = Shape::from(workers);
        (record.launch, record.round, record.replica) = (u32::from(round > 0), round, replica);
        (record.tasks, record.batches, record.wall_ns) = (tasks as usize, 1, wall_ns);
        let task = wall_ns * workers as u64 / u64::from(tasks);
        record.task_p50_ns = Some(task);
        let span = |number: u32| {
            let mut span = TaskSpan::default();
            (span.task, span.worker) = (number, (number as usize % workers) as u16);
            span.started = u64::from(number) / workers as u64 * task;
            (span.stopped, span.received) = (span.started + task, span.started + task + 10_000);
            span
        };
        record.spans = (round == 0).then(|| (0..tasks).map(span).collect());
        record
    };
    let scenario = |number: usize| {
        let mut records = Vec::new();
        for round in 0..7 {
            let jitter = 1_000 * u64::from(round);
            records.push(record("serial", 1, round, 0, 20_000_000 + jitter));
            for replica in 0..2 {
                records.push(record("threads", 2, round, replica, 10_000_000 + jitter));
                records.push(record("processes", 2, round, replica, 15_000_000 + jitter));
            }
        }
        Scenario {
            name: format!("scenario_{number}<&>"),
            family: "compute".into(),
            judged: Judged { threads: Some("threads/2".into()), processes: Some("processes/2".into()) },
            records,
            ..Scenario::default()
        }
    };
    let ways: BTreeMap<_, _> = ways.map(|(name, way)| (name.to_string(), way)).into();
    RunFile {
        id: "a run".into(),
        options: Options { launches: 1, rounds: 6, ..Options::default() },
        programs: vec![Program { family: "compute".into(), ways, ..Program::default() }],
        scenarios: (0..scenarios).map(scenario).collect(),
        ..RunFile::default()
    }
}

fn rendered(run: RunFile) -> String {
    let analysis = Analysis::of(&run);
    page(&[(run, analysis)], &|_| None).unwrap()
}

#[test]
fn a_page_is_one_file_and_the_same_each_time() {
    let html = rendered(run(2, 8));
    assert_eq!(html, rendered(run(2, 8)));
    for request in ["http:", "https:", "src=", "<link", "@import", "url("] {
        assert!(!html.contains(request), "{request}");
    }
    for words in [
        "threads / 2",
        "1.50x",
        "20.0\u{a0}ms",
        "scenario_0&lt;&amp;&gt;",
        "role=\"img\"",
        "prefers-color-scheme",
    ] {
        assert!(html.contains(words), "{words} is missing in {html}");
    }
    assert!(!html.contains("scenario_0<"));
}

#[test]
fn a_page_of_all_scenarios_and_of_thousands_of_tasks_is_small() {
    let bytes = rendered(run(27, 100)).len();
    assert!(bytes < 400_000, "{bytes}");
    let bytes = rendered(run(27, 5_000)).len();
    assert!(bytes < 400_000, "{bytes}");
}

#[test]
fn several_runs_stand_side_by_side() {
    let pair = [run(1, 4), run(1, 4)].map(|run| {
        let analysis = Analysis::of(&run);
        (run, analysis)
    });
    let html = page(&pair, &|name| Some(format!("../criterion/{name}"))).unwrap();
    assert_eq!(html.matches("unknown revision").count(), 1, "{html}");
    assert!(html.contains("href=\"../criterion/scenario_0"), "{html}");
    assert!(page(&[], &|_| None).is_err());
}

/// A browser that has no window, if one is installed.
fn browser() -> Option<PathBuf> {
    let names = ["chromium", "chromium-browser", "google-chrome", "chrome", "headless_shell"];
    let folders: Vec<_> = std::env::split_paths(&std::env::var_os("PATH")?).collect();
    folders.iter().flat_map(|folder| names.map(|name| folder.join(name))).find(|path| path.is_file())
}

#[test]
fn a_browser_shows_it_without_an_error_and_cuts_nothing_off() {
    let Some(browser) = browser() else {
        println!("skipped: there is no browser here");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("report.html");
    // The page tells, in its title, how far it is wider than the window.
    let measure = "<script>document.title='wider by '+(document.documentElement.scrollWidth-innerWidth)</script></body>";
    std::fs::write(&file, rendered(run(27, 20)).replace("</body>", measure)).unwrap();
    for width in [1_280, 500] {
        let mut command = Command::new(&browser);
        command.args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--dump-dom",
            "--virtual-time-budget=2000",
        ]);
        command
            .arg(format!("--window-size={width},1080"))
            .arg(format!("--user-data-dir={}", folder.path().display()));
        command.arg(format!("file://{}", file.display())).stdin(Stdio::null()).stderr(Stdio::null());
        let out = folder.path().join("dom");
        command.stdout(std::fs::File::create(&out).unwrap());
        let mut child = command.spawn().unwrap();
        let began = Instant::now();
        while child.try_wait().unwrap().is_none() {
            if began.elapsed() > Duration::from_secs(60) {
                child.kill().unwrap();
                child.wait().unwrap();
                println!("skipped: the browser does not end");
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let dom = std::fs::read_to_string(&out).unwrap();
        let title = dom.split("<title>").nth(1).unwrap_or_default().split('<').next().unwrap_or_default();
        let wider: i32 = title.trim_start_matches("wider by ").parse().unwrap_or(i32::MAX);
        assert!(wider <= 0, "{width}: {title}");
    }
}
