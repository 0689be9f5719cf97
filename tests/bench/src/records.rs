//! The same bytes for every contestant: records of letters, because some peers keep text only, that
//! no store can make smaller, made from a seed.

/// Bytes of a record: what a sealed form of a village terminal has, rounded.
pub const RECORD_BYTES: usize = 1024;
/// Letters that no peer has to escape.
const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Numbers that look random and are the same everywhere (`SplitMix64`, Steele and others 2014).
#[derive(Debug, Clone)]
pub struct Numbers(u64);

impl Numbers {
    /// Begins at a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next one.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut number = self.0;
        number = (number ^ (number >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        number = (number ^ (number >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        number ^ (number >> 31)
    }

    /// So many bytes.
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(count + 8);
        while bytes.len() < count {
            bytes.extend(self.draw().to_le_bytes());
        }
        bytes.truncate(count);
        bytes
    }
}

/// So many records, one after another.
pub fn letters(records: usize, seed: u64) -> Vec<u8> {
    let mut bytes = Numbers::new(seed).bytes(records * RECORD_BYTES);
    for byte in &mut bytes {
        *byte = LETTERS[usize::from(*byte % 64)];
    }
    bytes
}

/// The record of a place, beginning again after the last one.
pub fn at(records: &[u8], place: usize) -> &[u8] {
    let count = (records.len() / RECORD_BYTES).max(1);
    records
        .chunks_exact(RECORD_BYTES)
        .nth(place % count)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_published_algorithm() {
        // From the reference implementation with seed 1234567.
        let mut numbers = Numbers::new(1_234_567);
        assert_eq!(numbers.draw(), 6_457_827_717_110_365_317);
        assert_eq!(numbers.draw(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn records_differ_and_are_the_same_every_time() {
        let records = letters(3, 1);
        assert_eq!(records.len(), 3 * RECORD_BYTES);
        assert_eq!(records, letters(3, 1));
        assert_ne!(at(&records, 0), at(&records, 1));
        assert_eq!(at(&records, 4), at(&records, 1));
        assert!(records.iter().all(|byte| LETTERS.contains(byte)));
    }

    #[test]
    fn no_records_are_no_record() {
        assert!(at(&[], 3).is_empty());
    }
}
