//! The scenarios of the family `compute`: threads or processes?

use parbench::scenarios;

fn main() {
    parbench::bench::main(scenarios::COMPUTE);
}
