//! The regression gate: the bench programs of two revisions, observed in turns, and judged in three stages.

pub(crate) mod built;
pub(crate) mod comparison;
mod instructions;
pub(crate) mod judge;
pub(crate) mod layouts;
mod observe;
mod pin;
pub(crate) mod plan;
pub(crate) mod revision;
pub(crate) mod summary;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use self::comparison::{Block, Comparison, Side};
use self::judge::{BLOCKS, Word};
use self::layouts::{Link, Programs};
use self::plan::{Plan, Planned};

/// In how many orders of sections the program of a suspect is linked, on each side and for each stage.
pub(crate) const LAYOUTS: u32 = 5;
/// Head's orders are so many blocks ahead of base's: identical programs have the same ones, and none favours a side.
const HEAD_AHEAD: usize = 2;

/// What a gate works with while it measures.
pub(crate) struct Gate<'a> {
    pub(crate) programs: &'a mut Programs,
    pub(crate) link: &'a mut Link<'a>,
    /// Saves what has been measured so far.
    pub(crate) save: &'a mut dyn FnMut(&Comparison) -> Result<()>,
    /// Whether a person has had enough.
    pub(crate) interrupted: &'a dyn Fn() -> bool,
    pub(crate) deadline: Option<Instant>,
    /// Of the orders.
    pub(crate) random: fastrand::Rng,
    pub(crate) quiet: bool,
}

