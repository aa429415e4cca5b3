//! Maps blocks of memory, touches their pages and unmaps them, as allocators and the runtimes of JIT compilers and
//! WebAssembly do.
//!
//! Not from an article. All threads of a process share one address space: on Linux, mapping and unmapping take its write
//! lock, and unmapping interrupts every CPU that runs a thread of it, which is dear on a virtual machine. A process has an
//! address space of its own. With blocks of 64 KiB, two threads can be slower than one.

use anyhow::{Context, Result, ensure};
use memmap2::MmapMut;

use crate::workload::{Inputs, Size, Workload};

const TASKS: u64 = 16;
const BLOCK_BYTES: usize = 64 << 10;
const PAGE_BYTES: usize = 4 << 10;

pub(super) struct MemoryChurn;

impl Workload for MemoryChurn {
    const NAME: &'static str = "memory_churn";
    /// The first number to write, and how many blocks.
    type Input = (u64, u64);
    /// The sum of the numbers read back.
    type Output = u64;
    type Worker = ();

    fn prepare(size: Size) -> Result<Inputs<(u64, u64)>> {
        let blocks = size.pick(20, 120, 1_200);
        Ok(Inputs::new((0..TASKS).map(|task| (task, blocks)).collect()))
    }

    fn run(_: &mut (), &(first, blocks): &(u64, u64)) -> Result<u64> {
        let mut sum = 0;
        for block in 0..blocks {
            let mut map = MmapMut::map_anon(BLOCK_BYTES).context("cannot map a block of memory")?;
            for page in map.chunks_exact_mut(PAGE_BYTES) {
                page[..8].copy_from_slice(&(first + block).to_le_bytes());
            }
            // Read back, so that nothing can be left out.
            let map = std::hint::black_box(map);
            for page in map.chunks_exact(PAGE_BYTES) {
                sum += u64::from_le_bytes(page[..8].try_into().expect("eight bytes"));
            }
        }
        Ok(sum)
    }

    fn check(inputs: &[(u64, u64)], sums: &[u64]) -> Result<()> {
        let pages = (BLOCK_BYTES / PAGE_BYTES) as u64;
        for (&(first, blocks), &sum) in inputs.iter().zip(sums) {
            let expected = pages * (first * blocks + blocks * (blocks - 1) / 2);
            ensure!(sum == expected, "the numbers from {first} add up to {expected}, not {sum}");
        }
        Ok(())
    }
}
