//! The `gm` suite: a fresh SM4 key goes to the recipient by SM2 public-key encryption
//! (GB/T 32918.4, order C1 C3 C2), the content under it by SM4-GCM (RFC 8998).

use aes_gcm::aead::consts::U12;
use aes_gcm::aead::generic_array::GenericArray;
use aes_gcm::{AeadInPlace as _, AesGcm, KeyInit as _};
use ring::rand::{SecureRandom as _, SystemRandom};
use sm2::elliptic_curve::common::getrandom::SysRng;
use sm2::elliptic_curve::sec1::ToSec1Point as _;
use sm2::pke::{DecryptingKey, EncryptingKey};
use sm4::Sm4;
use zeroize::Zeroizing;

use crate::SealingError;

type Encapsulated = [u8; ENCAPSULATED_BYTES as usize];
type Sm4Gcm = AesGcm<Sm4, U12>;

/// Bytes of an SM4 key (GB/T 32907).
const KEY_BYTES: usize = 16;
/// Bytes of a nonce of SM4-GCM (RFC 8998 §2).
const NONCE_BYTES: usize = 12;
/// Bytes of an uncompressed point.
pub(crate) const POINT_BYTES: usize = 65;
/// Bytes of the encrypted SM4 key: C1 (point), C3 (SM3), C2 (the key).
const WRAPPED_BYTES: usize = POINT_BYTES + 32 + KEY_BYTES;
/// Bytes that stand before the body: the encrypted key, then the nonce.
pub(crate) const ENCAPSULATED_BYTES: u16 = 125;
const _: () = assert!(ENCAPSULATED_BYTES as usize == WRAPPED_BYTES + NONCE_BYTES);

/// Whether the bytes are an uncompressed point on the curve.
pub(crate) fn is_public_key(bytes: &[u8]) -> bool {
    bytes.len() == POINT_BYTES && bytes[0] == 4 && sm2::PublicKey::from_sec1_bytes(bytes).is_ok()
}

/// The public key of a secret; nothing when the secret is out of range.
pub(crate) fn public_of(secret: &[u8; 32]) -> Option<Vec<u8>> {
    let secret = sm2::SecretKey::from_slice(secret).ok()?;
    Some(secret.public_key().to_sec1_point(false).as_bytes().to_vec())
}

/// Encrypts `body` in place and returns what the recipient needs beside it, and the tag.
pub(crate) fn seal(
    public: &[u8],
    aad: &[u8],
    body: &mut [u8],
) -> Result<(Encapsulated, [u8; 16]), SealingError> {
    let random = SystemRandom::new();
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    let mut nonce = [0; NONCE_BYTES];
    random
        .fill(key.as_mut())
        .and_then(|()| random.fill(&mut nonce))
        .map_err(|_| SealingError::Random)?;
    let public = EncryptingKey::from_sec1_bytes(public).map_err(|_| SealingError::BadKey)?;
    let wrapped = public
        .encrypt(&mut SysRng, key.as_ref())
        .map_err(|_| SealingError::Random)?;
    let tag = encrypt(&key, &nonce, aad, body).ok_or(SealingError::TooLarge {
        bytes: body.len(),
        bytes_max: crate::PLAIN_BYTES_MAX,
    })?;
    let mut encapsulated = [0; ENCAPSULATED_BYTES as usize];
    if wrapped.len() != WRAPPED_BYTES {
        return Err(SealingError::BadKey);
    }
    encapsulated[..WRAPPED_BYTES].copy_from_slice(&wrapped);
    encapsulated[WRAPPED_BYTES..].copy_from_slice(&nonce);
    Ok((encapsulated, tag))
}

