//! `cargo parbench list`: what there is to measure.

use anyhow::{Result, bail};
use clap::Args;

use super::print;
use crate::programs::{Cargo, Program};

#[derive(Args)]
pub(crate) struct List {
    #[command(flatten)]
    cargo: Cargo,
    /// JSON lines in place of a table
    #[arg(long)]
    json: bool,
}

impl List {
    pub(crate) fn run(&self) -> Result<()> {
        let programs = self.cargo.programs()?;
        if programs.is_empty() {
            bail!(
                "no bench program here has parbench's main; the README shows one in 20 lines \
                 (`fn main() {{ parbench::bench::main(..) }}`, `harness = false`)"
            );
        }
        let text = if self.json { json(&programs)? } else { table(&programs) };
        print(&text)
    }
}

/// A line for each scenario: its family, its name and its worker counts.
fn table(programs: &[Program]) -> String {
    let rows: Vec<_> = programs
        .iter()
        .flat_map(|program| program.scenarios.iter().map(move |scenario| (&program.bench, scenario)))
        .collect();
    let width = |cell: fn(&str) -> usize| move |longest: usize, text: &str| longest.max(cell(text));
    let family = rows.iter().map(|(bench, _)| bench.as_str()).fold(0, width(str::len));
    let name = rows.iter().map(|(_, scenario)| scenario.name.as_str()).fold(0, width(str::len));
    let line = |bench: &str, scenario: &parbench::bench::Listed| {
        let counts: Vec<_> = scenario.workers.iter().map(ToString::to_string).collect();
        let nested =
            if scenario.nested { "   not on rayon: its tasks have threads of their own" } else { "" };
        format!("{bench:family$}  {:name$}  workers {}{nested}\n", scenario.name, counts.join(" "))
    };
    rows.into_iter().map(|(bench, scenario)| line(bench, scenario)).collect()
}

/// The same, a JSON object a line.
fn json(programs: &[Program]) -> Result<String> {
    let mut lines = String::new();
    for program in programs {
        for scenario in &program.scenarios {
            let mut object = serde_json::to_value(scenario)?;
            object["family"] = program.bench.clone().into();
            lines += &format!("{object}\n");
        }
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use parbench::bench::Listed;

    use super::*;

    fn programs() -> Vec<Program> {
        let scenario = |json: &str| serde_json::from_str::<Listed>(json).unwrap();
        let outer = scenario(r#"{"name":"cpu_loop","workers":[1,2],"nested":false}"#);
        let inner = scenario(r#"{"name":"inner","workers":[1,2],"nested":true}"#);
        vec![
            Program { bench: "compute".into(), scenarios: vec![outer], ..Program::default() },
            Program { bench: "m".into(), scenarios: vec![inner], ..Program::default() },
        ]
    }

    #[test]
    fn a_table_has_a_line_for_each_scenario() {
        let expected = "compute  cpu_loop  workers 1 2\n\
                        m        inner     workers 1 2   not on rayon: its tasks have threads of their own\n";
        assert_eq!(table(&programs()), expected);
    }

    #[test]
    fn json_has_an_object_for_each_scenario() {
        let expected = "{\"amount\":null,\"cold\":false,\"family\":\"compute\",\"has_check\":false,\"name\":\"cpu_loop\",\"nested\":false,\"waits\":false,\"weak\":false,\
                        \"workers\":[1,2],\"workload\":\"\"}\n\
                        {\"amount\":null,\"cold\":false,\"family\":\"m\",\"has_check\":false,\"name\":\"inner\",\"nested\":true,\"waits\":false,\"weak\":false,\
                        \"workers\":[1,2],\"workload\":\"\"}\n";
        assert_eq!(json(&programs()).unwrap(), expected);
    }
}
