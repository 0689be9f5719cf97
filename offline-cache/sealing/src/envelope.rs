//! Envelopes: content that only the platform can read, bound to the place it belongs to.
//!
//! The layout is fixed and of known length, all numbers big-endian:
//!
//! | bytes | what |
//! |---|---|
//! | 4 | `KENV` |
//! | 1 | version, 1 |
//! | 1 | suite: 1 `intl`, 2 `gm` |
//! | 8 | id of the recipient's key |
//! | 2 | length of what follows next: the encapsulated key |
//! | 4 | length of the body |
//! | | encapsulated key (`intl` 32 bytes; `gm` C1 C3 C2 and the nonce, 125 bytes) |
//! | | body: the encrypted content and its tag of 16 bytes |
//!
//! The first twenty bytes and the context are authenticated with the content, so an envelope
//! moved to another transaction does not open.

use uuid::Uuid;
use zeroize::Zeroizing;

use crate::encoding::hex;
use crate::{RecipientKey, RecipientSecret, SealingError, Suite, gm, intl};

/// Largest envelope that is made or looked at: an attachment of 8 MiB with room to spare.
pub const ENVELOPE_BYTES_MAX: usize = 9 * 1024 * 1024;
/// Most bytes that an envelope adds to its content.
pub const ENVELOPE_OVERHEAD_MAX: usize = HEADER_BYTES + gm::ENCAPSULATED_BYTES as usize + TAG_BYTES;
/// Largest content of an envelope.
pub const PLAIN_BYTES_MAX: usize = ENVELOPE_BYTES_MAX - ENVELOPE_OVERHEAD_MAX;

/// Domain of the key derivation; changes with the version.
const INFO: &[u8] = b"kiosk.envelope.v1";
const MAGIC: [u8; 4] = *b"KENV";
const VERSION: u8 = 1;
const HEADER_BYTES: usize = 20;
/// Tag of AES-GCM and SM4-GCM.
const TAG_BYTES: usize = 16;

/// What an envelope says about itself; not authenticated until it has been opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvelopeHeader {
    /// The suite it was sealed with.
    pub suite: Suite,
    /// The key it was sealed to.
    pub key_id: String,
}

/// An envelope taken apart, nothing of it believed yet.
struct Parts<'a> {
    header: &'a [u8],
    suite: Suite,
    key_id: [u8; 8],
    encapsulated: &'a [u8],
    body: &'a [u8],
    tag: &'a [u8],
}

/// Seals `plain` to a key. The same `context` must be given to open it; it is not stored.
///
/// # Errors
/// `TooLarge` above [`PLAIN_BYTES_MAX`]; `BadKey` when the key has no use (of small order);
/// `Random`.
pub fn seal(to: &RecipientKey, context: &[u8], plain: &[u8]) -> Result<Vec<u8>, SealingError> {
    let too_large = SealingError::TooLarge {
        bytes: plain.len(),
        bytes_max: PLAIN_BYTES_MAX,
    };
    if plain.len() > PLAIN_BYTES_MAX {
        return Err(too_large);
    }
    let encapsulated_bytes = encapsulated_bytes(to.suite());
    let body_from = HEADER_BYTES + usize::from(encapsulated_bytes);
    let body_bytes = u32::try_from(plain.len() + TAG_BYTES).map_err(|_| too_large)?;
    let mut envelope = Vec::with_capacity(body_from + plain.len() + TAG_BYTES);
    envelope.extend(MAGIC);
    envelope.extend([VERSION, suite_byte(to.suite())]);
    envelope.extend(to.key_id_bytes());
    envelope.extend(encapsulated_bytes.to_be_bytes());
    envelope.extend(body_bytes.to_be_bytes());
    let aad = [&envelope[..], context].concat();
    envelope.resize(body_from, 0);
    envelope.extend_from_slice(plain);
    // Nothing leaves this function but what was encrypted: an error drops the buffer wiped.
    let mut envelope = Zeroizing::new(envelope);
    let body = &mut envelope[body_from..];
    let (encapsulated, tag) = match to.suite() {
        Suite::Intl => {
            let (encapsulated, tag) = intl::seal(to.bytes(), INFO, &aad, body)?;
            (encapsulated.to_vec(), tag)
        }
        Suite::Gm => {
            let (encapsulated, tag) = gm::seal(to.bytes(), &aad, body)?;
            (encapsulated.to_vec(), tag)
        }
    };
    envelope[HEADER_BYTES..body_from].copy_from_slice(&encapsulated);
    envelope.extend(tag);
    Ok(std::mem::take(&mut *envelope))
}

