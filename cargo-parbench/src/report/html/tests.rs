//! Tests of the page: one file, the same each time, small, and whole in a browser.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use parbench::measure::Record;
use parbench::{Shape, TaskSpan};

use super::*;
use crate::run_file::{Judged, Options, Pitfall, Program, Scenario, Way};

/// A made-up run of so many scenarios, each with so many tasks.
fn run(scenarios: usize, tasks: u32) -> RunFile {
    run_with(scenarios, tasks, &[2])
}

/// The same with these counts of workers.
fn run_with(scenarios: usize, tasks: u32, counts: &[usize]) -> RunFile {
    let ways = [
        ("serial", Way::Serial),
        ("threads", Way::Threads),
        ("rayon", Way::Threads),
        ("processes", Way::Processes),
        ("forkserver", Way::Processes),
    ];
    let record = |executor: &str, workers: usize, round: u32, replica: u32, wall_ns: u64| {
        let mut record = Record::default();
        record.executor = executor.into();
        record.shape = Shape::from(workers);
        (record.launch, record.round, record.replica) = (u32::from(round > 0), round, replica);
        (record.tasks, record.batches, record.wall_ns) = (tasks as usize, 1, wall_ns);
        record.ready_ns = 1_000_000 * workers as u64;
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
            for (&count, replica) in counts.iter().flat_map(|count| [(count, 0), (count, 1)]) {
                let of = |name, ns: u64| record(name, count, round, replica, ns * 2 / count as u64 + jitter);
                records.push(of("threads", 10_000_000));
                records.push(of("processes", 15_000_000));
                if counts.len() > 1 {
                    records.push(of("rayon", 12_000_000));
                    records.push(of("forkserver", 16_000_000));
                }
            }
        }
        Scenario {
            name: format!("scenario_{number}<&>"),
            family: format!("family {}", number / 4),
            judged: Judged { threads: Some("threads/2".into()), processes: Some("processes/2".into()) },
            records,
            ..Scenario::default()
        }
    };
    let ways: BTreeMap<_, _> = ways.map(|(name, way)| (name.to_string(), way)).into();
    let program =
        |number| Program { family: format!("family {number}"), ways: ways.clone(), ..Program::default() };
    RunFile {
        id: "a run".into(),
        options: Options { launches: 1, rounds: 6, ..Options::default() },
        programs: (0..7).map(program).collect(),
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
    // A run that is not quick, on a machine with many CPUs.
    let bytes = rendered(run_with(27, 100, &[1, 2, 4, 8])).len();
    assert!(bytes < 400_000, "{bytes}");
    assert!(include_str!("../../../templates/table.js").len() < 4_096);
}

#[test]
fn one_switch_shows_tasks_or_workers_where_both_are_drawn() {
    let html = rendered(run(1, 100));
    // Serial, threads and processes.
    assert_eq!((html.matches("<g class=\"t\">").count(), html.matches("<g class=\"l\">").count()), (3, 3));
    assert_eq!(html.matches("type=\"radio\"").count(), 2);
    assert!(html.contains("a line for each task, or a lane for each worker"));
    let html = rendered(run(1, 201));
    assert!(!html.contains("<g class=\"t\">") && !html.contains("<g class=\"l\">"));
    let mut cold = run(1, 8);
    assert!(rendered(cold.clone()).contains(", ready in"), "outside the clock");
    cold.scenarios[0].cold = true;
    assert!(!rendered(cold).contains(", ready in"));
}

/// A run with the scenarios that tell prices: what they are called decides.
fn run_with_prices() -> RunFile {
    let mut run = run(4, 100);
    let names = ["empty_task", "worker_start", "array_transfer", "array_transfer_shared"];
    for (scenario, name) in run.scenarios.iter_mut().zip(names) {
        scenario.name = name.into();
        scenario.cold = name == "worker_start";
        for record in &mut scenario.records {
            let is_private = name == "array_transfer" && record.executor == "processes";
            record.usage.moved_bytes = Some(if is_private { 300_000_000 } else { 0 });
            record.usage.peak_bytes =
                Some(if record.executor == "processes" { 25_000_000 } else { 5_000_000 });
        }
    }
    for program in &mut run.programs {
        (program.header.machine.cpus_allowed, program.header.machine.physical_cores) = (2, 2);
    }
    run
}

