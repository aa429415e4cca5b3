//! Pseudo-random numbers from a seed, the same on every machine and in every version.

/// SplitMix64 (Steele, Lea and Flood 2014). A library's generator may change with its version, and with it every
/// committed run.
pub(crate) fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A seed for what has a name: another one for each name, and the same on every machine.
pub(crate) fn seed_of(seed: u64, name: &str) -> u64 {
    name.bytes().fold(seed, |mut state, byte| {
        state ^= u64::from(byte);
        splitmix(&mut state)
    })
}

/// Puts `items` into a random order (Fisher and Yates).
pub(crate) fn shuffle<T>(items: &mut [T], state: &mut u64) {
    for last in (1..items.len()).rev() {
        items.swap(last, (splitmix(state) % (last as u64 + 1)) as usize);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_those_of_the_reference_implementation() {
        let mut state = 1_234_567;
        assert_eq!(
            [(); 3].map(|()| splitmix(&mut state)),
            [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]
        );
    }

    #[test]
    fn a_shuffled_list_has_the_same_items_and_a_seed_is_an_order() {
        let shuffled = |mut seed| {
            let mut items: Vec<u32> = (0..100).collect();
            shuffle(&mut items, &mut seed);
            items
        };
        let mut sorted = shuffled(1);
        sorted.sort_unstable();
        assert!(sorted.into_iter().eq(0..100));
        assert_eq!(shuffled(1), shuffled(1));
        assert_ne!(shuffled(1), shuffled(2));
    }
}
