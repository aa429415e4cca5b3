//! The scenarios of the family `network`: threads or processes?

use parbench::scenarios;

fn main() {
    parbench::bench::main(scenarios::NETWORK);
}