impl Gate<'_> {
    /// Measures the rows of a plan, and judges them.
    ///
    /// # Errors
    /// If it is interrupted, or what has been measured cannot be saved. A row that fails is a row with an error.
    pub(crate) fn run(mut self, plan: Plan, comparison: &mut Comparison) -> Result<()> {
        let Plan { rows: mut planned, failed, left_out, gone, new } = plan;
        (comparison.left_out, comparison.gone, comparison.new) = (left_out, gone, new);
        self.link_nulls(&planned, comparison);
        self.stage(1, &mut planned, &failed, comparison)?;
        if summary::runner_changed(&comparison.rows) {
            comparison.not_judged = Some(summary::RUNNER_CHANGED.into());
            return Ok(());
        }
        // What may have changed, before what is only noisy.
        let mut again: Vec<_> =
            (0..planned.len()).filter(|&at| summary::needs_second(&planned[at].row)).collect();
        again.sort_by_key(|&at| !summary::may_have_changed(&planned[at].row));
        let looks: Vec<_> = again.iter().map(|&at| &planned[at]).collect();
        again.truncate(self.within_budget(&looks, 0, "second", comparison));
        let mut suspects = Vec::new();
        for at in again.iter().copied().collect::<BTreeSet<_>>().into_iter().rev() {
            suspects.push(planned.remove(at));
        }
        let rows =
            |planned: &[Planned]| planned.iter().map(|planned| planned.row.clone()).collect::<Vec<_>>();
        let mut others = [rows(&planned), failed].concat();
        if !suspects.is_empty() {
            self.link_suspects(&suspects, 2, comparison);
            self.stage(2, &mut suspects, &others, comparison)?;
        }
        let mut changed: Vec<_> =
            suspects.extract_if(.., |suspect| summary::needs_third(&suspect.row)).collect();
        others.extend(rows(&suspects));
        if !changed.is_empty() {
            // One at least: a change that was seen twice is not to be lost for want of time.
            let looks: Vec<_> = changed.iter().collect();
            let late = changed.split_off(self.within_budget(&looks, 1, "third", comparison));
            others.extend(rows(&late));
            self.link_suspects(&changed, 3, comparison);
            self.stage(3, &mut changed, &others, comparison)?;
        }
        comparison.rows.iter_mut().for_each(summary::judge);
        self.explain(&changed, comparison)?;
        comparison.rows.sort_by(|a, b| (&a.bench, &a.scenario).cmp(&(&b.bench, &b.scenario)));
        Ok(())
    }

    /// Counts the instructions of the serial rows that have changed, if something here can count them.
    fn explain(&mut self, changed: &[Planned], comparison: &mut Comparison) -> Result<()> {
        let mut can_be_counted = None;
        for planned in changed.iter().filter(|planned| planned.subject.executor == "serial") {
            let title = planned.row.title();
            let is_changed = |row: &&mut comparison::Row| {
                row.title() == title && matches!(row.word, Word::Slower | Word::Faster)
            };
            let Some(row) = comparison.rows.iter_mut().find(is_changed) else { continue };
            let is_late = self.deadline.is_some_and(|deadline| Instant::now() > deadline);
            if is_late
                || (self.interrupted)()
                || !*can_be_counted.get_or_insert_with(instructions::can_be_counted)
            {
                return Ok(());
            }
            if !self.quiet {
                eprintln!("Counting the instructions of {title}");
            }
            let count = |side| {
                let program = self.programs.place(side, &row.bench, 0, 0)?;
                instructions::of_batch(&planned.subject, &program, side)
            };
            match count(Side::Base).and_then(|base| Ok([base, count(Side::Head)?])) {
                Ok(counts) => {
                    row.changes.push(instructions::explain(counts));
                    row.instructions = Some(counts);
                }
                Err(error) => comparison.notes.push(format!("{title}: no instructions counted: {error:#}")),
            }
        }
        Ok(())
    }

    /// How many of some rows there is time for, or is to be; the others are named.
    fn within_budget(
        &self,
        planned: &[&Planned],
        least: usize,
        look: &str,
        comparison: &mut Comparison,
    ) -> usize {
        let Some(deadline) = self.deadline else { return planned.len() };
        let mut left = deadline.saturating_duration_since(Instant::now());
        let fits = |planned: &&&Planned| {
            let cost = planned.of_stage();
            let fits = cost <= left;
            left = left.saturating_sub(cost);
            fits
        };
        let within = planned.iter().take_while(fits).count().max(least);
        if within < planned.len() {
            let names: Vec<_> = planned[within..].iter().map(|planned| planned.row.title()).collect();
            comparison
                .notes
                .push(format!("the budget left no time for a {look} look at {}", names.join(", ")));
        }
        within
    }

    /// Base in another order of sections, for the null arms.
    fn link_nulls(&mut self, planned: &[Planned], comparison: &mut Comparison) {
        for planned in planned.iter().filter(|planned| planned.has_null) {
            if let Err(error) = self.programs.link(Side::Base, &planned.row.bench, 1, self.link) {
                comparison.notes.push(format!("no order of sections but the linker's own: {error:#}"));
                return;
            }
        }
    }

    /// Links the programs of suspects in the orders of a stage: head's first, whose tree is checked out.
    fn link_suspects(&mut self, suspects: &[Planned], stage: u8, comparison: &mut Comparison) {
        let benches: BTreeSet<_> = suspects.iter().map(|suspect| &suspect.row.bench).collect();
        for side in [Side::Head, Side::Base] {
            for (bench, layout) in
                benches.iter().flat_map(|bench| layouts_of(stage).map(move |layout| (bench, layout)))
            {
                if !self.quiet {
                    eprintln!("Linking {bench} of {side:?} in another order, the {layout}.");
                }
                if let Err(error) = self.programs.link(side, bench, layout, self.link) {
                    comparison.layouts = 0;
                    comparison.notes.push(format!("suspects were not linked again: {error:#}"));
                    return;
                }
            }
        }
        comparison.layouts = LAYOUTS;
    }

    /// Seven blocks of each row. `others` are rows that are saved beside them.
    fn stage(
        &mut self,
        stage: u8,
        planned: &mut [Planned],
        others: &[comparison::Row],
        comparison: &mut Comparison,
    ) -> Result<()> {
        let mut left: Duration = planned.iter().map(Planned::of_stage).sum();
        for block in 0..BLOCKS {
            if !self.quiet {
                let rows = planned.len();
                eprintln!(
                    "Stage {stage}, block {} of {BLOCKS}: {rows} row{}, about {} s left",
                    block + 1,
                    if rows == 1 { "" } else { "s" },
                    left.as_secs()
                );
            }
            let began = Instant::now();
            let placed = self.place(stage, block, planned)?;
            let mut order: Vec<_> = (0..planned.len()).collect();
            self.random.shuffle(&mut order);
            for at in order {
                if (self.interrupted)() {
                    bail!("interrupted");
                }
                self.block(stage, &mut planned[at], &placed);
            }
            left = began.elapsed() * (BLOCKS - block - 1);
            comparison.rows =
                planned.iter().map(|planned| planned.row.clone()).chain(others.iter().cloned()).collect();
            (self.save)(comparison)?;
        }
        Ok(())
    }

    /// Puts the programs of a block into their slots; after the first stage each in its turn of the orders of sections.
    fn place(&mut self, stage: u8, block: u32, planned: &[Planned]) -> Result<Placed> {
        let mut placed = Placed::new();
        let has_null = |bench: &str| planned.iter().any(|row| row.has_null && row.row.bench == bench);
        let benches: BTreeSet<_> = planned.iter().map(|planned| planned.row.bench.clone()).collect();
        for bench in benches {
            let mut sides = vec![Side::Base, Side::Head];
            if stage == 1 && has_null(&bench) {
                sides.push(Side::Copy);
                sides.extend(
                    (!self.programs.layouts(Side::Base, &bench, 1..=1).is_empty()).then_some(Side::Relinked),
                );
            }
            for side in sides {
                let layout = match (stage, side) {
                    (1, Side::Relinked) => 1,
                    (1, _) => 0,
                    (_, side) => {
                        let layouts = self.programs.layouts(side, &bench, layouts_of(stage));
                        let turn = block as usize + if side == Side::Head { HEAD_AHEAD } else { 0 };
                        layouts.get(turn % layouts.len().max(1)).copied().unwrap_or(0)
                    }
                };
                let path = self.programs.place(side, &bench, layout, block)?;
                placed.insert((bench.clone(), side), (path, layout));
            }
        }
        Ok(placed)
    }

    /// Observes all sides of a row.
    fn block(&mut self, stage: u8, planned: &mut Planned, placed: &Placed) {
        let parts = planned.parts();
        let Planned { row, subject, has_null, .. } = planned;
        if row.error.is_some() {
            return;
        }
        let nulls = [Side::Copy, Side::Relinked].into_iter().filter(|_| *has_null && stage == 1);
        let sides = [Side::Base, Side::Head].into_iter().chain(nulls);
        let contestant = |side| {
            let (path, layout) = placed.get(&(row.bench.clone(), side))?;
            Some((side, path.clone(), *layout))
        };
        let sides: Vec<_> = sides.filter_map(contestant).collect();
        let turn = row.blocks.len();
        match subject.observe(&sides, (row.batches, parts), turn, &mut self.random) {
            Ok(observations) => row.blocks.push(Block { stage, observations }),
            Err(error) => row.error = Some(error),
        }
    }
}

/// The orders of sections of a stage after the first.
fn layouts_of(stage: u8) -> RangeInclusive<u32> {
    let before = LAYOUTS * u32::from(stage - 2);
    before + 1..=before + LAYOUTS
}

/// Where the program of a side is in this block, and its order of sections.
type Placed = BTreeMap<(String, Side), (PathBuf, u32)>;
