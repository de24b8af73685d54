//! Small numbers for large tables: what a sender's state is stored in between deliveries.
//!
//! *In*: non-negative numbers. *Out*: the same to 1 in 2,048. *Bound*: 2^-30 to 2^33; what is smaller becomes 0,
//! what is larger stays at the top. Arithmetic is never done in these; the test itself runs in `f64`.

use serde::{Deserialize, Serialize};

/// A non-negative number in 16 bits: 6 of exponent, 10 of fraction. Relative error at most 2^-11.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Small(u16);

/// Exponent of `f32` that becomes 0 here: 2^-31, so that the least number above 0 is 2^-30.
const EXPONENT_OFFSET: u32 = 127 - 31;

impl Small {
    /// The nearest small number; halves go up.
    pub fn new(value: f64) -> Small {
        let bits = (value.max(0.0) as f32).to_bits();
        let rounded = bits.saturating_add(1 << 12) >> 13;
        Small(rounded.saturating_sub(EXPONENT_OFFSET << 10).min(u32::from(u16::MAX)) as u16).zero_below()
    }

    fn zero_below(self) -> Small {
        if self.0 < 1 << 10 { Small(0) } else { self }
    }

    /// The number.
    pub fn get(self) -> f64 {
        if self.0 == 0 {
            return 0.0;
        }
        f64::from(f32::from_bits((u32::from(self.0) + (EXPONENT_OFFSET << 10)) << 13))
    }
}

/// Serde for arrays longer than serde's own 32.
pub mod array {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    /// As a sequence.
    pub fn serialize<S: Serializer, T: Serialize, const N: usize>(
        array: &[T; N],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        array.as_slice().serialize(serializer)
    }

    /// From a sequence of exactly this length.
    pub fn deserialize<'de, D: Deserializer<'de>, T: Deserialize<'de>, const N: usize>(
        deserializer: D,
    ) -> Result<[T; N], D::Error> {
        let list = Vec::<T>::deserialize(deserializer)?;
        let length = list.len();
        list.try_into().map_err(|_| D::Error::invalid_length(length, &"an array of fixed length"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_ends() {
        assert_eq!(Small::new(0.0).get(), 0.0);
        assert_eq!(Small::new(-3.0).get(), 0.0);
        assert_eq!(Small::new(1.0).get(), 1.0);
        assert_eq!(Small::new(1e-12).get(), 0.0);
        assert!(Small::new(f64::INFINITY).get() > 8e9);
        assert_eq!(Small::new(f64::NAN).get(), 0.0);
    }

    proptest! {
        #[test]
        fn near_and_monotonous(value in 1e-8f64..8e9, more in 1.0f64..4.0) {
            let (a, b) = (Small::new(value).get(), Small::new((value * more).min(8e9)).get());
            prop_assert!((a / value - 1.0).abs() <= 1.0 / 2_048.0 + 1e-9);
            prop_assert!(b >= a);
        }
    }
}
