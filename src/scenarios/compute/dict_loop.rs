//! A loop over a dictionary with ten keys: CPU work that stays in the cache.
//!
//! Article 004's `basic_python_loop(n)`, `mydict[i%10] = i` for `i` below n = 10^7, sixteen times. One call took about
//! 0.8 s. Three threads took as long as a loop, each task three times as long as alone; three processes took a third
//! of the time.
//!
//! The article uses Python's built-in dictionary, so this is the standard library's map with its default hasher, which
//! resists chosen keys. Python's function returns nothing; here the ten values are returned, to be checked.

use std::collections::HashMap;

use anyhow::{Context, Result, ensure};

use crate::workload::{Inputs, Size, Workload};

/// As in the article: with three workers, some are idle in the last round.
const TASKS: u64 = 16;
const KEYS: u64 = 10;

pub(super) struct DictLoop;

impl Workload for DictLoop {
    const NAME: &'static str = "dict_loop";
    const WORKERS: &'static [usize] = &[1, 2, 3, 4];
    type Input = u64;
    /// The values of the keys 0, 1, .. 9.
    type Output = [u64; KEYS as usize];
    type Worker = ();

    fn prepare(size: Size) -> Result<Inputs<u64>> {
        let n = size.pick(10_000, 300_000, 10_000_000);
        // The tasks differ by one number each, so that swapped answers are noticed.
        Ok(Inputs::new((n..n + TASKS).collect()))
    }

    fn run(_: &mut (), &n: &u64) -> Result<[u64; KEYS as usize]> {
        let mut dict = HashMap::new();
        for i in 0..n {
            dict.insert(i % KEYS, i);
        }
        let mut values = [0; KEYS as usize];
        for (key, value) in (0..).zip(&mut values) {
            *value = *dict.get(&key).with_context(|| format!("the dictionary has no key {key}"))?;
        }
        Ok(values)
    }

    fn check(inputs: &[u64], outputs: &[[u64; KEYS as usize]]) -> Result<()> {
        for (n, values) in inputs.iter().zip(outputs) {
            for (key, value) in (0..).zip(values) {
                // The last number below n that ends in `key`.
                let last = (n - 1 - key) / KEYS * KEYS + key;
                ensure!(*value == last, "the last number below {n} for key {key} is {last}, not {value}");
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_keeps_its_last_number() {
        for (n, values) in
            [(10, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]), (23, [20, 21, 22, 13, 14, 15, 16, 17, 18, 19])]
        {
            assert_eq!(DictLoop::run(&mut (), &n).unwrap(), values);
            DictLoop::check(&[n], &[values]).unwrap();
            let mut wrong = values;
            wrong[4] -= 1;
            assert!(DictLoop::check(&[n], &[wrong]).is_err());
        }
    }
}
