//! A launch of one scenario: its cells are started together, compared, and observed in rounds.

use anyhow::{Result, bail};

use super::cell::{Cell, CellHeader, CellSpec};
use super::record::Record;
use super::runner::Observation;
use crate::data::arena::free_bytes;
use crate::executors::Isolation;
use crate::measure::machine::useful_workers;
use crate::measure::variant::Variant;
use crate::random::shuffle;
use crate::shape::Shape;
use crate::span::now;
use crate::usage::Usage;

/// How long an observation should measure: shorter batches are repeated in it.
const OBSERVATION_NS: u64 = 20_000_000;
/// Batches of an observation at most.
const MAX_BATCHES: u64 = 200;
/// How long before they are to begin the cells of a ceiling are told: more than they take to get ready.
const LEAD_NS: u64 = 5_000_000;
/// What a cell takes at least, with its workers and fixtures.
const MIN_CELL_BYTES: u64 = 16 << 20;
/// Memory that the cells leave free.
const RESERVE_BYTES: u64 = 256 << 20;

/// What of a scenario is measured, and how.
pub(super) struct Launch<'a> {
    pub(super) number: u32,
    pub(super) rounds: std::ops::Range<u32>,
    /// Of the orders of this scenario in this launch.
    pub(super) seed: u64,
    pub(super) variants: &'a [Variant],
    /// Those that have two replicas.
    pub(super) judged: &'a [Variant],
    /// Of which shapes the ceiling is measured too.
    pub(super) ceilings: Ceilings<'a>,
    /// Passes of a round: 2, or 1 where every second round is in reverse order.
    pub(super) passes: u32,
    /// Whether the first round has spans.
    pub(super) spans: bool,
    /// The most memory that all cells together may take, bytes; what is free, if there is none.
    pub(super) memory: Option<u64>,
    /// A cell of the scenario, whatever the variant.
    pub(super) spec: &'a CellSpec,
}

/// Which ceilings a launch measures: how many independent serial cells together.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ceilings<'a> {
    None,
    /// Those of every shape that is measured.
    All,
    Of(&'a [Shape]),
}

/// What takes part in rounds.
struct Contestant {
    /// All but what an observation gives.
    record: Record,
    cells: Vec<Cell>,
}

