//! A pitfall of one's own, of the kind that `cargo parbench run --pitfalls` runs: two spaces hold a word of no letters.

use std::time::Instant;

fn main() {
    let began = Instant::now();
    let text = "to be  or not";
    let (wrong, right) = (text.split(' ').count(), text.split_whitespace().count());
    println!("`{text}` has {right} words, and {wrong} between its spaces.");
    println!(
        r#"{{"pitfall":"spaces","outcome":"too_many","cured":{},"cure":"split_whitespace","threads":1,"processes":1,"elapsed_ns":{}}}"#,
        right == 4,
        began.elapsed().as_nanos()
    );
}
