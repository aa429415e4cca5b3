//! The scenarios of the family `transfer`: threads or processes?

use parbench::scenarios;

/// Counts, where a comparison asks for it.
#[global_allocator]
static ALLOCATOR: parbench::CountingAllocator = parbench::CountingAllocator;

fn main() {
    parbench::bench::main(scenarios::TRANSFER);
}
