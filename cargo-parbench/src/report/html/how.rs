//! How it was measured: machine, build and options, as pairs of a word and what it says.

use crate::analysis::Analysis;
use crate::report::format::{bytes, percent};
use crate::run_file::RunFile;

pub(super) fn measured_how(run: &RunFile, analysis: &Analysis) -> Vec<(&'static str, String)> {
    let header = run.programs.first().map(|program| &program.header);
    let known = |value: Option<String>| value.unwrap_or_else(|| "unknown".into());
    let machine = header.map(|header| &header.machine);
    let kind = if run.options.quick { "quick, differences of 20 %" } else { "full" };
    vec![
        (
            "kind",
            format!(
                "{kind}; {} launches of {} rounds, size {}",
                run.options.launches, run.options.rounds, run.options.size
            ),
        ),
        ("processor", known(machine.and_then(|machine| machine.cpu.clone()))),
        (
            "CPUs",
            machine.map_or("unknown".into(), |machine| {
                let quota = machine.cpu_quota.map_or("none".into(), |quota| format!("{quota:.2} CPUs"));
                format!(
                    "{} allowed, {} physical cores, quota {quota}",
                    machine.cpus_allowed, machine.physical_cores
                )
            }),
        ),
        (
            "memory",
            known(machine.and_then(|machine| machine.memory_bytes).map(|memory| bytes(memory as f64))),
        ),
        ("system", known(machine.and_then(|machine| machine.system.clone()))),
        (
            "allocator",
            header
                .and_then(|header| header.allocator.clone())
                .unwrap_or_else(|| "the system's own policy".into()),
        ),
        ("compiler", known(run.build.rustc.clone())),
        ("profile", run.build.profile.clone()),
        (
            "revision",
            known(run.build.revision.clone())
                + if run.build.dirty == Some(true) { ", with changes" } else { "" },
        ),
        (
            "load",
            format!(
                "{} before, {} after",
                known(run.load_before.map(|load| format!("{load:.2}"))),
                known(run.load_after.map(|load| format!("{load:.2}")))
            ),
        ),
        (
            "control",
            analysis.control.map_or("none".into(), |[middle, largest]| {
                format!("{} in the median, {} at most", percent(middle), percent(largest))
            }),
        ),
        ("seed", run.options.seed.to_string()),
        ("run", run.id.clone()),
    ]
}
