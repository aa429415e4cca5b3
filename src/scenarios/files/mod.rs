//! The family `files`: reading and writing files.

mod csv_load;
mod data_pipeline;
mod table;
mod text_write;

use crate::scenario::Scenario;

/// Reading and writing files.
pub static FILES: &[Scenario] = &[
    Scenario::of::<text_write::TextWrite>(),
    Scenario::of::<text_write::TextWriteShared>(),
    Scenario::of::<csv_load::CsvLoad>(),
    Scenario::of::<data_pipeline::DataPipeline>(),
];
