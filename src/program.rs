//! This program as its own helper: re-executed as a worker or a fixture, and the rules that keep that safe.

use std::env;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Signal, getpid, kill_process};

/// The first argument of every mode. An argument, because an environment variable would reach grandchildren.
pub(crate) const MODE: &str = "parbench";

/// What this process is, once its main has told us.
static ROLE: OnceLock<Role> = OnceLock::new();

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// The program a person started: its main calls parbench, so a re-execution will too.
    Main,
    /// A worker or a fixture.
    Helper,
}

/// Notes what this process is. The first word counts.
pub(crate) fn play(role: Role) {
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

/// Whether this program can be re-executed as a helper.
///
/// # Errors
/// In a program whose main does not call parbench, which would start itself in a circle; and in a helper,
/// where a task that starts workers, each running such a task, would be a fork bomb.
pub(crate) fn ensure_reentrant() -> Result<()> {
    match ROLE.get() {
        Some(Role::Main) => Ok(()),
        Some(Role::Helper) => bail!("a task in a worker process cannot start processes of its own"),
        None => bail!(
            "this program cannot be its own worker process: its main has to call parbench::bench::main, or \
             parbench::bench::enter first of all. Programs with a main of another maker (libtest, doc tests) \
             cannot: set `harness = false` and write one"
        ),
    }
}

/// The command that starts this program again in a mode.
pub(crate) fn reenter(mode: &str) -> Result<Command> {
    let name = env::current_exe().context("cannot find this program's own file")?;
    let mut command = if cfg!(target_os = "linux") {
        // The file may have been replaced since: this names the one that runs.
        let mut command = Command::new("/proc/self/exe");
        std::os::unix::process::CommandExt::arg0(&mut command, &name);
        command
    } else {
        Command::new(&name)
    };
    command.args([MODE, mode]);
    Ok(command)
}

/// Moves stdout to a private descriptor and puts stderr in its place, so that whatever prints never mixes
/// with results.
pub(crate) fn take_stdout() -> Result<File> {
    let results: OwnedFd = rustix::io::fcntl_dupfd_cloexec(io::stdout(), 3)?;
    rustix::stdio::dup2_stdout(rustix::stdio::stderr())?;
    Ok(File::from(results))
}

/// Ends this process when its owner's end of a socket or pipe is closed, even in the middle of a task.
///
/// An idle helper sees the end of file itself and has time to drop what it holds. This thread waits for the
/// hang-up only: data does not wake it, so it costs nothing. `PR_SET_PDEATHSIG` would fire when the *thread*
/// that started this process ends, which an owner is free to outlive.
pub(crate) fn end_with(owner: OwnedFd) -> Result<()> {
    let wait = move || {
        loop {
            let mut polled = [PollFd::new(&owner, HANG_UP)];
            let awake = poll(&mut polled, None).is_ok();
            if awake && polled[0].revents().intersects(HANG_UP | PollFlags::HUP | PollFlags::ERR) {
                thread::sleep(GRACE);
                // Nobody wants the answer. It cannot be refused, and runs nothing that may hang.
                let _ = kill_process(getpid(), Signal::KILL);
            }
        }
    };
    thread::Builder::new().name("watch".into()).spawn(wait).context("cannot start a thread")?;
    Ok(())
}

/// Gives this process a name in `ps` and `top`: forked ones look all the same otherwise.
pub(crate) fn call_itself(name: &str) {
    #[cfg(target_os = "linux")]
    if let Ok(name) = std::ffi::CString::new(name) {
        // A name is a help and no more.
        let _ = rustix::thread::set_name(&name);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = name;
}

/// Keeps this thread, and those that it starts, on some CPUs.
#[cfg(target_os = "linux")]
pub(crate) fn keep_on(cpus: &[usize]) -> Result<()> {
    let mut set = rustix::thread::CpuSet::new();
    for &cpu in cpus {
        anyhow::ensure!(cpu < rustix::thread::CpuSet::MAX_CPU, "there is no CPU {cpu}");
        set.set(cpu);
    }
    Ok(rustix::thread::sched_setaffinity(None, &set)?)
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn keep_on(_: &[usize]) -> Result<()> {
    bail!("this system does not keep processes on CPUs")
}

/// Limits the private memory of this process.
#[cfg(not(target_vendor = "apple"))]
pub(crate) fn limit_memory(bytes: u64) -> Result<()> {
    let limit = rustix::process::Rlimit { current: Some(bytes), maximum: Some(bytes) };
    Ok(rustix::process::setrlimit(rustix::process::Resource::Data, limit)?)
}

#[cfg(target_vendor = "apple")]
pub(crate) fn limit_memory(_: u64) -> Result<()> {
    bail!("this system does not limit the memory of a process")
}

/// Ends this process when the thread that is its parent ends; where the system cannot do that, at the end of its
/// socket.
pub(crate) fn die_with_parent() -> Result<()> {
    #[cfg(target_os = "linux")]
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    Ok(())
}

/// What a closed connection shows as; other systems report it without being asked.
#[cfg(target_os = "linux")]
const HANG_UP: PollFlags = PollFlags::RDHUP;
#[cfg(not(target_os = "linux"))]
const HANG_UP: PollFlags = PollFlags::empty();

/// How long a helper may take to drop what it holds.
const GRACE: Duration = Duration::from_millis(500);

/// Waits for a child that is about to end; kills it where it does not within `patience`.
pub(crate) fn reap(child: &mut Child, patience: Duration) -> Result<ExitStatus> {
    let deadline = Instant::now() + patience;
    let mut pause = Duration::from_micros(50);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if Instant::now() > deadline {
            child.kill()?;
            return Ok(child.wait()?);
        }
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(10));
    }
}

#[cfg(test)]
mod tests {
    use crate::executors::{Kind, Means};
    use crate::fixtures::folder::Folder;

    /// This test program's main is libtest's: started again it would run these tests, in a circle.
    #[test]
    fn a_program_whose_main_is_not_ours_is_refused_with_advice() {
        let start = |name: &str| Kind::find(name).unwrap().start(&Means::workers(1)).err().unwrap();
        let fixture = Folder::new().err().unwrap();
        for error in [start("processes"), start("forkserver"), fixture] {
            let error = format!("{error:#}");
            assert!(error.contains("has to call parbench::bench::main"), "{error}");
        }
    }
}