/// Decrypts `body` in place; what is in it afterwards is only of use when the answer is `Some`.
pub(crate) fn open(
    secret: &[u8; 32],
    aad: &[u8],
    encapsulated: &[u8],
    body: &mut [u8],
    tag: &[u8],
) -> Option<()> {
    if encapsulated.len() != usize::from(ENCAPSULATED_BYTES) || tag.len() != 16 {
        return None;
    }
    let (wrapped, nonce) = encapsulated.split_at(WRAPPED_BYTES);
    let key = unwrap_key(secret, wrapped)?;
    let mut fixed = Zeroizing::new([0; KEY_BYTES]);
    if key.len() != KEY_BYTES {
        return None;
    }
    fixed.copy_from_slice(&key);
    Sm4Gcm::new(GenericArray::from_slice(fixed.as_ref()))
        .decrypt_in_place_detached(
            GenericArray::from_slice(nonce),
            aad,
            body,
            GenericArray::from_slice(tag),
        )
        .ok()
}

/// SM4-GCM in place; nothing when the content is longer than the mode allows.
fn encrypt(
    key: &[u8; KEY_BYTES],
    nonce: &[u8; NONCE_BYTES],
    aad: &[u8],
    body: &mut [u8],
) -> Option<[u8; 16]> {
    Sm4Gcm::new(GenericArray::from_slice(key))
        .encrypt_in_place_detached(GenericArray::from_slice(nonce), aad, body)
        .ok()
        .map(Into::into)
}

