//! A file for each command.

pub(crate) mod list;
