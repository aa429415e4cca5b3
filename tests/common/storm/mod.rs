//! A storm: somebody kills workers at random while pools work. No answer may be lost, doubled or wrong, every failure
//! must have its cause, and nothing may be left of it.

mod batches;
mod counted;
mod killer;
mod resources;
mod summary;

use std::process;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use parbench::executors::ExecutorKind;
use parbench::{Executor, Job};

use self::batches::{KINDS, Kind, Random, Settings, job};
use self::counted::CountedJob;
use self::killer::{Phase, Progress};
use self::resources::{Resources, children, stat};
use self::summary::{Seen, Summary};
use crate::action::Marks;

pub(crate) use self::batches::SCENARIOS;

/// A step that takes longer than this never ends.
const STEP: Duration = Duration::from_secs(60);

/// Lets this many workers be killed, and says what became of it.
pub(crate) fn run(kills: u64, seed: u64) -> Result<Summary> {
    let mut random = Random(seed);
    let alive = watch()?;
    let progress = Arc::new(Progress::default());
    let (marks, summary) = (Marks::new()?, Summary::default());
    let mut storm = Storm { progress: Arc::clone(&progress), alive, marks, summary };
    storm.warm_up(&mut random).context("before the storm")?;
    let server = server()?;
    storm.summary = Summary::default();
    storm.summary.before = Resources::now(server)?;
    let began = Instant::now();
    let random_of_killer = Random(random.next());
    let killer = thread::spawn(move || {
        let killed = killer::kill_workers(&progress, kills, server, random_of_killer);
        // Whatever became of it, nobody waits for it.
        progress.end();
        killed
    });
    let result = storm.pools(&mut random, kills);
    storm.progress.end();
    let killed = killer.join().expect("the killer does not panic");
    result?;
    let mut summary = storm.summary;
    summary.killed = killed?;
    summary.kills = storm.progress.kills();
    summary.took = began.elapsed();
    summary.after = Resources::settled(server, &summary.before)?;
    summary.check_end(kills);
    Ok(summary)
}

/// Ends this program when nothing has happened for too long: what hangs would hang for ever.
fn watch() -> Result<Sender<&'static str>> {
    let (alive, told) = mpsc::channel();
    let wait = move || {
        let mut last = "nothing";
        loop {
            match told.recv_timeout(STEP) {
                Ok(step) => last = step,
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {
                    eprintln!("a storm hangs: {last} has not ended within {} s", STEP.as_secs());
                    process::exit(3);
                }
            }
        }
    };
    thread::Builder::new().name("storm watch".into()).spawn(wait)?;
    Ok(alive)
}

/// The fork server: the only child between two pools, and the only one that stays.
fn server() -> Result<u32> {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        if let [server] = children()[..]
            && stat(server).is_some_and(|stat| stat.name == "forkserver")
        {
            return Ok(server);
        }
        ensure!(Instant::now() < deadline, "the fork server is not the only child: {:?}", children());
        thread::sleep(Duration::from_millis(2));
    }
}

struct Storm {
    progress: Arc<Progress>,
    alive: Sender<&'static str>,
    marks: Marks,
    summary: Summary,
}

impl Storm {
    /// Enters a phase; the one before was not the last.
    fn enter(&self, phase: Phase, what: &'static str) {
        self.progress.enter(phase);
        let _ = self.alive.send(what);
    }

    /// What every pool must do when nobody is killed, with as much memory as it ever takes.
    fn warm_up(&mut self, random: &mut Random) -> Result<()> {
        for executor in ["processes", "forkserver"] {
            let settings = Settings::simple(executor);
            let mut pool = start(&settings)?;
            for kind in KINDS {
                self.batch(&mut *pool, &settings, kind, true, random)?;
            }
        }
        ensure!(self.summary.is_flawless(), "{:#?}", self.summary.errors());
        Ok(())
    }

    /// One pool after the other until the last kill; the last pool must then work as if nothing had been.
    fn pools(&mut self, random: &mut Random, kills: u64) -> Result<()> {
        let mut quarter = 1;
        loop {
            let settings = Settings::random(random);
            self.enter(Phase::Starting, "the start of a pool");
            let mut pool = start(&settings)?;
            self.summary.pools += 1;
            let mut batches = random.below(20);
            while !self.progress.is_over() && batches > 0 {
                let kind = random.one_of(&KINDS);
                self.batch(&mut *pool, &settings, kind, false, random)?;
                if random.once_in(10) {
                    self.enter(Phase::Idle, "the question what a pool has used");
                    pool.worker_usage();
                }
                if random.once_in(3) {
                    thread::sleep(Duration::from_micros(random.below(4_000)));
                }
                batches -= 1;
            }
            if self.progress.is_over() {
                self.last(&mut *pool, &settings, random)?;
            }
            self.enter(Phase::Ending, "the end of a pool");
            let began = Instant::now();
            drop(pool);
            self.summary.longest_end = self.summary.longest_end.max(began.elapsed());
            self.enter(Phase::Idle, "nothing");
            if self.progress.is_over() {
                return Ok(());
            }
            if self.progress.kills() >= kills * quarter / 4 {
                quarter += 1;
                self.summary.resident_kib.push(Resources::now(0)?.resident_kib);
            }
        }
    }

    /// Batches after the last kill: none of them may fail, whatever became of the workers before.
    fn last(&mut self, pool: &mut dyn Executor, settings: &Settings, random: &mut Random) -> Result<()> {
        for kind in KINDS {
            let before = self.summary.failures();
            self.batch(pool, settings, kind, false, random)?;
            if self.summary.failures() > before {
                let last = self.summary.last_error();
                let what = format!("{kind:?} with {settings:?}: {last}");
                self.summary.add_error(format!("a batch after the last kill failed, {what}"));
            }
        }
        Ok(())
    }

    /// Runs a batch; `most` for one of as many and as large tasks as there ever are.
    fn batch(
        &mut self,
        pool: &mut dyn Executor,
        settings: &Settings,
        kind: Kind,
        most: bool,
        random: &mut Random,
    ) -> Result<()> {
        self.enter(Phase::Idle, "the making of inputs");
        let actions = kind.actions(random, most, &self.marks)?;
        let job = job(actions.clone(), settings.workers, random);
        let counted = Arc::new(CountedJob::new(job, Arc::clone(&self.progress)));
        let erased: Arc<dyn Job> = Arc::<CountedJob>::clone(&counted);
        let kills = self.progress.kills();
        self.enter(Phase::Opening, "a batch");
        let began = Instant::now();
        let result = pool.execute(&erased);
        let took = began.elapsed();
        self.enter(Phase::Idle, "the check of answers");
        // One each may have been about to end before, and another be counted a moment later.
        let kills = self.progress.kills() - kills + settings.workers as u64 + 1;
        if took > self.summary.longest_batch.0 {
            let what = format!("{} tasks, {kills} kills, {settings:?}", actions.len());
            self.summary.longest_batch = (took, what);
        }
        let seen = Seen { settings: *settings, runs: self.marks.take()?, kills };
        match result {
            Ok(outcome) => self.summary.add(&counted, &outcome, &actions, &seen),
            Err(error) => self.summary.add_unbegun(&format!("{error:#}")),
        }
        Ok(())
    }
}

fn start(settings: &Settings) -> Result<Box<dyn Executor>> {
    ExecutorKind::find(settings.executor)?.start(&settings.options())
}
