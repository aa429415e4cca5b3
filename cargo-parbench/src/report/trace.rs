//! A run as a trace of events, as Perfetto, Speedscope and the profilers of browsers read it: each variant is a process, each
//! worker a thread, each task an event from its start to its stop.

use anyhow::Result;
use serde_json::{Value, json};

use crate::drive::variant_name;
use crate::run_file::RunFile;

/// The tasks of the batches whose spans were kept.
pub(crate) fn trace(run: &RunFile) -> Result<String> {
    let mut events: Vec<Value> = Vec::new();
    let mut process = 0;
    for scenario in &run.scenarios {
        for record in &scenario.records {
            let Some(spans) = &record.spans else { continue };
            process += 1;
            let name = format!("{} {}", scenario.name, variant_name(record, scenario.weak));
            events.push(json!({"ph": "M", "name": "process_name", "pid": process, "args": {"name": name}}));
            let mut workers: Vec<_> = spans.iter().map(|span| span.worker).collect();
            workers.sort_unstable();
            workers.dedup();
            for worker in workers {
                let name = format!("worker {worker}");
                events.push(
                    json!({"ph": "M", "name": "thread_name", "pid": process, "tid": worker, "args": {"name": name}}),
                );
            }
            for span in spans {
                let us = |ns: u64| ns.saturating_sub(span.sent) as f64 / 1e3;
                events.push(json!({
                    "ph": "X",
                    "name": format!("task {}", span.task),
                    "cat": scenario.name,
                    "pid": process,
                    "tid": span.worker,
                    "ts": us(span.started),
                    "dur": span.run_ns() as f64 / 1e3,
                    "args": {"received": us(span.received)},
                }));
            }
        }
    }
    Ok(serde_json::to_string(&json!({"displayTimeUnit": "ms", "traceEvents": events}))? + "\n")
}
