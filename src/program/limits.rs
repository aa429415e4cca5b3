//! What the system lets a process do: CPUs, memory, and its name in a list of processes.

use anyhow::Result;
#[cfg(any(not(target_os = "linux"), target_vendor = "apple"))]
use anyhow::bail;

/// Gives this process a name in `ps` and `top`: otherwise all forked processes look the same.
pub(crate) fn set_process_name(name: &str) {
    #[cfg(target_os = "linux")]
    if let Ok(name) = std::ffi::CString::new(name) {
        // Nothing depends on the name.
        let _ = rustix::thread::set_name(&name);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = name;
}

/// The stack of a thread that runs tasks, bytes: as large as that of a process's first thread, which runs them serially and
/// in worker processes; or what `RUST_MIN_STACK` says.
pub(crate) fn stack_bytes() -> usize {
    let wanted = std::env::var("RUST_MIN_STACK").ok().and_then(|bytes| bytes.parse().ok());
    wanted.unwrap_or(8 << 20)
}

/// Restricts this thread, and those that it starts, to some CPUs.
#[cfg(target_os = "linux")]
pub(crate) fn pin_to_cpus(cpus: &[usize]) -> Result<()> {
    let mut set = rustix::thread::CpuSet::new();
    for &cpu in cpus {
        anyhow::ensure!(cpu < rustix::thread::CpuSet::MAX_CPU, "there is no CPU {cpu}");
        set.set(cpu);
    }
    Ok(rustix::thread::sched_setaffinity(None, &set)?)
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn pin_to_cpus(_: &[usize]) -> Result<()> {
    bail!("this system cannot pin a process to CPUs")
}

/// Has what exceeds the limit of file sizes fail with an error: by default the system ends the process without a word.
pub(crate) fn survive_file_limit() {
    // SAFETY: no handler is installed; the signal is ignored.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
}

/// Raises the limit of open descriptors as far as the system allows: it is often 1,024, and one worker process takes three.
pub(crate) fn raise_descriptor_limit() {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let raised = rustix::process::Rlimit { current: limit.maximum, ..limit };
    // If it cannot be raised, what needs more descriptors says so.
    let _ = rustix::process::setrlimit(rustix::process::Resource::Nofile, raised);
}

/// Limits the private memory of this process.
#[cfg(not(target_vendor = "apple"))]
pub(crate) fn limit_memory(bytes: u64) -> Result<()> {
    let limit = rustix::process::Rlimit { current: Some(bytes), maximum: Some(bytes) };
    Ok(rustix::process::setrlimit(rustix::process::Resource::Data, limit)?)
}

#[cfg(target_vendor = "apple")]
pub(crate) fn limit_memory(_: u64) -> Result<()> {
    bail!("this system cannot limit the memory of a process")
}