/// Opens an envelope with whichever of the secrets it was sealed to.
///
/// # Errors
/// `UnknownKey` when none of the secrets fits: keep the envelope and ask for the key.
/// `Truncated`, `Malformed`: these bytes can never be opened. `Forged`: altered, or sealed for
/// another context.
pub fn open(
    secrets: &[RecipientSecret],
    context: &[u8],
    envelope: &[u8],
) -> Result<Zeroizing<Vec<u8>>, SealingError> {
    let parts = parse(envelope)?;
    let secret = secrets
        .iter()
        .find(|secret| {
            secret.public_ref().suite() == parts.suite
                && secret.public_ref().key_id_bytes() == parts.key_id
        })
        .ok_or_else(|| SealingError::UnknownKey {
            key_id: hex(&parts.key_id),
        })?;
    let aad = [parts.header, context].concat();
    let mut plain = Zeroizing::new(parts.body.to_vec());
    let opened = match parts.suite {
        Suite::Intl => intl::open(
            secret.bytes(),
            INFO,
            &aad,
            parts.encapsulated,
            &mut plain,
            parts.tag,
        ),
        Suite::Gm => gm::open(
            secret.bytes(),
            &aad,
            parts.encapsulated,
            &mut plain,
            parts.tag,
        ),
    };
    opened.ok_or(SealingError::Forged)?;
    Ok(plain)
}

/// Reads what an envelope says about itself, and that it is whole.
///
/// # Errors
/// `Truncated` or `Malformed`.
pub fn header(envelope: &[u8]) -> Result<EnvelopeHeader, SealingError> {
    let parts = parse(envelope)?;
    Ok(EnvelopeHeader {
        suite: parts.suite,
        key_id: hex(&parts.key_id),
    })
}

/// The context of a transaction's payload: it opens for this terminal and this id only.
pub fn payload_context(terminal: &str, id: Uuid) -> Vec<u8> {
    context(b"kiosk.payload.v1", terminal, &[id])
}

/// The context of an attachment: it opens for this terminal, transaction and id only.
pub fn attachment_context(terminal: &str, transaction: Uuid, attachment: Uuid) -> Vec<u8> {
    context(b"kiosk.attachment.v1", terminal, &[transaction, attachment])
}

/// The ids have a fixed length and the domain ends at the first zero, so no two places share a
/// context, whatever the terminal is called.
fn context(domain: &[u8], terminal: &str, ids: &[Uuid]) -> Vec<u8> {
    let mut context = [domain, &[0]].concat();
    for id in ids {
        context.extend(id.as_bytes());
    }
    context.extend(terminal.as_bytes());
    context
}

fn suite_byte(suite: Suite) -> u8 {
    match suite {
        Suite::Intl => 1,
        Suite::Gm => 2,
    }
}

fn encapsulated_bytes(suite: Suite) -> u16 {
    match suite {
        Suite::Intl => intl::ENCAPSULATED_BYTES,
        Suite::Gm => gm::ENCAPSULATED_BYTES,
    }
}

