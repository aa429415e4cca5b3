//! Tests of what observations say, on made-up ones.

use super::*;
use crate::gate::comparison::Observed;
use crate::gate::revision::Revision;

/// What is made up of a side: CPU time of a batch, wall time, allocations.
#[derive(Clone, Copy)]
struct Made {
    cpu: f64,
    wall: f64,
    allocations: u64,
}

const BASE: Made = Made { cpu: 40e6, wall: 20e6, allocations: 100 };

fn row(head: Made, stages: u8) -> Row {
    let part = |made: Made, jitter: f64| Part {
        wall_ns: (made.wall * jitter) as u64,
        cpu_ns: Some((made.cpu * jitter) as u64),
        queue_ns: Some(0),
        allocations: Some(made.allocations),
        allocated_bytes: Some(made.allocations * 64),
    };
    let block = |stage: u8, number: u32| {
        // The machine is slower from part to part, for all sides alike.
        let parts = |made| (0..4).map(|at| part(made, 1.0 + f64::from(4 * number + at) * 1e-2)).collect();
        let sides = [(Side::Base, BASE), (Side::Head, head), (Side::Copy, BASE)];
        let observed = |(side, made)| Observed { side, layout: 0, parts: parts(made) };
        Block { stage, observations: sides.map(observed).into() }
    };
    let blocks = (1..=stages).flat_map(|stage| (0..BLOCKS).map(move |number| (stage, number)));
    let mut row = Row {
        scenario: "words".into(),
        variant: "threads/2".into(),
        bound: Some(Bound::cpu(0.02)),
        tasks: 4,
        blocks: blocks.map(|(stage, number)| block(stage, number)).collect(),
        ..Row::default()
    };
    judge(&mut row);
    row
}

fn comparison(rows: Vec<Row>) -> Comparison {
    let base =
        Revision { name: "main".into(), commit: "0123456789abcdef".into(), subject: "A change".into() };
    Comparison { head: base.clone(), base, rows, ..Comparison::default() }
}

#[test]
fn cpu_time_parallelism_and_allocations_are_told_apart() {
    assert_eq!(row(BASE, 1).word, Word::NoClearChange);
    let slower = row(Made { cpu: 44e6, wall: 22e6, ..BASE }, 3);
    assert_eq!(
        (slower.word, &slower.changes[..]),
        (Word::Slower, &["CPU time +10\u{a0}% [+10\u{a0}%..+10\u{a0}%]".to_string()][..])
    );
    // Made serial: the same CPU time, and twice the wall time.
    let lost = Made { wall: 40e6, ..BASE };
    assert!(needs_second(&row(lost, 1)) && needs_third(&row(lost, 2)));
    assert_ne!(row(lost, 2).word, Word::Slower);
    let lost = row(lost, 3);
    assert_eq!((lost.word, &lost.changes[..]), (Word::Slower, &["parallelism 2.00 -> 1.00".to_string()][..]));
    // One allocation more in each of four tasks.
    let more = row(Made { allocations: 104, ..BASE }, 1);
    assert_eq!(more.word, Word::Slower, "{more:?}");
    assert_eq!(more.changes[0], "allocations of a batch 100 -> 104");
    assert_eq!(row(Made { allocations: 101, ..BASE }, 1).word, Word::NoClearChange);
    let faster = row(Made { cpu: 36e6, wall: 18e6, allocations: 50 }, 3);
    assert_eq!(faster.word, Word::Faster);
}

#[test]
fn the_exit_status_says_slower_broken_or_noisy() {
    let slower = row(Made { cpu: 44e6, wall: 22e6, ..BASE }, 3);
    let calm = || row(BASE, 1);
    let noisy = || Row { word: Word::NotJudged, ..calm() };
    let broken = |side| Row { error: Some((side, "it failed".into())), word: Word::NotJudged, ..calm() };
    for (rows, strict, expected, words) in [
        (vec![calm()], true, 0, "no clear change in 1 row"),
        (vec![calm(), slower.clone()], false, 1, "slower in 1 row"),
        (vec![calm(), noisy()], false, 0, "no clear change in 1 row, 1 row not judged"),
        (vec![calm(), noisy()], true, 3, "no clear change in 1 row, 1 row not judged"),
        (vec![calm(), broken(Side::Head)], false, 2, "not measured in 1 row"),
        (vec![calm(), broken(Side::Base)], false, 0, "no clear change in 1 row"),
        (vec![slower, broken(Side::Head)], false, 1, "slower in 1 row, not measured in 1 row"),
    ] {
        let comparison = comparison(rows);
        assert_eq!((status(&comparison, strict), &title(&comparison)[..]), (expected, words));
    }
}

#[test]
fn only_where_base_moved_as_well_it_was_the_runner() {
    let slow = Made { cpu: 44e6, wall: 22e6, ..BASE };
    let mut rows = vec![row(slow, 1); 8];
    assert!(!runner_changed(&rows), "base stayed what it is: it is the code");
    for row in &mut rows {
        for observed in row.blocks.iter_mut().flat_map(|block| &mut block.observations) {
            if observed.side == Side::Copy {
                observed.parts.iter_mut().for_each(|part| part.cpu_ns = part.cpu_ns.map(|cpu| cpu * 11 / 10));
            }
        }
    }
    assert!(runner_changed(&rows));
    assert!(!runner_changed(&rows[..5]), "too few to say so");
    // As far off in the median, but now to one side and now to the other: noise, in which a change of the code still shows.
    for row in &mut rows {
        for (number, block) in row.blocks.iter_mut().enumerate().filter(|(number, _)| number % 2 == 1) {
            let by = 1.0 - 0.05 * number as f64;
            for part in block
                .observations
                .iter_mut()
                .filter(|one| one.side == Side::Copy)
                .flat_map(|one| &mut one.parts)
            {
                part.cpu_ns = part.cpu_ns.map(|cpu| (cpu as f64 * by) as u64);
            }
        }
    }
    assert!(rows[0].nulls().iter().all(|log| log.abs() > 0.02));
    assert!(!runner_changed(&rows));
}

#[test]
fn a_comment_has_what_is_slower_and_folds_the_rest() {
    let mut slower = row(Made { cpu: 44e6, wall: 22e6, ..BASE }, 3);
    slower.differences.push("the workload's own code differs".into());
    let calm = Row { scenario: "letters".into(), ..row(BASE, 1) };
    let comparison = comparison(vec![calm, slower]);
    let text = crate::report::comparison::markdown(&comparison);
    assert!(text.starts_with("<!-- parbench -->\n### parbench: slower in 1 row\n"), "{text}");
    let (shown, folded) = text.split_once("<details>").unwrap();
    assert!(shown.contains("| `words on threads/2` | ") && shown.contains("| +10\u{a0}% ["), "{shown}");
    assert!(shown.contains("21 of 21") && shown.contains("own code differs"), "{shown}");
    assert!(folded.contains("Other rows: 1"), "{folded}");
    assert!(folded.contains("cargo parbench compare --base 0123456789abcdef"), "{folded}");
    let many = Comparison { rows: vec![row(BASE, 1); 900], ..comparison.clone() };
    assert!(crate::report::comparison::markdown(&many).len() < 60_000);
    let text = crate::report::comparison::text(&comparison);
    assert!(text.starts_with("parbench: slower in 1 row\n") && !text.contains("no clear change  "), "{text}");
}
