//! A storm: somebody kills workers at random while pools work. No answer may be lost, doubled or wrong, every failure
//! must have its cause, and nothing may be left of it.

mod killer;
mod report;
mod scene;
mod watched;
mod work;

use std::process;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use parbench::executors::{Kind, Means};
use parbench::{Executor, Job, Size};

use self::killer::{Phase, Stage};
use self::report::{Report, Seen};
use self::scene::{Scene, children, stat};
use self::watched::Watched;
use self::work::{KINDS, NEXT, Random, Signs, Work};

pub(crate) use self::work::SCENARIOS;

/// A step that takes longer than this never ends.
const STEP: Duration = Duration::from_secs(60);

/// Lets so many workers be killed, and says what became of it.
pub(crate) fn rage(kills: u64, seed: u64) -> Result<Report> {
    let mut random = Random(seed);
    let alive = watch()?;
    let stage = Arc::new(Stage::default());
    let (signs, report) = (Signs::new()?, Report::default());
    let mut storm = Storm { stage: Arc::clone(&stage), alive, signs, report };
    storm.calm(&mut random).context("before the storm")?;
    let server = server()?;
    storm.report = Report::default();
    storm.report.before = Scene::look(server)?;
    let began = Instant::now();
    let theirs = Random(random.next());
    let killer = thread::spawn(move || {
        let hit = killer::rage(&stage, kills, server, theirs);
        // Whatever became of it, nobody waits for it.
        stage.end();
        hit
    });
    let result = storm.pools(&mut random, kills);
    storm.stage.end();
    let hit = killer.join().expect("the killer does not panic");
    result?;
    let mut report = storm.report;
    report.hit = hit?;
    report.kills = storm.stage.kills();
    report.took = began.elapsed();
    report.after = Scene::settled(server, &report.before)?;
    report.judge(kills);
    Ok(report)
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
    stage: Arc<Stage>,
    alive: Sender<&'static str>,
    signs: Signs,
    report: Report,
}

impl Storm {
    /// Enters a phase; the one before was not the last.
    fn enter(&self, phase: Phase, what: &'static str) {
        self.stage.enter(phase);
        let _ = self.alive.send(what);
    }

    /// What every pool must do when nobody is killed, with as much memory as it ever takes.
    fn calm(&mut self, random: &mut Random) -> Result<()> {
        for executor in ["processes", "forkserver"] {
            let mut pool = Kind::find(executor)?.start(&Means::workers(4))?;
            for kind in KINDS {
                self.batch(&mut *pool, &Means::workers(4), kind.tasks(random, true, &self.signs)?, random)?;
            }
        }
        ensure!(self.report.is_faultless(), "{:#?}", self.report.wrong);
        Ok(())
    }

    /// One pool after the other until the killer has had enough; the last one must then work as if nothing had been.
    fn pools(&mut self, random: &mut Random, kills: u64) -> Result<()> {
        let mut quarter = 1;
        loop {
            let executor = random.one_of(&["processes", "forkserver"]);
            let means = Means {
                retries: random.one_of(&[0, 2]),
                bare: executor == "processes" && random.once_in(5),
                life: random.once_in(8).then_some(7),
                ..Means::workers(1 + random.below(4) as usize)
            };
            self.enter(Phase::Starting, "the start of a pool");
            let mut pool = Kind::find(executor)?.start(&means)?;
            self.report.pools += 1;
            let mut batches = random.below(20);
            while !self.stage.is_over() && batches > 0 {
                let kind = random.one_of(&KINDS);
                let tasks = kind.tasks(random, false, &self.signs)?;
                self.batch(&mut *pool, &means, tasks, random)?;
                if random.once_in(10) {
                    self.enter(Phase::Idle, "the question what a pool has used");
                    pool.usage();
                }
                if random.once_in(3) {
                    thread::sleep(Duration::from_micros(random.below(4_000)));
                }
                batches -= 1;
            }
            if self.stage.is_over() {
                self.last(&mut *pool, &means, random)?;
            }
            self.enter(Phase::Ending, "the end of a pool");
            let began = Instant::now();
            drop(pool);
            self.report.longest_end = self.report.longest_end.max(began.elapsed());
            self.enter(Phase::Idle, "nothing");
            if self.stage.is_over() {
                return Ok(());
            }
            if self.stage.kills() >= kills * quarter / 4 {
                quarter += 1;
                self.report.resident_kib.push(Scene::look(0)?.resident_kib);
            }
        }
    }

    /// Batches after the last kill: none of them may fail, whatever became of the workers before.
    fn last(&mut self, pool: &mut dyn Executor, means: &Means, random: &mut Random) -> Result<()> {
        for kind in KINDS {
            let tasks = kind.tasks(random, false, &self.signs)?;
            let before = self.report.failures();
            self.batch(pool, means, tasks, random)?;
            if self.report.failures() > before {
                let last = self.report.last_error();
                self.report
                    .odd(format!("a batch after the last kill failed, {kind:?} with {means:?}: {last}"));
            }
        }
        Ok(())
    }

    fn batch(
        &mut self,
        pool: &mut dyn Executor,
        means: &Means,
        works: Vec<Work>,
        random: &mut Random,
    ) -> Result<()> {
        self.enter(Phase::Idle, "the making of inputs");
        NEXT.set(works.clone());
        let scenario = random.one_of(&[0, 0, 0, 1]);
        let job = SCENARIOS[scenario].prepare(Size::Smoke)?(means.workers);
        let watched = Arc::new(Watched::new(Arc::clone(&job), Arc::clone(&self.stage)));
        let erased: Arc<dyn Job> = Arc::<Watched>::clone(&watched);
        let kills = self.stage.kills();
        self.enter(Phase::Opening, "a batch");
        let began = Instant::now();
        let result = pool.execute(&erased);
        let took = began.elapsed();
        self.enter(Phase::Idle, "the check of answers");
        // One each may have been about to end before, and another be counted a moment later.
        let kills = self.stage.kills() - kills + means.workers as u64 + 1;
        if took > self.report.longest_batch.0 {
            let Means { workers, retries, bare, life, .. } = means;
            let what = format!(
                "{} tasks, {workers} workers, retries: {retries}, bare: {bare}, life: {life:?}, {kills} kills",
                works.len()
            );
            self.report.longest_batch = (took, what);
        }
        let seen = Seen { means: means.clone(), runs: self.signs.take()?, kills };
        match result {
            Ok(outcome) => self.report.add(&watched, &outcome, &works, &seen),
            Err(error) => self.report.add_unbegun(&format!("{error:#}")),
        }
        Ok(())
    }
}