#[test]
fn prices_are_in_a_table_and_in_a_figure_if_both_ways_have_them() {
    let html = rendered(run_with_prices());
    let section = html.split("<h2>Start-up and transfer costs</h2>").nth(1).unwrap();
    let section = section.split("<h2").next().unwrap();
    for words in [
        // Two workers are ready after 2 ms; processes have 20 MB more than threads.
        "<th scope=\"row\">processes<td>1.00\u{a0}ms<td>7.50\u{a0}ms<td>10.0\u{a0}MB",
        // 100 tasks in 15 ms are 150 us each, where half of 200 us is expected.
        "<td>50.0\u{a0}µs<td>20.0\u{a0}GB/s<td>20.0\u{a0}GB/s",
        "<th scope=\"row\">serial<td>-<td>-<td>-<td>-<td>15.0\u{a0}GB/s",
        "as fast as serial at 100\u{a0}µs",
        "only the prices were measured",
    ] {
        assert!(section.contains(words), "{words} is missing in {section}");
    }
    assert_eq!(section.matches("stroke-width=\"2\" stroke-dasharray").count(), 2, "{section}");
    // Without prices there is the time of the start, and no figure.
    let html = rendered(run(1, 8));
    assert!(html.contains("Start-up and transfer costs") && !html.contains("by the time of a task"));
}

#[test]
fn pitfalls_are_shown_where_they_were_run() {
    assert!(!rendered(run(1, 8)).contains("<h2>Pitfalls</h2>"));
    let mut run = run(1, 8);
    let record = serde_json::json!({
        "outcome": "lost_updates", "cure": "a <mutex>", "elapsed_ns": 12_000_000,
        "refused": "E0499", "refused_code": "let x: Vec<u8>;", "accepted_code": "let y;",
    });
    let pitfall = |name: &str, record, status: &str| Pitfall {
        name: name.into(),
        lines: vec!["One <line>.".into()],
        record,
        status: status.into(),
    };
    run.pitfalls = vec![
        pitfall("pitfall_race", Some(record), "success"),
        pitfall("pitfall_stuck", None, "killed after 60 s"),
    ];
    let analysis = Analysis::of(&run);
    let markdown = crate::report::markdown(&[(run.clone(), analysis)]);
    assert!(
        markdown.contains("- `pitfall_race`: lost updates (success); cure: a &lt;mutex>\n"),
        "{markdown}"
    );
    let html = rendered(run);
    for words in [
        "<details><summary>race <span class=\"pill holds\">lost updates, and cured</span> <span class=\"soft\">12.0\u{a0}ms",
        "One &#60;line&#62;.",
        "Cure: a &#60;mutex&#62;.",
        "(E0499)",
        "<pre>let x: Vec&#60;u8&#62;;</pre>",
        "<span class=\"pill refuted\">killed after 60 s</span>",
    ] {
        assert!(html.contains(words), "{words} is missing in {html}");
    }
}

#[test]
fn several_runs_stand_side_by_side() {
    let pair = [run(1, 4), run(1, 4)].map(|run| {
        let analysis = Analysis::of(&run);
        (run, analysis)
    });
    let html = page(&pair, &|name| Some(format!("../criterion/{name}"))).unwrap();
    assert!(html.contains("href=\"../criterion/scenario_0"), "{html}");
    // Both are of one build: their names tell them apart.
    assert!(html.contains("<th scope=\"col\" colspan=\"2\">a run</th>"), "{html}");
    assert!(html.contains("All that was measured, a run"), "{html}");
    let [first, (mut second, _)] = pair;
    second.build.revision = Some("abc".into());
    let analysis = Analysis::of(&second);
    assert!(
        page(&[first, (second, analysis)], &|_| None).unwrap().contains("colspan=\"2\">0 CPUs, abc</th>")
    );
    assert!(page(&[], &|_| None).is_err());
}

