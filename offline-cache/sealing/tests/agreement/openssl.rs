//! OpenSSL and we read the same keys, and believe the same signatures and digests.

use std::fs;
use std::path::PathBuf;

use kiosk_sealing::audit::hash_text;
use kiosk_sealing::{Algorithm, DeviceKey, KeySource, Suite};

use crate::support::{Desk, digest_arguments, openssl, openssl_verifies, signature_of_der};

const ALGORITHMS: [Algorithm; 3] = [Algorithm::Ed25519, Algorithm::EcdsaP256, Algorithm::Sm2];

#[test]
fn openssl_computes_the_same_digests() {
    let desk = Desk::new();
    for length in [0_u16, 1, 55, 56, 64, 1000] {
        let content: Vec<u8> = (0..length).map(|index| index.to_be_bytes()[1]).collect();
        let file = desk.write("content", &content);
        for (suite, name) in [(Suite::Intl, "-sha256"), (Suite::Gm, "-sm3")] {
            let ours = hash_text(&suite.digest(&content));
            let theirs = openssl(&["dgst", name, "-r", &file]);
            assert_eq!(theirs.split(' ').next(), Some(ours.as_str()), "{name}");
        }
    }
}

#[test]
fn openssl_believes_our_signatures() {
    for algorithm in ALGORITHMS {
        let key = DeviceKey::generate(algorithm).unwrap();
        let signature = key.sign(b"message").unwrap();
        let public = key.public();
        assert!(
            openssl_verifies(&public, b"message", &signature),
            "{algorithm}"
        );
        assert!(
            !openssl_verifies(&public, b"massage", &signature),
            "{algorithm}"
        );
    }
}

#[test]
fn we_read_the_keys_of_openssl_and_believe_its_signatures() {
    for algorithm in ALGORITHMS {
        let desk = Desk::new();
        let (pem, message, signed) = (
            desk.path("key.pem"),
            desk.path("message"),
            desk.path("signed"),
        );
        let kind: &[&str] = match algorithm {
            Algorithm::Ed25519 => &["ED25519"],
            Algorithm::EcdsaP256 => &["EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
            Algorithm::Sm2 => &["SM2"],
        };
        openssl(&[&["genpkey", "-out", &pem, "-algorithm"], kind].concat());
        desk.write("key.pem", fs::read(&pem).unwrap());
        let key = DeviceKey::open(&KeySource::File {
            path: PathBuf::from(&pem),
            algorithm,
        })
        .unwrap();

        fs::write(&message, "测试一").unwrap();
        let sign = [
            "pkeyutl", "-sign", "-inkey", &pem, "-rawin", "-in", &message, "-out", &signed,
        ];
        openssl(&[&sign[..], digest_arguments(algorithm)].concat());
        let mut signature = fs::read(&signed).unwrap();
        if algorithm != Algorithm::Ed25519 {
            signature = signature_of_der(&signature);
        }
        assert!(
            key.public().verify("测试一".as_bytes(), &signature),
            "{algorithm}"
        );
        assert!(!key.public().verify("测试二".as_bytes(), &signature));
        let ours = key.sign(b"back").unwrap();
        assert!(
            openssl_verifies(&key.public(), b"back", &ours),
            "{algorithm}"
        );
    }
}

#[test]
fn another_signer_id_is_not_believed() {
    let desk = Desk::new();
    let (pem, message, signed) = (
        desk.path("key.pem"),
        desk.path("message"),
        desk.path("signed"),
    );
    openssl(&["genpkey", "-algorithm", "SM2", "-out", &pem]);
    desk.write("key.pem", fs::read(&pem).unwrap());
    let key = DeviceKey::open(&KeySource::File {
        path: PathBuf::from(&pem),
        algorithm: Algorithm::Sm2,
    })
    .unwrap();
    fs::write(&message, "message").unwrap();
    openssl(&[
        "pkeyutl",
        "-sign",
        "-inkey",
        &pem,
        "-rawin",
        "-in",
        &message,
        "-out",
        &signed,
        "-digest",
        "sm3",
        "-pkeyopt",
        "distid:somebody",
    ]);
    let signature = signature_of_der(&fs::read(&signed).unwrap());
    assert!(!key.public().verify(b"message", &signature));
}