/// SM2 decryption of C1 C3 C2 with an uncompressed C1; one form only, so that no other string
/// of bytes opens to the same key.
fn unwrap_key(secret: &[u8; 32], wrapped: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    if wrapped.len() <= POINT_BYTES + 32 || !is_public_key(&wrapped[..POINT_BYTES]) {
        return None;
    }
    let secret = sm2::SecretKey::from_slice(secret).ok()?;
    DecryptingKey::new(secret)
        .decrypt(wrapped)
        .ok()
        .map(Zeroizing::new)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use sm2::pkcs8::EncodePrivateKey as _;
    use sm2::pkcs8::der::{Decode as _, Encode as _};
    use sm2::pke::{Cipher, Mode};
    use sm4::cipher::{BlockEncrypt as _, KeyInit as _};

    use super::*;
    use crate::encoding::{base64, hash_from_hex, hex};

    fn bytes(digits: &str) -> Vec<u8> {
        digits
            .as_bytes()
            .chunks_exact(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect()
    }

    /// Private key of the examples in GB/T 32918.5.
    fn standard_secret() -> [u8; 32] {
        hash_from_hex("3945208f7b2144b13f36e38ac6d39f95889393692860b51a42fb81ef4df7c5b8").unwrap()
    }

    fn openssl(arguments: &[&str]) {
        let output = Command::new("openssl").args(arguments).output().unwrap();
        assert!(
            output.status.success(),
            "openssl {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    #[test]
    fn sm4_agrees_with_the_standard() {
        // GB/T 32907-2016, A.1.
        let key = bytes("0123456789abcdeffedcba9876543210");
        let mut block = *GenericArray::from_slice(&key);
        Sm4::new(GenericArray::from_slice(&key)).encrypt_block(&mut block);
        assert_eq!(hex(&block), "681edf34d206965e86b3e94f536e4246");
    }

    #[test]
    fn sm4_gcm_agrees_with_rfc_8998() {
        // RFC 8998, A.1.
        let key: [u8; 16] = bytes("0123456789abcdeffedcba9876543210")
            .try_into()
            .unwrap();
        let nonce: [u8; 12] = bytes("00001234567800000000abcd").try_into().unwrap();
        let aad = bytes("feedfacedeadbeeffeedfacedeadbeefabaddad2");
        let mut body = bytes(
            "aaaaaaaaaaaaaaaabbbbbbbbbbbbbbbbccccccccccccccccdddddddddddddddd\
             eeeeeeeeeeeeeeeeffffffffffffffffeeeeeeeeeeeeeeeeaaaaaaaaaaaaaaaa",
        );
        let tag = encrypt(&key, &nonce, &aad, &mut body).unwrap();
        assert_eq!(
            hex(&body),
            "17f399f08c67d5ee19d0dc9969c4bb7d5fd46fd3756489069157b282bb200735\
             d82710ca5c22f0ccfa7cbf93d496ac15a56834cbcf98c397b4024a2691233b8d"
        );
        assert_eq!(hex(&tag), "83de3541e4c2b58177e065a9bf7b62ec");
    }

    #[test]
    fn sm2_decryption_agrees_with_the_standard() {
        // GB/T 32918.5-2017, annex C: "encryption standard".
        let wrapped = bytes(
            "0404ebfc718e8d1798620432268e77feb6415e2ede0e073c0f4f640ecd2e149a73\
             e858f9d81e5430a57b36daab8f950a3c64e6ee6a63094d99283aff767e124df0\
             59983c18f809e262923c53aec295d30383b54e39d609d160afcb1908d0bd8766\
             21886ca989ca9c7d58087307ca93092d651efa",
        );
        let plain = unwrap_key(&standard_secret(), &wrapped).unwrap();
        assert_eq!(plain.as_slice(), b"encryption standard");
    }

    #[test]
    fn openssl_opens_what_we_wrap_and_we_open_what_it_wraps() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
        let secret = standard_secret();
        let document = sm2::SecretKey::from_slice(&secret)
            .unwrap()
            .to_pkcs8_der()
            .unwrap();
        std::fs::write(
            path("secret.pem"),
            format!(
                "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
                base64(document.as_bytes())
            ),
        )
        .unwrap();
        let key = [0x5a; KEY_BYTES];
        let wrapped = EncryptingKey::from_sec1_bytes(&public_of(&secret).unwrap())
            .unwrap()
            .encrypt(&mut SysRng, &key)
            .unwrap();
        // OpenSSL speaks the ASN.1 form of the same three parts (GM/T 0009).
        let cipher: Cipher<'_> = Cipher::from_slice(&wrapped, Mode::C1C3C2).unwrap();
        std::fs::write(path("ours"), cipher.to_der().unwrap()).unwrap();
        let (secret_file, ours, plain) = (path("secret.pem"), path("ours"), path("plain"));
        openssl(&[
            "pkeyutl",
            "-decrypt",
            "-inkey",
            &secret_file,
            "-in",
            &ours,
            "-out",
            &plain,
        ]);
        assert_eq!(std::fs::read(&plain).unwrap(), key);

        let theirs = path("theirs");
        openssl(&[
            "pkeyutl",
            "-encrypt",
            "-inkey",
            &secret_file,
            "-in",
            &plain,
            "-out",
            &theirs,
        ]);
        let document = std::fs::read(&theirs).unwrap();
        let cipher: Cipher<'_> = Cipher::from_der(&document).unwrap();
        let wrapped = cipher.to_vec(Mode::C1C3C2, false).unwrap();
        assert_eq!(unwrap_key(&secret, &wrapped).unwrap().as_slice(), key);
    }

    #[test]
    fn openssl_decrypts_our_sm4_in_counter_mode() {
        // OpenSSL 3.0 has SM4-CTR but no SM4-GCM; GCM is CTR from counter 2 (SP 800-38D §7.1).
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
        let key: [u8; KEY_BYTES] = std::array::from_fn(|index| u8::try_from(index).unwrap() * 7);
        let nonce: [u8; NONCE_BYTES] =
            std::array::from_fn(|index| u8::try_from(index).unwrap() + 3);
        let plain: Vec<u8> = (0..=250).cycle().take(10_000).collect();
        let mut body = plain.clone();
        encrypt(&key, &nonce, b"", &mut body).unwrap();
        let (sealed, opened) = (path("sealed"), path("opened"));
        std::fs::write(&sealed, &body).unwrap();
        let counter = hex(&nonce) + "00000002";
        openssl(&[
            "enc",
            "-d",
            "-sm4-ctr",
            "-K",
            &hex(&key),
            "-iv",
            &counter,
            "-in",
            &sealed,
            "-out",
            &opened,
        ]);
        assert_eq!(std::fs::read(&opened).unwrap(), plain);
    }
}
