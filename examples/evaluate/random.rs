//! Seeded random numbers: the same seed gives the same world on every machine.
//!
//! *In*: a seed. *Out*: draws. *Spec*: ChaCha8, so that streams of neighbouring seeds do not resemble each other.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Beta, Distribution, Gamma, Poisson, StandardNormal};

/// A stream of random numbers.
pub struct Random(ChaCha8Rng);

impl Random {
    /// The stream of a part of a world.
    pub fn part(seed: u64, part: u64) -> Random {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(part);
        Random(rng)
    }

    /// Between 0 and 1.
    pub fn uniform(&mut self) -> f64 {
        self.0.random()
    }

    /// Between two bounds.
    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.uniform()
    }

    /// A whole number below a bound.
    pub fn below(&mut self, bound: usize) -> usize {
        self.0.random_range(0..bound)
    }

    /// Whether something of this probability happens.
    pub fn happens(&mut self, probability: f64) -> bool {
        self.uniform() < probability
    }

    /// Standard normal.
    pub fn normal(&mut self) -> f64 {
        StandardNormal.sample(&mut self.0)
    }

    /// Poisson; 0 where the mean is.
    pub fn poisson(&mut self, mean: f64) -> usize {
        Poisson::new(mean).map_or(0, |law| law.sample(&mut self.0) as usize)
    }

    /// Gamma of a shape and a scale.
    pub fn gamma(&mut self, shape: f64, scale: f64) -> f64 {
        Gamma::new(shape, scale).map_or(1.0, |law| law.sample(&mut self.0))
    }

    /// Beta.
    pub fn beta(&mut self, a: f64, b: f64) -> f64 {
        Beta::new(a, b).map_or(0.5, |law| law.sample(&mut self.0))
    }

    /// A class by its probabilities.
    pub fn class(&mut self, probabilities: &[f64]) -> u8 {
        let drawn = self.uniform() * 0.999_999;
        let mut sum = 0.0;
        let place = probabilities.iter().position(|p| {
            sum += p;
            drawn <= sum
        });
        place.unwrap_or(probabilities.len() - 1) as u8
    }
}
