//! The ranks of an MPI job, on one host or on many: rank 0 hands each of the others its next task.

use std::collections::VecDeque;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail, ensure};

use super::{
    Entry, Executor, ExecutorKind, Isolation, Outcome, PoolOptions, Shapes, Suitability,
    ensure_enough_states, time_batch,
};
use crate::data::packet::Packet;
use crate::job::{Cause, Job};
use crate::span::{Stamps, TaskSpan, now};
use crate::usage::Usage;
use crate::wire::mpi::{World, rank, with_world};
use crate::wire::{Frame, FrameKind, RankHello, VERSION};
use crate::workload;

pub(super) const KIND: ExecutorKind = ExecutorKind {
    name: "mpi",
    about: "ranks of an MPI job, on one host or on many",
    isolation: Isolation::Process,
    shapes: Shapes::Workers,
    suits: |_| Suitability::OnRequest,
    start: |options| Ok(Box::new(Mpi::start(options)?)),
};

/// What is sent to a rank that still runs a task has at most this many bytes: the library buffers it. Sending more would wait
/// for a rank that may wait with an answer for this one.
const MAX_AHEAD: usize = 2 << 10;
/// How often a clock of another host is asked: the quickest answer tells the most.
const PINGS: usize = 8;

struct Mpi {
    ranks: Vec<Rank>,
    moved_bytes: u64,
    packing_ns: u64,
}

/// A rank that runs tasks.
struct Rank {
    number: usize,
    host: String,
    /// How far its clock is ahead of this one, ns; 0 on the same host.
    ahead_ns: i64,
    is_elsewhere: bool,
    opened: Option<String>,
    /// The tasks that it has and has not answered, in their order.
    sent: VecDeque<usize>,
}

impl Mpi {
    fn start(options: &PoolOptions) -> Result<Mpi> {
        let workers = options.shape().workers;
        let wanted = workers + 1;
        ensure!(
            rank() == Some(0),
            "it needs {wanted} ranks of MPI, and no launcher has started this program: `mpirun -n {wanted} PROGRAM …`, or \
             `parbench rounds`, which starts one"
        );
        with_world(|world| {
            let ranks = world.ranks();
            ensure!(
                ranks >= wanted,
                "it needs {wanted} ranks, one to hand out tasks and {workers} to run them; there are {ranks}"
            );
            let ranks = (1..=workers).map(|number| Rank::greet(world, number)).collect::<Result<_>>()?;
            Ok(Mpi { ranks, moved_bytes: 0, packing_ns: 0 })
        })
    }

    /// Sends a rank its next task, unless it has enough; returns whether there was one.
    fn send_next(
        &mut self,
        world: &World,
        job: &dyn Job,
        at: usize,
        waiting: &mut VecDeque<(usize, Packet)>,
        next: &mut usize,
        entries: &mut Vec<Entry>,
    ) -> Result<()> {
        loop {
            let has = self.ranks[at].sent.len();
            if has > 1 {
                return Ok(());
            }
            let (task, input) = match waiting.pop_front() {
                Some(packed) => packed,
                None if *next == job.tasks() => return Ok(()),
                None => {
                    let (task, began) = (*next, now());
                    *next += 1;
                    let packed = job.pack(task);
                    self.packing_ns += now() - began;
                    match packed {
                        Ok(input) => (task, input),
                        Err(cause) => {
                            entries.push((task, Err(cause)));
                            continue;
                        }
                    }
                }
            };
            // Towards the end of the batch, a task may find another rank idle.
            let left = job.tasks() - *next + waiting.len();
            if has == 1 && (input.moved_bytes(false) > MAX_AHEAD || left < self.ranks.len()) {
                waiting.push_front((task, input));
                return Ok(());
            }
            self.moved_bytes += input.moved_bytes(false) as u64;
            let rank = &mut self.ranks[at];
            world.send(rank.number, &Frame { id: task as u32, ..Frame::new(FrameKind::Call, input) })?;
            rank.sent.push_back(task);
        }
    }

    fn run(&mut self, world: &World, job: &dyn Job, began: u64) -> Result<Vec<Entry>> {
        let (mut entries, mut waiting, mut next) = (Vec::new(), VecDeque::new(), 0);
        for at in 0..self.ranks.len() {
            self.send_next(world, job, at, &mut waiting, &mut next, &mut entries)?;
        }
        while self.ranks.iter().any(|rank| !rank.sent.is_empty()) {
            let number = world.wait(None).context("nothing came")?;
            let Frame { kind, id, stamps, packet } = world.receive(number)?;
            let arrived = now();
            let at = self.ranks.iter().position(|rank| rank.number == number);
            let at = at.with_context(|| format!("rank {number} answered, which has no task"))?;
            let task = self.ranks[at].sent.pop_front().filter(|task| *task as u32 == id);
            let task = task.with_context(|| format!("rank {number} answered task {id} out of turn"))?;
            let stamps = self.ranks[at].here(stamps);
            let answer = match kind {
                FrameKind::Done => job.accept(task, packet).map(|()| {
                    let received = now();
                    self.packing_ns += received - arrived;
                    TaskSpan::far(task, at, began, stamps, received)
                }),
                FrameKind::Failed => Err(packet.unpack()?),
                _ => bail!("rank {number} sent {kind:?} where that makes no sense"),
            };
            entries.push((task, answer));
            self.send_next(world, job, at, &mut waiting, &mut next, &mut entries)?;
        }
        Ok(entries)
    }
}

