//! The family `compute`: computation with hardly any data.

mod cpu_loop;
mod dict_loop;
mod image_augment;
mod prime_sum;
mod random_forest;
mod random_product;

pub(super) use self::cpu_loop::{check_count, count_from};
use crate::scenario::Scenario;

/// Computation with hardly any data.
pub static COMPUTE: &[Scenario] = &[
    Scenario::of::<cpu_loop::CpuLoop>(),
    Scenario::of::<dict_loop::DictLoop>(),
    Scenario::of::<prime_sum::PrimeSum>(),
    Scenario::of::<random_product::RandomProduct>(),
    Scenario::of::<random_forest::RandomForest>(),
    Scenario::of::<image_augment::ImageAugment>(),
];
