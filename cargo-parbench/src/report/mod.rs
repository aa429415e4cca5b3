//! Shows a run. Everything here is made from the run file and its analysis; nothing measures.

mod csv;
pub(crate) mod format;
mod markdown;
mod terminal;
mod trace;

pub(crate) use self::csv::csv;
pub(crate) use self::markdown::markdown;
pub(crate) use self::terminal::{Style, terminal};
pub(crate) use self::trace::trace;
