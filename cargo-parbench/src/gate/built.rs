//! Both revisions as programs: head and then base built in one work tree, their files kept, and linked again on request.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use rustix::fs::{FlockOperation, flock};

use super::Gate;
use super::comparison::{Comparison, Side};
use super::judge::BLOCKS;
use super::layouts::Programs;
use super::plan::{Plan, Wanted};
use super::revision::{Repository, Revision, Tree};
use crate::programs::{Cargo, Program, VERSION};
use crate::provenance;
use crate::run_file::write_json;

/// Where a comparison works.
pub(crate) struct Work {
    /// Cargo's target folder, and parbench's in it.
    pub(crate) target: PathBuf,
    pub(crate) folder: PathBuf,
    /// Locked as long as this is: two comparisons would disturb each other, and share a tree.
    _lock: fs::File,
}

impl Work {
    pub(crate) fn new(cargo: &Cargo) -> Result<Work> {
        let target = std::path::absolute(cargo.target_directory()?)?;
        let folder = target.join("parbench");
        let place = folder.join("compare");
        fs::create_dir_all(&place).with_context(|| format!("cannot make {}", place.display()))?;
        let lock = fs::File::create(place.join("lock"))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .with_context(|| format!("another comparison is at work in {}", place.display()))?;
        Ok(Work { folder, target, _lock: lock })
    }
}

/// Both revisions, built.
pub(crate) struct Built {
    tree: Tree,
    /// What builds in the tree.
    cargo: Cargo,
    programs: Programs,
    pub(crate) base: Vec<Program>,
    pub(crate) head: Vec<Program>,
    revisions: [Revision; 2],
    /// What is checked out.
    current: Side,
    /// Whether base has head's bench files.
    benches_of_head: bool,
    pub(crate) notes: Vec<String>,
}

impl Built {
    /// Builds head and then base; `None` if base has no program of parbench.
    pub(crate) fn make(
        cargo: &Cargo,
        benches_of_head: bool,
        repository: &Repository,
        work: &Work,
        [base, head]: [&Revision; 2],
    ) -> Result<Option<Built>> {
        let mut programs = Programs::new(work.folder.join("compare").join("programs"))?;
        let tree = repository.tree(work.folder.join("compare").join("tree"), head)?;
        let cargo = cargo.of(tree.manifest(), &work.target);
        let place = |revision: &Revision| format!("{} cannot be built", revision.title());
        ensure!(tree.manifest().exists(), "{} has no package {}", head.title(), tree.manifest().display());
        eprintln!("Building head, {}", head.title());
        let mut of_head = cargo.programs_of_each_package().with_context(|| place(head))?;
        ensure!(!of_head.is_empty(), "no bench program of {} has parbench's main", head.title());
        check_version(&of_head)?;
        programs.keep(Side::Head, &mut of_head)?;
        let mut built = Built {
            cargo,
            programs,
            base: of_head.clone(),
            head: of_head,
            revisions: [base.clone(), head.clone()],
            current: Side::Head,
            benches_of_head: false,
            notes: Vec::new(),
            tree,
        };
        if base.commit == head.commit {
            built.programs.keep(Side::Base, &mut built.base)?;
            return Ok(Some(built));
        }
        eprintln!("Building base, {}", base.title());
        built.benches_of_head = benches_of_head;
        built.check_out(Side::Base)?;
        if !built.tree.manifest().exists() {
            return Ok(None);
        }
        built.base = match built.cargo.programs_of_each_package() {
            Err(error) if built.benches_of_head => {
                built.notes.push(format!("head's bench files do not compile over base's sources: {error:#}"));
                built.benches_of_head = false;
                built.check_out(Side::Base)?;
                built.cargo.programs_of_each_package()
            }
            built => built,
        }
        .with_context(|| place(base))?;
        let mut of_base = std::mem::take(&mut built.base);
        built.programs.keep(Side::Base, &mut of_base)?;
        built.base = of_base;
        Ok((!built.base.is_empty()).then_some(built))
    }

    /// Checks a side out in the tree, as it is built.
    fn check_out(&mut self, side: Side) -> Result<()> {
        let lock = self.tree.lock();
        let [base, head] = &self.revisions;
        self.tree.check_out(if side == Side::Head { head } else { base })?;
        if side == Side::Base && self.benches_of_head {
            self.tree.take_benches_of(head)?;
        }
        self.tree.lock_with(lock.as_deref())?;
        self.current = side;
        Ok(())
    }

    pub(crate) fn revision(&self) -> &Revision {
        &self.revisions[1]
    }

