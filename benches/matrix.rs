//! The scenarios of the family `matrix`: threads or processes?

use parbench::scenarios;

fn main() {
    parbench::bench::main(scenarios::MATRIX);
}
