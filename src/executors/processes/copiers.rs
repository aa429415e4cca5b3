//! Threads that copy private arrays into shared memory, as many as there are workers, so that large inputs are copied at
//! the same time.

use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result};
use crossbeam::channel::{Receiver, Sender, unbounded};

use crate::data::packet::Packet;
use crate::span::now;

/// A task's input on its way to a worker.
pub(super) struct PendingInput {
    pub(super) slot: usize,
    pub(super) task: usize,
    pub(super) input: Packet,
    /// How long copying took, ns.
    pub(super) copying_ns: u64,
}

pub(super) struct Copiers {
    to_copy: Option<Sender<PendingInput>>,
    copied: Receiver<PendingInput>,
    /// Readable when an input was copied.
    wakeups: UnixStream,
    threads: Vec<JoinHandle<()>>,
}

impl Copiers {
    pub(super) fn start(threads: usize) -> Result<Copiers> {
        let (to_copy, inputs) = unbounded::<PendingInput>();
        let (done, copied) = unbounded();
        let (wakeups, waker) = UnixStream::pair().context("cannot make a socket pair for copying threads")?;
        wakeups.set_nonblocking(true)?;
        let mut copiers = Copiers { to_copy: Some(to_copy), copied, wakeups, threads: Vec::new() };
        for number in 0..threads {
            let (inputs, done, mut waker) = (inputs.clone(), done.clone(), waker.try_clone()?);
            let copy = move || {
                for pending in inputs {
                    let began = now();
                    let input = pending.input.into_shared();
                    let copied = PendingInput { input, copying_ns: now() - began, ..pending };
                    // Both fail only once the pool has dropped the other ends.
                    if done.send(copied).is_err() || waker.write_all(b"!").is_err() {
                        break;
                    }
                }
            };
            let started = thread::Builder::new().name(format!("copier {number}")).spawn(copy);
            copiers.threads.push(started.context("cannot start a copying thread")?);
        }
        Ok(copiers)
    }

    pub(super) fn copy(&self, input: PendingInput) {
        let to_copy = self.to_copy.as_ref().expect("it is dropped with the threads only");
        to_copy.send(input).expect("the threads live as long as this");
    }

    /// The inputs that have been copied since the last call.
    pub(super) fn copied(&mut self) -> Vec<PendingInput> {
        let _ = self.wakeups.read(&mut [0; 64]);
        self.copied.try_iter().collect()
    }
}

impl AsFd for Copiers {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wakeups.as_fd()
    }
}

impl Drop for Copiers {
    fn drop(&mut self) {
        self.to_copy = None;
        for thread in self.threads.drain(..) {
            // Copying does not panic.
            let _ = thread.join();
        }
    }
}
