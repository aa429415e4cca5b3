//! The scenarios of the family `files`: threads or processes?

use parbench::scenarios;

fn main() {
    parbench::bench::main(scenarios::FILES);
}
