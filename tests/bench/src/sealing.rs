//! What an envelope costs: sealing as at the moment a citizen confirms, opening as at the platform.

use anyhow::ensure;
use kiosk_sealing::{RecipientSecret, Suite, open, seal};
use serde::{Deserialize, Serialize};

use crate::clock::Watch;
use crate::figures::{Figures, real};
use crate::records::Numbers;

/// Sizes measured: a form, and a photographed page.
pub const SIZES: [usize; 2] = [1024, 2 * 1024 * 1024];

/// The cost of one suite and size.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SealingResult {
    /// The suite.
    pub suite: String,
    /// Bytes sealed.
    pub bytes: u64,
    /// Bytes the envelope adds.
    pub overhead: u64,
    /// Sealing.
    pub seal: Figures,
    /// Opening.
    pub open: Figures,
}

impl SealingResult {
    /// MiB in a second of an operation.
    pub fn mib_per_second(&self, figures: &Figures) -> f64 {
        real(self.bytes) * figures.per_second / (1024.0 * 1024.0)
    }
}

/// Seals and opens so many times for each suite and size.
///
/// # Errors
/// When an envelope cannot be made or opened, or gives other bytes back.
pub fn measure(repeats: u32) -> anyhow::Result<Vec<SealingResult>> {
    let mut results = Vec::new();
    for suite in [Suite::Intl, Suite::Gm] {
        let secrets = [RecipientSecret::generate(suite)?];
        let public = secrets[0].public();
        for size in SIZES {
            let plain = Numbers::new(7).bytes(size);
            let (mut sealing, mut opening, mut overhead) = (Vec::new(), Vec::new(), 0);
            for _ in 0..repeats.max(1) {
                let watch = Watch::start();
                let envelope = seal(&public, b"bench", &plain)?;
                sealing.push(watch.nanoseconds());
                overhead = envelope.len().saturating_sub(plain.len());
                let watch = Watch::start();
                let opened = open(&secrets, b"bench", &envelope)?;
                opening.push(watch.nanoseconds());
                ensure!(opened.as_slice() == plain, "an envelope gave other bytes");
            }
            results.push(SealingResult {
                suite: suite.to_string(),
                bytes: size as u64,
                overhead: overhead as u64,
                seal: Figures::of(&[sealing]),
                open: Figures::of(&[opening]),
            });
        }
    }
    Ok(results)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_suite_and_size_has_its_figures() {
        let results = measure(1).unwrap();
        assert_eq!(results.len(), 4);
        for result in results {
            assert_eq!(result.seal.operations, 1);
            assert!(result.mib_per_second(&result.open) > 0.0);
            assert!(result.overhead > 0 && result.overhead <= 256, "{result:?}");
        }
    }
}
