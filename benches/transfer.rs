//! The scenarios of the family `transfer`: threads or processes?

use parbench::scenarios;

fn main() {
    parbench::bench::main(scenarios::TRANSFER);
}
