//! The scenarios of the family `isolation`: threads or processes?

use parbench::scenarios;

fn main() {
    parbench::bench::main(scenarios::ISOLATION);
}