/// A browser that has no window, if one is installed.
fn browser() -> Option<PathBuf> {
    let names = ["chromium", "chromium-browser", "google-chrome", "chrome", "headless_shell"];
    let folders: Vec<_> = std::env::split_paths(&std::env::var_os("PATH")?).collect();
    folders.iter().flat_map(|folder| names.map(|name| folder.join(name))).find(|path| path.is_file())
}

/// What a page says in the end as its title, in a browser's window of that width; `None` where the browser does not end.
fn title(browser: &Path, folder: &Path, page: &str, width: u32) -> Option<String> {
    let out = folder.join("dom");
    let mut child = Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", "--virtual-time-budget=2000"])
        .arg(format!("--window-size={width},1080"))
        .arg(format!("--user-data-dir={}", folder.display()))
        .arg(format!("file://{}", folder.join(page).display()))
        .stdin(Stdio::null())
        .stdout(std::fs::File::create(&out).unwrap())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let began = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if began.elapsed() > Duration::from_secs(60) {
            child.kill().unwrap();
            child.wait().unwrap();
            println!("skipped: the browser does not end");
            return None;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let dom = std::fs::read_to_string(&out).unwrap();
    Some(dom.split("<title>").nth(1)?.split('<').next()?.to_string())
}

#[test]
fn a_browser_shows_all_rows_on_one_screen_cuts_nothing_off_and_sorts() {
    let Some(browser) = browser() else {
        println!("skipped: there is no browser here");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    // The page tells how far it is wider than the window, where its first table ends, and its first and last row once it is
    // sorted by name, downwards.
    let measure = "<script>addEventListener('load',function(){var t=document.getElementById('verdict'),\
        d=document.documentElement,e=t.getBoundingClientRect().bottom,b=t.querySelector('button');b.click();b.click();\
        var r=t.querySelectorAll('tbody tr:not([hidden]) a');\
        var s=[d.scrollWidth-innerWidth,Math.ceil(e),r[0].textContent,r[r.length-1].textContent].join(' ');\
        document.title=s;parent.postMessage(s,'*')})</script></body>";
    let page = rendered(run(27, 20)).replace("</body>", measure);
    std::fs::write(folder.path().join("page.html"), page).unwrap();
    // A window is 500 pixels wide at least; a frame may be as narrow as a phone.
    let frame = "<title></title><script>onmessage=function(e){document.title=e.data}</script>\
        <iframe src=\"page.html\" width=\"390\" height=\"800\"></iframe>";
    std::fs::write(folder.path().join("phone.html"), frame).unwrap();
    for (page, width) in [("page.html", 1_280), ("page.html", 500), ("phone.html", 500)] {
        let Some(title) = title(&browser, folder.path(), page, width) else { return };
        let told: Vec<_> = title.split(' ').collect();
        let [wider, end, first, last] = told[..] else { panic!("{page} at {width}: {title}") };
        assert!(wider.parse::<i32>().unwrap() <= 0, "{page} at {width}: {title}");
        assert!(width != 1_280 || end.parse::<i32>().unwrap() <= 1_080, "{page} at {width}: {title}");
        assert_eq!(
            (first, last),
            ("scenario_9&lt;&amp;&gt;", "scenario_0&lt;&amp;&gt;"),
            "{page} at {width}"
        );
    }
}

#[test]
fn scenarios_that_differ_in_a_number_have_a_figure_of_it() {
    let mut swept = run(3, 8);
    assert!(!rendered(swept.clone()).contains("against its parameter"));
    for (scenario, name) in swept.scenarios.iter_mut().zip(["sort/100000", "sort/1000", "words/1"]) {
        scenario.name = name.into();
    }
    let html = rendered(swept);
    // In the order of their numbers; a single one has none.
    assert_eq!(html.matches("against its parameter").count(), 1);
    assert!(
        html.contains("<desc>1000: threads/2 2.00x, 1000: processes/2 1.33x, 100000: threads/2"),
        "{html}"
    );
}
