//! This program as its own helper: re-executed as a worker, a fork server or a fixture, and the rules that keep that
//! safe.

pub(crate) mod allocator;
pub(crate) mod cgroup;
pub(crate) mod lifetime;
pub(crate) mod limits;

use std::env;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::panic;
use std::process::{self, Command};
use std::sync::OnceLock;

use anyhow::{Context, Result, bail};

/// The first argument of every mode. An argument, because an environment variable would reach grandchildren.
pub(crate) const MODE: &str = "parbench";

/// What this process is, once its main has called parbench.
static ROLE: OnceLock<Role> = OnceLock::new();

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// The program that a person started: its main calls parbench, so a re-execution will too.
    Main,
    /// A worker, the fork server or a fixture.
    Helper,
}

/// Sets what this process is. Only the first call counts.
pub(crate) fn set_role(role: Role) {
    let _ = ROLE.set(role);
}

/// The mode that this process was started in, and its arguments.
pub(crate) fn mode() -> Option<(String, Vec<String>)> {
    let mut arguments = env::args_os().skip(1).map(OsString::into_string).map_while(Result::ok);
    (arguments.next()? == MODE).then_some(())?;
    let mode = arguments.next().unwrap_or_default();
    // Cargo adds `--bench` to the arguments of every bench program.
    Some((mode, arguments.filter(|argument| argument != "--bench").collect()))
}

/// Checks that this program can be re-executed as a helper.
///
/// # Errors
/// In a program whose main does not call parbench: its helper would be that main again, without end. In a helper: a
/// task that starts workers, each of which runs such a task, would be a fork bomb.
pub(crate) fn ensure_reexecutable() -> Result<()> {
    match ROLE.get() {
        Some(Role::Main) => Ok(()),
        Some(Role::Helper) => bail!("a task in a worker process cannot start processes of its own"),
        None => bail!(
            "this program cannot be its own worker process: its main has to call parbench::bench::main, or \
             parbench::bench::enter first of all. A program with another main (libtest, a doc test) cannot: set \
             `harness = false` and write one"
        ),
    }
}

/// The variables in which launchers of MPI tell a process its rank: Open MPI, MPICH and others, and `srun --mpi=pmix`. What a rank
/// starts is none.
pub(crate) const RANK_VARIABLES: [&str; 3] = ["OMPI_COMM_WORLD_RANK", "PMI_RANK", "PMIX_RANK"];

/// The command that starts this program again in a mode.
pub(crate) fn reexecute(mode: &str) -> Result<Command> {
    let name = env::current_exe().context("cannot find this program's own file")?;
    // Under valgrind, the program that runs is valgrind's own.
    let is_emulated =
        env::var_os("LD_PRELOAD").is_some_and(|list| list.to_string_lossy().contains("vgpreload"));
    let mut command = if cfg!(target_os = "linux") && !is_emulated {
        // The file may have been replaced since: this names the one that runs.
        let mut command = Command::new("/proc/self/exe");
        std::os::unix::process::CommandExt::arg0(&mut command, &name);
        command
    } else {
        Command::new(&name)
    };
    command.args([MODE, mode]);
    RANK_VARIABLES.iter().for_each(|name| _ = command.env_remove(name));
    Ok(command)
}

/// Prints a line for a person, in one write: those of several processes do not mix.
pub(crate) fn say(line: &str) {
    // Without a stderr there is nobody to tell.
    let _ = io::stderr().write_all(format!("{line}\n").as_bytes());
}

/// Moves stdin to a private descriptor and puts /dev/null in its place, so that no task reads what is meant for this
/// process, and no child inherits it.
pub(crate) fn take_stdin() -> Result<File> {
    let commands: OwnedFd = rustix::io::fcntl_dupfd_cloexec(io::stdin(), 3)?;
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    Ok(File::from(commands))
}

/// Where results are written to. If its reader has gone, as in `| head -1`, it has seen enough: the program ends.
pub(crate) struct Results(File);

impl Results {
    fn end_if_gone<T>(result: io::Result<T>) -> io::Result<T> {
        match result {
            // Workers and fixtures end when their owner does.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => process::exit(0),
            result => result,
        }
    }
}

impl Write for Results {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Results::end_if_gone(self.0.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Results::end_if_gone(self.0.flush())
    }
}

/// For a program that prints with `println!`, which panics if that fails: a reader that has gone ends the program, any other
/// failure is an error.
pub(crate) fn end_with_stdout() {
    let outer = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let payload = info.payload();
        let message = payload.downcast_ref::<String>().map(String::as_str).unwrap_or_default();
        match message.strip_prefix("failed printing to stdout: ") {
            Some(error) if error.contains("Broken pipe") => process::exit(0),
            Some(error) => {
                eprintln!("error: cannot write the results: {error}");
                process::exit(2)
            }
            None => outer(info),
        }
    }));
}

/// Moves stdout to a private descriptor and puts stderr in its place, so that nothing else that is printed mixes with
/// results.
pub(crate) fn take_stdout() -> Result<Results> {
    let results: OwnedFd = rustix::io::fcntl_dupfd_cloexec(io::stdout(), 3)?;
    rustix::stdio::dup2_stdout(rustix::stdio::stderr())?;
    Ok(Results(File::from(results)))
}
