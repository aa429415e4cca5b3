//! The articles' experiments, in lists: a list is a bench program and a family in reports.
//!
//! One more scenario is a file here, its `mod` line, and a row in one of the lists.

mod array_local;
mod array_transfer;
mod array_transfer_shared;
mod cpu_loop;
mod csv_load;
mod data_pipeline;
mod dict_loop;
mod empty_task;
mod image_augment;
mod mail_download;
mod matrix_dot;
mod matrix_inverse;
mod mixed_tasks;
mod page_save;
mod prime_sum;
mod random_forest;
mod random_product;
mod text_write;
mod url_download;
mod worker_start;

use crate::scenario::Scenario;

/// Waiting on a network.
pub static NETWORK: &[Scenario] = &[
    Scenario::of::<url_download::UrlDownload>(),
    Scenario::of::<page_save::PageSave>(),
    Scenario::of::<mail_download::MailDownload>(),
];

/// Reading and writing files.
pub static FILES: &[Scenario] = &[
    Scenario::of::<text_write::TextWrite>(),
    Scenario::of::<csv_load::CsvLoad>(),
    Scenario::of::<data_pipeline::DataPipeline>(),
];

/// Computing with next to no data.
pub static COMPUTE: &[Scenario] = &[
    Scenario::of::<cpu_loop::CpuLoop>(),
    Scenario::of::<dict_loop::DictLoop>(),
    Scenario::of::<prime_sum::PrimeSum>(),
    Scenario::of::<random_product::RandomProduct>(),
    Scenario::of::<random_forest::RandomForest>(),
    Scenario::of::<image_augment::ImageAugment>(),
];

/// Kernels on matrices, on one thread and on many by themselves.
pub static MATRIX: &[Scenario] = &[
    Scenario::of::<matrix_dot::MatrixDot>(),
    Scenario::of::<matrix_dot::MatrixDotInner>(),
    Scenario::of::<matrix_inverse::MatrixInverse>(),
    Scenario::of::<matrix_inverse::MatrixInverseInner>(),
];

/// Moving large data into a task and out of it.
pub static TRANSFER: &[Scenario] = &[
    Scenario::of::<array_transfer::ArrayTransfer>(),
    Scenario::of::<array_transfer_shared::ArrayTransferShared>(),
    Scenario::of::<array_local::ArrayLocal>(),
];

/// What the executors cost by themselves.
pub static OVERHEAD: &[Scenario] = &[
    Scenario::of::<empty_task::EmptyTask>(),
    Scenario::of::<mixed_tasks::MixedTasks>(),
    Scenario::of::<worker_start::WorkerStart>(),
];

/// Every list with its family's name, which is the name of its bench program.
pub static FAMILIES: &[(&str, &[Scenario])] = &[
    ("network", NETWORK),
    ("files", FILES),
    ("compute", COMPUTE),
    ("matrix", MATRIX),
    ("transfer", TRANSFER),
    ("overhead", OVERHEAD),
];
