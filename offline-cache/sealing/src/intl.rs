//! The `intl` suite: HPKE base mode (RFC 9180) with DHKEM(X25519, HKDF-SHA256), HKDF-SHA256 and
//! AES-256-GCM.

use hpke::aead::{AeadTag, AesGcm256};
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::rand_core::{CryptoRng, RngCore};
use hpke::{
    Deserializable as _, Kem, OpModeR, OpModeS, Serializable as _, setup_receiver, setup_sender,
};
use ring::rand::{SecureRandom as _, SystemRandom};
use zeroize::Zeroizing;

use crate::SealingError;

/// Bytes of an encapsulated key (RFC 9180 §7.1, `Nenc`).
pub(crate) const ENCAPSULATED_BYTES: u16 = 32;

type Encapsulated = [u8; ENCAPSULATED_BYTES as usize];
type PublicKey = <X25519HkdfSha256 as Kem>::PublicKey;
type PrivateKey = <X25519HkdfSha256 as Kem>::PrivateKey;
type EncappedKey = <X25519HkdfSha256 as Kem>::EncappedKey;

/// Whether the bytes can be sealed to. Every string of 32 bytes is a point; the one that is
/// zero would give a secret that everybody knows.
pub(crate) fn is_public_key(bytes: &[u8]) -> bool {
    PublicKey::from_bytes(bytes).is_ok() && bytes.iter().any(|byte| *byte != 0)
}

/// The public key of a secret.
pub(crate) fn public_of(secret: &[u8; 32]) -> Option<Vec<u8>> {
    let secret = PrivateKey::from_bytes(secret).ok()?;
    Some(X25519HkdfSha256::sk_to_pk(&secret).to_bytes().to_vec())
}

/// Encrypts `body` in place and returns the encapsulated key and the tag.
pub(crate) fn seal(
    public: &[u8],
    info: &[u8],
    aad: &[u8],
    body: &mut [u8],
) -> Result<(Encapsulated, [u8; 16]), SealingError> {
    let mut random = Random::new();
    let sealed = seal_with(public, info, aad, body, &mut random)?;
    if random.has_failed {
        return Err(SealingError::Random);
    }
    Ok(sealed)
}

fn seal_with(
    public: &[u8],
    info: &[u8],
    aad: &[u8],
    body: &mut [u8],
    random: &mut impl CryptoRng,
) -> Result<(Encapsulated, [u8; 16]), SealingError> {
    let public = PublicKey::from_bytes(public).map_err(|_| SealingError::BadKey)?;
    let (encapped, mut context) = setup_sender::<AesGcm256, HkdfSha256, X25519HkdfSha256, _>(
        &OpModeS::Base,
        &public,
        info,
        random,
    )
    .map_err(|_| SealingError::BadKey)?;
    let tag = context
        .seal_in_place_detached(body, aad)
        .map_err(|_| SealingError::TooLarge {
            bytes: body.len(),
            bytes_max: crate::PLAIN_BYTES_MAX,
        })?;
    let mut encapsulated = [0; ENCAPSULATED_BYTES as usize];
    encapped.write_exact(&mut encapsulated);
    let mut tag_bytes = [0; 16];
    tag.write_exact(&mut tag_bytes);
    Ok((encapsulated, tag_bytes))
}

/// Decrypts `body` in place; what is in it afterwards is only of use when the answer is `Some`.
pub(crate) fn open(
    secret: &[u8; 32],
    info: &[u8],
    aad: &[u8],
    encapsulated: &[u8],
    body: &mut [u8],
    tag: &[u8],
) -> Option<()> {
    let secret = PrivateKey::from_bytes(secret).ok()?;
    let encapped = EncappedKey::from_bytes(encapsulated).ok()?;
    let tag = AeadTag::<AesGcm256>::from_bytes(tag).ok()?;
    setup_receiver::<AesGcm256, HkdfSha256, X25519HkdfSha256>(
        &OpModeR::Base,
        &secret,
        &encapped,
        info,
    )
    .ok()?
    .open_in_place_detached(body, aad, &tag)
    .ok()
}

/// The system's randomness in the form that hpke asks for, which has no way to say that there
/// is none: a failure is remembered and the envelope thrown away.
struct Random {
    system: SystemRandom,
    has_failed: bool,
}

impl Random {
    fn new() -> Self {
        Self {
            system: SystemRandom::new(),
            has_failed: false,
        }
    }
}

impl RngCore for Random {
    fn next_u32(&mut self) -> u32 {
        let mut bytes = Zeroizing::new([0; 4]);
        self.fill_bytes(bytes.as_mut());
        u32::from_le_bytes(*bytes)
    }

    fn next_u64(&mut self) -> u64 {
        let mut bytes = Zeroizing::new([0; 8]);
        self.fill_bytes(bytes.as_mut());
        u64::from_le_bytes(*bytes)
    }

    fn fill_bytes(&mut self, destination: &mut [u8]) {
        if self.system.fill(destination).is_err() {
            self.has_failed = true;
        }
    }
}

impl CryptoRng for Random {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::{hash_from_hex, hex};

    /// Gives the bytes of a test vector.
    struct Scripted([u8; 32]);

    impl RngCore for Scripted {
        fn next_u32(&mut self) -> u32 {
            unreachable!("the sender draws bytes only")
        }
        fn next_u64(&mut self) -> u64 {
            unreachable!("the sender draws bytes only")
        }
        fn fill_bytes(&mut self, destination: &mut [u8]) {
            destination.copy_from_slice(&self.0);
        }
    }
    impl CryptoRng for Scripted {}

    #[test]
    fn hpke_agrees_with_the_published_vectors() {
        // The vectors of RFC 9180 (cfrg/draft-irtf-cfrg-hpke, 5f503c5): base mode, KEM 0x0020,
        // KDF 0x0001, AEAD 0x0002, encryption 0.
        let info = b"Ode on a Grecian Urn";
        let aad = b"Count-0";
        let plain = b"Beauty is truth, truth beauty";
        let secret =
            hash_from_hex("497b4502664cfea5d5af0b39934dac72242a74f8480451e1aee7d6a53320333d")
                .unwrap();
        let public = public_of(&secret).unwrap();
        assert_eq!(
            hex(&public),
            "430f4b9859665145a6b1ba274024487bd66f03a2dd577d7753c68d7d7d00c00c"
        );
        let drawn =
            hash_from_hex("2cd7c601cefb3d42a62b04b7a9041494c06c7843818e0ce28a8f704ae7ab20f9")
                .unwrap();
        let mut body = plain.to_vec();
        let (encapsulated, tag) =
            seal_with(&public, info, aad, &mut body, &mut Scripted(drawn)).unwrap();
        assert_eq!(
            hex(&encapsulated),
            "6c93e09869df3402d7bf231bf540fadd35cd56be14f97178f0954db94b7fc256"
        );
        assert_eq!(
            hex(&body) + &hex(&tag),
            "e5d84cd531cfb583096e7cfa9641bd3079cf3a91cda813c52deb5f512be99319\
             80a41de125a925cdad859d5b7a"
        );
        open(&secret, info, aad, &encapsulated, &mut body, &tag).unwrap();
        assert_eq!(body, plain);
    }

    #[test]
    fn a_key_of_small_order_is_refused() {
        // u = 1 has order four on the curve: the shared secret would be zero.
        let mut point = [0; 32];
        point[0] = 1;
        assert_eq!(
            seal(&point, b"", b"", &mut [0; 4]),
            Err(SealingError::BadKey)
        );
    }
}
