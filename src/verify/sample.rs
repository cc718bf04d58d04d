//! Chooses which offsets of a partition are compared when not all of them are: the head, the tail, and stretches between
//! them by chance.

use std::hash::{BuildHasher, RandomState};
use std::ops::Range;
use std::str::FromStr;

/// How much of each partition is compared.
///
/// ```
/// use kmirror::Sample;
/// assert_eq!("5%".parse(), Ok(Sample::Percent(5.0)));
/// assert_eq!("10000".parse(), Ok(Sample::Offsets(10_000)));
/// // Nothing is compared but how far both sides go.
/// assert_eq!("0".parse(), Ok(Sample::Offsets(0)));
/// assert!("many".parse::<Sample>().is_err());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Sample {
    /// Everything.
    #[default]
    Full,
    /// So many of a hundred offsets.
    Percent(f64),
    /// So many offsets.
    Offsets(u64),
}

impl FromStr for Sample {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("'{text}' is neither a number of offsets nor a percentage such as 5%");
        match text.strip_suffix('%') {
            Some(percent) => {
                let percent: f64 = percent.trim().parse().map_err(|_| wrong())?;
                if percent > 0.0 && percent <= 100.0 { Ok(Sample::Percent(percent)) } else { Err(wrong()) }
            }
            None => match text.parse() {
                Ok(offsets) => Ok(Sample::Offsets(offsets)),
                // Left open: what is wrong with the number does not matter.
                Err(_) => Err(wrong()),
            },
        }
    }
}

/// A stretch by chance is so long, if the sample is large enough.
const STRETCH: u64 = 2000;
/// There are at most so many of them; larger samples have longer ones.
const MOST_STRETCHES: u64 = 500;

/// A seed that nobody foresees.
pub fn random_seed() -> u64 {
    RandomState::new().hash_one(0)
}

/// The stretches of a partition, in order and without overlap; the same for the same seed.
pub fn stretches(sample: Sample, whole: Range<i64>, seed: u64) -> Vec<Range<i64>> {
    let offsets = whole.end.saturating_sub(whole.start).max(0) as u64;
    let wanted = match sample {
        Sample::Full => offsets,
        Sample::Percent(percent) => (offsets as f64 * percent / 100.0).ceil() as u64,
        Sample::Offsets(wanted) => wanted,
    };
    if wanted >= offsets {
        return if offsets == 0 { Vec::new() } else { vec![whole] };
    }
    if wanted == 0 {
        return Vec::new();
    }
    // A quarter each; what a sample is too small for is left to the head.
    let edge = (wanted / 4).max(1);
    let tail = edge.min(wanted - edge);
    let middle = wanted - edge - tail;
    let count = middle.div_ceil(STRETCH).min(MOST_STRETCHES);
    let mut stretches = Vec::with_capacity(count as usize + 2);
    stretches.push(whole.start..whole.start + edge as i64);
    let between = offsets - edge - tail;
    for index in 0..count {
        // Each stretch lies by chance in a section of its own.
        let part = |of: u64, index: u64| (u128::from(of) * u128::from(index) / u128::from(count)) as u64;
        let (from, to) = (part(between, index), part(between, index + 1));
        let length = (part(middle, index + 1) - part(middle, index)).min(to - from);
        let start = from + mix(seed ^ index) % (to - from - length + 1);
        let start = whole.start + (edge + start) as i64;
        stretches.push(start..start + length as i64);
    }
    stretches.push(whole.end - tail as i64..whole.end);
    stretches.retain(|stretch| !stretch.is_empty());
    stretches
}

/// SplitMix64: well spread numbers from counted ones.
fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_has_the_size_asked_for_and_both_ends() {
        for wanted in [1, 2, 3, 10, 4_001, 9_000, 99_999] {
            for seed in 0..20 {
                let stretches = stretches(Sample::Offsets(wanted), 500..100_500, seed);
                let total: i64 = stretches.iter().map(|stretch| stretch.end - stretch.start).sum();
                // Where nearly everything is wanted, sections may be one offset too short.
                assert!((wanted.saturating_sub(stretches.len() as u64)..=wanted).contains(&(total as u64)));
                assert_eq!(stretches[0].start, 500);
                assert!(wanted == 1 || stretches.last().is_some_and(|last| last.end == 100_500));
                assert!(stretches.windows(2).all(|pair| pair[0].end <= pair[1].start), "{stretches:?}");
            }
        }
    }

    #[test]
    fn other_seeds_look_elsewhere_and_the_same_seed_looks_again() {
        let of = |seed| stretches(Sample::Percent(10.0), 0..1_000_000, seed);
        assert_eq!(of(1), of(1));
        assert_ne!(of(1), of(2));
    }

    #[test]
    fn a_small_partition_is_compared_whole() {
        assert_eq!(stretches(Sample::Offsets(10), 3..8, 1), vec![Range { start: 3, end: 8 }]);
        assert_eq!(stretches(Sample::Full, 0..1_000_000, 1), vec![Range { start: 0, end: 1_000_000 }]);
        assert!(stretches(Sample::Percent(1.0), 5..5, 1).is_empty());
        assert!(stretches(Sample::Offsets(0), 5..900, 1).is_empty());
    }
}
