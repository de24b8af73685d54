//! SPOT: Wald's sequential probability ratio test of a machine's messages, spam or not. Without a content filter the
//! verdict is the receiver's: refused or not. A test that ends for "normal" begins anew.

use super::Judge;

/// Share of spam of a normal and of a compromised machine.
const SHARES: (f64, f64) = (0.2, 0.9);
/// Accepted error of either kind.
const ERROR: f64 = 0.01;
/// ln((1 - error) / error).
pub const PUBLISHED: f64 = 4.595_119_850_134_59;

/// The running log-likelihood ratio.
pub fn judge() -> Judge {
    let (normal, compromised) = SHARES;
    let (refused, taken) = ((compromised / normal).ln(), ((1.0 - compromised) / (1.0 - normal)).ln());
    let normal_at = (ERROR / (1.0 - ERROR)).ln();
    let mut ratio = 0.0f64;
    Box::new(move |seen| {
        ratio += if seen.refused { refused } else { taken };
        if ratio <= normal_at {
            ratio = 0.0;
        }
        ratio
    })
}
