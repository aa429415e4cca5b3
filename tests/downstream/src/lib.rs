//! Nothing: this crate is there for its bench program.
