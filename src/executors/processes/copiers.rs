//! Threads that copy private arrays into shared memory, as many as there are workers, so that large inputs do not
//! wait for each other.

use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result};
use crossbeam::channel::{Receiver, Sender, unbounded};

use crate::message::Packet;

/// An input on its way to a worker: for which place, and of which task.
pub(super) struct Load {
    pub(super) place: usize,
    pub(super) task: usize,
    pub(super) input: Packet,
}

pub(super) struct Copiers {
    loads: Option<Sender<Load>>,
    copied: Receiver<Load>,
    /// Readable when something was copied.
    bell: UnixStream,
    threads: Vec<JoinHandle<()>>,
}

impl Copiers {
    pub(super) fn start(threads: usize) -> Result<Copiers> {
        let (loads, to_copy) = unbounded::<Load>();
        let (done, copied) = unbounded();
        let (bell, rope) = UnixStream::pair().context("cannot make a socket pair for copying threads")?;
        bell.set_nonblocking(true)?;
        let mut copiers = Copiers { loads: Some(loads), copied, bell, threads: Vec::new() };
        for number in 0..threads {
            let (to_copy, done, mut rope) = (to_copy.clone(), done.clone(), rope.try_clone()?);
            let copy = move || {
                for load in to_copy {
                    let load = Load { input: load.input.into_shared(), ..load };
                    // Whoever waits for it holds the other ends.
                    if done.send(load).is_err() || rope.write_all(b"!").is_err() {
                        break;
                    }
                }
            };
            let started = thread::Builder::new().name(format!("copier {number}")).spawn(copy);
            copiers.threads.push(started.context("cannot start a copying thread")?);
        }
        Ok(copiers)
    }

    pub(super) fn copy(&self, load: Load) {
        let loads = self.loads.as_ref().expect("it is dropped with the threads only");
        loads.send(load).expect("the threads live as long as we do");
    }

    /// What has been copied since the last call.
    pub(super) fn copied(&mut self) -> Vec<Load> {
        let _ = self.bell.read(&mut [0; 64]);
        self.copied.try_iter().collect()
    }
}

impl AsFd for Copiers {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}

impl Drop for Copiers {
    fn drop(&mut self) {
        self.loads = None;
        for thread in self.threads.drain(..) {
            // Copying does not panic.
            let _ = thread.join();
        }
    }
}
