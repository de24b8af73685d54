//! Chance, reproducible: every part of the world draws from a stream of its own.
//!
//! *In*: the world's seed and the name of a stream. *Out*: draws. A stream's draws do not depend on how
//! often another stream is drawn from, so that one more printer does not change everybody's mail.

use crate::observation::digest;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Exp1, Gamma, Poisson, StandardNormal};

/// One stream of chance.
pub(super) struct Dice(ChaCha8Rng);

impl Dice {
    /// The stream of a name in a world.
    pub(super) fn new(seed: u64, stream: &str) -> Dice {
        Dice(ChaCha8Rng::seed_from_u64(mix(seed ^ mix(digest(stream.as_bytes())))))
    }

    /// Uniform in [0, 1).
    pub(super) fn unit(&mut self) -> f64 {
        self.0.random()
    }

    /// 64 uniform bits.
    pub(super) fn bits(&mut self) -> u64 {
        self.0.random()
    }

    /// Fills a buffer with uniform bytes.
    pub(super) fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill(bytes);
    }

    /// True with probability `p`.
    pub(super) fn chance(&mut self, p: f64) -> bool {
        self.unit() < p
    }

    /// Uniform in [low, high).
    pub(super) fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// Log-uniform in [low, high): rates whose order of magnitude is open.
    pub(super) fn magnitude(&mut self, low: f64, high: f64) -> f64 {
        self.between(low.ln(), high.ln()).exp()
    }

    /// Uniform in 0..n; 0 where `n` is 0.
    pub(super) fn below(&mut self, n: usize) -> usize {
        ((self.unit() * n as f64) as usize).min(n.saturating_sub(1))
    }

    /// Uniform in low..=high.
    pub(super) fn whole(&mut self, low: u64, high: u64) -> u64 {
        low + self.below((high - low + 1) as usize) as u64
    }

    /// One of a list that is not empty.
    pub(super) fn pick<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len())]
    }

    /// Standard normal.
    pub(super) fn normal(&mut self) -> f64 {
        StandardNormal.sample(&mut self.0)
    }

    /// Exponential.
    pub(super) fn exponential(&mut self, mean: f64) -> f64 {
        let draw: f64 = Exp1.sample(&mut self.0);
        draw * mean
    }

    /// Log-normal by its median.
    pub(super) fn lognormal(&mut self, median: f64, sigma: f64) -> f64 {
        median * (sigma * self.normal()).exp()
    }

    /// Gamma with mean 1.
    pub(super) fn gamma(&mut self, shape: f64) -> f64 {
        Gamma::new(shape, 1.0 / shape).map_or(1.0, |law| law.sample(&mut self.0))
    }

    /// Poisson.
    pub(super) fn poisson(&mut self, mean: f64) -> u64 {
        if mean <= 0.0 {
            return 0;
        }
        Poisson::new(mean).map_or(0, |law| law.sample(&mut self.0) as u64)
    }

    /// A rank in 0..n, low ranks more often: density falls as 1/(rank + 2).
    pub(super) fn rank(&mut self, n: usize) -> usize {
        let top = (n as f64 + 2.0) / 2.0;
        (2.0 * top.powf(self.unit()) - 2.0).floor().clamp(0.0, n.saturating_sub(1) as f64) as usize
    }
}

/// A bijection of 64 bits that leaves no visible pattern (the finaliser of SplitMix64).
pub(super) fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_repeat_and_differ() {
        let draws = |seed, name| {
            let mut dice = Dice::new(seed, name);
            (0..5).map(|_| dice.bits()).collect::<Vec<_>>()
        };
        assert_eq!(draws(1, "a"), draws(1, "a"));
        assert_ne!(draws(1, "a"), draws(1, "b"));
        assert_ne!(draws(1, "a"), draws(2, "a"));
    }

    #[test]
    fn ranks_stay_in_range_and_favour_the_low_ones() {
        let mut dice = Dice::new(7, "ranks");
        let mut counts = [0u32; 50];
        for _ in 0..20_000 {
            counts[dice.rank(50)] += 1;
        }
        assert!(counts[0] > 3 * counts[40] && counts.iter().all(|count| *count > 0));
        assert_eq!(dice.rank(1), 0);
    }
}
