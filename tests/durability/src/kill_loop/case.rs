//! What the victim submits: content that follows from a seed and a number, so that the oracle can
//! say what must arrive without having been told. All of it is invented.

use serde_json::json;
use uuid::Uuid;

use kiosk_tests::random::{Random, bytes_of};

/// People in turn.
const SUBJECTS: u64 = 11;
/// Size of a small picture at most, and of a large one, which takes two pieces to upload.
const SMALL_BYTES_MAX: u64 = 20_000;
const LARGE_BYTES: u64 = 600_000;
/// The last of the sixteen ids of a number: no transaction has so many attachments.
const RECORD_PART: u64 = 15;

/// One transaction before it is sealed.
pub(super) struct Case {
    pub(super) id: Uuid,
    pub(super) slip_number: String,
    pub(super) subject: [u8; 32],
    /// JSON, as the contract wants it.
    pub(super) payload: String,
    pub(super) attachments: Vec<(Uuid, Vec<u8>)>,
}

impl Case {
    pub(super) fn new(seed: u64, number: u64) -> Self {
        let mut random = Random::new(seed ^ number.rotate_left(24));
        let length = 20 + usize::try_from(random.below(600)).unwrap_or(0);
        let filler: String = bytes_of(random.bits(), length)
            .iter()
            .map(|byte| char::from(b'a' + byte % 26))
            .collect();
        let files = match random.below(4) {
            0 => 1 + random.below(2),
            _ => 0,
        };
        let attachments = (0..files)
            .map(|position| {
                let bytes = if random.happens(60) {
                    LARGE_BYTES
                } else {
                    1 + random.below(SMALL_BYTES_MAX)
                };
                let bytes = bytes_of(random.bits(), usize::try_from(bytes).unwrap_or(1));
                (id(seed, number, 1 + position), bytes)
            })
            .collect();
        Self {
            id: id(seed, number, 0),
            slip_number: format!("{}-{number}", super::TERMINAL),
            subject: subject(number),
            payload: json!({ "format": 1, "number": number, "filler": filler }).to_string(),
            attachments,
        }
    }
}

/// The person of a transaction; a stand-in for the keyed digest.
pub(super) fn subject(number: u64) -> [u8; 32] {
    [u8::try_from(number % SUBJECTS).unwrap_or(0); 32]
}

fn id(seed: u64, number: u64, part: u64) -> Uuid {
    Uuid::from_u128(u128::from(seed) << 64 | u128::from(number << 4 | part))
}

/// The id of a thing that staff wrote down; no transaction has it.
pub(super) fn record_id(seed: u64, number: u64) -> Uuid {
    id(seed, number, RECORD_PART)
}

/// The number of a transaction by its id, if it is one of this seed.
pub(super) fn number_of(seed: u64, id: Uuid) -> Option<u64> {
    let bits = id.as_u128();
    let low = u64::try_from(bits & u128::from(u64::MAX)).ok()?;
    (bits >> 64 == u128::from(seed) && low.trailing_zeros() >= 4).then_some(low >> 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_follows_from_seed_and_number() {
        let (first, again, other) = (Case::new(1, 2), Case::new(1, 2), Case::new(1, 3));
        assert_eq!(first.payload, again.payload);
        assert_eq!(first.attachments, again.attachments);
        assert_ne!(first.payload, other.payload);
        assert_eq!(number_of(1, first.id), Some(2));
        assert_eq!(number_of(2, first.id), None);
    }
}
