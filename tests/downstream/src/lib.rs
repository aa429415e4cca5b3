//! A library with a function that somebody wants to know about.

/// How many words a text has.
pub fn words(text: &str) -> usize {
    text.split_whitespace().count()
}
