//! The command of a cell: its program, and for the ranks of an MPI job what starts those.

use std::env;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::{CellSpec, Program};
use crate::program;

/// What starts the ranks, with `{ranks}` for their number, in place of `mpirun -n {ranks}`.
const MPIRUN: &str = "PARBENCH_MPIRUN";
/// For Open MPI, 4 and 5: more ranks than CPUs, on any of them, and those that wait give way. Others do not read these.
const OPEN_MPI: [(&str, &str); 5] = [
    ("OMPI_MCA_rmaps_base_oversubscribe", "1"),
    ("OMPI_MCA_hwloc_base_binding_policy", "none"),
    ("PRTE_MCA_rmaps_default_mapping_policy", ":oversubscribe"),
    ("PRTE_MCA_hwloc_default_binding_policy", "none"),
    ("OMPI_MCA_mpi_yield_when_idle", "1"),
];

/// The command that starts a cell, up to the arguments of `cell`.
pub(super) fn command(spec: &CellSpec) -> Result<Command> {
    let mut launcher = spec.launcher.clone();
    let is_job = spec.executor == "mpi";
    if is_job && launcher.is_empty() {
        let own = env::var(MPIRUN).ok().filter(|text| !text.is_empty());
        launcher = mpirun(own, spec.shape.parallelism() + 1)?;
    }
    let mut command = match (&spec.program, &launcher[..]) {
        (Program::This, []) => {
            program::ensure_reexecutable()?;
            return program::reexecute("cell");
        }
        (_, [launcher, arguments @ ..]) => {
            let mut command = Command::new(launcher);
            command.args(arguments).arg(path(&spec.program)?);
            command
        }
        (Program::At(path), []) => Command::new(path),
    };
    if is_job {
        command.envs(OPEN_MPI);
    }
    // It is no rank of a job that this program may be a rank of.
    program::RANK_VARIABLES.iter().for_each(|name| _ = command.env_remove(name));
    command.args([program::MODE, "cell"]);
    Ok(command)
}

/// A path that means the same to another program, on whatever host.
fn path(program: &Program) -> Result<PathBuf> {
    match program {
        Program::This => env::current_exe().context("cannot find this program's own file"),
        Program::At(path) => Ok(path.clone()),
    }
}

/// The words of a launcher's command line.
fn mpirun(own: Option<String>, ranks: usize) -> Result<Vec<String>> {
    let text = own.unwrap_or_else(|| "mpirun -n {ranks}".into());
    ensure!(
        text.contains("{ranks}"),
        "{MPIRUN}=`{text}` does not say where the number of ranks goes: write {{ranks}} there, as in `mpirun -n {{ranks}}`"
    );
    Ok(text.replace("{ranks}", &ranks.to_string()).split_whitespace().map(Into::into).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_launcher_is_told_the_number_of_ranks() {
        assert_eq!(mpirun(None, 3).unwrap(), ["mpirun", "-n", "3"]);
        let own = Some("srun  -n {ranks} --mpi=pmix".into());
        assert_eq!(mpirun(own, 9).unwrap(), ["srun", "-n", "9", "--mpi=pmix"]);
        let error = mpirun(Some("mpirun -n 4".into()), 3).unwrap_err().to_string();
        assert!(error.contains("PARBENCH_MPIRUN=`mpirun -n 4`") && error.contains("{ranks}"), "{error}");
    }

    #[test]
    fn the_ranks_of_a_job_are_started_by_it_and_a_cell_by_itself() {
        let spec = |executor| CellSpec::new(Program::At("/programs/words".into()), "words", executor, 2);
        let words = |spec: &CellSpec| {
            let command = command(spec).unwrap();
            let words = std::iter::once(command.get_program()).chain(command.get_args());
            words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(words(&spec("threads")), "/programs/words parbench cell");
        assert!(words(&spec("mpi")).ends_with("/programs/words parbench cell"));
        let mut counted = spec("threads");
        counted.launcher = vec!["valgrind".into(), "--tool=callgrind".into()];
        assert_eq!(words(&counted), "valgrind --tool=callgrind /programs/words parbench cell");
    }
}