impl Launch<'_> {
    /// Measures the scenario and passes on each record; returns whether all batches succeeded.
    pub(super) fn run(mut self, sink: &mut dyn FnMut(Record) -> Result<()>) -> Result<bool> {
        let mut entrants = self.entrants();
        let anchors: Vec<_> = entrants.iter().filter(|entrant| self.is_anchor(entrant)).copied().collect();
        let mut reference = Reference::default();
        let mut succeeded = true;
        // Usually there is one group: all cells fit into memory.
        while !entrants.is_empty() {
            let before = entrants.len();
            let (group, failed) = self.start_group(&anchors, &mut entrants, &mut reference)?;
            succeeded &= failed.is_empty();
            failed.into_iter().try_for_each(&mut *sink)?;
            succeeded &= self.observe(group, sink)?;
            if entrants.len() == before {
                bail!("{}: there is not enough memory for one more variant", self.spec.scenario);
            }
            // The anchors run again in the next group: in rounds of their own, since nothing of two groups is compared, and
            // since two records of one key would be refused.
            self.rounds = self.rounds.end..2 * self.rounds.end - self.rounds.start;
        }
        Ok(succeeded)
    }

    /// Every variant and replica, those that are in every group first.
    fn entrants(&self) -> Vec<(Variant, u32)> {
        let first = self.variants.iter().map(|variant| (*variant, 0));
        let second = self.judged.iter().map(|variant| (*variant, 1));
        let mut entrants: Vec<_> = first.chain(second).collect();
        entrants.sort_by_key(|entrant| !self.is_anchor(entrant));
        entrants
    }

    /// Whether it is in every group: what the others are compared with.
    fn is_anchor(&self, (variant, _): &(Variant, u32)) -> bool {
        variant.kind.isolation == Isolation::Caller || self.judged.contains(variant)
    }

    /// Starts the anchors and as many of the other entrants as fit into memory; returns also records of those that failed.
    fn start_group(
        &self,
        anchors: &[(Variant, u32)],
        entrants: &mut Vec<(Variant, u32)>,
        reference: &mut Reference,
    ) -> Result<(Vec<Contestant>, Vec<Record>)> {
        let (mut group, mut failed) = (Vec::new(), Vec::new());
        let mut memory = Memory::now(self.memory);
        let anchored = anchors.iter().filter(|anchor| !entrants.contains(anchor)).copied();
        let mut waiting: Vec<_> = anchored.chain(entrants.iter().copied()).collect();
        while !waiting.is_empty() {
            // The first alone: it shows how much memory a cell takes.
            let wave = if group.is_empty() { 1 } else { useful_workers().min(waiting.len()) };
            let has_anchors = waiting.iter().take(wave).any(|entrant| anchors.contains(entrant));
            let wave = if has_anchors || memory.has_room_for(wave) { wave } else { 1 };
            if !has_anchors && !memory.has_room_for(wave) {
                break;
            }
            let wave: Vec<_> = waiting.drain(..wave).collect();
            let started: Vec<_> =
                wave.iter().map(|(variant, _)| Cell::start(self.spec_of(variant))).collect();
            for (&(variant, replica), cell) in wave.iter().zip(started) {
                entrants.retain(|entrant| *entrant != (variant, replica));
                let mut record = self.record(&variant, replica);
                let ready = cell.and_then(|mut cell| Ok((cell.wait_until_ready()?, cell)));
                match ready {
                    Ok((header, cell)) => {
                        reference.compare(&self.spec.scenario, &variant, &header)?;
                        fill(&mut record, &header);
                        group.push(Contestant { record, cells: vec![cell] });
                    }
                    Err(error) => {
                        failed.push(Record { error: Some(format!("{error:#}")), ..record });
                        if variant.kind.isolation == Isolation::Caller {
                            // Without serial there is nothing to compare with; the others would fail as well.
                            entrants.clear();
                            return Ok((Vec::new(), failed));
                        }
                    }
                }
            }
            memory.note(group.len());
        }
        self.add_ceilings(&mut group, &mut memory, &mut failed)?;
        Ok((group, failed))
    }

    /// Adds, for each shape of a ceiling, as many serial cells of their own.
    fn add_ceilings(
        &self,
        group: &mut Vec<Contestant>,
        memory: &mut Memory,
        failed: &mut Vec<Record>,
    ) -> Result<()> {
        let mut shapes: Vec<_> = match self.ceilings {
            Ceilings::None => return Ok(()),
            Ceilings::All => group.iter().map(|contestant| contestant.record.shape).collect(),
            Ceilings::Of(shapes) => shapes.to_vec(),
        };
        shapes.sort_unstable();
        shapes.dedup();
        let serial = self.variants.iter().find(|variant| variant.kind.isolation == Isolation::Caller);
        let Some(&serial) = serial else { return Ok(()) };
        for shape in shapes {
            if !memory.has_room_for(shape.parallelism()) {
                eprintln!(
                    "note: {}: no ceiling of {shape}: there is not enough memory for as many copies",
                    self.spec.scenario
                );
                continue;
            }
            let mut record = Record { executor: "ceiling".into(), shape, ..self.record(&serial, 0) };
            let start = || {
                let one = Variant { load: Shape::default(), ..serial };
                let cells = (0..shape.parallelism()).map(|_| Cell::start(self.spec_of(&one)));
                let mut cells = cells.collect::<Result<Vec<_>>>()?;
                let headers = cells.iter_mut().map(Cell::wait_until_ready).collect::<Result<Vec<_>>>()?;
                Ok::<_, anyhow::Error>((cells, headers))
            };
            match start() {
                Ok((cells, headers)) => {
                    headers.iter().for_each(|header| fill(&mut record, header));
                    record.tasks = headers.iter().map(|header| header.tasks).sum();
                    group.push(Contestant { record, cells });
                }
                Err(error) => failed.push(Record { error: Some(format!("{error:#}")), ..record }),
            }
            memory.note(group.iter().map(|contestant| contestant.cells.len()).sum());
        }
        Ok(())
    }

    fn spec_of(&self, variant: &Variant) -> CellSpec {
        let tasks = (variant.load != variant.shape).then_some(variant.load.parallelism());
        CellSpec { executor: variant.kind.name.into(), shape: variant.shape, tasks, ..self.spec.clone() }
    }

    fn record(&self, variant: &Variant, replica: u32) -> Record {
        Record {
            launch: self.number,
            scenario: self.spec.scenario.clone(),
            executor: variant.kind.name.into(),
            shape: variant.shape,
            // Until the cell says it: an error must have a key of its own too.
            tasks: variant.load.parallelism(),
            replica,
            round: self.rounds.start,
            ..Record::default()
        }
    }

    /// Observes all contestants in a random order and its reverse, round by round.
    fn observe(
        &mut self,
        mut group: Vec<Contestant>,
        sink: &mut dyn FnMut(Record) -> Result<()>,
    ) -> Result<bool> {
        let mut succeeded = true;
        let mut order: Vec<_> = (0..group.len()).collect();
        let mut reversed = true;
        for round in self.rounds.clone() {
            for pass in 0..self.passes {
                // A random order, and then its reverse.
                reversed = !reversed;
                if reversed {
                    order.reverse();
                } else {
                    shuffle(&mut order, &mut self.seed);
                }
                for (position, &index) in (0..).zip(&order) {
                    let contestant = &mut group[index];
                    if contestant.cells.is_empty() {
                        continue;
                    }
                    let spans = self.spans && round == self.rounds.start && pass == 0;
                    let mut record = Record { round, pass, position, ..contestant.record.clone() };
                    match contestant.observe(spans) {
                        Ok(observation) => observation.write_to(&mut record),
                        Err(error) => {
                            record.error = Some(format!("{error:#}"));
                            // It stops, and the rest goes on.
                            contestant.cells.clear();
                            succeeded = false;
                        }
                    }
                    sink(record)?;
                }
            }
        }
        Ok(succeeded)
    }
}

