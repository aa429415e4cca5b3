//! A run as CSV: a tidy row for each variant and round, for whoever makes figures of their own.

use std::fmt::Write;

use anyhow::Result;

use crate::run_file::RunFile;

/// The columns; times in ns, `batches` batches together, empty where the system does not tell.
const COLUMNS: &str = "scenario,family,executor,shape,tasks,launch,round,pass,replica,position,batches,wall_ns,ready_ns,user_ns,\
    system_ns,run_queue_wait_ns,peak_bytes,voluntary_switches,involuntary_switches,minor_faults,major_faults,moved_bytes,\
    packing_ns,others_busy_ns,steal_ns,throttled_ns,task_p50_ns,task_p99_ns,wait_p50_ns,wait_p99_ns,error";

/// The records of a run.
pub(crate) fn csv(run: &RunFile) -> Result<String> {
    let mut text = COLUMNS.to_string() + "\n";
    for scenario in &run.scenarios {
        for record in &scenario.records {
            let usage = &record.usage;
            let numbers = [
                usage.user_ns,
                usage.system_ns,
                usage.run_queue_wait_ns,
                usage.peak_bytes,
                usage.voluntary_switches,
                usage.involuntary_switches,
                usage.minor_faults,
                usage.major_faults,
                usage.moved_bytes,
                usage.packing_ns,
            ];
            let later = [
                record.steal_ns,
                record.throttled_ns,
                record.task_p50_ns,
                record.task_p99_ns,
                record.wait_p50_ns,
                record.wait_p99_ns,
            ];
            write!(
                text,
                "{},{},{},{},{},{},{},{},{},{},{},{},{}",
                quoted(&scenario.name),
                quoted(&scenario.family),
                quoted(&record.executor),
                record.shape,
                record.tasks,
                record.launch,
                record.round,
                record.pass,
                record.replica,
                record.position,
                record.batches,
                record.wall_ns,
                record.ready_ns
            )?;
            let shown = |number: Option<u64>| number.map_or(String::new(), |number| number.to_string());
            numbers.iter().try_for_each(|number| write!(text, ",{}", shown(*number)))?;
            write!(text, ",{}", record.others_busy_ns.map_or(String::new(), |number| number.to_string()))?;
            later.iter().try_for_each(|number| write!(text, ",{}", shown(*number)))?;
            writeln!(text, ",{}", quoted(record.error.as_deref().unwrap_or_default()))?;
        }
    }
    Ok(text)
}

/// A field, in quotes where it needs them.
fn quoted(field: &str) -> String {
    match field.contains(['"', ',', '\n', '\r']) {
        true => format!("\"{}\"", field.replace('"', "\"\"")),
        false => field.into(),
    }
}
