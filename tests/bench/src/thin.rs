//! The thin line: 10 Mbit/s and 80 ms there and back, between the terminal's own drain and the
//! reference platform, and how much of it carries payload.

use serde::{Deserialize, Serialize};

use crate::figures::real;

#[cfg(feature = "line")]
pub mod drain;
#[cfg(feature = "line")]
pub mod proxy;

/// Bits in a second each way; a village's share of a mast.
pub const BITS_PER_SECOND: u64 = 10_000_000;

/// What one drain took.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct LineResult {
    /// What was sent.
    pub name: String,
    /// Transactions settled.
    pub transactions: u64,
    /// Bytes of payloads and attachments before they were sealed.
    pub payload_bytes: u64,
    /// Bytes of the requests' bodies before compression, as computed from the contract.
    pub message_bytes: u64,
    /// From the first byte on the line to the last receipt stored.
    pub seconds: f64,
    /// Bytes on the line to the platform, heads of requests included.
    pub bytes_up: u64,
    /// Bytes back.
    pub bytes_down: u64,
}

impl LineResult {
    /// Payload bytes in a second against what the line can carry in one direction, 0 to 1.
    pub fn share_of_line(&self) -> f64 {
        let capacity = real(BITS_PER_SECOND / 8);
        if self.seconds > 0.0 {
            real(self.payload_bytes) / self.seconds / capacity
        } else {
            0.0
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_full_of_payload_is_used_wholly() {
        let result = LineResult {
            payload_bytes: 2_500_000,
            seconds: 2.0,
            ..LineResult::default()
        };
        assert!((result.share_of_line() - 1.0).abs() < 1e-9);
        assert!(LineResult::default().share_of_line() < 1e-9);
    }
}
