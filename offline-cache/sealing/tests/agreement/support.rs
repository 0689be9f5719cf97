//! Files, keys and signatures in the forms that OpenSSL reads.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kiosk_sealing::{Algorithm, PublicKey};
use tempfile::TempDir;

/// A directory of short-lived files.
pub(crate) struct Desk(TempDir);

impl Desk {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    pub(crate) fn directory(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    }
}

/// Runs OpenSSL, which the tests need (Debian: `openssl`), and gives what it printed.
pub(crate) fn openssl(arguments: &[&str]) -> String {
    let output = Command::new("openssl").args(arguments).output().unwrap();
    assert!(
        output.status.success(),
        "openssl {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Whether OpenSSL believes a signature.
pub(crate) fn openssl_verifies(key: &PublicKey, message: &[u8], signature: &[u8]) -> bool {
    let desk = Desk::new();
    let public = desk.write("public.pem", public_pem(key));
    let message = desk.write("message", message);
    let signature = desk.write(
        "signature",
        match key.algorithm() {
            Algorithm::Ed25519 => signature.to_vec(),
            Algorithm::EcdsaP256 | Algorithm::Sm2 => signature_der(signature),
        },
    );
    let mut arguments = vec!["pkeyutl", "-verify", "-pubin", "-inkey", &public, "-rawin"];
    arguments.extend(digest_arguments(key.algorithm()));
    arguments.extend(["-in", &message, "-sigfile", &signature]);
    let output = Command::new("openssl").args(arguments).output().unwrap();
    output.status.success()
}

/// What `openssl pkeyutl` must be told about the digest.
pub(crate) fn digest_arguments(algorithm: Algorithm) -> &'static [&'static str] {
    match algorithm {
        Algorithm::Ed25519 => &[],
        Algorithm::EcdsaP256 => &["-digest", "sha256"],
        Algorithm::Sm2 => &["-digest", "sm3", "-pkeyopt", "distid:1234567812345678"],
    }
}

/// A public key as `SubjectPublicKeyInfo` (RFC 8410 §4, RFC 5480 §2, GM/T 0009 §7).
fn public_pem(key: &PublicKey) -> String {
    let head: &[u8] = match key.algorithm() {
        Algorithm::Ed25519 => b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00",
        Algorithm::EcdsaP256 => {
            b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00"
        }
        Algorithm::Sm2 => {
            b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x81\x1c\xcf\x55\x01\x82\x2d\x03\x42\x00"
        }
    };
    format!(
        "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
        STANDARD.encode([head, key.bytes()].concat())
    )
}

/// R ‖ S as a sequence of two integers.
fn signature_der(signature: &[u8]) -> Vec<u8> {
    let integers: Vec<u8> = signature
        .chunks_exact(32)
        .flat_map(|number| {
            let from = number.iter().take_while(|byte| **byte == 0).count();
            let mut number = number[from..].to_vec();
            if number.first().is_none_or(|byte| *byte >= 0x80) {
                number.insert(0, 0);
            }
            [vec![2, u8::try_from(number.len()).unwrap()], number].concat()
        })
        .collect();
    [vec![0x30, u8::try_from(integers.len()).unwrap()], integers].concat()
}

/// A sequence of two integers as R ‖ S.
pub(crate) fn signature_of_der(document: &[u8]) -> Vec<u8> {
    let mut rest = &document[2..];
    let mut signature = Vec::new();
    for _ in 0..2 {
        let length = usize::from(rest[1]);
        let number = &rest[2..2 + length];
        let number = &number[number.len().saturating_sub(32)..];
        signature.extend(vec![0; 32 - number.len()]);
        signature.extend(number);
        rest = &rest[2 + length..];
    }
    signature
}
