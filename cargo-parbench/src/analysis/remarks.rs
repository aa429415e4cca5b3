//! What is said of a row besides its verdict: the rate at which it works, and whether its answers are checked.

use parbench::Amount;

use super::Row;
use crate::report::format::{bytes, count};
use crate::run_file::Scenario;

pub(super) fn remarks(scenario: &Scenario, row: &Row) -> Vec<String> {
    let mut remarks = Vec::new();
    if let Some(amount) = scenario.amount {
        let judged =
            [row.serial, row.threads, row.processes].into_iter().flatten().map(|at| &row.variants[at]);
        let rate = |tasks: usize, ns: f64, of_task: u64| of_task as f64 * tasks as f64 / (ns / 1e9);
        let rates = judged.filter(|measured| measured.time_ns > 0.0).map(|measured| {
            let (tasks, ns) = (measured.tasks, measured.time_ns);
            let rate = match amount {
                Amount::Bytes(of_task) => bytes(rate(tasks, ns, of_task)) + "/s",
                Amount::Elements(of_task) => format!("{} elements/s", count(rate(tasks, ns, of_task))),
            };
            format!("{rate} on {}", measured.name)
        });
        remarks.push(rates.collect::<Vec<_>>().join(", "));
    }
    if scenario.is_compared {
        remarks.push("its answers are only compared with each other: nothing says which is right".into());
    }
    remarks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::Measured;

    #[test]
    fn a_rate_is_what_all_tasks_work_on_in_the_time_of_a_batch() {
        let measured = Measured { name: "threads/2".into(), tasks: 8, time_ns: 4e6, ..Measured::default() };
        let row = Row { variants: vec![measured], threads: Some(0), ..Row::default() };
        let of = |amount| Scenario { amount: Some(amount), ..Scenario::default() };
        assert_eq!(remarks(&of(Amount::Bytes(500_000)), &row), ["1.00\u{a0}GB/s on threads/2"]);
        assert_eq!(remarks(&of(Amount::Elements(1_000)), &row), ["2.00 M elements/s on threads/2"]);
        assert_eq!(remarks(&Scenario { is_compared: true, ..Scenario::default() }, &row).len(), 1);
        assert!(remarks(&Scenario::default(), &row).is_empty());
    }
}