impl Rank {
    /// Receives what a rank says first. It has said it already if this is not the first executor of the program.
    fn greet(world: &World, number: usize) -> Result<Rank> {
        let RankHello { version, host, boot } = world.hello(number)?;
        ensure!(
            version == VERSION,
            "rank {number} on {host} runs version {version}, this program {VERSION}: is the same program on every host?"
        );
        let is_elsewhere = boot.is_empty() || boot != RankHello::here().boot;
        Ok(Rank { number, host, ahead_ns: 0, is_elsewhere, opened: None, sent: VecDeque::new() })
    }

    /// Opens a scenario; on another host, compares the clocks as well.
    fn open(&mut self, world: &World, scenario: &str) -> Result<()> {
        if self.opened.as_deref() == Some(scenario) {
            return Ok(());
        }
        let mut quickest = u64::MAX;
        for _ in 0..if self.is_elsewhere { PINGS } else { 1 } {
            let packet = Packet::pack(&(scenario.to_string(), workload::size().to_string()))?;
            let sent = now();
            world.send(self.number, &Frame::new(FrameKind::Open, packet))?;
            let Frame { kind, stamps: Stamps { started, stopped }, packet, .. } =
                world.receive(self.number)?;
            let received = now();
            match kind {
                FrameKind::Ready => {}
                FrameKind::Failed => {
                    let cause: Cause = packet.unpack()?;
                    return Err(
                        anyhow!("{cause}").context(format!("rank {} cannot open `{scenario}`", self.number))
                    );
                }
                _ => bail!("rank {} sent {kind:?} where that makes no sense", self.number),
            }
            // What is left is the way there and back; half of it each is the best guess.
            let way = (received - sent).saturating_sub(stopped - started);
            if self.is_elsewhere && way < quickest {
                quickest = way;
                self.ahead_ns = (started as i64 - sent as i64 + stopped as i64 - received as i64) / 2;
            }
        }
        self.opened = Some(scenario.into());
        Ok(())
    }

    /// Stamps of its clock in this one's time.
    fn here(&self, Stamps { started, stopped }: Stamps) -> Stamps {
        let here = |time: u64| time.saturating_add_signed(-self.ahead_ns);
        Stamps { started: here(started), stopped: here(stopped) }
    }
}

impl Executor for Mpi {
    fn prepare(&mut self, job: &Arc<dyn Job>) -> Result<()> {
        ensure!(u32::try_from(job.tasks()).is_ok(), "{} tasks are too many for one batch", job.tasks());
        ensure_enough_states(&**job, self.ranks.len())?;
        job.check_inputs().map_err(|cause| anyhow!("{}: {cause}", job.scenario()))?;
        job.clear();
        with_world(|world| self.ranks.iter_mut().try_for_each(|rank| rank.open(world, job.scenario())))
    }

    fn execute(&mut self, job: &Arc<dyn Job>) -> Result<Outcome> {
        self.prepare(job)?;
        Ok(time_batch(&**job, |began| {
            let ran = with_world(|world| {
                // The library ends the job if a rank is lost; anything else that fails leaves ranks in an unknown state.
                Ok(self.run(world, &**job, began).unwrap_or_else(|error| {
                    eprintln!("error: {error:#}");
                    world.abort()
                }))
            });
            ran.unwrap_or_default()
        }))
    }

    fn worker_usage(&mut self) -> Usage {
        let own =
            Usage { moved_bytes: Some(self.moved_bytes), packing_ns: Some(self.packing_ns), ..Usage::ZERO };
        let measured = with_world(|world| {
            let mut sum = own;
            for rank in &self.ranks {
                world.send(rank.number, &Frame::new(FrameKind::Measure, Packet::default()))?;
            }
            for rank in &self.ranks {
                sum = sum + world.receive(rank.number)?.packet.unpack::<Usage>()?;
            }
            Ok(sum)
        });
        measured.unwrap_or_default()
    }

    fn hosts(&self) -> Vec<String> {
        self.ranks.iter().map(|rank| rank.host.clone()).collect()
    }
}