    /// Uses head's programs linked in another order of sections.
    pub(crate) fn relink_head(&mut self, layout: u32) -> Result<()> {
        let mut programs = std::mem::take(&mut self.programs);
        let benches: Vec<_> = self.head.iter().map(|program| program.bench.clone()).collect();
        let linked = benches.iter().try_for_each(|bench| {
            programs.replace(Side::Head, bench, &self.link(Side::Head, bench, 100 + layout)?)
        });
        self.programs = programs;
        linked
    }

    /// Uses head's programs as they were built.
    pub(crate) fn restore_head(&mut self) -> Result<()> {
        for program in &self.base {
            self.programs.replace(Side::Head, &program.bench, &program.executable)?;
        }
        Ok(())
    }

    /// Plans, measures and judges.
    pub(crate) fn gate(
        mut self,
        wanted: &Wanted,
        repository: &Repository,
        path: &Path,
        interrupted: &dyn Fn() -> bool,
        comparison: &mut Comparison,
    ) -> Result<()> {
        let deadline = wanted.budget.map(|budget| Instant::now() + budget);
        if let Some(why) = self.versions_differ() {
            comparison.not_judged = Some(why);
        } else {
            let changed = repository.changed(&self.revisions[0], &self.revisions[1])?;
            eprintln!("Trying every row in both programs");
            let plan = Plan::make([&self.base, &self.head], &changed, wanted, interrupted);
            ensure!(!interrupted(), "interrupted before anything was measured");
            if plan.rows.is_empty() && plan.failed.is_empty() {
                comparison.not_judged = Some("nothing to compare: no scenario is in both".into());
            }
            eprintln!(
                "Measuring {} rows: about {} min, and more for what may have changed",
                plan.rows.len(),
                plan.first_stage().as_secs().div_ceil(60)
            );
            self.measure(plan, deadline, path, interrupted, comparison)?;
        }
        comparison.ended = provenance::now();
        save(path, comparison)
    }

    /// Measures and judges what is planned; also several times.
    pub(crate) fn measure(
        &mut self,
        plan: Plan,
        deadline: Option<Instant>,
        path: &Path,
        interrupted: &dyn Fn() -> bool,
        comparison: &mut Comparison,
    ) -> Result<()> {
        // Not borrowed twice: what links a program again uses the tree, and the gate the files.
        let mut programs = std::mem::take(&mut self.programs);
        let mut link = |side: Side, bench: &str, layout: u32| self.link(side, bench, layout);
        let gate = Gate {
            programs: &mut programs,
            link: &mut link,
            save: &mut |comparison| save(path, comparison),
            interrupted,
            deadline,
            random: fastrand::Rng::with_seed(comparison.seed),
            quiet: false,
        };
        let measured = gate.run(plan, comparison);
        self.programs = programs;
        if measured.is_err() && interrupted() {
            let blocks = comparison.rows.iter().map(|row| row.blocks.len()).max().unwrap_or(0);
            bail!(
                "interrupted after {blocks} of {BLOCKS} blocks; what was measured is in {}",
                path.display()
            );
        }
        measured
    }

    /// Links a program again, its sections in another order.
    fn link(&mut self, side: Side, bench: &str, layout: u32) -> Result<PathBuf> {
        let is_same = self.revisions[0].commit == self.revisions[1].commit;
        if side != self.current && !is_same {
            self.check_out(side)?;
        }
        let programs = if side == Side::Head { &self.head } else { &self.base };
        let program = programs.iter().find(|program| program.bench == bench).context("it was built")?;
        self.cargo.link(program, &[&format!("-Clink-arg=-Wl,--shuffle-sections=*={layout}")])
    }

    /// Why cells of the two cannot be driven by one program.
    fn versions_differ(&self) -> Option<String> {
        let [base, head] = [&self.base, &self.head].map(|programs| &programs[0].version);
        (base != head).then(|| {
            format!("base's bench programs have version {base} of parbench, and head's {head}: they cannot be driven alike")
        })
    }
}

/// Head's programs must speak as this one does.
fn check_version(programs: &[Program]) -> Result<()> {
    let other = programs.iter().find(|program| program.version != VERSION);
    other.map_or(Ok(()), |program| {
        bail!(
            "`{}` has version {} of parbench, and this cargo-parbench {VERSION}: install that of the same version",
            program.bench,
            program.version
        )
    })
}

fn save(path: &Path, comparison: &Comparison) -> Result<()> {
    write_json(path, comparison).with_context(|| format!("cannot write the comparison {}", path.display()))
}
