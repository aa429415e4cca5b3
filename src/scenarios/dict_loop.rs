//! A loop over a dictionary with ten keys: CPU work that stays in the cache.
//!
//! Article 004's `basic_python_loop(n)`, `mydict[i%10] = i` for `i` below n = 10^7, sixteen times: a call took
//! about 0.8 s; three threads took as long as a loop, each task three times as long as alone, and three
//! processes a third of it. The map is std's, with its hash against chosen keys, as Python's dictionary is
//! what comes with Python. Python's function returns nothing; here the ten values are returned to be checked.

use std::collections::HashMap;

use anyhow::{Context, Result, ensure};

use crate::workload::{Inputs, Size, Workload};

/// Sixteen calls on three workers, as in the article: the last round has idle workers.
const TASKS: usize = 16;
const KEYS: u64 = 10;

pub(super) struct DictLoop;

impl Workload for DictLoop {
    const NAME: &'static str = "dict_loop";
    const WORKERS: &'static [usize] = &[1, 2, 3, 4];
    type Input = u64;
    /// The values under 0, 1, .. 9.
    type Output = [u64; KEYS as usize];
    type Worker = ();

    fn prepare(size: Size) -> Result<Inputs<u64>> {
        Ok(Inputs::new(vec![size.pick(10_000, 1_000_000, 10_000_000); TASKS]))
    }

    fn run(_: &mut (), &n: &u64) -> Result<[u64; KEYS as usize]> {
        let mut dict = HashMap::new();
        for i in 0..n {
            dict.insert(i % KEYS, i);
        }
        let mut values = [0; KEYS as usize];
        for (key, value) in (0..).zip(&mut values) {
            *value = *dict.get(&key).with_context(|| format!("nothing lies under {key}"))?;
        }
        Ok(values)
    }

    fn check(inputs: &[u64], outputs: &[[u64; KEYS as usize]]) -> Result<()> {
        for (n, values) in inputs.iter().zip(outputs) {
            for (key, value) in (0..).zip(values) {
                // The last number below n that ends in `key`.
                let last = (n - 1 - key) / KEYS * KEYS + key;
                ensure!(
                    *value == last,
                    "of the numbers below {n} the last under {key} is {last}, not {value}"
                );
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_number_under_each_key_stays() {
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
