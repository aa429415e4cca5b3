//! Workloads that lose for a known cause, one for each: what `cargo parbench run` names is held against it.
//!
//! `cargo test --release -p cargo-parbench --test causes -- --ignored --nocapture` measures them and prints the table.

use std::hint::black_box;
use std::sync::Mutex;

use anyhow::{Context, Result, ensure};
use parbench::{Array, Inputs, Scenario, Size, Workload};
use rustix::mm::{MapFlags, ProtFlags};

fn main() {
    parbench::bench::main([
        Scenario::of::<Lock>(),
        Scenario::of::<AddressSpace>(),
        Scenario::of::<MemoryChurn>(),
        Scenario::of::<SharedMemoryBandwidth>(),
        Scenario::of::<UnequalTasks>(),
        Scenario::of::<TooFewTasks>(),
        Scenario::of::<SmallTasks>(),
        Scenario::of::<PrivateArrays>(),
        Scenario::of::<PackedVectors>(),
        Scenario::of::<Plain>(),
    ]);
}

/// Works for about so many nanoseconds: always the same number of steps, each of which needs the one before.
fn work(steps: u64) -> u64 {
    let mut state = black_box(0x9e37_79b9_7f4a_7c15_u64);
    for _ in 0..steps {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
    }
    black_box(state)
}

/// A workload whose tasks return nothing.
macro_rules! cause {
    ($(#[$doc:meta])* $type:ident, $name:literal, $input:ty, $inputs:expr, $run:expr) => {
        $(#[$doc])*
        struct $type;

        impl Workload for $type {
            const NAME: &'static str = $name;
            type Input = $input;
            type Output = u64;
            type Worker = ();

            fn prepare(_: Size) -> Result<Inputs<$input>> {
                Ok(Inputs::new($inputs))
            }

            fn run(_: &mut (), input: &$input) -> Result<u64> {
                let run: fn(&$input) -> Result<u64> = $run;
                run(input)
            }

            fn check(inputs: &[$input], outputs: &[u64]) -> Result<()> {
                ensure!(inputs.len() == outputs.len(), "an answer is missing");
                Ok(())
            }
        }
    };
}

/// One lock for the whole program, held for most of the time.
static GLOBAL: Mutex<()> = Mutex::new(());

cause!(
    /// A global lock.
    Lock, "lock", u32, (0..16).collect(), |_| {
        for _ in 0..10 {
            let held = GLOBAL.lock();
            work(200_000);
            drop(held);
            work(5_000);
        }
        Ok(1)
    }
);

cause!(
    /// Files mapped by all threads of one address space.
    AddressSpace, "address_space", u32, (0..64).collect(), |_| {
        let file = std::fs::File::open(std::env::current_exe()?)?;
        let bytes = 256 << 10;
        let mut sum = 0;
        for _ in 0..100 {
            // SAFETY: the program's own file is not changed while it runs, and the mapping is not used after it has been
            // given back.
            unsafe {
                let flags = MapFlags::PRIVATE;
                let mapped = rustix::mm::mmap(std::ptr::null_mut(), bytes, ProtFlags::READ, flags, &file, 0)?;
                sum += (0..bytes).step_by(4_096).map(|at| u64::from(*mapped.cast::<u8>().add(at))).sum::<u64>();
                rustix::mm::munmap(mapped, bytes)?;
            }
        }
        Ok(sum)
    }
);

cause!(
    /// Blocks of memory, mapped, touched and given back all the time.
    MemoryChurn, "memory_churn", u32, (0..64).collect(), |_| {
        let bytes = 64 << 10;
        for _ in 0..200 {
            // SAFETY: the mapping is private, and not used after it has been given back.
            unsafe {
                let (access, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE);
                let mapped = rustix::mm::mmap_anonymous(std::ptr::null_mut(), bytes, access, flags)?;
                (0..bytes).step_by(4_096).for_each(|at| mapped.cast::<u8>().add(at).write(1));
                rustix::mm::munmap(mapped, bytes)?;
            }
        }
        Ok(1)
    }
);

/// Large enough to be in no cache.
const COPIED_BYTES: usize = 64 << 20;

thread_local! {
    /// What a worker copies, and where to: made once.
    static COPIED: std::cell::RefCell<Option<(Vec<u64>, Vec<u64>)>> = const { std::cell::RefCell::new(None) };
}

cause!(
    /// Copies from memory to memory, in memory of each worker's own.
    SharedMemoryBandwidth, "memory_bandwidth", u32, (0..8).collect(), |_| {
        COPIED.with_borrow_mut(|copied| {
            let (from, to) = copied.get_or_insert_with(|| (vec![1; COPIED_BYTES / 8], vec![0; COPIED_BYTES / 8]));
            to.copy_from_slice(from);
            from.copy_from_slice(to);
            Ok(black_box(to)[7])
        })
    }
);

cause!(
    /// One task is ten times as long as the others.
    UnequalTasks, "unequal_tasks", u64, (0..9).map(|task| if task == 8 { 20_000_000 } else { 2_000_000 }).collect(),
    |steps| Ok(work(*steps))
);

cause!(
    /// Three tasks: two workers cannot share them evenly.
    TooFewTasks, "too_few_tasks", u64, vec![8_000_000; 3], |steps| Ok(work(*steps))
);

cause!(
    /// Tasks of some hundred nanoseconds.
    SmallTasks, "small_tasks", u64, vec![100; 40_000], |steps| Ok(work(*steps))
);

cause!(
    /// Arrays of private memory, of which little is used.
    PrivateArrays, "private_arrays", Array<f64>,
    (0..4).map(|_| Array::from(vec![1.0; 5_000_000])).collect(), |array| Ok(array.iter().step_by(64).sum::<f64>() as u64)
);

cause!(
    /// Vectors of bytes, which go through serde one by one.
    PackedVectors, "packed_vectors", Vec<u8>,
    (0..8).map(|_| vec![1; 4 << 20]).collect(),
    |bytes| Ok(bytes.first().copied().map(u64::from).context("it is not empty")? + work(2_000_000))
);

cause!(
    /// Nothing is wrong with it: for causes that come from outside.
    Plain, "plain", u64, vec![2_000_000; 16], |steps| Ok(work(*steps))
);
