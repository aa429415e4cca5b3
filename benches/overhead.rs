//! The scenarios of the family `overhead`: threads or processes?

use parbench::scenarios;

fn main() {
    parbench::bench::main(scenarios::OVERHEAD);
}
