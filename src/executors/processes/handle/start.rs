//! How a worker comes to be: as a process of its own, or as a further thread of one.

use std::cell::RefCell;
use std::env;
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::rc::Rc;

use anyhow::{Context, Result};

use super::WorkerHandle;
use crate::data::packet::Packet;
use crate::data::segment;
use crate::executors::PoolOptions;
use crate::executors::processes::child::{ChildProcess, StartMethod};
use crate::executors::processes::flight::Flight;
use crate::span::now;
use crate::wire::ledger::Ledger;
use crate::wire::{Frame, FrameKind, Link, Output, Setup, socket};

impl WorkerHandle {
    /// Starts the process for a slot, without waiting until it runs.
    pub(in crate::executors::processes) fn start(
        method: StartMethod,
        options: &PoolOptions,
        slot: usize,
    ) -> Result<WorkerHandle> {
        let (ours, theirs) = pair()?;
        let without_descriptor = options.without_shared_memory;
        let into_os = |(name, value): (String, String)| (OsString::from(name), OsString::from(value));
        let mut environment: Vec<_> = options.worker_environment().into_iter().map(into_os).collect();
        let child = ChildProcess::start(method, theirs, &environment, without_descriptor)?;
        let mut directory = None;
        match method {
            StartMethod::Spawn => environment.clear(),
            StartMethod::Fork => {
                environment = env::vars_os().chain(environment).collect();
                directory = env::current_dir().ok().map(OsString::from);
            }
        }
        let threads = options.shape.threads_per_worker;
        let of_thread = |thread| options.cpus.get((slot + thread) % options.cpus.len().max(1));
        let setup = Setup {
            shares: !without_descriptor && segment::supported() && socket::passes_descriptors(),
            cpus: (0..threads).filter_map(of_thread).copied().collect(),
            memory_limit: options.memory_limit,
            output: options.output.clone(),
            environment,
            directory,
            forked: method == StartMethod::Fork,
        };
        WorkerHandle::connect(Rc::new(RefCell::new(child)), without_descriptor, ours, &setup)
    }

    /// Has the process start a further thread, with a connection of its own.
    pub(in crate::executors::processes) fn start_thread(&mut self) -> Result<WorkerHandle> {
        let (ours, theirs) = pair()?;
        self.link.queue_with(&Frame::new(FrameKind::Thread, Packet::default()), theirs);
        self.flush();
        // All else is the process's, and stays as it is.
        let setup = Setup {
            shares: self.shares(),
            cpus: Vec::new(),
            memory_limit: None,
            output: Output::Stderr,
            environment: Vec::new(),
            directory: None,
            forked: false,
        };
        WorkerHandle::connect(Rc::clone(&self.child), self.without_descriptor, ours, &setup)
    }

    /// The near end of a connection over which a worker is told how to work.
    fn connect(
        child: Rc<RefCell<ChildProcess>>,
        without_descriptor: bool,
        socket: UnixStream,
        setup: &Setup,
    ) -> Result<WorkerHandle> {
        let (ledger, descriptor) = match setup.shares {
            true => Ledger::make().map(|(ledger, descriptor)| (Some(ledger), Some(descriptor)))?,
            false => (None, None),
        };
        let frame = Frame::new(FrameKind::Setup, Packet::pack(setup)?);
        let mut link = Link::new(socket, setup.shares);
        link.set_lazy(true);
        match descriptor {
            Some(descriptor) => link.queue_with(&frame, descriptor),
            None => link.queue(&frame),
        }
        let mut worker = WorkerHandle {
            child,
            descriptor: None,
            has_pid: false,
            link,
            without_descriptor,
            greeted: false,
            opening: None,
            opened: None,
            flight: Flight::new(ledger),
            waiting_since: now(),
            usage_requested: false,
            send_failed: false,
            send_error: None,
            served: false,
        };
        worker.know_child();
        worker.flush();
        Ok(worker)
    }

    /// Notes what is known of the process: a forked one has its id only later.
    pub(super) fn know_child(&mut self) {
        let child = self.child.borrow();
        (self.descriptor, self.has_pid) = (child.descriptor(), child.has_pid());
    }
}

/// Both ends of a connection; ours does not block.
fn pair() -> Result<(UnixStream, OwnedFd)> {
    let (ours, theirs) = UnixStream::pair().context("cannot make a socket pair for a worker process")?;
    ours.set_nonblocking(true)?;
    Ok((ours, OwnedFd::from(theirs)))
}
