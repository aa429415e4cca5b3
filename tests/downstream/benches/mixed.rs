//! A program that has Criterion groups of its own, and parbench's beside them.

use criterion::{Criterion, criterion_group};
use parbench::Scenario;

fn scenarios() -> [Scenario; 1] {
    [Scenario::new("splits", || vec!["to be or not to be ".repeat(1_000); 8], |text| text.split(' ').count())]
}

fn old(criterion: &mut Criterion) {
    let text = "to be or not to be ".repeat(1_000);
    criterion.bench_function("old", |bencher| bencher.iter(|| text.split(' ').count()));
}

fn new(criterion: &mut Criterion) {
    parbench::bench::add_groups(criterion, scenarios());
}

criterion_group!(benches, old, new);

fn main() {
    parbench::bench::enter(scenarios()); // first: worker processes stay in it
    benches();
    Criterion::default().configure_from_args().final_summary();
}