/// Takes an envelope apart. Every length is fixed by the suite or checked against what is there.
fn parse(envelope: &[u8]) -> Result<Parts<'_>, SealingError> {
    if envelope.len() > ENVELOPE_BYTES_MAX {
        return Err(SealingError::Malformed);
    }
    let prefix = envelope.len().min(MAGIC.len());
    if envelope[..prefix] != MAGIC[..prefix] {
        return Err(SealingError::Malformed);
    }
    let (header, rest) = envelope
        .split_at_checked(HEADER_BYTES)
        .ok_or(SealingError::Truncated)?;
    let suite = match (header[4], header[5]) {
        (VERSION, 1) => Suite::Intl,
        (VERSION, 2) => Suite::Gm,
        _ => return Err(SealingError::Malformed),
    };
    let mut key_id = [0; 8];
    key_id.copy_from_slice(&header[6..14]);
    let stated = u16::from_be_bytes([header[14], header[15]]);
    let body_bytes = u32::from_be_bytes([header[16], header[17], header[18], header[19]]) as usize;
    if stated != encapsulated_bytes(suite)
        || !(TAG_BYTES..=ENVELOPE_BYTES_MAX).contains(&body_bytes)
    {
        return Err(SealingError::Malformed);
    }
    let stated = usize::from(stated);
    match rest.len().cmp(&(stated + body_bytes)) {
        std::cmp::Ordering::Less => return Err(SealingError::Truncated),
        std::cmp::Ordering::Greater => return Err(SealingError::Malformed),
        std::cmp::Ordering::Equal => {}
    }
    let (encapsulated, rest) = rest.split_at(stated);
    let (body, tag) = rest.split_at(body_bytes - TAG_BYTES);
    Ok(Parts {
        header,
        suite,
        key_id,
        encapsulated,
        body,
        tag,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUITES: [Suite; 2] = [Suite::Intl, Suite::Gm];

    #[test]
    fn what_is_sealed_opens_for_the_recipient_alone() {
        for suite in SUITES {
            let secret = RecipientSecret::generate(suite).unwrap();
            let other = RecipientSecret::generate(suite).unwrap();
            for plain in [&b""[..], b"x", "测试一".as_bytes(), &vec![7; 70_000]] {
                let envelope = seal(&secret.public(), b"here", plain).unwrap();
                assert!(envelope.len() <= plain.len() + ENVELOPE_OVERHEAD_MAX);
                assert_eq!(
                    header(&envelope).unwrap(),
                    EnvelopeHeader {
                        suite,
                        key_id: secret.public().key_id()
                    }
                );
                let both = [other.clone(), secret.clone()];
                assert_eq!(open(&both, b"here", &envelope).unwrap().as_slice(), plain);
                assert_eq!(
                    open(&both[..1], b"here", &envelope),
                    Err(SealingError::UnknownKey {
                        key_id: secret.public().key_id()
                    })
                );
            }
        }
    }

    #[test]
    fn no_two_envelopes_of_the_same_content_look_alike() {
        for suite in SUITES {
            let key = RecipientSecret::generate(suite).unwrap().public();
            let first = seal(&key, b"", b"same").unwrap();
            let second = seal(&key, b"", b"same").unwrap();
            assert_ne!(first[HEADER_BYTES..], second[HEADER_BYTES..]);
        }
    }

    #[test]
    fn the_content_does_not_show() {
        for suite in SUITES {
            let key = RecipientSecret::generate(suite).unwrap().public();
            let envelope = seal(&key, b"", b"440100197505050046").unwrap();
            assert!(
                !envelope
                    .windows(6)
                    .any(|window| b"440100197505050046".windows(6).any(|part| part == window))
            );
        }
    }

    #[test]
    fn an_envelope_moved_elsewhere_does_not_open() {
        let [first, second] = [Uuid::from_u128(1), Uuid::from_u128(2)];
        for suite in SUITES {
            let secret = [RecipientSecret::generate(suite).unwrap()];
            let key = secret[0].public();
            let envelope = seal(&key, &payload_context("T001", first), b"x").unwrap();
            for context in [
                payload_context("T001", second),
                payload_context("T002", first),
                attachment_context("T001", first, first),
                Vec::new(),
            ] {
                assert_eq!(
                    open(&secret, &context, &envelope),
                    Err(SealingError::Forged)
                );
            }
            open(&secret, &payload_context("T001", first), &envelope).unwrap();
        }
        assert_ne!(
            attachment_context("T001", first, second),
            attachment_context("T001", second, first)
        );
    }

    #[test]
    fn every_altered_byte_and_every_cut_is_refused() {
        for suite in SUITES {
            let secret = [RecipientSecret::generate(suite).unwrap()];
            let envelope = seal(&secret[0].public(), b"here", b"content").unwrap();
            for index in 0..envelope.len() {
                let mut altered = envelope.clone();
                altered[index] ^= 1 << (index % 8);
                assert!(open(&secret, b"here", &altered).is_err(), "{suite} {index}");
                assert_eq!(
                    open(&secret, b"here", &envelope[..index]),
                    Err(SealingError::Truncated),
                    "{suite} {index}"
                );
                assert!(header(&envelope[..index]).is_err());
            }
            let longer = [&envelope[..], &[0]].concat();
            assert_eq!(
                open(&secret, b"here", &longer),
                Err(SealingError::Malformed)
            );
        }
    }

    #[test]
    fn what_is_too_large_is_refused_both_ways() {
        let secret = RecipientSecret::generate(Suite::Intl).unwrap();
        assert_eq!(
            seal(&secret.public(), b"", &vec![0; PLAIN_BYTES_MAX + 1]),
            Err(SealingError::TooLarge {
                bytes: PLAIN_BYTES_MAX + 1,
                bytes_max: PLAIN_BYTES_MAX
            })
        );
        let mut huge = MAGIC.to_vec();
        huge.resize(ENVELOPE_BYTES_MAX + 1, 0);
        assert_eq!(header(&huge), Err(SealingError::Malformed));
    }

    #[test]
    fn an_envelope_of_a_later_version_is_not_guessed_at() {
        let secret = RecipientSecret::generate(Suite::Intl).unwrap();
        let mut envelope = seal(&secret.public(), b"", b"x").unwrap();
        envelope[4] = 2;
        assert_eq!(header(&envelope), Err(SealingError::Malformed));
    }
}
