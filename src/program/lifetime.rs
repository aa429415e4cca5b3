//! When helper processes end: with their owner, or when they are told to.

use std::os::fd::OwnedFd;
use std::process::{Child, ExitStatus};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{
    Pid, Signal, getpgid, getpgrp, getpid, getppid, kill_process, kill_process_group, setpgid,
};

/// Ends this process when its owner closes its end of a socket or pipe, even in the middle of a task.
///
/// An idle helper sees the end of file itself and has time to drop what it holds. This thread waits for the hang-up
/// only: data does not wake it, so it costs nothing. `PR_SET_PDEATHSIG` would fire when the *thread* ends that started
/// this process, and an owner may live longer than its thread.
pub(crate) fn exit_with_owner(owner: OwnedFd) -> Result<()> {
    let wait = move || {
        loop {
            let mut polled = [PollFd::new(&owner, HANG_UP)];
            let awake = poll(&mut polled, None).is_ok();
            if awake && polled[0].revents().intersects(HANG_UP | PollFlags::HUP | PollFlags::ERR) {
                thread::sleep(GRACE_PERIOD);
                // Nobody waits for the answer. This signal cannot be blocked, and runs nothing that may hang.
                // What tasks have started goes with it.
                match getpgrp() == getpid() {
                    true => _ = kill_process_group(getpid(), Signal::KILL),
                    false => _ = kill_process(getpid(), Signal::KILL),
                }
            }
        }
    };
    thread::Builder::new().name("watch".into()).spawn(wait).context("cannot start a thread")?;
    Ok(())
}

/// In a container, where this is the first process, the system would ignore INT and TERM, which have no handler: they are to
/// end it there too.
pub(crate) fn end_on_signals_as_first_process() {
    extern "C" fn end(signal: libc::c_int) {
        // SAFETY: this call is allowed in a signal handler, and does not return.
        unsafe { libc::_exit(128 + signal) }
    }
    if getpid().is_init() {
        for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
            // SAFETY: the handler does nothing but end the process.
            unsafe { libc::signal(signal, end as extern "C" fn(libc::c_int) as libc::sighandler_t) };
        }
    }
}

/// The process group of whoever started this process.
static OUTER_GROUP: OnceLock<Pid> = OnceLock::new();

/// Puts this process into a group of its own, unless it has one: what its tasks start stays in the group.
pub(crate) fn own_group() {
    if let Ok(outer) = getpgid(getppid()) {
        let _ = OUTER_GROUP.set(outer);
    }
    if getpgrp() != getpid() {
        // A system that refuses it has nothing to end later.
        let _ = setpgid(None, None);
    }
}

/// Ends what tasks have left running in the group of this process, which is about to end itself.
pub(crate) fn end_group() {
    let own = getpid();
    if getpgrp() != own {
        return;
    }
    // From outside of the group: this process is to end in its own way. If there is no outer group any more, nobody looks
    // at how it ends.
    let _ = setpgid(None, OUTER_GROUP.get().copied());
    let _ = kill_process_group(own, Signal::KILL);
}

/// The event of a closed connection; other systems report it without being asked.
#[cfg(target_os = "linux")]
const HANG_UP: PollFlags = PollFlags::RDHUP;
#[cfg(not(target_os = "linux"))]
const HANG_UP: PollFlags = PollFlags::empty();

/// How long a helper may take to drop what it holds.
const GRACE_PERIOD: Duration = Duration::from_millis(500);

/// Waits for a child that is about to end, and kills it if it does not within `timeout`.
pub(crate) fn wait_or_kill(child: &mut Child, timeout: Duration) -> Result<ExitStatus> {
    let deadline = Instant::now() + timeout;
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

/// Whether this process ends when the thread that started it ends; a system that cannot do that leaves it to the end of
/// the socket.
pub(crate) fn die_with_parent(dies: bool) -> Result<()> {
    #[cfg(target_os = "linux")]
    rustix::process::set_parent_process_death_signal(dies.then_some(Signal::KILL))
        .context("cannot ask for the signal that ends a worker with its pool (prctl)")?;
    #[cfg(not(target_os = "linux"))]
    let _ = dies;
    Ok(())
}