/// What the header of a cell says of all its records.
fn fill(record: &mut Record, header: &CellHeader) {
    record.tasks = header.tasks;
    record.hosts = header.hosts.clone();
    record.start_ns = record.start_ns.max(header.start_ns);
    record.ready_ns = record.ready_ns.max(header.ready_ns);
    record.batches = OBSERVATION_NS.div_ceil(header.batch_ns.max(1)).clamp(1, MAX_BATCHES) as u32;
}

impl Contestant {
    fn observe(&mut self, spans: bool) -> Result<Observation> {
        let batches = self.record.batches;
        if self.record.executor != "ceiling" {
            return self.cells[0].run(batches, None, spans);
        }
        let mut sum = Observation { batches, usage: Usage::ZERO, ..Observation::default() };
        for _ in 0..batches {
            let begin = Some(now() + LEAD_NS);
            self.cells.iter_mut().try_for_each(|cell| cell.begin(1, begin, false))?;
            let all = self.cells.iter_mut().map(Cell::finish).collect::<Result<Vec<_>>>()?;
            let began = all.iter().map(|observation| observation.began).min().unwrap_or(0);
            let ended = all.iter().map(|observation| observation.ended).max().unwrap_or(0);
            sum.wall_ns += ended.saturating_sub(began);
            sum.usage = all.iter().fold(sum.usage, |usage, observation| usage + observation.usage);
        }
        Ok(sum)
    }
}

impl Observation {
    fn write_to(self, record: &mut Record) {
        record.batches = self.batches;
        record.wall_ns = self.wall_ns;
        record.usage = self.usage;
        record.others_busy_ns = self.others_busy_ns;
        record.steal_ns = self.steal_ns;
        record.throttled_ns = self.throttled_ns;
        [record.task_p50_ns, record.task_p99_ns] = self.task_ns;
        [record.wait_p50_ns, record.wait_p99_ns] = self.wait_ns;
        record.spans = self.spans;
    }
}

/// What the first cells have prepared and answered: the others must have the same.
#[derive(Default)]
struct Reference {
    inputs: Option<(String, u64)>,
    /// The first cell with so many tasks, and its answers.
    answers: Vec<(String, Vec<u64>)>,
    noted: bool,
}

impl Reference {
    fn compare(&mut self, scenario: &str, variant: &Variant, header: &CellHeader) -> Result<()> {
        let name = variant.to_string();
        let (first, inputs) = self.inputs.get_or_insert_with(|| (name.clone(), header.inputs));
        if *inputs != header.inputs {
            bail!(
                "{scenario}: `prepare` must make the same inputs each time; those of {name} differ from those of {first}"
            );
        }
        let same = self.answers.iter().find(|(_, answers)| answers.len() == header.answers.len());
        let Some((first, answers)) = same else {
            self.answers.push((name, header.answers.clone()));
            return Ok(());
        };
        let different = answers.iter().zip(&header.answers).position(|(first, second)| first != second);
        let Some(task) = different else { return Ok(()) };
        let what = format!("{scenario}: {first} and {name} answer task {task} differently");
        if !header.answers_may_differ {
            bail!("{what}");
        }
        if !self.noted {
            eprintln!("note: {what}; so real sources may");
            self.noted = true;
        }
        Ok(())
    }
}

/// How much memory cells take, as the system's free memory shows.
struct Memory {
    /// What was free when cells were last counted; `None` if the system does not tell.
    free: Option<u64>,
    /// What more cells may take.
    left: Option<u64>,
    cells: usize,
    /// The most that one cell has taken.
    per_cell: u64,
}

impl Memory {
    fn now(limit: Option<u64>) -> Memory {
        let free = free_bytes();
        let usable = free.map(|free| free.saturating_sub(RESERVE_BYTES));
        let left = usable.map(|usable| usable.min(limit.unwrap_or(usable)));
        Memory { free, left, cells: 0, per_cell: 0 }
    }

    /// Notes that there are so many cells now.
    fn note(&mut self, cells: usize) {
        let (now, new) = (free_bytes(), cells.saturating_sub(self.cells) as u64);
        if let (Some(before), Some(now), 1..) = (self.free, now, new) {
            let taken = before.saturating_sub(now);
            self.per_cell = self.per_cell.max(taken / new);
            self.left = self.left.map(|left| left.saturating_sub(taken));
        }
        (self.free, self.cells) = (now, cells);
    }

    fn has_room_for(&self, cells: usize) -> bool {
        // A cell may take more later than when it is ready, and memory that others gave back hides what it took.
        let per_cell = self.per_cell.max(MIN_CELL_BYTES);
        let needed = per_cell.saturating_mul(cells as u64).saturating_mul(5) / 4;
        self.left.is_none_or(|left| left >= needed)
    }
}
